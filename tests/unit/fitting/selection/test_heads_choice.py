"""The number of heads with the least held-out loss."""

from __future__ import annotations

import numpy as np
import pytest
from fit_options import as_solving
from numpy.testing import assert_allclose

from pottsattn import PottsModel, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn.data.resampling import split
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.selection.heads_choice import HELD_OUT, choose_heads
from pottsattn.fitting.selection.refitting import LOOSE_GAP
from pottsattn.model.couplings import Couplings


@pytest.fixture(scope="module")
def drawn() -> SequenceDataset:
    """Two heads, drawn from a model of two; the fit of three has nothing more to find."""
    rng = np.random.default_rng(1)
    interactions = rng.normal(size=(2, 10, 10)) * 0.35
    interactions = np.triu(interactions, 1) + np.triu(interactions, 1).transpose(0, 2, 1)
    similarity = rng.normal(size=(2, 4, 4))
    model = PottsModel(
        np.zeros((10, 4)), Couplings(interactions, similarity + similarity.transpose(0, 2, 1))
    )
    return sample(model, 1200, rng=1).dataset


def test_held_out_loss_finds_the_heads_of_the_model(drawn):
    choice = choose_heads(drawn, rng=0, n_threads=1)
    assert (choice.n_heads, choice.is_inside) == (2, True)
    assert choice.heads.tolist() == [1, 2, 4]
    assert np.all(np.diff(choice.train_losses) < 0.0)  # by the training loss it would be 4
    differences = np.abs(choice.losses - choice.losses.min())[[0, 2]]
    assert np.all(differences > 2.0 * choice.errors[[0, 2]])
    assert choice.errors[1] == 0.0
    assert choice.fit.couplings.n_heads == 2
    assert choice.fit.n_sequences == drawn.n_sequences
    assert choice.fit.config["heads_path"]["heads"] == [1, 2, 4]
    kept, held_out = split(drawn, HELD_OUT, rng=0)
    options = {"color_similarity": "learned", "gap_tolerance": LOOSE_GAP, "rng": 0}
    one = fit_pseudolikelihood(kept, "factored", **as_solving(n_heads=1, **options))
    assert_allclose(choice.losses[0], sequence_losses(one, held_out).mean(), rtol=1e-6)


def test_the_most_heads_tried_are_not_called_a_minimum(drawn):
    choice = choose_heads(drawn.take(slice(0, 300)), most_heads=1, rng=0)
    assert (choice.n_heads, choice.is_inside) == (1, False)
    assert "the largest number tried" in repr(choice)
