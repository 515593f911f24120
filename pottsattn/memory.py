"""The memory that a fit will take, told before it starts, and the memory there is.

Every stage keeps some bytes to the end and needs others while it runs; the peak is

    max over stages s of (sum over t <= s of kept_t) + working_s.

Sizes of arrays follow from L, C, M and H. What surrounds them (vectors of an optimizer, copies made
while a file is read, buffers of autograd) are the measured numbers below; benchmarks/memory.py lays
estimates beside measured peaks.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pottsattn._validate import InputError, check_at_least, check_choice, check_n_states

__all__ = [
    "METHODS",
    "MemoryPlan",
    "Stage",
    "available_memory",
    "check_memory",
    "plan_memory",
    "readable_bytes",
]

METHODS = ("plm", "factored", "attention", "mf")
MIB = 1 << 20
DOUBLE, FLOAT, LONG = 8, 4, 8

# Measured, with Python 3.11 on Linux; all are peaks of the resident memory.
LIBRARIES = 160 * MIB  # Python, NumPy, Numba with its kernels on disk; compiling takes 60 MiB more
MORE_LIBRARIES = {"plm": 20 * MIB, "factored": 20 * MIB, "attention": 170 * MIB, "mf": 20 * MIB}
READING = 17  # bytes for a letter of an alignment
RECORD = 300  # bytes for a sequence of an alignment: its name, lists of lines
ROW_VECTORS = 30  # of the size of a row's parameters: L-BFGS pairs, trial points, gradients
LOSS_BLOCK = 96 * MIB  # evaluating a finished model on blocks of sequences
TORCH = 110 * MIB  # thread arenas and workspaces of the first training step
TRAINING_BATCH, EVALUATION_BATCH = 8192, 4096  # of train_masked


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
) -> MemoryPlan:
    """Return the memory that a fit will take, stage by stage.

    Parameters
    ----------
    method
        "plm", "factored", "attention" or "mf".
    length, n_states, n_sequences, n_threads, n_heads
        L, C, M, threads T and heads H (of factored and attention).

    Raises
    ------
    InputError
        An unknown method, or a size out of range.

    Examples
    --------
    >>> plan = plan_memory("plm", length=1000, n_states=21, n_sequences=2000, n_threads=2)
    >>> readable_bytes(plan.file_bytes)
    '3.3 GiB'
    """
    check_choice("method", method, METHODS)
    check_at_least("length", length, 2)
    check_n_states(n_states)
    check_at_least("sequences", n_sequences, 1)
    check_at_least("threads", n_threads, 1)
    check_at_least("heads", n_heads, 1)
    sites = n_sequences * length
    n_bits = (n_states - 1).bit_length()
    before = (
        Stage("Python, NumPy, Numba", LIBRARIES),
        Stage("reading the data", sites, READING * sites + RECORD * n_sequences),
        Stage("sequence weights", DOUBLE * n_sequences, n_bits * sites // 8 + 4 * n_sequences),
    )
    stages, file_bytes = {
        "plm": _plm,
        "factored": _factored,
        "attention": _attention,
        "mf": _mean_field,
    }[method](length, n_states, n_sequences, n_threads, n_heads)
    libraries = Stage("libraries of the method", MORE_LIBRARIES[method])
    return MemoryPlan((*before, libraries, *stages), len(before), file_bytes)


def _plm(
    length: int, n_states: int, n_sequences: int, n_threads: int, _n_heads: int
) -> tuple[list[Stage], int]:
    fields, row = DOUBLE * length * n_states, DOUBLE * length * n_states**2
    return [
        # float32 weights and the sequences by site; the tensor is filled row by row
        Stage("starting point", fields + n_sequences * (DOUBLE + FLOAT + length)),
        Stage("couplings", length * row, n_threads * ROW_VECTORS * row),
    ], fields + length * row


def _factored(
    length: int, n_states: int, n_sequences: int, n_threads: int, n_heads: int
) -> tuple[list[Stage], int]:
    fields, row = DOUBLE * length * n_states, DOUBLE * n_heads * length
    similarity = DOUBLE * n_heads * n_states**2
    vectors = ROW_VECTORS * (row + DOUBLE * n_states)
    return [
        Stage("starting point", fields + n_sequences * (DOUBLE + FLOAT + length)),
        Stage("interactions", length * row + similarity, n_threads * vectors),
    ], fields + length * row + similarity


def _attention(
    length: int, n_states: int, n_sequences: int, _n_threads: int, n_heads: int
) -> tuple[list[Stage], int]:
    n_batches = math.ceil(n_sequences / TRAINING_BATCH)
    batch = max(math.ceil(n_sequences / n_batches), min(n_sequences, EVALUATION_BATCH))
    sites = FLOAT * batch * length
    # One-hot sequences, values of every head, logits: forward and backward.
    activations = sites + sites * n_states * (2 + 2 * n_heads + (1 if n_heads > 1 else 0))
    interactions = FLOAT * n_heads * length**2
    fields = DOUBLE * length * n_states
    file_bytes = 2 * interactions + fields + DOUBLE * n_heads * n_states**2
    return [
        Stage("layer, gradient and Adam", 4 * interactions + 2 * fields),
        Stage("training", TORCH, activations + 3 * LONG * n_sequences * length),
        Stage("interactions", file_bytes),
    ], file_bytes


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
    available: int | None = None,
) -> None:
    """Raise InputError if a fit of data that have been read needs more memory than there is.

    Parameters
    ----------
    method, length, n_states, n_sequences, n_threads, n_heads
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

    def needed(method: str, length: int = length, n_threads: int = n_threads) -> int:
        plan = plan_memory(method, length, n_states, n_sequences, n_threads, n_heads=n_heads)
        return plan.bytes_to_come

    if needed(method) <= available:
        return
    remedies = []
    if n_threads > 1 and needed(method, n_threads=1) <= available:
        remedies.append("--threads 1")
    if method != "factored" and needed("factored") <= available:
        remedies.append(f"--method factored ({readable_bytes(needed('factored'))})")
    fewest, most = 1, length
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if needed(method, middle) <= available:
            fewest = middle
        else:
            most = middle
    if fewest > 1:
        remedies.append(f"at most {fewest} sites")
    raise InputError(
        f"method {method} needs {readable_bytes(needed(method))} of memory for {length} sites of "
        f"{n_states} states and {n_sequences} sequences, {readable_bytes(available)} are "
        f"available; what fits: {', or '.join(remedies) or 'nothing with these sequences'}"
    )


def available_memory() -> int | None:
    """Return the bytes that this process can still take without swapping, or None if unknown.

    The smaller of what the machine has and what its control groups (containers, batch systems)
    allow. Where only the whole memory of the machine is known, that is returned.
    """
    bounds = [*_machine_bound(), *_group_bounds(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
    return max(0, min(bounds)) if bounds else None


def _machine_bound() -> list[int]:
    kilobytes = _numbers(Path("/proc/meminfo")).get("MemAvailable:")
    if kilobytes is not None:
        return [1024 * kilobytes]
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows, or a system without these names
        return []


def _group_bounds(membership: Path, root: Path) -> list[int]:
    """Return what every control group above this process has left, of version 2 or 1."""
    bounds = []
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "memory"
        else:
            continue
        folder = top / path.strip("/")
        # Inside a container the path may be that of the host: then only the top is there.
        for group in (folder, *folder.parents):
            limit, usage = (_text(group / name).strip() for name in names[:2])
            if limit.isdigit() and usage.isdigit():  # otherwise "max", or no such file
                cached = _numbers(group / "memory.stat").get(names[2], 0)
                bounds.append(int(limit) - int(usage) + cached)
            if group == top:
                break
    return bounds


def _numbers(path: Path) -> dict[str, int]:
    """Return the first number of every line `name number ...`."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def readable_bytes(n_bytes: float) -> str:
    """Return a size as text, such as 3.3 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return (
                f"{n_bytes:.0f} {unit}"
                if unit == "B" or n_bytes >= 100
                else f"{n_bytes:.1f} {unit}"
            )
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
