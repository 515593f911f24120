"""Aligned sequences to FASTA, A2M, A3M and Stockholm files, plain or gzip-compressed.

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

from pottsattn._core.storage import write_whole
from pottsattn._core.validate import InputError, check_sequences
from pottsattn.data.alignment.alphabets import parse_alphabet
from pottsattn.data.alignment.records import ANNOTATIONS, FORMATS, alignment_format


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
        .fasta, .fa, .a2m, .a3m, .sto or .stockholm, also .gz.
    sequences : integers, shape (n_sequences, length)
        State a is the letter `alphabet[a]`.
    alphabet
        Letters of the states, or "protein", "dna" or "rna".
    names : n_sequences strings, optional
        1..n_sequences if left out. Stockholm takes first words, which must be unique.

    Raises
    ------
    InputError
        Another suffix, states without a letter, names that the format cannot hold, or a file that
        cannot be written.
    """
    form = alignment_format(path)
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
    rows = (letters[row].tobytes() for row in states)
    if form == "Stockholm":
        width = max(len(name.encode()) for name in names)
        lines = [
            b"%s %s\n" % (name.encode().ljust(width), row)
            for name, row in zip(names, rows, strict=True)
        ]
        content = b"".join([b"# STOCKHOLM 1.0\n", *lines, b"//\n"])
    else:
        content = b"".join(
            b">%s\n%s\n" % (name.encode(), row) for name, row in zip(names, rows, strict=True)
        )
    if Path(path).suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    with write_whole(path) as temporary:
        temporary.write_bytes(content)


def _check_names(names: Sequence[str], form: str) -> Sequence[str]:
    for number, name in enumerate(names, start=1):
        if not name.isprintable() or not name.strip():
            raise InputError(f"name {number} is {name!r}, expected text on one line")
        if form == "A3M" and name.startswith(ANNOTATIONS):
            raise InputError(f"name {number} is {name!r}, which marks annotation in A3M; rename it")
    if form != "Stockholm":
        return names
    words = [name.split(maxsplit=1)[0] for name in names]
    seen: set[str] = set()
    for number, word in enumerate(words, start=1):
        if word in seen or word == "//" or word.startswith("#"):
            raise InputError(
                f"name {number} begins with {word!r}, but Stockholm names must be unique first "
                "words without '#'; write FASTA, or give other names"
            )
        seen.add(word)
    return words
