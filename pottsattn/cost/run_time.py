"""The time that a fit will take, told roughly before it starts.

An evaluation of the objective of all sites costs, for each of the L^2 ordered pairs of sites, some
time for every sequence and some whatever their number (vectors of the optimizer); the last ones, in
double precision, cost more for a sequence. All are measured on this machine, by the kernels of the
fit on small random data, in a second once they are compiled; other programs on its cores come on
top. How many evaluations a fit takes depends on the data and on the penalty; those of TYPICAL are
for the default penalty (ridge 0.2) and lie in the middle of what fits took:

    plm                  10 to 38 (mean over sites)   PF00014: 30
    plm, symmetric       10 to 42                     PF00014: 42
    factored, identity   6 to 25 (mean over sites)    PF00014: 25
    learned, H = 1, 4    12 to 201, 37 to 595         PF00014: 201, 595

Mean field costs the cube of L (C - 1) and some time for every sequence and pair of sites.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pottsattn.data.alignment.identity import sequence_weights
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.heads_problem import HeadsProblem
from pottsattn.fitting.pseudolikelihood.lbfgs import descend
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import Rows
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.symmetric_problem import SymmetricProblem
from pottsattn.model.couplings import Couplings

__all__ = ["Costs", "RunTime", "measured_costs", "plan_time", "readable_seconds"]

TYPICAL = {"plm": 24, "symmetric": 26, "factored": 14, "heads": 80}  # heads: times the root of H
WITHIN = {"plm": 3, "symmetric": 3, "factored": 3, "heads": 8, "mf": 3}  # factors
JOINT = ("symmetric", "heads")  # forms that are solved for all sites together
N_JUDGED = 2  # evaluations in double precision that end a fit
NUMBERS = 600_000  # of the largest array of a measurement
EVALUATED = 3_000_000  # sequences times pairs of sites in it
FEW, MOST = 32, 20_000  # sequences
STEPS = 12  # by then L-BFGS holds all pairs of vectors it ever will
PENALTY = 0.1  # whatever it is, an evaluation costs the same
LEAST = 1e-13  # seconds: two measurements may differ by nothing
COMPARED = 3000  # sequences
SHORT, LONGEST, MATRIX = 40, 300, 600  # sites, and L (C - 1), of mean field


@dataclass(frozen=True)
class Costs:
    """Seconds on one thread of this machine.

    Attributes
    ----------
    sequence : float
        For an evaluation, an ordered pair of sites and a sequence.
    pair : float
        For an evaluation and an ordered pair of sites, beyond that.
    double : float
        As `sequence`, for an evaluation in double precision.
    cube : float
        For the inverse of a matrix, over the cube of its width (mean field).
    comparison : float
        For two sequences whose identity is compared.
    """

    sequence: float
    pair: float = 0.0
    double: float = 0.0
    cube: float = 0.0
    comparison: float = 0.0


@dataclass(frozen=True)
class RunTime:
    """The time of a fit.

    Attributes
    ----------
    stages : dict of float or None
        Seconds by stage; None where unknown.
    n_evaluations : int or None
        Of the objective of all sites, as a typical fit takes; None where there are none.
    within : int or None
        The factor by which the time is uncertain.
    """

    stages: dict[str, float | None]
    n_evaluations: int | None
    within: int | None

    @property
    def seconds(self) -> float | None:
        """The time of all stages, s; None if one is unknown."""
        known = [seconds for seconds in self.stages.values() if seconds is not None]
        return sum(known) if len(known) == len(self.stages) else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, times with two digits."""
        stages = {name: _rounded(seconds) for name, seconds in self.stages.items()}
        return {
            "seconds": _rounded(self.seconds),
            "seconds_by_stage": stages,
            "seconds_within_factor": self.within,
            "typical_evaluations": self.n_evaluations,
        }

    def __str__(self) -> str:
        if self.seconds is None:
            return "time unknown: it depends on the device"
        parts = ", ".join(
            f"{name} {readable_seconds(seconds)}"
            for name, seconds in self.stages.items()
            if seconds is not None
        )
        text = f"time about {readable_seconds(self.seconds)}, within a factor of {self.within}"
        if self.n_evaluations is not None:
            text += f" at the default penalty ({self.n_evaluations} evaluations)"
        return f"{text}: {parts}"


def plan_time(
    form: str,
    length: int,
    n_states: int,
    n_sequences: int,
    n_threads: int,
    *,
    n_heads: int = 1,
    costs: Costs | None = None,
) -> RunTime:
    """Return the time that a fit will take; that of attention and transformers is unknown.

    Parameters
    ----------
    form
        As `pottsattn.cost.memory.form_of_fit` returns it.
    length, n_states, n_sequences, n_threads, n_heads
        L, C, M, threads and heads H.
    costs
        `measured_costs` of these sizes if left out.
    """
    weights, fit = "sequence weights of an alignment", "fit"
    if form in ("attention", "transformer"):
        return RunTime({weights: None, fit: None}, None, None)
    costs = measured_costs(form, length, n_states, n_heads) if costs is None else costs
    n_workers = min(n_threads, os.cpu_count() or 1)
    stages: dict[str, float | None] = {weights: 0.5 * n_sequences**2 * costs.comparison / n_workers}
    if form == "mf":
        stages[fit] = (
            costs.cube * (length * (n_states - 1)) ** 3 + costs.sequence * n_sequences * length**2
        )
        return RunTime(stages, None, WITHIN[form])
    n_evaluations = round(TYPICAL[form] * (math.sqrt(n_heads) if form == "heads" else 1.0))
    # The vectors of a symmetric fit are those of all sites, and one thread works on them.
    pair_workers = 1 if form == "symmetric" else n_workers
    step = costs.sequence * n_sequences / n_workers + costs.pair / pair_workers
    judgment = N_JUDGED * costs.double * n_sequences / n_workers
    stages[fit] = length**2 * (n_evaluations * step + judgment)
    return RunTime(stages, n_evaluations, WITHIN[form])


def measured_costs(form: str, length: int, n_states: int, n_heads: int = 1) -> Costs:
    """Return the costs of a fit, measured at no more than its sizes."""
    comparison = _comparison_cost(length, n_states)
    with threadpool_limits(limits=1, user_api="blas"):
        if form == "mf":
            sequence, cube = _mean_field_costs(length, n_states)
            return Costs(sequence, cube=cube, comparison=comparison)
        sequence, double = _kernel_costs(form, length, n_states)
        pair = _vector_cost(form, length, n_states, n_heads, sequence)
    return Costs(sequence, pair, double, comparison=comparison)


def readable_seconds(seconds: float) -> str:
    """Return a time as text with one or two digits, such as 40 s."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(_rounded(seconds / size) or 0.0, 0.1):g} {unit}"
    return f"{_rounded(seconds / 86400):g} days"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.2g}")


def _random_data(n_sequences: int, length: int, n_states: int) -> SequenceDataset:
    rng = np.random.default_rng(0)
    return SequenceDataset(
        rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8), n_states
    )


def _kernel_costs(form: str, length: int, n_states: int) -> tuple[float, float]:
    """Return the seconds of a sequence and pair of sites, as the fit steps and in double."""
    length = max(2, min(length, NUMBERS // n_states**2))
    many = max(10 * FEW, min(MOST, EVALUATED // length))
    rows = "factored" if form == "factored" else "plm"
    evaluate, start = _objective(rows, many, length, n_states)
    evaluate_few, _ = _objective(rows, FEW, length, n_states)

    def cost(x: NDArray[Any]) -> float:
        evaluate(x)  # what is compiled or kept is so from here on
        difference = _fastest(lambda: evaluate(x)) - _fastest(lambda: evaluate_few(x))
        return max(LEAST, difference / ((many - FEW) * length))

    return cost(start), cost(start.astype(np.float64))


def _vector_cost(form: str, length: int, n_states: int, n_heads: int, sequence: float) -> float:
    """Return the seconds of a step and pair of sites, beyond those of the sequences."""
    is_joint = form in JOINT
    per_pair = max(n_states**2, n_heads)
    most = math.isqrt(NUMBERS // per_pair) if is_joint else NUMBERS // per_pair
    length = max(2, min(length, most))
    evaluate, start = _objective(form, FEW, length, n_states, n_heads)
    descents = []
    seconds = _fastest(
        lambda: descents.append(descend(evaluate, start, lambda *_: False, STEPS)), 2
    )
    n_pairs = length**2 if is_joint else length
    return max(LEAST, seconds / descents[0].n_evaluations / n_pairs - FEW * sequence)


def _objective(
    form: str, n_sequences: int, length: int, n_states: int, n_heads: int = 1
) -> tuple[Callable[[Any], tuple[float, Any]], Any]:
    """Return the objective of a fit, of one site if sites are solved one by one, and a point."""
    dataset = _random_data(n_sequences, length, n_states)
    data = RowData.of(dataset, Penalty(PENALTY, PENALTY), learn_fields=True)
    if form == "symmetric":
        symmetric = SymmetricProblem(data, 1)
        return symmetric.objective, symmetric.start().astype(np.float32)
    if form == "heads":
        heads = HeadsProblem(data, n_heads, 1)
        shape = (n_heads, data.n_states, data.n_states)
        similarity = np.random.default_rng(0).normal(size=shape)
        interactions = np.zeros((n_heads, data.length, data.length))
        start = heads.point(data.start_fields, Couplings(interactions, similarity))
        return heads.objective, start.astype(np.float32)
    rows: Rows = FullRows(data) if form == "plm" else FactoredRows(data)
    start = rows.start(0)
    return lambda x: rows.objective(0, x), start.astype(np.float32) if rows.has_single else start


def _mean_field_costs(length: int, n_states: int) -> tuple[float, float]:
    """Return the seconds of a sequence and pair of sites, and of the cube of L (C - 1)."""

    def seconds(n_sequences: int, length: int) -> float:
        dataset = _random_data(n_sequences, length, n_states)
        return _fastest(lambda: fit_mean_field(dataset), 2)

    short = max(2, min(length, SHORT, MATRIX // (n_states - 1)))
    many = max(10 * FEW, min(MOST, 10 * EVALUATED // (n_states * short**2)))
    difference = seconds(many, short) - seconds(FEW, short)
    sequence = max(LEAST, difference / ((many - FEW) * short**2))
    length = max(2, min(length, MATRIX // (n_states - 1), LONGEST))
    inverse = max(LEAST, seconds(FEW, length) - sequence * FEW * length**2)
    return sequence, inverse / (length * (n_states - 1)) ** 3


def _comparison_cost(length: int, n_states: int) -> float:
    data = _random_data(COMPARED, min(length, 1000), n_states)
    sequence_weights(data.sequences[:2], 0.8, n_threads=1)
    seconds = _fastest(lambda: sequence_weights(data.sequences, 0.8, n_threads=1), 1)
    return 2.0 * seconds / COMPARED**2


def _fastest(function: Callable[[], Any], n_repeats: int = 3) -> float:
    """Return the least seconds of some calls."""
    times = []
    for _ in range(n_repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)
