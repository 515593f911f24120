"""The model against its definition, by nested loops and enumeration, in every form."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import FORMS, random_couplings
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.model.couplings import Couplings
from pottsattn.model.exact import all_states, enumerate_states
from pottsattn.model.graph import NeighborLists
from pottsattn.model.potts import PottsModel, log_softmax

STATES = all_states(4, 3)


def test_energy_matches_nested_loops(model, monkeypatch):
    monkeypatch.setattr("pottsattn.model.couplings.LOGITS_BLOCK", 7 * 12)  # blocks of 7 sequences
    tensor = model.to_dense()
    expected = []
    for s in STATES:
        energy = -sum(model.fields[i, s[i]] for i in range(4))
        energy -= sum(tensor[i, j, s[i], s[j]] for i in range(4) for j in range(i + 1, 4))
        expected.append(energy)
    assert_allclose(model.energy(STATES), expected, atol=1e-13)


def test_log_conditionals_match_enumeration(model, monkeypatch):
    monkeypatch.setattr("pottsattn.model.couplings.LOGITS_BLOCK", 7 * 12)
    joint = enumerate_states(model).probabilities.reshape((3,) * 4)
    conditionals = np.exp(model.log_conditionals(STATES))
    for m, s in enumerate(STATES):
        for i in range(4):
            others = tuple(slice(None) if k == i else s[k] for k in range(4))
            assert_allclose(conditionals[m, i], joint[others] / joint[others].sum(), rtol=1e-11)


def test_zero_sum_is_the_same_distribution(model):
    gauged = model.zero_sum()
    before, after = enumerate_states(model), enumerate_states(gauged)
    assert_allclose(after.probabilities, before.probabilities, rtol=1e-11)
    assert_allclose(gauged.log_conditionals(STATES), model.log_conditionals(STATES), atol=1e-12)


def test_scaled_is_an_inverse_temperature(model):
    assert_allclose(model.scaled(0.3).energy(STATES), 0.3 * model.energy(STATES), atol=1e-13)


def test_huge_fields_stay_finite(model):
    extreme = PottsModel(1e4 * model.fields, model.couplings)
    log_conditionals = extreme.log_conditionals(STATES)
    assert np.isfinite(log_conditionals).all()
    assert_allclose(np.exp(log_conditionals).sum(axis=2), 1.0, rtol=1e-12)
    assert_allclose(enumerate_states(extreme).probabilities.sum(), 1.0, rtol=1e-12)


def test_log_softmax_is_safe_for_any_size():
    assert_allclose(log_softmax(np.array([1e308, 0.0])), [0.0, -1e308])
    assert_allclose(log_softmax(np.array([-1e4, -1e4])), [-np.log(2)] * 2)


def test_file_keeps_the_form_and_every_number(model, tmp_path):
    model.ensemble, model.coupling_scale = "generalized", 1.25
    model.save(tmp_path / "model.h5")
    loaded = PottsModel.load(tmp_path / "model.h5")
    assert repr(loaded) == repr(model).replace("sparse", "factored")  # arrays up to 64 sites
    assert (loaded.ensemble, loaded.coupling_scale) == ("generalized", 1.25)
    assert_allclose(loaded.fields, model.fields, rtol=0)
    assert_allclose(loaded.to_dense(), model.to_dense(), rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_asymmetric_couplings_are_refused(form, rng):
    couplings = random_couplings(form, rng)
    with pytest.raises(InputError, match=r"symmetric.*relative asymmetry of 1?\.?\d"):
        PottsModel(np.zeros((4, 3)), couplings)


@pytest.mark.parametrize("form", FORMS)
def test_couplings_of_a_site_with_itself_are_refused(form, rng):
    couplings = random_couplings(form, rng).symmetrized()
    if form == "dense":
        couplings.dense[2, 2, 1, 1] = 0.3
    else:
        interactions, similarity = couplings.factors()
        interactions[0, 2, 2] = 0.3
        if couplings.is_sparse:
            couplings = Couplings(NeighborLists.from_dense(interactions), similarity)
    with pytest.raises(InputError, match="with itself must be 0, found 0"):
        PottsModel(np.zeros((4, 3)), couplings)


ONE = np.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: PottsModel.factored(ONE + np.eye(2), n_states=3), "with itself must be 0"),
        (lambda: PottsModel.factored(ONE), "give n_states, or color_similarity"),
        (lambda: PottsModel.factored(ONE[:1], n_states=3), "interactions must be square"),
        (lambda: PottsModel.factored(ONE, np.ones((3, 4))), r"color_similarity .*\(1, 4, 4\)"),
        (lambda: PottsModel.factored([ONE, ONE], np.eye(3)), r"color_similarity .*\(2, 3, 3\)"),
        (lambda: PottsModel.factored(ONE, np.eye(3), n_states=4), r"\(1, 4, 4\), got \(1, 3, 3\)"),
        (lambda: PottsModel.factored(ONE, np.eye(3), fields=np.zeros((3, 2))), "fields"),
        (lambda: PottsModel.factored(ONE, np.full((3, 3), np.inf)), "finite"),
        (lambda: PottsModel.dense(np.zeros((2, 2, 3, 4))), r"\(L, L, C, C\)"),
        (
            lambda: PottsModel(
                np.zeros((2, 2)), Couplings(dense=ONE[:, :, None, None] * np.full((2, 2), np.nan))
            ),
            "finite|found nan",
        ),
    ],
)
def test_wrong_parameters_are_named(build, text):
    with pytest.raises(InputError, match=text):
        build()


def test_sequences_of_another_length_are_refused(tiny_model):
    with pytest.raises(InputError, match="length 5, the model 4"):
        tiny_model.energy(np.zeros((1, 5), dtype=int))
