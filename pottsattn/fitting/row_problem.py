"""The objective of one row of the pseudo-likelihood, and the layout of its parameters.

Rows share the data and differ in the site. The parameters of a row are one vector: the fields of
the site, if they are learned, then couplings as [j, b, a], or one number per neighbor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._simd import LANES, PADDING, aligned_zeros
from pottsattn.couplings import Couplings, zero_sum_projector
from pottsattn.dataset import SequenceDataset
from pottsattn.fitting.kernels_pseudolikelihood import (
    row_loss_factored,
    row_loss_full,
    single_row_loss,
)
from pottsattn.fitting.result import Penalty

__all__ = ["RowProblem", "RowSolution"]

Array = NDArray[np.float64]
PSEUDOCOUNT = 0.5  # of one sequence, in the starting fields only


@dataclass(frozen=True, eq=False)
class RowProblem:
    """The data of a fit and the layout of one row's parameters: [fields of the site,] couplings."""

    sequences: NDArray[np.uint8]
    weights: Array
    start_fields: Array  # (L, C)
    n_states: int
    penalty: Penalty
    learn_fields: bool
    is_full: bool
    initial: Couplings | None = None

    @classmethod
    def of(
        cls,
        dataset: SequenceDataset,
        method: str,
        penalty: Penalty,
        learn_fields: bool,
        initial: tuple[Array, Couplings] | None = None,
    ) -> RowProblem:
        """Return the problem; fields start at the log frequencies, couplings at zero.

        Or both at `initial`: couplings of another form are taken as near as the method can.
        """
        start = np.zeros((dataset.length, dataset.n_states))
        if learn_fields:
            pseudocount = PSEUDOCOUNT / dataset.effective_size
            start = np.log(dataset.site_frequencies() + pseudocount / dataset.n_states)
            start -= start.mean(axis=1, keepdims=True)
            if initial is not None:
                start = initial[0].copy()
        return cls(
            dataset.sequences,
            dataset.normalized_weights,
            start,
            dataset.n_states,
            penalty,
            learn_fields,
            method == "plm",
            None if initial is None else initial[1],
        )

    @property
    def length(self) -> int:
        return self.sequences.shape[1]

    @property
    def n_parameters(self) -> int:
        per_pair = self.n_states**2 if self.is_full else 1
        fields = self.length * self.n_states * self.learn_fields
        return fields + self.length * (self.length - 1) * per_pair

    @property
    def row_size(self) -> int:
        return self.length * (self.n_states**2 if self.is_full else 1)

    def start(self, site: int) -> Array:
        fields = self.start_fields[site] if self.learn_fields else np.empty(0)
        if self.initial is None:
            return np.concatenate([fields, np.zeros(self.row_size)])
        row = self.initial.row(site)  # (L, C, C), [j, a, b]
        if self.is_full:
            return np.concatenate([fields, row.transpose(0, 2, 1).ravel()])
        projector = zero_sum_projector(self.n_states)  # the nearest A_ij I in the zero-sum gauge
        return np.concatenate(
            [fields, np.einsum("jab,ab->j", row, projector) / (self.n_states - 1)]
        )

    def loss(self, site: int, x: Array) -> tuple[float, Array]:
        """Return the loss of a site without penalty and its gradient."""
        n_fields = self.n_states * self.learn_fields
        fields = x[:n_fields] if self.learn_fields else self.start_fields[site]
        gradient = np.empty_like(x)
        fields_gradient = gradient[:n_fields] if self.learn_fields else np.empty(self.n_states)
        kernel = row_loss_full if self.is_full else row_loss_factored
        loss = kernel(
            site,
            self.sequences,
            self.weights,
            fields,
            x[n_fields:],
            fields_gradient,
            gradient[n_fields:],
        )
        return loss, gradient

    def single_loss(self, site: int, x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        """Return the same of full blocks in single precision, by the fast kernel."""
        n_states, length = self.n_states, self.length
        n_fields = n_states * self.learn_fields
        width = -(-n_states // 4) * 4
        fields = aligned_zeros((-(-width // LANES) * LANES,))
        fields[:] = PADDING
        fields[:n_states] = x[:n_fields] if self.learn_fields else self.start_fields[site]
        rows = aligned_zeros((length, n_states, width))
        rows[:, :, :n_states] = x[n_fields:].reshape(length, n_states, n_states)
        fields_gradient, rows_gradient = aligned_zeros(fields.shape), aligned_zeros(rows.shape)
        loss = single_row_loss(width)(
            site,
            self.sequences,
            self.columns,
            self.single_weights,
            np.arange(length, dtype=np.uint32),
            fields,
            rows.reshape(-1),
            n_states,
            fields_gradient,
            rows_gradient.reshape(-1),
        )
        gradient = np.empty_like(x)
        gradient[:n_fields] = fields_gradient[:n_fields]
        gradient[n_fields:] = rows_gradient[:, :, :n_states].ravel()
        return loss, gradient

    @cached_property
    def columns(self) -> NDArray[np.uint8]:
        """The sequences by site, shape (L, M)."""
        return np.ascontiguousarray(self.sequences.T)

    @cached_property
    def single_weights(self) -> NDArray[np.float32]:
        """The weights in single precision."""
        return self.weights.astype(np.float32)

    def objective(self, site: int, x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the penalised objective of a site and its gradient, in the precision of x.

        With U = I the factored penalty couplings_l2 / (C - 1) |P A_ij P|^2 is couplings_l2 A_ij^2,
        so both methods penalise plain squares.
        """
        is_single = x.dtype == np.float32
        value, gradient = self.single_loss(site, x) if is_single else self.loss(site, x)
        n_fields = self.n_states * self.learn_fields
        fields, couplings = x[:n_fields], x[n_fields:]
        value += self.penalty.fields_l2 * float(fields @ fields)
        value += self.penalty.couplings_l2 * float(couplings @ couplings)
        gradient[:n_fields] += 2.0 * self.penalty.fields_l2 * fields
        gradient[n_fields:] += 2.0 * self.penalty.couplings_l2 * couplings
        return value, gradient

    def empty_solution(self) -> RowSolution:
        """Return fields at their start and couplings of zero for every site."""
        shape: tuple[int, ...] = (self.length, self.length)
        if self.is_full:
            shape += (self.n_states, self.n_states)
        return RowSolution(self.start_fields.copy(), np.zeros(shape))

    def store(self, solution: RowSolution, site: int, x: Array) -> None:
        """Write the parameters of a site into its row."""
        n_fields = self.n_states * self.learn_fields
        if self.learn_fields:
            solution.fields[site] = x[:n_fields]
        row = solution.rows[site]
        if self.is_full:  # the kernel's [j, b, a] becomes [j, a, b]
            row[:] = x[n_fields:].reshape(row.shape).transpose(0, 2, 1)
        else:
            row[:] = x[n_fields:]

    def couplings(self, solution: RowSolution) -> Couplings:
        """Return the couplings of all rows."""
        if self.is_full:
            return Couplings(dense=solution.rows)
        return Couplings(solution.rows[None], np.eye(self.n_states)[None])


@dataclass(frozen=True, eq=False)
class RowSolution:
    """Parameters of all sites, filled row by row."""

    fields: Array  # (L, C)
    rows: Array  # (L, L, C, C) or (L, L)
