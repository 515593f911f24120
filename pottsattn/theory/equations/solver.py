"""The fixed point of one `Student`: Gaussian averages and overlaps, solved for each other.

log(m, q, V) is iterated with a coarse rule for the averages over fields. Finer rules then correct
it by Newton steps, with the Jacobian of the coarse one, until refining no longer moves it; that
Jacobian also turns what is left into an error of the test loss. Solutions at neighboring alpha (or
ridge) continue each other.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.equations.fixed_point import extrapolate, solve_fixed_point
from pottsattn.theory.equations.gaussian import (
    GaussianRule,
    SiteAverages,
    gauss_hermite_nodes,
    points_per_direction,
)
from pottsattn.theory.equations.inversion import LEAST_STATES, InversionRule
from pottsattn.theory.equations.student import Conjugates, Student
from pottsattn.theory.existence import separability_threshold
from pottsattn.theory.readout import mean_error, mean_loss

Array = NDArray[np.float64]

MANY_STATES = 7  # beyond, the finest product of Gauss-Hermite rules is not worth its time
QUADRATURE_TOLERANCE = 1e-7  # go on to a finer rule while log(m, q, V) moves by more
SOLVED = 3e-9  # residual of log(m, q, V) at which corrections stop
MAX_CORRECTIONS = 6
JACOBIAN_STEP = 1e-4
UNRESOLVED = 1e-3  # if the finest rule still moves it by this much, there is no solution
TINY = 1e-300  # keeps log m finite when there is no signal (J = 0)


@dataclass(frozen=True, eq=False)
class SolvedPoint:
    """What the fixed point of one student says; NaN where there is none.

    `overlaps` is (m, q, V) of the training fields, `test_overlaps` (m, q) in the full context,
    `quadrature_error` how far the last refinement of the rule moved log(m, q, V), `loss_error` the
    numerical error that is left in the test loss, and `problem` why the point is not converged
    (empty when it is).
    """

    alpha: float
    ridge: float
    overlaps: Array
    test_overlaps: tuple[float, float]
    train_loss: float
    coupling_error: float
    n_iterations: int
    quadrature_error: float
    loss_error: float
    problem: str


class FixedPointSolver(ABC):
    """Solves students that differ in alpha and ridge, each started from the previous ones.

    `rules` for the averages over fields go from coarse to fine; a point is not converged while the
    last of them is off by `unresolved`.
    """

    rules: Sequence[Callable[..., Any]]
    unresolved = UNRESOLVED

    def forget(self) -> None:
        """Start the next solve cold."""
        self._coordinates: list[float] = []
        self._history: list[Array] = []

    def start_from(self, values: Array) -> None:
        """Start the next solve at these order parameters; NaN is a cold start."""
        self.forget()
        if np.isfinite(values).all():
            self._remember(math.nan, values)

    @abstractmethod
    def equations(self, alpha: float, ridge: float) -> FixedPointEquations:
        """Return the equations at alpha and ridge, still without a rule."""

    def least_alpha(self) -> float:
        """Return the alpha above which a fit without a penalty exists."""
        return 0.0

    def solve(
        self,
        alpha: float,
        ridge: float,
        *,
        along: float | None = None,
        is_rough: bool = False,
    ) -> SolvedPoint:
        """Return the solution at (alpha, ridge), continued in `along` (log alpha by default).

        A rough one stays with the coarse rule, as the start of a search does.
        """
        if ridge == 0.0 and not alpha > self.least_alpha():
            problem = f"without a penalty the fit exists above alpha {self.least_alpha():.4g} only"
            return unsolved(alpha, ridge, problem)
        coordinate = math.log(alpha) if along is None else along
        equations = self.equations(alpha, ridge)
        cold = equations.cold_start()
        start = cold
        if self._history:
            start = extrapolate(self._coordinates, self._history, coordinate)
        values, n_iterations, problem = self._iterate(equations, self.rules[0], (start, cold))
        if not math.isfinite(values[0]):
            return unsolved(alpha, ridge, "the equations have no finite solution")
        change = error = loss_error = math.nan
        finer = [] if is_rough else self.finer_rules(values)
        if finer:  # a coarse rule that stalls is a start still
            linear = self.linear(equations, values)
            n_iterations += len(values) if linear else 0
            for rule in finer:
                change, values, n_more, problem = self._refine(
                    equations, rule, values, cold, linear
                )
                n_iterations += n_more
                if not math.isfinite(values[0]):
                    problem = "no solution with fine averages over fields: use a larger ridge"
                    return unsolved(alpha, ridge, problem)
                if change < QUADRATURE_TOLERANCE and not problem:
                    break
            # The error of the last rule is below the last change, or known to the rule itself.
            error = min(change, getattr(equations.rule, "norm_error", change))
            loss_error = linear.loss_error(equations, error + SOLVED) if linear else math.nan
        if not problem and error > self.unresolved:
            problem = f"averages over fields too coarse (error {error:.0e}): use a larger ridge"
        if not problem:
            self._remember(coordinate, values)
        return equations.point(values, n_iterations, change, loss_error, problem)

    def finer_rules(self, values: Array) -> list[Callable[..., Any]]:
        """Return the rules that refine a coarse solution, in order."""
        return list(self.rules[1:])

    def linear(self, equations: FixedPointEquations, values: Array) -> _Linear | None:
        """Return the equations near the solution of the last rule; None to do without."""
        return None

    def _iterate(
        self, equations: FixedPointEquations, rule: Any, starts: tuple[Array, ...]
    ) -> tuple[Array, int, str]:
        """Return the solution for one rule from the first start that leads to one, and its cost."""
        equations.rule = rule
        n_iterations = 0
        for start in starts:
            solution = solve_fixed_point(equations, start)
            n_iterations += solution.n_iterations + 1
            if solution.converged:
                break
        equations(solution.values)  # the iteration may have ended elsewhere: what is read is here
        if solution.converged:
            return solution.values, n_iterations, ""
        if not math.isfinite(solution.residual):
            return np.full(len(start), math.nan), n_iterations, "no finite solution"
        return solution.values, n_iterations, f"stalled at residual {solution.residual:.0e}"

    def _refine(
        self,
        equations: FixedPointEquations,
        rule: Any,
        values: Array,
        cold: Array,
        linear: _Linear | None,
    ) -> tuple[float, Array, int, str]:
        """Return how far a finer rule moves `values`, its solution, its cost and its problem."""
        equations.rule = rule
        change = last = math.inf
        for n_steps in range(1, MAX_CORRECTIONS + 1):
            residual = np.log(equations(values) / values)
            size = float(np.max(np.abs(residual)))
            change = size if n_steps == 1 else change
            if size < SOLVED:
                return change, values, n_steps, ""
            if linear is None or not size < last:
                break
            last = size
            values = values * np.exp(linear.step(residual))
        values, n_more, problem = self._iterate(equations, rule, (values, cold))
        return change, values, n_steps + n_more, problem

    def _remember(self, coordinate: float, values: Array) -> None:
        if coordinate in self._coordinates:
            return
        self._coordinates.append(coordinate)
        self._history.append(values)


class StudentSolver(FixedPointSolver):
    """Solves `Student`s.

    Parameters
    ----------
    student : Student
        At any alpha and ridge.
    """

    def __init__(self, student: Student) -> None:
        self.student = student
        n_states = student.n_states
        self.nodes = [
            gauss_hermite_nodes(n_states, order) for order in points_per_direction(n_states)
        ]
        self.rules = [GaussianRule(nodes) for nodes in self.nodes]
        if n_states >= LEAST_STATES:
            self.rules.append(InversionRule(n_states))
        self.forget()

    def equations(self, alpha: float, ridge: float) -> Equations:
        """Return the equations at alpha and ridge, still without a rule."""
        return Equations(replace(self.student, alpha=alpha, ridge=ridge))

    def least_alpha(self) -> float:
        """Return the alpha above which a fit without a penalty exists."""
        student = self.student
        rho = float((student.train_signal**2 / student.train_covariance).sum())
        threshold = separability_threshold(student.n_states, rho)
        return threshold * student.multiplicity**2 / student.counted

    def finer_rules(self, values: Array) -> list[Callable[..., Any]]:
        """Return the rules that refine a coarse solution (m, q, V, ...), in order."""
        *finer, inversion = self.rules[1:] or (None,)
        if not isinstance(inversion, InversionRule):
            return super().finer_rules(values)
        if not inversion.is_affordable(*values[:3].tolist()):
            return finer
        return [*(finer if self.student.n_states <= MANY_STATES else finer[:-1]), inversion]

    def linear(self, equations: FixedPointEquations, values: Array) -> _Linear:
        """Return the equations near the solution of the last rule."""
        return _Linear.of(equations, values, self.student.n_states)


@dataclass(frozen=True, eq=False)
class _Linear:
    """The equations near a solution: what a residual of log(m, q, V) means for it.

    `inverse` is (1 - d log F / d log x)^-1 and `read_out` the slopes of (m, q) of the test fields
    in log x, shape (2, n).
    """

    n_states: int
    inverse: Array
    read_out: Array

    @classmethod
    def of(cls, equations: FixedPointEquations, values: Array, n_states: int) -> _Linear:
        """Return the slopes at `values`, where the last evaluation was, by differences."""
        here = _log_and_read_out(equations, equations.overlaps)
        columns = []
        for i in range(len(values)):
            moved = values.copy()
            moved[i] *= math.exp(JACOBIAN_STEP)
            columns.append(_log_and_read_out(equations, equations(moved)) - here)
        slopes = np.array(columns).T / JACOBIAN_STEP
        jacobian = slopes[:-2]
        inverse: Array = np.linalg.pinv(np.eye(len(values)) - jacobian).astype(np.float64)
        return cls(n_states, inverse, slopes[-2:])

    def step(self, residual: Array) -> Array:
        """Return the Newton step of log x, at most 1 in each."""
        step: Array = np.clip(self.inverse @ residual, -1.0, 1.0)
        return step

    def loss_error(self, equations: FixedPointEquations, error: float) -> float:
        """Return the error of the test loss that an error of log F everywhere leads to.

        The slope vanishes near the best ridge: a second order of one nat stands in there.
        """
        n_states = self.n_states
        m, q = equations.test_overlaps()
        slope_in_m = mean_error(n_states, m, q)
        slope_in_q = (mean_loss(n_states, m, q * 1.001) - mean_loss(n_states, m, q)) / (0.001 * q)
        slopes = np.array([-slope_in_m, slope_in_q]) @ self.read_out @ self.inverse
        return float(np.abs(slopes).sum() * error + error**2)


def _log_and_read_out(equations: FixedPointEquations, overlaps: Array) -> Array:
    return np.append(np.log(overlaps), equations.test_overlaps())


class FixedPointEquations(ABC):
    """Positive order parameters -> the same, of one student; keeps what the last evaluation found.

    `rule` gives the averages over the fields of one site, `overlaps` is the last value.
    """

    student: Any  # with alpha and ridge
    rule: Callable[..., Any]
    overlaps: Array

    @abstractmethod
    def __call__(self, values: Array) -> Array:
        """Return the order parameters that `values` lead to."""

    @abstractmethod
    def cold_start(self) -> Array:
        """Return the order parameters of a student that predicts uniformly."""

    @abstractmethod
    def test_overlaps(self) -> tuple[float, float]:
        """Return (m, q) of the fields in the full context."""

    @abstractmethod
    def train_loss(self) -> float:
        """Return the training loss, without penalty."""

    @abstractmethod
    def coupling_error(self) -> float:
        """Return |J - J*|^2 / |J*|^2."""

    def point(
        self,
        values: Array,
        n_iterations: int,
        change: float,
        loss_error: float,
        problem: str,
    ) -> SolvedPoint:
        """Return the solution at `values`, where the last evaluation was."""
        return SolvedPoint(
            alpha=self.student.alpha,
            ridge=self.student.ridge,
            overlaps=values,
            test_overlaps=self.test_overlaps(),
            train_loss=self.train_loss(),
            coupling_error=self.coupling_error(),
            n_iterations=n_iterations,
            quadrature_error=change,
            loss_error=loss_error,
            problem=problem,
        )


class Equations(FixedPointEquations):
    """(m, q, V) -> (m, q, V) of one `Student`."""

    student: Student
    averages: SiteAverages
    conjugates: Conjugates

    def __init__(self, student: Student) -> None:
        self.student = student

    def __call__(self, values: Array) -> Array:
        self.averages = self.rule(*values.tolist())
        self.conjugates = self.student.conjugates(self.averages)
        self.overlaps = np.maximum(self.student.train_overlaps(self.conjugates), TINY)
        return self.overlaps

    def test_overlaps(self) -> tuple[float, float]:
        """Return (m, q) of the fields in the full context."""
        return self.student.test_overlaps(self.conjugates)

    def cold_start(self) -> Array:
        """Return (m, q, V) from the conjugates of a student that predicts uniformly."""
        miss = 1.0 - 1.0 / self.student.n_states
        conjugates = self.student.conjugates(SiteAverages(miss, miss, miss, 0.0))
        return np.maximum(self.student.train_overlaps(conjugates), TINY)

    def train_loss(self) -> float:
        """Return the training loss, without penalty."""
        return self.averages.train_loss

    def coupling_error(self) -> float:
        """Return |J - J*|^2 / |J*|^2."""
        return self.student.coupling_error(self.conjugates)


def unsolved(alpha: float, ridge: float, problem: str) -> SolvedPoint:
    """Return a point without a solution."""
    nan = math.nan
    return SolvedPoint(alpha, ridge, np.full(3, nan), (nan, nan), nan, nan, 0, nan, nan, problem)
