"""What leaves with a sequence: its relatives, as far as they pull the same way.

A sequence of weight 1 / N stands for one of N near copies that count as one. Were they equal, all
would leave together, with the weight 1. They are not: relative n of m shares the state of a site
with probability a_mn, their identity, and the other sites with a correlation c_mn of the centered
one-hot sequences. What leaves with m on average is then

    sum over the N sequences nearest to m of  weight_n a_mn c_mn,

1 for data without weights, and for equal copies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import check_generator
from pottsattn.data.dataset import SequenceDataset

MOST_DRAWN = 200  # sequences to average over, drawn by their weights


def leaving_weight(dataset: SequenceDataset) -> float:
    """Return the mean weight that leaves with a sequence, above 0 and at most about 1."""
    dataset.refuse_ignored_gaps("an estimate from the curvature (leave-one-out, standard errors)")
    weights = dataset.weights
    if weights is None or _all_equal(weights):
        return 1.0
    sequences, length = dataset.sequences, dataset.length
    frequencies = dataset.site_frequencies()
    expected = frequencies[np.arange(length), sequences].sum(axis=1)  # overlap with the mean
    own = float((frequencies**2).sum())
    norms = np.sqrt(np.maximum(length - 2.0 * expected + own, np.finfo(float).tiny))
    drawn = check_generator(0).choice(
        len(weights), min(MOST_DRAWN, len(weights)), p=dataset.normalized_weights
    )
    total = 0.0
    for m in drawn:
        n_copies = _n_copies(weights[m])
        shared = np.count_nonzero(sequences == sequences[m], axis=1)
        near = np.argsort(-shared, kind="stable")[:n_copies]
        overlaps = shared[near] - expected[m] - expected[near] + own
        correlations = np.maximum(overlaps / (norms[m] * norms[near]), 0.0)
        total += float((weights[near] * shared[near] / length * correlations).sum())
    return total / len(drawn)


def are_relatives(dataset: SequenceDataset, chosen: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which of the chosen sequences would leave together, shape (n, n).

    A sequence leaves with itself, drawn again, and with as many as its weight tells.
    """
    weights, sequences = dataset.weights, dataset.sequences
    same = chosen[:, None] == chosen
    if weights is None or _all_equal(weights):
        return same
    near = same.copy()
    for at, m in enumerate(chosen):
        shared = np.count_nonzero(sequences == sequences[m], axis=1)
        n_copies = min(_n_copies(weights[m]), len(shared))
        least = np.partition(shared, -n_copies)[-n_copies]
        near[at] |= shared[chosen] >= least
    return near | near.T


def _all_equal(weights: NDArray[np.float64]) -> bool:
    return bool(np.all(weights[weights > 0.0] == weights.max()))


def _n_copies(weight: float) -> int:
    return max(round(1.0 / weight), 1)
