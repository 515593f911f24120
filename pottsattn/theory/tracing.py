"""A curve solved point by point: what was asked for, checked once, and the table that answers it.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import (
    ConvergenceWarning,
    InputError,
    check_array,
    check_at_least,
    check_choice,
    check_n_states,
    check_nonnegative,
)
from pottsattn.theory.ensemble import check_paramagnetic, phase_zone
from pottsattn.theory.equations.solver import SolvedPoint, StudentSolver, unsolved
from pottsattn.theory.equations.student import ESTIMATORS, ensemble_student
from pottsattn.theory.masks import MASK_MODES, check_mask_fraction, mask_solver
from pottsattn.theory.readout import mean_accuracy, mean_loss
from pottsattn.theory.result import LearningCurve

MOST_FIELDS = 256  # of all masked copies of a sequence: averages over more take minutes


def bayes_loss(n_states: int, coupling_scale: float) -> float:
    """Return the loss of the true SK-Potts model, in nats per site: the least any student reaches.

    Raises
    ------
    InputError
        Fewer than two states, or a coupling scale that is negative or not below `n_states` (the
        spin-glass transition).
    """
    task = check_task(n_states, coupling_scale, [1.0], "factored")
    check_paramagnetic(n_states, task.coupling_scale)
    rho = task.coupling_scale**2 / n_states
    return mean_loss(n_states, rho, rho) if rho > 0.0 else math.log(n_states)


@dataclass(frozen=True, eq=False)
class Task:
    n_states: int
    coupling_scale: float
    alphas: NDArray[np.float64]
    estimator: str
    mask_fractions: NDArray[np.float64]  # (n_alphas,), NaN without masks
    mask_mode: str | None
    n_heads: int
    masks: int | None


def check_task(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    estimator: str,
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
    n_heads: int = 1,
    masks: int | None = None,
) -> Task:
    check_n_states(n_states)
    coupling_scale = check_nonnegative("coupling_scale", coupling_scale)
    array = check_alphas(alphas)
    check_choice("estimator", estimator, ESTIMATORS)
    n_heads = check_n_heads(n_heads, n_states, estimator)
    check_choice("mask_mode", mask_mode, MASK_MODES)
    if mask_fraction is None:
        fractions, mode = np.full(len(array), math.nan), None
    else:
        fractions, mode = check_mask_fraction(mask_fraction, len(array)), mask_mode
    masks = _check_masks(masks, mode, n_states)
    return Task(int(n_states), coupling_scale, array, estimator, fractions, mode, n_heads, masks)


def _check_masks(masks: int | None, mask_mode: str | None, n_states: int) -> int | None:
    """Return the number of static masks per sequence, 1 if left out, None without static masks."""
    if mask_mode == "static":
        n_masks = 1 if masks is None else check_at_least("masks", masks, 1)
        if n_masks > 1 and n_masks * (n_states - 1) > MOST_FIELDS:
            raise InputError(
                f"masks must be at most {max(1, MOST_FIELDS // (n_states - 1))} for {n_states} "
                f"states, got {n_masks}; mask_mode 'fresh' is the limit of many masks"
            )
        return n_masks
    if masks is not None:
        given = "no mask_fraction" if mask_mode is None else f"mask_mode {mask_mode!r}"
        raise InputError(
            f"masks counts the static masks of a sequence, got masks {masks} with {given}; give a "
            "mask_fraction and mask_mode 'static', or leave masks out"
        )
    return None


def check_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """Return one or more numbers of sequences per site, above 0, shape (n_alphas,).

    Raises
    ------
    InputError
        None at all, or one that is not above 0.
    """
    array = check_array("alphas", np.atleast_1d(alphas), (None,))
    if array.size == 0:
        raise InputError("alphas is empty: at least one alpha is needed")
    if array.min() <= 0.0:
        raise InputError(f"alphas must be above 0 (sequences per site), found {array.min():g}")
    return array


def check_n_heads(n_heads: int, n_states: int, estimator: str) -> int:
    """Return a number of heads from 1 to (C - 1)^2, more than 1 with the factored estimator only.

    Raises
    ------
    InputError
        A number that the estimator cannot have.
    """
    n_heads = check_at_least("n_heads", n_heads, 1)
    if estimator != "factored" and n_heads > 1:
        raise InputError(f"only the factored estimator has heads, got n_heads {n_heads}")
    if n_heads > (n_states - 1) ** 2:
        raise InputError(
            f"n_heads must be at most (n_states - 1)^2 = {(n_states - 1) ** 2}, where blocks are "
            f"free, got {n_heads}"
        )
    return n_heads


def check_ridges(ridge: ArrayLike, n_alphas: int) -> NDArray[np.float64]:
    """Return ridges, at least 0, shape (n_alphas,), from one or that many.

    Raises
    ------
    InputError
        A negative ridge, or a wrong number of them.
    """
    ridges = check_array(
        "ridge", np.full(n_alphas, ridge) if np.ndim(ridge) == 0 else ridge, (n_alphas,)
    )
    if ridges.min() < 0.0:
        raise InputError(f"ridge must be at least 0, found {ridges.min():g}")
    return ridges


def solvers_of(task: Task, *, descending: bool = False) -> Iterator[tuple[int, StudentSolver]]:
    """Yield the place of each alpha and its solver, in increasing (or decreasing) order of alpha.

    One solver serves all alphas of a mask fraction, so that its solutions continue each other.

    Raises
    ------
    InputError
        A coupling scale from the spin-glass transition J = C on.
    """
    check_paramagnetic(task.n_states, task.coupling_scale)
    student = ensemble_student(
        task.n_states, task.coupling_scale, 1.0, 1.0, task.estimator, task.n_heads
    )
    solvers: dict[str, StudentSolver] = {}
    order = np.argsort(task.alphas, kind="stable").tolist()
    for i in reversed(order) if descending else order:
        fraction = float(task.mask_fractions[i])
        if repr(fraction) not in solvers:
            solvers[repr(fraction)] = mask_solver(student, fraction, task.mask_mode, task.masks)
        yield i, solvers[repr(fraction)]


def trace(
    task: Task,
    ridge_kind: str,
    ridges: NDArray[np.float64],
    solve: Callable[[StudentSolver, int], SolvedPoint],
) -> LearningCurve:
    """Solve every alpha in increasing order and return the curve in the order given."""
    n_states = task.n_states
    phase = phase_zone(n_states, task.coupling_scale)
    points: dict[int, SolvedPoint] = {}
    bayes = math.nan
    if task.coupling_scale < phase.spin_glass_scale:
        bayes = bayes_loss(n_states, task.coupling_scale)
        points = {i: solve(solver, i) for i, solver in solvers_of(task)}
    else:
        problem = f"no paramagnetic phase at coupling_scale >= n_states = {n_states}"
        points = {i: unsolved(a, ridges[i], problem) for i, a in enumerate(task.alphas.tolist())}
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
        n_heads=task.n_heads,
        ridge_kind=ridge_kind,
        mask_mode=task.mask_mode,
        masks=task.masks,
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
        loss_error=column(lambda point: point.loss_error),
        message=_message(ordered),
        reasons=tuple(point.problem for point in ordered),
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
