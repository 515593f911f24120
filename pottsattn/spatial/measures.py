"""What a layer attends to: own area, global area, diversity, excess loss, correlations.

Own-area attention is conditional on at least one visible patch of the area: without one there is
nothing to attend to, and the best loss is 1/2 z^2. The excess loss is what is above that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from pottsattn.spatial.areas import GLOBAL, PatchAreas
from pottsattn.spatial.inputs import InputLaw, PatchBatch
from pottsattn.spatial.objectives import (
    AreaLayer,
    AttendedBatch,
    attend,
    reconstruction_loss,
    reconstruction_step,
)

DIVERSITY_INPUTS = 8  # per cluster: every pair of queries is compared


@dataclass(frozen=True)
class AttentionMeasures:
    """Attention and loss of a layer, means over inputs; NaN where there is nothing to average.

    own_global, own_local
        Attention of a query to the visible patches of its own area, by kind of area.
    to_global
        Attention of queries of local areas to the global area.
    excess_global, excess_local, excess
        Reconstruction loss above the smallest possible, per hidden patch (squared feature units).
    diversity
        One minus the mean cosine between the attention of two queries (`diversity`).
    """

    own_global: float
    own_local: float
    to_global: float
    excess_global: float
    excess_local: float
    excess: float
    diversity: float


@dataclass(frozen=True)
class Correlations:
    """Means of Phi and Upsilon by the kinds of areas of query and key.

    own_global, own_local: Phi with the query's own area. local_to_global: Phi of local queries with
    the global area. local_to_local: with other local areas. same_local: Upsilon of two patches that
    share one local area in exactly one cluster and none elsewhere. unrelated: of patches that share
    no area.
    """

    own_global: float
    own_local: float
    local_to_global: float
    local_to_local: float
    same_local: float
    unrelated: float


def measure(
    layer: AreaLayer, law: InputLaw, batch: PatchBatch, objective: str
) -> AttentionMeasures:
    """Return the measures of a layer on a batch.

    Queries are the hidden patches where the layer reconstructs ("mae"), all patches of a view where
    it contrasts.
    """
    labels = law.areas.labels
    attended = attend(layer, batch)
    counted = batch.hidden if objective == "mae" else np.ones_like(batch.hidden)
    own_label = labels[batch.clusters]  # (B, P)
    own = np.take_along_axis(attended.areas, own_label[:, :, None], axis=2)[:, :, 0]
    n_areas = law.areas.n_areas
    visible = np.stack([(batch.slots == m).sum(axis=1) for m in range(n_areas)], axis=1)  # (B, N)
    has_own = np.take_along_axis(visible, own_label, axis=1) > 0
    has_global = np.broadcast_to(visible[:, GLOBAL, None] > 0, has_own.shape)
    is_global = own_label == GLOBAL
    z_own = np.take_along_axis(batch.latents, own_label, axis=1)
    excess = reconstruction_loss(attended, labels) - 0.5 * z_own**2 * ~has_own
    return AttentionMeasures(
        own_global=_mean(own, counted & is_global & has_own),
        own_local=_mean(own, counted & ~is_global & has_own),
        to_global=_mean(attended.areas[:, :, GLOBAL], counted & ~is_global & has_global),
        excess_global=_mean(excess, batch.hidden & is_global),
        excess_local=_mean(excess, batch.hidden & ~is_global),
        excess=_mean(excess, batch.hidden),
        diversity=_diversity_of(attended, law),
    )


def diversity(attention: NDArray[np.float64]) -> float:
    """Return 1 - mean_{p != p'} cos(a_p, a_p'), averaged over inputs.

    0: all queries look at the same places; 1: no two queries look at a common place.

    Parameters
    ----------
    attention
        Shape (n_inputs, n_queries, n_keys), not negative, no row zero.
    """
    rows = attention / np.linalg.norm(attention, axis=2, keepdims=True)
    n = rows.shape[1]
    total = np.einsum("bpq->bq", rows)
    cosines = (np.einsum("bq,bq->b", total, total) - n) / (n * (n - 1))
    # Rounding can leave -1e-16; numbers that are not finite stay so.
    return float(np.maximum(0.0, 1.0 - cosines.mean()))


def _diversity_of(attended: AttendedBatch, law: InputLaw) -> float:
    per_cluster = len(attended.batch) // law.areas.n_clusters
    at = np.arange(len(attended.batch)) % per_cluster < DIVERSITY_INPUTS
    few = AttendedBatch(
        attended.batch[at],
        attended.queries[at],
        attended.areas[at],
        attended.weights[at],
        attended.positions,
    )
    return diversity(few.to_patches())


def mean_correlations(layer: AreaLayer, areas: PatchAreas) -> Correlations:
    """Return the means of Phi and Upsilon by kind."""
    exists = np.broadcast_to((areas.sizes > 0)[:, None, :], layer.phi.shape)
    is_own = np.arange(areas.n_areas) == areas.labels[:, :, None]
    is_global = areas.is_global[:, :, None]
    other = exists & ~is_own & ~is_global
    to_global = np.arange(areas.n_areas) == GLOBAL
    shared = np.equal(areas.labels[:, :, None], areas.labels[:, None, :])  # (K, P, P)
    local = shared & ~areas.is_global[:, :, None]
    alone = ~np.eye(areas.n_patches, dtype=bool)
    return Correlations(
        own_global=_mean(layer.phi, is_own & is_global),
        own_local=_mean(layer.phi, is_own & ~is_global),
        local_to_global=_mean(layer.phi, other & to_global),
        local_to_local=_mean(layer.phi, other & ~to_global),
        same_local=_mean(layer.upsilon, alone & (shared.sum(0) == 1) & (local.sum(0) == 1)),
        unrelated=_mean(layer.upsilon, alone & ~shared.any(axis=0)),
    )


def optimal_loss(law: InputLaw) -> NDArray[np.float64]:
    """Return the smallest mean loss of a hidden patch, shape (n_clusters, n_patches).

    1/2 E[z^2] times the probability that the rest of its area is hidden too: for an area of C of P
    patches of which n are hidden, C(P - C, n - C) / C(P - 1, n - 1) given that the patch is.
    """
    low, high = law.latent_range
    second_moment = (low**2 + low * high + high**2) / 3.0
    n_patches, size = law.areas.n_patches, law.areas.own_sizes
    probability = hypergeom.pmf(size - 1, n_patches - 1, size - 1, law.n_hidden - 1)
    return np.asarray(0.5 * second_moment * probability, dtype=np.float64)


def rate_ratio(law: InputLaw, rng: np.random.Generator, per_cluster: int = 256) -> float:
    """Return how fast local queries leave the global area against how fast they find their own.

    |d Phi_{local -> global} / dt| over d Phi_{own, local} / dt at Q = 0, for reconstruction. It
    grows like P to the information gap. NaN where no hidden patch of a local area has a visible
    one beside it, as in areas of one patch.
    """
    start = AreaLayer.zero(law.areas)
    _, gradient = reconstruction_step(start, law.draw(rng, per_cluster), law.areas.labels)
    rates = mean_correlations(gradient, law.areas)
    return abs(rates.local_to_global / rates.own_local) if rates.own_local else math.nan


def _mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return float(values[chosen].mean()) if chosen.any() else float("nan")
