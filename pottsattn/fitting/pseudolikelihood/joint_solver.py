"""Solving for the parameters of all sites together, and judging the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn.fitting.pseudolikelihood.lbfgs import VECTORS, descend
from pottsattn.fitting.pseudolikelihood.row_solver import Solution, SolvedRow, StopRule
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
SETTLED_STEPS = 3  # in a row that must agree: one estimate alone may be far off


class JointProblem(Protocol):
    """`symmetric_problem.SymmetricProblem` or `heads_problem.HeadsProblem`."""

    @property
    def n_parameters(self) -> int: ...
    def tidied(self, x: Array) -> Array: ...
    def objective(self, x: NDArray[Any]) -> tuple[float, NDArray[Any]]: ...
    def plain_gradient(self, x: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]: ...
    def judge(self, x: Array) -> tuple[float, float, Array]: ...
    def parameters(self, x: Array) -> tuple[Array, Couplings]: ...


@dataclass(eq=False)
class SettledRule:
    """Where nothing is convex: solved when the estimated distance stays below a tolerance, nats."""

    gap_tolerance: float
    max_steps: int
    n_good: int = 0

    def is_met(self, _gradient: NDArray[Any], decrement: float) -> bool:
        """Whether this and the steps before it were all as near."""
        self.n_good = self.n_good + 1 if decrement <= self.gap_tolerance else 0
        return self.n_good >= SETTLED_STEPS


def descent_bytes(point_size: int) -> int:
    """Return the bytes of a descent in single precision, its start in double among them.

    That is what the default penalty takes, with a step or two in double; next to no penalty may
    need twice as much.
    """
    return (4 * VECTORS + 8) * point_size


def solve_jointly(
    problem: JointProblem,
    start: Array,
    rule: StopRule | SettledRule,
    *,
    is_mixed: bool,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[NDArray[Any]], None] | None = None,
) -> Solution:
    """Return the parameters and how it went; after Ctrl-C those of the best point so far.

    `progress` is called with (evaluations, max_steps), `observe` with every point evaluated. The
    objective never rises from step to step, but for rounding.
    """
    x, n_evaluations, n_steps, decrement = start, 0, 0, np.nan
    best: tuple[float, Any] = (np.inf, x)
    interrupted = is_done = False

    def evaluate(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        nonlocal best, n_evaluations
        if observe is not None:
            observe(point)
        value, gradient = problem.objective(point)
        if value < best[0]:
            best = value, point
        n_evaluations += 1
        if progress is not None:
            progress(min(n_evaluations, rule.max_steps), rule.max_steps)
        return value, gradient

    def is_met(point: NDArray[Any], gradient: NDArray[Any], decrement: float) -> bool:
        return rule.is_met(problem.plain_gradient(point, gradient), decrement)

    try:
        for dtype in (np.float32, np.float64)[not is_mixed :]:
            best = (np.inf, x)
            found = descend(evaluate, x.astype(dtype), is_met, rule.max_steps - n_steps)
            x = problem.tidied(found.x.astype(np.float64))
            n_steps += found.n_steps
            decrement = found.decrement if found.n_steps else decrement
            is_done = found.is_done
            if isinstance(rule, SettledRule) and is_done:
                break  # the estimate would have to be gathered anew
    except KeyboardInterrupt:
        interrupted = True
        x = problem.tidied(best[1].astype(np.float64))
    objective, loss, gradient = problem.judge(x)
    if isinstance(rule, StopRule):
        is_done = rule.is_met(gradient, decrement)
    row = SolvedRow(
        site=-1,
        objective=objective,
        loss=loss,
        gradient_norm=float(np.linalg.norm(gradient)),
        decrement=decrement,
        n_evaluations=n_evaluations + 1,
        n_steps=n_steps,
        converged=is_done and not interrupted,
    )
    return Solution(*problem.parameters(x), [row], problem.n_parameters, interrupted)
