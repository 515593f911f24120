"""Site-wise pseudo-likelihood (plmDCA): every site's row is a penalised softmax regression.

The objective of site i is

    mean_m[ -log P(s_i | s_-i) ] + fields_l2 |h_i|^2 + R_i

with R_i as in `pottsattn.fitting.result.Penalty` and weighted means over sequences. It is convex,
and 2 l2-strongly convex when all parameters are penalised, so |gradient|^2 / (4 l2) bounds the
distance to the optimum in nats: that bound is the stop rule. Rows are independent and solved in
parallel by L-BFGS; working memory is one row per thread.

References: Ekeberg et al., Phys. Rev. E 87, 012707 (2013); Rende et al., Phys. Rev. Research 6,
023057 (2024), section II (factored couplings).
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pottsattn._numba import n_threads_or_default, run_in_threads
from pottsattn._validate import (
    ConvergenceWarning,
    check_at_least,
    check_choice,
    check_kind,
    check_positive,
)
from pottsattn.couplings import Couplings
from pottsattn.dataset import SequenceDataset
from pottsattn.fitting.kernels_pseudolikelihood import row_loss_factored, row_loss_full
from pottsattn.fitting.result import FitResult, Penalty, penalty_for

__all__ = ["METHODS", "fit_pseudolikelihood"]

Array = NDArray[np.float64]
METHODS = ("plm", "factored")
PSEUDOCOUNT = 0.5  # of one sequence, in the starting fields only
UNPENALIZED_GRADIENT_TOLERANCE = 1e-7


def fit_pseudolikelihood(
    dataset: SequenceDataset,
    method: str = "plm",
    *,
    ridge: float | None = None,
    couplings_l2: float | None = None,
    fields_l2: float = 0.01,
    fields: str = "learned",
    gap_tolerance: float = 1e-6,
    gradient_tolerance: float | None = None,
    max_steps: int = 1000,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Return the pseudo-likelihood fit of a data set.

    Parameters
    ----------
    dataset
        Weighted sequences; the true model, if any, is not looked at.
    method
        "plm": a free C x C block per pair. "factored": J_ij = A_ij I, one head with the identity as
        color similarity, the function of one layer of factored attention.
    ridge, couplings_l2
        The penalty on couplings, in the units of the theory, couplings_l2 = ridge / (2 alpha), or
        directly. `ridge` is 0.2 if both are left out (on an alignment about CCMpred's 0.2 (L - 1)).
    fields_l2
        The penalty on fields.
    fields
        "learned" or "none" (h = 0, as in the replica theory).
    gap_tolerance
        A site has converged when its objective is provably within this many nats of its minimum.
    gradient_tolerance
        Stop on the largest gradient entry instead; needed when a penalty is zero (then 1e-7).
    max_steps
        L-BFGS steps per site.
    progress
        Called with (sites done, sites) from the calling thread.

    Returns
    -------
    FitResult
        Rows as the optimum left them: neither symmetrized nor gauge-fixed. Interrupted by Ctrl-C:
        the rows solved so far, the others without couplings, not converged.

    Raises
    ------
    InputError
        A wrong option value.

    Warns
    -----
    ConvergenceWarning
        Some site ran out of steps.
    """
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    check_choice("method", method, METHODS)
    check_choice("fields", fields, ("learned", "none"))
    check_positive("gap_tolerance", gap_tolerance)
    check_at_least("max_steps", max_steps, 1)
    penalty = penalty_for(dataset, ridge=ridge, couplings_l2=couplings_l2, fields_l2=fields_l2)
    problem = _Problem.of(dataset, method, penalty, fields == "learned")
    strength = min([penalty.couplings_l2] + [penalty.fields_l2] * problem.learn_fields)
    if gradient_tolerance is None and strength == 0.0:
        gradient_tolerance = UNPENALIZED_GRADIENT_TOLERANCE

    stop = threading.Event()
    rule = _StopRule(strength, gap_tolerance, gradient_tolerance, max_steps, stop)
    started = time.perf_counter()
    solution = problem.empty_solution()  # the largest array: too little memory shows here
    rows: list[_Row] = []
    tasks = range(dataset.length)
    workers = n_threads_or_default(n_threads)
    interrupted = False
    try:
        # After Ctrl-C the rows being solved end at their next step.
        for row, x in run_in_threads(lambda i: _solve_row(problem, i, rule), tasks, workers, stop):
            problem.store(solution, row.site, x)
            rows.append(row)
            if progress is not None:
                progress(len(rows), dataset.length)
    except KeyboardInterrupt:
        interrupted = True
        rows += [_judge(problem, site, problem.start(site), rule, 0) for site in tasks[len(rows) :]]
    seconds = time.perf_counter() - started

    gap = max(row.gradient_norm for row in rows) ** 2 / (4.0 * strength) if strength else np.nan
    converged = all(row.converged for row in rows)
    message = _message(rows, max_steps, gap, interrupted)
    if not converged and not interrupted:
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return FitResult(
        method=method,
        fields=solution.fields,
        couplings=problem.couplings(solution),
        n_sequences=dataset.n_sequences,
        effective_size=dataset.effective_size,
        objective=sum(row.objective for row in rows),
        train_loss=sum(row.loss for row in rows) / dataset.length,
        penalty=penalty,
        gradient_norm=max(row.gradient_norm for row in rows),
        optimality_gap=gap,
        n_evaluations=max(row.n_evaluations for row in rows),
        n_parameters=problem.n_parameters,
        seconds=seconds,
        converged=converged,
        interrupted=interrupted,
        message=message,
        alphabet=dataset.alphabet,
        gap_index=dataset.gap_index,
        columns=dataset.columns,
        config={
            "fields": fields,
            "gap_tolerance": gap_tolerance,
            "gradient_tolerance": gradient_tolerance,
            "max_steps": max_steps,
        }
        | ({"color_similarity": "identity", "heads": 1} if method == "factored" else {}),
        origin={"data": dataset.origin},
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """The data of a fit and the layout of one row's parameters: [fields of the site,] couplings."""

    sequences: NDArray[np.uint8]
    weights: Array
    start_fields: Array  # (L, C)
    n_states: int
    penalty: Penalty
    learn_fields: bool
    is_full: bool

    @classmethod
    def of(
        cls, dataset: SequenceDataset, method: str, penalty: Penalty, learn_fields: bool
    ) -> _Problem:
        start = np.zeros((dataset.length, dataset.n_states))
        if learn_fields:
            pseudocount = PSEUDOCOUNT / dataset.effective_size
            start = np.log(dataset.site_frequencies() + pseudocount / dataset.n_states)
            start -= start.mean(axis=1, keepdims=True)
        return cls(
            dataset.sequences,
            dataset.normalized_weights,
            start,
            dataset.n_states,
            penalty,
            learn_fields,
            method == "plm",
        )

    @property
    def length(self) -> int:
        return self.sequences.shape[1]

    @property
    def n_parameters(self) -> int:
        per_pair = self.n_states**2 if self.is_full else 1
        fields = self.length * self.n_states * self.learn_fields
        return fields + self.length * (self.length - 1) * per_pair

    @property
    def row_size(self) -> int:
        return self.length * (self.n_states**2 if self.is_full else 1)

    def start(self, site: int) -> Array:
        fields = self.start_fields[site] if self.learn_fields else np.empty(0)
        return np.concatenate([fields, np.zeros(self.row_size)])

    def loss(self, site: int, x: Array) -> tuple[float, Array]:
        """Return the loss of a site without penalty and its gradient."""
        n_fields = self.n_states * self.learn_fields
        fields = x[:n_fields] if self.learn_fields else self.start_fields[site]
        gradient = np.empty_like(x)
        fields_gradient = gradient[:n_fields] if self.learn_fields else np.empty(self.n_states)
        kernel = row_loss_full if self.is_full else row_loss_factored
        loss = kernel(
            site,
            self.sequences,
            self.weights,
            fields,
            x[n_fields:],
            fields_gradient,
            gradient[n_fields:],
        )
        return loss, gradient

    def objective(self, site: int, x: Array) -> tuple[float, Array]:
        """Return the penalised objective of a site and its gradient.

        With U = I the factored penalty couplings_l2 / (C - 1) |P A_ij P|^2 is couplings_l2 A_ij^2,
        so both methods penalise plain squares.
        """
        value, gradient = self.loss(site, x)
        n_fields = self.n_states * self.learn_fields
        fields, couplings = x[:n_fields], x[n_fields:]
        value += self.penalty.fields_l2 * float(fields @ fields)
        value += self.penalty.couplings_l2 * float(couplings @ couplings)
        gradient[:n_fields] += 2.0 * self.penalty.fields_l2 * fields
        gradient[n_fields:] += 2.0 * self.penalty.couplings_l2 * couplings
        return value, gradient

    def empty_solution(self) -> _Solution:
        """Return fields at their start and couplings of zero for every site."""
        shape: tuple[int, ...] = (self.length, self.length)
        if self.is_full:
            shape += (self.n_states, self.n_states)
        return _Solution(self.start_fields.copy(), np.zeros(shape))

    def store(self, solution: _Solution, site: int, x: Array) -> None:
        """Write the parameters of a site into its row."""
        n_fields = self.n_states * self.learn_fields
        if self.learn_fields:
            solution.fields[site] = x[:n_fields]
        row = solution.rows[site]
        if self.is_full:  # the kernel's [j, b, a] becomes [j, a, b]
            row[:] = x[n_fields:].reshape(row.shape).transpose(0, 2, 1)
        else:
            row[:] = x[n_fields:]

    def couplings(self, solution: _Solution) -> Couplings:
        """Return the couplings of all rows."""
        if self.is_full:
            return Couplings(dense=solution.rows)
        return Couplings(solution.rows[None], np.eye(self.n_states)[None])


@dataclass(frozen=True, eq=False)
class _Solution:
    """Parameters of all sites, filled row by row."""

    fields: Array  # (L, C)
    rows: Array  # (L, L, C, C) or (L, L)


@dataclass(frozen=True, eq=False)
class _StopRule:
    """When a site is solved, and when to give up."""

    strength: float  # strong convexity is 2 strength
    gap_tolerance: float
    gradient_tolerance: float | None
    max_steps: int
    stop: threading.Event

    def is_met(self, gradient: Array) -> bool:
        if self.gradient_tolerance is not None:
            return bool(np.abs(gradient).max() <= self.gradient_tolerance)
        return float(gradient @ gradient) <= 4.0 * self.strength * self.gap_tolerance


@dataclass(frozen=True)
class _Row:
    """How the solution of one site went."""

    site: int
    objective: float
    loss: float
    gradient_norm: float
    n_evaluations: int
    n_steps: int
    converged: bool


def _solve_row(problem: _Problem, site: int, rule: _StopRule) -> tuple[_Row, Array]:
    last: dict[str, Any] = {}

    def evaluate(x: Array) -> tuple[float, Array]:
        value, gradient = problem.objective(site, x)
        last.update(x=x.copy(), gradient=gradient)
        return value, gradient

    def stop_when_done(intermediate_result: Any) -> None:
        if rule.stop.is_set():
            raise StopIteration
        # The accepted point is the last one evaluated, so its gradient is at hand.
        if np.array_equal(intermediate_result.x, last["x"]) and rule.is_met(last["gradient"]):
            raise StopIteration

    found = minimize(
        evaluate,
        problem.start(site),
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_done,
        # ftol and gtol never stop the solver: the rule above does, or max_steps, or rounding.
        options={
            "maxiter": rule.max_steps,
            "maxfun": 20 * rule.max_steps,
            "ftol": 0.0,
            "gtol": 0.0,
        },
    )
    return _judge(problem, site, found.x, rule, found.nfev, max(found.nit, 1)), found.x


def _judge(
    problem: _Problem, site: int, x: Array, rule: _StopRule, n_evaluations: int, n_steps: int = 0
) -> _Row:
    value, gradient = problem.objective(site, x)
    n_fields = problem.n_states * problem.learn_fields
    squares = problem.penalty.fields_l2 * float(x[:n_fields] @ x[:n_fields])
    squares += problem.penalty.couplings_l2 * float(x[n_fields:] @ x[n_fields:])
    return _Row(
        site=site,
        objective=value,
        loss=value - squares,
        gradient_norm=float(np.linalg.norm(gradient)),
        n_evaluations=n_evaluations + 1,
        n_steps=n_steps,
        converged=rule.is_met(gradient),
    )


def _message(rows: list[_Row], max_steps: int, gap: float, interrupted: bool) -> str:
    norm = max(row.gradient_norm for row in rows)
    state = f"gradient norm {norm:.1e}"
    if np.isfinite(gap):
        state += f", at most {gap:.1e} nats per site above the minimum"
    failed = [row for row in rows if not row.converged]
    if interrupted:
        return (
            f"interrupted: {len(rows) - len(failed)} of {len(rows)} sites are solved, the others "
            "have no couplings"
        )
    if not failed:
        return f"every site converged: {state}"
    if all(row.n_steps < max_steps for row in failed):
        return (
            f"{len(failed)} of {len(rows)} sites stopped where float64 cannot lower the objective "
            f"further: {state}; usually the optimum within rounding, loosen the tolerance"
        )
    return (
        f"{len(failed)} of {len(rows)} sites did not converge in {max_steps} steps: {state}; "
        "raise max_steps or the penalty"
    )
