"""Loss and gradient of one row of the pseudo-likelihood, in gather form and float64.

For site i:  loss = sum_m w_m [ -log P(s_i^m | s_-i^m) ],  weights of sum 1, nats. The one-hot
encoding is never built: a neighbor's state selects a block to add. Penalties are the caller's.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._numba import njit

__all__ = ["row_loss_factored", "row_loss_full"]


@njit
def _softmax_residual(logits: NDArray[np.float64], target: int, weight: float) -> float:
    """Turn logits into weight * (softmax - one_hot(target)); return weight * cross-entropy."""
    n_states = logits.shape[0]
    largest = logits[0]
    for a in range(1, n_states):
        largest = max(largest, logits[a])
    target_logit = logits[target] - largest
    total = 0.0
    for a in range(n_states):
        value = math.exp(logits[a] - largest)
        logits[a] = value
        total += value
    scale = weight / total
    for a in range(n_states):
        logits[a] *= scale
    logits[target] -= weight
    return weight * (math.log(total) - target_logit)


@njit
def row_loss_full(
    site: int,
    sequences: NDArray[np.uint8],
    weights: NDArray[np.float64],
    fields: NDArray[np.float64],
    couplings: NDArray[np.float64],
    fields_gradient: NDArray[np.float64],
    couplings_gradient: NDArray[np.float64],
) -> float:
    """Return the loss of a row of full blocks and write its gradient.

    sequences (M, L), weights (M,), fields (C,), couplings flat (L * C * C,), indexed [j, b, a] with
    the target state a last; the block of `site` itself must be zero. The gradients have the same
    shapes; that of the site's own block is written as zero.
    """
    n_sequences, length = sequences.shape
    n_states = fields.shape[0]
    logits = np.empty(n_states)
    fields_gradient[:] = 0.0
    couplings_gradient[:] = 0.0
    # Unsigned offsets: signed ones make Numba test for negative indices, which stops vectorisation
    # of the inner loops (20 times slower).
    width = np.uint64(n_states)
    block = np.uint64(n_states * n_states)
    unrolled = length // 4 * 4
    loss = 0.0
    for m in range(n_sequences):
        sequence = sequences[m]
        logits[:] = fields
        for j in range(0, unrolled, 4):  # four neighbors a pass: fewer loads of the accumulator
            o0 = np.uint64(j) * block + np.uint64(sequence[j]) * width
            o1 = np.uint64(j + 1) * block + np.uint64(sequence[j + 1]) * width
            o2 = np.uint64(j + 2) * block + np.uint64(sequence[j + 2]) * width
            o3 = np.uint64(j + 3) * block + np.uint64(sequence[j + 3]) * width
            for a in range(width):
                logits[a] += (couplings[o0 + a] + couplings[o1 + a]) + (
                    couplings[o2 + a] + couplings[o3 + a]
                )
        for j in range(unrolled, length):
            offset = np.uint64(j) * block + np.uint64(sequence[j]) * width
            for a in range(width):
                logits[a] += couplings[offset + a]
        loss += _softmax_residual(logits, sequence[site], weights[m])
        for a in range(width):
            fields_gradient[a] += logits[a]
        for j in range(length):
            offset = np.uint64(j) * block + np.uint64(sequence[j]) * width
            for a in range(width):
                couplings_gradient[offset + a] += logits[a]
    couplings_gradient[site * n_states**2 : (site + 1) * n_states**2] = 0.0
    return loss


@njit
def row_loss_factored(
    site: int,
    sequences: NDArray[np.uint8],
    weights: NDArray[np.float64],
    fields: NDArray[np.float64],
    interactions: NDArray[np.float64],
    fields_gradient: NDArray[np.float64],
    interactions_gradient: NDArray[np.float64],
) -> float:
    """Return the loss of a row of factored couplings with U = I and write its gradient.

    logit(a) = fields(a) + sum_j interactions(j) [s_j = a];  interactions (L,), zero at `site`;
    other shapes as in `row_loss_full`.
    """
    n_sequences, length = sequences.shape
    n_states = fields.shape[0]
    logits = np.empty(n_states)
    fields_gradient[:] = 0.0
    interactions_gradient[:] = 0.0
    loss = 0.0
    for m in range(n_sequences):
        sequence = sequences[m]
        logits[:] = fields
        for j in range(length):
            logits[sequence[j]] += interactions[j]
        loss += _softmax_residual(logits, sequence[site], weights[m])
        for a in range(n_states):
            fields_gradient[a] += logits[a]
        for j in range(length):
            interactions_gradient[j] += logits[sequence[j]]
    interactions_gradient[site] = 0.0
    return loss
