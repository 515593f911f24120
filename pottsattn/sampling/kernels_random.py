"""Random numbers of the kernels: xoshiro128++, 32 bits a draw, one stream of four words per chain.

Streams are seeded by NumPy's `SeedSequence`, so they belong to chains, never to threads or lanes.
Reference: Blackman, Vigna, ACM Trans. Math. Softw. 47, 36 (2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import (
    load_words,
    rotate_left,
    shift_left,
    splat,
    store_words,
    to_floats,
)
from pottsattn._core.threads import njit

HALF = np.float32(0.5)
UNIT = np.float32(2.0**-32)


@njit(inline="always")
def _rotate(word: np.uint32, by: int) -> np.uint32:
    return np.uint32((word << np.uint32(by)) | (word >> np.uint32(32 - by)))


@njit
def draw_word(stream: NDArray[np.uint32]) -> np.uint32:
    """Return 32 random bits and advance the stream, shape (4,)."""
    # Numba adds two uint32 as uint64: every sum is cut back to 32 bits.
    result = np.uint32(_rotate(np.uint32(stream[0] + stream[3]), 7) + stream[0])
    shifted = np.uint32(stream[1] << np.uint32(9))
    stream[2] ^= stream[0]
    stream[3] ^= stream[1]
    stream[1] ^= stream[2]
    stream[0] ^= stream[3]
    stream[2] ^= shifted
    stream[3] = _rotate(stream[3], 11)
    return result


@njit(inline="always")
def draw_words(streams: NDArray[np.uint32], group: int, n_lanes: int) -> Any:
    """Return sixteen random words and advance the streams, shape (4, n_lanes), of one group."""
    at = 16 * group
    a = load_words(streams, at)
    b = load_words(streams, n_lanes + at)
    c = load_words(streams, 2 * n_lanes + at)
    d = load_words(streams, 3 * n_lanes + at)
    # The steps of `draw_word` on registers: a lane draws the words that its stream would draw
    # there.
    result = rotate_left(a + d, 7) + a
    shifted = shift_left(b, 9)
    c = c ^ a
    d = d ^ b
    b = b ^ c
    a = a ^ d
    c = c ^ shifted
    store_words(streams, at, a)
    store_words(streams, n_lanes + at, b)
    store_words(streams, 2 * n_lanes + at, c)
    store_words(streams, 3 * n_lanes + at, rotate_left(d, 11))
    return result


@njit(inline="always")
def unit_float(word: np.uint32) -> np.float32:
    """Return (word + 1/2) / 2^32, rounded to float32: in (0, 1], as fine as 2^-33 near 0."""
    return (np.float32(word) + HALF) * UNIT


@njit(inline="always")
def unit_floats(words: Any) -> Any:
    """Return `unit_float` of sixteen words."""
    return (to_floats(words) + splat(HALF)) * splat(UNIT)
