"""The memory that a fit will take, told before it starts, and the memory there is.

Every stage keeps some bytes to the end and needs others while it runs; the peak is

    max over stages s of (sum over t <= s of kept_t) + working_s.

Sizes of arrays follow from L, C, M and H. What surrounds them (vectors of an optimizer, copies made
while a file is read, buffers of autograd) are the measured numbers below; benchmarks/memory.py lays
estimates beside measured peaks. Joint fits count as solved in single precision, with a step or two
in double, which is what the default penalty takes; next to no penalty may need twice as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pottsattn._core.display import readable_bytes
from pottsattn._core.machine import available_memory
from pottsattn._core.validate import InputError, check_at_least, check_choice, check_n_states
from pottsattn.data.alignment.records import READING

__all__ = [
    "METHODS",
    "MemoryPlan",
    "Stage",
    "check_memory",
    "form_of_fit",
    "plan_memory",
]

METHODS = ("plm", "factored", "attention", "transformer", "mf")
MIB = 1 << 20
DOUBLE, FLOAT, LONG = 8, 4, 8

# Measured, with Python 3.11 on Linux; all are peaks of the resident memory.
LIBRARIES = 160 * MIB  # Python, NumPy, Numba with its kernels on disk; compiling takes 60 MiB more
MORE_LIBRARIES = {
    "plm": 20 * MIB,
    "factored": 20 * MIB,
    "attention": 170 * MIB,
    "transformer": 170 * MIB,
    "mf": 20 * MIB,
}
RECORD = 300  # bytes for a sequence of an alignment: its name, lists of lines
ROW_VECTORS = 30  # of the size of a row's parameters: L-BFGS pairs, trial points, gradients
JOINT_VECTORS = 26  # the same of a joint fit, in single precision, its start in double among them
HEADS_VECTORS = 8  # more of them where U is learned: parts of the gradient
EIGENVECTORS = 5  # matrices of C^2 by C^2: the covariances of states, what LAPACK needs
FEW_STATES = 5  # up to which sequences are bits, and sums of sixteen lanes are kept
LOSS_BLOCK = 96 * MIB  # evaluating a finished model on blocks of sequences
TORCH = 160 * MIB  # thread arenas and workspaces of the first training step
TRAINING_BATCH, EVALUATION_BATCH = 8192, 4096  # of train_masked
GATHERED = 60  # H C from which attention gathers instead of multiplying (at L of a hundred)
WIDTH, SMALL_BATCH, EVALUATED_NUMBERS = 64, 128, 1 << 24  # of a transformer


@dataclass(frozen=True)
class Stage:
    """Bytes that a part of a run takes: kept to the end, and while it lasts."""

    name: str
    kept: int
    working: int = 0


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
        held = sum(stage.kept for stage in self.stages[: self.n_before])
        return max(self._levels()[self.n_before :]) - held

    def _levels(self) -> list[int]:
        held, levels = 0, []
        for stage in self.stages:
            held += stage.kept
            levels.append(held + stage.working)
        return levels

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain numbers."""
        return {
            "stages": [
                {
                    "stage": stage.name,
                    "kept_bytes": stage.kept,
                    "working_bytes": stage.working,
                    "total_bytes": level,
                }
                for stage, level in zip(self.stages, self._levels(), strict=True)
            ],
            "peak_bytes": self.peak_bytes,
            "file_bytes": self.file_bytes,
        }

    def __str__(self) -> str:
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"{'stage':{width}}  {'kept':>10}  {'working':>10}  {'in all':>10}"]
        for stage, level in zip(self.stages, self._levels(), strict=True):
            sizes = (stage.kept, stage.working, level)
            columns = "  ".join(f"{readable_bytes(size):>10}" for size in sizes)
            lines.append(f"{stage.name:{width}}  {columns}")
        return "\n".join(lines)


def plan_memory(
    method: str,
    length: int,
    n_states: int,
    n_sequences: int,
    n_threads: int,
    *,
    n_heads: int = 1,
    n_layers: int = 1,
    symmetric: bool = False,
    color_similarity: str | None = None,
    chooses_ridge: bool = False,
    wants_errors: bool = False,
) -> MemoryPlan:
    """Return the memory that a fit will take, stage by stage.

    Parameters
    ----------
    method
        "plm", "factored", "attention", "transformer" or "mf".
    length, n_states, n_sequences, n_threads, n_heads, n_layers
        L, C, M, threads T, heads H (of factored, attention, transformer), layers of a transformer.
    symmetric, color_similarity
        As in `fit_pseudolikelihood`: one block for each pair of sites (plm); "identity" (one head,
        the default of one head) or "learned" (factored).
    chooses_ridge, wants_errors
        The ridge by leave-one-out, and standard errors: the curvature of plm takes memory.

    Raises
    ------
    InputError
        An unknown method, options that do not belong to it, or a size out of range.

    Examples
    --------
    >>> plan = plan_memory("plm", length=1000, n_states=21, n_sequences=2000, n_threads=2)
    >>> readable_bytes(plan.file_bytes)
    '3.3 GiB'
    """
    form = form_of_fit(method, n_heads, symmetric=symmetric, color_similarity=color_similarity)
    check_at_least("length", length, 2)
    check_n_states(n_states)
    check_at_least("sequences", n_sequences, 1)
    check_at_least("threads", n_threads, 1)
    sites = n_sequences * length
    n_bits = (n_states - 1).bit_length()
    before = (
        Stage("Python, NumPy, Numba", LIBRARIES),
        Stage("reading the data", sites, READING * sites + RECORD * n_sequences),
        Stage("sequence weights", DOUBLE * n_sequences, n_bits * sites // 8 + 4 * n_sequences),
    )
    if form == "transformer":
        stages, file_bytes = _transformer(length, n_states, n_heads, n_layers)
    else:
        stages, file_bytes = {
            "plm": _plm,
            "symmetric": _symmetric,
            "factored": _factored,
            "heads": _heads,
            "attention": _attention,
            "mf": _mean_field,
        }[form](length, n_states, n_sequences, n_threads, n_heads)
    if method == "plm" and (chooses_ridge or wants_errors):
        stages += _curvature(length, n_states, n_sequences, chooses_ridge, wants_errors)
    libraries = Stage("libraries of the method", MORE_LIBRARIES[method])
    return MemoryPlan((*before, libraries, *stages), len(before), file_bytes)


def form_of_fit(
    method: str, n_heads: int = 1, *, symmetric: bool = False, color_similarity: str | None = None
) -> str:
    """Return which program runs: "plm", "symmetric", "factored", "heads", "attention" or "mf".

    "heads" are factored couplings with learned color similarity. Options are those of
    `plan_memory`; the color similarity does not count where the method has none.

    Raises
    ------
    InputError
        An unknown method, or options that do not belong to it.
    """
    check_choice("method", method, METHODS)
    check_at_least("heads", n_heads, 1)
    if symmetric and method != "plm":
        raise InputError(f"symmetric applies to plm, not to {method}")
    if color_similarity is not None:
        check_choice("color_similarity", color_similarity, ("identity", "learned"))
    if method != "factored":
        return "symmetric" if symmetric else method
    if n_heads > 1 and color_similarity == "identity":
        raise InputError(
            f"{n_heads} heads with color_similarity 'identity' are one head; use 'learned'"
        )
    return "heads" if n_heads > 1 or color_similarity == "learned" else "factored"


def _starting_point(length: int, n_states: int, n_sequences: int) -> Stage:
    """Frequencies and fields, weights in both precisions, sequences by site or as bits."""
    sites, working = n_sequences * length, 0
    kept = DOUBLE * length * n_states + n_sequences * (DOUBLE + FLOAT)
    if n_states <= FEW_STATES:
        kept += (n_states - 1) * sites // 8
        working = sites + sites // 2
    else:
        kept += sites
    return Stage("starting point", kept, working)


def _row_buffers(length: int, n_states: int) -> int:
    """Return the bytes that the loss of one row takes: the row, its gradient, sums of lanes."""
    few = n_states <= FEW_STATES
    return length * (2 * DOUBLE * n_states**2 + few * 16 * FLOAT * (n_states - 1) ** 2)


def _plm(
    length: int, n_states: int, n_sequences: int, n_threads: int, _n_heads: int
) -> tuple[list[Stage], int]:
    fields, row = DOUBLE * length * n_states, DOUBLE * length * n_states**2
    return [
        _starting_point(length, n_states, n_sequences),  # the tensor is filled row by row
        Stage("couplings", length * row, n_threads * ROW_VECTORS * row),
    ], fields + length * row


def _curvature(
    length: int, n_states: int, n_sequences: int, chooses_ridge: bool, wants_errors: bool
) -> list[Stage]:
    """The eigenproblem of the covariances; the fit before the next one, or errors."""
    size = length * n_states
    n_modes = min(size, n_sequences)
    working = DOUBLE * (2 * n_modes**2 + (size * n_sequences if n_sequences < size else 0))
    stages = []
    if chooses_ridge:
        stages.append(Stage("curvature, the fit before", DOUBLE * size**2, working))
    if wants_errors:
        kept = DOUBLE * (size**2 + size * n_modes)
        stages.append(Stage("standard errors", kept, working + DOUBLE * size * n_modes))
    return stages


def _symmetric(
    length: int, n_states: int, n_sequences: int, n_threads: int, _n_heads: int
) -> tuple[list[Stage], int]:
    fields, tensor = DOUBLE * length * n_states, DOUBLE * (length * n_states) ** 2
    point = length * n_states + length * (length - 1) // 2 * n_states**2
    width = n_states if n_states <= FEW_STATES else -(-n_states // 4) * 4
    rows = FLOAT * length**2 * n_states * width  # gradients of all rows, before they are added
    buffers = n_threads * _row_buffers(length, n_states)
    return [
        _starting_point(length, n_states, n_sequences),
        Stage("pairs, all together", 0, JOINT_VECTORS * FLOAT * point + rows + buffers),
        Stage("couplings", fields + tensor, tensor + 4 * DOUBLE * point),
    ], fields + tensor


def _factored(
    length: int, n_states: int, n_sequences: int, n_threads: int, n_heads: int
) -> tuple[list[Stage], int]:
    fields, row = DOUBLE * length * n_states, DOUBLE * n_heads * length
    similarity = DOUBLE * n_heads * n_states**2
    working = ROW_VECTORS * (row + DOUBLE * n_states)
    if n_states <= FEW_STATES:
        working += _row_buffers(length, n_states)
    return [
        _starting_point(length, n_states, n_sequences),
        Stage("interactions", length * row + similarity, n_threads * working),
    ], fields + length * row + similarity


def _heads(
    length: int, n_states: int, n_sequences: int, n_threads: int, n_heads: int
) -> tuple[list[Stage], int]:
    fields, similarity = length * n_states, n_heads * n_states**2
    point = fields + n_heads * length**2 + similarity
    # Blocks of a row and of its gradient once more, without padding; the gradients of U by site.
    buffers = 2 * n_threads * _row_buffers(length, n_states) + FLOAT * length * similarity
    return [
        _starting_point(length, n_states, n_sequences),
        Stage("patterns of the covariances", 0, EIGENVECTORS * DOUBLE * n_states**4),
        Stage("heads, all together", 0, (JOINT_VECTORS + HEADS_VECTORS) * FLOAT * point + buffers),
        Stage("interactions", DOUBLE * point, 2 * DOUBLE * point),
    ], DOUBLE * point


def _attention(
    length: int, n_states: int, n_sequences: int, n_threads: int, n_heads: int
) -> tuple[list[Stage], int]:
    n_batches = math.ceil(n_sequences / TRAINING_BATCH)
    batch = max(math.ceil(n_sequences / n_batches), min(n_sequences, EVALUATION_BATCH))
    sites = FLOAT * batch * length
    if n_heads * n_states >= GATHERED:  # rows of the batch and their transpose, of a site too
        activations = batch * length * (3 + 3 * n_threads)
        activations += 4 * n_threads * FLOAT * length * n_states * (n_states + 4)
    else:  # one-hot sequences, values of every head, logits: forward and backward
        activations = sites + sites * n_states * (2 + 2 * n_heads + (1 if n_heads > 1 else 0))
    interactions = FLOAT * n_heads * length**2
    fields = DOUBLE * length * n_states
    file_bytes = 2 * interactions + fields + DOUBLE * n_heads * n_states**2
    return [
        Stage("layer, gradient and Adam", 4 * interactions + 2 * fields),
        Stage("training", TORCH, activations + 3 * LONG * n_sequences),
        Stage("interactions", file_bytes),
    ], file_bytes


def _transformer(
    length: int, n_states: int, n_heads: int, n_layers: int
) -> tuple[list[Stage], int]:
    """Of the default width and batch: parameters, Adam, and the activations of a step."""
    parameters = WIDTH * (length + 2 * n_states + n_layers * (12 * WIDTH + 13) + 4)
    of_site = 22 * WIDTH + 2 * n_heads * length
    activations = FLOAT * SMALL_BATCH * length * of_site * n_layers
    return [
        Stage("network, gradient and Adam", 4 * FLOAT * parameters),
        Stage("training", TORCH, max(activations, 2 * FLOAT * EVALUATED_NUMBERS)),
        Stage("parameters", 2 * FLOAT * parameters),
    ], FLOAT * parameters


def _mean_field(
    length: int, n_states: int, n_sequences: int, _n_threads: int, _n_heads: int
) -> tuple[list[Stage], int]:
    matrix = DOUBLE * (length * (n_states - 1)) ** 2
    fields, tensor = DOUBLE * length * n_states, DOUBLE * (length * n_states) ** 2
    block = min(LOSS_BLOCK, 3 * DOUBLE * n_sequences * length * n_states)
    return [
        Stage("correlations, their inverse and its copy", 0, 2 * matrix + tensor),
        Stage("couplings", fields + tensor, block),
    ], fields + tensor


def check_memory(
    method: str,
    length: int,
    n_states: int,
    n_sequences: int,
    n_threads: int,
    *,
    n_heads: int = 1,
    n_layers: int = 1,
    symmetric: bool = False,
    color_similarity: str | None = None,
    chooses_ridge: bool = False,
    wants_errors: bool = False,
    available: int | None = None,
) -> None:
    """Raise InputError if a fit of data that have been read needs more memory than there is.

    Parameters
    ----------
    method, length, ..., wants_errors
        As in `plan_memory`.
    available
        Bytes; those of `available_memory` if left out. Nothing is refused where they are unknown.

    Raises
    ------
    InputError
        The message has the bytes that are needed, those there are, and what would fit.
    """
    available = available_memory() if available is None else available
    if available is None:
        return
    asked: dict[str, Any] = {
        "method": method,
        "length": length,
        "n_states": n_states,
        "n_sequences": n_sequences,
        "n_threads": n_threads,
        "n_heads": n_heads,
        "n_layers": n_layers,
        "symmetric": symmetric,
        "color_similarity": color_similarity,
        "chooses_ridge": chooses_ridge,
        "wants_errors": wants_errors,
    }

    def needed(**other: Any) -> int:
        return plan_memory(**(asked | other)).bytes_to_come

    if needed() <= available:
        return
    form = form_of_fit(method, n_heads, symmetric=symmetric, color_similarity=color_similarity)
    others: dict[str, dict[str, Any]] = {}
    if symmetric:
        others["the fit without --symmetric"] = {"symmetric": False}
    if chooses_ridge or wants_errors:
        others["a given --ridge and no --errors"] = {"chooses_ridge": False, "wants_errors": False}
    if n_threads > 1:
        others["--threads 1"] = {"n_threads": 1}
    if form == "heads" and n_heads == 1:
        others["--color-similarity identity"] = {"color_similarity": "identity"}
    if method != "factored":
        others["--method factored"] = {"method": "factored", "symmetric": False}
    remedies = [
        f"{name} ({readable_bytes(needed(**other))})"
        for name, other in others.items()
        if needed(**other) <= available
    ]
    fewest, most = 1, length
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if needed(length=middle) <= available:
            fewest = middle
        else:
            most = middle
    if fewest > 1:
        remedies.append(f"at most {fewest} sites")
    raise InputError(
        f"{'the symmetric fit' if symmetric else f'method {method}'} needs "
        f"{readable_bytes(needed())} of memory for {length} sites of {n_states} states and "
        f"{n_sequences} sequences, {readable_bytes(available)} are available; what fits: "
        f"{', or '.join(remedies) or 'nothing with these sequences'}"
    )
