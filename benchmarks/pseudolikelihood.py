"""Pseudo-likelihood: check one objective and gradient of all sites, then time it.

Reference, in the same run: the one-hot matrix product in NumPy, float64, BLAS on all cores. With
POTTSATTN_TEST_DATA set it also fits the real family PF00014 and prints the precision of its
contacts. Run: python benchmarks/pseudolikelihood.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._numba import n_threads_or_default, run_in_threads
from pottsattn.contacts import rank_contacts, read_distances
from pottsattn.dataset import read_dataset
from pottsattn.fitting.kernels_pseudolikelihood import row_loss_full

SIZES = ((4909, 53, 21), (960, 120, 3))  # PF00014's; the demo's


def gather(data: SequenceDataset, fields: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss summed over sites and its gradient; rows (L, L * C * C) as [i, (j, b, a)]."""
    weights = data.normalized_weights
    gradient = np.empty_like(rows)
    field_gradient = np.empty_like(fields)

    def one(site: int) -> float:
        arguments = (site, data.sequences, weights, fields[site], rows[site])
        return row_loss_full(*arguments, field_gradient[site], gradient[site])

    losses = run_in_threads(one, range(data.length), n_threads_or_default(None))
    return sum(losses), gradient


def matrix_product(
    data: SequenceDataset, fields: np.ndarray, rows: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the same by one-hot matrix products."""
    n_sequences, length, n_states = data.n_sequences, data.length, data.n_states
    one_hot = np.eye(n_states)[data.sequences].reshape(n_sequences, -1)
    matrix = rows.reshape(length, length * n_states, n_states).transpose(1, 0, 2)
    logits = one_hot @ matrix.reshape(length * n_states, -1)
    logits = logits.reshape(n_sequences, length, n_states) + fields
    logits -= logits.max(axis=2, keepdims=True)
    p = np.exp(logits)
    total = p.sum(axis=2)
    chosen = np.take_along_axis(logits, data.sequences[:, :, None].astype(int), axis=2)[:, :, 0]
    loss = (data.normalized_weights @ (np.log(total) - chosen)).sum()
    p /= total[:, :, None]
    p -= one_hot.reshape(p.shape)
    p *= data.normalized_weights[:, None, None]
    gradient = one_hot.T @ p.reshape(n_sequences, -1)
    gradient = gradient.reshape(length * n_states, length, n_states).transpose(1, 0, 2)
    gradient = gradient.reshape(length, length, -1)
    gradient[np.arange(length), np.arange(length)] = 0.0
    return float(loss), gradient.reshape(length, -1)


def seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Return the median wall time after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    rng = np.random.default_rng(0)
    for n_sequences, length, n_states in SIZES:
        sequences = rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8)
        data = SequenceDataset(sequences, n_states, weights=rng.uniform(size=n_sequences))
        fields = rng.normal(size=(length, n_states))
        rows = 0.1 * rng.normal(size=(length, length, n_states**2))
        rows[np.arange(length), np.arange(length)] = 0.0
        rows = rows.reshape(length, -1)
        loss, gradient = gather(data, fields, rows)
        expected_loss, expected = matrix_product(data, fields, rows)
        off = max(abs(loss / expected_loss - 1.0), np.abs(gradient - expected).max())
        if off > 1e-10:
            raise SystemExit(f"WRONG: loss or gradient off by {off:.1e}")
        ours = seconds(lambda: gather(data, fields, rows))  # noqa: B023
        reference = seconds(lambda: matrix_product(data, fields, rows))  # noqa: B023
        print(
            f"M {n_sequences}, L {length}, C {n_states}: agrees to {off:.0e}; gather "
            f"{1e3 * ours:.1f} ms, matrix product {1e3 * reference:.1f} ms, "
            f"ratio {reference / ours:.2f} (loss and gradient of all sites, float64)"
        )
    folder = os.environ.get("POTTSATTN_TEST_DATA")
    if not folder:
        print("PF00014: skipped, POTTSATTN_TEST_DATA is not set")
        return
    alignment = read_dataset(Path(folder) / "PF00014.fasta.gz")
    fit = fit_pseudolikelihood(alignment)
    known = read_distances(Path(folder) / "PF00014_struct.dat")
    precision = rank_contacts(fit).precision(known).at
    print(f"PF00014: {fit.seconds:.1f} s, {fit.message}; precision {precision}")


if __name__ == "__main__":
    main()
