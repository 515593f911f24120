"""Tables of simulated points: means by hand, round trips."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import h5py
import pytest

from pottsattn import InputError
from pottsattn._storage import open_hdf5
from pottsattn.sweep import SweepRow, SweepTable

ROW = SweepRow(
    method="plm",
    ridge_kind="fixed",
    alpha=2.0,
    ridge=0.1,
    seed=0,
    test_loss=1.0,
    train_loss=0.5,
    coupling_error=0.2,
    bayes_loss=0.9,
    seconds=3.0,
    converged=True,
)


@pytest.fixture
def table() -> SweepTable:
    rows = (
        ROW,
        replace(ROW, method="factored", test_loss=7.0, converged=False),
        replace(ROW, seed=1, test_loss=1.3, coupling_error=math.nan),
        replace(ROW, seed=2, test_loss=1.6, coupling_error=0.4),
        replace(ROW, ridge_kind="optimal", ridge=0.7),
        replace(ROW, alpha=4.0),
    )
    return SweepTable(rows, length=30, n_states=3, coupling_scale=1.5)


def test_means_are_over_instances_of_one_point(table):
    means = list(table.means())
    keys = [(mean.method, mean.ridge_kind, mean.alpha, mean.n_instances) for mean in means]
    assert keys == [
        ("plm", "fixed", 2.0, 3),
        ("factored", "fixed", 2.0, 1),
        ("plm", "optimal", 2.0, 1),
        ("plm", "fixed", 4.0, 1),
    ]
    first, single = means[:2]
    assert first.test_loss == pytest.approx(1.3)
    assert first.test_loss_error == pytest.approx(0.3 / math.sqrt(3))  # std of 1, 1.3, 1.6 is 0.3
    assert (first.train_loss, first.train_loss_error) == (0.5, 0.0)
    assert math.isnan(first.coupling_error)  # an undefined value is not silently left out
    assert single.test_loss == 7.0
    assert math.isnan(single.test_loss_error)


def test_file_keeps_every_row(table, tmp_path):
    path = tmp_path / "sweep.h5"
    table.save(path, note="x")
    loaded = SweepTable.load(path)
    assert str(loaded.rows) == str(table.rows)  # NaN is not equal to itself
    assert (loaded.length, loaded.n_states, loaded.coupling_scale) == (30, 3, 1.5)
    assert loaded.origin["note"] == "x"
    assert repr(loaded) == repr(table)
    assert "6 fits, 3 instances" in repr(table)
    with open_hdf5(path) as file:
        assert file.attrs["format"] == "pottsattn.sweep/1"


def test_csv_has_one_row_per_fit(table, tmp_path):
    table.to_csv(tmp_path / "sweep.csv")
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert len(rows) == 6
    assert [row["converged"] for row in rows[:2]] == ["1", "0"]
    assert rows[2]["coupling_error"] == ""
    assert float(rows[3]["test_loss"]) == 1.6


def test_columns_of_unequal_length_are_refused(table, tmp_path):
    path = tmp_path / "sweep.h5"
    table.save(path)
    with h5py.File(path, "r+") as file:
        del file["points/alpha"]
        file["points/alpha"] = [1.0]
    with pytest.raises(InputError, match=r"sweep\.h5: damaged or incomplete"):
        SweepTable.load(path)
