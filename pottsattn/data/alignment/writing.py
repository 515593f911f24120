"""Aligned sequences to files of every format that is read, plain or gzip-compressed.

All columns are written as match columns: letters in upper case, gaps as `-`. So a file reads back
to the same states with the alphabet it was written with.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pottsattn._core.validate import InputError, check_sequences
from pottsattn._core.whole_files import write_whole
from pottsattn.data.alignment.alphabets import parse_alphabet
from pottsattn.data.alignment.formats import (
    CONSERVATION,
    FORMATS,
    ONE_A_LINE,
    is_annotation,
    suffix_format,
)

CLUSTAL_WIDTH = 60  # columns in a block
FIRST_WORDS = ("Stockholm", "Clustal", "PHYLIP")  # whose names have no blanks


def write_alignment(
    path: str | os.PathLike[str],
    sequences: ArrayLike,
    alphabet: str,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Write sequences in the format of the suffix, compressed if it ends in .gz.

    Parameters
    ----------
    path
        .fasta, .fa, .a2m, .a3m, .sto or .stockholm, .aln (one sequence a line, without names),
        .clustal, .phy (relaxed PHYLIP), also .gz.
    sequences : integers, shape (n_sequences, length)
        State a is the letter `alphabet[a]`.
    alphabet
        Letters of the states, or "protein", "dna" or "rna".
    names : n_sequences strings, optional
        1..n_sequences if left out. Stockholm, Clustal and PHYLIP take first words, the first two
        only if they are unique.

    Raises
    ------
    InputError
        Another suffix, states without a letter, names that the format cannot hold, or a file that
        cannot be written.
    """
    form = suffix_format(path)
    if form is None:
        raise InputError(
            f"cannot tell the format of {path} by its name; expected {', '.join(FORMATS)} (or .gz)"
        )
    letters = np.frombuffer(parse_alphabet(alphabet).letters.encode(), dtype=np.uint8)
    states = check_sequences(sequences, len(letters))
    if names is None:
        names = [str(number) for number in range(1, len(states) + 1)]
    if len(names) != len(states):
        raise InputError(f"names must be {len(states)}, one for a sequence, got {len(names)}")
    names = _check_names(names, form)
    rows = [letters[row].tobytes() for row in states]
    if form == "ALN" and not ONE_A_LINE.fullmatch(letters.tobytes()):
        raise InputError(
            f"one sequence a line cannot hold all letters of {letters.tobytes().decode()!r}; write "
            "FASTA"
        )
    content = _content(form, [name.encode() for name in names], rows)
    if Path(path).suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    with write_whole(path) as temporary:
        temporary.write_bytes(content)


def _content(form: str, names: list[bytes], rows: list[bytes]) -> bytes:
    if form == "ALN":
        return b"".join(row + b"\n" for row in rows)
    if form not in FIRST_WORDS:
        return b"".join(b">%s\n%s\n" % pair for pair in zip(names, rows, strict=True))
    width = max(map(len, names))
    heads = [name.ljust(width) for name in names]
    if form == "Clustal":
        blocks = []
        for start in range(0, len(rows[0]), CLUSTAL_WIDTH):
            part = slice(start, start + CLUSTAL_WIDTH)
            lines = (b"%s %s\n" % (head, row[part]) for head, row in zip(heads, rows, strict=True))
            blocks.append(b"".join(lines))
        return b"CLUSTAL multiple sequence alignment\n\n" + b"\n".join(blocks)
    body = b"".join(b"%s %s\n" % pair for pair in zip(heads, rows, strict=True))
    if form == "PHYLIP":
        return b"%d %d\n" % (len(rows), len(rows[0])) + body
    return b"# STOCKHOLM 1.0\n" + body + b"//\n"


def _check_names(names: Sequence[str], form: str) -> Sequence[str]:
    for number, name in enumerate(names, start=1):
        if not name.isprintable() or not name.strip():
            raise InputError(f"name {number} is {name!r}, expected text on one line")
        if form in ("FASTA", "A2M", "A3M") and is_annotation(name):
            raise InputError(f"name {number} is {name!r}, which marks annotation in A3M; rename it")
    if form not in FIRST_WORDS:
        return names
    words = [name.split(maxsplit=1)[0] for name in names]
    if form == "PHYLIP":
        return words
    seen: set[str] = set()
    for number, word in enumerate(words, start=1):
        is_taken = word == "//" or word.startswith("#") or CONSERVATION.fullmatch(word.encode())
        if word in seen or is_taken:
            raise InputError(
                f"name {number} begins with {word!r}, but {form} names must be unique first words "
                "without '#'; write FASTA, or give other names"
            )
        seen.add(word)
    return words
