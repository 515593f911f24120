"""What is measured of a model: site by site, and its coupling scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pottsattn import PottsModel, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn._core.validate import InputError
from pottsattn.analysis.coupling_scale import (
    coupling_scale_of_pairs,
    debiased_coupling_scale,
    matched_ensemble,
    realized_coupling_scale,
)
from pottsattn.analysis.sites import measured_sites
from pottsattn.model.ensembles import generalized, sk_potts
from pottsattn.model.exact import enumerate_states


def test_covariance_and_signal_of_every_state_are_the_definitions():
    model = sk_potts(5, 3, 1.5, 0)
    states = enumerate_states(model)
    dataset = SequenceDataset(states.states, 3, weights=states.probabilities)
    for site, measured in enumerate(measured_sites(dataset, model)):
        others = np.delete(np.arange(5), site)
        one_hot = np.eye(3)[states.states[:, others]] - 1.0 / 3.0  # P x, (M, L - 1, C)
        covariance, signal = np.zeros((4, 4)), np.zeros(4)
        for color in range(3):
            chosen = states.states[:, site] == color
            weights = states.probabilities[chosen]
            mean = np.average(one_hot[chosen], axis=0, weights=weights)
            centered = one_hot[chosen] - mean
            covariance += np.einsum("m,mja,mka->jk", weights, centered, centered) / 2.0
            signal += mean[:, color] / 2.0
        np.testing.assert_allclose(measured.covariance, covariance, atol=1e-7)
        np.testing.assert_allclose(measured.signal, signal, atol=1e-12)
        np.testing.assert_allclose(measured.teacher, model.couplings.factors()[0][0][site, others])


def test_the_realized_scale_is_that_of_the_interactions_in_any_gauge():
    model = sk_potts(30, 4, 1.2, 1)
    expected = np.sqrt((model.couplings.factors()[0] ** 2).sum() / 30)
    assert realized_coupling_scale(model.couplings) == pytest.approx(expected)
    dense = PottsModel.dense(model.to_dense())
    assert realized_coupling_scale(dense.couplings) == pytest.approx(expected)
    found = matched_ensemble(model, alpha=2.0, ridge=0.1)
    assert (found.alpha, found.ridge) == pytest.approx((2.0 * 30 / 29, 0.1 * 30 / 29))


def test_both_estimates_of_the_scale_find_it_in_data():
    """Pairs scatter by 4 % between instances of this size, fits by less."""
    for seed in range(2):
        model = sk_potts(100, 3, 1.5, seed)
        data = sample(model, 400, rng=seed, n_threads=1).dataset
        truth = realized_coupling_scale(model.couplings)
        assert coupling_scale_of_pairs(data).value == pytest.approx(truth, rel=0.1)
        fit = fit_pseudolikelihood(data, "factored", ridge=1.0, fields="none")
        biased = realized_coupling_scale(fit.couplings)
        assert debiased_coupling_scale(fit) == pytest.approx(truth, rel=0.05)
        assert abs(biased / truth - 1.0) > 0.05


def test_pairs_without_couplings_have_no_scale():
    data = sample(sk_potts(40, 3, 0.0, 0), 200, rng=0).dataset
    found = coupling_scale_of_pairs(data)
    assert found.value < 5 * found.error


def test_wrong_sources_are_refused():
    model = sk_potts(10, 3, 1.0, 0)
    data = sample(model, 50, rng=0).dataset
    with pytest.raises(InputError, match="give both"):
        matched_ensemble(model)
    with pytest.raises(TypeError):
        matched_ensemble(data)
    with pytest.raises(InputError, match="one head with U = I"):
        next(measured_sites(data, generalized(10, 3, 1.0, 0)))
    with pytest.raises(InputError, match="the teacher has"):
        next(measured_sites(data, sk_potts(11, 3, 1.0, 0)))
    fit = replace(fit_pseudolikelihood(data, "factored"), symmetric=True)
    with pytest.raises(InputError, match="another kind"):
        debiased_coupling_scale(fit)
