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
from pottsattn.fitting.record import Penalty
from pottsattn.fitting.training import _Steps, _TrainingData, masked_losses, train_masked
from pottsattn.sampling.sampler import sample


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    drawn = sample(sk_potts(10, 3, 1.5, rng=0), 300, rng=1).dataset
    weights = np.random.default_rng(2).uniform(0.5, 1.5, size=300)
    return dataclasses.replace(drawn, weights=weights)


def steps(data: SequenceDataset, n_masks: int, batch_size: int = 1000) -> _Steps:
    layer = FactoredAttention(data.length, data.n_states)
    training = _TrainingData.of(data, layer, torch.device("cpu"), n_masks)
    generator = torch.Generator().manual_seed(0)
    return _Steps(layer, training, Penalty(0.01, 0.01), generator, 100, batch_size, 0.03)


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


@pytest.mark.parametrize("n_masks", [1, 3])
def test_no_site_is_masked_twice_in_a_cycle(n_masks, data):
    taken = steps(data, n_masks)
    batch = torch.arange(300)
    shown = [taken._next_sites(batch) for _ in range(10 // n_masks)]
    sites = torch.cat(shown, dim=1).sort(dim=1).values
    assert all(len(row.unique()) == sites.shape[1] for row in sites)
    again = taken._next_sites(batch)
    assert again.shape == (300, n_masks)
    # Masks differ between sequences and are uniform over sites.
    counts = torch.bincount(torch.cat([taken._next_sites(batch) for _ in range(30)]).ravel())
    expected = counts.sum().item() / 10
    assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_masked_loss_over_a_cycle_is_the_exact_loss(data):
    """With parameters held still, the masks of one cycle average to the pseudo-likelihood."""
    taken = steps(data, 5)
    for group in taken.optimizer.param_groups:
        group["lr"] = 0.0
    taken.schedule.base_lrs = [0.0]
    with torch.no_grad():
        taken.layer.interactions.normal_(generator=torch.Generator().manual_seed(1))
    exact = (taken.data.weights[:, None] * masked_losses(taken.layer, taken.data.sequences)).mean()
    mean = (taken.take() + taken.take()) / 2
    assert_allclose(mean, exact.item(), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [100, 128, 1000])
def test_batches_of_an_epoch_cover_every_sequence_once(batch_size, data):
    taken = steps(data, 1, batch_size)
    batches = [taken._next_batch() for _ in range(taken.steps_per_epoch)]
    assert max(map(len, batches)) <= batch_size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert torch.cat(batches).sort().values.equal(torch.arange(300))


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
    monkeypatch.setattr("pottsattn.fitting.training.EVALUATION_BATCH", 64)
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
