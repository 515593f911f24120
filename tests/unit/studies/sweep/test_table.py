"""Tables of simulated points: means by hand, round trips."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import h5py
import pytest

from pottsattn import InputError
from pottsattn._core.storage import content_hash, open_hdf5
from pottsattn.studies.sweep.table import SweepRow, SweepTable

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
    length=30,
    n_states=3,
    coupling_scale=1.5,
    realized_scale=1.4,
)
MASKED = replace(ROW, method="attention", mask_fraction=0.3, mask_mode="static", masks=1)


@pytest.fixture
def table() -> SweepTable:
    rows = (
        ROW,
        replace(ROW, method="factored", test_loss=7.0, converged=False),
        replace(ROW, seed=1, test_loss=1.3, coupling_error=math.nan),
        replace(ROW, seed=2, test_loss=1.6, coupling_error=0.4),
        replace(ROW, ridge_kind="optimal", ridge=0.7),
        replace(ROW, alpha=4.0),
        MASKED,
        replace(MASKED, mask_fraction=0.5),
        replace(ROW, length=60),
    )
    return SweepTable(rows)


def test_means_are_over_instances_of_one_point(table):
    means = list(table.means())
    names = ("method", "ridge_kind", "alpha", "mask_fraction", "length")
    keys = [(*(getattr(mean.point, name) for name in names), mean.n_instances) for mean in means]
    assert keys == [
        ("plm", "fixed", 2.0, None, 30, 3),
        ("factored", "fixed", 2.0, None, 30, 1),
        ("plm", "optimal", 2.0, None, 30, 1),
        ("plm", "fixed", 4.0, None, 30, 1),
        ("attention", "fixed", 2.0, 0.3, 30, 1),
        ("attention", "fixed", 2.0, 0.5, 30, 1),
        ("plm", "fixed", 2.0, None, 60, 1),
    ]
    assert means[4].to_dict()["mask_mode"] == "static"
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
    assert loaded.origin["note"] == "x"
    assert repr(loaded) == repr(table)
    assert "9 fits, 4 instances, length=30/60, n_states=3, coupling_scale=1.5" in repr(table)
    with open_hdf5(path) as file:
        assert file.attrs["format"] == "pottsattn.sweep/1"


def test_times_are_outside_the_content_hash(table, tmp_path):
    rows = tuple(replace(row, seconds=2 * row.seconds) for row in table.rows)
    hashes = []
    for name, one in (("a", table), ("b", SweepTable(rows)), ("c", SweepTable(rows[:-1]))):
        one.save(tmp_path / name)
        hashes.append(content_hash(tmp_path / name))
    assert hashes[0] == hashes[1] != hashes[2]


def test_file_of_an_older_version_is_read(table, tmp_path):
    """Sizes were attributes of the file, times a column, and there were no masks."""
    path = tmp_path / "old.h5"
    unmasked = SweepTable(table.rows[:6])
    unmasked.save(path)
    with h5py.File(path, "r+") as file:
        points = file["points"]
        points["seconds"] = points.attrs["seconds"]
        del points.attrs["seconds"]
        for name in ("length", "n_states", "coupling_scale"):
            file.attrs[name] = points[name][0]
            del points[name]
        for name in ("realized_scale", "mask_fraction", "mask_mode", "masks"):
            del points[name]
    expected = tuple(replace(row, realized_scale=math.nan) for row in unmasked.rows)
    assert str(SweepTable.load(path).rows) == str(expected)


def test_csv_has_one_row_per_fit(table, tmp_path):
    table.to_csv(tmp_path / "sweep.csv")
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert len(rows) == 9
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
