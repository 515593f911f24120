"""Nothing is called converged that is not: optima at infinity, trainings that never moved."""

from __future__ import annotations

import re
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from pottsattn import ConvergenceWarning, SequenceDataset, train_masked
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.penalty import Penalty
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.sampler import sample
from pottsattn.training.recipe import Recipe

FREE = Penalty(0.0, 0.0)
STILL = Recipe("adam", max_steps=200, learning_rate=1e-8)


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    return sample(sk_potts(8, 3, 1.0, rng=0), 400, rng=1).dataset


@pytest.fixture(scope="module")
def separable() -> SequenceDataset:
    """Site 0 is always the color of site 1."""
    sequences = np.random.default_rng(0).integers(3, size=(300, 5), dtype=np.uint8)
    sequences[:, 0] = sequences[:, 1]
    return SequenceDataset(sequences, 3)


@pytest.mark.parametrize("recipe", [None, Recipe("lbfgs", 400), Recipe("adam", 400)], ids=str)
@pytest.mark.parametrize("fields", ["none", "learned"])
def test_an_optimum_at_infinity_is_named(separable, recipe, fields):
    layer = AttentionConfig(fields=fields)
    with pytest.warns(ConvergenceWarning, match="separable at site [01] .* at infinity; give a"):
        fit = train_masked(separable, layer, penalty=FREE, recipe=recipe, rng=0)
    assert not fit.converged


@pytest.mark.parametrize("attention", ["free", "softmax"])
def test_a_state_that_never_occurs_is_named(data, attention):
    never = SequenceDataset(data.sequences, 4)
    layer = AttentionConfig(attention=attention)
    with pytest.warns(ConvergenceWarning, match="state 3 never occurs at site 0 and fields_l2"):
        fit = train_masked(never, layer, penalty=Penalty(0.01, 0.0), rng=0)
    assert not fit.converged
    kept = train_masked(
        never, layer, penalty=Penalty(0.01, 0.01), recipe=Recipe("lbfgs", 500), rng=0
    )
    assert kept.converged


@pytest.mark.parametrize("masking", [Masking(1, None, "static"), Masking(1, 0.4, "static")])
def test_masks_that_are_kept_may_leave_no_optimum(data, masking):
    few = SequenceDataset(data.sequences[:3], 3)
    with pytest.warns(ConvergenceWarning, match="separable at site . .* at infinity; give a"):
        train_masked(few, masking=masking, penalty=Penalty(0.0, 0.1), rng=0)
    with pytest.warns(ConvergenceWarning, match="never occurs at site . and fields_l2 is 0"):
        train_masked(few, masking=masking, penalty=Penalty(0.1, 0.0), rng=0)
    assert train_masked(few, masking=masking, penalty=Penalty(0.1, 0.1), rng=0).converged


def test_heads_of_one_sign_that_cancel_are_named(data):
    """Softmax attention of several heads acts like either sign only at infinity."""
    config = AttentionConfig(3, "softmax", color_similarity="learned")
    with pytest.warns(ConvergenceWarning, match=r"heads, \d+ times as large .* at infinity; use"):
        fit = train_masked(data, config, recipe=Recipe(max_steps=400), rng=0)
    rows, similarity = fit.couplings.factors()
    heads = np.einsum("hij,hab->hijab", rows, similarity)
    ratio = np.sqrt((heads**2).sum() / (heads.sum(axis=0) ** 2).sum())
    said = re.search(r"heads, (\d+) times", fit.message)
    assert said is not None
    assert float(said.group(1)) == pytest.approx(ratio, rel=0.02)
    config = AttentionConfig(3, color_similarity="learned")  # of either sign
    with pytest.warns(ConvergenceWarning, match="not converged in 3 steps") as caught:
        train_masked(data, config, recipe=Recipe(max_steps=3), rng=0)
    assert "infinity" not in str(caught[0].message)


def test_without_a_bound_adam_proves_nothing(data):
    with pytest.warns(ConvergenceWarning, match="nothing bounds the distance .*; use the optim"):
        train_masked(data, penalty=FREE, recipe=Recipe("adam", 400), rng=0)
    assert train_masked(data, penalty=FREE, recipe=Recipe("lbfgs", 400), rng=0).converged


def test_a_training_that_never_moved_has_not_converged(data):
    three = AttentionConfig(3, color_similarity="learned")
    with pytest.warns(ConvergenceWarning, match="but it is that of the start; raise learning_rate"):
        train_masked(data, three, ridge=0.2, recipe=STILL, rng=0)
    with pytest.warns(ConvergenceWarning, match="above the minimum, expected 1e-02"):
        train_masked(data, ridge=0.2, recipe=STILL, rng=0)
    network = MaskedTransformer(8, 3, width=8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(ConvergenceWarning, match="is not below the 1.09.* of independent sites"):
        train_masked(data, network, recipe=STILL, rng=0)


@pytest.mark.parametrize("masking", [Masking(masks=2), Masking(mask_fraction=0.4)], ids=str)
def test_random_masks_end_by_themselves_near_the_optimum(data, masking):
    """Far below their bound of steps, whichever it is; what is told of the distance holds."""
    recipe = Recipe("adam", batch_size=200)
    fit = train_masked(data, ridge=2.0, masking=masking, recipe=recipe, rng=0)
    assert fit.converged
    assert fit.n_evaluations < 10_000
    assert re.match(r"twice the \d+ steps would gain about", fit.message)
    same = train_masked(
        data, ridge=2.0, masking=masking, recipe=replace(recipe, max_steps=15_000), rng=0
    )
    assert same.objective == fit.objective
    longer = replace(recipe, max_steps=2 * fit.n_evaluations, learning_rate=0.05)
    with mock.patch("pottsattn.fitting.masked.averaging.Doubling.is_still", False):
        with pytest.warns(ConvergenceWarning):
            twice = train_masked(data, ridge=2.0, masking=masking, recipe=longer, rng=1)
    # Another seed and rate: the means are of noise that is far below that of the last weights.
    assert abs(twice.objective - fit.objective) / data.length < 5e-5
    assert fit.optimality_gap < 1e-2


def test_a_rate_that_falls_to_zero_is_no_proof(data):
    recipe = Recipe("adam", 300, schedule="cosine")
    two = AttentionConfig(2, color_similarity="learned")
    with pytest.warns(ConvergenceWarning, match="fell to zero over 300 steps, which stills"):
        assert not train_masked(data, two, ridge=0.2, recipe=recipe, rng=0).converged
    assert train_masked(data, ridge=2.0, recipe=recipe, rng=0).converged  # by the bound


@pytest.mark.parametrize("recipe", [Recipe("lbfgs", 400), Recipe("adam", 400)], ids=str)
@pytest.mark.parametrize("n_heads", [1, 2])
def test_an_optimum_at_infinity_is_named_of_a_file(separable, recipe, n_heads, tmp_path):
    separable.save(tmp_path / "data.h5")
    similarity = "identity" if n_heads == 1 else "learned"
    layer = AttentionConfig(n_heads, color_similarity=similarity)
    with SequenceFile(tmp_path / "data.h5") as file:
        with pytest.warns(ConvergenceWarning, match="separable at site [01] .* at infinity"):
            assert not train_masked(file, layer, penalty=FREE, recipe=recipe, rng=0).converged


def test_drawn_masks_without_a_penalty_prove_nothing(data):
    """Slow enough steps gain nothing; nothing tells whether couplings would grow for ever."""
    layer = AttentionConfig(2, color_similarity="learned")
    recipe, masking = Recipe("adam", 400), Masking(4, 0.3)
    with mock.patch("pottsattn.fitting.masked.averaging.Doubling.is_still", True):
        with pytest.warns(ConvergenceWarning, match="nothing bounds the distance"):
            train_masked(
                data, layer, penalty=Penalty(0.0, 0.01), masking=masking, recipe=recipe, rng=0
            )
        penalized = train_masked(data, layer, ridge=0.2, masking=masking, recipe=recipe, rng=0)
    assert penalized.converged
