"""Damaged files: bytes, the structure and the values of HDF5 and NumPy files, and texts."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

WORDS = (b"\x00", b"\xff" * 8, b"\x89HDF\r\n\x1a\n", b"TREE", b"HEAP", b"GCOL", b"SNOD",
         b"\x1f\x8b", b"PK\x03\x04", b"\x93NUMPY", b"\n", b"\r\n", b"{", b"'",
         b"\x1b[31m")  # fmt: skip
TOKENS = (
    "", "0", "1", "-1", "nan", "inf", "-inf", "1e400", "1e308", "99999999999999999999",
    "9223372036854775808", "2147483648", "0x10", "1_0", "²", "x", "X", "-", ".", "*", ">", "#",
    "\x00", "\x1b[2J", "\u00fc", "\ufeff", "\u2028", "'", '"', "[", "]", "=", "{}", "\t", ",", ",,",
    "A" * 5000, "# STOCKHOLM 1.0", "CLUSTAL", ">", ">s0", "//",
)  # fmt: skip
NUMBERS = (np.nan, np.inf, -np.inf, -1, 0, 1e308, 5e-324, 2**31, 2**63 - 1, 255)


def damage_bytes(path: Path, rng: Random) -> None:
    """Change a few bytes or blocks, cut off the end, or put other bytes in."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64, 512))
        kind = rng.randrange(7)
        if kind == 0:
            del content[at:]
        elif kind == 1:
            del content[at : at + size]
        elif kind == 2:
            content[at : at + size] = rng.randbytes(size)
        elif kind == 3:
            content[at : at + size] = bytes(size)
        elif kind == 4:
            content[at:at] = rng.choice(WORDS)
        elif kind == 5:
            content[at : at + size] = content[at : at + size] * 2
        elif at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        if not content:
            break
    path.write_bytes(content)


def damage_text(path: Path, rng: Random) -> None:
    """Change tokens and lines of a text, its line ends and its compression."""
    content = path.read_bytes()
    is_packed = content[:2] == b"\x1f\x8b"
    text = (gzip.decompress(content) if is_packed else content).decode(errors="replace")
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, rng.choice(lines))
        elif kind == 2:
            lines.insert(at, rng.choice(TOKENS))
        elif kind == 3:
            del lines[at:]
        else:
            words = lines[at].split(" ") if rng.random() < 0.7 else list(lines[at])
            if words:
                words[rng.randrange(len(words))] = rng.choice(TOKENS)
            lines[at] = " ".join(words)
        lines = lines or [""]
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
    changed = text.encode(errors="replace")
    if is_packed != (rng.random() < 0.1):
        changed = gzip.compress(changed)
        if rng.random() < 0.2:
            changed = changed[: rng.randrange(len(changed))]
    path.write_bytes(changed)


def damage_numpy(path: Path, rng: Random) -> None:
    """Write other values in the place of an array."""
    if path.suffix == ".npz":
        arrays = dict(np.load(path))
        name = rng.choice(sorted(arrays))
        arrays[name] = changed_array(arrays[name], rng)
        if rng.random() < 0.2:
            del arrays[name]
        np.savez(path, **arrays)
    else:
        np.save(path, changed_array(np.load(path), rng))


def changed_array(array: np.ndarray, rng: Random) -> np.ndarray:
    """Return an array of another shape or type, or with another value."""
    kind = rng.randrange(7)
    if kind == 0:
        return array.astype(rng.choice(("f4", "f8", "i1", "i8", "u8", "c16", "S3", "U3", "?", "O")))
    if kind == 1:
        return array[: rng.choice((0, 1, max(0, len(array) - 1)))] if array.ndim else array[None]
    if kind == 2:
        return rng.choice((array.T, array[..., None], array.ravel(), array[None]))
    if kind == 3:
        return np.concatenate([array, array]) if array.ndim else np.array([array, array])
    if kind == 4:
        return np.asarray(rng.choice(NUMBERS))
    changed = np.array(array)
    if changed.size and changed.dtype.kind in "iufb":
        with np.errstate(all="ignore"):
            value = np.asarray(rng.choice(NUMBERS)).astype(changed.dtype)
        changed.ravel()[rng.randrange(changed.size)] = value
        if kind == 5:
            changed[...] = value
    return changed


def damage_hdf5(path: Path, rng: Random) -> None:
    """Change one or two attributes, data sets or links of a valid HDF5 file."""
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 1, 2))):
            owners: list[Any] = [file]
            file.visititems(lambda name, item, owners=owners: owners.append(item))
            attributes = [(owner, name) for owner in owners for name in sorted(owner.attrs)]
            items = [owner.name for owner in owners[1:]]
            if attributes and rng.random() < 0.5:
                _change_attribute(*rng.choice(attributes), rng)
            elif items:
                _change_item(file, rng.choice(items), rng)


def _change_attribute(owner: Any, name: str, rng: Random) -> None:
    old = owner.attrs[name]
    kind = rng.randrange(6)
    if kind == 0:
        del owner.attrs[name]
        return
    value = wild_value(rng)
    if kind == 1 and isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        value = old[:at] + rng.choice(TOKENS).replace("\x00", "") + old[at + 1 :]
    elif kind in (2, 3):
        value = changed_array(np.asarray(old), rng) if not isinstance(old, str) else value
    _set(owner, name, value)


def _set(owner: Any, name: str, value: Any) -> None:
    """Set an attribute to a value that HDF5 can hold, or delete it."""
    del owner.attrs[name]
    try:
        owner.attrs[name] = value
    except (TypeError, ValueError, OSError):
        return


def _change_item(file: Any, name: str, rng: Random) -> None:
    item = file[name]
    is_small = isinstance(item, h5py.Dataset) and item.nbytes < 1e8  # some declare terabytes
    old = item[()] if is_small else None
    del file[name]
    kind = rng.randrange(14)
    try:
        if kind == 0:
            return
        if kind < 7 and isinstance(old, np.ndarray):
            file[name] = changed_array(old, rng)
        elif kind == 7:
            file[name] = wild_value(rng)
        elif kind == 8:
            file.create_group(name)
        elif kind == 9:
            file[name] = h5py.SoftLink(rng.choice((name, "/", "/nowhere")))
        elif kind == 10:
            file[name] = h5py.ExternalLink(rng.choice(("/dev/zero", "none.h5", "/etc")), "/x")
        elif kind == 11:
            shape = rng.choice(((1 << 40,), (1 << 33, 1000), (1 << 20, 1 << 20)))
            file.create_dataset(name, shape=shape, dtype=rng.choice(("u1", "f8")), chunks=True)
        elif kind == 12:
            layout = h5py.VirtualLayout(shape=(60, 8), dtype="u1")
            layout[...] = h5py.VirtualSource(rng.choice(("none.h5", ".")), "x", shape=(60, 8))
            file.create_virtual_dataset(name, layout)
        else:
            file.create_dataset(name, (60, 8), "u1", external=[("/dev/zero", 0, 480)])
    except (TypeError, ValueError, OSError, RuntimeError):
        return


def wild_value(rng: Random) -> Any:
    """Return a value of any type that an attribute or a data set may have."""
    return rng.choice(WILD)


WILD = (
    h5py.Empty("f8"), h5py.Empty("S1"), np.nan, np.inf, -1, 0, 3, 2**62, 1e308, True, "", "x", "{}",
    "[]", "null", '{"a": [1, 2', "nan", "\u00fc" * 100, np.bytes_(b"\xff\xfe"), [], [1, 2],
    [1.5, np.nan], np.zeros((2, 2)), np.zeros((0, 3)), np.zeros(1000), 1j,
    np.array(["a", "b"], dtype=h5py.string_dtype()),
    np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]), np.array([b"a", b"b"]),
)  # fmt: skip


def damage(path: Path, rng: Random) -> None:
    """Damage a file in one of the ways that suit it."""
    chance = rng.random()
    if path.suffix == ".h5" and chance < 0.65:
        damage_hdf5(path, rng)
    elif path.suffix in (".npy", ".npz") and chance < 0.5:
        damage_numpy(path, rng)
    elif path.suffix not in (".h5", ".npy", ".npz") and chance < 0.8:
        damage_text(path, rng)
    else:
        damage_bytes(path, rng)
