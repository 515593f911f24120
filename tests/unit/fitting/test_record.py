"""The record of a fit: its attributes in a file, in JSON and in CSV come from one list."""

from __future__ import annotations

import csv

import h5py
import numpy as np
import pytest
from fit_factory import make_fit

from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings

ATTRIBUTES = [
    "alphabet",
    "columns",
    "compile_seconds",
    "config",
    "converged",
    "couplings_l2",
    "effective_size",
    "estimated_gap",
    "fields_l2",
    "gap_index",
    "gap_policy",
    "gradient_norm",
    "interrupted",
    "message",
    "method",
    "n_evaluations",
    "n_parameters",
    "n_sequences",
    "n_states",
    "objective",
    "optimality_gap",
    "resumed_from",
    "ridge",
    "seconds",
    "train_loss",
]
OF_THE_RESULT = ["gauge", "symmetric"]
OF_EVERY_FILE = ["format", "provenance"]
TOLD = [
    "method",
    "converged",
    "interrupted",
    "message",
    "objective",
    "train_loss",
    "gradient_norm",
    "optimality_gap",
    "estimated_gap",
    "n_evaluations",
    "seconds",
    "compile_seconds",
    "n_parameters",
    "n_sequences",
    "effective_size",
    "resumed_from",
    "symmetric",
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "fit.h5"
    make_fit(Couplings(dense=np.zeros((4, 4, 3, 3)))).save(path)
    return path


def test_a_file_has_the_attributes_of_the_format(path):
    with h5py.File(path) as file:
        assert sorted(file.attrs) == sorted(ATTRIBUTES + OF_THE_RESULT + OF_EVERY_FILE)
        assert file.attrs["gap_index"] == file.attrs["resumed_from"] == -1
    fit = FitResult.load(path)
    assert fit.gap_index is None
    assert fit.resumed_from is None
    assert isinstance(fit.converged, bool)
    assert isinstance(fit.n_evaluations, int)


def test_what_is_told_of_a_fit(path, tmp_path):
    fit = FitResult.load(path)
    assert list(fit.to_dict()) == TOLD
    fit.to_csv(tmp_path / "fit.csv")
    with open(tmp_path / "fit.csv", newline="") as file:
        assert next(csv.reader(file)) == TOLD


def test_files_of_the_first_version_are_read(path):
    with h5py.File(path, "r+") as file:
        for name in ("interrupted", "resumed_from", "estimated_gap", "gap_policy"):
            del file.attrs[name]
    fit = FitResult.load(path)
    assert not fit.interrupted
    assert fit.resumed_from is None
    assert fit.estimated_gap != fit.estimated_gap
    assert fit.gap_policy == "state"
