"""Scores of sequences and scans of mutations, against sums written out and brute force."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from fit_factory import make_fit
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, SequenceDataset
from pottsattn.analysis.scoring import scan_mutations, score_sequences, states_for, states_of
from pottsattn.figures.family import figure_mutations
from pottsattn.fitting import MaskedTransformer
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.model.couplings import Couplings
from pottsattn.model.exact import all_states

RECORD = "method n_sequences effective_size objective train_loss penalty gradient_norm"
RECORD += " optimality_gap n_evaluations n_parameters seconds converged message"


@pytest.fixture
def fit(row_couplings, rng):
    """Asymmetric couplings in every form, in no gauge, with fields."""
    return make_fit(row_couplings, rng.normal(size=(4, 3)))


@pytest.fixture
def letters(rng):
    """A fit to columns 2, 4, 5 and 9 of an alignment of three letters."""
    blocks = rng.normal(size=(4, 4, 3, 3))
    blocks[range(4), range(4)] = 0.0
    return make_fit(
        Couplings(dense=blocks), alphabet="-AC", gap_index=0, columns=np.array([2, 4, 5, 9])
    )


def test_scores_are_the_sums_they_say(fit, rng):
    """The exponent takes the mean of both blocks of a pair; the likelihood the rows as they are."""
    data = SequenceDataset(rng.integers(3, size=(9, 4)), 3)
    scores = score_sequences(fit, data)
    blocks, projector = fit.couplings.to_dense(), np.eye(3) - 1.0 / 3.0
    gauged = projector @ blocks @ projector
    fields = (fit.fields + blocks.mean(axis=3).sum(axis=1)) @ projector
    exponent, likelihood = np.zeros(9), np.zeros(9)
    for m, s in enumerate(data.sequences):
        for i in range(4):
            others = [j for j in range(4) if j != i]
            logits = fit.fields[i] + sum(blocks[i, j, :, s[j]] for j in others)
            likelihood[m] += logits[s[i]] - np.log(np.exp(logits).sum())
            exponent[m] += fields[i, s[i]] + sum(gauged[i, j, s[i], s[j]] for j in others) / 2.0
    assert_allclose(scores.pseudo_log_likelihood, likelihood, rtol=1e-12)
    assert_allclose(scores.pseudo_log_likelihood, -4 * sequence_losses(fit, data), rtol=1e-12)
    assert_allclose(scores.exponent, exponent, atol=1e-12)
    everything = score_sequences(fit, SequenceDataset(all_states(4, 3), 3))
    assert_allclose(everything.exponent.mean(), 0.0, atol=1e-12)


def test_scan_is_that_of_all_mutants_one_by_one(fit, rng):
    wild = rng.integers(3, size=4)
    scan = scan_mutations(fit, wild)
    mutants = np.repeat(wild[None], 12, axis=0)
    mutants[np.arange(12), np.repeat(np.arange(4), 3)] = np.tile(np.arange(3), 4)
    one = score_sequences(fit, SequenceDataset(wild[None], 3))
    each = score_sequences(fit, SequenceDataset(mutants, 3))
    for name in ("exponent", "pseudo_log_likelihood"):
        expected = (getattr(each, name) - getattr(one, name)).reshape(4, 3)
        assert_allclose(getattr(scan, f"{name}_change"), expected, atol=1e-12)
    assert_array_equal(scan.exponent_change[range(4), wild], 0.0)
    assert_array_equal(scan.pseudo_log_likelihood_change[range(4), wild], 0.0)


def test_table_and_figure_have_the_original_numbers(letters, tmp_path):
    scan = scan_mutations(letters, states_of(letters, "c.aA"))
    scan.to_csv(tmp_path / "scan.csv")
    with (tmp_path / "scan.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["column"], row["wild_type"]) for row in rows[::3]] == [
        ("2", "C"),
        ("4", "-"),
        ("5", "A"),
        ("9", "A"),
    ]
    marked = [row["mutant"] for row in rows if row["is_wild_type"] == "1"]
    assert marked == ["C", "-", "A", "A"]
    assert float(rows[1]["exponent_change"]) == scan.exponent_change[0, 1]
    axes = figure_mutations(scan)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["-", "A", "C"]
    assert axes[0].get_xticklabels()[0].get_text() == "C\n2"
    image = axes[1].images[0].get_array()
    assert_array_equal(image, scan.pseudo_log_likelihood_change.T)


def test_a_transformer_has_a_likelihood_only(fit, rng):
    network = MaskedTransformer(4, 3)
    record = {name: getattr(fit, name) for name in RECORD.split()}
    trained = NetworkFit.of(network, **{**record, "method": "transformer"})
    data = SequenceDataset(rng.integers(3, size=(5, 4)), 3)
    scores = score_sequences(trained, data)
    assert np.isnan(scores.exponent).all()
    assert_allclose(scores.pseudo_log_likelihood, -4 * sequence_losses(trained, data), rtol=1e-6)


def test_columns_are_found_by_number_and_states_by_letter(letters, rng):
    sequences = rng.integers(3, size=(6, 9))
    whole = SequenceDataset(sequences, 4, alphabet="-ACT")
    assert_array_equal(states_for(letters, whole), sequences[:, [1, 3, 4, 8]])
    other = SequenceDataset(sequences + 1, 4, alphabet="T-AC")
    assert_array_equal(states_for(letters, other), sequences[:, [1, 3, 4, 8]])
    for data, message in (
        (SequenceDataset(sequences[:, :8], 3, alphabet="-AC"), "8 columns, 1 to 8, but the fit 4"),
        (SequenceDataset(sequences + 1, 4, alphabet="-ACT"), "letter 'T', the fit knows -AC"),
        (SequenceDataset(sequences + 1, 4), "state 3, the fit knows -AC"),
    ):
        with pytest.raises(InputError, match=message):
            states_for(letters, data)


def test_another_alignment_is_not_cut_to_the_size_of_the_fit(fit, rng):
    longer = SequenceDataset(rng.integers(3, size=(6, 5)), 3)
    with pytest.raises(InputError, match="5 columns, 1 to 5, but the fit 4, 1 to 4"):
        score_sequences(fit, longer)


def test_wild_types_that_are_refused(fit, letters):
    assert_array_equal(states_of(fit, "0,2,1,1"), [0, 2, 1, 1])
    for which, text, message in (
        (letters, "ACA", "has 3 letters, the fit 4 columns"),
        (letters, "ACAX", "'X' is no state of the fit, which knows -AC"),
        (fit, "0,1,2,3", "'3' is no state of the fit, which knows 0, 1, 2"),
    ):
        with pytest.raises(InputError, match=message):
            states_of(which, text)
    with pytest.raises(InputError, match="one sequence is scanned at a time"):
        scan_mutations(fit, np.zeros((2, 4), dtype=int))
