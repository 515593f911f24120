"""Potts models of areas: exact correlations, own-area shares, and a layer that finds the areas."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pottsattn import ConvergenceWarning, InputError, SequenceDataset, sample
from pottsattn.figures.areas import plot_area_map, plot_area_shares
from pottsattn.model import exact
from pottsattn.spatial.areas import random_areas
from pottsattn.spatial.potts_areas import (
    area_correlation,
    area_model,
    ordering_coupling,
    own_area_share,
)
from pottsattn.spatial.potts_training import PottsAreaTraining, train_potts_areas
from pottsattn.training.recipe import Recipe

AREAS = random_areas(21, 9, 3, n_clusters=1, rng=5).labels[0]
COUPLING = 2.0
N_SEQUENCES = 2000


def test_rows_of_equal_interactions_sum_to_the_coupling_inside_areas_only():
    a = area_model(AREAS, COUPLING, 3).couplings.factors()[0][0]
    same = AREAS[:, None] == AREAS
    np.testing.assert_allclose(a.sum(axis=1), COUPLING)
    assert (a[~same] == 0.0).all()
    share = own_area_share(a, AREAS)
    assert share.global_share == share.local_share == 1.0


def test_gaussian_interactions_have_the_variance_of_an_sk_potts_area():
    areas = np.repeat([0, 1], [200, 100])
    a = area_model(areas, 1.5, 3, interactions="gaussian", rng=0).couplings.factors()[0][0]
    assert (a[:200, 200:] == 0.0).all()
    for area, n in ((0, 200), (1, 100)):
        values = a[np.ix_(areas == area, areas == area)][np.triu_indices(n, 1)]
        error = np.sqrt(2.0 / len(values))  # relative, of a variance
        assert values.var() * (n - 1) / 1.5**2 == pytest.approx(1.0, abs=4.0 * error)


@pytest.mark.parametrize(("n_sites", "n_states"), [(2, 2), (5, 3), (6, 4)])
def test_correlation_is_that_of_enumeration(n_sites, n_states):
    model = area_model([0] * n_sites, 1.7, n_states)
    pairs = exact.enumerate_states(model).pair_marginals()[0, 1]
    correlation = (n_states * np.trace(pairs) - 1.0) / (n_states - 1.0)
    assert area_correlation(n_sites, 1.7, n_states) == pytest.approx(correlation, abs=1e-12)


def test_areas_order_at_the_mean_field_threshold():
    for n_states in (3, 5):
        threshold = ordering_coupling(n_states)
        assert area_correlation(500, 0.9 * threshold, n_states) < 0.02
        assert area_correlation(500, 1.1 * threshold, n_states) > 0.3
    assert ordering_coupling(2) == pytest.approx(2.0)
    assert ordering_coupling(3) == pytest.approx(4.0 * np.log(2.0))


def test_equal_weights_are_at_chance_and_signs_and_the_diagonal_do_not_count():
    weights = np.where(np.random.default_rng(0).random((2, 21, 21)) < 0.5, -1.0, 1.0)
    share = own_area_share(weights + 100.0 * np.eye(21), AREAS)
    assert share.global_share == pytest.approx(share.global_chance) == pytest.approx(8 / 20)
    assert share.local_share == pytest.approx(share.local_chance) == pytest.approx(2 / 20)


def test_a_row_of_zeros_has_no_share():
    weights = np.ones((21, 21))
    weights[np.flatnonzero(AREAS == 0)[0]] = 0.0
    share = own_area_share(weights, AREAS)
    assert np.isnan(share.global_share)
    assert share.local_share == pytest.approx(2 / 20)


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        ([0, 0, 1], "one site"),
        ([-1, -1, 0, 0], "numbered from 0"),
        ([[0, 0]], "1-d array"),
        ([0.0, 0.0], "integers"),
    ],
)
def test_wrong_areas_are_refused(areas, words):
    with pytest.raises(InputError, match=words):
        area_model(areas, 1.0, 3)


@pytest.fixture(scope="module")
def dataset() -> SequenceDataset:
    return sample(area_model(AREAS, COUPLING, 3), N_SEQUENCES, rng=1, n_threads=1).dataset


@pytest.fixture(scope="module", params=["free", "softmax"])
def training(request, dataset) -> PottsAreaTraining:
    similarity = "identity" if request.param == "free" else COUPLING * np.eye(3)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return train_potts_areas(
            dataset,
            AREAS,
            attention=request.param,
            color_similarity=similarity,
            recipe=Recipe(max_steps=60),
            rng=2,
            n_threads=1,
        )


def test_training_finds_the_areas_and_not_those_of_other_partitions(training):
    rng = np.random.default_rng(3)
    permuted = [own_area_share(training.interactions, rng.permutation(AREAS)) for _ in range(200)]
    for name in ("global_share", "local_share"):
        null = np.array([getattr(each, name) for each in permuted])
        spread = null.std(ddof=1)
        chance = getattr(training.share, name.replace("share", "chance"))
        assert null.mean() == pytest.approx(chance, abs=4.0 * spread / np.sqrt(len(null)))
        assert getattr(training.share, name) > chance + 4.0 * spread


def test_the_trace_starts_at_chance_and_ends_with_the_fit(training):
    assert training.steps[0] == 0
    assert training.steps[-1] == 60
    start = training.local_shares[0]
    assert np.isnan(start) or start == pytest.approx(training.share.local_chance)
    assert training.local_shares[-1] == training.share.local_share
    assert training.local_shares[-1] > training.local_shares[1]


def test_areas_of_another_length_are_refused(dataset):
    with pytest.raises(InputError, match="areas has 4 sites"):
        train_potts_areas(dataset, [0, 0, 1, 1])


def test_figures_show_every_area_and_every_curve(training):
    ax = plot_area_map(training.interactions, AREAS)
    assert len(ax.lines) == 5
    (image,) = ax.images
    rows = np.asarray(image.get_array())
    assert rows[:9, :9].sum() / rows[:9].sum() == pytest.approx(
        training.share.global_share, abs=0.02
    )
    other = (np.array([0, 10]), np.array([0.4, 0.8]), np.array([0.1, 0.7]))
    ax = plot_area_shares({"this": training}, others={"another": other})
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["this", "another", "global sites", "local sites"]
