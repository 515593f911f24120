"""The best ridge at each alpha: the one of least test loss.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pottsattn.theory.readout import mean_loss
from pottsattn.theory.result import LearningCurve
from pottsattn.theory.solver import SolvedPoint, StudentSolver, unsolved
from pottsattn.theory.tracing import check_task, trace

__all__ = ["optimal_ridge"]

RIDGE_BRACKET = (1e-4, 1e3)
LOG_RIDGE_SPACING = 1.0
LOG_RIDGE_TOLERANCE = 1e-4


def optimal_ridge(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
    n_heads: int = 1,
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
    task = check_task(
        n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode, n_heads
    )
    unknown = np.full(len(task.alphas), math.nan)
    return trace(
        task, "optimal", unknown, lambda solver, i: _best_over_ridge(solver, task.alphas[i])
    )


def _best_over_ridge(solver: StudentSolver, alpha: float) -> SolvedPoint:
    """Return the solution of least test loss; ridge NaN and a problem when it is at an end."""
    from scipy.optimize import minimize_scalar

    n_states = solver.student.n_states
    low, high = math.log(RIDGE_BRACKET[0]), math.log(RIDGE_BRACKET[1])
    # Strong penalties first: they are the easy end to start from.
    grid = np.linspace(high, low, math.ceil((high - low) / LOG_RIDGE_SPACING) + 1)
    points: list[SolvedPoint] = []

    def loss(log_ridge: float, is_rough: bool = False) -> float:
        point = solver.solve(alpha, math.exp(log_ridge), along=log_ridge, is_rough=is_rough)
        if point.problem:
            return math.inf
        points.append(point)
        return mean_loss(n_states, *point.test_overlaps)

    solver.forget()
    losses = [loss(log_ridge, is_rough=True) for log_ridge in grid]
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
