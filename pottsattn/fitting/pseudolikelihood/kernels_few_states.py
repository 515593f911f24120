"""Loss and gradient of one row of the pseudo-likelihood for few states, sixteen sequences at once.

The objective is that of `kernels_pseudolikelihood`. There a sequence is a list of rows to gather;
with few states such rows fill a quarter of a vector or less. Here sequences are lanes and "sequence
m has state b at site j" is one bit, so a masked vector addition adds a coupling to sixteen logits.
Only differences to state 0 count, of logits and of states alike,

    z(a) - z(0) = base(a) + sum_{j, b > 0} [s_j = b] D_j(b, a),   base(a) = h(a) + sum_j J_j(0, a),
    D_j(b, a) = J_j(b, a) - J_j(0, a), each minus the same of a = 0,

which leaves (C - 1)^2 additions per neighbor and sixteen sequences. As many give the gradient,
G_j(b, a) = sum_m [s_j = b] r_m(a); those of state 0 are what is missing to sum_a r(a) = 0 and to
sum_b G_j(b, a) = sum_m r_m(a). Sequences are taken in chunks whose residuals stay in the
first-level cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.masks import add_masked_vectors, divide, sum_masked_values
from pottsattn._core.simd.vectors import (
    LANES,
    aligned_floats,
    exp,
    fma,
    load_floats,
    load_mask,
    maximum,
    select,
    splat,
    store_floats,
    total,
)
from pottsattn._core.threads import njit

MOST_STATES = 5  # up to which this beats `single_row_loss` with AVX2 and with AVX-512
GROUPS = 2  # of sixteen sequences, whose masks lie side by side: a block
CHUNK = 32  # blocks
ZERO, ONE = np.float32(0.0), np.float32(1.0)
SERIES = np.array([2.0 / (2 * k + 1) for k in range(32)], np.float32)  # of 2 artanh


def masks_shape(n_sequences: int, length: int, n_states: int) -> tuple[int, int, int, int]:
    """Return the shape of `state_masks`."""
    return -(-n_sequences // (GROUPS * LANES)), length, n_states - 1, GROUPS


def state_masks(sequences: NDArray[np.uint8], n_states: int) -> NDArray[np.uint16]:
    """Return the bits "sequence m has state b at site j" for b > 0, the table of the kernels.

    sequences (M, L); the masks are (n_blocks, L, C - 1, GROUPS), n_blocks = ceil(M / 32), indexed
    [block, j, b - 1, group], lowest bit first. Bits of sequences that only fill a block are unset.
    """
    n_sequences, length = sequences.shape
    masks = np.zeros(masks_shape(n_sequences, length, n_states), np.uint16)
    n_blocks = len(masks)
    packed = np.zeros((2 * GROUPS * n_blocks, length), np.uint8)
    for b in range(1, n_states):
        packed[: -(-n_sequences // 8)] = np.packbits(sequences == b, axis=0, bitorder="little")
        words = packed[::2] | packed[1::2].astype(np.uint16) << 8
        masks[:, :, b - 1] = words.reshape(n_blocks, GROUPS, length).transpose(0, 2, 1)
    return masks


@njit
def _take_differences(
    n_states: int,
    fields: NDArray[np.float32],
    couplings: NDArray[np.float32],
    bases: NDArray[np.float64],
    values: NDArray[np.float32],
) -> None:
    """Write base(a) and D_j(b, a) of the states above 0; values are flat, [j, b, a]."""
    n_free = n_states - 1
    for a in range(n_free):
        bases[a] = fields[a + 1] - fields[0]
    at = 0
    for block in range(0, len(couplings), n_states**2):
        for b in range(n_free):
            row = block + (b + 1) * n_states
            for a in range(n_free):
                # Differences of neighbors first, in single precision; their sum over all sites
                # below is in double.
                base = couplings[block + a + 1] - couplings[block]
                values[at] = (couplings[row + a + 1] - couplings[row]) - base
                at += 1
        for a in range(n_free):
            bases[a] += couplings[block + a + 1] - couplings[block]


@njit
def _write_gradient(
    n_states: int,
    residual_sums: NDArray[np.float32],
    sums: NDArray[np.float32],
    fields_gradient: NDArray[np.float32],
    couplings_gradient: NDArray[np.float32],
) -> None:
    """Add up the lanes of the sums, vectors [a] and [j, b, a], and write the gradients of all."""
    fields_gradient[:] = ZERO
    for a in range(1, n_states):
        # Lanes are added here, once, and not chunk by chunk: that is quicker, and sixteen sums of a
        # sixteenth of the sequences lose less to rounding than one.
        fields_gradient[a] = total(load_floats(residual_sums, (a - 1) * LANES))
        fields_gradient[0] -= fields_gradient[a]
    at = 0
    for block in range(0, len(couplings_gradient), n_states**2):
        couplings_gradient[block : block + n_states] = fields_gradient[:n_states]
        for row in range(block + n_states, block + n_states**2, n_states):
            couplings_gradient[row] = ZERO
            for a in range(1, n_states):
                value = total(load_floats(sums, at))
                at += LANES
                couplings_gradient[row + a] = value
                couplings_gradient[row] -= value
            for a in range(n_states):
                couplings_gradient[block + a] -= couplings_gradient[row + a]


@njit(inline="always")
def _log(value: Any, largest: int, n_terms: int) -> Any:
    """Return the logarithms of floats between 1 and `largest`, exact at 1.

    log(value / c) = 2 artanh(x) with x = (value - c) / (value + c), where c is 1 or the root of
    `largest`.
    """
    # LLVM has no logarithm of vectors that needs no library. Close to 1, where most sequences of a
    # good fit end, the series starts from 1, so that a certain prediction costs exactly nothing.
    root = np.float32(math.sqrt(largest))
    is_above = splat(root) < value
    c = select(is_above, splat(root), splat(ONE))
    x = divide(value - c, value + c)
    square = x * x
    series = splat(SERIES[n_terms - 1])
    for k in range(n_terms - 2, -1, -1):
        series = fma(series, square, splat(SERIES[k]))
    log_c = select(is_above, splat(np.float32(0.5 * math.log(largest))), splat(ZERO))
    return fma(series, x, log_c)


def few_states_working_bytes(n_sequences: int, length: int, n_states: int) -> int:
    """Return the bytes of the arrays that the kernel makes for itself."""
    n_free, span = n_states - 1, CHUNK * GROUPS * LANES
    numbers = length * n_free**2 * (1 + LANES)  # values, sums
    return 4 * (numbers + n_free * (span + LANES) + n_sequences)  # residuals and theirs, weights


@cache
def few_states_row_loss(n_states: int) -> Callable[..., float]:
    """Return the float32 kernel for `n_states` states.

    Its arguments: site; masks of `state_masks`; weights (M,) float32; fields float32, C or more
    numbers of which the first C count; couplings flat (L * C * C,) float32, indexed [j, b, a], the
    block of `site` zero; then the gradients to write, of the shapes of fields and couplings, zero
    beyond the first C fields and in the block of `site`. It returns the loss.
    """
    n_free = n_states - 1
    # No more than eight sums of vectors in a pass: with AVX2 they fill the registers.
    at_once = 4 if n_free <= 2 else 2  # masks whose sums are taken in one pass
    farthest = (math.sqrt(n_states) - 1.0) / (math.sqrt(n_states) + 1.0)
    # What is left out is below 1e-8 where the series converges slowest, at the root of C.
    n_terms = 1
    while 2.0 * farthest ** (2 * n_terms + 1) / (2 * n_terms + 1) > 1e-8:
        n_terms += 1

    @njit
    def row_loss(
        site: int,
        masks: NDArray[np.uint16],
        weights: NDArray[np.float32],
        fields: NDArray[np.float32],
        couplings: NDArray[np.float32],
        fields_gradient: NDArray[np.float32],
        couplings_gradient: NDArray[np.float32],
    ) -> float:
        n_blocks, length = masks.shape[:2]
        n_rows = length * n_free
        n_words = n_rows * GROUPS  # of a block
        own_masks = site * n_free * GROUPS
        span = CHUNK * GROUPS * LANES
        bases = np.empty(n_free)
        values = np.empty(n_rows * n_free, np.float32)
        _take_differences(n_states, fields, couplings, bases, values)
        padded = aligned_floats(n_blocks * GROUPS * LANES)  # sequences that fill a block weigh 0
        padded[: len(weights)] = weights
        padded[len(weights) :] = ZERO
        residuals = aligned_floats(n_free * span)
        residual_sums = aligned_floats(n_free * LANES)
        residual_sums[:] = ZERO
        sums = aligned_floats(n_rows * n_free * LANES)
        sums[:] = ZERO
        zero = splat(ZERO)
        loss = 0.0
        for start in range(0, n_blocks, CHUNK):
            n_here = min(CHUNK, n_blocks - start)
            for block in range(n_here):
                words = (start + block) * n_words
                sum_masked_values(
                    residuals, block * GROUPS * LANES, span, values, masks, words, n_rows, n_free,
                    GROUPS,
                )  # fmt: skip
                for group in range(GROUPS):
                    at = (block * GROUPS + group) * LANES
                    targets = words + own_masks + group
                    top, chosen = zero, zero  # state 0 has the logit 0, and no mask
                    for a in range(n_free):
                        logit = load_floats(residuals, a * span + at) + splat(np.float32(bases[a]))
                        store_floats(residuals, a * span + at, logit)
                        top = maximum(top, logit)
                        is_target = load_mask(masks, targets + a * GROUPS)
                        chosen = select(is_target, logit, chosen)
                    normalizer = exp(zero - top)
                    for a in range(n_free):
                        value = exp(load_floats(residuals, a * span + at) - top)
                        store_floats(residuals, a * span + at, value)
                        normalizer = normalizer + value
                    weight = load_floats(padded, start * GROUPS * LANES + at)
                    loss += total(weight * (_log(normalizer, n_states, n_terms) - (chosen - top)))
                    scale = divide(weight, normalizer)
                    for a in range(n_free):
                        value = load_floats(residuals, a * span + at) * scale
                        is_target = load_mask(masks, targets + a * GROUPS)
                        value = select(is_target, value - weight, value)
                        store_floats(residuals, a * span + at, value)
                        value = value + load_floats(residual_sums, a * LANES)
                        store_floats(residual_sums, a * LANES, value)
            words = start * n_words
            for row in range(0, n_rows - at_once + 1, at_once):
                add_masked_vectors(
                    sums, row * n_free * LANES, residuals, span, masks, words + row * GROUPS,
                    n_words, n_here, at_once, n_free, GROUPS,
                )  # fmt: skip
            for row in range(n_rows - n_rows % at_once, n_rows):
                add_masked_vectors(
                    sums, row * n_free * LANES, residuals, span, masks, words + row * GROUPS,
                    n_words, n_here, 1, n_free, GROUPS,
                )  # fmt: skip
        _write_gradient(n_states, residual_sums, sums, fields_gradient, couplings_gradient)
        couplings_gradient[site * n_states**2 : (site + 1) * n_states**2] = ZERO
        return loss

    return row_loss
