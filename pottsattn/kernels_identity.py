"""Kernels that compare sequences pairwise: neighbor counts and single-linkage clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._numba import njit

__all__ = ["count_neighbors", "grow_cluster"]


@njit
def _is_close(first: NDArray[np.uint8], second: NDArray[np.uint8], max_mismatches: int) -> bool:
    mismatches = 0
    for site in range(first.shape[0]):
        if first[site] != second[site]:
            mismatches += 1
            if mismatches > max_mismatches:
                return False
    return True


@njit
def count_neighbors(
    sequences: NDArray[np.uint8],
    start: int,
    stop: int,
    max_mismatches: int,
    counts: NDArray[np.int64],
) -> None:
    """Write the number of sequences within `max_mismatches`, self included, of start..stop-1."""
    for m in range(start, stop):
        total = 0
        for n in range(sequences.shape[0]):
            if _is_close(sequences[m], sequences[n], max_mismatches):
                total += 1
        counts[m] = total


@njit
def grow_cluster(
    sequences: NDArray[np.uint8],
    seed: int,
    max_mismatches: int,
    number: int,
    labels: NDArray[np.int64],
) -> None:
    """Label `seed` and all it is linked to (single linkage) among the unlabeled, labels < 0."""
    n_sequences = sequences.shape[0]
    stack = np.empty(n_sequences, np.int64)
    labels[seed] = number
    stack[0] = seed
    depth = 1
    while depth > 0:
        depth -= 1
        m = stack[depth]
        for n in range(n_sequences):
            if labels[n] < 0 and _is_close(sequences[m], sequences[n], max_mismatches):
                labels[n] = number
                stack[depth] = n
                depth += 1
