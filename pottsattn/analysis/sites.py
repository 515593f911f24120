"""What the theory needs of a known model, measured site by site on its sequences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_kind
from pottsattn.data.dataset import SequenceDataset
from pottsattn.model.potts import PottsModel
from pottsattn.theory.measured import MeasuredSite

Array = NDArray[np.float64]


def measured_sites(
    dataset: SequenceDataset, teacher: PottsModel | None = None
) -> Iterator[MeasuredSite]:
    """Yield (chi_i, c_i) of every site, measured from sequences.

    Parameters
    ----------
    dataset
        Equilibrium sequences, many more than sites: see docs/plan.md for the error at N / L.
    teacher
        Model with U = I whose rows are w*_i, for coupling errors and the Bayes loss.

    Raises
    ------
    InputError
        A teacher that does not fit the data or has another form, or a state that never occurs.
    """
    check_kind("dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, C)")
    dataset.refuse_ignored_gaps("the theory of these data")
    interactions = None if teacher is None else _identity_interactions(teacher, dataset)
    frequencies = dataset.site_frequencies()
    if frequencies.min() <= 0.0:
        raise InputError(
            "some state never occurs at some site; instance mode is for colors that are all used"
        )
    one_hot = np.eye(dataset.n_states, dtype=np.float32)
    same = np.zeros((dataset.length, dataset.length))  # P(s_j = s_k)
    for weights, block in _blocks(dataset):
        for state in range(dataset.n_states):
            seen = one_hot[state][block]  # (M, L)
            same += (seen * weights[:, None].astype(np.float32)).T @ seen
    for site in range(dataset.length):
        others = np.delete(np.arange(dataset.length), site)
        pairs = dataset.pair_frequencies(site)[others]  # [j, a, b], a of this site
        given = pairs / frequencies[site][:, None]
        within = np.einsum("jab,kab->jk", pairs, given, optimize=True)
        covariance = (same[np.ix_(others, others)] - within) / (dataset.n_states - 1.0)
        signal = (np.einsum("jaa->j", given) - 1.0) / (dataset.n_states - 1.0)
        row = None if interactions is None else interactions[site][others]
        yield MeasuredSite(
            (covariance + covariance.T) / 2.0, signal, row, float(dataset.effective_size)
        )


def _blocks(dataset: SequenceDataset) -> Iterator[tuple[Array, NDArray[np.uint8]]]:
    weights = dataset.normalized_weights
    for first in range(0, dataset.n_sequences, 1 << 14):
        rows = slice(first, first + (1 << 14))
        yield weights[rows], dataset.sequences[rows]


def _identity_interactions(model: PottsModel, dataset: SequenceDataset) -> Array:
    """Return A of a model with U = I, shape (L, L)."""
    size = (dataset.length, dataset.n_states)
    if (model.length, model.n_states) != size:
        raise InputError(f"the teacher has {(model.length, model.n_states)}, the data {size}")
    couplings = model.couplings
    if couplings.is_factored and couplings.n_heads == 1:
        interactions, similarity = couplings.factors()
        if np.allclose(similarity[0], np.eye(model.n_states)):
            return interactions[0]
    raise InputError("the teacher of instance mode must have one head with U = I")
