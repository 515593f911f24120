"""Losses of the spatial layer and their closed-form gradients in (Phi, Upsilon).

Gradient descent on Q from 0 never leaves the span of e_p v^T and e_p e_q^T when features v and
position encodings e are orthonormal, so that Phi_{p,(k,m)} = e_p^T Q v_{k,m} and
Upsilon_{pq} = e_p^T Q e_q are the layer; dimensions never appear. With A_m the attention that
query p gives to the visible patches of area m, and n its own area (docs/spatial.md):

- masked reconstruction of a hidden patch p: 1/2 [z_n^2 (1 - A_n)^2 + sum_{m != n} z_m^2 A_m^2];
- contrastive: f_m = z_m mean_p A_{p,m}; -tau log softmax of <f(X+), f(X')> / tau over the other
  view of the input and the views of all other inputs, which the gradient does not see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn.spatial.areas import PatchAreas
from pottsattn.spatial.inputs import PatchBatch
from pottsattn.spatial.kernels_area_attention import (
    area_attention,
    position_weights,
    score_gradient,
)

Floats = NDArray[np.float64]
ALL = slice(None)


@one_line
@dataclass(frozen=True, eq=False)
class AreaLayer:
    """The trained correlations of one softmax-attention layer.

    phi
        Feature-position correlations Phi, shape (n_clusters, n_patches, n_areas).
    upsilon
        Position-position correlations Upsilon, shape (n_patches, n_patches); row p belongs to
        query p.
    """

    phi: Floats
    upsilon: Floats

    @classmethod
    def zero(cls, areas: PatchAreas) -> AreaLayer:
        """Return the layer at Q = 0, where training starts: uniform attention."""
        return cls(
            np.zeros((areas.n_clusters, areas.n_patches, areas.n_areas)),
            np.zeros((areas.n_patches, areas.n_patches)),
        )

    def moved(self, gradient: AreaLayer, rate: float) -> AreaLayer:
        """Return the layer after a step of `rate` against the gradient."""
        return AreaLayer(self.phi - rate * gradient.phi, self.upsilon - rate * gradient.upsilon)


@dataclass(frozen=True, eq=False)
class AttendedBatch:
    """A batch and the attention that its queries give to areas.

    areas: shape (B, P, n_areas), 0 in rows that were not asked for. weights: shape
    (B, P, n_areas + 1), positions: shape (P, P); their product by slot is the attention to a patch.
    """

    batch: PatchBatch
    queries: NDArray[np.bool_]
    areas: Floats
    weights: Floats
    positions: Floats

    def to_patches(self, queries: NDArray[np.int64] | slice = ALL) -> Floats:
        """Return the attention of some queries to every patch, shape (B, Q, P), rows sum to 1."""
        weights = self.weights[:, queries]
        by_slot = np.take_along_axis(weights, self.batch.slots[:, None, :], axis=2)
        attention: Floats = by_slot * self.positions[queries]
        return attention

    def gradient(self, cotangent: Floats, layer: AreaLayer) -> AreaLayer:
        """Return the gradient of sum cotangent * areas, shapes as in `layer`."""
        gradient = AreaLayer(np.zeros_like(layer.phi), np.zeros_like(layer.upsilon))
        score_gradient(
            self.positions,
            self.batch.clusters,
            self.batch.latents,
            self.batch.slots,
            self.queries,
            self.weights,
            self.areas,
            cotangent,
            gradient.phi,
            gradient.upsilon,
        )
        return gradient


def attend(
    layer: AreaLayer, batch: PatchBatch, queries: NDArray[np.bool_] | None = None
) -> AttendedBatch:
    """Return the attention of a batch, for all queries or those marked in (B, P)."""
    n_inputs, n_patches = batch.slots.shape
    n_areas = batch.latents.shape[1]
    wanted = np.ones(batch.slots.shape, bool) if queries is None else queries
    attended = AttendedBatch(
        batch,
        wanted,
        np.zeros((n_inputs, n_patches, n_areas)),
        np.zeros((n_inputs, n_patches, n_areas + 1)),
        position_weights(layer.upsilon),
    )
    area_attention(
        layer.phi,
        attended.positions,
        batch.clusters,
        batch.latents,
        batch.slots,
        wanted,
        attended.weights,
        attended.areas,
    )
    return attended


def reconstruction_loss(attended: AttendedBatch, labels: NDArray[np.int64]) -> Floats:
    """Return the loss of every patch, hidden or not, shape (B, P); `labels` is that of the areas.

    Only hidden patches are reconstructed from others; the loss of the rest is not part of the
    objective.
    """
    latents = attended.batch.latents
    own = labels[attended.batch.clusters][:, :, None]  # (B, P, 1)
    z_own = np.take_along_axis(latents, own[:, :, 0], axis=1)
    a_own = np.take_along_axis(attended.areas, own, axis=2)[:, :, 0]
    squares = np.einsum("bm,bpm->bp", latents**2, attended.areas**2)
    loss: Floats = 0.5 * (z_own**2 * (1.0 - 2.0 * a_own) + squares)
    return loss


def reconstruction_step(
    layer: AreaLayer, batch: PatchBatch, labels: NDArray[np.int64]
) -> tuple[float, AreaLayer]:
    """Return the mean over inputs of the loss summed over hidden patches, and its gradient."""
    attended = attend(layer, batch, batch.hidden)
    loss = reconstruction_loss(attended, labels)[batch.hidden].sum() / len(batch)
    own = labels[batch.clusters][:, :, None]
    z_squared = batch.latents**2 / len(batch)
    cotangent = z_squared[:, None, :] * attended.areas
    at_own = np.take_along_axis(cotangent, own, axis=2)
    at_own -= np.take_along_axis(z_squared, own[:, :, 0], axis=1)[:, :, None]
    np.put_along_axis(cotangent, own, at_own, axis=2)
    return float(loss), attended.gradient(cotangent, layer)


def contrastive_step(
    layer: AreaLayer, view: PatchBatch, other_view: PatchBatch, temperature: float
) -> tuple[float, AreaLayer]:
    """Return the contrastive loss, mean over inputs, and its gradient through `view` alone.

    Row b of both views is the same input under different masks.
    """
    attended = attend(layer, view)
    features = view.latents * attended.areas.mean(axis=1)  # (B, N)
    targets = other_view.latents * attend(layer, other_view).areas.mean(axis=1)
    same_cluster = view.clusters[:, None] == view.clusters
    # Features of different clusters are orthogonal.
    scores = np.where(same_cluster, features @ targets.T, 0.0) / temperature
    scores -= scores.max(axis=1, keepdims=True)
    normalizer = np.log(np.exp(scores).sum(axis=1))
    loss = -temperature * np.mean(np.diagonal(scores) - normalizer)
    share = np.where(same_cluster, np.exp(scores - normalizer[:, None]), 0.0)
    push = (share @ targets - targets) * view.latents / (len(view) * view.slots.shape[1])
    cotangent = np.broadcast_to(push[:, None, :], attended.areas.shape)
    return float(loss), attended.gradient(np.ascontiguousarray(cotangent), layer)
