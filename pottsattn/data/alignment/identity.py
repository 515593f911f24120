"""Weights and clusters of sequences by the share of sites at which they agree."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import LANES
from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn._core.validate import check_identity_threshold
from pottsattn.data.alignment.kernels_identity import (
    WORD_SITES,
    count_neighbors,
    grow_cluster,
    pack_states,
)

BLOCKS_PER_TASK = 16


def sequence_weights(
    sequences: NDArray[np.uint8], identity_threshold: float, *, n_threads: int | None = None
) -> NDArray[np.float64]:
    """Return 1 / (number of sequences at least that identical, self included), shape (M,).

    Identity is the share of equal columns, gaps counted as a state (as plmc does). The sum of the
    weights is the effective size M_eff.

    Parameters
    ----------
    sequences : uint8, shape (n_sequences, length)
    identity_threshold
        Above 0, at most 1; 0.8 is customary.
    """
    limit = _max_mismatches(sequences.shape[1], identity_threshold)
    words, is_sequence = _packed(sequences)
    n_threads = n_threads_or_default(n_threads)
    # A task takes one of as many counters as there are threads: sums of integers have no order.
    counters = np.zeros((n_threads, words.shape[2]), dtype=np.uint32)
    unused = list(counters)

    def count(first: int) -> None:
        counts = unused.pop()
        last = min(first + BLOCKS_PER_TASK, len(is_sequence))
        count_neighbors(words, is_sequence, first, last, limit, counts)
        unused.append(counts)

    for _ in run_in_threads(count, range(0, len(is_sequence), BLOCKS_PER_TASK), n_threads):
        pass
    return 1.0 / counters.sum(axis=0)[: len(sequences)]


def weighting_bytes(length: int, n_states: int, n_sequences: int, n_threads: int) -> int:
    """Return the bytes that `sequence_weights` takes beside its result: bits and counters."""
    shape = _words_shape(length, n_states - 1, n_sequences)
    return 8 * math.prod(shape) + 4 * n_threads * shape[2]


def identity_clusters(sequences: NDArray[np.uint8], identity_threshold: float) -> NDArray[np.int64]:
    """Return single-linkage cluster numbers, shape (M,): linked if at least that identical."""
    limit = _max_mismatches(sequences.shape[1], identity_threshold)
    words, is_open = _packed(sequences)
    labels = np.full(len(sequences), -1, dtype=np.int64)
    n_clusters = 0
    for seed in range(len(sequences)):  # one call a cluster, so that Ctrl-C is heard in between
        if labels[seed] < 0:
            grow_cluster(words, is_open, seed, limit, n_clusters, labels)
            n_clusters += 1
    return labels


def _packed(sequences: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return the bits of the states, and of which places of the blocks hold a sequence."""
    n_sequences, length = sequences.shape
    words = np.zeros(_words_shape(length, int(sequences.max()), n_sequences), dtype=np.uint64)
    pack_states(sequences, words)
    n_places = words.shape[2]
    is_sequence = np.full(n_places // LANES, 0xFFFF, dtype=np.uint16)
    is_sequence[-1] >>= n_places - n_sequences
    return words, is_sequence


def _words_shape(length: int, largest_state: int, n_sequences: int) -> tuple[int, int, int]:
    n_bits = max(1, largest_state.bit_length())
    return -(-length // WORD_SITES), n_bits, -(-n_sequences // LANES) * LANES


def _max_mismatches(length: int, identity_threshold: float) -> int:
    return int(np.floor((1.0 - check_identity_threshold(identity_threshold)) * length + 1e-9))
