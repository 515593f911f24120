"""Files that other programs wrote: text line by line, and arrays whose header is believed last.

What a file declares is compared with what it holds before memory is asked for, and compressed text
is unpacked as it is read, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pottsattn._core.display import readable_bytes
from pottsattn._core.machine import available_memory
from pottsattn._core.validate import InputError

GZIP_START, ZIP_START = b"\x1f\x8b", b"PK\x03\x04"
LONGEST_LINE = 1 << 20  # characters; a line of text that a person or a program meant is shorter


def text_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the lines of a text file (UTF-8, plain or gzip-compressed) in bounded memory.

    Raises
    ------
    InputError
        The file cannot be read, is no text, or a line has more than 2^20 characters.
    """
    try:
        with Path(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == GZIP_START
            unpacked: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(unpacked, encoding="utf-8-sig") as text:
                number = 0
                while line := text.readline(LONGEST_LINE):
                    number += 1
                    if len(line) == LONGEST_LINE and not line.endswith("\n"):
                        raise InputError(
                            f"cannot read {path}: line {number} has more than {LONGEST_LINE} "
                            "characters; expected a text file"
                        )
                    yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: not a text file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"cannot read {path}: truncated or damaged gzip") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array of numbers in a .npy file.

    Raises
    ------
    InputError
        The file cannot be read, is no .npy file of numbers, or declares more than it holds or than
        memory can take.
    """
    try:
        with Path(path).open("rb") as stream:
            if stream.peek(4)[:4] == ZIP_START:
                raise InputError(
                    f"cannot read {path}: an archive of arrays; save one of them as .npy"
                )
            return _read_array(stream, os.fstat(stream.fileno()).st_size, str(path))
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_npz(
    path: str | os.PathLike[str], names: Iterable[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Return the arrays that a .npz archive holds, or those of them that are named.

    Raises
    ------
    InputError
        As for `read_npy`.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            for name in held if names is None else names:
                if info := held.get(name):
                    with archive.open(info) as stream:
                        arrays[name] = _read_array(stream, info.file_size, f"{path} ({name})")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path}: expected a .npz file of arrays") from error
    return arrays


def _read_array(stream: IO[bytes], n_bytes: int, what: str) -> NDArray[Any]:
    """Return the array of a stream of `n_bytes` bytes in the format of NumPy."""
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, in_columns, kind = reader(stream)
        declared = math.prod(shape) * kind.itemsize
    except Exception as error:  # a header is Python text: NumPy lets through what its parsers raise
        if isinstance(error, (OSError, zipfile.BadZipFile, zlib.error)):
            raise
        raise InputError(f"cannot read {what}: not a .npy file of numbers") from error
    if kind.kind not in "biufcU" or min(shape, default=0) < 0:
        raise InputError(f"cannot read {what}: not a .npy file of numbers, its type is {kind}")
    check_declared(what, declared, n_bytes - stream.tell())
    array: NDArray[Any] = np.empty(math.prod(shape), kind)
    if declared and stream.readinto(array.view(np.uint8)) != declared:  # type: ignore[attr-defined]
        raise InputError(f"cannot read {what}: truncated, expected {readable_bytes(declared)}")
    return array.reshape(shape, order="F" if in_columns else "C")


def check_declared(what: str, declared: int, held: int) -> None:
    """Raise InputError if something declares more bytes than a file holds, or than memory has."""
    if declared > held:
        raise InputError(
            f"cannot read {what}: it declares {readable_bytes(declared)} of numbers and holds "
            f"{readable_bytes(max(held, 0))}; damaged or truncated"
        )
    available = available_memory()
    if available is not None and declared > available:
        raise InputError(
            f"cannot read {what}: it takes {readable_bytes(declared)} of memory, "
            f"{readable_bytes(available)} are available"
        )
