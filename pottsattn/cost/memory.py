"""The memory that a fit will take, told before it starts, and the memory there is.

Every stage keeps some bytes to the end and needs others while it runs; the peak is

    max over stages s of (sum over t <= s of kept_t) + working_s.

Solvers declare their arrays where they make them; here they are added up. What surrounds them
(libraries, arenas of threads) is measured; benchmarks/memory.py lays estimates beside measured
peaks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from pottsattn._core.display import one_line, readable_bytes
from pottsattn._core.machine import available_memory
from pottsattn._core.validate import InputError, check_at_least, check_choice, check_n_states
from pottsattn.data.alignment.identity import weighting_bytes
from pottsattn.data.alignment.records import reading_bytes
from pottsattn.fitting import mean_field
from pottsattn.fitting.losses import losses_bytes
from pottsattn.fitting.methods import (
    COLOR_SIMILARITIES,
    FACTORED,
    METHODS,
    TRAINED,
    check_heads,
)
from pottsattn.fitting.pseudolikelihood.heads_fit import patterns_bytes
from pottsattn.fitting.pseudolikelihood.heads_problem import HeadsProblem
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.symmetric_problem import SymmetricProblem
from pottsattn.fitting.selection import curvature

# Measured, with Python 3.11 on Linux; all are peaks of the resident memory.
LIBRARIES = 160 << 20  # Python, NumPy, Numba with its kernels on disk; compiling takes 60 MiB more
SOLVERS, TORCH = 20 << 20, 170 << 20  # libraries of a method
FIRST_STEP = 160 << 20  # thread arenas and workspaces of torch
REMEDIES: dict[str, dict[str, Any]] = {  # other fits; one that changes nothing does not fit either
    "the fit without `symmetric`": {"symmetric": False},
    "a given `ridge` and no `errors`": {"chooses_ridge": False, "wants_errors": False},
    "`n_threads=1`": {"n_threads": 1},
    "`color_similarity='identity'`": {"color_similarity": "identity"},
    "`method='factored'`": {"method": "factored", "symmetric": False},
}


@dataclass(frozen=True)
class PlannedFit:
    """A fit by its sizes and what is asked of it.

    Attributes
    ----------
    method : str
        "plm", "factored", "attention", "transformer" or "mf".
    length, n_states, n_sequences, n_threads, n_heads, n_layers : int
        L, C, M, threads T, heads H (of factored, attention, transformer), layers of a transformer.
    symmetric, color_similarity : bool, str or None
        As in `fit_pseudolikelihood`: one block for each pair of sites (plm); "identity" (one head,
        the default of one head) or "learned". It does not count where the method has none.
    chooses_ridge, wants_errors : bool
        The ridge by leave-one-out, and standard errors: the curvature of plm takes memory.

    Raises
    ------
    InputError
        An unknown method, options that do not belong to it, or a size out of range.

    Examples
    --------
    >>> fit = PlannedFit("plm", length=1000, n_states=21, n_sequences=2000, n_threads=2)
    >>> readable_bytes(fit.memory().file_bytes)
    '3.3 GiB'
    """

    method: str
    length: int
    n_states: int
    n_sequences: int
    n_threads: int
    n_heads: int = 1
    n_layers: int = 1
    symmetric: bool = False
    color_similarity: str | None = None
    chooses_ridge: bool = False
    wants_errors: bool = False

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        if self.symmetric and self.method != "plm":
            raise InputError(f"symmetric applies to plm, not to {self.method}")
        similarity = self.color_similarity or "learned"
        check_choice("color_similarity", similarity, COLOR_SIMILARITIES)
        check_heads(self.n_heads, similarity if self.method in FACTORED else "learned")
        check_at_least("length", self.length, 2)
        check_n_states(self.n_states)
        check_at_least("sequences", self.n_sequences, 1)
        check_at_least("threads", self.n_threads, 1)

    @property
    def learns_similarity(self) -> bool:
        """Whether U is learned: by wish, or since there are several heads."""
        return self.n_heads > 1 or self.color_similarity == "learned"

    @property
    def form(self) -> str:
        """Which program runs: the method, "symmetric" plm, or "heads": factored, U learned."""
        if self.method == "factored" and self.learns_similarity:
            return "heads"
        return "symmetric" if self.symmetric else self.method

    def memory(self) -> MemoryPlan:
        """Return the memory that the fit will take, stage by stage."""
        sizes = (self.length, self.n_states, self.n_sequences)
        n_letters = self.n_sequences * self.length
        weighting = weighting_bytes(*sizes, self.n_threads)
        before = (
            Stage("Python, NumPy, Numba", LIBRARIES),
            Stage("reading the data", n_letters, reading_bytes(n_letters, self.n_sequences)),
            Stage("sequence weights", 8 * self.n_sequences, weighting),
        )
        is_trained = self.method in TRAINED
        libraries = Stage("libraries of the method", TORCH if is_trained else SOLVERS)
        stages, file_bytes = _trained(self) if is_trained else _solved(self)
        return MemoryPlan((*before, libraries, *stages), len(before), file_bytes)


@dataclass(frozen=True)
class Stage:
    """Bytes that a part of a run takes: kept to the end, and while it lasts."""

    stage: str
    kept_bytes: int
    working_bytes: int = 0


@one_line
@dataclass(frozen=True)
class MemoryPlan:
    """The stages of a fit, in their order.

    Attributes
    ----------
    stages : tuple of Stage
    n_before : int
        How many of them are over when the data have been read.
    file_bytes : int
        Size of the arrays in the file of the fit; they are written without a copy.
    """

    stages: tuple[Stage, ...]
    n_before: int
    file_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory at any time."""
        return max(self._levels())

    @property
    def bytes_to_come(self) -> int:
        """The most memory at any time beyond what is held when the data have been read."""
        held = sum(stage.kept_bytes for stage in self.stages[: self.n_before])
        return max(self._levels()[self.n_before :]) - held

    def _levels(self) -> list[int]:
        held = accumulate(stage.kept_bytes for stage in self.stages)
        return [kept + stage.working_bytes for kept, stage in zip(held, self.stages, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain numbers."""
        levels = zip(self.stages, self._levels(), strict=True)
        stages = [{**asdict(stage), "total_bytes": level} for stage, level in levels]
        return {"stages": stages, "peak_bytes": self.peak_bytes, "file_bytes": self.file_bytes}

    def __str__(self) -> str:
        rows = [("stage", "kept", "working", "in all")]
        for row in self.to_dict()["stages"]:
            name, *sizes = row.values()
            rows.append((name, *map(readable_bytes, sizes)))
        width = max(len(row[0]) for row in rows)
        return "\n".join(
            "  ".join([f"{name:{width}}", *(f"{size:>10}" for size in sizes)])
            for name, *sizes in rows
        )


def _solved(fit: PlannedFit) -> tuple[list[Stage], int]:
    """Return the stages of a fit by a solver, and the bytes of its fields and couplings."""
    sizes, of_data = (fit.length, fit.n_states), (fit.length, fit.n_states, fit.n_sequences)
    fields, tensor = 8 * math.prod(sizes), 8 * math.prod(FullRows.stored_shape(*sizes))
    result, working = fields + tensor, 0
    stages = [Stage("starting point", *RowData.bytes_of(*of_data))]
    if fit.form == "mf":
        solving = mean_field.solving_bytes(*sizes)
        stages = [Stage("correlations, their inverse and its copy", 0, solving)]
        working = losses_bytes(*of_data)
    elif fit.form == "symmetric":
        pairs = SymmetricProblem.working_bytes(*of_data, fit.n_threads)
        stages.append(Stage("pairs, all together", 0, pairs))
        working = SymmetricProblem.judging_bytes(*sizes)
    elif fit.form == "heads":
        heads = HeadsProblem.working_bytes(*of_data, fit.n_threads, fit.n_heads)
        stages.append(Stage("patterns of the covariances", 0, patterns_bytes(*sizes)))
        stages.append(Stage("heads, all together", 0, heads))
        result = 8 * HeadsProblem.point_size(*sizes, fit.n_heads)
        working = 2 * result
    elif fit.form == "factored":
        result = fields + 8 * (math.prod(FactoredRows.stored_shape(*sizes)) + fit.n_states**2)
        working = fit.n_threads * FactoredRows.working_bytes(*of_data)
    else:
        working = fit.n_threads * FullRows.working_bytes(*of_data)
    name = "interactions" if fit.method == "factored" else "couplings"
    stages.append(Stage(name, result, working))
    if fit.method == "plm":
        solving = curvature.solving_bytes(*of_data)
        modes = 8 * math.prod(curvature.modes_shape(*of_data))
        if fit.chooses_ridge:
            stages.append(Stage("curvature, the fit before", tensor + modes, solving + modes))
        if fit.wants_errors:
            stages.append(Stage("standard errors", tensor + modes, solving + modes))
    return stages, result


def _trained(fit: PlannedFit) -> tuple[list[Stage], int]:
    """Return the stages of a network of the default width and batch, and the bytes of its file."""
    import torch

    from pottsattn.fitting.masked.attention import FactoredAttention
    from pottsattn.fitting.masked.fit import DEFAULTS
    from pottsattn.fitting.masked.full_batch import VECTORS as FULL_BATCH_VECTORS
    from pottsattn.fitting.masked.objective import Network, training_bytes
    from pottsattn.fitting.masked.transformer import MaskedTransformer

    network: Network
    with torch.device("meta"):  # without its numbers, which would take memory
        if fit.method == "transformer":
            network = MaskedTransformer(fit.length, fit.n_states, fit.n_layers)
        else:
            similarity = "learned" if fit.learns_similarity else "identity"
            network = FactoredAttention(
                fit.length, fit.n_states, fit.n_heads, color_similarity=similarity
            )
    parameters = sum(parameter.nbytes for parameter in network.parameters())
    batch = training_bytes(
        network, fit.n_sequences, DEFAULTS[fit.method]["batch_size"], fit.n_threads
    )
    name, kept, file_bytes = "parameters", 2 * parameters, parameters
    optimizer, stepped = "Adam", 7 * parameters  # two means of them, and a copy meanwhile
    if fit.method == "attention":  # on all data, in the end in double
        name, optimizer = "interactions", "L-BFGS"
        stepped = 2 * FULL_BATCH_VECTORS * parameters
        batch = 2 * batch + fit.n_sequences * fit.length  # the sequences, in the batches kept
        kept = file_bytes = 8 * HeadsProblem.point_size(fit.length, fit.n_states, fit.n_heads)
    return [
        Stage(f"network, gradient and {optimizer}", stepped),
        Stage("training", FIRST_STEP, batch + 3 * 8 * fit.n_sequences),  # orders and weights
        Stage(name, kept),
    ], file_bytes


def check_memory(fit: PlannedFit, available: int | None = None) -> None:
    """Raise InputError if a fit of data that have been read needs more memory than there is.

    Parameters
    ----------
    available
        Bytes; those of `available_memory` if left out. Nothing is refused where they are unknown.

    Raises
    ------
    InputError
        The message has the bytes that are needed, those there are, and what would fit.
    """
    most = available_memory() if available is None else available
    if most is None or (needed := fit.memory().bytes_to_come) <= most:
        return

    def needs(**other: Any) -> int:
        return replace(fit, **other).memory().bytes_to_come

    remedies = [
        f"{name} ({readable_bytes(needs(**other))})"
        for name, other in REMEDIES.items()
        if not (fit.n_heads > 1 and "color_similarity" in other) and needs(**other) <= most
    ]
    n_lengths = bisect_right(range(2, fit.length), most, key=lambda length: needs(length=length))
    if n_lengths > 0:
        remedies.append(f"at most {n_lengths + 1} sites")
    raise InputError(
        f"{'the symmetric fit' if fit.symmetric else f'method {fit.method}'} needs "
        f"{readable_bytes(needed)} of memory for {fit.length} sites of {fit.n_states} states and "
        f"{fit.n_sequences} sequences, {readable_bytes(most)} are available; what fits: "
        f"{', or '.join(remedies) or 'nothing with these sequences'}"
    )
