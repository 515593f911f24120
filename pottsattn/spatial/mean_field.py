"""The reconstruction gradient averaged over masks, without masks.

Given that query p is hidden, the number of other visible patches of its own area is
hypergeometric. It is summed over by the Gauss rule of its law, which is exact for three counts or
fewer. Given that number v, any other patch of the own area is visible with probability v / (C - 1)
and one elsewhere with (P - n_hidden - v) / (P - C); its weight in the softmax is replaced by the
mean, as if areas were large. Conditioning on the own area takes away most of the error of a plain
mean field (one probability for all patches), and in small areas keeps inputs whose whole area is
hidden. Latents are a Latin hypercube of strata.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from pottsattn._core.display import one_line
from pottsattn.spatial.inputs import InputLaw
from pottsattn.spatial.kernels_area_attention import position_weights
from pottsattn.spatial.objectives import AreaLayer

N_STRATA = 6
N_COUNTS = 3
Floats = NDArray[np.float64]


@one_line
@dataclass(frozen=True, eq=False)
class MeanField:
    """The law of the inputs, averaged.

    Parameters
    ----------
    law
        Areas, latents, mask fraction.
    latents
        Nodes of the latents, shape (n_nodes, n_areas).
    shares
        Visible share of an area given the count in the own one, shape (n_clusters, n_counts,
        n_patches, n_areas).
    probabilities
        Of the counts, shape (n_clusters, n_counts, n_patches).
    """

    law: InputLaw
    latents: Floats
    shares: Floats
    probabilities: Floats

    @classmethod
    def of(cls, law: InputLaw, rng: np.random.Generator) -> MeanField:
        """Return the mean field on strata whose order is drawn for every area."""
        low, high = law.latent_range
        strata = low + (high - low) * (np.arange(N_STRATA) + 0.5) / N_STRATA
        latents = rng.permuted(np.tile(strata, (law.areas.n_areas, 1)), axis=1).T.copy()
        return cls(law, latents, *_visible_shares(law))

    def step(self, layer: AreaLayer) -> tuple[float, AreaLayer]:
        """Return the loss summed over hidden patches, and its gradient."""
        areas = self.law.areas
        n_patches = areas.n_patches
        share = self.law.n_hidden / (n_patches * areas.n_clusters * len(self.latents))
        positions = position_weights(layer.upsilon)
        diagonal = np.diagonal(positions)
        z = self.latents[:, None, None, :]  # (J, 1, 1, N)
        phi, upsilon = np.zeros_like(layer.phi), np.zeros_like(layer.upsilon)
        loss = 0.0
        patches = np.arange(n_patches)
        for cluster, labels in enumerate(areas.labels):
            members = np.equal.outer(labels, np.arange(areas.n_areas)).astype(float)  # (P, N)
            sums = positions @ members
            sums[patches, labels] -= diagonal  # query p is hidden
            visible = self.shares[cluster]  # (V, P, N)
            weights = share * self.probabilities[cluster][None, :, :, None]  # (1, V, P, 1)
            scores = z * layer.phi[cluster]  # (J, 1, P, N)
            shift = np.maximum(scores.max(axis=3, keepdims=True), 0.0)
            shown, hidden = visible * np.exp(scores - shift), np.exp(-shift)
            rest = ((1.0 - visible) * sums).sum(axis=2) + diagonal  # (V, P), of hidden patches
            total = np.einsum("jvpm,pm->jvp", shown, sums)[..., None] + hidden * rest[..., None]
            shown /= total
            hidden = hidden / total  # (J, V, P, 1)
            attention = shown * sums  # (J, V, P, N)
            error = attention - members
            cotangent = z**2 * error
            loss += 0.5 * float(np.sum(weights * cotangent * error))
            mean = np.sum(cotangent * attention, axis=3, keepdims=True)
            push = weights * (cotangent - mean)
            phi[cluster] = np.sum(z * attention * push, axis=(0, 1))
            masked = np.sum(weights * hidden * mean, axis=0)  # (V, P, 1)
            table = np.sum(shown * push, axis=(0, 1)) - np.sum((1.0 - visible) * masked, axis=0)
            pushes = table[:, labels]
            pushes[patches, patches] = -masked.sum(axis=0)[:, 0]
            upsilon += positions * pushes
        return loss, AreaLayer(phi, upsilon)


def _visible_shares(law: InputLaw) -> tuple[Floats, Floats]:
    """Return the visible shares of areas and the probabilities, as `MeanField` holds them."""
    areas = law.areas
    n_clusters, n_patches = areas.labels.shape
    n_visible = n_patches - law.n_hidden
    shares = np.empty((n_clusters, N_COUNTS, n_patches, areas.n_areas))
    probabilities = np.empty((n_clusters, N_COUNTS, n_patches))
    rules = {int(size): _count_rule(n_patches, int(size), n_visible) for size in areas.sizes.flat}
    for cluster, labels in enumerate(areas.labels):
        for patch, label in enumerate(labels):
            size = areas.sizes[cluster, label]
            counts, weights = rules[int(size)]
            shares[cluster, :, patch] = ((n_visible - counts) / (n_patches - size))[:, None]
            shares[cluster, :, patch, label] = counts / max(size - 1, 1)
            probabilities[cluster, :, patch] = weights
    return shares, probabilities


def _count_rule(n_patches: int, size: int, n_visible: int) -> tuple[Floats, Floats]:
    """Return nodes and weights (N_COUNTS,) for the visible patches among size - 1 others.

    The Gauss rule of the law by Lanczos's recursion; its own atoms where they are as few.
    """
    if size == 0:
        return np.zeros(N_COUNTS), np.eye(N_COUNTS)[0]
    law = hypergeom(n_patches - 1, size - 1, n_visible)
    low, high = law.support()
    atoms = np.arange(low, high + 1, dtype=np.float64)
    masses = law.pmf(atoms)
    if len(atoms) <= N_COUNTS:
        padding = N_COUNTS - len(atoms)
        return np.pad(atoms, (0, padding)), np.pad(masses, (0, padding))
    basis = [np.sqrt(masses)]
    diagonal, beside = [], []
    for _ in range(N_COUNTS):
        vector = atoms * basis[-1]
        diagonal.append(float(basis[-1] @ vector))
        for other in basis:
            vector -= (other @ vector) * other
        beside.append(float(np.linalg.norm(vector)))
        basis.append(vector / beside[-1])
    nodes, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    )
    return nodes, vectors[0] ** 2
