"""Contact figures: every pair and rank that they are given, in its place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.analysis.contacts import ContactRanking
from pottsattn.figures.contacts import figure_heads, plot_contact_map, plot_precision
from pottsattn.model.couplings import Couplings

KNOWN = {(1, 7): 3.0, (2, 9): 12.0, (4, 5): 4.0}


@pytest.fixture
def ranking() -> ContactRanking:
    first, second = np.array([1, 2, 3, 1]), np.array([7, 9, 10, 10])
    score = np.array([4.0, 3.0, 2.0, 1.0])
    return ContactRanking(first, second, score, score, 10)


def test_predictions_lie_above_the_diagonal_and_contacts_below(ranking):
    ax = plot_contact_map(ranking, KNOWN, n_pairs=3)
    drawn = {points.get_label(): points.get_offsets().tolist() for points in ax.collections}
    assert drawn == {
        "measured, below 8": [[7, 1], [5, 4]],
        "predicted, a contact": [[1, 7]],
        "predicted, no contact": [[2, 9]],
        "predicted, distance unknown": [[3, 10]],
    }


def test_precision_by_rank_with_its_error(ranking):
    precision = ranking.precision(KNOWN)
    errors = {"b": np.array([0.0, 0.25])}
    ax = plot_precision({"a": precision, "b": precision}, length=10, errors=errors)
    lines = {line.get_label(): line for line in ax.lines}
    assert_allclose(lines["a"].get_ydata(), [1.0, 0.5])
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 1.0
    assert band.get_paths()[0].vertices[:, 1].min() == 0.25


def test_heads_are_drawn_by_strength_with_their_share():
    interactions = np.zeros((3, 4, 4))
    interactions[0, 0, 1], interactions[1, 2, 3], interactions[2, 3, 0] = 1.0, -3.0, 2.0
    similarity = np.repeat((np.eye(3) - 1 / 3)[None], 3, axis=0)
    axes = figure_heads(Couplings(interactions, similarity), [1, 2, 3, 4], most=2)
    assert [ax.get_title() for ax in axes] == ["head 2: 64.3 %", "head 3: 28.6 %"]
    assert_allclose(axes[0].images[0].get_array()[2, 3], 3.0 * np.sqrt(2.0))
    with pytest.raises(InputError, match="no heads to draw"):
        figure_heads(Couplings(dense=np.zeros((4, 4, 3, 3))), [1, 2, 3, 4])
