"""Files are whole or absent, say what they are, and hash by what they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from pottsattn import InputError
from pottsattn._core.storage import content_hash, create_hdf5, file_format, open_hdf5, to_json
from pottsattn._core.whole_files import write_whole as write_whole_file


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [None, b"old"])
def test_interrupted_write_leaves_no_trace(tmp_path, error, existing):
    target = tmp_path / "a.h5"
    if existing is not None:
        target.write_bytes(existing)
    before = sorted(tmp_path.iterdir())

    def fail() -> None:
        with create_hdf5(target, "sequences", {}) as file:
            file["x"] = np.arange(5)
            raise error

    with pytest.raises(error):
        fail()
    assert sorted(tmp_path.iterdir()) == before
    assert existing is None or target.read_bytes() == existing


def test_write_replaces_an_existing_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with write_whole_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_wrong_targets_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target, text in [
        (tmp_path, "it is a directory"),
        (tmp_path / "no" / "a.h5", "there is no folder"),
        (tmp_path / "pipe", "a device or a pipe"),
        (tmp_path / ("a" * 300), "name too long"),
    ]:
        with pytest.raises(InputError, match=f"(?i)cannot write .*{text}"):
            with write_whole_file(target):
                pytest.fail("the body must not run")


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pottsattn import InputError
from pottsattn._core.storage import create_hdf5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails as on a full disk
for limit in (100, 3000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        with create_hdf5(sys.argv[1], "sequences", {}) as file:
            data = np.random.default_rng(0).normal(size=(100, 100))
            file.create_dataset("x", data=data, chunks=True, compression="gzip")
    except InputError as error:
        print(error)
"""


def test_full_disk_is_one_clean_error(tmp_path):
    # In a process of its own: HDF5 used to crash, and to write to stderr behind Python's back.
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.h5")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.count("File too large; nothing was changed\n") == 3
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []


def _write(path, *, kind="sequences", **data):
    with create_hdf5(path, kind, {"seed": np.int64(3), "loss": np.nan}) as file:
        for name, value in data.items():
            file[name] = value
    return path


def test_provenance_takes_numpy_values(tmp_path):
    with open_hdf5(_write(tmp_path / "a.h5"), any_layout=True) as file:
        assert json.loads(file.attrs["provenance"]) == {"seed": 3, "loss": None}


def test_unreadable_files_are_named(tmp_path):
    whole = _write(tmp_path / "whole.h5", x=np.arange(1000)).read_bytes()
    truncated, text, foreign, newer = (tmp_path / name for name in ("t.h5", "x.h5", "f.h5", "n.h5"))
    text.write_text(">record\nACGT\n")
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    with h5py.File(newer, "w") as file:
        file.attrs["format"] = "pottsattn.sequences/2"
    cases = [
        (tmp_path, "it is a directory"),
        (tmp_path / "none.h5", "no such file"),
        (text, "not an HDF5 file"),
        (foreign, "not written by pottsattn"),
        (newer, "pottsattn.sequences/2 is newer.*update"),
        (_write(tmp_path / "fit.h5", kind="fit"), "holds pottsattn.fit/1, expected"),
    ]
    for path, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            _read(path)
        assert str(path) in str(caught.value)
    for size in range(8, len(whole), 97):
        truncated.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated or damaged"):
            _read(truncated)


def _read(path):
    with open_hdf5(path, "sequences") as file:
        return file["x"][()]


def test_missing_data_set_is_damage_not_a_key_error(tmp_path):
    with pytest.raises(InputError, match="damaged or incomplete"):
        _read(_write(tmp_path / "a.h5"))


def test_file_format_is_the_kind(tmp_path):
    assert file_format(_write(tmp_path / "a.h5", kind="curve")) == "curve"


def test_content_hash_ignores_attributes_and_storage_layout(tmp_path):
    data = np.arange(600, dtype=np.int32).reshape(60, 10)
    plain = content_hash(_write(tmp_path / "a.h5", x=data, names=["b", "cé"], n=1.5))
    with create_hdf5(tmp_path / "b.h5", "sequences", {"command": "another"}) as file:
        file.attrs["time"] = 12.0
        file.create_dataset("n", data=1.5)  # other order, chunks and compression
        file.create_dataset("names", data=["b", "cé"])
        file.create_dataset("x", data=data, chunks=(7, 3), compression="gzip")
    assert content_hash(tmp_path / "b.h5") == plain


def test_content_hash_depends_on_every_value_name_type_and_shape(tmp_path, monkeypatch):
    monkeypatch.setattr("pottsattn._core.storage.HASH_BLOCK_BYTES", 32)  # several blocks
    data = np.arange(12, dtype=np.int32).reshape(3, 4)
    variants = [{"x": data, "s": ["a"], "n": 1.0}]
    for index in np.ndindex(data.shape):
        changed = data.copy()
        changed[index] += 1
        variants.append({**variants[0], "x": changed})
    variants += [
        {**variants[0], "x": data.T},
        {**variants[0], "x": data.reshape(4, 3)},
        {**variants[0], "x": data.astype(np.uint32)},
        {**variants[0], "s": ["b"]},
        {**variants[0], "n": 2.0},
        {"y": data, "s": ["a"], "n": 1.0},
    ]
    hashes = {content_hash(_write(tmp_path / "a.h5", **variant)) for variant in variants}
    assert len(hashes) == len(variants)


def test_to_json_is_strict():
    value = {"a": np.float32(0.5), 1: [np.inf, np.bool_(True)], "b": np.array([1, 2])}
    assert json.loads(to_json(value)) == {"a": 0.5, "1": [None, True], "b": [1, 2]}
