"""Without a penalty a fit may have no optimum, which is said and not hidden."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._core.validate import ConvergenceWarning
from pottsattn.fitting.penalty import Penalty


@pytest.mark.parametrize("method", ["plm", "factored"])
@pytest.mark.parametrize("fields", ["learned", "none"])
def test_separable_data_without_a_penalty_do_not_converge(method, fields, rng):
    sequences = rng.integers(3, size=(8, 12))  # fewer sequences than parameters
    sequences[:3] = np.arange(3)[:, None]  # every state occurs
    dataset = SequenceDataset(sequences, 3)
    with pytest.warns(ConvergenceWarning, match="separable at site 0 without a penalty"):
        fit = fit_pseudolikelihood(dataset, method, fields=fields, penalty=Penalty(0.0))
    assert not fit.converged


def test_a_state_that_never_occurs_needs_a_penalty_on_its_field(rng):
    dataset = SequenceDataset(rng.integers(2, size=(50, 4)), 3)
    with pytest.warns(ConvergenceWarning, match="state 2 never occurs at site 0"):
        fit = fit_pseudolikelihood(dataset, penalty=Penalty(0.1, 0.0))
    assert not fit.converged


def test_a_pair_that_never_occurs_needs_a_penalty_on_its_coupling(rng):
    sequences = rng.integers(3, size=(400, 3))
    sequences = sequences[(sequences[:, 1] != 2) | (sequences[:, 2] != 1)]
    dataset = SequenceDataset(sequences, 3)
    with pytest.warns(ConvergenceWarning, match="state 2 at site 1 never occurs with state 1"):
        fit = fit_pseudolikelihood(dataset, penalty=Penalty(0.0, 0.01))
    assert not fit.converged


@pytest.mark.parametrize("method", ["plm", "factored"])
def test_data_that_overlap_have_an_optimum(method, rng):
    dataset = SequenceDataset(rng.integers(2, size=(300, 4)), 2)
    fit = fit_pseudolikelihood(dataset, method, penalty=Penalty(0.0, 0.0))
    assert fit.converged


def test_sequences_of_weight_zero_do_not_count(rng):
    sequences = rng.integers(3, size=(8, 12))
    sequences[:3] = np.arange(3)[:, None]
    against = rng.integers(3, size=(200, 12))
    weights = np.r_[np.ones(8), np.zeros(200)]
    dataset = SequenceDataset(np.r_[sequences, against], 3, weights=weights)
    with pytest.warns(ConvergenceWarning, match="separable"):
        fit_pseudolikelihood(dataset, "factored", penalty=Penalty(0.0))


def test_penalized_fields_keep_a_conserved_site_finite(rng):
    sequences = rng.integers(3, size=(300, 5))
    sequences[:, 0] = 0
    fit = fit_pseudolikelihood(
        SequenceDataset(sequences, 3), "factored", penalty=Penalty(0.0, 0.01)
    )
    assert fit.converged
    assert np.abs(fit.couplings.to_dense()).max() < 0.5


def test_a_shared_block_is_held_by_the_other_site(rng):
    """One site is the majority of the others, but they do not follow from it."""
    others = rng.integers(2, size=(600, 5))
    sequences = np.c_[others.sum(axis=1) > 2, others]
    fit = fit_pseudolikelihood(
        SequenceDataset(sequences, 2), symmetric=True, fields="none", penalty=Penalty(0.0)
    )
    assert fit.converged
    with pytest.warns(ConvergenceWarning, match="separable at site 0"):
        fit_pseudolikelihood(SequenceDataset(sequences, 2), fields="none", penalty=Penalty(0.0))
