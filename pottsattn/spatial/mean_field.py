"""The reconstruction gradient averaged over masks, without masks: every patch is visible in part.

Given that query p is hidden, any other patch is visible with probability
v = (P - n_hidden) / (P - 1). Here its weight in the softmax is the mean v e^{z Phi + Upsilon} +
(1 - v) e^{Upsilon}, as if areas were large: the error is O(1 / C_s), and inputs whose whole area is
hidden are missed (MASKED A.10). Latents are a Latin hypercube of strata.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn.spatial.inputs import InputLaw
from pottsattn.spatial.kernels_area_attention import position_weights
from pottsattn.spatial.objectives import AreaLayer

__all__ = ["MeanField"]

N_STRATA = 6


@dataclass(frozen=True, eq=False)
class MeanField:
    """The law of the inputs, averaged.

    Parameters
    ----------
    law
        Areas, latents, mask ratio.
    latents
        Nodes of the latents, shape (n_nodes, n_areas).
    """

    law: InputLaw
    latents: NDArray[np.float64]

    @classmethod
    def of(cls, law: InputLaw, rng: np.random.Generator) -> MeanField:
        """Return the mean field on strata whose order is drawn for every area."""
        low, high = law.latent_range
        strata = low + (high - low) * (np.arange(N_STRATA) + 0.5) / N_STRATA
        return cls(law, rng.permuted(np.tile(strata, (law.areas.n_areas, 1)), axis=1).T.copy())

    def step(self, layer: AreaLayer) -> tuple[float, AreaLayer]:
        """Return the loss summed over hidden patches, and its gradient."""
        areas = self.law.areas
        n_patches = areas.n_patches
        visible = (n_patches - self.law.n_hidden) / (n_patches - 1)
        share = self.law.n_hidden / (n_patches * areas.n_clusters * len(self.latents))
        positions = position_weights(layer.upsilon)
        diagonal = np.diagonal(positions)
        z = self.latents[:, None, :]  # (J, 1, N)
        phi, upsilon = np.zeros_like(layer.phi), np.zeros_like(layer.upsilon)
        loss = 0.0
        patches = np.arange(n_patches)
        for cluster, labels in enumerate(areas.labels):
            members = np.equal.outer(labels, np.arange(areas.n_areas)).astype(float)  # (P, N)
            sums = positions @ members
            sums[patches, labels] -= diagonal  # query p is hidden
            scores = z * layer.phi[cluster]  # (J, P, N)
            shift = np.maximum(scores.max(axis=2, keepdims=True), 0.0)
            shown, hidden = visible * np.exp(scores - shift), np.exp(-shift)[:, :, 0]
            rest = (1.0 - visible) * sums.sum(axis=1) + diagonal  # weight of the hidden patches
            total = (shown * sums).sum(axis=2) + hidden * rest
            shown /= total[:, :, None]
            hidden /= total
            attention = shown * sums  # (J, P, N)
            own = members[None]
            cotangent = z**2 * (attention - own)
            loss += 0.5 * share * np.sum(z**2 * (attention - own) ** 2)
            mean = np.sum(cotangent * attention, axis=2, keepdims=True)
            phi[cluster] = share * np.sum(z * attention * (cotangent - mean), axis=0)
            table = np.sum(shown * (cotangent - mean), axis=0)  # (P, N)
            masked = -np.sum(hidden * mean[:, :, 0], axis=0)[:, None]  # (P, 1)
            pushes = table[:, labels] + (1.0 - visible) * masked
            pushes[patches, patches] = masked[:, 0]
            upsilon += share * positions * pushes
        return float(loss), AreaLayer(phi, upsilon)
