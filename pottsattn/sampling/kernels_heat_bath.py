"""Heat-bath kernels: sequential sweeps of single-site Gibbs updates, one random stream per chain.

Each update draws s_i from P(s_i | s_-i); a sweep visits sites 0..L-1 in order, which leaves the
Potts distribution invariant. Random numbers are xoshiro256++ (Blackman, Vigna, ACM Trans. Math.
Softw. 47, 36, 2021) with 53 bits per draw.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._numba import njit

__all__ = ["sweep_dense", "sweep_factored"]

DOUBLE_UNIT = 2.0**-53


@njit(inline="always")
def _rotate(value: np.uint64, by: int) -> np.uint64:
    return np.uint64((value << np.uint64(by)) | (value >> np.uint64(64 - by)))


@njit
def _uniform(stream: NDArray[np.uint64]) -> float:
    """Return a number in [0, 1) with 53 random bits and advance the stream, shape (4,)."""
    result = np.uint64(_rotate(np.uint64(stream[0] + stream[3]), 23) + stream[0])
    shifted = np.uint64(stream[1] << np.uint64(17))
    stream[2] ^= stream[0]
    stream[3] ^= stream[1]
    stream[1] ^= stream[2]
    stream[0] ^= stream[3]
    stream[2] ^= shifted
    stream[3] = _rotate(stream[3], 45)
    return float(result >> np.uint64(11)) * DOUBLE_UNIT


@njit
def _draw(logits: NDArray[np.float64], stream: NDArray[np.uint64]) -> int:
    """Return a state with probability softmax(logits); overwrites `logits`."""
    n_states = logits.shape[0]
    largest = logits[0]
    for a in range(1, n_states):
        largest = max(largest, logits[a])
    total = 0.0
    for a in range(n_states):
        total += math.exp(logits[a] - largest)
        logits[a] = total
    threshold = _uniform(stream) * total
    state = 0
    while state < n_states - 1 and logits[state] <= threshold:
        state += 1
    return state


@njit
def sweep_factored(
    states: NDArray[np.uint8],
    fields: NDArray[np.float64],
    interactions: NDArray[np.float64],
    color_similarity: NDArray[np.float64],
    n_sweeps: int,
    streams: NDArray[np.uint64],
) -> None:
    """Advance chains in place: J_ij(a, b) = sum_h A^h_ij U^h_ab.

    states (n_chains, L), fields (L, C), interactions (H, L, L) symmetric in its product with
    color_similarity (H, C, C), streams (n_chains, 4). Keeps bins[h, b, i] = sum_j A^h_ij [s_j = b],
    rebuilt at every call and changed only when a site flips.
    """
    n_chains, length = states.shape
    n_heads, n_states, _ = color_similarity.shape
    bins = np.empty((n_heads, n_states, length))
    logits = np.empty(n_states)
    for chain in range(n_chains):
        state = states[chain]
        stream = streams[chain]
        bins[:] = 0.0
        for h in range(n_heads):
            for i in range(length):
                for j in range(length):
                    bins[h, state[j], i] += interactions[h, i, j]
        for _ in range(n_sweeps):
            for i in range(length):
                for a in range(n_states):
                    logit = fields[i, a]
                    for h in range(n_heads):
                        for b in range(n_states):
                            logit += color_similarity[h, a, b] * bins[h, b, i]
                    logits[a] = logit
                old = state[i]
                new = _draw(logits, stream)
                if new != old:
                    state[i] = new
                    for h in range(n_heads):
                        for j in range(length):
                            interaction = interactions[h, j, i]
                            bins[h, old, j] -= interaction
                            bins[h, new, j] += interaction


@njit
def sweep_dense(
    states: NDArray[np.uint8],
    fields: NDArray[np.float64],
    couplings: NDArray[np.float64],
    n_sweeps: int,
    streams: NDArray[np.uint64],
) -> None:
    """Advance chains in place; `couplings` (L, L, C, C) is indexed [i, j, b, a]: J_ij(a, b)."""
    n_chains, length = states.shape
    n_states = fields.shape[1]
    logits = np.empty(n_states)
    for chain in range(n_chains):
        state = states[chain]
        stream = streams[chain]
        for _ in range(n_sweeps):
            for i in range(length):
                for a in range(n_states):
                    logits[a] = fields[i, a]
                for j in range(length):  # the diagonal block is zero
                    block = couplings[i, j, state[j]]
                    for a in range(n_states):
                        logits[a] += block[a]
                state[i] = _draw(logits, stream)
