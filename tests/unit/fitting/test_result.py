"""Fits on disk and as models."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, SequenceDataset
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.result import FitResult
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.sampler import sample


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    drawn = sample(sk_potts(6, 3, 1.0, rng=0), 200, rng=1).dataset
    return SequenceDataset(
        drawn.sequences, 3, alphabet="-AB", gap_index=0, columns=[2, 3, 5, 8, 9, 11]
    )


@pytest.fixture(scope="module", params=["plm", "factored", "attention"])
def fit(request, data) -> FitResult:
    if request.param == "attention":
        return train_masked(data, ridge=0.5)
    return fit_pseudolikelihood(data, request.param, ridge=0.5)


def test_round_trip(fit, data, tmp_path):
    path = tmp_path / "fit.h5"
    fit.save(path)
    again = FitResult.load(path)
    assert_array_equal(again.couplings.to_dense(), fit.couplings.to_dense())
    assert_array_equal(again.fields, fit.fields)
    assert_array_equal(again.columns, data.columns)
    assert again.log_conditionals(data.sequences) == pytest.approx(
        fit.log_conditionals(data.sequences)
    )
    for name in ("method", "objective", "train_loss", "penalty", "converged", "message"):
        assert getattr(again, name) == getattr(fit, name), name
    assert (again.alphabet, again.gap_index) == ("-AB", 0)
    assert (again.history is None) == (fit.method != "attention")


def test_file_holds_what_the_contract_says(fit, tmp_path):
    path = tmp_path / "fit.h5"
    fit.save(path)
    with h5py.File(path) as file:
        assert file.attrs["format"] == "pottsattn.fit/1"
        wanted = "method n_states alphabet gap_index columns n_sequences effective_size objective "
        wanted += "train_loss converged message symmetric gauge config provenance"
        assert set(wanted.split()) <= set(file.attrs)
        names = {"couplings"} if fit.method == "plm" else {"interactions", "color_similarity"}
        assert {"fields", *names} <= set(file)


def test_model_of_a_fit_is_symmetric_and_zero_sum(fit):
    model = fit.to_model()
    dense = model.to_dense()
    assert_allclose(dense, dense.transpose(1, 0, 3, 2), atol=1e-12)
    assert_allclose(dense.sum(axis=2), 0.0, atol=1e-10)
    assert_allclose(model.fields.sum(axis=1), 0.0, atol=1e-10)


def test_n_parameters_are_counted(fit):
    n_couplings = 6 * 5 * (9 if fit.method == "plm" else 1)
    assert fit.n_parameters == n_couplings + 6 * 3


def test_sequences_of_another_length_are_refused(fit):
    with pytest.raises(InputError, match="length 5, the fit 6"):
        fit.log_conditionals(np.zeros((2, 5), dtype=np.uint8))
