"""The fixed point of one `Student`: Gaussian averages and overlaps, solved for each other.

log(m, q, V) is iterated on coarse Gaussian nodes first and on finer ones until refining no longer
moves it; solutions at neighbouring alpha (or ridge) continue each other.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.fixed_point import extrapolate, solve_fixed_point
from pottsattn.theory.gaussian import (
    GaussianRule,
    SiteAverages,
    gauss_hermite_nodes,
    points_per_direction,
)
from pottsattn.theory.student import Conjugates, Student

__all__ = ["TINY", "Equations", "SolvedPoint", "StudentSolver", "unsolved"]

QUADRATURE_TOLERANCE = 1e-7  # refine the Gaussian nodes while log(m, q, V) moves by more
UNRESOLVED = 1e-3  # if the finest nodes still move it by this much, there is no solution
TINY = 1e-300  # keeps log m finite when there is no signal (J = 0)


@dataclass(frozen=True, eq=False)
class SolvedPoint:
    """What the fixed point of one student says; NaN where there is none.

    `overlaps` is (m, q, V) of the training fields, `test_overlaps` (m, q) in the full context,
    `quadrature_error` how far the last refinement of the nodes moved log(m, q, V), and `problem`
    why the point is not converged (empty when it is).
    """

    alpha: float
    ridge: float
    overlaps: NDArray[np.float64]
    test_overlaps: tuple[float, float]
    train_loss: float
    coupling_error: float
    n_iterations: int
    quadrature_error: float
    problem: str


class StudentSolver:
    """Solves students that differ in alpha and ridge, each started from the previous ones."""

    rules: Sequence[Callable[..., Any]]

    def __init__(self, student: Student) -> None:
        self.student = student
        self.nodes = [
            gauss_hermite_nodes(student.n_states, order)
            for order in points_per_direction(student.n_states)
        ]
        self.rules = [GaussianRule(nodes) for nodes in self.nodes]
        self.forget()

    def forget(self) -> None:
        """Start the next solve cold."""
        self._coordinates: list[float] = []
        self._history: list[NDArray[np.float64]] = []

    def equations(self, student: Student) -> Equations:
        """Return the equations of `student`, still without a rule."""
        return Equations(student)

    def solve(
        self,
        alpha: float,
        ridge: float,
        *,
        along: float | None = None,
        n_rules: int | None = None,
    ) -> SolvedPoint:
        """Return the solution at (alpha, ridge), continued in `along` (log alpha by default).

        `n_rules` = 1 stays on the coarse Gaussian nodes, as the start of a search does.
        """
        coordinate = math.log(alpha) if along is None else along
        equations = self.equations(replace(self.student, alpha=alpha, ridge=ridge))
        values = cold = equations.cold_start()
        if self._history:
            values = extrapolate(self._coordinates, self._history, coordinate)
        n_iterations, change, problem = 0, math.nan, ""
        for rule in self.rules[:n_rules]:
            equations.rule = rule
            if n_iterations and not problem:
                # Where coarser nodes end, finer ones either agree or go on.
                change = float(np.max(np.abs(np.log(equations(values) / values))))
                n_iterations += 1
                if change < QUADRATURE_TOLERANCE:
                    break
            solution = solve_fixed_point(equations, values)
            n_iterations += solution.n_iterations
            if not solution.converged:
                solution = solve_fixed_point(equations, cold)
                n_iterations += solution.n_iterations
            values = solution.values
            problem = "" if solution.converged else f"stalled at residual {solution.residual:.0e}"
            if not math.isfinite(solution.residual):
                return unsolved(alpha, ridge, "the equations have no finite solution")
        else:
            equations(values)  # the iteration may have ended elsewhere: read out at its best point
        if not problem and change > UNRESOLVED:
            problem = f"Gaussian nodes too coarse (change {change:.0e}): use a larger ridge"
        if not problem:
            self._remember(coordinate, values)
        return equations.point(values, n_iterations, change, problem)

    def _remember(self, coordinate: float, values: NDArray[np.float64]) -> None:
        if coordinate in self._coordinates:
            return
        self._coordinates.append(coordinate)
        self._history.append(values)


class Equations:
    """(m, q, V) -> (m, q, V) of one student; keeps what the last evaluation found.

    `rule` gives the averages over the fields of one site at these order parameters.
    """

    rule: Callable[..., Any]
    averages: SiteAverages
    conjugates: Conjugates

    def __init__(self, student: Student) -> None:
        self.student = student

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        self.averages = self.rule(*values.tolist())
        self.conjugates = self.student.conjugates(self.averages)
        return np.maximum(self.student.train_overlaps(self.conjugates), TINY)

    def cold_start(self) -> NDArray[np.float64]:
        """Return (m, q, V) from the conjugates of a student that predicts uniformly."""
        miss = 1.0 - 1.0 / self.student.n_states
        conjugates = self.student.conjugates(SiteAverages(miss, miss, miss, 0.0))
        return np.maximum(self.student.train_overlaps(conjugates), TINY)

    def point(
        self, values: NDArray[np.float64], n_iterations: int, change: float, problem: str
    ) -> SolvedPoint:
        """Return the solution at `values`, where the last evaluation was."""
        student = self.student
        return SolvedPoint(
            alpha=student.alpha,
            ridge=student.ridge,
            overlaps=values,
            test_overlaps=student.test_overlaps(self.conjugates),
            train_loss=self.averages.train_loss,
            coupling_error=student.coupling_error(self.conjugates),
            n_iterations=n_iterations,
            quadrature_error=change,
            problem=problem,
        )


def unsolved(alpha: float, ridge: float, problem: str) -> SolvedPoint:
    """Return a point without a solution."""
    nan = math.nan
    return SolvedPoint(alpha, ridge, np.full(3, nan), (nan, nan), nan, nan, 0, nan, problem)
