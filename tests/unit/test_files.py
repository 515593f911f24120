"""Any file opens as what it says it is."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from fit_factory import make_fit
from numpy.testing import assert_allclose

import pottsattn
from pottsattn import InputError, PottsModel, SequenceDataset
from pottsattn.files import build_model, load, load_model, read_labels
from pottsattn.fitting.result import FitResult
from pottsattn.studies.sweep.table import SweepTable
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.result import LearningCurve


@pytest.fixture
def files(tmp_path, tiny_model, rng):
    """One file of every format."""
    SequenceDataset(rng.integers(3, size=(9, 4)), 3, model=tiny_model).save(tmp_path / "sequences")
    SequenceDataset(rng.integers(3, size=(9, 4)), 3).save(tmp_path / "no-model")
    make_fit(tiny_model.couplings, tiny_model.fields).save(tmp_path / "fit")
    tiny_model.save(tmp_path / "model")
    learning_curve(3, 1.5, [1.0], 0.1).save(tmp_path / "curve")
    SweepTable(()).save(tmp_path / "sweep")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sequences", SequenceDataset),
        ("fit", FitResult),
        ("model", PottsModel),
        ("curve", LearningCurve),
        ("sweep", SweepTable),
    ],
)
def test_load_returns_what_the_file_holds(files, name, kind):
    assert type(load(files / name)) is kind
    assert type(pottsattn.load(str(files / name))) is kind


@pytest.mark.parametrize("name", ["sequences", "model", "fit"])
def test_models_come_from_data_models_and_fits(files, name, tiny_model):
    model = load_model(files / name)
    sequences = np.array([[0, 1, 2, 0], [2, 2, 1, 1]])
    assert_allclose(
        model.log_conditionals(sequences), tiny_model.log_conditionals(sequences), atol=1e-12
    )


def test_an_asymmetric_fit_becomes_a_symmetric_model(tmp_path, row_couplings):
    make_fit(row_couplings).save(tmp_path / "fit")
    dense = load_model(tmp_path / "fit").to_dense()
    assert_allclose(dense, dense.transpose(1, 0, 3, 2), atol=1e-14)
    assert_allclose(dense.sum(axis=3), 0.0, atol=1e-12)  # zero-sum gauge


@pytest.mark.parametrize("name", ["no-model", "curve", "sweep"])
def test_files_without_a_model_are_refused(files, name):
    with pytest.raises(InputError, match=f"{name} .*holds no model"):
        load_model(files / name)


def test_unknown_formats_are_named(files):
    with h5py.File(files / "model", "r+") as file:
        file.attrs["format"] = "pottsattn.novel/1"
    with pytest.raises(InputError, match=r"holds pottsattn\.novel, which this version cannot read"):
        load(files / "model")


def test_a_model_is_built_from_a_file_a_graph_or_an_ensemble(files, tmp_path):
    (tmp_path / "edges.txt").write_text("0 1 2.0\n1 2\n")
    graph = build_model(edges=tmp_path / "edges.txt", n_states=3, coupling_scale=0.5, length=4)
    assert_allclose(graph.couplings.row(0)[1], np.eye(3))
    stored = build_model(model=files / "model", inverse_temperature=2.0)
    assert_allclose(stored.fields, 2.0 * load_model(files / "model").fields)
    sizes = {"length": 8, "n_states": 3, "coupling_scale": 1.0}
    assert build_model(**sizes, rng=0).ensemble == "sk-potts"
    assert build_model(**sizes, ensemble="chain").ensemble == "chain"
    assert read_labels(files / "sequences")["gap_index"] is None
    assert read_labels(files / "model") == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "needs `length`, `n_states`, `coupling_scale`"),
        ({"model": "m.h5", "length": 3}, "`model` brings its own sizes, leave out `length`"),
        ({"edges": "e.txt", "ensemble": "chain"}, "leave out `ensemble`"),
        ({"edges": "e.txt"}, "`edges` needs `n_states`"),
    ],
)
def test_a_model_that_is_not_told_is_refused(arguments, text):
    with pytest.raises(InputError, match=text):
        build_model(**arguments)
