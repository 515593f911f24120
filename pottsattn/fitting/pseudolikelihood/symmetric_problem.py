"""The joint fit: all rows at once, with one block for each pair of sites, J_ij(a, b) = J_ji(b, a).

The objective is the sum of those of the sites, at points of the coordinates of `coordinates`. What
plmc, CCMpred and pydca minimize is this objective (see `conventions`).

Reference: Ekeberg et al., Phys. Rev. E 87, 012707 (2013), "symmetric plmDCA".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import aligned_zeros
from pottsattn._core.threads import run_in_threads
from pottsattn.fitting.pseudolikelihood.coordinates import FieldSplit
from pottsattn.fitting.pseudolikelihood.joint_solver import descent_bytes
from pottsattn.fitting.pseudolikelihood.kernels_symmetric import contract_blocks, expand_site
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_full import (
    full_row_loss,
    full_row_working_bytes,
    padded_row,
    padded_rows_shape,
    remove_sums,
)
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]


class SymmetricProblem:
    """The objective of all sites, at points of the coordinates; `n_threads` share the sites."""

    @staticmethod
    def point_size(length: int, n_states: int) -> int:
        """Return the numbers of a point: total fields, and a block for each pair."""
        return length * n_states + length * (length - 1) // 2 * n_states**2

    @staticmethod
    def work_shape(length: int, n_states: int, dtype: Any) -> tuple[int, ...]:
        """Return the shape of the gradients of all rows, before they are added."""
        return (length, *padded_rows_shape(length, n_states, dtype))

    @classmethod
    def working_bytes(cls, length: int, n_states: int, n_sequences: int, n_threads: int) -> int:
        """Return the bytes of the descent in single precision."""
        row = full_row_working_bytes(length, n_states, n_sequences, np.float32)
        work = 4 * math.prod(cls.work_shape(length, n_states, np.float32))
        return descent_bytes(cls.point_size(length, n_states)) + work + n_threads * row

    @classmethod
    def judging_bytes(cls, length: int, n_states: int) -> int:
        """Return the bytes beside the couplings while the end is judged, in double precision.

        The gradients of all rows; the point, its gradient, that in plain parameters, and a term.
        """
        work = math.prod(cls.work_shape(length, n_states, np.float64))
        return 8 * (work + 4 * cls.point_size(length, n_states))

    def __init__(self, data: RowData, n_threads: int) -> None:
        self.data, self.n_threads = data, n_threads
        self.split = FieldSplit.of(
            data.penalty, data.frequencies, learn_fields=data.learn_fields, is_symmetric=True
        )
        self.n_pairs = data.length * (data.length - 1) // 2
        self._work: NDArray[Any] | None = None

    @property
    def n_parameters(self) -> int:
        """Numbers that the fit is free to choose."""
        fields = self.data.length * self.data.n_states * self.data.learn_fields
        return fields + self.n_pairs * self.data.n_states**2

    def views(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return total fields (L, C) and blocks (pairs, C, C) of a point, as views."""
        length, n_states = self.data.length, self.data.n_states
        n_fields = length * n_states
        return (
            x[:n_fields].reshape(length, n_states),
            x[n_fields:].reshape(self.n_pairs, n_states, n_states),
        )

    def start(self) -> Array:
        """Return the point that the fit starts from."""
        length, n_states = self.data.length, self.data.n_states
        x = np.zeros(self.point_size(length, n_states))
        totals, blocks = self.views(x)
        if self.data.initial is None:
            totals[:] = self.data.start_fields / self.split.scales
            return x
        fields, couplings = self.data.initial
        totals[:] = fields * self.data.learn_fields
        at = 0
        for i in range(length):
            row = couplings.symmetrized_row(i)
            totals[i] += row.mean(axis=2).sum(axis=0)
            blocks[at : at + length - 1 - i] = row[i + 1 :]
            at += length - 1 - i
        remove_sums(blocks)
        frequencies = self.data.frequencies
        first, second = np.triu_indices(length, 1)
        np.add.at(totals, first, np.einsum("pab,pb->pa", blocks, frequencies[second]))
        np.add.at(totals, second, np.einsum("pab,pa->pb", blocks, frequencies[first]))
        totals[:] = (totals - totals.mean(axis=1, keepdims=True)) / self.split.scales
        return x

    def tidied(self, x: Array) -> Array:
        """Return a point with zero sums, which steps in single precision keep within rounding."""
        x = x.copy()
        totals, blocks = self.views(x)
        scales = self.split.scales
        totals -= (scales * totals).mean(axis=1, keepdims=True) / scales
        remove_sums(blocks)
        return x

    def objective(self, x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the penalized objective, summed over sites, and its gradient."""
        data, split, l2 = self.data, self.split, self.data.penalty.couplings_l2
        length, n_states = data.length, data.n_states
        is_single = x.dtype == np.float32
        frequencies = data.single_frequencies if is_single else data.frequencies
        scales = self.split.scales.astype(x.dtype)
        totals, blocks = self.views(x)
        gradient = np.empty_like(x)
        totals_gradient, blocks_gradient = self.views(gradient)
        rows_gradients = self._rows_gradients(x.dtype)

        def of_site(site: int) -> float:
            fields, rows = padded_row(data, x.dtype)
            expand_site(site, totals, blocks, scales[site], frequencies, fields, rows)
            of_fields = np.empty_like(fields)
            loss = full_row_loss(data, site, fields, rows, of_fields, rows_gradients[site])
            own = fields[:n_states].astype(np.float64)
            totals_gradient[site] = of_fields[:n_states] + 2.0 * split.fields_l2 * own
            return loss + split.fields_l2 * float(own @ own)

        def of_blocks(site: int) -> float:
            return contract_blocks(
                site, blocks, frequencies, totals_gradient, rows_gradients, l2, blocks_gradient
            )

        value = sum(run_in_threads(of_site, range(length), self.n_threads))
        value += sum(run_in_threads(of_blocks, range(length), self.n_threads))
        totals_gradient *= scales
        return value, gradient

    def _rows_gradients(self, dtype: Any) -> NDArray[Any]:
        """Return work space, kept between steps: to clear it costs a tenth of one."""
        if self._work is None or self._work.dtype != dtype:
            self._work = None
            shape = self.work_shape(self.data.length, self.data.n_states, dtype)
            self._work = np.zeros(shape) if dtype == np.float64 else aligned_zeros(shape)
        return self._work

    def plain_gradient(self, _x: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient in fields (if learned) and blocks, from that of a point."""
        plain = gradient.copy()
        totals, blocks = self.views(plain)
        totals /= self.split.scales.astype(gradient.dtype)
        frequencies = self.data.frequencies.astype(gradient.dtype)
        first, second = np.triu_indices(self.data.length, 1)
        blocks += totals[first][:, :, None] * frequencies[second][:, None, :]
        blocks += frequencies[first][:, :, None] * totals[second][:, None, :]
        return plain if self.data.learn_fields else plain[totals.size :]

    def parameters(self, x: Array) -> tuple[Array, Couplings]:
        """Return fields (L, C) and couplings of a point."""
        length, n_states = self.data.length, self.data.n_states
        totals, blocks = self.views(x)
        totals, frequencies = self.split.scales * totals, self.data.frequencies
        dense = np.zeros((length, length, n_states, n_states))
        at = 0
        for i in range(length):
            here = blocks[at : at + length - 1 - i]
            dense[i, i + 1 :], dense[i + 1 :, i] = here, here.transpose(0, 2, 1)
            at += length - 1 - i
        for i in range(length):
            totals[i] -= np.einsum("jab,jb->a", dense[i], frequencies)
        for i in range(length):
            dense[i] += self.split.share * (totals[i][:, None] + totals[:, None, :])
            dense[i, i] = 0.0
        return self.split.fields(totals), Couplings(dense=dense)

    def judge(self, x: Array) -> tuple[float, float, Array]:
        """Return objective and loss, summed over sites, and the plain gradient, in double."""
        penalty = self.data.penalty
        objective, gradient = self.objective(x)
        fields, couplings = self.parameters(x)
        squares = sum(float(np.vdot(row, row)) for row in couplings.rows())
        penalties = penalty.fields_l2 * float(np.vdot(fields, fields))
        penalties += penalty.couplings_l2 * squares
        return objective, objective - penalties, self.plain_gradient(x, gradient)
