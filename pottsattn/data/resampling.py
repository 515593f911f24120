"""Data sets drawn from a data set: splits, bootstrap replicas, columns without correlations.

Hold-out: sequences of one identity cluster are related, so whole clusters are held out.

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
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_generator, check_kind, check_positive
from pottsattn.data.dataset import SequenceDataset


def cluster_bootstrap(
    dataset: SequenceDataset,
    n_replicas: int,
    *,
    identity_threshold: float = 0.8,
    rng: np.random.Generator,
) -> list[SequenceDataset]:
    """Return `n_replicas` data sets of clusters drawn with replacement.

    Clusters are those of `cluster_labels`. A sequence appears once, with its
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
    return replace(dataset, sequences=sequences, weights=None, model=None, names=())


def cluster_labels(dataset: SequenceDataset, identity_threshold: float = 0.8) -> NDArray[np.int64]:
    """Return the number of the group of related sequences each belongs to, shape (n_sequences,).

    Sequences of an alignment (a data set with an alphabet) are grouped by single-linkage at
    `identity_threshold`; others are independent, each a group of its own.
    """
    if not dataset.alphabet:
        return np.arange(dataset.n_sequences)
    from pottsattn.data.alignment.identity import identity_clusters

    return identity_clusters(dataset.sequences, identity_threshold)


def split(
    dataset: SequenceDataset,
    fraction: float,
    *,
    rng: np.random.Generator | int | None = None,
    identity_threshold: float = 0.8,
) -> tuple[SequenceDataset, SequenceDataset]:
    """Return (kept, held out): a random `fraction` of the sequences is held out.

    Sequences of an alignment (a data set with an alphabet) are held out by whole single-linkage
    clusters at `identity_threshold`, so that no near-copy of a test sequence is trained on; the
    fraction is then met as closely as the clusters allow.

    Raises
    ------
    InputError
        `fraction` is not inside (0, 1), or one part would be empty.
    """
    if check_positive("fraction", fraction) >= 1.0:
        raise InputError(f"fraction must be below 1, got {fraction}")
    generator = check_generator(rng)
    labels = cluster_labels(dataset, identity_threshold)
    target = fraction * dataset.n_sequences
    sizes = np.bincount(labels)
    held_out = np.zeros(len(sizes), dtype=bool)
    n_held_out = 0
    for cluster in generator.permutation(len(sizes)):
        if n_held_out + sizes[cluster] <= target + 0.5:
            held_out[cluster] = True
            n_held_out += int(sizes[cluster])
    chosen = held_out[labels]
    if not 0 < n_held_out < dataset.n_sequences:
        raise InputError(
            f"cannot hold out a fraction {fraction} of {dataset.n_sequences} sequences in "
            f"{len(sizes)} clusters: one part would be empty"
        )
    return dataset.take(~chosen), dataset.take(chosen)
