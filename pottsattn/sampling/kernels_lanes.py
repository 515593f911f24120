"""Chains as SIMD lanes: sequential sweeps of 16, 32 or 64 chains at once.

The logits of site i need sums of couplings over the neighbors j in state c. Each chain is one
lane; "s_j = c" is one bit of a mask; a masked vector addition adds the coupling to the chains it
concerns. State 0 needs no sum: in the lattice-gas gauge (`tables.lane_tables`) it couples to
nothing. So logit(a) = f_i(a) + sum_t mixing[t, a] S_t with terms S_t = sum_j values[h_t, ij]
[s_j = c_t]: H (C - 1) terms for factored couplings, (C - 1)^2 for dense ones. An update costs
d / 16 vector additions per term for d neighbors, whatever the chains do.

A draw replaces state o by the first a != o with w_1 + ... + w_a > u Z, w_o left out, and keeps o
if there is none: states far less probable than o keep their relative weight in single precision.
Metropolis proposes any state, o too: without that, two states without couplings would only swap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.rows import masked_sums
from pottsattn._core.simd.vectors import (
    LANES,
    aligned_floats,
    exp,
    fma,
    load_floats,
    load_mask,
    load_words,
    maximum,
    multiply_high,
    select,
    splat,
    splat_word,
    store_floats,
    store_mask,
    store_words,
)
from pottsattn._core.threads import njit
from pottsattn.sampling.kernels_random import draw_words, unit_floats

ZERO, ONE = np.float32(0.0), np.float32(1.0)


@njit(inline="always")
def _heat_bath(
    logits: Any, n_states: int, n_lanes: int, at: int, beta: Any, current: Any, words: Any
) -> Any:
    """Return the new states of sixteen chains; `logits` (n_states, n_lanes) is overwritten."""
    # Relative to the largest weight: `kernels_chains._draw` takes that of the current state and
    # branches where weights overflow, but lanes cannot branch one by one.
    top = load_floats(logits, at)
    for a in range(1, n_states):
        top = maximum(top, load_floats(logits, a * n_lanes + at))
    zero = splat(ZERO)
    sums, own = zero, zero
    for a in range(n_states):
        weight = exp((load_floats(logits, a * n_lanes + at) - top) * beta)
        # The current state is left out of the running sums: next to its weight, often all but 1,
        # small ones would round away. Its slot is empty, so that the search below cannot end there.
        is_current = current == splat_word(np.uint32(a))
        own = select(is_current, weight, own)
        sums = sums + select(is_current, zero, weight)
        store_floats(logits, a * n_lanes + at, sums)
    threshold = unit_floats(words) * (sums + own)
    new = current
    for step in range(1, n_states + 1):  # downwards, so that the first sum above stays
        a = n_states - step
        is_above = threshold < load_floats(logits, a * n_lanes + at)
        new = select(is_above, splat_word(np.uint32(a)), new)
    return new


@njit(inline="always")
def _chosen(logits: Any, n_states: int, n_lanes: int, at: int, states: Any) -> Any:
    """Return the logits of sixteen chains at `states`."""
    chosen = splat(ZERO)
    for a in range(n_states):
        is_state = states == splat_word(np.uint32(a))
        chosen = select(is_state, load_floats(logits, a * n_lanes + at), chosen)
    return chosen


@njit(inline="always")
def _metropolis(
    logits: Any, n_states: int, n_lanes: int, at: int, beta: Any, current: Any, streams: Any
) -> Any:
    """Return the new states of sixteen chains that each propose one state."""
    group = at // LANES
    n_choices = splat_word(np.uint32(n_states))
    # word * C / 2^32, without rejection: a state is proposed too often by C / 2^32 at most.
    proposal = multiply_high(draw_words(streams, group, n_lanes), n_choices)
    gain = _chosen(logits, n_states, n_lanes, at, proposal)
    gain = (gain - _chosen(logits, n_states, n_lanes, at, current)) * beta
    zero = splat(ZERO)
    unit = unit_floats(draw_words(streams, group, n_lanes))
    # Gains are cut off at 0: `exp` is for arguments below 87.
    return select(unit <= exp(select(zero < gain, zero, gain)), proposal, current)


@njit(inline="always")
def _mix_sums(
    sums: NDArray[np.float32],
    logits: NDArray[np.float32],
    at: int,
    fields: NDArray[np.float32],
    site: int,
    mixing: NDArray[np.float32],
    is_identity: bool,
) -> None:
    """Write the logits of sixteen chains: f(a) + sum_t mixing[t, a] S_t, up to a constant.

    With `is_identity`, term c is that of state c and mixing is [a = c] + 1; the constant is then
    the sum of all terms, otherwise it is 0.
    """
    n_states, n_lanes = logits.shape
    rest = splat(fields[site, 0])
    for a in range(1, n_states):
        value = splat(fields[site, a])
        # Minus the sum of all terms, which changes no draw, every state needs one addition instead
        # of C - 1 products.
        if is_identity:
            one = load_floats(sums, (a - 1) * n_lanes + at)
            rest = rest - one
            value = value + one
        else:
            for t in range(len(mixing)):
                weight = splat(mixing[t, a - 1])
                value = fma(weight, load_floats(sums, t * n_lanes + at), value)
        store_floats(logits, a * n_lanes + at, value)
    store_floats(logits, at, rest)


@njit
def _add_masked(
    sums: NDArray[np.float32],
    at: int,
    values: NDArray[np.float32],
    neighbors: NDArray[np.uint32],
    first: int,
    last: int,
    masks: NDArray[np.uint16],
    masks_at: int,
    n_groups: int,
) -> None:
    """Call `masked_sums` with the number of groups as a literal."""
    # Sums can stay in registers only if the compiler knows how many there are.
    if n_groups == 4:
        masked_sums(sums, at, values, neighbors, first, last, masks, masks_at, 4)
    elif n_groups == 2:
        masked_sums(sums, at, values, neighbors, first, last, masks, masks_at, 2)
    else:
        masked_sums(sums, at, values, neighbors, first, last, masks, masks_at, 1)


@njit
def _sweep_two_states(
    masks: NDArray[np.uint16],
    lane_streams: NDArray[np.uint32],
    lane_betas: NDArray[np.float32],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float32],
    fields: NDArray[np.float32],
    n_sweeps: int,
    is_metropolis: bool,
    lane_energies: NDArray[np.float64],
) -> None:
    """Advance chains of two states, held in the bits of masks (L, n_groups) alone."""
    length = len(starts) - 1
    n_lanes = len(lane_betas)
    n_groups = n_lanes // LANES
    sums = aligned_floats(n_lanes)
    zero, one = splat(ZERO), splat(ONE)
    for _ in range(n_sweeps):
        for i in range(length):
            _add_masked(sums, 0, values, neighbors, starts[i], starts[i + 1], masks, 0, n_groups)
            field = splat(fields[i, 1] - fields[i, 0])
            for group in range(n_groups):
                at = LANES * group
                current = load_mask(masks, i * n_groups + group)
                logit = (load_floats(sums, at) + field) * load_floats(lane_betas, at)
                # One exponential of minus |gain|, which cannot overflow, serves both signs: the
                # chance to flip is 1 / (1 + ratio) for gains and ratio / (1 + ratio) for losses.
                gain = select(current, zero - logit, logit)  # of the other state
                is_gain = zero < gain
                ratio = exp(select(is_gain, zero - gain, gain))
                accept = select(is_gain, one, ratio)
                if is_metropolis:
                    proposed = draw_words(lane_streams, group, n_lanes)
                    is_other = multiply_high(proposed, splat_word(np.uint32(2)))
                    flips = is_other == splat_word(np.uint32(1))
                    flips = flips ^ current  # the proposed state differs from the current one
                    unit = unit_floats(draw_words(lane_streams, group, n_lanes))
                    flips = flips & (unit <= accept)
                else:
                    unit = unit_floats(draw_words(lane_streams, group, n_lanes))
                    flips = unit * (one + ratio) < accept  # a product costs less than a division
                store_mask(masks, i * n_groups + group, current ^ flips)
    if len(lane_energies) > 0:
        for i in range(length):
            _add_masked(sums, 0, values, neighbors, starts[i], starts[i + 1], masks, 0, n_groups)
            for lane in range(n_lanes):
                if (masks[i * n_groups + lane // LANES] >> (lane % LANES)) & 1:
                    # Every pair is met from both its sites. Added in double precision.
                    lane_energies[lane] -= fields[i, 1] + np.float32(0.5) * sums[lane]
                else:
                    lane_energies[lane] -= fields[i, 0]


@njit
def _sweep_many_states(
    masks: NDArray[np.uint16],
    lane_states: NDArray[np.uint32],
    lane_streams: NDArray[np.uint32],
    lane_betas: NDArray[np.float32],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float32],
    fields: NDArray[np.float32],
    term_heads: NDArray[np.int64],
    term_states: NDArray[np.int64],
    mixing: NDArray[np.float32],
    is_identity: bool,
    n_sweeps: int,
    is_metropolis: bool,
    lane_energies: NDArray[np.float64],
) -> None:
    """Advance chains held in lane_states (L, n_lanes) and masks (C - 1, L, n_groups)."""
    length, n_states = fields.shape
    n_lanes = len(lane_betas)
    n_groups = n_lanes // LANES
    sums = aligned_floats(len(mixing) * n_lanes).reshape(len(mixing), n_lanes)
    logits = aligned_floats(n_states * n_lanes).reshape(n_states, n_lanes)
    chosen = np.empty(n_lanes, np.float32)
    n_words = length * n_groups
    n_passes = n_sweeps + (1 if len(lane_energies) > 0 else 0)
    for number in range(n_passes):
        for i in range(length):
            first, last = starts[i], starts[i + 1]
            for t in range(len(mixing)):
                # The masks of one state are contiguous over sites: the sums run along memory.
                masks_at = term_states[t] * n_words
                _add_masked(
                    sums, t * n_lanes, values[term_heads[t]], neighbors, first, last, masks,
                    masks_at, n_groups,
                )  # fmt: skip
            for group in range(n_groups):
                at = LANES * group
                _mix_sums(sums, logits, at, fields, i, mixing, is_identity)
                current = load_words(lane_states, i * n_lanes + at)
                if number == n_sweeps:  # the last pass reads the energies
                    value = _chosen(logits, n_states, n_lanes, at, current)
                    store_floats(chosen, at, value)
                    continue
                beta = load_floats(lane_betas, at)
                if is_metropolis:
                    new = _metropolis(logits, n_states, n_lanes, at, beta, current, lane_streams)
                else:
                    words = draw_words(lane_streams, group, n_lanes)
                    new = _heat_bath(logits, n_states, n_lanes, at, beta, current, words)
                # States are kept twice: numbers for the draw, bits for the sums.
                store_words(lane_states, i * n_lanes + at, new)
                for c in range(n_states - 1):
                    is_state = new == splat_word(np.uint32(c + 1))
                    store_mask(masks, c * n_words + i * n_groups + group, is_state)
            if number == n_sweeps:
                for lane in range(n_lanes):
                    value = chosen[lane] + fields[i, lane_states[i, lane]]
                    value += fields[i, 0] - logits[0, lane]  # the constant of `_mix_sums`
                    lane_energies[lane] -= np.float32(0.5) * value


@njit
def sweep_lanes(
    states: NDArray[np.uint8],
    streams: NDArray[np.uint32],
    betas: NDArray[np.float32],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float32],
    fields: NDArray[np.float32],
    term_heads: NDArray[np.int64],
    term_states: NDArray[np.int64],
    mixing: NDArray[np.float32],
    is_identity: bool,
    n_sweeps: int,
    is_metropolis: bool,
    energies: NDArray[np.float64],
    n_groups: int,
) -> None:
    """Advance at most 16 `n_groups` chains in place; n_groups is 1, 2 or 4.

    states (n_chains, L) uint8, streams (n_chains, 4) uint32, betas (n_chains,) float32. Neighbors:
    starts (L + 1,) int64, neighbors (E,) uint32, values (H, E) float32. fields (L, C) float32, in
    the lattice-gas gauge. Terms: heads h_t and states c_t - 1, int64 (T,), mixing (T, C - 1)
    float32; `is_identity` says that there are C - 1, in order, and mixing is [a = c] + 1. Two
    states take one term, mixing 1. energies (n_chains,) float64 are written at the end up to a
    constant, or empty.
    """
    n_chains, length = states.shape
    n_lanes = LANES * n_groups
    n_states = fields.shape[1]
    # Lanes without a chain run along: a stream of zeros stays zero, and nobody reads their states.
    lane_streams = np.zeros((4, n_lanes), np.uint32)
    lane_betas = np.zeros(n_lanes, np.float32)
    lane_energies = np.zeros(n_lanes if len(energies) > 0 else 0, np.float64)
    masks = np.zeros((n_states - 1, length, n_groups), np.uint16)
    lane_states = np.zeros((length, n_lanes), np.uint32)
    for chain in range(n_chains):
        lane_betas[chain] = betas[chain]
        group, bit = chain // LANES, np.uint16(1 << (chain % LANES))
        for word in range(4):
            lane_streams[word, chain] = streams[chain, word]
        for i in range(length):
            state = states[chain, i]
            lane_states[i, chain] = state
            if state > 0:
                masks[state - 1, i, group] |= bit
    if n_states == 2:
        _sweep_two_states(
            masks.reshape(-1), lane_streams, lane_betas, starts, neighbors, values[0], fields,
            n_sweeps, is_metropolis, lane_energies,
        )  # fmt: skip
    else:
        _sweep_many_states(
            masks, lane_states, lane_streams, lane_betas, starts, neighbors, values, fields,
            term_heads, term_states, mixing, is_identity, n_sweeps, is_metropolis, lane_energies,
        )  # fmt: skip
    for chain in range(n_chains):
        group, shift = chain // LANES, chain % LANES
        if len(energies) > 0:
            energies[chain] = lane_energies[chain]
        for word in range(4):
            streams[chain, word] = lane_streams[word, chain]
        for i in range(length):
            if n_states == 2:
                states[chain, i] = (masks[0, i, group] >> shift) & 1
            else:
                states[chain, i] = lane_states[i, chain]
