"""Pseudo-likelihood: check one objective and gradient of all sites, then time it.

The float32 kernel is checked against automatic differentiation in float64, then timed against the
one-hot matrix product in torch, float32, all sites in one product (`reference.py`), in turns in the
same run. With POTTSATTN_TEST_DATA set it also fits the real family PF00014 in both precisions and
prints the precision of its contacts. Run: python benchmarks/pseudolikelihood.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import reference
import torch

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._numba import n_threads_or_default, run_in_threads
from pottsattn._simd import LANES, PADDING, aligned_zeros
from pottsattn.contacts import rank_contacts, read_distances
from pottsattn.dataset import read_dataset
from pottsattn.fitting.kernels_pseudolikelihood import single_row_loss

SIZES = (  # M, L, C, least ratio, aim; the last are the demo's
    (4909, 53, 21, 5.0, 8.0),
    (10000, 100, 21, 4.5, 6.0),
    (3616, 160, 21, 3.3, 5.0),
    (960, 120, 3, None, None),
)
N_THREADS = n_threads_or_default(None)
LARGEST_ERROR = 1e-5  # of the gradient, relative to its largest entry


class Gather:
    """The kernel with its padded tables."""

    def __init__(self, data: SequenceDataset, fields: np.ndarray, couplings: np.ndarray) -> None:
        length, n_states = data.length, data.n_states
        width = -(-n_states // 4) * 4
        self.data, self.columns = data, np.ascontiguousarray(data.sequences.T)
        self.weights = data.normalized_weights.astype(np.float32)
        self.neighbors = np.arange(length, dtype=np.uint32)
        self.fields = aligned_zeros((length, -(-width // LANES) * LANES))
        self.fields[:] = PADDING
        self.fields[:, :n_states] = fields
        self.rows = aligned_zeros((length, length, n_states, width))
        self.rows[..., :n_states] = couplings.transpose(0, 1, 3, 2)  # [i, j, b, a]
        self.gradient = aligned_zeros(self.rows.shape)
        self.fields_gradient = aligned_zeros(self.fields.shape)
        self.kernel = single_row_loss(width)

    def __call__(self) -> float:
        def one(site: int) -> float:
            return self.kernel(
                site, self.data.sequences, self.columns, self.weights, self.neighbors,
                self.fields[site], self.rows[site].reshape(-1), self.data.n_states,
                self.fields_gradient[site], self.gradient[site].reshape(-1),
            )  # fmt: skip

        return sum(run_in_threads(one, range(self.data.length), N_THREADS))


def one_hot_of(data: SequenceDataset, dtype: torch.dtype) -> torch.Tensor:
    states = torch.from_numpy(data.sequences.astype(np.int64))
    one_hot = torch.nn.functional.one_hot(states, data.n_states)
    return one_hot.reshape(data.n_sequences, -1).to(dtype)


def check(data: SequenceDataset, fields: np.ndarray, couplings: np.ndarray) -> float:
    """Return the error of loss and gradient against automatic differentiation in float64."""
    gather = Gather(data, fields, couplings)
    loss = gather()
    length, n_states = data.length, data.n_states
    parameters = torch.tensor(couplings.transpose(1, 3, 0, 2), requires_grad=True)  # [j, b, i, a]
    logits = one_hot_of(data, torch.float64) @ parameters.reshape(length * n_states, -1)
    logits = logits.reshape(-1, length, n_states) + torch.tensor(fields)
    log_p = torch.log_softmax(logits, dim=2)
    states = torch.from_numpy(data.sequences.astype(np.int64))
    chosen = log_p.gather(2, states[:, :, None])[:, :, 0]
    exact = -(torch.tensor(data.normalized_weights)[:, None] * chosen).sum()
    exact.backward()
    gradient = parameters.grad.numpy().transpose(2, 0, 1, 3).copy()  # [i, j, b, a]
    gradient[np.arange(length), np.arange(length)] = 0.0
    found = gather.gradient[..., :n_states]
    error = np.abs(found - gradient).max() / np.abs(gradient).max()
    return max(float(error), abs(loss / exact.item() - 1.0))


def shortest(functions: list[Callable[[], object]], repeats: int = 5) -> list[float]:
    """Return the shortest wall time of each, run in turns after one call to warm up."""
    times = [float("inf")] * len(functions)
    for repeat in range(repeats + 1):
        for number, function in enumerate(functions):
            started = time.perf_counter()
            function()
            if repeat:
                times[number] = min(times[number], time.perf_counter() - started)
    return times


def main() -> None:
    torch.set_num_threads(N_THREADS)
    rng = np.random.default_rng(0)
    print("   M    L   C   error  gather  product  ratio  floor  aim  ns per row read and changed")
    for n_sequences, length, n_states, floor, aim in SIZES:
        sequences = rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8)
        data = SequenceDataset(sequences, n_states, weights=rng.uniform(size=n_sequences))
        fields = rng.normal(size=(length, n_states))
        couplings = 0.1 * rng.normal(size=(length, length, n_states, n_states))
        couplings[np.arange(length), np.arange(length)] = 0.0
        error = check(data.take(slice(0, 1000)), fields, couplings)
        if error > LARGEST_ERROR:
            raise SystemExit(f"WRONG: loss or gradient off by {error:.1e}")
        gather = Gather(data, fields, couplings)
        one_hot = one_hot_of(data, torch.float32)
        matrix = couplings.transpose(1, 3, 0, 2).reshape(length * n_states, -1)
        arguments = [
            torch.tensor(values, dtype=torch.float32)
            for values in (data.normalized_weights, fields.ravel(), matrix)
        ]
        ours, product = shortest(
            [gather, lambda: reference.matrix_product_loss(one_hot, *arguments)]  # noqa: B023
        )
        wanted = "           " if floor is None else f"{floor:5.1f} {aim:4.0f} "
        per_row = 1e9 * ours * N_THREADS / (n_sequences * length**2)
        print(
            f"{n_sequences:5d} {length:4d} {n_states:3d} {error:.0e} {1e3 * ours:5.0f} ms "
            f"{1e3 * product:5.0f} ms {product / ours:6.1f} {wanted} {per_row:.1f}"
        )
    folder = os.environ.get("POTTSATTN_TEST_DATA")
    if not folder:
        print("PF00014: skipped, POTTSATTN_TEST_DATA is not set")
        return
    alignment = read_dataset(Path(folder) / "PF00014.fasta.gz")
    for precision in ("mixed", "double"):
        fit = fit_pseudolikelihood(alignment, precision=precision)
        known = read_distances(Path(folder) / "PF00014_struct.dat")
        at = rank_contacts(fit).precision(known).at
        print(f"PF00014, {precision}: {fit.seconds:.1f} s, {fit.message}; precision {at}")


if __name__ == "__main__":
    main()
