"""Coordinates in which a fit of full blocks takes half the steps, with the same optimum.

Conditionals do not change when a field moves into the blocks of its row, h_i(a) -= d(a),
J_ij(a, b) += d(a), but the penalty does; and since every sequence has one state at every site, all
blocks of a row can act as a field together, a direction tens of times stiffer than the others. Both
are removed by solving for

    z_ij(a, b),  zero-sum blocks, and
    t_i(a) + sum_{j, b} f_j(b) z_ij(a, b),  t_i(a) = h_i(a) + sum_j mean_b J_ij(a, b):

the blocks see centered states, and t is split between field and blocks as the penalty wants it,
    h_i = (1 - (L - 1) s) t_i,   J_ij(a, b) = z_ij(a, b) + s t_i(a),   s = l_h / (l_h (L - 1) + c),
    least penalty  l_h c / (l_h (L - 1) + c) |t_i|^2 + couplings_l2 |z_ij|^2,
with l_h = fields_l2 and c = C couplings_l2, or 2 C couplings_l2 where J_ij(a, b) = J_ji(b, a) and
both rows share the block (then s t_j(b) is added too). No fields are the limit l_h -> infinity.

The curvature in t_i(a) is nearly f_i(a) (1 - f_i(a)) + 2 l, l the factor above: for rare states it
is tiny, so every t_i(a) is measured in a unit that makes it the same for all.

At such a point the gradient in the plain parameters follows from that in these coordinates:
dJ_ij(a, b) = dz_ij(a, b) + f_j(b) dt_i(a) and dh_i = dt_i. All this takes the evaluations of a fit
from about 80 to about 40; see benchmarks/pseudolikelihood.py. Tried and not kept: the Kronecker
product of the covariances of target and neighbors as metric (the curvature of a rare state grows
so much on the way that steps come out far too long), a diagonal metric for the blocks (no gain), a
mean-field start (worth five evaluations, costs fifteen), first steps on a share of the sequences
(worth ten in a joint fit, costs eight).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.fitting.penalty import Penalty

Array = NDArray[Any]
# Of the objective in a total field; about the most that a block has, twice as much when shared.
# Measured: within a tenth of the fewest evaluations on real and synthetic data.
WANTED_CURVATURE = 0.12
LEAST_CURVATURE = 5e-3
LEAST_HEAD = 1e-2  # squared norm, of the largest: weaker heads are taken for as strong


@dataclass(frozen=True)
class FieldSplit:
    """How the penalty divides a total field t: (1 - (L - 1) share) t in h, share t in each block.

    `fields_l2` is the factor of |t|^2 in the least penalty.
    """

    share: float
    own_share: float
    fields_l2: float
    scales: Array  # (L, C), the unit of every total field

    @classmethod
    def of(
        cls,
        penalty: Penalty,
        frequencies: Array,
        *,
        learn_fields: bool,
        is_symmetric: bool = False,
    ) -> FieldSplit:
        """Return the split that has the least penalty; frequencies (L, C) give the units."""
        length, n_states = frequencies.shape
        others = length - 1
        n_rows = 2.0 if is_symmetric else 1.0  # that share a block
        blocks = n_rows * n_states * penalty.couplings_l2
        weight = penalty.fields_l2 * others + blocks
        if not learn_fields:
            share, own_share, fields_l2 = 1.0 / others, 0.0, blocks / others
        elif weight == 0.0:
            share, own_share, fields_l2 = 0.0, 1.0, 0.0
        else:
            share, own_share = penalty.fields_l2 / weight, blocks / weight
            fields_l2 = penalty.fields_l2 * own_share
        scales = np.sqrt(n_rows) * total_field_units(frequencies, fields_l2)
        return cls(share, own_share, fields_l2, scales)

    def fields(self, total: Array) -> Array:
        """Return the part of total fields that h holds."""
        return self.own_share * total


def total_field_units(frequencies: Array, fields_l2: float) -> Array:
    """Return units in which total fields have the same curvature, shape (L, C)."""
    curvature = frequencies * (1.0 - frequencies) + 2.0 * fields_l2
    return np.sqrt(WANTED_CURVATURE / np.maximum(curvature, LEAST_CURVATURE))


def heads_metric(left: Array, right: Array) -> tuple[Array, Array]:
    """Return the metrics of two factors of sum_h left_h right_h, matrices of H by H for each.

    They are the inverses of the Gram matrix of the other factor: the curvature of factors is then
    that of their product. Heads may be near each other or differ by far in size; with 32 heads of a
    family L-BFGS takes more than three times as many steps without this.

    Parameters
    ----------
    left : shape (H, m)
        A of every pair of sites.
    right : shape (H, n)
        U of every pair of states.

    References
    ----------
    Tong, Ma, Chi, J. Mach. Learn. Res. 22, 150 (2021): scaled gradient descent.
    """
    return _inverse(right @ right.T), _inverse(left @ left.T)


def _inverse(gram: Array) -> Array:
    """Return the inverse, as if the least eigenvalues were larger; the identity of zero."""
    squares, vectors = np.linalg.eigh(gram)
    if squares[-1] <= 0.0:
        return np.eye(len(gram))
    found: Array = (vectors / np.maximum(squares, LEAST_HEAD * squares[-1])) @ vectors.T
    return found
