"""Inputs of the spatial system: patches that show the features of their areas, half of them hidden.

An input of cluster k has X_p = z_j v_{k,j} for every patch p of area j, with orthonormal features v
and latents z_j uniform in an interval. A mask hides a fixed number of patches, uniformly at random.
The features never appear: latents and slots say all that the layer sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.validate import InputError, check_nonnegative, check_positive
from pottsattn.spatial.areas import PatchAreas


@one_line
@dataclass(frozen=True, eq=False)
class PatchBatch:
    """Masked inputs.

    clusters: shape (B,). latents: shape (B, n_areas), 0 for areas that a cluster does not have.
    hidden: shape (B, P). slots: shape (B, P), the area of a visible patch, n_areas for a hidden
    one.
    """

    clusters: NDArray[np.int64]
    latents: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    slots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clusters)

    def __getitem__(self, at: NDArray[np.bool_] | NDArray[np.int64] | slice) -> PatchBatch:
        return PatchBatch(self.clusters[at], self.latents[at], self.hidden[at], self.slots[at])


@dataclass(frozen=True)
class InputLaw:
    """The law of the inputs.

    Parameters
    ----------
    areas
        The clusters and their areas.
    latent_range
        Lowest and highest strength z of a feature.
    mask_fraction
        Share of the patches that are hidden, above 0 and below 1; their number is rounded.

    Raises
    ------
    InputError
        An empty interval, or a mask that hides all patches or none.
    """

    areas: PatchAreas
    latent_range: tuple[float, float] = (0.5, 1.5)
    mask_fraction: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.latent_range
        check_nonnegative("lowest latent", low)
        if check_positive("highest latent", high) < low:
            raise InputError(f"latents must be low <= high, got {low} and {high}")
        check_positive("mask_fraction", self.mask_fraction)
        if not 0 < self.n_hidden < self.areas.n_patches:
            raise InputError(
                f"`mask_fraction={self.mask_fraction}` hides {self.n_hidden} of "
                f"{self.areas.n_patches} patches; at least one must be hidden and one visible"
            )

    @property
    def n_hidden(self) -> int:
        """Number of hidden patches."""
        return round(self.mask_fraction * self.areas.n_patches)

    def draw_latents(self, rng: np.random.Generator, per_cluster: int) -> NDArray[np.float64]:
        """Return latents (n_clusters * per_cluster, n_areas), cluster by cluster."""
        shape = (self.areas.n_clusters, per_cluster, self.areas.n_areas)
        latents = rng.uniform(*self.latent_range, shape) * (self.areas.sizes > 0)[:, None]
        return latents.reshape(-1, self.areas.n_areas)

    def mask(self, rng: np.random.Generator, latents: NDArray[np.float64]) -> PatchBatch:
        """Return inputs with these latents under masks drawn for each of them."""
        areas = self.areas
        n_inputs = len(latents)
        clusters = np.repeat(np.arange(areas.n_clusters), n_inputs // areas.n_clusters)
        hidden = np.tile(np.arange(areas.n_patches) < self.n_hidden, (n_inputs, 1))
        hidden = rng.permuted(hidden, axis=1)
        slots = np.where(hidden, areas.n_areas, areas.labels[clusters])
        return PatchBatch(clusters, latents, hidden, slots)

    def draw(self, rng: np.random.Generator, per_cluster: int) -> PatchBatch:
        """Return `per_cluster` masked inputs of every cluster, cluster by cluster."""
        return self.mask(rng, self.draw_latents(rng, per_cluster))
