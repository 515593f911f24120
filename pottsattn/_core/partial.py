"""FILE.partial: what a killed run has done, as an append-only list of records.

A record is a few named arrays, framed by a length and a CRC-32. A kill at any moment leaves whole
records and possibly the beginning of one, which is dropped; nothing that was whole is lost. The
first record is the configuration of the run.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.interrupts import interrupts_wait
from pottsattn._core.storage import to_json
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import lock, sync_folder

MAGIC = b"pottsattn.partial/1\n"
FRAME = struct.Struct("<QI")  # bytes and CRC-32 of what follows
Arrays = dict[str, NDArray[Any]]


class PartialFile:
    """An open FILE.partial, locked against a second writer.

    Parameters
    ----------
    path
        Of the partial file itself.
    config
        Facts that decide the data; a file with other facts is refused.

    Attributes
    ----------
    n_dropped_bytes : int
        Bytes of damaged or incomplete records at the end, cut off when the file was opened.

    Raises
    ------
    InputError
        The file cannot be written, is in use, is damaged at its beginning, or belongs to a run with
        another configuration, which is named.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config
        plain: dict[str, Any] = json.loads(to_json(config))
        try:
            self._file: BinaryIO = open(path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        self.n_dropped_bytes = 0
        try:
            self._lock()
            self._file.seek(0, os.SEEK_END)
            size = self._file.tell()
            if size == 0:
                self._file.write(MAGIC)
                self._offsets: list[int] = []
                self._end = len(MAGIC)
                self.append({"config": np.frombuffer(to_json(plain).encode(), np.uint8)})
                return
            self._open_old(plain, size)
        except BaseException:
            self._file.close()
            raise

    def _open_old(self, config: dict[str, Any], size: int) -> None:
        self._file.seek(0)
        damaged = (
            f"{self.path} is damaged or not the partial file of a run; remove it to start anew"
        )
        if self._file.read(len(MAGIC)) != MAGIC:
            if size < len(MAGIC):  # killed while it was created
                self._file.truncate(0)
                self._file.write(MAGIC)
            else:
                raise InputError(damaged)
        self._offsets, self._end = self._scan()
        if not self._offsets:
            if size > len(MAGIC) + FRAME.size + len(to_json(config)) + 4096:
                raise InputError(damaged)
            self._file.truncate(len(MAGIC))
            self.append({"config": np.frombuffer(to_json(config).encode(), np.uint8)})
            return
        old = json.loads(self._read(self._offsets[0])["config"].tobytes())
        difference = describe_difference(old, config)
        if difference:
            raise InputError(
                f"{self.path} belongs to a run with other options ({difference}); repeat that "
                "command to continue it, or remove the file to start anew"
            )
        self.n_dropped_bytes = size - self._end
        self._file.truncate(self._end)

    def _lock(self) -> None:
        try:
            lock(self._file.fileno())
        except BlockingIOError as error:
            raise InputError(f"{self.path} is in use by another process; wait for it") from error

    def _scan(self) -> tuple[list[int], int]:
        """Return the offsets of the whole records, and where they end."""
        offsets, at = [], len(MAGIC)
        self._file.seek(0, os.SEEK_END)
        size = self._file.tell()
        while at + FRAME.size <= size:
            self._file.seek(at)
            n_bytes, crc = FRAME.unpack(self._file.read(FRAME.size))
            if at + FRAME.size + n_bytes > size:
                break
            if zlib.crc32(self._file.read(n_bytes)) != crc:
                break
            offsets.append(at)
            at += FRAME.size + n_bytes
        return offsets, at

    def append(self, arrays: Arrays) -> None:
        """Add a record; on an error the file is what it was before.

        Raises
        ------
        InputError
            The disk is full or fails.
        """
        head = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
        text = json.dumps(head).encode()
        blobs = [struct.pack("<I", len(text)), text]
        blobs += [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
        payload = b"".join(blobs)
        try:
            with interrupts_wait():
                self._file.write(FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
                self._file.flush()
                os.fsync(self._file.fileno())
                self._offsets.append(self._end)
                self._end += FRAME.size + len(payload)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; what it holds is whole: make room "
                "and repeat the command to continue"
            ) from error

    def __len__(self) -> int:
        """Return the number of records after the configuration."""
        return len(self._offsets) - 1

    def records(self) -> Iterator[Arrays]:
        """Yield the arrays of every record after the configuration."""
        return (self._read(offset) for offset in self._offsets[1:])

    def last(self) -> Arrays | None:
        """Return the last record, or None."""
        return self._read(self._offsets[-1]) if len(self) else None

    def _read(self, offset: int) -> Arrays:
        self._file.seek(offset)
        n_bytes, _ = FRAME.unpack(self._file.read(FRAME.size))
        payload = memoryview(self._file.read(n_bytes))
        (n_head,) = struct.unpack_from("<I", payload)
        head = json.loads(bytes(payload[4 : 4 + n_head]))
        arrays, at = {}, 4 + n_head
        for name, (kind, shape) in head.items():
            count = int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(payload, kind, count, at).reshape(shape)
            at += count * np.dtype(kind).itemsize
        return arrays

    def replace_by(self, other: PartialFile) -> None:
        """Put the file of `other` in the place of this one, and go on with it."""
        with interrupts_wait():
            os.replace(other.path, self.path)
            sync_folder(self.path.parent)
            self._file.close()
            self._file, self._offsets, self._end = other._file, other._offsets, other._end

    def close(self, *, remove: bool = False) -> None:
        """Close the file, and remove it if told so."""
        if remove:
            with suppress(OSError):
                self.path.unlink()
        self._file.close()


def describe_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what differs between two configurations, in words, or ""."""
    parts = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            parts.append(describe_difference(before, now))
        else:
            parts.append(f"{name}: {_short(before)} there, {_short(now)} here")
    return "; ".join(parts)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
