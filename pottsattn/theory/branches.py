"""Do several solutions of the replica equations coexist?

The objective of every student here is convex in its couplings, strictly so with a penalty, so that
one solution is expected at every alpha and ridge: the transitions of this theory are the
teacher's. This module looks for others, by continuation from small and large alpha, from a strong
and a weak penalty, and from a cold start.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import InputError
from pottsattn.theory.tracing import check_ridges, check_task, solvers_of

SAME = 1e-6  # largest difference of log(m, q, V) between two computations of one solution
RIDGE_STEPS = (1e3, 1e2, 10.0, 1.0)
ROUTES = ("cold", "rising alpha", "falling alpha", "falling ridge", "rising ridge")


@dataclass(frozen=True, eq=False)
class Branches:
    """Solutions at each alpha by the route that led to them.

    Attributes
    ----------
    alpha, ridge : ndarray, shape (n_alphas,)
    routes : tuple of str
        Where the solver came from.
    overlaps : ndarray, shape (n_routes, n_alphas, 3)
        (m, q, V); NaN where that route ends without a solution.
    n_solutions : ndarray of int, shape (n_alphas,)
        Different ones among them.
    """

    alpha: NDArray[np.float64]
    ridge: NDArray[np.float64]
    routes: tuple[str, ...]
    overlaps: NDArray[np.float64]
    n_solutions: NDArray[np.int64]


def solution_branches(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
    n_heads: int = 1,
) -> Branches:
    """Return the solutions found from all sides; parameters as for `learning_curve`.

    Raises
    ------
    InputError
        A value out of range, or a coupling scale from the spin-glass transition on.

    Examples
    --------
    >>> solution_branches(3, 1.5, [1.0, 4.0], 0.1).n_solutions.tolist()
    [1, 1]
    """
    task = check_task(
        n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode, n_heads
    )
    n_alphas = len(task.alphas)
    ridges = check_ridges(ridge, n_alphas)
    if ridges.min() == 0.0:
        raise InputError(
            "ridge must be above 0, got 0: solutions are continued in its logarithm; use a small "
            "one such as 1e-6"
        )
    overlaps = np.full((len(ROUTES), n_alphas, 3), math.nan)
    for route in range(len(ROUTES)):
        for i, solver in solvers_of(task, descending=ROUTES[route] == "falling alpha"):
            if "alpha" not in ROUTES[route]:
                solver.forget()
            if "ridge" in ROUTES[route]:
                for factor in RIDGE_STEPS[:-1]:
                    start = ridges[i] * (factor if ROUTES[route] == "falling ridge" else 1 / factor)
                    solver.solve(task.alphas[i], start, along=math.log(start))
                point = solver.solve(task.alphas[i], ridges[i], along=math.log(ridges[i]))
            else:
                point = solver.solve(task.alphas[i], ridges[i])
            if not point.problem:
                overlaps[route, i] = point.overlaps[:3]
    n_solutions = np.array([_count(overlaps[:, i]) for i in range(n_alphas)], dtype=np.int64)
    return Branches(task.alphas, ridges, ROUTES, overlaps, n_solutions)


def _count(overlaps: NDArray[np.float64]) -> int:
    """Return how many rows differ."""
    found: list[NDArray[np.float64]] = []
    for row in overlaps[np.isfinite(overlaps[:, 0])]:
        if not any(np.allclose(np.log(row), np.log(other), rtol=0.0, atol=SAME) for other in found):
            found.append(row)
    return len(found)
