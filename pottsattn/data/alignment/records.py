"""Files of aligned sequences, plain or gzip-compressed: their text, and which columns are inserts.

Inserts are left out here. They are the columns whose symbols are all lower case or `.`. In A3M, and
where records differ in length by their inserts only, they are all lower-case letters.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import readable_bytes
from pottsattn._core.machine import available_memory
from pottsattn._core.validate import InputError
from pottsattn.data.alignment.formats import Text, parse

LOWER = bytes(range(ord("a"), ord("z") + 1))
NOT_LOWER = bytes(code for code in range(256) if code not in LOWER)
INSERTS = LOWER + b"."
IS_INSERT = bytes(code in INSERTS for code in range(256))
PACKED = {  # first bytes of what is no text
    rb"BZh[1-9]1AY&SY": "bzip2",
    rb"\xfd7zXZ": "xz",
    rb"\x28\xb5\x2f\xfd": "zstd",
    rb"PK\x03\x04": "zip",
}
BLOCK = 1 << 24  # bytes read at once
READING = 9  # bytes of memory for a byte of text, while it is read (measured)
RECORD = 300  # bytes for a sequence: its name, lists of lines (measured)


@dataclass(frozen=True, eq=False)
class Records:
    """The match columns of a file, in the letters of the file."""

    letters: NDArray[np.uint8]  # (M, L); in match columns, '.' is a gap
    is_match: NDArray[np.bool_] | None  # of the columns of the file; None: inserts are by letter
    n_insert_letters: int  # where inserts are by letter


def read_text(path: Path) -> Text:
    """Return what the file holds, in the format that its content has.

    Raises
    ------
    InputError
        Unreadable, empty or binary file, one without a format that is known, or one larger than
        memory.
    """
    return parse(path, _content(path))


def own_columns(text: Text) -> Records:
    """Return the columns that are no inserts, as this file alone tells.

    Raises
    ------
    InputError
        Records of unequal length (the message names one), or lower case that can be meant in two
        ways.
    """
    if inserts_are_letters(text):
        return by_letter(text)
    return _by_column(text)


def inserts_are_letters(text: Text) -> bool:
    """Return whether all lower-case letters are inserts, so that columns need not line up.

    Raises
    ------
    InputError
        Lower case can be meant in two ways.
    """
    if text.form == "A3M":
        return True
    rows = text.rows
    if text.form not in ("FASTA", "A2M") or not _all_equal(map(n_match, rows)):
        return False
    if not _all_equal(map(len, rows)):
        return True
    if n_match(rows[0]) == len(rows[0]) or any(b"." in row for row in rows):
        return False
    mask = _insert_mask(rows)
    is_mixed = bool((mask.any(axis=0) & ~mask.all(axis=0)).any())
    if is_mixed and text.form == "FASTA":
        raise InputError(
            f"{text.path}: lower-case letters may be inserts, as in A3M, or not: every record has "
            f"{len(rows[0])} columns with and {n_match(rows[0])} without them; name the file .a3m "
            "if they are inserts, else write them in upper case"
        )
    return is_mixed


def by_letter(text: Text) -> Records:
    """Return the match columns where all lower-case letters, and `.`, are inserts."""
    kept = [row.translate(None, INSERTS) for row in text.rows]
    check_lengths(text, kept, "match columns (upper case and '-')")
    return Records(matrix(kept), None, sum(map(_n_lower, text.rows)))


def matrix(rows: list[bytes]) -> NDArray[np.uint8]:
    """Return rows of equal length as an array."""
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), -1)


def n_match(row: bytes) -> int:
    """Return how many symbols of a row are no inserts."""
    return len(row.translate(None, INSERTS))


def check_lengths(text: Text, rows: list[bytes], what: str) -> None:
    """Raise InputError for the first row of another length, or if they are empty."""
    length = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != length:
            raise InputError(
                f"{text.path}: record {index + 1} ({text.names[index]}) has {len(row)} {what}, "
                f"the first record has {length}; the sequences must be aligned"
            )
    if length == 0:
        raise InputError(f"{text.path}: the sequences are empty, expected {what}")


def reading_bytes(n_letters: int, n_records: int = 0) -> int:
    """Return the bytes of memory that reading a text takes."""
    return READING * n_letters + RECORD * n_records


def _content(path: Path) -> bytes:
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise InputError(f"cannot read {path}: it is a directory, expected an alignment")
    try:
        available = available_memory()
        with path.open("rb") as file:
            start = file.peek(16)
            for magic, name in PACKED.items():
                if re.match(magic, start):
                    raise InputError(
                        f"cannot read {path}: it is compressed by {name}; unpack it, or use gzip"
                    )
            packed = start[:2] == b"\x1f\x8b"
            with gzip.GzipFile(fileobj=file) if packed else file as stream:
                _check_size(path, 0 if packed else os.path.getsize(path), available)
                blocks = []
                while block := stream.read(BLOCK):
                    blocks.append(block)
                    _check_size(path, sum(map(len, blocks)), available)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged gzip file"
        raise InputError(f"cannot read {path}: {reason}") from error
    except ValueError as error:  # a path with a NUL character
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {error}") from error
    content = b"".join(blocks).removeprefix(b"\xef\xbb\xbf")  # the byte order mark of UTF-8
    if b"\0" in content:
        content = _before_end(path, content)
    if not content.strip():
        raise InputError(f"{path} is empty, expected an alignment")
    return content


def _before_end(path: Path, content: bytes) -> bytes:
    """Return a text without the NUL characters at its end, which ColabFold writes."""
    content = content.rstrip(b"\0 \t\r\n")
    if b"\0" not in content:
        return content
    if all(part.lstrip()[:1] in (b">", b"#") for part in content.split(b"\0")):
        raise InputError(
            f"{path} has {content.count(0) + 1} alignments with NUL characters between them, as "
            "ColabFold writes for complexes; give one alignment a file"
        )
    raise InputError(f"{path} is a binary file, expected an alignment")


def _check_size(path: Path, size: int, available: int | None) -> None:
    needed = reading_bytes(size)
    if available is not None and needed > available:
        raise InputError(
            f"{path}: reading {readable_bytes(size)} of text takes {readable_bytes(needed)}"
            f" of memory, {readable_bytes(available)} are available; split the file, or remove "
            "similar sequences first"
        )


def _n_upper(row: bytes) -> int:
    return len(row.translate(None, INSERTS + b"-"))


def _n_lower(row: bytes) -> int:
    return len(row.translate(None, NOT_LOWER))


def _all_equal(lengths: Iterable[int]) -> bool:
    others = iter(lengths)
    first = next(others)
    return all(length == first for length in others)


def _insert_mask(rows: list[bytes]) -> NDArray[np.bool_]:
    mask = np.frombuffer(b"".join(rows).translate(IS_INSERT), dtype=np.bool_)
    return mask.reshape(len(rows), -1)


def _by_column(text: Text) -> Records:
    check_lengths(text, text.rows, "columns")
    is_match = np.logical_not(_insert_mask(text.rows).all(axis=0))
    # Of an alignment in lower case, those columns would be left that have a gap.
    is_lower = not any(map(_n_upper, text.rows)) and any(map(_n_lower, text.rows))
    if not is_match.any() or is_lower:
        raise InputError(
            f"{text.path}: every column is an insert (lower case or '.'); "
            "if this is an ordinary alignment in lower case, convert it to upper case"
        )
    letters = matrix(text.rows)
    return Records(letters if is_match.all() else letters[:, is_match], is_match, 0)
