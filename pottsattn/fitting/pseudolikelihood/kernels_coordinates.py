"""To and from the coordinates in which a row of full blocks is solved (see `coordinates`).

A point is one vector: the total field t (C,), then zero-sum blocks z (L, C, C), indexed [j, b, a]
with the target state a last. The kernels of the loss want the plain fields and rows padded to
`width` numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit


@njit
def expand_row(
    x: NDArray[Any],
    scale: NDArray[Any],
    frequencies: NDArray[Any],
    fields: NDArray[Any],
    rows: NDArray[Any],
) -> None:
    """Write fields scale(a) t(a) - sum_jb f_j(b) z_j(b, a) and the padded rows of a point.

    x (C + L C C,), scale (C,), frequencies (L, C), fields (C or more,), rows (L C, width), all of
    one float type.
    """
    length, n_states = frequencies.shape
    blocks = x[n_states:].reshape(length * n_states, n_states)
    for a in range(n_states):
        fields[a] = scale[a] * x[a]
    for j in range(length):
        for b in range(n_states):
            frequency = frequencies[j, b]
            block, row = blocks[j * n_states + b], rows[j * n_states + b]
            for a in range(n_states):
                row[a] = block[a]
                fields[a] -= frequency * block[a]


@njit
def contract_row(
    site: int,
    x: NDArray[Any],
    scale: NDArray[Any],
    frequencies: NDArray[Any],
    fields: NDArray[Any],
    fields_gradient: NDArray[Any],
    rows_gradient: NDArray[Any],
    fields_l2: float,
    couplings_l2: float,
    gradient: NDArray[Any],
) -> float:
    """Write the gradient at a point and return the penalty, fields_l2 |h|^2 + couplings_l2 |z|^2.

    fields, fields_gradient and rows_gradient (L C, width) are those of the loss at `expand_row`;
    the gradient has the shape of x, that of the site's own block is zero.
    """
    length, n_states = frequencies.shape
    # One number of double precision would make all arithmetic of a single-precision fit double.
    number = x.dtype.type
    share = number(1.0 / n_states)
    double_fields, double_couplings = number(2.0 * fields_l2), number(2.0 * couplings_l2)
    blocks = x[n_states:].reshape(length * n_states, n_states)
    gradients = gradient[n_states:].reshape(length * n_states, n_states)
    total = np.empty(n_states, x.dtype)
    squares = 0.0
    for a in range(n_states):
        squares += fields_l2 * float(fields[a]) ** 2
        total[a] = fields_gradient[a] + double_fields * fields[a]
        gradient[a] = scale[a] * total[a]
    means = np.empty(n_states, x.dtype)
    for j in range(length):
        if j == site:
            gradients[j * n_states : (j + 1) * n_states] = number(0.0)
            continue
        # The gradient is projected on the zero-sum blocks, first over a, then over b; penalty and
        # point have no other part.
        means[:] = number(0.0)
        for b in range(n_states):
            k = j * n_states + b
            raw, row, frequency = rows_gradient[k], gradients[k], frequencies[j, b]
            mean = number(0.0)
            for a in range(n_states):
                value = raw[a] - frequency * total[a]
                row[a] = value
                mean += value
            mean *= share
            for a in range(n_states):
                row[a] -= mean
                means[a] += row[a]
        for a in range(n_states):
            means[a] *= share
        for b in range(n_states):
            block, row = blocks[j * n_states + b], gradients[j * n_states + b]
            # Squares are summed per row in the precision of x and over rows in double.
            here = number(0.0)
            for a in range(n_states):
                row[a] += double_couplings * block[a] - means[a]
                here += block[a] * block[a]
            squares += couplings_l2 * float(here)
    return squares
