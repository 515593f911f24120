"""A penalty as such and in the units of the theory."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import InputError, SequenceDataset, fit_pseudolikelihood, train_masked
from pottsattn.fitting.penalty import Penalty, Ridge


@pytest.fixture
def data(rng) -> SequenceDataset:
    return SequenceDataset(rng.integers(3, size=(30, 5)), 3)


def test_a_ridge_is_another_penalty_for_other_data(data):
    assert Ridge(0.6, 0.05).of(data) == Penalty(0.6 / (2.0 * 6.0), 0.05)
    assert Ridge(0.6).of(data.take(slice(0, 15))) == Penalty(0.6 / (2.0 * 3.0), 0.01)
    assert Ridge(0.6).of(data, share=0.5).couplings_l2 == 0.6 / (2.0 * 6.0 * 0.5)
    assert Penalty(0.3, 0.2).of(data, share=0.5) == Penalty(0.3, 0.2)


def test_both_fits_take_the_same_penalties(data):
    short = fit_pseudolikelihood(data, "factored", ridge=0.6)
    for penalty in (Ridge(0.6), Ridge(0.6).of(data)):
        fit = fit_pseudolikelihood(data, "factored", penalty=penalty)
        assert fit.penalty == short.penalty
        assert np.array_equal(fit.fields, short.fields)
        assert train_masked(data, penalty=penalty, rng=0).penalty == short.penalty
    for fit in (fit_pseudolikelihood, train_masked):
        with pytest.raises(InputError, match="either ridge or penalty"):
            fit(data, ridge=0.6, penalty=Penalty(0.05))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Penalty(-1.0), "couplings_l2 must not be negative"),
        (lambda: Penalty(0.0, -1.0), "fields_l2 must not be negative"),
        (lambda: Ridge(-1.0), "ridge must not be negative"),
        (lambda: Ridge(float("nan")), "ridge must be finite"),
    ],
)
def test_penalties_check_themselves(make, message):
    with pytest.raises(InputError, match=message):
        make()
