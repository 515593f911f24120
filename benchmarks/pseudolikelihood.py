"""Pseudo-likelihood: check an objective and gradient of all sites, then time it, then whole fits.

    python benchmarks/pseudolikelihood.py      # about five minutes on two cores

What a fit evaluates is checked against automatic differentiation in float64, then timed against the
one-hot matrix product in torch, float32, all sites in one product (`reference.py`), in turns in
the same run. Whole fits follow (`pseudolikelihood_fits.py`), then other programs where they are on
PATH (`pseudolikelihood_peers.py`). The real family PF00014 is read where POTTSATTN_TEST_DATA is
set. Exit status 1 if a stated limit is missed; what is only aimed at is printed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pseudolikelihood_fits
import pseudolikelihood_peers
import reference
import torch

from pottsattn import SequenceDataset
from pottsattn._core.simd.vectors import LANES, aligned_zeros, load_floats, splat, store_floats
from pottsattn._core.threads import n_threads_or_default, njit, run_in_threads
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.kernels_few_states import MOST_STATES
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_full import (
    full_row_loss,
    padded_row,
    padded_rows_shape,
)

SIZES = (  # M, L, C, least ratio, aim; the last two are demos'
    (4909, 53, 21, 5.0, 8.0),
    (10000, 100, 21, 4.5, 6.0),
    (3616, 160, 21, 3.3, 5.0),
    (960, 120, 3, None, None),
    (2000, 200, 4, None, None),
)
N_THREADS = n_threads_or_default(None)
LARGEST_ERROR = 1e-5  # of the gradient, relative to its largest entry
LEAST_SECONDS = 0.1  # of a timing of ours: shorter evaluations are repeated
STREAMED_BYTES = 1 << 30


class AllRows:
    """The objective and gradient of all sites as a fit evaluates them, sites shared by threads."""

    def __init__(self, dataset: SequenceDataset, fields: np.ndarray, couplings: np.ndarray) -> None:
        self.data = data = RowData.of(dataset, Penalty(0.0, 0.0), learn_fields=True)
        self.points = [padded_row(data, np.float32) for _ in range(data.length)]
        self.gradients = [padded_row(data, np.float32) for _ in range(data.length)]
        for site, (own, rows) in enumerate(self.points):
            own[: data.n_states] = fields[site]
            blocks = couplings[site].transpose(0, 2, 1)  # [j, b, a]
            rows[:, : data.n_states] = blocks.reshape(-1, data.n_states)

    def __call__(self, n_times: int = 1) -> float:
        """Return the loss; threads start once for all times, as in a site-wise fit."""

        def share(first: int) -> float:
            for _ in range(n_times):
                loss = sum(
                    full_row_loss(self.data, site, *self.points[site], *self.gradients[site])
                    for site in range(first, self.data.length, N_THREADS)
                )
            return loss

        return sum(run_in_threads(share, range(N_THREADS), N_THREADS))

    def couplings_gradient(self) -> np.ndarray:
        """Return the gradient (L, L, C, C), indexed [i, j, b, a]."""
        length, n_states = self.data.length, self.data.n_states
        rows = np.stack([rows[:, :n_states] for _, rows in self.gradients])
        return rows.reshape(length, length, n_states, n_states)

    def fields_gradient(self) -> np.ndarray:
        """Return the gradient (L, C)."""
        return np.stack([fields[: self.data.n_states] for fields, _ in self.gradients])


def one_hot_of(dataset: SequenceDataset, dtype: torch.dtype) -> torch.Tensor:
    states = torch.from_numpy(dataset.sequences.astype(np.int64))
    one_hot = torch.nn.functional.one_hot(states, dataset.n_states)
    return one_hot.reshape(dataset.n_sequences, -1).to(dtype)


def check(dataset: SequenceDataset, fields: np.ndarray, couplings: np.ndarray) -> float:
    """Return the error of loss and gradient against automatic differentiation in float64."""
    rows = AllRows(dataset, fields, couplings)
    loss = rows()
    length, n_states = dataset.length, dataset.n_states
    blocks = torch.tensor(couplings.transpose(1, 3, 0, 2), requires_grad=True)  # [j, b, i, a]
    own = torch.tensor(fields, requires_grad=True)
    logits = one_hot_of(dataset, torch.float64) @ blocks.reshape(length * n_states, -1)
    log_p = torch.log_softmax(logits.reshape(-1, length, n_states) + own, dim=2)
    states = torch.from_numpy(dataset.sequences.astype(np.int64))
    chosen = log_p.gather(2, states[:, :, None])[:, :, 0]
    exact = -(torch.tensor(dataset.normalized_weights)[:, None] * chosen).sum()
    exact.backward()
    gradient = blocks.grad.numpy().transpose(2, 0, 1, 3).copy()
    gradient[np.arange(length), np.arange(length)] = 0.0
    errors = [
        np.abs(rows.couplings_gradient() - gradient).max() / np.abs(gradient).max(),
        np.abs(rows.fields_gradient() - own.grad.numpy()).max() / own.grad.abs().max().item(),
        abs(loss / exact.item() - 1.0),
    ]
    return float(max(errors))


@njit
def read_peak(out, table, n_passes):  # type: ignore[no-untyped-def]
    """Add up a table in eight sums, whole vectors in their order."""
    a = b = c = d = e = f = g = h = splat(np.float32(0.0))
    for _ in range(n_passes):
        for at in range(0, len(table), 8 * LANES):
            a = a + load_floats(table, at)
            b = b + load_floats(table, at + LANES)
            c = c + load_floats(table, at + 2 * LANES)
            d = d + load_floats(table, at + 3 * LANES)
            e = e + load_floats(table, at + 4 * LANES)
            f = f + load_floats(table, at + 5 * LANES)
            g = g + load_floats(table, at + 6 * LANES)
            h = h + load_floats(table, at + 7 * LANES)
    store_floats(out, 0, ((a + b) + (c + d)) + ((e + f) + (g + h)))


@njit
def change_peak(table, value, n_passes):  # type: ignore[no-untyped-def]
    """Add a vector to every vector of a table."""
    step = load_floats(value, 0)
    for _ in range(n_passes):
        for at in range(0, len(table), 4 * LANES):
            a, b = load_floats(table, at), load_floats(table, at + LANES)
            c, d = load_floats(table, at + 2 * LANES), load_floats(table, at + 3 * LANES)
            store_floats(table, at, a + step)
            store_floats(table, at + LANES, b + step)
            store_floats(table, at + 2 * LANES, c + step)
            store_floats(table, at + 3 * LANES, d + step)


class Bandwidth:
    """What memory traffic alone would cost the gather kernel, on this machine, now.

    Every neighbor of every sequence reads a row of couplings and reads and writes one of the
    gradient, M L (L - 1) times in all. Couplings of a site (L C rows) lie in the second-level
    cache; the gradient of a neighbor (C rows) can stay in the first while sequences pass. The
    rates are the best of streaming over tables of these sizes, per core, all cores at it.
    """

    def __init__(self, length: int, n_states: int) -> None:
        self.row_bytes = 4 * padded_rows_shape(1, n_states, np.float32)[1]
        step = 8 * LANES
        self.sizes = [
            max(1, n_rows * self.row_bytes // 4 // step) * step
            for n_rows in (length * n_states, n_states)
        ]
        self.tables = [
            [aligned_zeros((size,)) for size in (*self.sizes, LANES)] for _ in range(N_THREADS)
        ]
        self.read_rate = self.change_rate = 0.0  # bytes per second of a core; changes count twice

    def measure(self) -> None:
        """Stream once more: other jobs on the machine can only slow it down."""

        def rates(tables: list[np.ndarray]) -> tuple[float, float]:
            couplings, gradient, out = tables
            n_reads, n_changes = (STREAMED_BYTES // table.nbytes for table in (couplings, gradient))
            started = time.perf_counter()
            read_peak(out, couplings, n_reads)
            between = time.perf_counter()
            change_peak(gradient, out, n_changes)
            seconds = between - started, time.perf_counter() - between
            return (
                n_reads * couplings.nbytes / seconds[0],
                2 * n_changes * gradient.nbytes / seconds[1],
            )

        for read, change in run_in_threads(rates, self.tables, N_THREADS):
            self.read_rate = max(self.read_rate, read)
            self.change_rate = max(self.change_rate, change)

    def bound(self, n_rows: int) -> float:
        """Return the seconds that the traffic of so many rows takes all cores."""
        per_row = self.row_bytes / self.read_rate + 2 * self.row_bytes / self.change_rate
        return n_rows * per_row / N_THREADS


def shortest(functions: list[Callable[[], object]], repeats: int = 7) -> list[float]:
    """Return the shortest wall time of each, run in turns after one call to warm up."""
    times = [float("inf")] * len(functions)
    for repeat in range(repeats + 1):
        for number, function in enumerate(functions):
            started = time.perf_counter()
            function()
            if repeat:
                times[number] = min(times[number], time.perf_counter() - started)
    return times


@dataclass(frozen=True)
class Problem:
    """Random sequences and parameters: what an evaluation costs does not depend on them."""

    dataset: SequenceDataset
    fields: np.ndarray
    couplings: np.ndarray

    @classmethod
    def of(cls, n_sequences: int, length: int, n_states: int) -> Problem:
        rng = np.random.default_rng(0)
        sequences = rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8)
        dataset = SequenceDataset(sequences, n_states, weights=rng.uniform(size=n_sequences))
        couplings = 0.1 * rng.normal(size=(length, length, n_states, n_states))
        couplings[np.arange(length), np.arange(length)] = 0.0
        return cls(dataset, rng.normal(size=(length, n_states)), couplings)

    def product(self) -> Callable[[], object]:
        """Return the one-hot matrix product of all sites."""
        matrix = self.couplings.transpose(1, 3, 0, 2).reshape(self.fields.size, -1)
        arguments = [
            torch.tensor(values, dtype=torch.float32)
            for values in (self.dataset.normalized_weights, self.fields.ravel(), matrix)
        ]
        one_hot = one_hot_of(self.dataset, torch.float32)
        return lambda: reference.matrix_product_loss(one_hot, *arguments)


def evaluations() -> list[str]:
    """Print one line per size; return the limits missed."""
    missed = []
    print(
        f"one objective and gradient of all sites, float32, {N_THREADS} threads, shortest of 7\n"
        "bound: rows of couplings read at the rate of L2, those of the gradient changed at that of "
        "L1, GB/s of a core, all busy"
    )
    print("    M    L   C  error      ours  one-hot  ratio  floor aim   L2   L1     bound reached")
    for n_sequences, length, n_states, floor, aim in SIZES:
        problem = Problem.of(n_sequences, length, n_states)
        few = problem.dataset.take(slice(0, 1000))
        error = check(few, problem.fields, problem.couplings)
        rows = AllRows(problem.dataset, problem.fields, problem.couplings)
        bandwidth = Bandwidth(length, n_states)
        n_times = max(1, round(LEAST_SECONDS / shortest([rows], 2)[0]))
        ours, product, _ = shortest([partial(rows, n_times), problem.product(), bandwidth.measure])
        ours /= n_times
        ratio = product / ours
        size = f"{n_sequences:5d} {length:4d} {n_states:3d}"
        line = f"{size}  {error:.0e} {1e3 * ours:5.1f} ms {1e3 * product:5.0f} ms {ratio:6.1f}"
        line += " " * 11 if floor is None else f" {floor:6.1f} {aim:3.0f}"
        if n_states > MOST_STATES:
            n_rows = n_sequences * length * (length - 1)
            bound = bandwidth.bound(n_rows)
            line += f"  {1e-9 * bandwidth.read_rate:4.0f} {1e-9 * bandwidth.change_rate:4.0f}"
            line += f"  {1e3 * bound:6.1f} ms {bound / ours:6.0%}"
        print(line, flush=True)
        if error > LARGEST_ERROR:
            missed.append(f"{size}: loss or gradient WRONG by {error:.1e}")
        if floor is not None and ratio < floor:
            missed.append(f"{size}: {ratio:.1f} times the one-hot product, at least {floor}")
    return missed


def main() -> int:
    """Print everything; return the exit status."""
    started = time.perf_counter()
    torch.set_num_threads(N_THREADS)
    missed = evaluations()
    missed += pseudolikelihood_fits.all_fits()
    own_seconds = time.perf_counter() - started
    missed += pseudolikelihood_peers.all_peers()
    print(f"load averages {os.getloadavg()}, of which {N_THREADS} or so are this run's")
    print(f"{own_seconds:.0f} s, with other programs {time.perf_counter() - started:.0f} s")
    print("\n".join(f"MISSED: {what}" for what in missed) or "every limit kept")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
