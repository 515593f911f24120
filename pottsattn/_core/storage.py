"""Files that say what they are.

Every HDF5 file carries `format = "pottsattn.KIND/1"` and `provenance` (JSON); nothing is pickled.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pottsattn._core.formats import LAYOUTS
from pottsattn._core.layout import check_layout
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import write_whole
from pottsattn._version import __version__

if TYPE_CHECKING:
    import h5py

FORMAT_PREFIX = "pottsattn."
HASH_BLOCK_BYTES = 1 << 24
LOCK_PATIENCE = 2.0  # seconds that a reader waits for a writer
LOCK_POLL = 0.05


def write_csv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a CSV file with one header line; NaN is an empty cell, booleans are 0 and 1."""
    with write_whole(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (float, np.floating)) and not math.isfinite(value):
        return ""
    return value


@contextmanager
def create_hdf5(
    path: str | os.PathLike[str], kind: str, made_by: dict[str, Any]
) -> Iterator[h5py.File]:
    """Give an open HDF5 file of format `pottsattn.<kind>/1`; it appears at `path` once whole."""
    import h5py

    with write_whole(path) as temporary:
        with _PatientFile(temporary, "w+") as stream:
            try:
                # From version 1.10 on HDF5 allows attributes above 64 KB (columns of long data).
                with h5py.File(stream, "w", libver=("v110", "latest")) as file:
                    file.attrs["format"] = f"{FORMAT_PREFIX}{kind}/1"
                    file.attrs["provenance"] = to_json(made_by)
                    yield file
            finally:
                if stream.error is not None:
                    raise stream.error


class _PatientFile(io.FileIO):
    """Keeps the first error of a write (a full disk) until HDF5 is done, which can crash on one."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while self.error is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return size or 0


def read_only(path: str | os.PathLike[str]) -> h5py.File:
    """Return an open HDF5 file, whatever it holds; a locked one is waited for, for 2 s.

    Raises
    ------
    InputError
        No such file, not HDF5, truncated, not readable, or still locked.
    """
    import h5py

    source = Path(path)
    if os.path.isdir(source):
        raise InputError(f"cannot read {source}: it is a directory, expected a file")
    if not os.path.exists(source):
        raise InputError(f"cannot read {source}: no such file")
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            return h5py.File(source, "r")
        except PermissionError as error:
            raise InputError(f"cannot read {source}: permission denied") from error
        except OSError as error:
            locked = "unable to lock file" in str(error)
            if not locked:
                state = "truncated or damaged" if is_hdf5(source) else "not an HDF5 file"
                raise InputError(f"cannot read {source}: {state}") from error
            if time.monotonic() > deadline:
                raise InputError(
                    f"cannot read {source}: it is locked, as by a program that writes to it "
                    f"(waited {LOCK_PATIENCE:g} s); try again when that has ended"
                ) from error
        time.sleep(LOCK_POLL)


@contextmanager
def open_hdf5(
    path: str | os.PathLike[str], kind: str | None = None, *, any_layout: bool = False
) -> Iterator[h5py.File]:
    """Give a read-only HDF5 file of this package; `kind` (such as "fit") is checked if given.

    What it holds is laid out as its format says (`pottsattn._core.formats`), unless any layout
    will do.

    Raises
    ------
    InputError
        As `read_only`, or not ours, of another kind, or with an attribute or data set that is not
        what it must be, which is named.
    """
    source = Path(path)
    file = read_only(source)
    with file:
        try:
            layout = LAYOUTS.get(_check_format(file, source, kind), {})
            try:
                check_layout(file, {} if any_layout else layout)
            except InputError as error:
                raise InputError(
                    f"cannot read {source}: damaged or incomplete ({error})"
                ) from error
            yield file
        except InputError as error:
            if str(source) in str(error):
                raise
            raise InputError(f"{source}: {error}") from error
        except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            # What is missing, of another kind or unreadable in an otherwise valid HDF5 file.
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise InputError(f"cannot read {source}: damaged or incomplete ({reason})") from error


def _check_format(file: h5py.File, source: Path, kind: str | None) -> str:
    """Return the kind of a file; InputError if it is not ours, newer or another."""
    found = file.attrs.get("format", None)
    if not isinstance(found, str) or not found.startswith(FORMAT_PREFIX):
        raise InputError(f"cannot read {source}: HDF5, but not written by pottsattn")
    name, _, version = found.removeprefix(FORMAT_PREFIX).partition("/")
    if version != "1":
        raise InputError(
            f"cannot read {source}: format {found} is newer than pottsattn {__version__}; "
            "update pottsattn"
        )
    if kind is not None and name != kind:
        raise InputError(f"{source} holds {found}, expected {FORMAT_PREFIX}{kind}/1")
    return name


def is_hdf5(path: Path) -> bool:
    """Return whether a file starts as HDF5 files do."""
    with path.open("rb") as stream:
        return stream.read(8) == b"\x89HDF\r\n\x1a\n"


def file_format(path: str | os.PathLike[str]) -> str:
    """Return the kind of a file: such as "sequences", "model", "fit" or "curve"."""
    with open_hdf5(path, any_layout=True) as file:
        return str(file.attrs["format"]).removeprefix(FORMAT_PREFIX).partition("/")[0]


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 over all data sets of a file (names, types, shapes, values).

    Attributes (times, command, versions) are outside, so equal numbers give equal hashes.
    """
    digest = hashlib.sha256()
    with open_hdf5(path, any_layout=True) as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if _is_dataset(item) else None)
        for name in sorted(names):
            dataset: h5py.Dataset = file[name]
            digest.update(f"{name} {dataset.dtype.str} {dataset.shape}".encode())
            if dataset.ndim == 0:
                digest.update(_as_bytes(dataset[()]))
                continue
            row_bytes = max(1, dataset.dtype.itemsize * math.prod(dataset.shape[1:]))
            step = max(1, HASH_BLOCK_BYTES // row_bytes)
            for start in range(0, dataset.shape[0], step):
                digest.update(_as_bytes(dataset[start : start + step]))
    return digest.hexdigest()


def _as_bytes(values: Any) -> bytes:
    array = np.asarray(values)
    if array.dtype.kind == "O":  # strings: the array holds addresses, not text
        items = array.ravel().tolist()
        return b"\0".join(x if isinstance(x, bytes) else str(x).encode() for x in items)
    return array.tobytes()


def _is_dataset(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Dataset)


def provenance(**facts: Any) -> dict[str, Any]:
    """Return how a file came to be: versions, platform, command line and the given facts."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"pottsattn": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "scipy", "torch", "h5py"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""
    return {"versions": versions, "platform": platform.platform(), "command": command, **facts}


def to_json(value: Any) -> str:
    """Return strict JSON; NumPy numbers and arrays become plain, non-finite numbers null."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
