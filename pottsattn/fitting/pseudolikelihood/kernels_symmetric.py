"""To and from the coordinates of a symmetric fit (see `coordinates`): one block for a pair.

A point is total fields (L, C) and zero-sum blocks (L (L - 1) / 2, C, C), z_ij(a, b) for i < j in
the order (0, 1), (0, 2), ..., (1, 2), ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit


@njit
def _pair(i: int, j: int, length: int) -> int:
    """Return the place of the pair i < j."""
    return i * (2 * length - i - 1) // 2 + j - i - 1


@njit
def expand_site(
    site: int,
    totals: NDArray[Any],
    blocks: NDArray[Any],
    scale: NDArray[Any],
    frequencies: NDArray[Any],
    fields: NDArray[Any],
    rows: NDArray[Any],
) -> None:
    """Write the fields and the padded rows (L C, width), indexed [j, b, a], of one site."""
    length, n_states = frequencies.shape
    for a in range(n_states):
        fields[a] = scale[a] * totals[site, a]
    for j in range(length):
        if j == site:
            continue
        pair = _pair(min(site, j), max(site, j), length)
        for b in range(n_states):
            row, frequency = rows[j * n_states + b], frequencies[j, b]
            for a in range(n_states):
                # A block is stored once, for i < j; the other row reads it transposed.
                value = blocks[pair, a, b] if site < j else blocks[pair, b, a]
                row[a] = value
                fields[a] -= frequency * value


@njit
def contract_blocks(
    site: int,
    blocks: NDArray[Any],
    frequencies: NDArray[Any],
    totals_gradient: NDArray[Any],
    rows_gradient: NDArray[Any],
    couplings_l2: float,
    gradient: NDArray[Any],
) -> float:
    """Write the gradient of the blocks (site, j > site); return 2 couplings_l2 |z|^2 of them.

    totals_gradient (L, C) is complete; rows_gradient (L, L C, width) is that of the loss for every
    row. Both rows of a pair share its block, and so do their penalties.
    """
    length, n_states = frequencies.shape
    number = blocks.dtype.type
    # Both rows of a pair hold the block and its penalty: 4 couplings_l2 in the gradient.
    share, factor = number(1.0 / n_states), number(4.0 * couplings_l2)
    means = np.empty(n_states, blocks.dtype)
    squares = 0.0
    for j in range(site + 1, length):
        pair = _pair(site, j, length)
        block, result = blocks[pair], gradient[pair]
        means[:] = number(0.0)
        for a in range(n_states):
            # The same block as the row of j has it, with the two states exchanged.
            seen_back = rows_gradient[j, site * n_states + a]
            mean = number(0.0)
            for b in range(n_states):
                value = rows_gradient[site, j * n_states + b, a] + seen_back[b]
                value -= frequencies[j, b] * totals_gradient[site, a]
                value -= frequencies[site, a] * totals_gradient[j, b]
                result[a, b] = value
                mean += value
            mean *= share
            for b in range(n_states):
                result[a, b] -= mean
                means[b] += result[a, b]
        here = number(0.0)
        for a in range(n_states):
            for b in range(n_states):
                result[a, b] += factor * block[a, b] - share * means[b]
                here += block[a, b] * block[a, b]
        squares += 2.0 * couplings_l2 * float(here)
    return squares
