"""Couplings against nested loops, over dense, factored and two-head forms."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import random_couplings
from numpy.testing import assert_allclose

from pottsattn.model.couplings import (
    Couplings,
    average_product_correction,
    frobenius_score,
    inner_product,
)
from pottsattn.model.exact import all_states
from pottsattn.model.potts import log_softmax

STATES = all_states(4, 3)


def brute_force_logits(tensor, sequences):
    logits = np.zeros((len(sequences), tensor.shape[0], tensor.shape[2]))
    for m, sequence in enumerate(sequences):
        for i in range(tensor.shape[0]):
            for j, state in enumerate(sequence):
                logits[m, i] += tensor[i, j, :, state]
    return logits


def test_to_dense_and_row_are_the_definition(row_couplings):
    tensor = row_couplings.to_dense()
    assert_allclose(np.stack(list(row_couplings.rows())), tensor, rtol=0)
    if row_couplings.is_factored:
        a, u = row_couplings.factors()
        for i, j in np.ndindex(4, 4):
            assert_allclose(tensor[i, j], sum(a[h, i, j] * u[h] for h in range(len(a))), atol=1e-15)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_logits_match_nested_loops_for_any_block_size(row_couplings, monkeypatch, block):
    monkeypatch.setattr("pottsattn.model.couplings.LOGITS_BLOCK", block * 12)
    expected = brute_force_logits(row_couplings.to_dense(), STATES)
    assert_allclose(row_couplings.logits(STATES), expected, atol=1e-14)


def test_transposed_symmetrized_and_scaled_match_their_tensors(row_couplings):
    tensor = row_couplings.to_dense()
    transposed = tensor.transpose(1, 0, 3, 2)
    assert_allclose(row_couplings.transposed().to_dense(), transposed, rtol=0)
    symmetrized = row_couplings.symmetrized()
    assert symmetrized.is_factored == row_couplings.is_factored
    assert_allclose(symmetrized.to_dense(), (tensor + transposed) / 2.0, atol=1e-15)
    assert_allclose(row_couplings.scaled(-2.5).to_dense(), -2.5 * tensor, atol=1e-14)


def test_symmetric_similarity_keeps_the_number_of_heads(rng):
    u = rng.normal(size=(2, 3, 3))
    couplings = Couplings(rng.normal(size=(2, 4, 4)), u + u.transpose(0, 2, 1))
    symmetrized = couplings.symmetrized()
    assert symmetrized.factors()[0].shape == (2, 4, 4)
    tensor = couplings.to_dense()
    assert_allclose(symmetrized.to_dense(), (tensor + tensor.transpose(1, 0, 3, 2)) / 2, atol=1e-15)


def test_zero_sum_keeps_conditionals_of_asymmetric_rows(row_couplings, rng):
    fields = rng.normal(size=(4, 3))
    gauged_fields, gauged = row_couplings.zero_sum(fields)
    tensor = gauged.to_dense()
    assert_allclose(tensor.sum(axis=2), 0.0, atol=1e-14)
    assert_allclose(tensor.sum(axis=3), 0.0, atol=1e-14)
    assert_allclose(gauged_fields.sum(axis=1), 0.0, atol=1e-14)
    before = log_softmax(row_couplings.logits(STATES) + fields)
    assert_allclose(log_softmax(gauged.logits(STATES) + gauged_fields), before, atol=1e-13)
    assert np.abs(tensor - row_couplings.to_dense()).max() > 0.1  # the gauge was another one


def test_inner_product_is_that_of_the_tensors(row_couplings, rng):
    other = Couplings(rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 3, 3)))
    expected = np.vdot(row_couplings.to_dense(), other.to_dense())
    assert_allclose(inner_product(row_couplings, other), expected, rtol=1e-12)
    assert_allclose(inner_product(other, row_couplings), expected, rtol=1e-12)
    dense = Couplings(dense=other.to_dense())
    assert_allclose(inner_product(row_couplings, dense), expected, rtol=1e-12)


@pytest.mark.parametrize("gap_index", [None, 0, 2])
def test_frobenius_score_matches_nested_loops(row_couplings, gap_index):
    tensor = row_couplings.to_dense()
    expected = np.zeros((4, 4))
    for i, j in np.ndindex(4, 4):
        block = (tensor[i, j] + tensor[j, i].T) / 2.0
        for a, b in np.ndindex(3, 3):
            if i != j and gap_index not in (a, b):
                gauged = block[a, b] - block[a].mean() - block[:, b].mean() + block.mean()
                expected[i, j] += gauged**2
    expected = np.sqrt(expected)
    assert_allclose(frobenius_score(row_couplings, gap_index=gap_index), expected, atol=1e-14)


def test_average_product_correction_matches_nested_loops(rng):
    length = 5
    score = rng.uniform(size=(length, length))
    score = np.triu(score, 1) + np.triu(score, 1).T
    corrected = average_product_correction(score)
    for i, j in np.ndindex(length, length):
        mean_i = sum(score[i, k] for k in range(length) if k != i) / (length - 1)
        mean_j = sum(score[j, k] for k in range(length) if k != j) / (length - 1)
        mean = np.mean([score[k, m] for k, m in np.ndindex(length, length) if k != m])
        expected = 0.0 if i == j else score[i, j] - mean_i * mean_j / mean
        assert corrected[i, j] == pytest.approx(expected, abs=1e-14)
    assert not average_product_correction(np.zeros((3, 3))).any()


def test_scale_between_interactions_and_similarity_is_fixed(rng):
    reference = random_couplings("factored", rng)
    interactions, similarity = reference.factors()
    for factor in (-3.0, 0.2):
        other = Couplings(factor * interactions, similarity / factor)
        fixed = other.with_scale_of(reference)
        assert_allclose(fixed.factors()[0], interactions, rtol=1e-12)
        assert_allclose(fixed.factors()[1], similarity, rtol=1e-12)
    with pytest.raises(TypeError, match="one head only"):
        reference.with_scale_of(random_couplings("two-heads", rng))
