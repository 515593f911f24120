"""Data sets drawn anew: identity clusters with replacement, and columns without correlations.

Bootstrap (Efron, Ann. Stat. 7, 1, 1979): sequences of one identity cluster are related, so whole
clusters are drawn, as many as there are, with replacement. A sequence keeps its weight, which
counts relatives of its own cluster only, times how often its cluster was drawn.

Null: M_eff sequences without weights, in which every column has the state frequencies of the data
and nothing is correlated. They are as many as the independent sequences, so that a fit to them has
the noise of the data, but not its common descent, which couples columns too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pottsattn._validate import check_kind
from pottsattn.dataset import SequenceDataset, cluster_labels

__all__ = ["cluster_bootstrap", "uncorrelated_columns"]


def cluster_bootstrap(
    dataset: SequenceDataset,
    n_replicas: int,
    *,
    identity_threshold: float = 0.8,
    rng: np.random.Generator,
) -> list[SequenceDataset]:
    """Return `n_replicas` data sets of clusters drawn with replacement.

    Clusters are those of `pottsattn.dataset.cluster_labels`. A sequence appears once, with its
    weight times the number of draws; those never drawn are left out.
    """
    check_kind("dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(...)")
    labels = cluster_labels(dataset, identity_threshold)
    n_clusters = int(labels.max()) + 1
    weights = np.ones(dataset.n_sequences) if dataset.weights is None else dataset.weights
    replicas = []
    for stream in rng.spawn(n_replicas):
        drawn = stream.integers(n_clusters, size=n_clusters)
        counts = np.bincount(drawn, minlength=n_clusters)[labels]
        kept = counts > 0
        weighted = replace(dataset, weights=weights * counts)
        replicas.append(weighted.take(kept))
    return replicas


def uncorrelated_columns(dataset: SequenceDataset, rng: np.random.Generator) -> SequenceDataset:
    """Return round(M_eff) sequences whose columns are independent, with the data's frequencies.

    Each column holds its states as often as its weighted frequencies ask, up to one, in random
    order.
    """
    n_sequences = max(1, round(dataset.effective_size))
    sequences = np.empty((n_sequences, dataset.length), dtype=np.uint8)
    for site, frequencies in enumerate(dataset.site_frequencies()):
        places = (rng.random() + np.arange(n_sequences)) / n_sequences
        states = np.searchsorted(np.cumsum(frequencies)[:-1], places, side="right")
        sequences[:, site] = rng.permutation(states)
    return replace(dataset, sequences=sequences, weights=None, model=None)
