"""One chain at a time: factored couplings by incremental color bins, dense ones by rows.

Both take the logits of one site from memory and draw with vectors over the states, padded to
sixteen; for the rule of a draw see `kernels_lanes`. Bins are changed only when a site flips, two
of them. Rows are added for all chains of a block site by site, so that the couplings of a site
are read from cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.rows import sum_rows
from pottsattn._core.simd.vectors import (
    LANES,
    PADDING,
    aligned_floats,
    count,
    exp,
    fma,
    lane_numbers,
    largest,
    last,
    load_column,
    load_floats,
    maximum,
    prefix_sums,
    select,
    splat,
    splat_word,
    store_floats,
)
from pottsattn._core.threads import njit
from pottsattn.sampling.kernels_random import draw_word, unit_float

REFRESH = 32  # sweeps between fresh bins: rounding of the increments does not pile up
ZERO, ONE = np.float32(0.0), np.float32(1.0)
LARGEST_GAIN = np.float32(60.0)  # e^60 leaves room for the sum of the weights
FILL = np.float32(PADDING)
LEAST_BETA = np.float32(1e-25)  # as good as 0, and still keeps padding out of a draw


@njit(inline="always")
def _draw(
    logits: NDArray[np.float32],
    sums: NDArray[np.float32],
    n_states: int,
    beta: np.float32,
    current: int,
    stream: NDArray[np.uint32],
    is_metropolis: bool,
) -> Any:
    """Return the new state of one site; `logits` and the work space `sums` are whole vectors."""
    if is_metropolis:
        # word * C / 2^32, without rejection: a state is proposed too often by C / 2^32 at most.
        proposal = (np.uint64(draw_word(stream)) * np.uint64(n_states)) >> np.uint64(32)
        unit = unit_float(draw_word(stream))
        gain = beta * (logits[proposal] - logits[current])
        return np.int64(proposal) if gain >= ZERO or unit <= np.exp(gain) else np.int64(current)
    n_parts = len(logits) // LANES
    scale = splat(max(beta, LEAST_BETA))
    # Weights relative to the current state, whose own is then 1 without a pass for the largest. It
    # is left out of the running sums: next to it small weights would round away.
    here, own = logits[current], ONE
    n_large = 0
    for part in range(n_parts):
        gain = (load_floats(logits, LANES * part) - splat(here)) * scale
        n_large += count(splat(LARGEST_GAIN) < gain)
    if n_large > 0:  # far from equilibrium: weights relative to the current state would overflow
        top = load_floats(logits, 0)
        for part in range(1, n_parts):
            top = maximum(top, load_floats(logits, LANES * part))
        own = np.float32(np.exp((here - largest(top)) * beta))
        here = largest(top)
    before, zero = ZERO, splat(ZERO)
    for part in range(n_parts):
        weight = exp((load_floats(logits, LANES * part) - splat(here)) * scale)
        # Below 0 the number wraps around and is no lane's.
        is_current = lane_numbers() == splat_word(np.uint32(current - LANES * part))
        prefix = prefix_sums(select(is_current, zero, weight)) + splat(before)
        before = last(prefix)
        store_floats(sums, LANES * part, prefix)
    # A line of all other weights, then that of the current state. As many sums as are not above the
    # threshold come before the place that was hit; beyond the last state the current one stays.
    # Padding that is hit (weights of 2^-126) means that, too.
    threshold = splat(unit_float(draw_word(stream)) * (before + own))
    new = 0
    for part in range(n_parts):
        new += count(load_floats(sums, LANES * part) <= threshold)
    return new if new < n_states else np.int64(current)


@njit
def _rebuild(
    bins: NDArray[np.float32], state: NDArray[np.uint8], by_source: Any, n_states: int
) -> None:
    n_heads, length, padded = by_source.shape
    bins[:] = ZERO
    for h in range(n_heads):
        for i in range(length):
            row = (h * n_states + state[i]) * padded
            source = (h * length + i) * padded
            for j in range(0, padded, LANES):
                value = load_floats(bins, row + j) + load_floats(by_source, source + j)
                store_floats(bins, row + j, value)


@njit
def sweep_bins(
    states: NDArray[np.uint8],
    streams: NDArray[np.uint32],
    betas: NDArray[np.float32],
    by_source: NDArray[np.float32],
    fields: NDArray[np.float32],
    color_similarity: NDArray[np.float32],
    is_identity: bool,
    n_sweeps: int,
    is_metropolis: bool,
    energies: NDArray[np.float64],
) -> None:
    """Advance chains in place by bins[h, c, j] = sum_i A^h_ji [s_i = c], changed on flips only.

    states (n_chains, L), streams (n_chains, 4), betas (n_chains,); by_source (H, L, P) holds A^h_ji
    at [h, i, j], P a multiple of sixteen; fields (L, Q) and color_similarity (H, C, Q), U^h_ac at
    [h, c, a], Q = C padded to sixteen (fields by a very negative number); `is_identity`: one head,
    J_ij(a, b) = A_ij [a = b]; energies (n_chains,) float64 are written at the end, or empty.
    """
    n_chains, length = states.shape
    n_heads, n_states, width = color_similarity.shape
    padded = by_source.shape[2]
    n_bins = n_heads * n_states
    logits, sums = aligned_floats(width), aligned_floats(width)
    logits[:] = FILL
    n_rows = max(n_bins, width)  # columns of bins are read as whole vectors
    bins = aligned_floats(n_rows * padded).reshape(n_rows, padded)
    for chain in range(n_chains):
        state, stream, beta = states[chain], streams[chain], betas[chain]
        for sweep in range(n_sweeps):
            if sweep % REFRESH == 0:
                _rebuild(bins, state, by_source, n_states)
            for i in range(length):
                if is_identity:
                    for part in range(0, width, LANES):
                        column = load_column(bins, part * padded + i, padded)
                        store_floats(logits, part, load_floats(fields, i * width + part) + column)
                else:
                    _mix_bins(logits, fields, i, bins, color_similarity, n_bins)
                old = np.int64(state[i])
                new = _draw(logits, sums, n_states, beta, old, stream, is_metropolis)
                if new != old:
                    state[i] = new
                    for h in range(n_heads):
                        source = (h * length + i) * padded
                        from_row = (h * n_states + old) * padded
                        to_row = (h * n_states + new) * padded
                        for j in range(0, padded, LANES):
                            value = load_floats(by_source, source + j)
                            less = load_floats(bins, from_row + j) - value
                            more = load_floats(bins, to_row + j) + value
                            store_floats(bins, from_row + j, less)
                            store_floats(bins, to_row + j, more)
        if len(energies) > 0:
            energies[chain] = 0.0
            if n_sweeps == 0:
                _rebuild(bins, state, by_source, n_states)
            for i in range(length):
                logit = fields[i, state[i]]
                for b in range(n_bins):
                    h, c = b // n_states, b % n_states
                    logit += color_similarity[h, c, state[i]] * bins[b, i]
                # Half of the field and half of the logit, which holds the other half of the field
                # and every pair as seen from one of its sites.
                energies[chain] -= np.float32(0.5) * (fields[i, state[i]] + logit)


@njit(inline="always")
def _mix_bins(
    logits: NDArray[np.float32],
    fields: NDArray[np.float32],
    site: int,
    bins: NDArray[np.float32],
    color_similarity: NDArray[np.float32],
    n_bins: int,
) -> None:
    """Write logits[a] = h_i(a) + sum_hc U^h_ac bins[h, c, i] in two independent chains of sums."""
    width = fields.shape[1]
    for part in range(0, width, LANES):
        # Two chains, since a fused product waits for the last of its chain.
        even, odd = load_floats(fields, site * width + part), splat(ZERO)
        for b in range(0, n_bins - 1, 2):
            row = b * width + part
            even = fma(splat(bins[b, site]), load_floats(color_similarity, row), even)
            odd = fma(splat(bins[b + 1, site]), load_floats(color_similarity, row + width), odd)
        if n_bins % 2 == 1:
            row = (n_bins - 1) * width + part
            even = fma(splat(bins[n_bins - 1, site]), load_floats(color_similarity, row), even)
        store_floats(logits, part, even + odd)


@cache
def row_kernel(width: int) -> Callable[..., None]:
    """Return the kernel that adds rows J_ij(:, s_j), padded to `width`, a multiple of four.

    It advances chains in place: states (n_chains, L) uint8, streams (n_chains, 4) uint32, betas
    (n_chains,) float32; starts (L + 1,) int64, neighbors (E,) uint32; rows (E, C, width) float32,
    J_ij(a, c) at [k, c, a] for the k-th pair (i, j); fields (L, width) float32, padded by a very
    negative number; energies (n_chains,) float64, written at the end, or empty.
    """

    @njit
    def sweep(
        states: NDArray[np.uint8],
        streams: NDArray[np.uint32],
        betas: NDArray[np.float32],
        starts: NDArray[np.int64],
        neighbors: NDArray[np.uint32],
        rows: NDArray[np.float32],
        fields: NDArray[np.float32],
        n_states: int,
        n_sweeps: int,
        is_metropolis: bool,
        energies: NDArray[np.float64],
    ) -> None:
        n_chains, length = states.shape
        energies[:] = 0.0
        whole = (width + LANES - 1) // LANES * LANES
        logits, sums = aligned_floats(whole), aligned_floats(whole)
        logits[:] = FILL
        n_passes = n_sweeps + (1 if len(energies) > 0 else 0)
        for number in range(n_passes):
            for i in range(length):
                for m in range(n_chains):
                    sum_rows(
                        logits, fields, i * width, rows, n_states, neighbors, starts[i],
                        starts[i + 1], states, m * length, width,
                    )  # fmt: skip
                    old = np.int64(states[m, i])
                    if number == n_sweeps:  # the last pass reads the energies
                        energies[m] -= np.float32(0.5) * (fields[i, old] + logits[old])
                        continue
                    states[m, i] = _draw(
                        logits, sums, n_states, betas[m], old, streams[m], is_metropolis
                    )

    return sweep
