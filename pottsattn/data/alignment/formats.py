"""Texts of aligned sequences: their format is told by what they hold, and taken apart.

FASTA, A2M and A3M (records that begin with `>`), Stockholm, Clustal, PHYLIP (relaxed or strict,
sequential or interleaved), and one sequence a line without names (`.aln` of PSICOV and CCMpred).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pottsattn._core.validate import InputError

FORMATS = {  # by suffix, for what is written
    ".fasta": "FASTA",
    ".fa": "FASTA",
    ".a2m": "A2M",
    ".a3m": "A3M",
    ".sto": "Stockholm",
    ".stockholm": "Stockholm",
    ".aln": "ALN",
    ".clustal": "Clustal",
    ".phy": "PHYLIP",
}
STOCKHOLM = b"# STOCKHOLM"
CLUSTAL = re.compile(rb"CLUSTAL|(MUSCLE|PROBCONS|MSAPROBS|KALIGN)\s", re.IGNORECASE)
PHYLIP = re.compile(rb"\s*(\d{1,9})\s+(\d{1,9})(\s+[A-Za-z])*\s*")
ONE_A_LINE = re.compile(rb"[A-Za-z0-9.*+?~=_-]+")
CONSERVATION = re.compile(rb"[*:. \t]+")
# HH-suite puts predicted and known structure before the sequences of an A3M file.
ANNOTATIONS = ("ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "sa_pred", "aa_dssp", "aa_pred")
KNOWN = "FASTA, A2M, A3M, Stockholm, Clustal, PHYLIP, or one sequence a line"
PHYLIP_NAME = 10  # characters of a name in strict PHYLIP

Parsed = tuple[list[str], list[bytes]]  # names, rows
Words = tuple[int, list[bytes]]  # number of a line and its words


@dataclass(frozen=True, eq=False)
class Text:
    """The records of a file, letters as they are."""

    path: Path
    form: str  # a value of FORMATS
    names: list[str]
    rows: list[bytes]
    n_annotations: int  # records that were no sequences


def suffix_format(path: str | os.PathLike[str]) -> str | None:
    """Return the format that the suffix stands for, before .gz if there is one, or None."""
    name = Path(path).name.lower()
    return FORMATS.get(Path(name.removesuffix(".gz")).suffix)


def parse(path: Path, content: bytes) -> Text:
    """Return the records of a text that is not empty.

    Records that begin with `>` are A2M or A3M if the suffix says so: what is an insert can depend
    on it. Other suffixes are not asked.

    Raises
    ------
    InputError
        The text has no format that is known, or breaks its rules; the message names the line.
    """
    lines = content.splitlines()
    form, n_annotations = _tell(path, lines), 0
    names, rows = PARSERS[form](path, lines)
    del lines  # as large as the file
    if form in ("FASTA", "A3M"):
        wanted = suffix_format(path)
        if form == "FASTA" and wanted in ("A2M", "A3M"):
            form = wanted
        kept = [m for m, name in enumerate(names) if not is_annotation(name)]
        if len(kept) < len(names):
            form, n_annotations = "A3M", len(names) - len(kept)
            names, rows = [names[m] for m in kept], [rows[m] for m in kept]
    if not rows:
        raise InputError(f"{path} holds no sequence, expected an alignment in {form} format")
    return Text(path, form, names, rows, n_annotations)


def is_annotation(name: str) -> bool:
    """Return whether a record of this name holds structure, not a sequence."""
    return name.startswith(ANNOTATIONS) and name.split(maxsplit=1)[0] in ANNOTATIONS


def text_of(name: bytes) -> str:
    """Return a name that prints on one line."""
    text = name.decode("utf-8", errors="replace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def _tell(path: Path, lines: list[bytes]) -> str:
    number, first = next((n, line.strip()) for n, line in enumerate(lines, 1) if line.strip())
    if first.startswith(STOCKHOLM):
        return "Stockholm"
    if first.startswith(b">"):
        return "FASTA"
    if first.startswith(b"#"):  # comments before an A3M file, such as the lengths of ColabFold
        stripped = (line.strip() for line in lines)
        after = next((line for line in stripped if line and not line.startswith(b"#")), b"")
        if after.startswith(b">"):
            return "A3M"
    if PHYLIP.fullmatch(first):
        return "PHYLIP"
    if CLUSTAL.match(first):
        return "Clustal"
    if ONE_A_LINE.fullmatch(first):
        return "ALN"
    raise InputError(
        f"cannot tell the format of {path}: line {number} starts with {text_of(first[:20])!r}, "
        f"expected an alignment ({KNOWN})"
    )


def _fasta(path: Path, lines: list[bytes]) -> Parsed:
    """Names and sequences; what comes before the first `>` are comments."""
    names: list[str] = []
    records: list[list[bytes]] = []
    for line in lines:
        text = line.strip()
        if text.startswith(b">"):
            names.append(text_of(text[1:].strip()) or f"#{len(names) + 1}")
            records.append([])
        elif text and records:
            records[-1].append(text.replace(b" ", b""))
    return names, [b"".join(parts) for parts in records]


def _stockholm(path: Path, lines: list[bytes]) -> Parsed:
    first = next(number for number, line in enumerate(lines) if line.strip())
    end = next((at for at, line in enumerate(lines) if line.split() == [b"//"]), None)
    if end is None:
        raise InputError(f"{path} does not end with '//', the file may have been cut off")
    for number, line in enumerate(lines[end + 1 :], start=end + 2):
        if line.strip():
            what = "another alignment" if line.startswith(STOCKHOLM) else "text"
            raise InputError(
                f"{path}: line {number} has {what} after the end '//'; give one alignment a file"
            )
    numbered = ((n, line.split()) for n, line in enumerate(lines[first + 1 : end], first + 2))
    return _blocks(path, (item for item in numbered if not item[1][:1] or item[1][0][:1] != b"#"))


def _clustal(path: Path, lines: list[bytes]) -> Parsed:
    first = next(number for number, line in enumerate(lines) if line.strip())

    def words(line: bytes) -> list[bytes]:
        if CONSERVATION.fullmatch(line):
            return []
        found = line.split()
        return found[:2] if len(found) == 3 and found[2].isdigit() else found  # residues so far

    return _blocks(path, ((n, words(line)) for n, line in enumerate(lines[first + 1 :], first + 2)))


def _blocks(path: Path, lines: Iterable[Words]) -> Parsed:
    """Names and sequences; blocks of wrapped sequences are set apart by blank lines."""
    records: dict[bytes, list[bytes]] = {}
    in_block: set[bytes] = set()
    block_length = 0
    for number, words in lines:
        if not words:
            in_block.clear()
            continue
        name = text_of(words[0])
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
    return [text_of(name) for name in records], [b"".join(parts) for parts in records.values()]


def _one_a_line(path: Path, lines: list[bytes]) -> Parsed:
    rows = []
    for number, line in enumerate(lines, start=1):
        row = line.strip()
        if row and not ONE_A_LINE.fullmatch(row):
            raise InputError(
                f"{path}: line {number} is {text_of(row[:20])!r}, expected a sequence: line 1 "
                "reads as a file of one sequence a line"
            )
        if row:
            rows.append(row)
    return [f"#{number + 1}" for number in range(len(rows))], rows


def _phylip(path: Path, lines: list[bytes]) -> Parsed:
    head, *body = (line for line in lines if line.strip())
    found = PHYLIP.fullmatch(head)
    assert found is not None  # so it was told
    n_sequences, length = int(found[1]), int(found[2])
    for split in (_relaxed, _strict):
        for layout in (_interleaved, _sequential):
            rows = layout(body, n_sequences, length, split)
            if rows is None:
                continue
            for number, (name, row) in enumerate(rows, start=1):
                if b"." in row:
                    raise InputError(
                        f"{path}: record {number} ({text_of(name)}) has '.', which in PHYLIP is "
                        "the symbol of the first sequence; write symbols out, and gaps as '-'"
                    )
            return [text_of(name) for name, _ in rows], [row for _, row in rows]
    raise InputError(
        f"{path} is not PHYLIP as its first line says: its {len(body)} other lines are not "
        f"{n_sequences} names with {length} columns each"
    )


Row = tuple[bytes, bytes]  # a name and a sequence


def _relaxed(line: bytes) -> Row:
    name, *rest = line.split()
    return name, b"".join(rest)


def _strict(line: bytes) -> Row:
    return line[:PHYLIP_NAME].strip(), b"".join(line[PHYLIP_NAME:].split())


def _interleaved(
    body: list[bytes], n_sequences: int, length: int, split: Callable[[bytes], Row]
) -> list[Row] | None:
    if n_sequences == 0 or len(body) == 0 or len(body) % n_sequences:
        return None
    names, parts = [], []
    for line in body[:n_sequences]:
        name, part = split(line)
        names.append(name)
        parts.append([part])
    for number, line in enumerate(body[n_sequences:]):
        parts[number % n_sequences].append(b"".join(line.split()))
    return _whole(names, [b"".join(row) for row in parts], length)


def _sequential(
    body: list[bytes], n_sequences: int, length: int, split: Callable[[bytes], Row]
) -> list[Row] | None:
    names, rows = [], []
    left = iter(body)
    for line in left:
        name, row = split(line)
        for part in _until(left, length - len(row)):
            row += part
        names.append(name)
        rows.append(row)
    return _whole(names, rows, length) if len(rows) == n_sequences else None


def _until(lines: Iterator[bytes], missing: int) -> Iterator[bytes]:
    """Yield lines without blanks while letters are missing."""
    while missing > 0:
        part = b"".join(next(lines, b"").split())
        if not part:
            return
        missing -= len(part)
        yield part


def _whole(names: list[bytes], rows: list[bytes], length: int) -> list[Row] | None:
    if any(len(row) != length for row in rows) or not all(names):
        return None
    return list(zip(names, rows, strict=True))


PARSERS: dict[str, Callable[[Path, list[bytes]], Parsed]] = {
    "FASTA": _fasta,
    "A3M": _fasta,
    "Stockholm": _stockholm,
    "Clustal": _clustal,
    "ALN": _one_a_line,
    "PHYLIP": _phylip,
}
