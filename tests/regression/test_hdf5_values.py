"""Whatever stands in a valid HDF5 file: it is read as it is, or what is wrong is named.

Every attribute and data set of a file of every format is replaced by values of other types, shapes
and ranges, in an order that a seed gives; all of them with POTTSATTN_ALL_CASES set.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fit_factory import make_fit, make_history

import pottsattn
from pottsattn import InputError, SequenceDataset, learning_curve
from pottsattn._core.formats import LAYOUTS
from pottsattn.cli import main
from pottsattn.fitting.result import CouplingErrors
from pottsattn.model.couplings import Couplings
from pottsattn.studies.sweep.table import SweepRow, SweepTable

FORMATS = ("sequences", "model", "fit", "attention", "transformer", "curve", "sweep", "spatial")
MOST = None if os.environ.get("POTTSATTN_ALL_CASES") else 40  # cases of a format
EMPTY = h5py.Empty("f8")
ATTRIBUTES = (
    EMPTY, "text", "", "{}", "[]", 5, -1, 2.5, np.nan, np.inf, np.zeros((2, 2)), np.zeros(0),
    np.arange(3), b"bytes", True, np.uint64(2**64 - 1), 2**40, 1 + 2j, np.void(b"ab"), None,
    "\x1b[2J", "[" * 3000,
)  # fmt: skip
DATASETS = (
    "empty", "number", "square", "nothing", "text", "group", "gone", "link", "other file",
    "virtual", "external", "nan", "infinite", "negative", "huge", "complex", "flags", "texts",
    "short", "long", "deep", "declared",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    rng = np.random.default_rng(1)
    off_diagonal = 1.0 - np.eye(6)
    couplings = Couplings(rng.normal(size=(2, 6, 6)) * off_diagonal, np.stack([np.eye(3)] * 2))
    fit = make_fit(couplings, rng.normal(size=(6, 3)), history=make_history())
    model = fit.to_model()
    data = SequenceDataset(rng.integers(3, size=(20, 6)), 3, weights=np.ones(20), alphabet="ABC",
                           gap_index=0, names=tuple(map(str, range(20))), model=model)  # fmt: skip
    data.save(folder / "sequences")
    model.save(folder / "model")
    fit.save(folder / "attention")
    errors = CouplingErrors("laplace", np.ones((6, 3)), np.ones((6, 6)))
    make_fit(couplings, errors=errors).save(folder / "fit")
    curve = {"mask_fraction": 0.3, "mask_mode": "static"}
    learning_curve(3, 1.0, [1.0, 2.0], 0.1, **curve).save(folder / "curve")
    row = SweepRow("plm", "fixed", 1.0, 0.1, 0, 0.9, 0.8, 0.1, 0.8, 1.0, True, 6, 3, 1.0)
    SweepTable((row,) * 3).save(folder / "sweep")
    os.chdir(folder)
    quick = "--threads 1 --out"
    main(f"fit sequences --method transformer --width 8 --max-steps 1 {quick} transformer".split())
    areas = "--patches 12 --global-area 4 --local-area 4 --clusters 2 --objective mae --steps 2"
    main(f"spatial {areas} {quick} spatial".split())
    return folder


def places(path) -> list[tuple[str, str]]:
    """Return (name of a data set or group, attribute or "")."""
    with h5py.File(path) as file:
        found = [("", name) for name in file.attrs if name != "format"]

        def note(name, member):
            found.extend((name, attribute) for attribute in member.attrs)
            found.append((name, ""))

        file.visititems(note)
    return found


def spoil(file: h5py.File, name: str, attribute: str, how: Any) -> None:
    if attribute:
        attributes = file[name or "/"].attrs
        del attributes[attribute]
        if how is not None:
            attributes[attribute] = how
        return
    old = file[name][()] if isinstance(file[name], h5py.Dataset) else np.zeros(3)
    shape = np.shape(old)
    del file[name]
    if how == "group":
        file.create_group(name)
    elif how == "link":
        file[name] = h5py.SoftLink("/")
    elif how == "other file":
        file[name] = h5py.ExternalLink("other.h5", "/x")
    elif how == "virtual":
        file.create_virtual_dataset(name, h5py.VirtualLayout(shape=(4, 3), dtype="f8"))
    elif how == "external":
        file.create_dataset(name, (4,), "f8", external=[("external.bin", 0, 32)])
    elif how == "declared":
        file.create_dataset(name, (1 << 40, 6), "u1", chunks=(1 << 10, 6))
    elif how != "gone":
        values = {
            "empty": EMPTY, "number": 1.5, "square": np.zeros((2, 2)), "nothing": np.zeros(0),
            "text": "text", "nan": np.full(shape, np.nan), "infinite": np.full(shape, np.inf),
            "negative": np.full(shape, -1), "huge": np.full(shape, 2**62),
            "complex": np.zeros(shape, complex), "flags": np.zeros(shape, bool),
            "texts": np.full(shape, b"q", dtype=h5py.string_dtype()),
            "short": old[:-1] if shape else 0, "long": np.concatenate([old, old]) if shape else 0,
            "deep": np.asarray(old)[None],
        }  # fmt: skip
        dtype = h5py.string_dtype() if np.asarray(values[how]).dtype.kind == "O" else None
        file.create_dataset(name, data=values[how], dtype=dtype)


def reason_of_refusal(path) -> str | None:
    """Return why a file is not read; of one that is read, show what it holds, and return None."""
    try:
        loaded = pottsattn.load(path)
    except InputError as error:
        return str(error)
    assert repr(loaded)
    assert getattr(loaded, "_repr_html_", lambda: "x")()
    return None


def cases(path) -> Iterator[tuple[str, str, Any]]:
    found = [
        (name, attribute, how)
        for name, attribute in places(path)
        for how in (ATTRIBUTES if attribute else DATASETS)
    ]
    order = np.random.default_rng(len(found)).permutation(len(found))[:MOST]
    return (found[at] for at in order)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_wrong_is_named_or_read_as_it_is(folder, kind):
    path = folder / f"spoiled-{kind}.h5"
    n_refused = 0
    for name, attribute, how in cases(folder / kind):
        shutil.copy(folder / kind, path)
        with h5py.File(path, "r+", libver=("v110", "latest")) as file:
            spoil(file, name, attribute, how)
        refused = reason_of_refusal(path)
        assert refused is None or (attribute or name.rpartition("/")[2]) in refused, how
        n_refused += refused is not None
    assert n_refused


@pytest.mark.parametrize("kind", ["sequences", "fit", "curve"])
def test_commands_say_it_in_one_line(folder, kind, capsys):
    path = folder / "spoiled.h5"
    for name, attribute, how in [*cases(folder / kind)][:10]:
        shutil.copy(folder / kind, path)
        with h5py.File(path, "r+", libver=("v110", "latest")) as file:
            spoil(file, name, attribute, how)
        for command in ("info", "info --json", "cite"):
            status = main([*command.split(), str(path)])
            captured = capsys.readouterr()
            assert status in (0, 1), (name, attribute, how)
            if status == 1:
                assert (captured.out, captured.err.count("\n")) == ("", 1), (name, attribute, how)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"pseudocount": "much"}, "pseudocount must be a number"),
        ({"heads": [2]}, "heads must be a whole number"),
        ({"ridge_path": []}, "ridge_path.ridge must be a number"),
        ({"ridge_path": {"ridge": None}}, "ridge_path.ridge must be a number"),
        ({"ridge_path": {"ridge": 1, "ridges": [1, "a"]}}, "ridge_path.ridges must be a list"),
        (
            {"ridge_path": {"ridge": 1.0, "ridges": [1.0], "leave_one_out_losses": [1.0, 2.0]}},
            "lists of ridge_path must be of one length",
        ),
    ],
)
def test_values_within_json_are_checked(folder, entries, named):
    path = folder / "config.h5"
    shutil.copy(folder / "fit", path)
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = json.dumps(entries)
    with pytest.raises(InputError, match=f"attribute config: {named}"):
        pottsattn.load(path)


def test_every_format_has_a_layout_and_every_entry_a_place_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    for kind, layout in LAYOUTS.items():
        assert f"pottsattn.{kind}/1" in text
        for name in layout:
            last = name.replace("/*", "").replace("@", "/").rpartition("/")[2]
            assert last in text, (kind, name)


def test_a_small_file_that_declares_a_large_data_set_is_refused_at_once(folder, capsys):
    path = folder / "declared.h5"
    shutil.copy(folder / "sequences", path)
    with h5py.File(path, "r+") as file:
        del file["sequences"]
        file.create_dataset("sequences", (1 << 33, 1000), "u1", chunks=(1024, 1000))
    assert main(["info", str(path)]) == 1
    assert "sequences declares 8589934592000 bytes" in capsys.readouterr().err


def test_a_group_within_itself_is_refused(folder):
    path = folder / "cycle.h5"
    shutil.copy(folder / "model", path)
    with h5py.File(path, "r+") as file:
        file["model/again"] = file["model"]
    with pytest.raises(InputError, match="lies in more than 12 groups"):
        pottsattn.load(path)
