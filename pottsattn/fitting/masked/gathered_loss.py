"""The masked loss of factored attention on a CPU, by kernels that gather instead of multiply.

A matrix product spends H L^2 C operations on the logits of a sequence. Here the row of a site,
J_ij(a, b) = sum_h A^h_ij U^h_ab as (L, C, C), is made once for a batch, and a sequence only adds
the rows that its states select: L^2 C operations, whatever the number of heads, and for the sites
that are predicted only. No tensor of all pairs is built. A site that shows nothing is one more
state, of zero couplings. Loss and gradients come from one pass, by the kernels of pseudo-likelihood
(`kernels_pseudolikelihood`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn._core.simd.vectors import LANES, PADDING, aligned_zeros
from pottsattn._core.threads import run_in_threads
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.masking import MaskedBatch
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import (
    row_loss_full,
    single_row_loss,
)

NOWHERE = -1e30  # field of a state that is never a target, in double precision
# Nanoseconds on one thread, forward and backward, measured at L = 20..120 and C = 3..21.
OF_LOSS, OF_NEIGHBOR, OF_VECTOR, OF_ROW = 250.0, 2.0, 1.2, 150_000.0  # gathering
OF_LOGIT, OF_PRODUCT = 32.0, 0.1  # matrix products


def gathers(layer: FactoredAttention, batch: MaskedBatch) -> bool:
    """Return whether gathering is the faster way for a layer and a batch: never on a GPU."""
    is_plain = layer.fields.dtype in (torch.float32, torch.float64)
    if layer.fields.device.type != "cpu" or not is_plain or torch.is_autocast_enabled("cpu"):
        return False
    n_rows, length = batch.targets.shape
    n_predicted = n_rows * length if batch.predicted is None else int(batch.predicted.sum())
    return is_faster(layer, n_rows, n_predicted)


def is_faster(layer: FactoredAttention, n_rows: int, n_predicted: int) -> bool:
    """Return whether a CPU gathers faster than it multiplies, by the sizes of layer and batch."""
    length, n_states, n_heads = layer.length, layer.n_states, layer.n_heads
    of_neighbor = OF_NEIGHBOR + OF_VECTOR * math.ceil(n_states / LANES)
    gathering = OF_ROW * length + n_predicted * (OF_LOSS + of_neighbor * length)
    products = OF_PRODUCT * n_heads * (3 if layer.learns_similarity else 2) * length
    return gathering < n_rows * length * n_states * (OF_LOGIT + products)


def gathering_bytes(layer: FactoredAttention, n_rows: int, n_threads: int) -> int:
    """Return the bytes of `gathered_loss` in single precision, where all sites are predicted.

    The transpose of the batch; of a thread the rows of a site, their gradient, and both without
    padding; the gradient of U by site; A by site, its gradient as it is made and as it is passed
    on, and the same of the penalty.
    """
    length, n_states, n_heads = layer.length, layer.n_states, layer.n_heads
    rows = 2 * n_states * (_padded_width(n_states) + n_states)  # numbers of a pair of sites
    numbers = length * (n_threads * rows + n_heads * n_states**2) + 6 * n_heads * length**2
    return n_rows * length + 4 * numbers


def gathered_loss(layer: FactoredAttention, batch: MaskedBatch, n_threads: int) -> Tensor:
    """Return the sum over rows and predicted sites of weight times -log P, differentiable.

    BLAS should keep to one thread meanwhile (`threadpoolctl`).
    """
    return _GatheredLoss.apply(  # type: ignore[no-untyped-call]
        layer.attention_weights(), layer.values(), layer.fields, batch, n_threads
    )


class _GatheredLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        attention: Tensor,
        similarity: Tensor,
        fields: Tensor,
        batch: MaskedBatch,
        n_threads: int,
    ) -> Tensor:
        numbers = fields.detach().numpy()
        loss, gradients = _loss_and_gradients(
            attention.detach().numpy(),
            similarity.detach().numpy(),
            numbers,
            _Rows(batch, numbers),
            n_threads,
        )
        # The loss is one number, so that the gradients can be made with it, in one pass: backward
        # only scales them.
        ctx.save_for_backward(*(torch.from_numpy(gradient) for gradient in gradients))
        return torch.tensor(loss, dtype=fields.dtype)

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor) -> Any:
        gradients = [of_loss * gradient for gradient in ctx.saved_tensors]
        return (*gradients, None, None)


def _padded_width(n_states: int) -> int:
    return -(-n_states // 4) * 4


class _Rows:
    """The rows of a batch as the kernels want them: those that predict one site."""

    def __init__(self, batch: MaskedBatch, fields: NDArray[Any]) -> None:
        self.length, self.n_states = fields.shape
        self.dtype = fields.dtype
        self.n_symbols = self.n_states + (batch.has_gaps or not batch.one_site)
        self.context = np.ascontiguousarray(batch.context.numpy())
        self.targets = batch.targets.numpy()
        self.predicted = None if batch.predicted is None else batch.predicted.numpy()
        self.weights = batch.weights.numpy().astype(self.dtype, copy=False)
        self.columns = np.ascontiguousarray(self.context.T)
        self.neighbors = np.arange(self.length, dtype=np.uint32)
        is_double = self.dtype == np.float64
        self.width = self.n_symbols if is_double else _padded_width(self.n_states)

    def of_site(self, site: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return sequences, their transpose with the targets in row `site`, and weights."""
        if self.predicted is None:
            return self.context, self.columns, self.weights
        chosen = np.flatnonzero(self.predicted[:, site])
        columns = np.take(self.columns, chosen, axis=1)  # in rows, as kernels read it
        # The kernel reads the target where the context of the site would stand. The site's own rows
        # are zero, so that it does not see it.
        columns[site] = self.targets[chosen, site]
        sequences = self.context[chosen]
        sequences[:, site] = columns[site]
        return sequences, columns, self.weights[chosen]

    def empty(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return fields and rows (L, n_symbols, width) for a kernel; rows are zero."""
        shape = (self.length, self.n_symbols, self.width)
        if self.dtype == np.float64:
            return np.full(self.width, NOWHERE), np.zeros(shape)
        fields = aligned_zeros((-(-self.width // LANES) * LANES,))
        fields[:] = PADDING
        return fields, aligned_zeros(shape)

    def loss(
        self, site: int, fields: NDArray[Any], rows: NDArray[Any], gradients: tuple[Any, Any]
    ) -> float:
        """Return the loss of a site and write its gradients."""
        sequences, columns, weights = self.of_site(site)
        of_fields, of_rows = gradients[0], gradients[1].reshape(-1)
        flat = rows.reshape(-1)
        if self.dtype == np.float64:
            loss = row_loss_full(site, sequences, weights, fields, flat, of_fields, of_rows)
        else:
            loss = single_row_loss(self.width)(
                site, sequences, columns, weights, self.neighbors, fields, flat, self.n_symbols,
                of_fields, of_rows,
            )  # fmt: skip
        return float(loss)


def _loss_and_gradients(
    attention: NDArray[Any],
    similarity: NDArray[Any],
    fields: NDArray[Any],
    batch: _Rows,
    n_threads: int,
) -> tuple[float, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Return the loss and its gradients in A (H, L, L), U (H, C, C) and h (L, C)."""
    length, n_states = fields.shape
    table = np.ascontiguousarray(similarity.transpose(0, 2, 1)).reshape(len(similarity), -1)
    by_site = np.ascontiguousarray(attention.transpose(1, 0, 2))  # (L, H, L)
    of_attention, of_fields = np.empty_like(by_site), np.empty_like(fields)

    def of_site(site: int) -> tuple[float, NDArray[Any]]:
        here, rows = batch.empty()
        of_here, of_rows = batch.empty()
        here[:n_states] = fields[site]
        # The only product with heads: L C^2 H numbers for a site, once for all sequences of a
        # batch.
        blocks = by_site[site].T @ table
        rows[:, :n_states, :n_states] = blocks.reshape(length, n_states, n_states)
        rows[site] = 0.0
        loss = batch.loss(site, here, rows, (of_here, of_rows))
        of_fields[site] = of_here[:n_states]
        change = np.ascontiguousarray(of_rows[:, :n_states, :n_states]).reshape(length, -1)
        of_attention[site] = table @ change.T
        return loss, by_site[site] @ change  # (H, C C), indexed [h, b, a]

    # Results come in the order of the sites, whatever the threads do: sums have one order.
    loss, total = 0.0, np.zeros(table.shape)
    for part, of_table in run_in_threads(of_site, range(length), n_threads, blas_is_limited=True):
        loss += part
        total += of_table
    of_similarity = total.reshape(-1, n_states, n_states).transpose(0, 2, 1)
    of_attention = of_attention.transpose(1, 0, 2)
    return loss, (of_attention, of_similarity.astype(fields.dtype), of_fields)
