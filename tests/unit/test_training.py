"""Training by one-site masks: it reaches the pseudo-likelihood optimum, and masks are fair."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pottsattn import ConvergenceWarning, FactoredAttention, InputError, SequenceDataset
from pottsattn.ensembles import generalized, sk_potts
from pottsattn.fitting.pseudolikelihood import fit_pseudolikelihood
from pottsattn.fitting.training import train_masked
from pottsattn.sampling.sampler import sample


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    drawn = sample(sk_potts(10, 3, 1.5, rng=0), 300, rng=1).dataset
    weights = np.random.default_rng(2).uniform(0.5, 1.5, size=300)
    return dataclasses.replace(drawn, weights=weights)


@pytest.mark.parametrize("fields", ["learned", "none"])
def test_optimum_is_that_of_pseudolikelihood(fields, data):
    trained = train_masked(data, ridge=0.5, fields=fields, rng=0)
    solved = fit_pseudolikelihood(data, "factored", ridge=0.5, fields=fields, gap_tolerance=1e-12)
    assert trained.converged
    assert abs(trained.objective - solved.objective) / data.length < 1e-5
    # Float32 training against a float64 solver: parameters agree to the square root of the gap.
    first = trained.couplings.factors()[0]
    assert_allclose(first, solved.couplings.factors()[0], atol=5e-3)
    assert trained.optimality_gap < 1e-5


def test_random_masks_reach_it_too(data):
    trained = train_masked(data, ridge=0.5, masks=5, max_steps=800, rng=0)
    solved = fit_pseudolikelihood(data, "factored", ridge=0.5)
    assert 0.0 < (trained.objective - solved.objective) / data.length < 2e-4


def test_a_seed_gives_the_same_bits(data):
    options = {"ridge": 0.5, "masks": 2, "max_steps": 20, "n_heads": 2}
    options["color_similarity"] = "learned"
    with pytest.warns(ConvergenceWarning):
        fits = [train_masked(data, rng=seed, **options) for seed in (3, 3, 4)]
    values = [fit.couplings.factors()[0] for fit in fits]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_sequences_of_weight_zero_do_not_count(data):
    weights = np.ones(300)
    weights[200:] = 0.0
    masked_out = dataclasses.replace(data, weights=weights)
    first = train_masked(masked_out, ridge=0.5, rng=0)
    second = train_masked(dataclasses.replace(data.take(slice(0, 200)), weights=None), ridge=0.5)
    assert_allclose(first.couplings.factors()[0], second.couplings.factors()[0], atol=1e-3)


def test_interruption_returns_what_was_learned(data):
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    fit = train_masked(data, ridge=0.5, max_steps=100, progress=stop)
    assert not fit.converged
    assert fit.message.startswith("interrupted at step 7 of 100")
    assert fit.couplings.factors()[0].any()


def test_too_few_steps_are_said(data):
    with pytest.warns(ConvergenceWarning, match=r"raise max_steps"):
        fit = train_masked(data, ridge=0.1, max_steps=60, learning_rate=0.001)
    assert not fit.converged
    with pytest.warns(ConvergenceWarning, match=r"3 steps are too few to judge"):
        train_masked(data, ridge=1e30, max_steps=3)


def test_a_stilled_training_is_not_taken_for_converged(data):
    """A tiny learning rate changes nothing; the bound of convexity tells."""
    with pytest.warns(ConvergenceWarning, match="nats per site above the minimum, expected"):
        fit = train_masked(data, ridge=0.1, learning_rate=1e-6, max_steps=100)
    assert not fit.converged
    with pytest.warns(ConvergenceWarning):
        assert train_masked(data, ridge=0.1, masks=1, max_steps=100).optimality_gap > 1e-4


def test_final_numbers_do_not_depend_on_chunks(data, monkeypatch):
    whole = train_masked(data, ridge=0.5, rng=0)
    monkeypatch.setattr("pottsattn.fitting.loop.EVALUATION_BATCH", 64)
    parts = train_masked(data, ridge=0.5, rng=0)
    assert_allclose(parts.objective, whole.objective, rtol=1e-5)
    assert_allclose(parts.train_loss, whole.train_loss, rtol=1e-5)
    assert parts.gradient_norm < 10 * whole.gradient_norm + 1e-5


def test_history_records_test_loss_and_objective(data):
    fit = train_masked(data, ridge=0.5, validation=data, max_steps=200)
    history = fit.history
    assert_allclose(history.objective[-1] * data.length, fit.objective, rtol=1e-5)
    assert_allclose(history.train_loss[-1], fit.train_loss, rtol=1e-5)
    assert_allclose(history.train_loss[0], np.log(3), rtol=1e-6)
    assert history.epochs[0] == 0
    assert history.epochs[-1] == 200
    assert np.isfinite(history.validation_loss).all()


def test_learned_color_similarity_is_found():
    """A generalised teacher: U is recovered up to scale, sign and gauge."""
    model = generalized(8, 4, 2.0, rng=3)
    drawn = sample(model, 2000, rng=4).dataset
    fit = train_masked(drawn, color_similarity="learned", ridge=0.1, max_steps=600, rng=0)
    _, gauged = fit.couplings.zero_sum(fit.fields)
    found, true = gauged.factors()[1][0], model.couplings.factors()[1][0]
    cosine = abs(np.vdot(found, true)) / np.linalg.norm(found) / np.linalg.norm(true)
    assert cosine > 0.98


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 11}, "masks must be at most the length 10"),
        ({"masks": 0}, "masks must be at least 1"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"ridge": -1.0}, "ridge must not be negative"),
        ({"layer": FactoredAttention(9, 3)}, "the layer is for"),
    ],
)
def test_wrong_options_are_named(options, message, data):
    with pytest.raises(InputError, match=message):
        train_masked(data, **options)


def test_cuda_is_refused_where_there_is_none(data):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device"):
        train_masked(data, device="cuda")
