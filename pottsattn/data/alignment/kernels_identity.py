"""Kernels that compare sequences pairwise: neighbor counts and single-linkage clusters.

The states of 64 sites are bits: word p of a sequence holds bit p of each state. Two sequences
differ at the sites whose bits are set in the union over p of x_p xor y_p, and a count of set bits
adds them up, sixteen pairs at once. Pairs are given up after each 64 sites, when all sixteen are
beyond the limit; sites are dealt to the words in turn, so that the first word is a fair sample of
the columns (the ends of an alignment are gaps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.bits import (
    add_bit_counts,
    at_most,
    collect_differences,
    load_longs,
    mask_bits,
    splat_long,
)
from pottsattn._core.simd.vectors import (
    LANES,
    count,
    load_mask,
    load_words,
    select,
    splat_word,
    store_words,
)
from pottsattn._core.threads import njit

WORD_SITES = 64
TILE = 512  # sequences whose words of one step (20 KB for proteins) stay in the L1 cache
NONE, ONE = np.uint32(0), np.uint32(1)
NO_BITS = np.uint64(0)


@njit
def pack_states(sequences: NDArray[np.uint8], words: NDArray[np.uint64]) -> None:
    """Write the bits of the states into `words`, shape (n_steps, n_bits, n_sequences or more)."""
    n_steps, n_bits, _ = words.shape
    for m in range(sequences.shape[0]):
        for step in range(n_steps):
            for p in range(n_bits):
                word = NO_BITS
                place = NO_BITS
                for site in range(step, sequences.shape[1], n_steps):
                    bit = (np.uint64(sequences[m, site]) >> np.uint64(p)) & np.uint64(1)
                    word |= bit << place
                    place += np.uint64(1)
                words[step, p, m] = word


@njit(inline="always")
def _are_close(words: Any, m: int, start: int, limit: Any) -> Any:
    """Return which of the sequences start..start+15 differ from m in at most `limit` sites."""
    n_steps, n_bits, width = words.shape
    counts = splat_long(NO_BITS)
    close = at_most(counts, limit)
    for step in range(n_steps):
        differences = splat_long(NO_BITS)
        for p in range(n_bits):
            own = splat_long(words[step, p, m])
            others = load_longs(words, (step * n_bits + p) * width + start)
            differences = collect_differences(differences, own, others)
        counts = add_bit_counts(counts, differences)
        close = at_most(counts, limit)
        if count(close) == 0:
            break
    return close


@njit
def count_neighbors(
    words: NDArray[np.uint64],
    is_sequence: NDArray[np.uint16],
    first: int,
    last: int,
    max_mismatches: int,
    counts: NDArray[np.uint32],
) -> None:
    """Add every pair within `max_mismatches` to the counts of both, and each sequence to its own.

    The pairs (m, n) are those with m in the blocks first..last-1 of sixteen, and n in the same or a
    later block; bit k of `is_sequence[b]` says that there is a sequence 16 b + k.
    """
    limit = splat_long(np.uint64(max_mismatches))
    n_blocks = is_sequence.shape[0]
    tile = TILE // LANES
    # Sequences m run inside a tile of sequences n, so that the words of the tile are read from the
    # cache for all of them; each pair is still met once.
    for tile_start in range(first - first % tile, n_blocks, tile):
        for m in range(first * LANES, last * LANES):
            own_block = m // LANES
            total = 0
            for block in range(max(tile_start, own_block), min(tile_start + tile, n_blocks)):
                close = _are_close(words, m, block * LANES, limit)
                if count(close) == 0:
                    continue
                close = close & load_mask(is_sequence, block)
                total += count(close)
                if block > own_block:  # within a block every sequence finds all others itself
                    column = load_words(counts, block * LANES)
                    column = column + select(close, splat_word(ONE), splat_word(NONE))
                    store_words(counts, block * LANES, column)
            # Once a tile; the counters of others are written as vectors above.
            counts[m] += np.uint32(total)


@njit
def grow_cluster(
    words: NDArray[np.uint64],
    is_open: NDArray[np.uint16],
    seed: int,
    max_mismatches: int,
    number: int,
    labels: NDArray[np.int64],
) -> None:
    """Label `seed` and all it is linked to (single linkage) among the unlabeled.

    Bit k of `is_open[b]` says that sequence 16 b + k has no label yet.
    """
    limit = splat_long(np.uint64(max_mismatches))
    stack = np.empty(labels.shape[0], np.int64)
    labels[seed] = number
    is_open[seed // LANES] &= ~(np.uint16(1) << np.uint16(seed % LANES))
    stack[0] = seed
    depth = 1
    while depth > 0:
        depth -= 1
        m = stack[depth]
        for block in range(is_open.shape[0]):
            if is_open[block] == 0:
                continue
            close = _are_close(words, m, block * LANES, limit) & load_mask(is_open, block)
            if count(close) == 0:
                continue
            # Closed when they are found and not when they are visited: each enters the stack once,
            # and a place for each is enough.
            found = mask_bits(close)
            is_open[block] &= ~found
            for lane in range(LANES):
                if (found >> np.uint16(lane)) & np.uint16(1):
                    labels[block * LANES + lane] = number
                    stack[depth] = block * LANES + lane
                    depth += 1
