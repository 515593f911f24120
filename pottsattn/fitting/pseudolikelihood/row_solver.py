"""Solving one row of a site-wise fit, and judging the answer.

L-BFGS in the coordinates of the row, in single precision as far as it goes and in double precision
to the end. The verdict is in double precision, on the gradient in the plain parameters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.interrupts import understood
from pottsattn._core.threads import run_in_threads
from pottsattn.fitting.pseudolikelihood.lbfgs import VECTORS, Descent, descend
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]


class Rows(Protocol):
    """The rows of a fit: `rows_full.FullRows`, `rows_factored.FactoredRows`."""

    data: RowData
    has_single: bool  # an objective in single precision that is faster than that in double

    @property
    def n_parameters(self) -> int: ...
    def start(self, site: int) -> Array: ...
    def tidied(self, site: int, x: Array) -> Array: ...
    def objective(self, site: int, x: NDArray[Any]) -> tuple[float, NDArray[Any]]: ...
    def plain_gradient(self, site: int, gradient: NDArray[Any]) -> NDArray[Any]: ...
    def judge(self, site: int, x: Array) -> tuple[float, float, Array]: ...
    def empty(self) -> Array: ...
    def store(self, site: int, x: Array, fields: Array, rows: Array) -> None: ...
    def couplings(self, rows: Array) -> Couplings: ...


@dataclass(frozen=True, eq=False)
class StopRule:
    """When a row is solved, and when to give up.

    Strong convexity, 2 `strength`, bounds the distance to the minimum by |g|^2 / (4 strength).
    """

    strength: float
    gap_tolerance: float
    gradient_tolerance: float | None
    max_steps: int

    def is_met(self, gradient: NDArray[Any]) -> bool:
        """Whether a gradient in the plain parameters is small enough."""
        if self.gradient_tolerance is not None:
            return bool(np.abs(gradient).max() <= self.gradient_tolerance)
        return float(gradient @ gradient) <= 4.0 * self.strength * self.gap_tolerance


@dataclass(frozen=True)
class SolvedRow:
    """How the solution of one site went."""

    site: int
    objective: float
    loss: float
    gradient_norm: float
    decrement: float  # estimate of the distance to the minimum, nats
    n_evaluations: int
    n_steps: int
    converged: bool
    to_gain: float = np.nan  # by as many steps again, nats per site; of heads only


@dataclass(frozen=True, eq=False)
class Solution:
    """The parameters of a fit and how its rows went; a joint fit has one entry for all sites."""

    fields: Array  # (L, C)
    couplings: Couplings
    rows: list[SolvedRow]
    n_parameters: int
    interrupted: bool


class _Stopped(Exception):
    """Ctrl-C: the other rows are given up."""


def solve_rows(
    rows: Rows,
    rule: StopRule,
    n_threads: int,
    *,
    is_mixed: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Solution:
    """Return the parameters of every site; after Ctrl-C of those solved so far."""
    data = rows.data
    all_rows = rows.empty()  # the largest array: too little memory shows here
    all_fields = data.start_fields * data.learn_fields
    solved: list[SolvedRow] = []
    sites, stop = range(data.length), threading.Event()
    interrupted = False
    try:
        # After Ctrl-C the rows being solved end at their next step.
        for row, x in run_in_threads(
            lambda site: _solve_row(rows, site, rule, stop, is_mixed=is_mixed),
            sites,
            n_threads,
            stop,
        ):
            rows.store(row.site, x, all_fields, all_rows)
            solved.append(row)
            if progress is not None:
                progress(len(solved), data.length)
    except KeyboardInterrupt:
        understood()
        interrupted = True
        solved += [_judge(rows, site, rows.start(site), rule) for site in sites[len(solved) :]]
    return Solution(all_fields, rows.couplings(all_rows), solved, rows.n_parameters, interrupted)


def row_working_bytes(point_size: int, evaluation: int) -> int:
    """Return the bytes that a row takes while it is solved, at worst in double precision.

    `evaluation` are those of its objective, without the gradient.
    """
    return 8 * (VECTORS + 1) * point_size + evaluation  # the point in double is kept beside


def _solve_row(
    rows: Rows, site: int, rule: StopRule, stop: threading.Event, *, is_mixed: bool
) -> tuple[SolvedRow, Array]:
    """Return how it went and the point of a site, in float64."""
    x, n_evaluations, n_steps, decrement = rows.start(site), 0, 0, np.nan

    def evaluate(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        if stop.is_set():
            raise _Stopped
        return rows.objective(site, point)

    def is_done(descent: Descent) -> bool:
        return rule.is_met(rows.plain_gradient(site, descent.gradient))

    for dtype in (np.float32, np.float64)[not is_mixed :]:
        try:
            found = descend(evaluate, x.astype(dtype), is_done, rule.max_steps - n_steps)
        except _Stopped:
            break
        x = rows.tidied(site, found.x.astype(np.float64))
        n_evaluations += found.n_evaluations
        n_steps += found.n_steps
        decrement = found.decrement if found.n_steps else decrement
    return _judge(rows, site, x, rule, n_evaluations, n_steps, decrement), x


def _judge(
    rows: Rows,
    site: int,
    x: Array,
    rule: StopRule,
    n_evaluations: int = 0,
    n_steps: int = 0,
    decrement: float = np.nan,
) -> SolvedRow:
    """Return the verdict on a point."""
    objective, loss, gradient = rows.judge(site, x)
    return SolvedRow(
        site=site,
        objective=objective,
        loss=loss,
        gradient_norm=float(np.linalg.norm(gradient)),
        decrement=decrement,
        n_evaluations=n_evaluations + 1,
        n_steps=n_steps,
        converged=rule.is_met(gradient),
    )
