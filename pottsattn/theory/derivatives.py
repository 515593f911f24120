"""Slopes of the learning curves in log alpha and log ridge, by implicit differentiation.

At the solution x = F(x, theta) of the equations, log x moves with theta by

    d log x / d theta = (1 - dF/dx)^-1 dF/dtheta          (F, x in logarithms)

and every loss R(x, theta) by dR/dtheta + dR/dx dx/dtheta. The partial derivatives are central
differences of one evaluation of the equations: no point is solved twice.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.readout import mean_loss
from pottsattn.theory.tracing import check_ridges, check_task, solvers_of

Array = NDArray[np.float64]

STEP = 3e-4  # of logarithms: truncation and rounding both near 1e-8


@dataclass(frozen=True, eq=False)
class LossSlopes:
    """d / d log alpha and d / d log ridge along a learning curve; arrays of shape (n_alphas,).

    NaN where the equations are not solved (`converged`). Losses in nats per masked site; with masks
    the training loss is the masked one, as in `LearningCurve`.
    """

    alpha: Array
    ridge: Array
    test_loss_by_log_alpha: Array
    test_loss_by_log_ridge: Array
    train_loss_by_log_alpha: Array
    train_loss_by_log_ridge: Array
    coupling_error_by_log_alpha: Array
    coupling_error_by_log_ridge: Array
    converged: NDArray[np.bool_]


def loss_slopes(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
    n_heads: int = 1,
) -> LossSlopes:
    """Return how the losses change with alpha and ridge; parameters as for `learning_curve`.

    Raises
    ------
    InputError
        A value out of range, or a coupling scale from the spin-glass transition on.

    Examples
    --------
    >>> loss_slopes(3, 1.5, [4.0], 0.1).test_loss_by_log_ridge < 0.0  # a larger ridge is better
    array([ True])
    """
    task = check_task(
        n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode, n_heads
    )
    ridges = check_ridges(ridge, len(task.alphas))
    slopes = np.full((len(ridges), 3, 2), math.nan)
    converged = np.zeros(len(ridges), dtype=bool)
    for i, solver in solvers_of(task):
        point = solver.solve(task.alphas[i], ridges[i])
        converged[i] = not point.problem
        if converged[i]:
            slopes[i] = _slopes(solver, point.alpha, point.ridge, point.overlaps)
    return LossSlopes(
        alpha=task.alphas,
        ridge=ridges,
        test_loss_by_log_alpha=slopes[:, 0, 0],
        test_loss_by_log_ridge=slopes[:, 0, 1],
        train_loss_by_log_alpha=slopes[:, 1, 0],
        train_loss_by_log_ridge=slopes[:, 1, 1],
        coupling_error_by_log_alpha=slopes[:, 2, 0],
        coupling_error_by_log_ridge=slopes[:, 2, 1],
        converged=converged,
    )


def _slopes(solver: StudentSolver, alpha: float, ridge: float, values: Array) -> Array:
    """Return d(test loss, training loss, coupling error) / d(log alpha, log ridge)."""
    n_values = len(values)
    rule = solver.finer_rules(values)[-1]
    with np.errstate(divide="ignore"):  # without a penalty nothing changes with its logarithm
        here = np.log([alpha, ridge, *values])
    columns = []
    for i in range(len(here)):
        step = np.zeros_like(here)
        step[i] = STEP
        difference = _evaluate(solver, rule, here + step) - _evaluate(solver, rule, here - step)
        columns.append(difference / (2.0 * STEP))
    slopes = np.array(columns).T  # (n_values + 3, n_values + 2)
    of_logs, of_losses = slopes[:n_values], slopes[n_values:]
    moved = np.linalg.solve(np.eye(n_values) - of_logs[:, 2:], of_logs[:, :2])
    total: Array = of_losses[:, :2] + of_losses[:, 2:] @ moved
    return total


def _evaluate(solver: StudentSolver, rule: Any, logs: Array) -> Array:
    """Return log F and (test loss, training loss, coupling error) at logs of alpha, ridge and x."""
    alpha, ridge, *values = np.exp(logs).tolist()
    equations = solver.equations(alpha, ridge)
    equations.rule = rule
    overlaps = equations(np.array(values))
    student, conjugates = equations.student, equations.conjugates
    losses = (
        mean_loss(student.n_states, *student.test_overlaps(conjugates)),
        equations.averages.train_loss,
        student.coupling_error(conjugates),
    )
    return np.append(np.log(overlaps), losses)
