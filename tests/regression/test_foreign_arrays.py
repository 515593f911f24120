"""Arrays of other programs whose headers are damaged, lie, or ask for more than there is."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from pottsattn import SequenceDataset
from pottsattn._core.foreign import read_npy, read_npz
from pottsattn._core.validate import InputError
from pottsattn.cli import main

HEADERS = {
    "unclosed": "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4",
    "quotes": "{'descr': '|u1, 'fortran_order': False, 'shape': (3, 4), }",
    "deep": "(" * 5000,
    "keys": "{'descr': '|u1', 'shape': (3, 4), }",
    "type": "{'descr': 'zz', 'fortran_order': False, 'shape': (3, 4), }",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 4), }",
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }",
    "records": "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3, ), }",
    "large": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9), }",
    "not text": "\xff\xfe{",
    "short": "{'descr': '|u1', 'fortran_order': False, 'shape': (300, 4), }",
}
COMMANDS = (
    "info bad.npy",
    "fit data.h5 --method mf --weights bad.npy --out new.h5",
    "fit data.h5 --method plm --init bad.npy --out new.h5",
    "fit bad.npy --method mf --out new.h5",
    "energies bad.npy data.h5 --out new.csv",
    "spatial --areas bad.npy --out new.h5",
    "instances --dataset bad.npy --steps 1 --out new.h5",
)


def with_header(text: str) -> bytes:
    """Return a .npy file of twelve bytes with this header."""
    header = text.encode("latin-1").ljust(118) + b"\n"
    return npy.magic(1, 0) + len(header).to_bytes(2, "little") + header + bytes(12)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    SequenceDataset(np.random.default_rng(1).integers(3, size=(30, 6)), 3).save(
        tmp_path / "data.h5"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", HEADERS)
def test_damaged_headers_are_refused(tmp_path, name):
    (tmp_path / "bad.npy").write_bytes(with_header(HEADERS[name]))
    with pytest.raises(InputError, match=r"cannot read .*bad\.npy: ") as refused:
        read_npy(tmp_path / "bad.npy")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_it_in_one_line(folder, capsys, command):
    (folder / "bad.npy").write_bytes(with_header(HEADERS["unclosed"]))
    assert main([*command.split(), "--threads", "1"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "bad.npy" in captured.err
    assert not list(folder.glob("new.*"))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("fields.npy", "w") as stream:
            npy.write_array_header_1_0(
                stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 22,)}
            )
            stream.write(bytes(1 << 25))
    assert len(read_npz(tmp_path / "bomb.npz", ["fields"])["fields"]) == 1 << 22
    monkeypatch.setattr("pottsattn._core.foreign.available_memory", lambda: 1 << 24)
    with pytest.raises(InputError, match=r"takes 32\.0 MiB of memory, 16\.0 MiB are available"):
        read_npz(tmp_path / "bomb.npz", ["fields"])


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
@pytest.mark.parametrize("kind", [bool, np.int8, ">i4", np.float32, complex, "<U3"])
@pytest.mark.parametrize("order", "CF")
def test_whole_arrays_are_those_of_numpy(tmp_path, rng, shape, kind, order):
    array = np.asarray(rng.integers(9, size=shape).astype(kind), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", b=array, c=array)
    for found in (read_npy(tmp_path / "a.npy"), read_npz(tmp_path / "a.npz", ["c", "d"])["c"]):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
