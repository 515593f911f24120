"""Masked modeling beside pseudo-likelihood: the identity, planted faults, the optima, masks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pottsattn._core.storage import to_json
from pottsattn._core.validate import ConvergenceWarning, InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.figures.bridge import plot_bridge
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.fit import DEFAULTS
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.exact import enumerate_states
from pottsattn.studies.bridge.identity import check_identity, draw_layers
from pottsattn.studies.bridge.run import bridge

LENGTH, N_STATES = 5, 3


@pytest.fixture(scope="module")
def dataset():
    """A thousand independent sequences of a known model."""
    model = sk_potts(LENGTH, N_STATES, 1.5, rng=3)
    every = enumerate_states(model)
    chosen = np.random.default_rng(4).choice(len(every.states), 1000, p=every.probabilities)
    return SequenceDataset(every.states[chosen], N_STATES, model=model)


@pytest.fixture(scope="module")
def result(dataset):
    return bridge(dataset, mask_fractions=(0.9, 0.3), rng=0, n_threads=1)


@pytest.fixture(scope="module")
def weighted(dataset):
    weights = np.random.default_rng(5).random(40)
    return SequenceDataset(dataset.sequences[:40], N_STATES, weights=weights)


class SeesItself(FactoredAttention):
    """Site i attends to itself, and its embedding is not hidden."""

    def attention_weights(self):
        return self.interactions

    def forward(self, sequences, mask=None):
        return super().forward(sequences)


class ForgetsPartOfTheGradient(FactoredAttention):
    """The loss is right; nothing flows back into the first site's row."""

    def attention_weights(self):
        weights = super().attention_weights()
        return torch.cat([weights[:, :1].detach(), weights[:, 1:]], dim=1)


@pytest.mark.parametrize("n_heads", [1, 2])
def test_masked_loss_and_pseudolikelihood_are_one_function(weighted, n_heads):
    layers = draw_layers(LENGTH, N_STATES, n_heads, np.random.default_rng(0))
    checks = [check_identity(name, layer, weighted) for name, layer in layers.items()]
    assert len(checks) >= 4
    assert checks[-1].masked_loss > checks[0].masked_loss + 0.5  # points that are far apart
    assert max(check.loss_difference for check in checks) < 1e-13
    assert max(check.gradient_difference for check in checks) < 1e-13


@pytest.mark.parametrize("fault", [SeesItself, ForgetsPartOfTheGradient])
def test_a_planted_fault_breaks_the_identity(weighted, fault):
    whole = list(draw_layers(LENGTH, N_STATES, 1, np.random.default_rng(0)).values())[2]
    layer = fault(LENGTH, N_STATES, color_similarity="learned").double()
    layer.load_state_dict(whole.state_dict())
    check = check_identity("fault", layer, weighted)
    assert check.gradient_difference > 1e-2
    assert (check.loss_difference > 1e-4) == (fault is SeesItself)


def test_both_optima_are_the_same_one(result, dataset):
    assert result.converged
    assert [fit.name for fit in result.fits] == ["pseudo-likelihood", "full batch", "mini-batch"]
    assert all(criterion.met for criterion in result.criteria())
    full, mini = result.fits[1:]
    assert abs(full.held_out_difference) < 1e-6
    assert abs(mini.held_out_difference) < 1e-3
    assert (full.distance, mini.distance) < (1e-4, 0.05)
    assert_allclose(full.objective, result.fits[0].objective, rtol=0, atol=1e-9)
    assert mini.objective >= result.fits[0].objective
    assert_allclose(full.coupling_error, result.fits[0].coupling_error, rtol=1e-3)
    assert 0.0 < result.fits[0].coupling_error < 0.5
    assert result.bayes_loss < result.fits[0].held_out_loss
    assert_allclose(*result.pairs, atol=1e-4)
    assert len(result.pairs[0]) == LENGTH * (LENGTH - 1)


def test_more_than_one_site_is_another_optimum(result):
    found = {(fit.mode, fit.fraction): fit for fit in result.masked}
    assert list(found) == [("fresh", 0.3), ("fresh", 0.9), ("static", 0.3), ("static", 0.9)]
    some, most = found["fresh", 0.3], found["fresh", 0.9]
    assert 10 * result.fits[2].distance < some.distance < most.distance
    assert some.masked_loss_at_optimum < most.masked_loss_at_optimum < np.log(N_STATES) + 0.1
    assert result.fits[0].held_out_loss < some.masked_loss_at_optimum
    assert most.masked_loss < most.masked_loss_at_optimum  # trained for it
    for fit in result.masked:
        assert_allclose(
            fit.held_out_loss - result.fits[0].held_out_loss, fit.held_out_difference, atol=1e-12
        )
        assert 0.0 < fit.difference_error < 0.1
        assert fit.slope < 1.2
        assert 0.0 < fit.correlation < 1.0


def test_a_criterion_that_is_missed_is_said(result):
    apart = replace(result.fits[1], held_out_difference=-2e-6, correlation=0.9)
    other = replace(result, fits=(result.fits[0], apart))
    assert [criterion.met for criterion in other.criteria()] == [True, True, False, False]
    assert "Not the same optimum" in str(other)
    assert "full batch: held-out losses differ" in other.conclusions()[1]
    assert "Not the same optimum" not in str(result)
    wrong = replace(result.identity[0], gradient_difference=1e-6)
    assert "NOT equal" in str(replace(result, identity=(wrong,)))
    assert not replace(result, interrupted=True).converged
    late = replace(result.masked[0], converged=False)
    assert "  NOT converged" in str(replace(result, masked=(late,)))


def test_learned_color_similarity_starts_both_at_one_point(dataset):
    found = bridge(
        dataset.take(slice(0, 400)),
        color_similarity="learned",
        fields="none",
        ridge=0.5,
        mask_fractions=(),
        rng=1,
        n_threads=1,
    )
    assert found.masked == ()
    assert abs(found.fits[1].held_out_difference) < 1e-4
    assert found.fits[1].correlation > 0.999
    assert "stationary point" in str(found)


def test_numbers_leave_in_every_form(result, tmp_path):
    report = json.loads(to_json(result.to_dict()))
    assert report["converged"] is True
    assert [check["gradient_difference"] < 1e-12 for check in report["identity"]] == [True] * 4
    assert (report["ridge"], report["n_used"], report["n_train"]) == (0.2, 1000, 800)
    result.to_csv(tmp_path / "bridge.csv")
    with open(tmp_path / "bridge.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["part"] for row in rows] == ["optimum"] * 3 + ["masked"] * 4
    assert float(rows[3]["slope"]) == result.masked[0].slope
    assert rows[0]["slope"] == ""
    assert "6 of 6 criteria met" in repr(result)
    assert result._repr_html_().startswith("<pre>")
    axes = plot_bridge(result)
    assert len(axes) == 4
    with pytest.raises(InputError, match="four axes"):
        plot_bridge(result, axes[:2])


def test_the_same_seed_gives_the_same_numbers_of_no_more_sequences_than_wanted(dataset):
    options = {"mask_fractions": (), "max_sequences": 100, "n_threads": 1}
    first, second = (bridge(dataset, rng=2, **options) for _ in range(2))
    assert (first.settings["n_given"], first.settings["n_used"]) == (1000, 100)
    assert "a random 100 of 1000 sequences" in str(first)
    assert [fit.held_out_loss for fit in first.fits] == [fit.held_out_loss for fit in second.fits]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fractions": (0.5, 1.0)}, "mask_fraction must be below 1"),
        ({"mask_fractions": (0.0,)}, "mask_fraction"),
        ({"n_heads": 2}, "use 'learned'"),
        ({"fields": "free"}, "fields"),
        ({"held_out": 1.0}, "below 1"),
        ({"max_sequences": 1}, "max_sequences"),
        ({"ridge": -1.0}, "ridge"),
    ],
)
def test_wrong_options_are_said_at_once(dataset, options, message):
    with pytest.raises(InputError, match=message):
        bridge(dataset, **options)


def test_a_training_cut_short_is_not_called_converged(dataset, monkeypatch):
    monkeypatch.setitem(DEFAULTS["attention"], "max_steps", 2)
    with pytest.warns(ConvergenceWarning, match="not converged: mini-batch"):
        found = bridge(dataset, mask_fractions=(), rng=0, n_threads=1)
    assert not found.converged
