"""Files of aligned sequences: FASTA, A2M, A3M and Stockholm, plain or gzip-compressed.

Inserts are left out here. In FASTA, A2M and Stockholm they are the columns whose symbols are all
lower case or `.`. In A3M, and in A2M without dots, they are all lower-case letters: records then
differ in length by their inserts only.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import readable_bytes
from pottsattn._core.machine import available_memory
from pottsattn._core.validate import InputError

FORMATS = {  # by suffix
    ".fasta": "FASTA",
    ".fa": "FASTA",
    ".a2m": "A2M",
    ".a3m": "A3M",
    ".sto": "Stockholm",
    ".stockholm": "Stockholm",
}
STOCKHOLM = b"# STOCKHOLM"
LOWER = bytes(range(ord("a"), ord("z") + 1))
INSERTS = LOWER + b"."
IS_INSERT = bytes(code in INSERTS for code in range(256))
# HH-suite puts predicted and known structure before the sequences of an A3M file.
ANNOTATIONS = ("ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "sa_pred", "aa_dssp", "aa_pred")
BLOCK = 1 << 24  # bytes read at once
READING = 9  # bytes of memory for a byte of text, while it is read (measured)
RECORD = 300  # bytes for a sequence: its name, lists of lines (measured)


@dataclass(frozen=True, eq=False)
class Records:
    """The match columns of a file, in the letters of the file."""

    names: list[str]
    raw: list[bytes]  # with inserts
    letters: NDArray[np.uint8]  # (M, L); in match columns, '.' is a gap
    is_match: NDArray[np.bool_] | None  # of the columns of `raw`; None: inserts are by letter
    n_insert_columns: int
    n_insert_letters: int  # where inserts are by letter
    n_annotations: int  # records that are no sequences

    def residue_numbers(self, record: int) -> tuple[NDArray[np.int64], int]:
        """Return the number of residues up to each match column, and in all, inserts included."""
        row = np.frombuffer(self.raw[record], dtype=np.uint8)
        is_residue = (row != ord("-")) & (row != ord("."))
        is_match = self.is_match
        if is_match is None:
            is_match = ~np.frombuffer(self.raw[record].translate(IS_INSERT), dtype=np.bool_)
        return np.cumsum(is_residue)[is_match], int(is_residue.sum())


def alignment_format(path: str | os.PathLike[str]) -> str | None:
    """Return the format of an alignment by its suffix, before .gz if there is one, or None."""
    name = Path(path).name.lower()
    return FORMATS.get(Path(name.removesuffix(".gz")).suffix)


def read_records(path: Path) -> Records:
    """Return what the file holds, in the format of its suffix; FASTA for other suffixes.

    Raises
    ------
    InputError
        Unreadable, empty or binary file, one that does not have its format or is larger than
        memory, and records of unequal length; the message names the record.
    """
    form = alignment_format(path) or "FASTA"
    lines = _content(path, form).splitlines()
    names, raw = _stockholm(path, lines) if form == "Stockholm" else _fasta(path, lines, form)
    del lines  # as large as the file
    n_annotations = 0
    if form == "A3M":
        kept = [m for m, name in enumerate(names) if not name.startswith(ANNOTATIONS)]
        n_annotations = len(names) - len(kept)
        names, raw = [names[m] for m in kept], [raw[m] for m in kept]
    if not raw:
        raise InputError(f"{path} holds no sequence, expected an alignment in {form} format")
    if form == "A3M" or (form == "A2M" and _has_no_dots(raw)):
        return _by_letter(path, names, raw, n_annotations)
    return _by_column(path, names, raw, form)


def _content(path: Path, form: str) -> bytes:
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise InputError(f"cannot read {path}: it is a directory, expected an alignment")
    try:
        available = available_memory()
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
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
    if not content.strip():
        raise InputError(f"{path} is empty, expected sequences in {form} format")
    if b"\0" in content:
        raise InputError(f"{path} is a binary file, expected sequences in {form} format")
    return content


def reading_bytes(n_letters: int, n_records: int = 0) -> int:
    """Return the bytes of memory that reading a text takes."""
    return READING * n_letters + RECORD * n_records


def _check_size(path: Path, size: int, available: int | None) -> None:
    needed = reading_bytes(size)
    if available is not None and needed > available:
        raise InputError(
            f"{path}: reading {readable_bytes(size)} of text takes {readable_bytes(needed)}"
            f" of memory, {readable_bytes(available)} are available; split the file, or remove "
            "similar sequences first"
        )


def _fasta(path: Path, lines: list[bytes], form: str) -> tuple[list[str], list[bytes]]:
    names: list[str] = []
    records: list[list[bytes]] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith(b">"):
            names.append(_text(text[1:].strip()) or f"#{len(names) + 1}")
            records.append([])
        elif text and not records:
            if form == "A3M" and text.startswith(b"#"):
                continue
            shown = text[:20].decode("ascii", errors="replace")
            remedy = "; name a Stockholm file .sto" if text.startswith(STOCKHOLM) else ""
            raise InputError(
                f"{path} is not {form}: line {number} starts with {shown!r}, expected '>'{remedy}"
            )
        elif text:
            records[-1].append(text.replace(b" ", b""))
    return names, [b"".join(parts) for parts in records]


def _stockholm(path: Path, lines: list[bytes]) -> tuple[list[str], list[bytes]]:
    """Names and sequences; blocks of wrapped sequences are set apart by blank lines."""
    records: dict[bytes, list[bytes]] = {}
    in_block: set[bytes] = set()
    block_length = 0
    first = next(number for number, line in enumerate(lines) if line.strip())
    if not lines[first].startswith(STOCKHOLM):
        shown = lines[first][:20].decode("ascii", errors="replace")
        raise InputError(
            f"{path} is not Stockholm: it starts with {shown!r}, expected '# STOCKHOLM 1.0'"
        )
    is_ended = False
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        words = line.split()
        if is_ended and words:
            what = "another alignment" if line.startswith(STOCKHOLM) else "text"
            raise InputError(
                f"{path}: line {number} has {what} after the end '//'; give one alignment a file"
            )
        if not words:
            in_block.clear()
        elif words == [b"//"]:
            is_ended = True
        elif not words[0].startswith(b"#"):
            name = _text(words[0])
            if len(words) != 2:
                raise InputError(
                    f"{path}: line {number} ({name}) has {len(words)} words, expected a name and "
                    "a sequence without blanks"
                )
            if words[0] in in_block:
                raise InputError(
                    f"{path}: line {number} has {name} once more in one block; names must be unique"
                )
            if in_block and len(words[1]) != block_length:
                raise InputError(
                    f"{path}: line {number} ({name}) has {len(words[1])} columns, the lines "
                    f"before it in this block have {block_length}; the sequences must be aligned"
                )
            block_length = len(words[1])
            in_block.add(words[0])
            records.setdefault(words[0], []).append(words[1])
    if not is_ended:
        raise InputError(f"{path} does not end with '//', the file may have been cut off")
    return [_text(name) for name in records], [b"".join(parts) for parts in records.values()]


def _text(name: bytes) -> str:
    """Return a name that prints on one line."""
    text = name.decode("utf-8", errors="replace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _has_no_dots(raw: list[bytes]) -> bool:
    """Whether inserts of an A2M file are not padded: its columns do not line up, its letters do."""
    lengths = {len(record) for record in raw}
    if len({len(record.translate(None, INSERTS)) for record in raw}) > 1:
        return False
    if len(lengths) > 1:
        return True
    is_insert = _insert_mask(raw)
    return bool((is_insert.any(axis=0) & ~is_insert.all(axis=0)).any())


def _insert_mask(raw: list[bytes]) -> NDArray[np.bool_]:
    mask = np.frombuffer(b"".join(raw).translate(IS_INSERT), dtype=np.bool_)
    return mask.reshape(len(raw), -1)


def _by_letter(path: Path, names: list[str], raw: list[bytes], n_annotations: int) -> Records:
    kept = [record.translate(None, INSERTS) for record in raw]
    _check_lengths(path, names, kept, "match columns (upper case and '-')")
    n_insert_letters = sum(len(record) - len(record.translate(None, LOWER)) for record in raw)
    return Records(names, raw, _matrix(kept), None, 0, n_insert_letters, n_annotations)


def _by_column(path: Path, names: list[str], raw: list[bytes], form: str) -> Records:
    remedy = ""
    if form != "Stockholm" and len({len(record.translate(None, INSERTS)) for record in raw}) == 1:
        remedy = "; without lower case they are: name an A3M file .a3m"
    _check_lengths(path, names, raw, "columns", remedy)
    is_match = np.logical_not(_insert_mask(raw).all(axis=0))
    if not is_match.any():
        raise InputError(
            f"{path}: every column is an insert (all lower case or '.'); "
            "if this is an ordinary alignment in lower case, convert it to upper case"
        )
    letters = _matrix(raw)
    if not is_match.all():
        letters = letters[:, is_match]
    return Records(names, raw, letters, is_match, int((~is_match).sum()), 0, 0)


def _matrix(records: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(records), dtype=np.uint8).reshape(len(records), -1)


def _check_lengths(
    path: Path, names: list[str], records: list[bytes], what: str, remedy: str = ""
) -> None:
    length = len(records[0])
    for index, record in enumerate(records):
        if len(record) != length:
            raise InputError(
                f"{path}: record {index + 1} ({names[index]}) has {len(record)} {what}, "
                f"the first record has {length}; the sequences must be aligned{remedy}"
            )
    if length == 0:
        raise InputError(f"{path}: the sequences are empty, expected {what}")
