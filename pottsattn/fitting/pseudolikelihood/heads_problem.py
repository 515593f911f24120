"""Factored couplings with learned color similarity: the objective of all sites together.

J_ij(a, b) = sum_h A^h_ij U^h_ab, penalized by couplings_l2 / (C - 1) sum_{i != j} |P J_ij P|^2_F.
The tensor is never built: the row of one site, sum_h A^h_ij U^h_ab as (L, C, C), is made where its
loss is taken, by the kernels of full rows, and its gradient G_i is folded at once into

    dA^h_ij = sum_ab G_ij(a, b) U^h_ab,    dU^h_ab = sum_ij A^h_ij G_ij(a, b).

With learned fields U is zero-sum: a part u^h(a) of U^h_ab that does not depend on b would act as a
field, sum_j A^h_ij u^h(a), that no penalty counts. Without fields U is any matrix.

A point is one vector: with learned fields first h_i(a) + sum_{j, b} J_ij(a, b) f_j(b), shape
(L, C), by which the couplings see centered states, in the units of `coordinates`; then A (L, H, L),
by site, and U (H, C, C), indexed [h, b, a] with the target state last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import run_in_threads
from pottsattn.fitting.pseudolikelihood.coordinates import heads_metric, total_field_units
from pottsattn.fitting.pseudolikelihood.lbfgs import VECTORS, Metric
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_full import (
    full_row_loss,
    full_row_working_bytes,
    padded_row,
    remove_sums,
)
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
PARTS = 5  # vectors of an objective beyond its gradient: parts of that, and their terms
Gradients = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class HeadsProblem:
    """The objective of H heads at points; `n_threads` share the sites."""

    @staticmethod
    def point_size(length: int, n_states: int, n_heads: int) -> int:
        """Return the numbers of a point with fields."""
        return length * n_states + n_heads * (length**2 + n_states**2)

    @classmethod
    def working_bytes(
        cls, length: int, n_states: int, n_sequences: int, n_threads: int, n_heads: int
    ) -> int:
        """Return the bytes of the descent, which ends in double precision."""
        point = cls.point_size(length, n_states, n_heads)
        # Of a thread also blocks and their gradient once more, without padding.
        row = full_row_working_bytes(length, n_states, n_sequences, np.float64)
        row += 2 * 8 * length * n_states**2
        of_similarity = 8 * length * n_heads * n_states**2  # by site
        return 8 * (VECTORS + PARTS) * point + n_threads * row + of_similarity

    def __init__(self, data: RowData, n_heads: int, n_threads: int) -> None:
        self.data, self.n_heads, self.n_threads = data, n_heads, n_threads
        length, n_states = data.length, data.n_states
        self._scales = total_field_units(data.frequencies, data.penalty.fields_l2)
        self._n_fields = length * n_states * data.learn_fields
        self._n_interactions = length * n_heads * length

    @property
    def n_parameters(self) -> int:
        """Numbers that the fit is free to choose, of which H^2 only mix heads."""
        length, n_states = self.data.length, self.data.n_states
        return self._n_fields + self.n_heads * (length * (length - 1) + n_states**2)

    def views(self, x: NDArray[Any]) -> Gradients:
        """Return fields (L, C) or (0, C), A (L, H, L) and U (H, C, C) of a point, as views."""
        length, n_states = self.data.length, self.data.n_states
        ends = (self._n_fields, self._n_fields + self._n_interactions)
        fields, interactions, similarity = np.split(x, ends)
        return (
            fields.reshape(-1, n_states),
            interactions.reshape(length, self.n_heads, length),
            similarity.reshape(self.n_heads, n_states, n_states),
        )

    def point(self, fields: Array, couplings: Couplings) -> Array:
        """Return the point of given fields (L, C) and factored couplings."""
        interactions, similarity = couplings.factors()
        interactions = interactions.transpose(1, 0, 2)
        similarity = similarity.transpose(0, 2, 1).copy()  # [h, b, a]
        if not self.data.learn_fields:
            return np.concatenate([interactions.ravel(), similarity.ravel()])
        shares = similarity.mean(axis=1)  # u^h(a)
        remove_sums(similarity)
        totals = fields + interactions.sum(axis=2) @ shares
        totals = totals - totals.mean(axis=1, keepdims=True)
        totals = totals + _seen(interactions, similarity, self.data.frequencies)
        parts = ((totals / self._scales).ravel(), interactions.ravel(), similarity.ravel())
        return np.concatenate(parts)

    def parameters(self, x: Array) -> tuple[Array, Couplings]:
        """Return fields (L, C) and couplings of a point."""
        totals, interactions, similarity = self.views(x)
        by_head = interactions.transpose(1, 0, 2).copy()
        if not self.data.learn_fields:
            fields = np.zeros_like(self.data.start_fields)
            return fields, Couplings(by_head, similarity.transpose(0, 2, 1).copy())
        totals = self._scales * totals - _seen(interactions, similarity, self.data.frequencies)
        return totals, Couplings(by_head, similarity.transpose(0, 2, 1).copy())

    def tidied(self, x: Array) -> Array:
        """Return a point with zero sums, which steps in single precision keep within rounding."""
        x = x.copy()
        totals, _, similarity = self.views(x)
        if self.data.learn_fields:
            totals -= (self._scales * totals).mean(axis=1, keepdims=True) / self._scales
            remove_sums(similarity)
        return x

    def metric(self, x: Array) -> Metric:
        """Return the metric of factors, see `heads_metric`, as it is at a point."""
        _, interactions, similarity = self.views(x)
        by_head = interactions.transpose(1, 0, 2).reshape(self.n_heads, -1)
        of_left, of_right = heads_metric(by_head, similarity.reshape(self.n_heads, -1))

        def metric(vector: NDArray[Any]) -> NDArray[Any]:
            found = vector.copy()
            _, interactions, similarity = self.views(found)
            interactions[:] = of_left.astype(vector.dtype) @ interactions
            flat = similarity.reshape(self.n_heads, -1)
            flat[:] = of_right.astype(vector.dtype) @ flat
            return found

        return metric

    def objective(self, x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the penalized objective, summed over sites, and its gradient."""
        data, learn_fields = self.data, self.data.learn_fields
        totals, interactions, similarity = self.views(x)
        scales = self._scales.astype(x.dtype)
        frequencies = data.frequencies.astype(x.dtype)
        if learn_fields:
            totals = scales * totals - _seen(interactions, similarity, frequencies)
        else:
            totals = np.zeros((data.length, data.n_states), x.dtype)
        value, (of_totals, of_interactions, of_similarity) = self._loss(
            totals, interactions, similarity
        )
        penalty, pulls, of_penalty = self._penalty(interactions, similarity)
        value += penalty
        of_interactions += pulls
        of_similarity += of_penalty
        if learn_fields:
            fields_l2 = data.penalty.fields_l2
            value += fields_l2 * float(np.vdot(totals, totals))
            of_totals += x.dtype.type(2.0 * fields_l2) * totals
            values = np.einsum("hba,jb->hja", similarity, frequencies)
            of_interactions -= np.einsum("ia,hja->ihj", of_totals, values, optimize=True)
            pulls = np.einsum("ihj,ia->hja", interactions, of_totals, optimize=True)
            of_similarity -= np.einsum("hja,jb->hba", pulls, frequencies)
            remove_sums(of_similarity)
            of_totals *= scales
        sites = np.arange(data.length)
        of_interactions[sites, :, sites] = 0.0
        parts = (of_totals if learn_fields else of_totals[:0], of_interactions, of_similarity)
        return value, np.concatenate([part.ravel() for part in parts]).astype(x.dtype)

    def plain_gradient(self, _x: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient as it is: no tolerance rests on it."""
        return gradient

    def judge(self, x: Array) -> tuple[float, float, Array]:
        """Return objective, loss and the gradient in fields, A and U, in double precision."""
        data = self.data
        fields, couplings = self.parameters(x)
        by_head, similarity = couplings.factors()
        interactions = np.ascontiguousarray(by_head.transpose(1, 0, 2))
        similarity = np.ascontiguousarray(similarity.transpose(0, 2, 1))
        loss, gradients = self._loss(fields, interactions, similarity)
        penalty, pulls, of_penalty = self._penalty(interactions, similarity)
        of_interactions = gradients[1] + pulls
        sites = np.arange(data.length)
        of_interactions[sites, :, sites] = 0.0
        parts = [of_interactions, gradients[2] + of_penalty]
        if data.learn_fields:
            penalty += data.penalty.fields_l2 * float(np.vdot(fields, fields))
            parts.append(gradients[0] + 2.0 * data.penalty.fields_l2 * fields)
        return loss + penalty, loss, np.concatenate([part.ravel() for part in parts])

    def _loss(
        self, fields: NDArray[Any], interactions: NDArray[Any], similarity: NDArray[Any]
    ) -> tuple[float, Gradients]:
        """Return the loss, summed over sites, and its gradients; that in U is in float64."""
        data, n_states, dtype = self.data, self.data.n_states, interactions.dtype
        flat = similarity.reshape(self.n_heads, n_states**2)
        of_fields = np.empty_like(fields)
        of_interactions = np.empty_like(interactions)

        def of_site(site: int) -> tuple[float, NDArray[Any]]:
            here, rows = padded_row(data, dtype)
            of_here, of_rows = padded_row(data, dtype)
            rows[:, :n_states] = (interactions[site].T @ flat).reshape(-1, n_states)
            rows[site * n_states : (site + 1) * n_states] = 0.0
            here[:n_states] = fields[site]
            loss = full_row_loss(data, site, here, rows, of_here, of_rows)
            of_fields[site] = of_here[:n_states]
            change = np.ascontiguousarray(of_rows[:, :n_states]).reshape(-1, n_states**2)
            of_interactions[site] = flat @ change.T
            return loss, interactions[site] @ change

        results = list(run_in_threads(of_site, range(data.length), self.n_threads))
        total = np.zeros(flat.shape)
        for _, part in results:
            total += part
        gradients = (of_fields, of_interactions, total.reshape(similarity.shape))
        return sum(loss for loss, _ in results), gradients

    def _penalty(
        self, interactions: NDArray[Any], similarity: NDArray[Any]
    ) -> tuple[float, NDArray[Any], Array]:
        """Return the penalty, c sum_hg (A^h . A^g)(P U^h P . P U^g P), and its gradients."""
        strength = self.data.penalty.couplings_l2 / (self.data.n_states - 1)
        projected = similarity.astype(np.float64)
        remove_sums(projected)
        weights = 2.0 * strength * np.einsum("hab,gab->hg", projected, projected)
        gram = np.zeros((self.n_heads, self.n_heads))
        for row in interactions:
            gram += row @ row.T
        of_similarity = 2.0 * strength * np.einsum("hg,gab->hab", gram, projected)
        of_interactions = weights.astype(interactions.dtype) @ interactions
        return 0.5 * float(np.vdot(weights, gram)), of_interactions, of_similarity


def _seen(
    interactions: NDArray[Any], similarity: NDArray[Any], frequencies: NDArray[Any]
) -> NDArray[Any]:
    """Return sum_{j, b} J_ij(a, b) f_j(b), shape (L, C)."""
    values = np.einsum("hba,jb->hja", similarity, frequencies)
    length, n_states = frequencies.shape
    return interactions.reshape(length, -1) @ values.reshape(-1, n_states)
