"""Rows of full blocks: the objective of one site in the coordinates of `coordinates`.

A point is one vector, the total field (C,) and zero-sum blocks (L, C, C) indexed [j, b, a].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import LANES, PADDING, aligned_zeros
from pottsattn.fitting.pseudolikelihood.coordinates import FieldSplit
from pottsattn.fitting.pseudolikelihood.kernels_coordinates import contract_row, expand_row
from pottsattn.fitting.pseudolikelihood.kernels_few_states import (
    MOST_STATES,
    few_states_row_loss,
    few_states_working_bytes,
)
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import (
    row_loss_full,
    single_row_loss,
)
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import row_working_bytes
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]


def full_row_loss(
    data: RowData,
    site: int,
    fields: NDArray[Any],
    rows: NDArray[Any],
    fields_gradient: NDArray[Any],
    rows_gradient: NDArray[Any],
) -> float:
    """Return the loss of a row, without penalty, and write its gradients, in one precision.

    All arrays are as `padded_row` makes them, rows indexed [(j, b), a]; the site's own are zero.
    """
    if data.ignores_gaps:
        return _loss_without_gaps(data, site, fields, rows, fields_gradient, rows_gradient)
    if rows.dtype == np.float64:
        return float(
            row_loss_full(
                site, data.sequences, data.weights, fields, rows.reshape(-1),
                fields_gradient, rows_gradient.reshape(-1),
            )
        )  # fmt: skip
    if data.n_states <= MOST_STATES:
        return float(
            few_states_row_loss(data.n_states)(
                site, data.masks, data.single_weights, fields, rows.reshape(-1),
                fields_gradient, rows_gradient.reshape(-1),
            )
        )  # fmt: skip
    return float(
        single_row_loss(rows.shape[1])(
            site, data.sequences, data.columns, data.single_weights, data.neighbors, fields,
            rows.reshape(-1), data.n_states, fields_gradient, rows_gradient.reshape(-1),
        )
    )  # fmt: skip


def _loss_without_gaps(
    data: RowData,
    site: int,
    fields: NDArray[Any],
    rows: NDArray[Any],
    fields_gradient: NDArray[Any],
    rows_gradient: NDArray[Any],
) -> float:
    """Return `full_row_loss` where gaps are ignored.

    For the kernels a gap is one more symbol b, whose row is the mean of the rows of its site.
    """
    length, n_states, dtype = data.length, data.n_states, rows.dtype
    is_double = dtype == np.float64
    width = n_states if is_double else -(-n_states // 4) * 4
    here, spread = _padded(width, (length, n_states + 1, width), dtype)
    of_here, gradient = _padded(width, (length, n_states + 1, width), dtype)
    blocks = rows.reshape(length, n_states, -1)[:, :, :n_states]
    here[:n_states] = fields[:n_states]
    spread[:, :-1, :n_states] = blocks
    spread[:, -1, :n_states] = blocks.mean(axis=1)
    sequences, columns, weights = data.rows_of(site, dtype)
    flat, of_flat = spread.reshape(-1), gradient.reshape(-1)
    if is_double:
        loss = row_loss_full(site, sequences, weights, here, flat, of_here, of_flat)
    else:
        loss = single_row_loss(width)(
            site, sequences, columns, weights, data.neighbors, here, flat, n_states + 1,
            of_here, of_flat,
        )  # fmt: skip
    fields_gradient[:n_states] = of_here[:n_states]
    change = gradient[:, :-1, :n_states] + gradient[:, -1:, :n_states] / dtype.type(n_states)
    rows_gradient.reshape(length, n_states, -1)[:, :, :n_states] = change
    return float(loss)


def padded_rows_shape(length: int, n_states: int, dtype: Any) -> tuple[int, int]:
    """Return the shape of rows in one precision, (L C, width) with what fills vectors."""
    is_plain = dtype == np.float64 or n_states <= MOST_STATES
    return length * n_states, n_states if is_plain else -(-n_states // 4) * 4


def padded_row(data: RowData, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return fields and rows (L C, width) for `full_row_loss` in one precision, rows zero."""
    shape = padded_rows_shape(data.length, data.n_states, dtype)
    return _padded(shape[1], shape, dtype)


def full_row_working_bytes(length: int, n_states: int, n_sequences: int, dtype: Any) -> int:
    """Return the bytes of rows, of their gradient, and of what `full_row_loss` makes for itself."""
    rows = math.prod(padded_rows_shape(length, n_states, dtype)) * np.dtype(dtype).itemsize
    is_few = dtype == np.float32 and n_states <= MOST_STATES
    return 2 * rows + is_few * few_states_working_bytes(n_sequences, length, n_states)


def _padded(width: int, shape: tuple[int, ...], dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if dtype == np.float64:
        return np.zeros(width), np.zeros(shape)
    fields = aligned_zeros((-(-width // LANES) * LANES,))
    fields[:] = PADDING
    return fields, aligned_zeros(shape)


class FullRows:
    """Rows of a site-wise fit of full blocks."""

    has_single = True

    @staticmethod
    def point_size(length: int, n_states: int) -> int:
        """Return the numbers of a point."""
        return n_states + length * n_states**2

    @staticmethod
    def stored_shape(length: int, n_states: int) -> tuple[int, ...]:
        """Return the shape of the couplings of every site."""
        return (length, length, n_states, n_states)

    @classmethod
    def working_bytes(cls, length: int, n_states: int, n_sequences: int) -> int:
        """Return the bytes that one row takes while it is solved."""
        evaluation = full_row_working_bytes(length, n_states, n_sequences, np.float64)
        return row_working_bytes(cls.point_size(length, n_states), evaluation)

    def __init__(self, data: RowData) -> None:
        self.data = data
        self.split = FieldSplit.of(data.penalty, data.frequencies, learn_fields=data.learn_fields)
        self.single_scales = self.split.scales.astype(np.float32)

    @property
    def n_parameters(self) -> int:
        """Numbers that the fit is free to choose."""
        length, n_states = self.data.length, self.data.n_states
        fields = length * n_states * self.data.learn_fields
        return fields + length * (length - 1) * n_states**2

    def start(self, site: int) -> Array:
        """Return the point that a site starts from."""
        length, n_states = self.data.length, self.data.n_states
        x = np.zeros(self.point_size(length, n_states))
        total, blocks = x[:n_states], x[n_states:].reshape(length, n_states, n_states)
        if self.data.initial is None:
            total[:] = self.data.start_fields[site] / self.split.scales[site]
            return x
        fields, couplings = self.data.initial
        blocks[:] = couplings.row(site).transpose(0, 2, 1)
        total[:] = fields[site] * self.data.learn_fields + blocks.mean(axis=1).sum(axis=0)
        remove_sums(blocks)
        total += np.einsum("jb,jba->a", self.data.frequencies, blocks)
        total[:] = (total - total.mean()) / self.split.scales[site]
        return x

    def tidied(self, site: int, x: Array) -> Array:
        """Return a point with zero sums, which steps in single precision keep within rounding."""
        x = x.copy()
        n_states, scale = self.data.n_states, self.split.scales[site]
        x[:n_states] -= (scale * x[:n_states]).mean() / scale
        remove_sums(x[n_states:].reshape(-1, n_states, n_states))
        return x

    def objective(self, site: int, x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the penalized objective of a site and its gradient, in the precision of x."""
        is_single = x.dtype == np.float32
        frequencies = self.data.single_frequencies if is_single else self.data.frequencies
        scale = (self.single_scales if is_single else self.split.scales)[site]
        fields, rows = padded_row(self.data, x.dtype)
        expand_row(x, scale, frequencies, fields, rows)
        gradients = padded_row(self.data, x.dtype)
        loss = full_row_loss(self.data, site, fields, rows, *gradients)
        gradient = np.empty_like(x)
        penalty = contract_row(
            site, x, scale, frequencies, fields, *gradients,
            self.split.fields_l2, self.data.penalty.couplings_l2, gradient,
        )  # fmt: skip
        return loss + penalty, gradient

    def plain_gradient(self, site: int, gradient: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient in fields (if learned) and blocks [j, b, a], from that of a point."""
        n_states = self.data.n_states
        frequencies = self.data.frequencies.astype(gradient.dtype)
        plain = gradient.copy()
        total = plain[:n_states]
        total /= self.split.scales[site].astype(gradient.dtype)
        blocks = plain[n_states:].reshape(-1, n_states, n_states)
        blocks += frequencies[:, :, None] * total
        blocks[site] = 0.0
        return plain if self.data.learn_fields else plain[n_states:]

    def parameters(self, site: int, x: Array) -> tuple[Array, Array]:
        """Return fields (C,) and blocks (L, C, C), indexed [j, b, a], of a point."""
        n_states = self.data.n_states
        blocks = x[n_states:].reshape(-1, n_states, n_states)
        total = self.split.scales[site] * x[:n_states]
        total -= np.einsum("jb,jba->a", self.data.frequencies, blocks)
        blocks = blocks + self.split.share * total
        blocks[site] = 0.0
        return self.split.fields(total), blocks

    def judge(self, site: int, x: Array) -> tuple[float, float, Array]:
        """Return objective, loss and gradient in the plain parameters, in double precision."""
        penalty, n_states = self.data.penalty, self.data.n_states
        fields, blocks = self.parameters(site, x)
        rows = blocks.reshape(-1, n_states)
        fields_gradient, rows_gradient = padded_row(self.data, np.float64)
        loss = full_row_loss(self.data, site, fields, rows, fields_gradient, rows_gradient)
        objective = loss + penalty.couplings_l2 * float(np.vdot(rows, rows))
        gradient = (rows_gradient + 2.0 * penalty.couplings_l2 * rows).ravel()
        if self.data.learn_fields:
            objective += penalty.fields_l2 * float(fields @ fields)
            gradient = np.concatenate(
                [fields_gradient + 2.0 * penalty.fields_l2 * fields, gradient]
            )
        return objective, loss, gradient

    def empty(self) -> Array:
        """Return couplings of zero for every site."""
        return np.zeros(self.stored_shape(self.data.length, self.data.n_states))

    def store(self, site: int, x: Array, fields: Array, rows: Array) -> None:
        """Write the parameters of a site into (L, C) and (L, L, C, C), indexed [i, j, a, b]."""
        fields[site], blocks = self.parameters(site, x)
        rows[site] = blocks.transpose(0, 2, 1)

    def couplings(self, rows: Array) -> Couplings:
        """Return the couplings of all rows."""
        return Couplings(dense=rows)


def remove_sums(blocks: Array) -> None:
    """Bring blocks (n, C, C) to the zero-sum gauge."""
    blocks -= blocks.mean(axis=1, keepdims=True)
    blocks -= blocks.mean(axis=2, keepdims=True)
