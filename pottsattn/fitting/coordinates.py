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

At such a point the gradient in the plain parameters follows from that in these coordinates:
dJ_ij(a, b) = dz_ij(a, b) + f_j(b) dt_i(a) and dh_i = dt_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pottsattn.fitting.result import Penalty

__all__ = ["FieldSplit"]

Array = NDArray[Any]


@dataclass(frozen=True)
class FieldSplit:
    """How the penalty divides a total field t: (1 - (L - 1) share) t in h, share t in each block.

    `fields_l2` is the factor of |t|^2 in the least penalty.
    """

    share: float
    own_share: float
    fields_l2: float

    @classmethod
    def of(
        cls,
        penalty: Penalty,
        length: int,
        n_states: int,
        *,
        learn_fields: bool,
        is_symmetric: bool = False,
    ) -> FieldSplit:
        """Return the split that has the least penalty."""
        others = length - 1
        blocks = n_states * penalty.couplings_l2 * (2.0 if is_symmetric else 1.0)
        if not learn_fields:
            return cls(1.0 / others, 0.0, blocks / others)
        weight = penalty.fields_l2 * others + blocks
        if weight == 0.0:
            return cls(0.0, 1.0, 0.0)
        share = penalty.fields_l2 / weight
        return cls(share, blocks / weight, penalty.fields_l2 * blocks / weight)

    def fields(self, total: Array) -> Array:
        """Return the part of total fields that h holds."""
        return self.own_share * total
