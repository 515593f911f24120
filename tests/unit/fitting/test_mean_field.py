"""Mean-field DCA: against plain NumPy, exact answers at high temperature, and its symmetries."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import random_model
from numpy.testing import assert_allclose

from pottsattn import InputError, SequenceDataset, compare
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.result import FitResult
from pottsattn.model.exact import enumerate_states


@pytest.fixture
def data(rng) -> SequenceDataset:
    sequences = rng.integers(3, size=(60, 5), dtype=np.uint8)
    sequences[:, 3] = sequences[:, 0]  # something to learn
    return SequenceDataset(sequences, 3, weights=rng.uniform(0.2, 2.0, size=60))


def reference(data: SequenceDataset, p: float):
    """Return (fields, couplings) by one-hot vectors and a general inverse."""
    length, c = data.length, data.n_states
    one_hot = np.eye(c)[data.sequences].reshape(data.n_sequences, -1)
    w = data.normalized_weights
    f = (1 - p) * (w @ one_hot).reshape(length, c) + p / c
    ff = (1 - p) * np.einsum("m,mx,my->xy", w, one_hot, one_hot) + p / c**2
    ff = ff.reshape(length, c, length, c)
    for i in range(length):
        ff[i, :, i] = np.diag(f[i])
    correlation = (ff - np.einsum("ia,jb->iajb", f, f))[:, :-1, :, :-1]
    size = length * (c - 1)
    inverse = np.linalg.inv(correlation.reshape(size, size)).reshape(correlation.shape)
    couplings = np.zeros((length, length, c, c))
    couplings[:, :, :-1, :-1] = -inverse.transpose(0, 2, 1, 3)
    couplings[range(length), range(length)] = 0.0
    fields = np.log(f / f[:, -1:]) - np.einsum("ijab,jb->ia", couplings, f)
    return fields, couplings


@pytest.mark.parametrize("pseudocount", [0.0, 0.1, 0.5])
def test_matches_plain_numpy(pseudocount, rng):
    sequences = rng.integers(3, size=(60, 5), dtype=np.uint8)
    data = SequenceDataset(sequences, 3, weights=rng.uniform(0.2, 2.0, size=60))
    fit = fit_mean_field(data, pseudocount=pseudocount)
    fields, couplings = reference(data, pseudocount)
    assert_allclose(fit.couplings.to_dense(), couplings, atol=1e-11)
    assert_allclose(fit.fields, fields, atol=1e-11)
    assert not fit.fields[:, -1].any()


def test_error_at_high_temperature_is_of_second_order(rng):
    """From exact statistics J is right to first order in 1 / T: half of J, a quarter of the error.

    The fields are held fixed: mean field is exact in them.
    """
    model = random_model("dense", rng)
    errors = []
    for beta in (0.02, 0.01):
        weak = type(model)(model.fields, model.couplings.scaled(beta))
        exact = enumerate_states(weak)
        data = SequenceDataset(exact.states, 3, weights=exact.probabilities)
        found = fit_mean_field(data, pseudocount=0.0).to_model()
        truth = weak.zero_sum()
        errors.append(np.abs(found.to_dense() - truth.to_dense()).max())
        assert_allclose(found.fields, truth.fields, atol=4 * beta**2)
        assert errors[-1] < 0.1 * np.abs(truth.to_dense()).max()
    assert_allclose(errors[0] / errors[1], 4.0, rtol=0.1)


def test_names_of_states_do_not_matter(data):
    """Also when another state is last, and so is left out of the correlations."""
    order = np.array([2, 0, 1], dtype=np.uint8)  # state a is called order[a]
    renamed = SequenceDataset(order[data.sequences], 3, weights=data.weights)
    one, other = fit_mean_field(data), fit_mean_field(renamed)
    assert_allclose(one.train_loss, other.train_loss, rtol=1e-12)
    one, other = one.to_model(), other.to_model()
    assert_allclose(other.fields[:, order], one.fields, atol=1e-12)
    assert_allclose(other.to_dense()[:, :, order][:, :, :, order], one.to_dense(), atol=1e-12)


def test_result(data, tmp_path):
    fit = fit_mean_field(data)
    assert fit.method == "mf"
    assert fit.converged
    assert fit.config == {"fields": "learned", "pseudocount": 0.5}
    log_p = fit.log_conditionals(data.sequences)
    chosen = np.take_along_axis(log_p, data.sequences[:, :, None].astype(int), axis=2)[:, :, 0]
    assert_allclose(fit.train_loss, -(data.normalized_weights @ chosen).mean(), rtol=1e-12)
    assert_allclose(fit.objective, 5 * fit.train_loss, rtol=1e-12)
    assert rank_contacts(fit, min_separation=1).first[0] == 1
    assert rank_contacts(fit, min_separation=1).second[0] == 4
    fit.save(tmp_path / "mf.h5")
    loaded = FitResult.load(tmp_path / "mf.h5")
    assert_allclose(loaded.couplings.to_dense(), fit.couplings.to_dense())
    assert np.isnan(loaded.gradient_norm)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare({"mf": loaded}, data).to_dict()["fits"][0]["method"] == "mf"


def test_correlations_that_cannot_be_inverted(data, rng):
    with pytest.raises(InputError, match="raise pseudocount above 0"):
        fit_mean_field(data, pseudocount=0.0)  # sites 0 and 3 are one
    unseen = SequenceDataset(rng.integers(2, size=(50, 4)), 3)
    with pytest.raises(InputError, match="states that never occur"):
        fit_mean_field(unseen, pseudocount=0.0)
    for wrong in (1.0, -0.1):
        with pytest.raises(InputError, match="pseudocount must"):
            fit_mean_field(data, pseudocount=wrong)
