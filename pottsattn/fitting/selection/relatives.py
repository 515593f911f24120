"""What leaves with a sequence: its relatives, as far as they pull at it.

A sequence of weight 1 / N stands for one of N near copies that count as one. Were they equal, all
would leave together, with the weight 1. They are not: relative n of m shares the state of a site
with probability a_mn, their identity, and the other sites with a correlation c_mn of the centered
one-hot sequences. So the gradients that leave with m, as far as its logits feel them, are

    sum over the N sequences nearest to m of  weight_n c_mn g_n,

in which a relative with another state pulls the other way. The curvature that leaves is on average
weight_n a_mn c_mn, summed in the same way: 1 for data without weights, and for equal copies.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from pottsattn._core.validate import check_generator
from pottsattn.data.dataset import SequenceDataset

MOST_DRAWN = 200  # sequences to average over, drawn by their weights


def leaving_weight(dataset: SequenceDataset) -> float:
    """Return the mean curvature that leaves with a sequence, above 0 and at most about 1."""
    dataset.refuse_ignored_gaps("an estimate from the curvature (leave-one-out, standard errors)")
    weights = dataset.weights
    if weights is None or _all_equal(weights):
        return 1.0
    drawn = check_generator(0).choice(
        len(weights), min(MOST_DRAWN, len(weights)), p=dataset.normalized_weights
    )
    pulls = _pulls(dataset, weights, drawn)
    return sum(float(pull @ identity) for _, pull, identity in pulls) / len(drawn)


def pulls_of_relatives(dataset: SequenceDataset, chosen: NDArray[np.intp]) -> csr_array | None:
    """Return weight_n c_mn of those that leave with each of the chosen, shape (n, n_sequences).

    None without weights, where a sequence leaves alone.
    """
    weights = dataset.weights
    if weights is None or _all_equal(weights):
        return None
    rows, pulls = [], []
    for near, pull, _ in _pulls(dataset, weights, chosen):
        rows.append(near)
        pulls.append(pull)
    starts = np.cumsum([0, *map(len, rows)])
    shape = (len(chosen), dataset.n_sequences)
    return csr_array((np.concatenate(pulls), np.concatenate(rows), starts), shape=shape)


def _pulls(
    dataset: SequenceDataset, weights: NDArray[np.float64], chosen: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the relatives n of each m of the chosen, weight_n c_mn, and a_mn."""
    sequences, length = dataset.sequences, dataset.length
    frequencies = dataset.site_frequencies()
    expected = frequencies[np.arange(length), sequences].sum(axis=1)  # overlap with the mean
    own = float((frequencies**2).sum())
    norms = np.sqrt(np.maximum(length - 2.0 * expected + own, np.finfo(float).tiny))
    for m in chosen:
        shared = np.count_nonzero(sequences == sequences[m], axis=1)
        near = np.argsort(-shared, kind="stable")[: _n_copies(weights[m])]
        overlaps = shared[near] - expected[m] - expected[near] + own
        correlations = np.maximum(overlaps / (norms[m] * norms[near]), 0.0)
        yield near, weights[near] * correlations, shared[near] / length


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
