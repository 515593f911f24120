"""Alignments: files of aligned sequences to integer states, and sequence weights.

Inserts are dropped (`alignment.records`); columns are numbered from 1 over those that
remain (the match columns), as structure tables do, and filters leave the numbers as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import (
    UNKNOWN_POLICIES,
    InputError,
    check_choice,
)
from pottsattn.data.alignment.alphabets import Alphabet, detect_alphabet, parse_alphabet
from pottsattn.data.alignment.filters import check_share, find_record, first_residue, with_few_gaps
from pottsattn.data.alignment.records import read_records

NUMBERINGS = ("alignment", "focus")
GAP = ord("-")
UNKNOWN = 255  # no letter of the alphabet
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Alignment:
    """Sequences read from a file, with what was done to them."""

    sequences: NDArray[np.uint8]  # (M, L), states 0..C-1
    names: tuple[str, ...]  # (M,), as in the file
    alphabet: str  # state a is the letter alphabet[a]
    gap_index: int | None
    columns: NDArray[np.int32]  # (L,), match columns from 1, or positions along the focus
    n_read: int  # records in the file
    n_insert_columns: int
    n_insert_letters: int  # of A3M and of A2M without dots
    n_annotations: int  # records of an A3M file that are no sequences
    n_gap_sequences: int  # dropped for their share of gaps
    n_gap_columns: int
    n_unknown_sequences: int  # dropped for ambiguity codes
    n_duplicates: int  # sequences that an earlier one equals
    unknown: dict[str, int]  # ambiguity codes found, with counts
    unknown_policy: str
    kind: str  # key of ALPHABETS, or "custom"
    focus: str | None  # name of the focus sequence
    numbering: str  # what `columns` are, in words

    @property
    def summary(self) -> str:
        """One line: what was read and what was left out."""
        n_sequences, length = self.sequences.shape
        parts = [f"{n_sequences} sequences of {length} {self.kind} columns"]
        if self.n_insert_columns:
            parts.append(f"{self.n_insert_columns} insert columns dropped")
        if self.n_insert_letters:
            parts.append(f"{self.n_insert_letters} insert letters dropped")
        if self.n_annotations:
            parts.append(f"{self.n_annotations} records of annotation left out")
        if self.focus is not None:
            parts.append(f"columns of {self.focus}")
        if self.numbering != "match columns":
            parts.append(f"numbered {self.numbering}")
        if self.n_gap_sequences:
            parts.append(f"{self.n_gap_sequences} sequences dropped for gaps")
        if self.n_gap_columns:
            parts.append(f"{self.n_gap_columns} columns dropped for gaps")
        if self.unknown:
            codes = ", ".join(f"{code} x {count}" for code, count in sorted(self.unknown.items()))
            if self.unknown_policy == "drop":
                parts.append(f"{self.n_unknown_sequences} sequences dropped for letters {codes}")
            else:
                parts.append(f"letters {codes} read as gaps")
        if self.n_duplicates:
            parts.append(f"{self.n_duplicates} of them duplicates")
        return ", ".join(parts)


def read_alignment(
    path: str | os.PathLike[str],
    *,
    unknown: str = "drop",
    alphabet: str | None = None,
    focus: str | None = None,
    numbering: str = "alignment",
    max_gap_sequences: float | None = None,
    max_gap_columns: float | None = None,
) -> Alignment:
    """Return the aligned sequences of a FASTA, A2M, A3M or Stockholm file, plain or .gz.

    The format is that of the suffix (`alignment_records.FORMATS`), FASTA for any other. What is
    chosen is done in this order: columns of the focus, sequences with few gaps, columns with few
    gaps, ambiguity codes.

    Parameters
    ----------
    unknown
        What to do with ambiguity codes (BJOUXZ in proteins, IUPAC codes in nucleotides): "drop" the
        sequence, read the letter as "gap", or raise an "error".
    alphabet
        "protein", "dna", "rna", or letters of one's own in the order of their states, such as
        "HP-"; detected if left out.
    focus
        Name of a sequence; only the match columns in which it has a letter are kept. The whole
        name, its first word, or that up to a `/` will do.
    numbering
        "alignment": columns keep their number among the match columns, from 1. "focus": columns are
        numbered along the focus sequence, inserts counted, from the start of a range `/5-57` that
        ends its name if there is one of its length, else from 1.
    max_gap_sequences, max_gap_columns
        Sequences, then columns, with a larger share of gaps are dropped; from 0 to 1.

    Raises
    ------
    InputError
        Unreadable, empty or binary file, records of unequal length (named), a character that is not
        in the alphabet, no such focus, an option out of range, or nothing left.
    """
    check_choice("unknown", unknown, UNKNOWN_POLICIES)
    check_choice("numbering", numbering, NUMBERINGS)
    if numbering == "focus" and focus is None:
        raise InputError("numbering along the focus needs a focus: give the name of a sequence")
    max_gap_sequences = check_share("max_gap_sequences", max_gap_sequences)
    max_gap_columns = check_share("max_gap_columns", max_gap_columns)
    given = None if alphabet is None else parse_alphabet(alphabet)
    path = Path(path)
    records = read_records(path)
    letters = _upper_case(records.letters)
    chosen = given or detect_alphabet(_count(letters, letters != GAP))
    states = _states(letters, chosen)
    _check_letters(path, records.names, letters, states, chosen)

    numbers = np.arange(1, states.shape[1] + 1, dtype=np.int32)
    numbering_words, name = "match columns", None
    rows, columns = np.arange(len(states)), np.arange(len(numbers))
    try:
        if focus is not None:
            record = find_record(records.names, focus)
            name = records.names[record]
            columns = np.flatnonzero(letters[record] != GAP)
            if numbering == "focus":
                positions, n_residues = records.residue_numbers(record)
                first = first_residue(name, n_residues)
                numbers = (positions + (first - 1)).astype(np.int32)
                numbering_words = f"along {name}, its first residue is {first}"
        n_before = len(columns)
        if max_gap_sequences < 1.0 or max_gap_columns < 1.0:
            is_gap = letters[:, columns] == GAP
            if unknown == "gap":
                is_gap |= states[:, columns] == UNKNOWN
            rows, kept = with_few_gaps(is_gap, max_gap_sequences, max_gap_columns)
            columns = columns[kept]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    n_gap_sequences, n_gap_columns = len(states) - len(rows), n_before - len(columns)
    if (len(rows), len(columns)) != states.shape:
        states, letters = states[rows][:, columns], letters[rows][:, columns]

    is_unknown = states == UNKNOWN
    found = _count(letters, is_unknown)
    if found and unknown == "error":
        row, column = np.argwhere(is_unknown)[0]
        where = _place(records.names, rows[row], columns[column], letters[row, column])
        raise InputError(
            f"{path}: {where}, is an ambiguity code (policy 'error'); expected {chosen.kind} "
            f"letters {chosen.letters}; the policies 'gap' and 'drop' accept it"
        )
    n_unknown = 0
    if found and unknown == "drop":
        is_known = ~is_unknown.any(axis=1)
        states, rows = states[is_known], rows[is_known]
        n_unknown = len(is_known) - len(rows)
    elif found:
        states[is_unknown] = chosen.letters.index("-")
    if len(states) == 0:
        raise InputError(
            f"{path}: all {n_unknown} sequences hold ambiguity codes and were dropped; "
            "keep them with the policy 'gap'"
        )
    if states.shape[1] < 2:
        raise InputError(f"{path}: length must be at least 2, got {states.shape[1]} column(s)")
    return Alignment(
        sequences=np.ascontiguousarray(states),
        names=tuple(records.names[row] for row in rows),
        alphabet=chosen.letters,
        gap_index=chosen.gap_index,
        columns=numbers[columns],
        n_read=len(records.names),
        n_insert_columns=records.n_insert_columns,
        n_insert_letters=records.n_insert_letters,
        n_annotations=records.n_annotations,
        n_gap_sequences=n_gap_sequences,
        n_gap_columns=n_gap_columns,
        n_unknown_sequences=n_unknown,
        n_duplicates=len(states) - len({row.tobytes() for row in states}),
        unknown=found,
        unknown_policy=unknown,
        kind=chosen.kind,
        focus=name,
        numbering=numbering_words,
    )


def _upper_case(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the letters in upper case, with `-` for `.`."""
    table = bytes(range(256)).upper().replace(b".", b"-")
    return np.frombuffer(letters.tobytes().translate(table), dtype=np.uint8).reshape(letters.shape)


def _count(letters: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> dict[str, int]:
    """Return how often each of the chosen letters occurs."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(letters), ROWS_AT_ONCE):  # bincount needs eight bytes a letter
        block = slice(start, start + ROWS_AT_ONCE)
        counts += np.bincount(letters[block][chosen[block]], minlength=256)
    return {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}


def _states(letters: NDArray[np.uint8], alphabet: Alphabet) -> NDArray[np.uint8]:
    table = bytearray([UNKNOWN]) * 256
    for state, letter in enumerate(alphabet.letters):
        table[ord(letter)] = state
    states = letters.tobytes().translate(table)
    return np.frombuffer(bytearray(states), dtype=np.uint8).reshape(letters.shape)


def _check_letters(
    path: Path,
    names: list[str],
    letters: NDArray[np.uint8],
    states: NDArray[np.uint8],
    alphabet: Alphabet,
) -> None:
    """Raise InputError for the first character that is neither letter nor ambiguity code."""
    foreign = set(_count(letters, states == UNKNOWN)) - set(alphabet.ambiguity_codes)
    if not foreign:
        return
    row, column = np.argwhere(np.isin(letters, [ord(letter) for letter in foreign]))[0]
    where = _place(names, row, column, letters[row, column])
    what, remedy = "is in no alphabet", "remove it, or give an alphabet that has it"
    if not alphabet.is_detected:
        what, remedy = "is not in the given alphabet", "remove it, or give another alphabet"
    raise InputError(
        f"{path}: {where}, {what}; expected {alphabet.kind} letters {alphabet.letters}; {remedy}"
    )


def _place(names: list[str], row: int, column: int, letter: int) -> str:
    return f"character {chr(letter)!r} in record {row + 1} ({names[row]}), column {column + 1}"
