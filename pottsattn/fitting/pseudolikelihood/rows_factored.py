"""Rows of factored couplings J_ij = A_ij I: the objective of one site.

A point is one vector: with learned fields first h_i(a) + sum_j A_ij (f_j(a) - 1 / C), shape (C,),
by which the interactions see centered states (see `coordinates`); then A_ij, shape (L,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.fitting.pseudolikelihood.kernels_few_states import MOST_STATES
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import row_loss_factored
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import row_working_bytes
from pottsattn.fitting.pseudolikelihood.rows_full import (
    full_row_loss,
    full_row_working_bytes,
    padded_row,
)
from pottsattn.model.couplings import Couplings, zero_sum_projector

Array = NDArray[np.float64]


class FactoredRows:
    """Rows of a site-wise fit with one head and the identity as color similarity.

    With U = I the penalty couplings_l2 / (C - 1) |P A_ij P|^2 is couplings_l2 A_ij^2.
    """

    @staticmethod
    def point_size(length: int, n_states: int) -> int:
        """Return the numbers of a point with fields."""
        return n_states + length

    @staticmethod
    def stored_shape(length: int, _n_states: int) -> tuple[int, ...]:
        """Return the shape of the interactions of every site."""
        return (length, length)

    @classmethod
    def working_bytes(cls, length: int, n_states: int, n_sequences: int) -> int:
        """Return the bytes that one row takes while it is solved."""
        evaluation = 0
        if n_states <= MOST_STATES:
            evaluation = full_row_working_bytes(length, n_states, n_sequences, np.float32)
        return row_working_bytes(cls.point_size(length, n_states), evaluation)

    def __init__(self, data: RowData) -> None:
        self.data = data
        self.n_fields = data.n_states * data.learn_fields
        self.centers = data.frequencies - 1.0 / data.n_states  # (L, C)
        self.single_centers = self.centers.astype(np.float32)
        self.has_single = data.n_states <= MOST_STATES  # else the kernel in double is the fastest

    @property
    def n_parameters(self) -> int:
        """Numbers that the fit is free to choose."""
        length = self.data.length
        return length * self.n_fields + length * (length - 1)

    def start(self, site: int) -> Array:
        """Return the point that a site starts from; of full blocks the nearest A_ij I."""
        length, n_states = self.data.length, self.data.n_states
        interactions = np.zeros(length)
        fields = self.data.start_fields[site]
        if self.data.initial is not None:
            given, couplings = self.data.initial
            projector = zero_sum_projector(n_states)  # nearest in the zero-sum gauge
            interactions = np.einsum("jab,ab->j", couplings.row(site), projector) / (n_states - 1)
            fields = given[site] + interactions @ self.centers
            fields -= fields.mean()
        return np.concatenate([fields, interactions]) if self.n_fields else interactions

    def tidied(self, _site: int, x: Array) -> Array:
        """Return the point: every point of a row is allowed."""
        return x

    def objective(self, site: int, x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the penalized objective of a site and its gradient, in the precision of x."""
        objective, _, plain = self.judge(site, x)
        n_fields = self.n_fields
        if n_fields:
            plain[n_fields:] -= self._centers(x.dtype) @ plain[:n_fields]
            plain[n_fields + site] = 0.0
        return objective, plain

    def plain_gradient(self, site: int, gradient: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient in fields (if learned) and interactions, from that of a point."""
        plain = gradient.copy()
        if self.n_fields:
            plain[self.n_fields :] += self._centers(plain.dtype) @ plain[: self.n_fields]
            plain[self.n_fields + site] = 0.0
        return plain

    def parameters(self, site: int, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return fields (C,) and interactions (L,) of a point."""
        interactions = x[self.n_fields :].copy()
        interactions[site] = 0.0
        if not self.n_fields:
            return np.zeros(self.data.n_states, x.dtype), interactions
        return x[: self.n_fields] - interactions @ self._centers(x.dtype), interactions

    def _centers(self, dtype: Any) -> NDArray[Any]:
        return self.single_centers if dtype == np.float32 else self.centers

    def judge(self, site: int, x: NDArray[Any]) -> tuple[float, float, NDArray[Any]]:
        """Return objective, loss and gradient in the plain parameters, in the precision of x."""
        data, penalty = self.data, self.data.penalty
        fields, interactions = self.parameters(site, x)
        gradient = np.empty(self.point_size(data.length, data.n_states), x.dtype)
        of_fields, of_interactions = gradient[: data.n_states], gradient[data.n_states :]
        if x.dtype == np.float32:
            rows, rows_gradient = padded_row(data, x.dtype)[1], padded_row(data, x.dtype)[1]
            _diagonals(rows, data.n_states)[:] = interactions[:, None]
            loss = full_row_loss(data, site, fields, rows, of_fields, rows_gradient)
            of_interactions[:] = _diagonals(rows_gradient, data.n_states).sum(axis=1)
        else:
            sequences, _, weights = data.rows_of(site, x.dtype)
            loss = row_loss_factored(
                site, sequences, weights, fields, interactions, of_fields, of_interactions
            )
        objective = loss + penalty.couplings_l2 * float(interactions @ interactions)
        of_interactions += 2.0 * penalty.couplings_l2 * interactions
        if not self.n_fields:
            return objective, loss, of_interactions
        of_fields += 2.0 * penalty.fields_l2 * fields
        return objective + penalty.fields_l2 * float(fields @ fields), loss, gradient

    def empty(self) -> Array:
        """Return interactions of zero for every site."""
        return np.zeros(self.stored_shape(self.data.length, self.data.n_states))

    def store(self, site: int, x: Array, fields: Array, rows: Array) -> None:
        """Write the parameters of a site into (L, C) and (L, L)."""
        fields[site], rows[site] = self.parameters(site, x)

    def couplings(self, rows: Array) -> Couplings:
        """Return the couplings of all rows."""
        return Couplings(rows[None], np.eye(self.data.n_states)[None])


def _diagonals(rows: NDArray[Any], n_states: int) -> NDArray[Any]:
    """Return the entries (j, a, a) of rows (L C, C) as a view of shape (L, C)."""
    return rows.reshape(-1, n_states**2)[:, :: n_states + 1]
