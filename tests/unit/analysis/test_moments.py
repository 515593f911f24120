"""Statistics of two data sets, against plain sums; the expected difference against chance."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError, PottsModel, SequenceDataset
from pottsattn.analysis import moments as module
from pottsattn.analysis.moments import compare_moments
from pottsattn.figures.family import figure_moments
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.exact import all_states


def connected(data: SequenceDataset) -> np.ndarray:
    """Return c_ij(a, b), i < j, from indicators, shape (n_pairs, C, C)."""
    one_hot = np.eye(data.n_states)[data.sequences]  # (M, L, C)
    f = np.einsum("m,mia->ia", data.normalized_weights, one_hot)
    joint = np.einsum("m,mia,mjb->ijab", data.normalized_weights, one_hot, one_hot)
    return (joint - f[:, None, :, None] * f[None, :, None, :])[np.triu_indices(data.length, 1)]


def drawn(model: PottsModel, n_sequences: int, rng) -> SequenceDataset:
    """Return independent sequences of a small model."""
    states = all_states(model.length, model.n_states)
    log_p = -model.energy(states)
    p = np.exp(log_p - log_p.max())
    chosen = rng.choice(len(states), size=n_sequences, p=p / p.sum())
    return SequenceDataset(states[chosen], model.n_states)


@pytest.fixture
def pair(rng):
    weights = rng.uniform(0.1, 1.0, 60)
    first = SequenceDataset(rng.integers(3, size=(60, 5)), 3, weights=weights, alphabet="-AC")
    return first, SequenceDataset(rng.integers(3, size=(40, 5)), 3, alphabet="-AC")


def test_agreement_is_that_of_plain_sums(pair, tmp_path):
    found = compare_moments(*pair)
    x, y = (connected(data).ravel() for data in pair)
    assert_allclose(found.pair_values, (x, y), atol=1e-14)
    assert found.pair.n_values == 10 * 9
    assert_allclose(found.pair.pearson, np.corrcoef(x, y)[0, 1], rtol=1e-9)
    assert_allclose(found.pair.slope, np.polyfit(x, y, 1)[0], rtol=1e-9)
    assert_allclose(found.pair.rms_difference, np.sqrt(((x - y) ** 2).mean()), rtol=1e-9)
    f, g = (data.site_frequencies().ravel() for data in pair)
    assert_allclose(found.site.pearson, np.corrcoef(f, g)[0, 1], rtol=1e-9)
    found.to_csv(tmp_path / "f.csv")
    with (tmp_path / "f.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["frequency"]) for row in rows] == f.tolist()
    assert (rows[4]["column"], rows[4]["state"]) == ("2", "A")
    assert figure_moments(found)[1].get_xlabel() == "data"


def test_figure_of_many_pairs_keeps_a_part_of_them(pair, monkeypatch):
    whole = compare_moments(*pair)
    monkeypatch.setattr(module, "KEPT_PAIRS", 30)
    part = compare_moments(*pair)
    assert part.pair == whole.pair
    assert 10 <= len(part.pair_values[0]) <= 55


def test_expected_difference_is_that_of_chance(rng):
    """60 independent correlations: their rms is known to 9 %, so 5 errors are 45 %."""
    model = sk_potts(6, 3, 1.5, rng)
    data = drawn(model, 20_000, rng)

    def ratios(other: SequenceDataset) -> np.ndarray:
        found = compare_moments(data, other)
        kinds = (found.site, found.pair)
        return np.array([kind.rms_difference / kind.expected_difference for kind in kinds])

    site, pairs = ratios(drawn(model, 10_000, rng))
    assert abs(pairs - 1.0) < 0.45
    assert site < 1.0 + 5.0 / np.sqrt(2 * 12)
    assert ratios(drawn(model.scaled(0.8), 10_000, rng))[1] > 2.0  # planted fault


def test_constant_data_have_no_correlation():
    data = SequenceDataset(np.zeros((5, 3), dtype=int), 2)
    found = compare_moments(data, data)
    assert np.isnan(found.pair.pearson)
    assert found.pair.rms_difference == 0.0
    figure_moments(found)


def test_other_data_are_refused(pair):
    first, second = pair
    for other, message in (
        (SequenceDataset(second.sequences[:, :4], 3, alphabet="-AC"), "differ in length: 5 and 4"),
        (SequenceDataset(second.sequences, 3), "differ in alphabet: '-AC' and ''"),
        (
            SequenceDataset(second.sequences, 3, alphabet="-AC", columns=[1, 2, 3, 4, 9]),
            "differ in columns; statistics need the same",
        ),
    ):
        with pytest.raises(InputError, match=message):
            compare_moments(first, other)
