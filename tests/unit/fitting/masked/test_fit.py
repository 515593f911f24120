"""Training by masks: one-site masks reach the pseudo-likelihood optimum, others their own."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from fit_options import as_solving, as_training
from numpy.testing import assert_allclose

import pottsattn
from pottsattn import ConvergenceWarning, FactoredAttention, InputError, SequenceDataset, compare
from pottsattn.data.resampling import split, uncorrelated_columns
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.masked.objective import masked_losses
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.model.ensembles import generalized, sk_potts
from pottsattn.sampling.sampler import sample
from pottsattn.training.recipe import FullRecipe, Recipe


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    drawn = sample(sk_potts(10, 3, 1.5, rng=0), 300, rng=1).dataset
    weights = np.random.default_rng(2).uniform(0.5, 1.5, size=300)
    return dataclasses.replace(drawn, weights=weights)


@pytest.mark.parametrize(("recipe", "within"), [(None, 1e-9), (Recipe("adam"), 1e-5)])
@pytest.mark.parametrize("fields", ["learned", "none"])
def test_optimum_is_that_of_pseudolikelihood(fields, recipe, within, data):
    trained = train_masked(data, AttentionConfig(fields=fields), ridge=0.5, recipe=recipe, rng=0)
    solved = fit_pseudolikelihood(
        data, "factored", ridge=0.5, fields=fields, solver=Solver(gap_tolerance=1e-12)
    )
    assert trained.converged
    assert trained.config["optimizer"] == ("lbfgs" if recipe is None else "adam")
    assert abs(trained.objective - solved.objective) / data.length < within
    # Adam in float32 against a float64 solver: parameters agree to the square root of the gap.
    first = trained.couplings.factors()[0]
    assert_allclose(first, solved.couplings.factors()[0], atol=5e-3)
    assert trained.optimality_gap < 1e-5


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({}, "lbfgs"),
        ({"masks": 10}, "lbfgs"),
        ({"masks": 2, "mask_mode": "static"}, "lbfgs"),
        ({"mask_fraction": 0.3, "mask_mode": "static"}, "lbfgs"),
        ({"color_similarity": "learned", "n_heads": 2}, "lbfgs"),
        ({"masks": 2}, "adam"),
        ({"mask_fraction": 0.3}, "adam"),
        ({"batch_size": 100}, "adam"),
        ({"learning_rate": 0.1}, "adam"),
    ],
)
@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_an_objective_that_stays_the_same_is_minimized(options, optimizer, data):
    fit = train_masked(data, **as_training(ridge=0.5, max_steps=2, rng=0, **options))
    assert fit.config["optimizer"] == optimizer


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
@pytest.mark.parametrize("options", [{"n_heads": 3}, {"n_heads": 8}, {"attention": "softmax"}])
def test_what_has_settled_gains_no_more(options, data, monkeypatch):
    """Twice the steps, from the same start."""
    options = {"ridge": 0.2, "color_similarity": "learned", "rng": 0, **options}
    fit = train_masked(data, **as_training(**options))
    assert fit.converged
    assert fit.message.startswith("at a stationary point after")
    assert fit.estimated_gap < 1e-8
    monkeypatch.setattr("pottsattn.fitting.settling.AIM", 0.0)
    further = train_masked(data, **as_training(max_steps=2 * fit.n_evaluations, **options))
    assert further.n_evaluations > fit.n_evaluations
    assert 0.0 <= (fit.objective - further.objective) / data.length + 1e-9 < 1e-5


@pytest.mark.parametrize("options", [{}, {"fields": "none"}, {"batch_size": 70}])
def test_lbfgs_reaches_it_to_rounding(options, data):
    trained = train_masked(data, **as_training(ridge=0.5, optimizer="lbfgs", rng=0, **options))
    fields = options.get("fields", "learned")
    solved = fit_pseudolikelihood(
        data, "factored", ridge=0.5, fields=fields, solver=Solver(gap_tolerance=1e-12)
    )
    assert trained.converged
    assert trained.message.startswith("at the optimum after")
    assert abs(trained.objective - solved.objective) / data.length < 1e-8
    assert trained.optimality_gap < 1e-8
    assert_allclose(trained.couplings.factors()[0], solved.couplings.factors()[0], atol=1e-4)
    assert trained.config["precision"] == "mixed"


def test_lbfgs_with_learned_color_similarity_is_no_worse_than_the_solver(data):
    """Not convex: each from its own start, so the lowest of a few counts on either side."""
    options = {"ridge": 0.5, "n_heads": 2, "color_similarity": "learned"}
    solved = fit_pseudolikelihood(data, "factored", **as_solving(n_starts=3, rng=0, **options))
    trained = [
        train_masked(
            data, **as_training(optimizer="lbfgs", max_steps=400, rng=seed, **options)
        ).objective
        for seed in range(3)
    ]
    assert abs(min(trained) - solved.objective) / data.length < 1e-6


def masked_objective(fit, data, masking, penalty):
    """Return the static masked objective of a fit and its gradient in A, from its couplings."""
    interactions, (similarity,) = fit.couplings.factors()
    layer = FactoredAttention(data.length, data.n_states).double()
    with torch.no_grad():
        layer.interactions.copy_(torch.from_numpy(interactions))
        layer.fields.copy_(torch.from_numpy(fit.fields))
    assert_allclose(similarity, np.eye(data.n_states))
    weights = torch.from_numpy(data.normalized_weights)
    batch = masking.batch(np.arange(data.n_sequences), data.sequences, weights, 0)
    logits = layer(batch.context)
    losses = torch.nn.functional.cross_entropy(
        logits.permute(0, 2, 1), batch.targets.long(), reduction="none"
    )
    counted = (batch.weights[:, None] * batch.predicted).double()
    total = data.length * (counted * losses).sum() / counted.sum()
    total = total + penalty.couplings_l2 * layer.penalty()
    total = total + penalty.fields_l2 * (layer.fields**2).sum()
    total.backward()
    return total.item(), layer.interactions.grad.numpy()


@pytest.mark.parametrize("options", [{"mask_fraction": 0.3, "masks": 2}, {"masks": 3}])
def test_static_masks_have_an_optimum_of_their_own(options, data):
    seed = 5
    fit = train_masked(
        data, **as_training(ridge=0.5, mask_mode="static", optimizer="lbfgs", rng=seed, **options)
    )
    assert fit.converged
    assert fit.optimality_gap < 1e-8
    of_masks = int(np.random.default_rng(seed).integers(2**63))
    masking = BoundMasking(
        **options,
        mask_mode="static",
        length=data.length,
        n_states=data.n_states,
        seed=of_masks,
    )
    assert_allclose(fit.penalty.couplings_l2, 0.5 / (2 * data.alpha * masking.distinct_share))
    value, gradient = masked_objective(fit, data, masking, fit.penalty)
    assert np.abs(gradient).max() < 1e-6
    assert_allclose(np.sqrt((gradient**2).sum(axis=(0, 2))).max(), fit.gradient_norm, atol=1e-6)
    l2 = fit.penalty.couplings_l2
    plain = fit_pseudolikelihood(
        data, "factored", penalty=Penalty(l2), solver=Solver(gap_tolerance=1e-12)
    )
    higher, elsewhere = masked_objective(plain, data, masking, fit.penalty)
    assert higher > value + 1e-3
    assert np.abs(elsewhere).max() > 1e-3
    assert fit.train_loss > plain.train_loss


@pytest.mark.parametrize("options", [{}, {"mask_fraction": 0.3, "batch_size": 100}])
def test_parts_of_a_batch_add_up_to_it(options, data):
    shared = {"ridge": 0.5, "precision": "double", "max_steps": 60, "rng": 0, **options}
    shared["optimizer"] = "adam"
    with pytest.warns(ConvergenceWarning):
        whole, parts = (train_masked(data, **as_training(accumulate=n, **shared)) for n in (1, 3))
    assert_allclose(parts.couplings.factors()[0], whole.couplings.factors()[0], atol=1e-8)
    assert_allclose(parts.history.masked_loss, whole.history.masked_loss, rtol=1e-8)
    assert parts.n_evaluations == whole.n_evaluations


def test_schedules():
    averaged = FullRecipe(learning_rate=0.4, max_steps=500)
    assert [averaged.rate(step) for step in (0, 50, 99)] == [0.4, 0.4, 0.4]
    assert_allclose([averaged.rate(399), averaged.rate(9999)], [0.2, 0.04])
    longer = FullRecipe(learning_rate=0.4, max_steps=10_000)
    assert averaged.rate(300) == longer.rate(300)
    cosine = FullRecipe(max_steps=100, learning_rate=0.4, schedule="cosine")
    assert cosine.rate(0) == 0.4
    assert_allclose(cosine.rate(50), 0.2)
    assert_allclose(cosine.rate(75), 0.2 * (1.0 - math.sqrt(0.5)))
    assert 0.0 < cosine.rate(99) < 1e-3
    warm = FullRecipe(max_steps=110, learning_rate=0.4, warmup_steps=10, schedule="cosine")
    assert [warm.rate(step) for step in (0, 4, 9, 10)] == [0.04, 0.2, 0.4, 0.4]
    assert_allclose(warm.rate(60), 0.2)


def test_the_first_step_of_adam_is_the_rate_of_that_step(data):
    """Adam's first step is the learning rate in every parameter, whatever the gradient."""
    for options, rate in [
        ({"optimizer": "adam"}, 0.1),
        ({"warmup_steps": 4}, 0.025),
        ({"learning_rate": 0.3}, 0.3),
    ]:
        with pytest.warns(ConvergenceWarning):
            fit = train_masked(data, **as_training(ridge=0.5, max_steps=1, **options))
        off_diagonal = ~np.eye(data.length, dtype=bool)
        assert_allclose(np.abs(fit.couplings.factors()[0][0][off_diagonal]), rate, rtol=1e-3)


def overfitting(data):
    """Few sequences for training, the others held out, and no penalty."""
    train = dataclasses.replace(data.take(slice(0, 40)), weights=None)
    held_out = dataclasses.replace(data.take(slice(40, 300)), weights=None)
    options = {"ridge": 0.0, "fields_l2": 0.0, "validation": held_out, "rng": 0, "max_steps": 400}
    options["optimizer"] = "adam"
    return train, held_out, options


@pytest.mark.parametrize("precision", ["single", "double"])
def test_early_stopping_returns_the_least_held_out_loss(precision, data):
    train, held_out, options = overfitting(data)
    fit = train_masked(train, **as_training(stop_early=True, precision=precision, **options))
    assert fit.converged
    best = int(np.argmin(fit.history.validation_loss))
    assert 0 < best < len(fit.history.epochs) - 1
    step = int(fit.history.epochs[best])
    assert f"the held-out loss was least at step {step}, " in fit.message
    assert fit.n_evaluations > max(2 * step, step + 50)  # the steps have doubled since
    assert fit.n_evaluations < 400
    losses = -np.take_along_axis(
        fit.log_conditionals(held_out.sequences), held_out.sequences[:, :, None].astype(int), 2
    )
    assert_allclose(losses.mean(), fit.history.validation_loss[best], rtol=1e-5)
    assert_allclose(fit.train_loss, fit.history.train_loss[best], rtol=1e-5)
    with pytest.warns(ConvergenceWarning, match="without a penalty"):
        to_the_end = train_masked(train, **as_training(**options))
    assert to_the_end.history.validation_loss[-1] > fit.history.validation_loss[best] + 0.05


def test_early_stopping_judges_the_step_that_it_returns(data):
    """L-BFGS comes to rest within its patience; the gradient at the best step is not zero."""
    train, held_out, options = overfitting(data)
    options |= {"ridge": 0.1, "fields_l2": 0.1, "max_steps": 1000, "optimizer": "lbfgs"}
    fit = train_masked(train, **as_training(stop_early=True, precision="double", **options))
    assert fit.converged
    assert "the held-out loss was least at step" in fit.message
    best = fit.history.validation_loss.min()
    assert best < fit.history.validation_loss[-1]
    assert_allclose(compare({"fit": fit}, held_out).fits[0].test_loss, best, rtol=1e-12)
    assert fit.optimality_gap > 1e-6


def test_a_held_out_loss_that_never_fell_is_no_success(data):
    """Nothing was learned: the parameters are those of the start."""
    train, _, options = overfitting(data)
    with pytest.warns(ConvergenceWarning, match="did not fall below that of the start, 1.0986"):
        fit = train_masked(train, **as_training(stop_early=True, learning_rate=1e4, **options))
    assert not fit.converged
    assert not fit.couplings.factors()[0].any()


def test_a_transformer_stops_early_on_data_of_its_own(data):
    data = dataclasses.replace(data, weights=None)
    options = {"rng": 3, "max_steps": 3000, "learning_rate": 0.01, "batch_size": 64}
    fit = train_masked(data, transformer(data), **as_training(**options))
    assert fit.converged
    assert "the held-out loss was least at step" in fit.message
    n_held_out = data.n_sequences // 10
    assert fit.config["n_held_out"] == n_held_out
    assert fit.n_sequences == data.n_sequences - n_held_out
    kept, held_out = split(data, 0.1, rng=int(np.random.default_rng(3).integers(2**63)))
    losses = sequence_losses(fit, held_out)
    assert_allclose(losses.mean(), np.nanmin(fit.history.validation_loss), rtol=1e-5)
    assert sequence_losses(fit, kept).mean() < losses.mean()
    # All of them were looked at: none of them is a test sequence.
    assert compare({"fit": fit}, held_out).fits[0].test_overlap == 1.0
    few = data.take(slice(0, 99))
    with pytest.warns(ConvergenceWarning):
        fit = train_masked(few, transformer(few), **as_training(rng=0, max_steps=60))
    assert (fit.config["stop_early"], fit.config["n_held_out"]) == (False, 0)


def test_early_stopping_waits_on_the_plateau_of_independent_sites(data):
    """Columns without correlations: the held-out loss falls to that of independent sites."""
    alone = uncorrelated_columns(data, np.random.default_rng(0))
    with pytest.warns(ConvergenceWarning, match="too few to judge|not below the"):
        fit = train_masked(
            alone, transformer(data), **as_training(rng=0, max_steps=300, batch_size=64)
        )
    assert not fit.converged


def test_early_stopping_that_finds_no_rise_goes_to_the_end(data):
    options = {"learning_rate": 0.003, "max_steps": 100, "rng": 0}
    with pytest.warns(ConvergenceWarning, match="raise max_steps"):
        fit = train_masked(data, **as_training(validation=data, stop_early=True, **options))
    assert fit.n_evaluations == 100
    assert_allclose(fit.history.validation_loss[-1], fit.train_loss, rtol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-10), ("bfloat16", 1e-2)])
def test_precisions(precision, tolerance, data):
    shared = {"ridge": 0.5, "rng": 0, "max_steps": 300, "optimizer": "adam"}
    single = train_masked(data, **as_training(**shared))
    other = train_masked(data, **as_training(precision=precision, **shared))
    assert other.config["precision"] == precision
    distance = abs(other.train_loss - single.train_loss)
    assert 0.0 < distance < max(tolerance, 1e-5)


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_a_file_is_trained_on_as_memory_is(data, tmp_path):
    data.save(tmp_path / "data.h5")
    shared = {"ridge": 0.5, "rng": 0}
    with SequenceFile(tmp_path / "data.h5", cache_bytes=0) as file:
        with pytest.raises(InputError, match="data that stream needs held-out data: give validat"):
            train_masked(file, recipe=Recipe(stop_early=True))
        for options in ({"optimizer": "lbfgs"}, {"mask_fraction": 0.3, "mask_mode": "static",
                        "masks": 2, "optimizer": "lbfgs"}):  # fmt: skip
            expected = train_masked(data, **as_training(**shared, **options))
            found = train_masked(file, **as_training(**shared, **options))
            assert found.converged
            assert_allclose(
                found.couplings.factors()[0], expected.couplings.factors()[0], atol=1e-6
            )
            assert_allclose(found.objective, expected.objective, rtol=1e-12)
        assert (found.n_sequences, found.effective_size, found.ridge) == (
            expected.n_sequences, expected.effective_size, expected.ridge,
        )  # fmt: skip
        streamed = train_masked(
            file, **as_training(batch_size=100, masks=5, max_steps=600, **shared)
        )
        solved = fit_pseudolikelihood(data, "factored", ridge=0.5)
        assert 0.0 < (streamed.objective - solved.objective) / data.length < 3e-4
        both = train_masked(file, recipe=Recipe(max_steps=5), validation=file, rng=0)
        assert_allclose(both.history.validation_loss, both.history.train_loss, rtol=1e-6)


def transformer(data, **options):
    generator = torch.Generator().manual_seed(1)
    return MaskedTransformer(
        data.length, data.n_states, **{"width": 16, "n_heads": 2, "generator": generator, **options}
    )


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_fraction": 0.2, "hidden_as": "bert"},
        {"precision": "bfloat16"},
        {"optimizer": "lbfgs", "masks": 10, "max_steps": 30},
        {"variant": "positional", "weight_decay": 0.01},
        {"variant": "linear", "masks": 3, "mask_mode": "static"},
    ],
)
def test_a_transformer_learns(options, data, tmp_path):
    options = {"max_steps": 150, "batch_size": 64, "stop_early": False, **options}
    if "optimizer" not in options:
        options["learning_rate"] = 0.01
    network = transformer(data, variant=options.pop("variant", "vanilla"))
    fit = train_masked(data, network, **as_training(rng=0, **options))
    history = fit.history
    assert history.train_loss[-1] < np.log(3) - 0.02
    assert_allclose(fit.train_loss, history.train_loss[-1], rtol=1e-5)
    assert fit.method == "transformer"
    assert fit.n_parameters == network.n_parameters
    fit.save(tmp_path / "fit.h5")
    loaded = pottsattn.load(tmp_path / "fit.h5")
    assert isinstance(loaded, NetworkFit)
    assert loaded.to_dict() == pytest.approx(fit.to_dict(), nan_ok=True)
    assert loaded.config == fit.config
    assert np.array_equal(loaded.history.train_loss, history.train_loss, equal_nan=True)
    conditionals = loaded.log_conditionals(data.sequences)
    assert np.array_equal(conditionals, fit.log_conditionals(data.sequences))
    assert_allclose(np.exp(conditionals).sum(axis=2), 1.0, rtol=1e-12)
    sequences = torch.from_numpy(data.sequences)
    losses = masked_losses(network, sequences).detach().double().numpy()
    assert_allclose(data.normalized_weights @ losses.mean(axis=1), fit.train_loss, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_compare_takes_a_transformer(data):
    fits = {
        "transformer": train_masked(
            data, transformer(data), recipe=Recipe(max_steps=3, stop_early=False), rng=0
        ),
        "factored": fit_pseudolikelihood(data, "factored"),
    }
    rows = compare(fits, data).fits
    assert math.isnan(rows[0].coupling_error)
    assert math.isnan(rows[0].pearson)
    assert_allclose(rows[0].test_loss, rows[0].train_loss, rtol=1e-5)
    assert math.isfinite(rows[1].coupling_error)
    with pytest.raises(InputError, match=r"\(length, n_states\) = \(10, 3\), the test data"):
        compare(fits, SequenceDataset(data.sequences[:, :8], 3))
    with pytest.raises(InputError, match="sequences have length 8, the fit 10"):
        fits["transformer"].log_conditionals(data.sequences[:, :8])


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 5, 3), {}),
        ((1, 5, 3), {"masks": 1, "batch_size": 1}),
        ((20, 2, 2), {"masks": 1, "batch_size": 1}),
        ((20, 2, 2), {"optimizer": "lbfgs", "batch_size": 3}),
        ((20, 2, 2), {"mask_fraction": 0.999}),
        ((7, 4, 256), {"masks": 2, "n_heads": 2, "color_similarity": "learned"}),
        ((7, 4, 255), {"mask_fraction": 0.2, "masks": 9, "batch_size": 2}),
        ((7, 4, 3), {"accumulate": 100}),
        ((7, 4, 3), {"warmup_steps": 100}),
        ((7, 4, 3), {"mask_fraction": 0.05, "batch_size": 1}),  # most patterns hide nothing
        ((7, 4, 3), {"mask_fraction": 0.05, "mask_mode": "static", "masks": 2, "batch_size": 1}),
    ],
)
def test_odd_sizes(shape, options, rng):
    n_sequences, length, n_states = shape
    sequences = rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8)
    weights = np.ones(n_sequences)
    weights[1:3] = 0.0
    tiny = SequenceDataset(sequences, n_states, weights=weights)
    for network in (None, transformer(tiny)):
        more = {} if network is None else {"masks": options.get("masks", 1)}
        if network is not None and options.get("optimizer") == "lbfgs":
            more = {"masks": length}
        kept = {name: options[name] for name in options if network is None or name not in
                ("n_heads", "color_similarity")}  # fmt: skip
        fit = train_masked(
            tiny, **{"layer": network} | as_training(rng=0, max_steps=8, **{**kept, **more})
        )
        assert 0.0 < fit.train_loss < 3.0 * np.log(n_states)
        assert np.isfinite(fit.log_conditionals(sequences)).all()


def test_random_masks_reach_it_too(data):
    trained = train_masked(
        data, ridge=0.5, masking=Masking(masks=5), recipe=Recipe(max_steps=800), rng=0
    )
    solved = fit_pseudolikelihood(data, "factored", ridge=0.5)
    assert 0.0 < (trained.objective - solved.objective) / data.length < 2e-4


def test_a_seed_gives_the_same_bits(data):
    options = {"ridge": 0.5, "masks": 2, "max_steps": 20, "n_heads": 2}
    options["color_similarity"] = "learned"
    with pytest.warns(ConvergenceWarning):
        fits = [train_masked(data, **as_training(rng=seed, **options)) for seed in (3, 3, 4)]
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

    fit = train_masked(data, ridge=0.5, recipe=Recipe(max_steps=100), progress=stop)
    assert not fit.converged
    assert fit.message.startswith("interrupted at step 7 of 100")
    assert fit.couplings.factors()[0].any()


def test_too_few_steps_are_said(data):
    with pytest.warns(ConvergenceWarning, match=r"raise max_steps"):
        fit = train_masked(data, ridge=0.1, recipe=Recipe(max_steps=60, learning_rate=0.001))
    assert not fit.converged
    with pytest.warns(ConvergenceWarning, match=r"3 steps are too few to judge"):
        train_masked(data, ridge=1e30, recipe=Recipe("adam", 3))


def test_a_stilled_training_is_not_taken_for_converged(data):
    """A tiny learning rate changes nothing; the bound of convexity tells."""
    with pytest.warns(ConvergenceWarning, match="nats per site above the minimum, expected"):
        fit = train_masked(data, ridge=0.1, recipe=Recipe(max_steps=100, learning_rate=1e-8))
    assert not fit.converged
    with pytest.warns(ConvergenceWarning):
        assert (
            train_masked(
                data, ridge=0.1, masking=Masking(masks=1), recipe=Recipe(max_steps=100)
            ).optimality_gap
            > 1e-4
        )


def test_final_numbers_do_not_depend_on_chunks(data, monkeypatch):
    whole = train_masked(data, ridge=0.5, rng=0)
    monkeypatch.setattr("pottsattn.fitting.masked.evaluation.EVALUATION_BATCH", 64)
    parts = train_masked(data, ridge=0.5, rng=0)
    assert_allclose(parts.objective, whole.objective, rtol=1e-5)
    assert_allclose(parts.train_loss, whole.train_loss, rtol=1e-5)
    assert parts.gradient_norm < 10 * whole.gradient_norm + 1e-5


def test_history_records_test_loss_and_objective(data):
    fit = train_masked(data, ridge=0.5, recipe=Recipe("adam", 200), validation=data)
    history = fit.history
    assert_allclose(history.objective[-1] * data.length, fit.objective, rtol=1e-5)
    assert_allclose(history.train_loss[-1], fit.train_loss, rtol=1e-5)
    assert_allclose(history.train_loss[0], np.log(3), rtol=1e-6)
    assert history.epochs[0] == 0
    assert history.epochs[-1] == 200
    assert np.isfinite(history.validation_loss).all()


def test_learned_color_similarity_is_found():
    """A generalized teacher: U is recovered up to scale, sign and gauge."""
    model = generalized(8, 4, 2.0, rng=3)
    drawn = sample(model, 2000, rng=4).dataset
    fit = train_masked(
        drawn,
        AttentionConfig(color_similarity="learned"),
        ridge=0.1,
        recipe=Recipe(max_steps=600),
        rng=0,
    )
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
        ({"layer": MaskedTransformer(9, 3)}, "the layer is for"),
        ({"layer": MaskedTransformer(10, 3), "ridge": 0.1}, "a transformer has no couplings to"),
        ({"weight_decay": 0.1}, "weight_decay is for a transformer"),
        ({"mask_fraction": 1e-12}, "a mask_fraction of 1e-12 hides no site of these data in 20000"),
        ({"mask_fraction": 1e-320}, "hides no site of these data"),
        ({"mask_fraction": 1e-12, "mask_mode": "static"}, "hides no site of these data"),
        ({"optimizer": "lbfgs", "masks": 3}, "needs an objective that stays the same"),
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "learning_rate is for the optimizer adam"),
        ({"optimizer": "adam", "precision": "mixed"}, "precision mixed is for the optimizer lbfgs"),
        ({"learning_rate": 1e300}, r"learning_rate must be at most 1e\+06, got 1e\+300"),
        ({"optimizer": "newton"}, "optimizer must be one of adam, lbfgs"),
        ({"schedule": "linear"}, "schedule must be one of averaged, cosine"),
        ({"precision": "float32"}, "precision must be one of single, double, mixed, bfloat16"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0"),
        ({"checkpoint": "fit.h5"}, "a checkpoint needs a seed"),
        ({"validation": SequenceDataset(np.zeros((2, 9), int), 3)}, r"= \(9, 3\), the training"),
    ],
)
def test_wrong_options_are_named(options, message, data):
    with pytest.raises(InputError, match=message):
        train_masked(data, **as_training(**options))


def test_an_array_is_no_data_set(data):
    with pytest.raises(TypeError, match=r"wrap an array: SequenceDataset\(array, n_states\)"):
        train_masked(data.sequences)


def test_cuda_is_refused_where_there_is_none(data):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device"):
        train_masked(data, device="cuda")
