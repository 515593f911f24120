"""Masked loss and pseudo-likelihood at the same parameters, by two programs that share nothing.

One masks sites as training does: for every site i a copy of the sequences in which i alone is
hidden goes through the network, and its cross-entropy is averaged; autograd has the gradients in A,
U and h. The other never sees a network or a mask: it takes the couplings
J_ij(a, b) = sum_h A^h_ij U^h_ab, evaluates -log P(s_i | s_-i) row by row
(`kernels_pseudolikelihood`) with its gradients G in J and h, and goes back by the chain rule,

    d/dA^h_ij = sum_ab G_ij(a, b) U^h_ab,    d/dU^h_ab = sum_ij A^h_ij G_ij(a, b).

Both in double precision: what is left is rounding.

Reference: Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), section III.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import row_loss_full
from pottsattn.model.couplings import Couplings, zero_sum_projector

Array = NDArray[np.float64]
LOGIT_SIZES = (0.3, 1.0, 3.0)  # of the random points: standard deviations of the logits


@dataclass(frozen=True)
class IdentityCheck:
    """Both losses at one point, nats per masked site, and how far their gradients are apart.

    Attributes
    ----------
    point : str
        Where in the space of parameters.
    masked_loss, pseudolikelihood : float
        The mean cross-entropy of one-site masks, and -log PL / (L M).
    loss_difference : float
        Their absolute difference.
    gradient_difference : float
        |g - g'| / |g'| over A, U and h together, g' that of the pseudo-likelihood.
    """

    point: str
    masked_loss: float
    pseudolikelihood: float
    loss_difference: float
    gradient_difference: float


def draw_layers(
    length: int, n_states: int, n_heads: int, rng: np.random.Generator
) -> dict[str, FactoredAttention]:
    """Return layers in double precision by name: as a training starts, and random points.

    All of A, U and h are parameters, whatever a fit will hold fixed.
    """
    layers = {}
    for size in (None, *LOGIT_SIZES):
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        layer = FactoredAttention(
            length, n_states, n_heads, color_similarity="learned", generator=generator
        ).double()
        if size is not None:
            with torch.no_grad():
                scale = size / np.sqrt(n_heads * (length - 1))
                for parameter, deviation in (
                    (layer.interactions, scale),
                    (layer.color_similarity, 1.0),
                    (layer.fields, size),
                ):
                    parameter.normal_(std=deviation, generator=generator)
        name = "start of a training" if size is None else f"random, logits of size {size:g}"
        layers[name] = layer
    return layers


def check_identity(point: str, layer: FactoredAttention, dataset: SequenceDataset) -> IdentityCheck:
    """Return both losses of a layer in double precision, and the distance of their gradients."""
    masked_loss, masked_gradient = _by_masks(layer, dataset)
    loss, gradient = _by_pseudolikelihood(layer, dataset)
    difference = np.linalg.norm(masked_gradient - gradient) / np.linalg.norm(gradient)
    return IdentityCheck(point, masked_loss, loss, abs(masked_loss - loss), float(difference))


def _by_masks(layer: FactoredAttention, dataset: SequenceDataset) -> tuple[float, Array]:
    """Return the masked loss and its gradient in (A, U, h) as one vector."""
    sequences = torch.from_numpy(dataset.sequences)
    weights = torch.from_numpy(dataset.normalized_weights)
    layer.zero_grad()
    total = 0.0
    for site in range(dataset.length):
        mask = torch.zeros(sequences.shape, dtype=torch.bool)
        mask[:, site] = True
        logits = layer(sequences, mask)[:, site]
        losses = torch.nn.functional.cross_entropy(
            logits, sequences[:, site].long(), reduction="none"
        )
        loss = (weights * losses).sum() / dataset.length
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    parts: list[Any] = [layer.interactions, layer.color_similarity, layer.fields]
    return total, np.concatenate([part.grad.numpy().ravel() for part in parts])


def _by_pseudolikelihood(layer: FactoredAttention, dataset: SequenceDataset) -> tuple[float, Array]:
    """Return -log PL / (L M) of the implied couplings and its gradient, by the chain rule."""
    fields, couplings = layer.implied_couplings()
    interactions, similarity = couplings.factors()
    length, n_states = fields.shape
    weights = dataset.normalized_weights / length
    of_interactions, of_similarity = np.zeros_like(interactions), np.zeros_like(similarity)
    of_fields, of_row = np.empty_like(fields), np.empty(length * n_states**2)
    total = 0.0
    for site in range(length):
        row = Couplings(interactions, similarity).row(site).copy()  # (L, C, C), indexed [j, a, b]
        row[site] = 0.0
        flat = np.ascontiguousarray(row.transpose(0, 2, 1)).ravel()  # [j, b, a] of the kernel
        total += row_loss_full(
            site, dataset.sequences, weights, fields[site], flat, of_fields[site], of_row
        )
        gradient = of_row.reshape(length, n_states, n_states).transpose(0, 2, 1)
        of_interactions[:, site] = np.einsum("jab,hab->hj", gradient, similarity)
        of_similarity += np.einsum("hj,jab->hab", interactions[:, site], gradient)
    if layer.learns_fields:  # U acts by P U P alone, see `pottsattn.fitting.masked.attention`
        projector = zero_sum_projector(n_states)
        of_similarity = projector @ of_similarity @ projector
    parts = (of_interactions, of_similarity, of_fields)
    return float(total), np.concatenate([part.ravel() for part in parts])
