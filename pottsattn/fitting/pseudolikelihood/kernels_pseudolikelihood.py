"""Loss and gradient of one row of the pseudo-likelihood, in gather form.

For site i:  loss = sum_m w_m [ -log P(s_i^m | s_-i^m) ],  weights of sum 1, nats. The one-hot
encoding is never built: a neighbor's state selects a block to add. Penalties are the caller's.

The kernels in float64 are the plain form. `single_row_loss` makes the one that fits run on: rows
of float32, padded to whole vectors, the loss summed in float64. What bounds it is reading the rows
of couplings and adding to those of the gradient, M L times each; sequences are taken in blocks, so
that the gradient of one neighbor and the residuals of a block stay in the first-level cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.rows import add_rows, sum_rows
from pottsattn._core.simd.vectors import (
    LANES,
    PADDING,
    aligned_floats,
    exp,
    largest,
    load_floats,
    maximum,
    splat,
    store_floats,
    total,
)
from pottsattn._core.threads import njit

BLOCK = 128  # sequences
ZERO, FILL = np.float32(0.0), np.float32(PADDING)


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
    shapes; that of the site's own block is written as zero. There may be more symbols b than states
    a, at every site alike.
    """
    n_sequences, length = sequences.shape
    n_states = fields.shape[0]
    logits = np.empty(n_states)
    fields_gradient[:] = 0.0
    couplings_gradient[:] = 0.0
    # Unsigned offsets: signed ones make Numba test for negative indices, which stops vectorization
    # of the inner loops (20 times slower).
    width = np.uint64(n_states)
    block = np.uint64(len(couplings) // length)
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
    own = len(couplings) // length
    couplings_gradient[site * own : (site + 1) * own] = 0.0
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
    other shapes as in `row_loss_full`. The symbol C, an ignored gap, acts on no logit.
    """
    n_sequences, length = sequences.shape
    n_states = fields.shape[0]
    # One place more than logits: what ignored gaps add goes there, and what they read is 0.
    symbols = np.empty(n_states + 1)
    logits = symbols[:n_states]
    fields_gradient[:] = 0.0
    interactions_gradient[:] = 0.0
    loss = 0.0
    for m in range(n_sequences):
        sequence = sequences[m]
        logits[:] = fields
        for j in range(length):
            symbols[sequence[j]] += interactions[j]
        symbols[n_states] = 0.0
        loss += _softmax_residual(logits, sequence[site], weights[m])
        for a in range(n_states):
            fields_gradient[a] += logits[a]
        for j in range(length):
            interactions_gradient[j] += symbols[sequence[j]]
    interactions_gradient[site] = 0.0
    return loss


@cache
def single_row_loss(width: int) -> Callable[..., float]:
    """Return the float32 kernel for rows padded to `width` numbers, a multiple of four.

    Its arguments: site; sequences (M, L) uint8 and their transpose; weights (M,) float32;
    neighbors 0..L-1, uint32; fields float32, padded to whole vectors by PADDING; couplings flat
    (L * C * width,) float32, indexed [j, b, a], the block of `site` zero; n_states; then the
    gradients to write, of the shapes of fields and couplings. It returns the loss.
    """
    whole = -(-width // LANES) * LANES

    @njit
    def row_loss(
        site: int,
        sequences: NDArray[np.uint8],
        columns: NDArray[np.uint8],
        weights: NDArray[np.float32],
        neighbors: NDArray[np.uint32],
        fields: NDArray[np.float32],
        couplings: NDArray[np.float32],
        n_states: int,
        fields_gradient: NDArray[np.float32],
        couplings_gradient: NDArray[np.float32],
    ) -> float:
        n_sequences, length = sequences.shape
        residuals = aligned_floats(BLOCK * whole)
        logits = aligned_floats(whole)
        logits[:] = FILL
        fields_gradient[:] = ZERO
        couplings_gradient[:] = ZERO
        loss = 0.0
        # Two passes over a block: rows of the couplings gather into residuals sequence by sequence,
        # then residuals scatter into the gradient neighbor by neighbor, which needs columns.
        for start in range(0, n_sequences, BLOCK):
            n_here = min(BLOCK, n_sequences - start)
            for m in range(n_here):
                sum_rows(
                    logits, fields, 0, couplings, n_states, neighbors, 0, length, sequences,
                    (start + m) * length, width,
                )  # fmt: skip
                top = load_floats(logits, 0)
                for part in range(LANES, whole, LANES):
                    top = maximum(top, load_floats(logits, part))
                highest = largest(top)
                here, normalizer = m * whole, ZERO
                for part in range(0, whole, LANES):
                    # Padding gives 2^-126 here, which adds nothing to a sum that is at least 1.
                    value = exp(load_floats(logits, part) - splat(highest))
                    normalizer += total(value)
                    store_floats(residuals, here + part, value)
                target, weight = columns[site, start + m], weights[start + m]
                # Not the log of the probability, which underflows for a target far below the
                # largest logit.
                loss += weight * (math.log(normalizer) - (logits[target] - highest))
                scale = splat(weight / normalizer)
                for part in range(0, whole, LANES):
                    value = load_floats(residuals, here + part) * scale
                    store_floats(residuals, here + part, value)
                residuals[here + target] -= weight
                for part in range(0, whole, LANES):
                    value = load_floats(fields_gradient, part)
                    value = value + load_floats(residuals, here + part)
                    store_floats(fields_gradient, part, value)
            for j in range(length):
                add_rows(
                    couplings_gradient, j * n_states * width, residuals, whole, columns,
                    j * n_sequences + start, n_here, width,
                )  # fmt: skip
        couplings_gradient[site * n_states * width : (site + 1) * n_states * width] = ZERO
        return loss

    return row_loss
