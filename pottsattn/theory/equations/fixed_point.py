"""Accelerated fixed points of positive order parameters, x = F(x), and their continuation.

Anderson mixing acts on log x, where the order parameters vary smoothly over decades. It stops on
the undamped residual max |log F(x) - log x|: a damped step may be small far from the solution.

References
----------
Walker, Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49, 1715
(2011).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Where the iteration ended.

    Attributes
    ----------
    values : ndarray
        The point with the smallest residual seen.
    converged : bool
        The residual is below the tolerance.
    n_iterations : int
        Number of evaluations of F.
    residual : float
        max |log F(values) - log values|; infinite when F never gave positive numbers.
    """

    values: Vector
    converged: bool
    n_iterations: int
    residual: float


def solve_fixed_point(
    update: Callable[[Vector], Vector],
    start: Vector,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
    memory: int = 4,
    step_cap: float = 1.5,
) -> FixedPoint:
    """Return the fixed point of `update` reached from `start`; never raises when there is none.

    Parameters
    ----------
    update : callable
        Maps positive order parameters to positive order parameters.
    start : ndarray
        Positive starting values.
    tolerance : float
        Stop when max |log F(x) - log x| is below this.
    max_iterations : int
        Stop after this many evaluations.
    memory : int
        Number of earlier steps that Anderson mixing uses.
    step_cap : float
        Largest change of a logarithm in one iteration.

    Examples
    --------
    >>> solve_fixed_point(np.sqrt, np.array([9.0])).converged
    True
    """
    point = np.log(start)
    best_point, best_residual = point, np.inf
    points: list[Vector] = []
    residuals: list[Vector] = []
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = np.log(update(np.exp(point))) - point
        size = float(np.max(np.abs(residual)))
        if not np.isfinite(size):
            break
        if size < best_residual:
            best_point, best_residual = point, size
        if size < tolerance:
            break
        if size > 3.0 * best_residual:
            # The secants misled: forget them and go on with shorter steps.
            points.clear()
            residuals.clear()
            step_cap *= 0.5
        points.append(point)
        residuals.append(residual)
        del points[: -memory - 1], residuals[: -memory - 1]
        step = _anderson_step(points, residuals)
        point = point + step * min(1.0, step_cap / max(float(np.max(np.abs(step))), 1e-300))
    return FixedPoint(np.exp(best_point), best_residual < tolerance, iteration, best_residual)


def _anderson_step(points: Sequence[Vector], residuals: Sequence[Vector]) -> Vector:
    residual = residuals[-1]
    if len(points) < 2:
        return residual
    residual_changes = np.diff(np.array(residuals), axis=0).T  # (n_parameters, n_history)
    point_changes = np.diff(np.array(points), axis=0).T
    mixing = np.linalg.lstsq(residual_changes, residual, rcond=1e-10)[0]
    step: Vector = residual - (point_changes + residual_changes) @ mixing
    return step


def extrapolate(coordinates: Sequence[float], values: Sequence[Vector], target: float) -> Vector:
    """Return positive `values` continued to `target`: a parabola through their logarithms.

    Uses the last three entries (fewer if fewer exist); coordinates must differ. Each logarithm
    moves by at most 1 from the last entry, since a parabola far from its points means nothing.
    """
    known = np.asarray(coordinates[-3:], dtype=np.float64)
    logs = np.log(np.asarray(values[-3:]))
    continued = np.zeros_like(logs[-1])
    for i, coordinate in enumerate(known):
        others = np.delete(known, i)
        continued += np.prod((target - others) / (coordinate - others)) * logs[i]
    bounded: Vector = np.exp(logs[-1] + np.clip(continued - logs[-1], -1.0, 1.0))
    return bounded
