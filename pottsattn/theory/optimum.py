"""The best ridge, the best mask fraction, or both at each alpha: those of least test loss.

The test loss can have several minima in the mask fraction, and its least value can lie at an end:
a grid is scanned with coarse Gaussian nodes, and its interior minima are refined with fine ones.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn.theory.equations.solver import SolvedPoint, StudentSolver, unsolved
from pottsattn.theory.equations.student import Student
from pottsattn.theory.masks import mask_solver
from pottsattn.theory.readout import mean_loss
from pottsattn.theory.result import LearningCurve
from pottsattn.theory.tracing import check_ridges, check_task, trace

Array = NDArray[np.float64]

RIDGE_BRACKET = (1e-4, 1e3)
LOG_RIDGE_SPACING = 1.0
LOG_RIDGE_TOLERANCE = 1e-4
MASK_BRACKET = (1e-4, 0.999)
LOGIT_SPACING = 0.4  # of the mask fraction; twice that where the ridge is sought too
ROUGH_TOLERANCE = 0.05  # of log ridge at a mask fraction of the grid
RIVAL_LOSS = 0.01  # in nats: minima this close on the grid may change places
MAX_MOVES = 40
MASK_TOLERANCE = 2e-3  # of the logit, and of log ridge
MASK_LOSS_TOLERANCE = 1e-8
_LOG_RIDGES = (math.log(RIDGE_BRACKET[0]), math.log(RIDGE_BRACKET[1]))
_LOGITS = tuple(math.log(r / (1.0 - r)) for r in MASK_BRACKET)


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
    """Return the learning curve at the ridge that minimizes the test loss at each alpha.

    The ridge is searched on a logarithmic grid from 1e-4 to 1e3 and refined to about 1e-4 relative.
    Where the smallest test loss lies at an end of that range there is no optimal ridge: the point
    and its ridge are NaN, not converged. Where the equations do not converge near the optimum, the
    ridge is the nearest of the grid and the rest NaN. Parameters, errors and references as for
    `learning_curve`.

    Examples
    --------
    >>> optimal_ridge(3, 1.5, [4.0]).ridge.round(2)
    array([0.46])
    """
    task = check_task(
        n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode, n_heads
    )
    unknown = np.full(len(task.alphas), math.nan)
    return trace(
        task, "optimal", unknown, lambda solver, i: _best_over_ridge(solver, task.alphas[i])
    )


def optimal_mask_fraction(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike | None = None,
    *,
    estimator: str = "factored",
    mask_mode: str = "fresh",
    n_heads: int = 1,
) -> LearningCurve:
    """Return the learning curve at the mask fraction that minimizes the test loss at each alpha.

    The mask fraction r is searched between 1e-4 and 0.999 on a grid of log(r / (1 - r)), and every
    interior minimum is refined to about 1e-3 relative. Where the smallest test loss lies at an end
    of that range there is no optimal fraction: the point and its fraction are NaN, not converged,
    and the message says at which edge. With `ridge` None the best ridge, between 1e-4 and 1e3, is
    sought together with r. Other parameters, errors and references as for `learning_curve`.

    Examples
    --------
    >>> curve = optimal_mask_fraction(3, 1.5, [16.0], 0.1, mask_mode="static")
    >>> curve.mask_fraction.round(2)
    array([0.48])
    """
    task = check_task(n_states, coupling_scale, alphas, estimator, None, mask_mode, n_heads)
    n_alphas = len(task.alphas)
    ridges = np.full(n_alphas, math.nan) if ridge is None else check_ridges(ridge, n_alphas)
    fractions = np.full(n_alphas, math.nan)

    def solve(solver: StudentSolver, i: int) -> SolvedPoint:
        given = None if ridge is None else float(ridges[i])
        search = _MaskSearch(solver.student, mask_mode, float(task.alphas[i]), given)
        _, fractions[i], point = search.best()
        return point

    curve = trace(task, "optimal" if ridge is None else "fixed", ridges, solve)
    masks = 1 if mask_mode == "static" else None
    return replace(curve, mask_fraction=fractions, mask_mode=mask_mode, masks=masks)


class _Optimum(NamedTuple):
    loss: float
    mask_fraction: float
    point: SolvedPoint


@dataclass(frozen=True, eq=False)
class _MaskSearch:
    """Seeks the least test loss over the mask fraction, and over the ridge if `ridge` is None."""

    student: Student
    mask_mode: str
    alpha: float
    ridge: float | None

    def best(self) -> _Optimum:
        """Return the optimum; without one its fraction is NaN, or the nearest if unresolved."""
        spacing = LOGIT_SPACING if self.ridge is not None else 2.0 * LOGIT_SPACING
        logits = _even_grid(_LOGITS, spacing)
        losses, log_ridges, is_inside = self._scan(logits)
        is_inside[[0, -1]] = False
        lowest = int(np.argmin(losses))
        fraction, ridge = _fraction(logits[lowest]), self._ridge_at(log_ridges[lowest])
        optima = [
            self._refine(np.array([logits[i], log_ridges[i]]))
            for i in range(1, len(logits) - 1)
            if is_inside[i]
            and losses[i - 1] > losses[i] <= losses[i + 1]
            and losses[i] < losses[lowest] + RIVAL_LOSS
        ]
        problem = (
            f"edge: the test loss is least at an end of what was searched, near mask fraction "
            f"{fraction:.2g} and ridge {ridge:.2g}"
        )
        given = math.nan if self.ridge is None else self.ridge
        at_edge = unsolved(self.alpha, given, problem)
        optima.append(_Optimum(float(losses[~is_inside].min()), math.nan, at_edge))
        best = min(optima, key=lambda optimum: optimum.loss)
        if math.isfinite(best.loss):
            return best
        problem = "the equations do not converge near the optimal mask fraction"
        return _Optimum(math.inf, fraction, unsolved(self.alpha, ridge, problem))

    def _scan(self, logits: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return loss, log ridge, and whether the latter is inside, at each mask fraction.

        With coarse nodes. The best ridge is sought from that at the fraction before; first of all
        from strong penalties, the easy end. A given ridge is always inside.
        """
        losses, log_ridges = np.empty(len(logits)), np.empty(len(logits))
        is_inside = np.ones(len(logits), dtype=bool)
        log_ridge = _LOG_RIDGES[1]
        for i, place in enumerate(logits):
            solver = mask_solver(self.student, _fraction(place), self.mask_mode)

            def loss(log_ridge: float, solver: StudentSolver = solver) -> float:
                ridge = self._ridge_at(log_ridge)
                point = solver.solve(self.alpha, ridge, along=log_ridge, is_rough=True)
                return _test_loss(self.student, point)

            if self.ridge is None:
                losses[i], log_ridge, is_inside[i] = _descend(loss, log_ridge)
            else:
                losses[i] = loss(log_ridge)
            log_ridges[i] = log_ridge
        return losses, log_ridges, is_inside

    def _ridge_at(self, log_ridge: float) -> float:
        return math.exp(log_ridge) if self.ridge is None else self.ridge

    def _refine(self, start: Array) -> _Optimum:
        """Return the least loss near (logit of r, log ridge), with fine nodes."""
        from scipy.optimize import minimize

        found: list[_Optimum] = []
        n_sought = 1 if self.ridge is not None else 2

        def loss(place: Array) -> float:
            fraction = _fraction(place[0])
            solver = mask_solver(self.student, fraction, self.mask_mode)
            if found:
                solver.start_from(found[-1].point.overlaps)
            point = solver.solve(self.alpha, self._ridge_at(place[-1]))
            found.append(_Optimum(_test_loss(self.student, point), fraction, point))
            return found[-1].loss

        corners = np.vstack([np.zeros(2), 0.5 * np.diag([LOGIT_SPACING, LOG_RIDGE_SPACING])])
        minimize(
            loss,
            start[:n_sought],
            method="Nelder-Mead",
            options={
                "initial_simplex": (start + corners)[: n_sought + 1, :n_sought],
                "xatol": MASK_TOLERANCE,
                "fatol": MASK_LOSS_TOLERANCE,
            },
        )
        return min(found, key=lambda optimum: optimum.loss)


def _descend(loss: Callable[[float], float], start: float) -> tuple[float, float, bool]:
    """Return the least loss next to `start`, its log ridge, roughly, and whether it is inside."""
    from scipy.optimize import minimize_scalar

    low, high = _LOG_RIDGES
    for _ in range(MAX_MOVES):
        bounds = max(low, start - LOG_RIDGE_SPACING), min(high, start + LOG_RIDGE_SPACING)
        found = minimize_scalar(
            loss, bounds=bounds, method="bounded", options={"xatol": ROUGH_TOLERANCE}
        )
        best, at = float(found.fun), float(found.x)
        is_inside = min(at - low, high - at) > 2.0 * ROUGH_TOLERANCE
        if not is_inside or abs(at - start) < 0.8 * LOG_RIDGE_SPACING:
            break
        start = at
    return best, at, is_inside


def _fraction(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def _even_grid(ends: Sequence[float], spacing: float) -> Array:
    low, high = ends
    return np.linspace(low, high, math.ceil((high - low) / spacing) + 1)


def _log_ridge_grid() -> Array:
    """Return the grid of log ridge; strong penalties first: they are the easy end to start from."""
    return _even_grid(_LOG_RIDGES, LOG_RIDGE_SPACING)[::-1]


def _test_loss(student: Student, point: SolvedPoint) -> float:
    return math.inf if point.problem else mean_loss(student.n_states, *point.test_overlaps)


def _best_over_ridge(solver: StudentSolver, alpha: float) -> SolvedPoint:
    """Return the solution of least test loss; ridge NaN and a problem when it is at an end."""
    from scipy.optimize import minimize_scalar

    n_states = solver.student.n_states
    grid = _log_ridge_grid()
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
        low, high = RIDGE_BRACKET
        end = f"the largest, {high:g}" if best == 0 else f"the smallest, {low:g}"
        problem = (
            f"no optimal ridge between {low:g} and {high:g}: the test loss is least at {end}, "
            f"{losses[best]:.6g} nats"
        )
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
