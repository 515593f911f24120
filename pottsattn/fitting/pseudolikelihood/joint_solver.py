"""Solving for the parameters of all sites together, and judging the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.interrupts import understood
from pottsattn.fitting.pseudolikelihood.lbfgs import VECTORS, Descent, Metric, descend
from pottsattn.fitting.pseudolikelihood.row_solver import Solution, SolvedRow, StopRule
from pottsattn.fitting.settling import Settling
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
TUNING_STEPS = 15  # before a metric is chosen


class JointProblem(Protocol):
    """`symmetric_problem.SymmetricProblem` or `heads_problem.HeadsProblem`."""

    @property
    def n_parameters(self) -> int: ...
    def tidied(self, x: Array) -> Array: ...
    def objective(self, x: NDArray[Any]) -> tuple[float, NDArray[Any]]: ...
    def plain_gradient(self, x: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]: ...
    def judge(self, x: Array) -> tuple[float, float, Array]: ...
    def parameters(self, x: Array) -> tuple[Array, Couplings]: ...


@dataclass(frozen=True, eq=False)
class SettledRule:
    """Where nothing is convex: solved when the objective has settled."""

    settling: Settling
    max_steps: int

    def is_met(self, descent: Descent) -> bool:
        """Take in where a descent is, and tell whether that is the end."""
        if descent.n_steps == 0:
            self.settling.restart(descent.value)
        else:
            self.settling.add(descent.value, descent.decrement)
        return self.settling.is_met


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
    tune: Callable[[Array], Metric] | None = None,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[NDArray[Any]], None] | None = None,
) -> Solution:
    """Return the parameters and how it went; after Ctrl-C those of the best point so far.

    `tune` returns a metric for the steps from a point: it is called after the first few, and where
    the precision changes. `progress` is called with (evaluations, steps allowed), `observe` with
    every point evaluated. The objective never rises from step to step, but for rounding.
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

    def is_met(descent: Descent) -> bool:
        if isinstance(rule, StopRule):
            return rule.is_met(problem.plain_gradient(descent.x, descent.gradient))
        return rule.is_met(descent)

    dtypes = (np.float32, np.float64)[not is_mixed :]
    stages = [(dtype, rule.max_steps, tune) for dtype in dtypes]
    if tune is not None:
        stages.insert(0, (dtypes[0], TUNING_STEPS, None))
    try:
        for dtype, most, change in stages:
            metric = None
            if change is not None:
                metric = change(x)
            best = (np.inf, x)
            most = min(most, rule.max_steps - n_steps)
            found = descend(evaluate, x.astype(dtype), is_met, most, metric)
            x = problem.tidied(found.x.astype(np.float64))
            n_steps += found.n_steps
            decrement = found.decrement if found.n_steps else decrement
            is_done = found.is_done
            del found  # its pairs
            if isinstance(rule, SettledRule) and is_done:
                break  # the estimate would have to be gathered anew
    except KeyboardInterrupt:
        understood()
        interrupted = True
        x = problem.tidied(best[1].astype(np.float64))
    objective, loss, gradient = problem.judge(x)
    if isinstance(rule, StopRule):
        is_done = rule.is_met(gradient)
    row = SolvedRow(
        site=-1,
        objective=objective,
        loss=loss,
        gradient_norm=float(np.linalg.norm(gradient)),
        decrement=decrement,
        n_evaluations=n_evaluations + 1,
        n_steps=n_steps,
        converged=is_done and not interrupted,
        to_gain=rule.settling.falls_on() if isinstance(rule, SettledRule) else np.nan,
    )
    return Solution(*problem.parameters(x), [row], problem.n_parameters, interrupted)
