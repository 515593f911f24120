"""Learning curves: the replica fixed point of a `Student` along alpha, and the best ridge.

The overlaps m and q that `solver` finds give the test loss and the accuracy, m = q = rho the Bayes
loss, and the fitted fields the training loss.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._validate import (
    ConvergenceWarning,
    InputError,
    check_array,
    check_choice,
    check_n_states,
    check_nonnegative,
)
from pottsattn.theory.ensemble import phase_zone
from pottsattn.theory.gaussian import mean_accuracy, mean_loss
from pottsattn.theory.masks import MASK_MODES, check_mask_fraction, mask_solver
from pottsattn.theory.result import LearningCurve
from pottsattn.theory.solver import SolvedPoint, StudentSolver, unsolved
from pottsattn.theory.student import ESTIMATORS, ensemble_student

__all__ = ["LearningCurve", "bayes_loss", "learning_curve", "optimal_ridge"]

RIDGE_BRACKET = (1e-4, 1e3)
LOG_RIDGE_SPACING = 1.0
LOG_RIDGE_TOLERANCE = 1e-4


def learning_curve(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
) -> LearningCurve:
    """Return the replica-symmetric learning curve of one estimator of an SK-Potts model.

    Parameters
    ----------
    n_states : int
        Number of colors C, 2 to 256.
    coupling_scale : float
        J: couplings A_ij ~ Normal(0, J^2 / L), in units of k_B T.
    alphas : array_like, shape (n_alphas,)
        Sequences per site M / L, above 0, in any order.
    ridge : float or array_like, shape (n_alphas,)
        O(1) penalty, above 0: couplings_l2 = ridge / (2 alpha), or ridge / (2 alpha mask_fraction)
        with static masks (the loss being a mean over masked sites).
    estimator : {"factored", "full"}
        One coupling per pair (factored attention with identity in color space), or a free C x C
        block per pair (plmDCA).
    mask_fraction : None, float or array_like, shape (n_alphas,)
        Probability r that a site is masked, between 0 and 1: masked sites leave the context and are
        predicted. None: one masked site at a time, the pseudo-likelihood.
    mask_mode : {"fresh", "static"}
        Whether a sequence is masked anew at every visit (the limit of many visits), or once and for
        all.

    Returns
    -------
    LearningCurve
        In the order of `alphas`. Points that are not solved are marked, with a
        `ConvergenceWarning`; from the spin-glass transition J = C on, all are.

    Raises
    ------
    InputError
        A value out of range.

    References
    ----------
    Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.

    Examples
    --------
    >>> curve = learning_curve(3, 1.5, [4.0], 0.1)
    >>> float(curve.test_loss[0].round(4))
    0.9836
    >>> curve = learning_curve(3, 1.5, [4.0], 0.1, mask_fraction=0.3)
    >>> float(curve.test_loss[0].round(4))
    0.9604
    """
    task = _check_task(n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode)
    n_alphas = len(task.alphas)
    ridges = check_array(
        "ridge", np.full(n_alphas, ridge) if np.ndim(ridge) == 0 else ridge, (n_alphas,)
    )
    if ridges.min() <= 0.0:
        raise InputError(
            f"ridge must be above 0, found {ridges.min():g}: without a penalty the fit exists only "
            "above a critical alpha; use a small ridge such as 1e-2"
        )
    return _trace(task, "fixed", ridges, lambda solver, i: solver.solve(task.alphas[i], ridges[i]))


def optimal_ridge(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
) -> LearningCurve:
    """Return the learning curve at the ridge that minimises the test loss at each alpha.

    The ridge is searched on a logarithmic grid from 1e-4 to 1e3 and refined to about 1e-4 relative.
    Where the smallest test loss lies at an end of that range there is no optimal ridge: the point
    and its ridge are NaN, not converged. Where the equations do not converge near the optimum, the
    ridge is the nearest of the grid and the rest NaN. Parameters, errors and references as for
    `learning_curve`.

    Examples
    --------
    >>> optimal_ridge(3, 1.5, [4.0]).test_loss < learning_curve(3, 1.5, [4.0], 0.1).test_loss
    array([ True])
    """
    task = _check_task(n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode)
    unknown = np.full(len(task.alphas), math.nan)
    return _trace(
        task, "optimal", unknown, lambda solver, i: _best_over_ridge(solver, task.alphas[i])
    )


def bayes_loss(n_states: int, coupling_scale: float) -> float:
    """Return the loss of the true SK-Potts model, in nats per site: the least any student reaches.

    Raises
    ------
    InputError
        Fewer than two states, or a coupling scale that is negative or not below `n_states` (the
        spin-glass transition).
    """
    task = _check_task(n_states, coupling_scale, [1.0], "factored")
    if task.coupling_scale >= n_states:
        raise InputError(
            f"coupling_scale must be below n_states = {n_states} (the spin-glass transition), "
            f"got {coupling_scale}"
        )
    rho = task.coupling_scale**2 / n_states
    return mean_loss(n_states, rho, rho) if rho > 0.0 else math.log(n_states)


@dataclass(frozen=True, eq=False)
class _Task:
    n_states: int
    coupling_scale: float
    alphas: NDArray[np.float64]
    estimator: str
    mask_fractions: NDArray[np.float64]  # (n_alphas,), NaN without masks
    mask_mode: str | None


def _check_task(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    estimator: str,
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
) -> _Task:
    check_n_states(n_states)
    coupling_scale = check_nonnegative("coupling_scale", coupling_scale)
    array = check_array("alphas", np.atleast_1d(alphas), (None,))
    if array.size == 0:
        raise InputError("alphas is empty: at least one alpha is needed")
    if array.min() <= 0.0:
        raise InputError(f"alphas must be above 0 (sequences per site), found {array.min():g}")
    check_choice("estimator", estimator, ESTIMATORS)
    check_choice("mask_mode", mask_mode, MASK_MODES)
    if mask_fraction is None:
        fractions, mode = np.full(len(array), math.nan), None
    else:
        fractions, mode = check_mask_fraction(mask_fraction, len(array)), mask_mode
    return _Task(int(n_states), coupling_scale, array, estimator, fractions, mode)


def _best_over_ridge(solver: StudentSolver, alpha: float) -> SolvedPoint:
    """Return the solution of least test loss; ridge NaN and a problem when it is at an end."""
    from scipy.optimize import minimize_scalar

    n_states = solver.student.n_states
    low, high = math.log(RIDGE_BRACKET[0]), math.log(RIDGE_BRACKET[1])
    # Strong penalties first: they are the easy end to start from.
    grid = np.linspace(high, low, math.ceil((high - low) / LOG_RIDGE_SPACING) + 1)
    points: list[SolvedPoint] = []

    def loss(log_ridge: float, n_rules: int | None = None) -> float:
        point = solver.solve(alpha, math.exp(log_ridge), along=log_ridge, n_rules=n_rules)
        if point.problem:
            return math.inf
        points.append(point)
        return mean_loss(n_states, *point.test_overlaps)

    solver.forget()
    losses = [loss(log_ridge, n_rules=1) for log_ridge in grid]
    best = int(np.argmin(losses))
    # A ridge of NaN says that there is no optimum; one that cannot be computed keeps its place.
    unresolved = unsolved(
        alpha, math.exp(grid[best]), "the equations do not converge near the optimal ridge"
    )
    if not np.isfinite(losses[max(best - 1, 0) : best + 2]).all():
        return unresolved
    if best in (0, len(grid) - 1):
        problem = f"no optimal ridge between {RIDGE_BRACKET[0]:g} and {RIDGE_BRACKET[1]:g}"
        return unsolved(alpha, math.nan, problem)
    solver.forget()
    points.clear()  # keep fine solutions only
    minimize_scalar(
        loss,
        bounds=(grid[best + 1], grid[best - 1]),
        method="bounded",
        options={"xatol": LOG_RIDGE_TOLERANCE},
    )
    if not points:
        return unresolved
    return min(points, key=lambda point: mean_loss(n_states, *point.test_overlaps))


def _trace(
    task: _Task,
    ridge_kind: str,
    ridges: NDArray[np.float64],
    solve: Callable[[StudentSolver, int], SolvedPoint],
) -> LearningCurve:
    """Solve every alpha in increasing order and return the curve in the order given."""
    n_states = task.n_states
    phase = phase_zone(n_states, task.coupling_scale)
    points: dict[int, SolvedPoint] = {}
    bayes = math.nan
    solvers: dict[str, StudentSolver] = {}  # solutions of one mask fraction continue each other
    if task.coupling_scale < phase.spin_glass_scale:
        student = ensemble_student(n_states, task.coupling_scale, 1.0, 1.0, task.estimator)
        bayes = bayes_loss(n_states, task.coupling_scale)
    for i in np.argsort(task.alphas, kind="stable").tolist():
        if task.coupling_scale < phase.spin_glass_scale:
            fraction = float(task.mask_fractions[i])
            if repr(fraction) not in solvers:
                solvers[repr(fraction)] = mask_solver(student, fraction, task.mask_mode)
            points[i] = solve(solvers[repr(fraction)], i)
        else:
            problem = f"no paramagnetic phase at coupling_scale >= n_states = {n_states}"
            points[i] = unsolved(task.alphas[i], ridges[i], problem)
    ordered = [points[i] for i in range(len(task.alphas))]

    def column(read: Callable[[SolvedPoint], float]) -> NDArray[np.float64]:
        return np.array([read(point) for point in ordered])

    def read_out(function: Callable[[int, float, float], float]) -> NDArray[np.float64]:
        tests = [point.test_overlaps for point in ordered]
        return np.array([function(n_states, m, q) if q > 0.0 else math.nan for m, q in tests])

    curve = LearningCurve(
        n_states=n_states,
        coupling_scale=task.coupling_scale,
        estimator=task.estimator,
        ridge_kind=ridge_kind,
        mask_mode=task.mask_mode,
        phase=phase,
        alpha=task.alphas,
        ridge=column(lambda point: point.ridge),
        mask_fraction=task.mask_fractions,
        m=column(lambda point: point.test_overlaps[0]),
        q=column(lambda point: point.test_overlaps[1]),
        V=column(lambda point: float(point.overlaps[2])),
        test_loss=read_out(mean_loss),
        bayes_loss=np.full(len(ordered), bayes),
        train_loss=column(lambda point: point.train_loss),
        coupling_error=column(lambda point: point.coupling_error),
        accuracy=read_out(mean_accuracy),
        converged=np.array([not point.problem for point in ordered]),
        n_iterations=np.array([point.n_iterations for point in ordered]),
        quadrature_error=column(lambda point: point.quadrature_error),
        message=_message(ordered),
    )
    if not curve.converged.all():
        warnings.warn(f"learning curve: {curve.message}", ConvergenceWarning, stacklevel=3)
    return curve


def _message(points: list[SolvedPoint]) -> str:
    problems = [point for point in points if point.problem]
    if not problems:
        return "converged"
    first = problems[0]
    return (
        f"{len(problems)} of {len(points)} points, first at alpha {first.alpha:g}: {first.problem}"
    )
