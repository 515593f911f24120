"""Which sites are hidden, as a function of (seed, sequence, visit): no stream, no state.

A word of 64 random bits belongs to every (seed, visit, sequence, pattern, site): SplitMix64 of a
key that is mixed from them one after the other. So masks do not depend on batches, on the order of
visits, on how many processes share the work, or on where a killed run stopped.

Reference: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

# All unsigned, shifts too: mixed with a signed number Numba leaves unsigned arithmetic, and right
# shifts would carry the sign.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
UNIT = 2.0**-53
S27, S30, S31, S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)


@njit(inline="always")
def _mixed(word: np.uint64) -> np.uint64:
    word = (word ^ (word >> S30)) * MIX_1
    word = (word ^ (word >> S27)) * MIX_2
    return word ^ (word >> S31)


@njit(inline="always")
def _key(seed: int, visit: int, sequence: int, pattern: int) -> np.uint64:
    # One after the other, so that (visit, sequence) = (1, 2) and (2, 1) have different keys. The 1
    # that is added keeps 0 from adding nothing.
    key = _mixed(np.uint64(seed) + GOLDEN)
    key = _mixed(key + (np.uint64(visit) + np.uint64(1)) * GOLDEN)
    key = _mixed(key + (np.uint64(sequence) + np.uint64(1)) * GOLDEN)
    return _mixed(key + (np.uint64(pattern) + np.uint64(1)) * GOLDEN)


@njit(inline="always")
def _word(key: np.uint64, number: int) -> np.uint64:
    return _mixed(key + (np.uint64(number) + np.uint64(1)) * GOLDEN)


@njit(inline="always")
def _unit(word: np.uint64) -> float:
    # The upper 53 bits: exactly a double below 1, so that a fraction of 1 hides all.
    return float(word >> S11) * UNIT


@njit
def hide_sites(
    seed: int,
    visit: int,
    numbers: NDArray[np.int64],
    sequences: NDArray[np.uint8],
    n_patterns: int,
    fraction: float,
    shares: NDArray[np.float64],
    n_states: int,
    context: NDArray[np.uint8],
    hidden: NDArray[np.bool_],
) -> None:
    """Hide every site of every pattern with probability `fraction`, independently.

    `numbers` (B,) are those of the sequences (B, L) in the data set. A hidden site shows, by the
    `shares` (3,) of sum 1, nothing (the number `n_states`), a random state, or its own state.
    Writes the states that are seen, `context`, and `hidden`, both (B n_patterns, L).
    """
    n_sequences, length = sequences.shape
    for m in range(n_sequences):
        for pattern in range(n_patterns):
            key = _key(seed, visit, numbers[m], pattern)
            row = m * n_patterns + pattern
            for site in range(length):
                context[row, site] = sequences[m, site]
                hidden[row, site] = _unit(_word(key, site)) < fraction
                if not hidden[row, site]:
                    continue
                # Words of their own for every purpose: what a hidden site shows does not depend on
                # how far below the fraction its first word was.
                chance = _unit(_word(key, length + site))
                if chance < shares[0]:
                    context[row, site] = n_states
                elif chance < shares[0] + shares[1]:
                    word = _word(key, 2 * length + site)  # too often by C / 2^64
                    context[row, site] = np.uint8(word % np.uint64(n_states))


@njit
def count_hidden(
    seed: int, weights: NDArray[np.float64], n_patterns: int, length: int, fraction: float
) -> float:
    """Return the weighted number of hidden sites of visit 0, all patterns together."""
    total = 0.0
    for m in range(weights.shape[0]):
        for pattern in range(n_patterns):
            key = _key(seed, 0, m, pattern)  # static masks: the words of `hide_sites` at visit 0
            for site in range(length):
                if _unit(_word(key, site)) < fraction:
                    total += weights[m]
    return total


@njit
def choose_sites(
    seed: int,
    visit: int,
    numbers: NDArray[np.int64],
    n_chosen: int,
    length: int,
    chosen: NDArray[np.bool_],
) -> None:
    """Choose `n_chosen` sites of every sequence, none again before L // n_chosen visits are over.

    `chosen` (B, L) is written. The sites of a cycle are the beginning of one random permutation.
    """
    cycle = length // n_chosen
    first = (visit % cycle) * n_chosen
    order = np.empty(length, np.int64)
    for m in range(numbers.shape[0]):
        key = _key(seed, visit // cycle, numbers[m], 0)
        chosen[m] = False
        for site in range(length):
            order[site] = site
        # Fisher, Yates. Nothing is kept between visits: the beginning of the permutation, which
        # earlier visits of the cycle have used, is drawn again.
        for k in range(first + n_chosen):
            other = k + int(_word(key, k) % np.uint64(length - k))
            order[k], order[other] = order[other], order[k]
            if k >= first:
                chosen[m, order[k]] = True
