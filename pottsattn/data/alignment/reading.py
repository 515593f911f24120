"""Alignments: files of aligned sequences to integer states.

Inserts are dropped (`alignment.records`), or the columns of a fit are found (`alignment.placing`).
Columns are numbered from 1 over the match columns, as structure tables do, or along a sequence of
the alignment (`alignment.numbering`); filters leave the numbers as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.validate import (
    UNKNOWN_POLICIES,
    InputError,
    check_at_least,
    check_choice,
)
from pottsattn.data.alignment.alphabets import Alphabet, detect_alphabet, parse_alphabet
from pottsattn.data.alignment.filters import check_share, find_record, with_few_gaps
from pottsattn.data.alignment.numbering import MOST_RESIDUES, Numbering
from pottsattn.data.alignment.placing import Sites, own_placing, placing_of
from pottsattn.data.alignment.records import NOT_LOWER, read_text

NUMBERINGS = ("alignment", "focus")
GAP = ord("-")
UNKNOWN = 255  # no letter of the alphabet
ROWS_AT_ONCE = 1024


@one_line
@dataclass(frozen=True, eq=False)
class Alignment:
    """Sequences read from a file, with what was done to them."""

    sequences: NDArray[np.uint8]  # (M, L), states 0..C-1
    names: tuple[str, ...]  # (M,), as in the file
    alphabet: str  # state a is the letter alphabet[a]
    gap_index: int | None
    columns: NDArray[np.int32]  # (L,), match columns from 1, or positions along the focus
    numbering: Numbering
    form: str  # a value of FORMATS
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
    exchanged: dict[str, int]  # bases of the other nucleic acid, with counts
    kind: str  # key of ALPHABETS, or "custom"
    notes: tuple[str, ...] = ()  # what else the summary says

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
        if self.numbering.focus:
            parts.append(f"columns of {self.numbering.focus}")
        if self.numbering.first is not None:
            parts.append(f"numbered {self.numbering.words}")
        if self.n_gap_sequences:
            parts.append(f"{self.n_gap_sequences} sequences dropped for gaps")
        if self.n_gap_columns:
            parts.append(f"{self.n_gap_columns} columns dropped for gaps")
        if self.exchanged:
            other = {"T": "U", "U": "T"}
            parts += [f"{a} x {count} read as {other[a]}" for a, count in self.exchanged.items()]
        if self.unknown:
            codes = ", ".join(f"{code} x {count}" for code, count in sorted(self.unknown.items()))
            if self.unknown_policy == "drop":
                parts.append(f"{self.n_unknown_sequences} sequences dropped for letters {codes}")
            else:
                parts.append(f"letters {codes} read as gaps")
        if self.n_duplicates:
            parts.append(f"{self.n_duplicates} of them duplicates")
        return ", ".join([*parts, *self.notes])


def read_alignment(
    path: str | os.PathLike[str],
    *,
    unknown: str = "drop",
    alphabet: str | None = None,
    focus: str | None = None,
    numbering: str = "alignment",
    first_residue: int | None = None,
    max_gap_sequences: float | None = None,
    max_gap_columns: float | None = None,
    like: Sites | None = None,
    sequence: str | int | None = None,
) -> Alignment:
    """Return the aligned sequences of a file in one of `formats.FORMATS`, plain or .gz.

    The format is told by the content. What is chosen is done in this order: columns of the focus,
    sequences with few gaps, columns with few gaps, ambiguity codes.

    Parameters
    ----------
    unknown
        What to do with ambiguity codes (BJOUXZ in proteins, IUPAC codes and X in nucleotides):
        "drop" the sequence, read the letter as "gap", or raise an "error".
    alphabet
        "protein", "dna", "rna", or letters of one's own in the order of their states, such as
        "HP-"; detected if left out. T is read as U in RNA, U as T in DNA.
    focus
        Name of a sequence (`filters.records_named`); only the match columns in which it has a
        letter are kept.
    numbering
        "alignment": columns keep their number among the match columns, from 1. "focus": columns are
        numbered along the focus sequence, inserts counted, from the start of a range `/5-57` that
        ends its name if there is one of its length, else from 1.
    first_residue
        The number of the first residue of the focus, whatever its name says.
    max_gap_sequences, max_gap_columns
        Sequences, then columns, with a larger share of gaps are dropped; from 0 to 1.
    like
        A fit or data set with a numbering: the file is read on its columns (`placing`), whatever
        `max_gap_columns` is.
    sequence
        Only the sequence of this name, or in this place from 0, is returned.

    Raises
    ------
    InputError
        Unreadable, empty or binary file, records of unequal length (named), a character that is not
        in the alphabet, no such focus or sequence, an option out of range, columns that are not
        there, or nothing left.
    """
    check_choice("unknown", unknown, UNKNOWN_POLICIES)
    along_focus = check_choice("numbering", numbering, NUMBERINGS) == "focus"
    if along_focus and focus is None and like is None:
        raise InputError("numbering along the focus needs a focus: give the name of a sequence")
    _check_first(first_residue, along_focus, like)
    max_gap_sequences = check_share("max_gap_sequences", max_gap_sequences)
    max_gap_columns = check_share("max_gap_columns", max_gap_columns)
    given = None if alphabet is None else parse_alphabet(alphabet)
    path = Path(path)
    text = read_text(path)
    try:
        if like is not None:
            placed = placing_of(text, like, focus)
        else:
            placed = own_placing(text, focus, along_focus, first_residue)
        chosen_row = None if sequence is None else _row(text.names, sequence)
    except InputError as error:
        raise InputError(_at(path, error)) from error
    letters, n_lower = _upper_case(placed.letters)
    notes = (*placed.notes, *_lower_case(placed.letters, n_lower))
    chosen = given or detect_alphabet(_count(letters, letters != GAP))
    states = _states(letters, chosen)
    _check_letters(path, text.names, placed.numbers, letters, states, chosen)

    rows, columns = np.arange(len(states)), np.arange(states.shape[1])
    if like is not None:
        max_gap_columns = 1.0  # the columns are those of the fit
    if max_gap_sequences < 1.0 or max_gap_columns < 1.0:
        is_gap = letters == GAP
        if unknown == "gap":
            is_gap |= states == UNKNOWN
        try:
            rows, columns = with_few_gaps(is_gap, max_gap_sequences, max_gap_columns)
        except InputError as error:
            raise InputError(_at(path, error)) from error
    n_gap_sequences, n_gap_columns = len(states) - len(rows), states.shape[1] - len(columns)
    if like is not None:
        columns = _places(path, placed.numbers, like)
    if chosen_row is not None:
        if chosen_row not in rows:
            raise InputError(f"{path}: {text.names[chosen_row]} was dropped for its gaps")
        rows = np.array([chosen_row])
    if (len(rows), len(columns)) != states.shape or like is not None:
        states, letters = states[rows][:, columns], letters[rows][:, columns]

    is_unknown = states == UNKNOWN
    found = _count(letters, is_unknown)
    if found and unknown == "error":
        row, column = np.argwhere(is_unknown)[0]
        where = _place(text.names, rows[row], placed.numbers[columns[column]], letters[row, column])
        raise InputError(
            f"{path}: {where}, is an ambiguity code (policy 'error'); expected {chosen.kind} "
            f"letters {chosen.letters}; the policies 'gap' and 'drop' accept it"
        )
    n_unknown = 0
    if found and unknown == "drop":
        is_known = ~is_unknown.any(axis=1)
        if placed.focus is not None and placed.focus in rows[~is_known]:
            notes += (f"the focus {text.names[placed.focus]} itself among the dropped",)
        states, letters, rows = states[is_known], letters[is_known], rows[is_known]
        n_unknown = len(is_known) - len(rows)
    elif found:
        states[is_unknown] = chosen.letters.index("-")
    if len(states) == 0:
        codes = ", ".join(f"{code} x {count}" for code, count in sorted(found.items()))
        which = f"all {n_unknown} sequences hold ambiguity codes and were"
        if chosen_row is not None:
            which = f"{text.names[chosen_row]} was"
        raise InputError(
            f"{path}: {which} dropped for letters {codes}; keep them with the policy 'gap'"
        )
    if states.shape[1] < 2:
        raise InputError(f"{path}: length must be at least 2, got {states.shape[1]} column(s)")
    is_exchanged = np.zeros(256, dtype=bool)
    is_exchanged[[ord(letter) for letter in chosen.read_as]] = True
    return Alignment(
        sequences=np.ascontiguousarray(states),
        names=tuple(text.names[row] for row in rows),
        alphabet=chosen.letters,
        gap_index=chosen.gap_index,
        columns=placed.numbers[columns],
        numbering=placed.numbering,
        form=text.form,
        n_read=len(text.names),
        n_insert_columns=placed.n_insert_columns,
        n_insert_letters=placed.n_insert_letters,
        n_annotations=text.n_annotations,
        n_gap_sequences=n_gap_sequences,
        n_gap_columns=n_gap_columns,
        n_unknown_sequences=n_unknown,
        n_duplicates=len(states) - len({row.tobytes() for row in states}),
        unknown=found,
        unknown_policy=unknown,
        exchanged=_count(letters, is_exchanged[letters]) if chosen.read_as else {},
        kind=chosen.kind,
        notes=notes,
    )


def _check_first(first_residue: int | None, along_focus: bool, like: Sites | None) -> None:
    """Raise InputError unless the number of the first residue has a meaning here."""
    if like is not None:
        assert like.numbering is not None
        first = like.numbering.first
        if along_focus and first is None:
            raise InputError(
                "the columns of the fit are numbered in its alignment, not along a focus: leave "
                "out `numbering='focus'`"
            )
        if first_residue not in (None, first):
            raise InputError(
                f"`first_residue` is {first_residue}, that of the fit is {first}; leave it out: "
                "data are read on the columns of the fit"
            )
    elif first_residue is not None:
        if not along_focus:
            raise InputError("`first_residue` needs `numbering='focus'`: it numbers that sequence")
        check_at_least("first_residue", first_residue, 1, MOST_RESIDUES)


def _at(path: Path, error: InputError) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _row(names: list[str], sequence: str | int) -> int:
    """Return the place of a sequence."""
    if isinstance(sequence, str):
        return find_record(names, sequence)
    if not 0 <= sequence < len(names):
        raise InputError(f"there is no sequence {sequence}, expected 0 to {len(names) - 1}")
    return sequence


def _places(path: Path, numbers: NDArray[np.int32], like: Sites) -> NDArray[np.int64]:
    """Return where the columns of a fit are among those with these numbers."""
    assert like.columns is not None
    place_of = {int(number): place for place, number in enumerate(numbers)}
    missing = [int(number) for number in like.columns if int(number) not in place_of]
    if missing:
        raise InputError(
            f"{path}: column {missing[0]} of the fit is not in these data, whose focus does not "
            "have it; give a file that has it, or one without the focus"
        )
    return np.array([place_of[int(number)] for number in like.columns], dtype=np.int64)


def _lower_case(letters: NDArray[np.uint8], n_lower: int) -> tuple[str, ...]:
    """Return what the summary says of lower case in columns that are kept."""
    if n_lower == 0:
        return ()
    has_upper = np.zeros(letters.shape[1], dtype=bool)
    has_lower = np.zeros_like(has_upper)
    for start in range(0, len(letters), ROWS_AT_ONCE):
        block = letters[start : start + ROWS_AT_ONCE]
        has_upper |= ((block >= ord("A")) & (block <= ord("Z"))).any(axis=0)
        has_lower |= ((block >= ord("a")) & (block <= ord("z"))).any(axis=0)
    note = f"{n_lower} letters of lower case read as upper case"
    n_columns = int((has_lower & ~has_upper).sum())
    if n_columns:
        return note, f"{n_columns} columns of lower case and '-' kept as match columns"
    return (note,)


def _upper_case(letters: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Return the letters in upper case, with `-` for `.`, and how many were lower case."""
    table = bytes(range(256)).upper().replace(b".", b"-")
    text = letters.tobytes()
    n_lower = len(text.translate(None, NOT_LOWER))
    return np.frombuffer(text.translate(table), dtype=np.uint8).reshape(letters.shape), n_lower


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
    for letter, other in alphabet.read_as.items():
        table[ord(letter)] = alphabet.letters.index(other)
    states = letters.tobytes().translate(table)
    return np.frombuffer(bytearray(states), dtype=np.uint8).reshape(letters.shape)


def _check_letters(
    path: Path,
    names: list[str],
    numbers: NDArray[np.int32],
    letters: NDArray[np.uint8],
    states: NDArray[np.uint8],
    alphabet: Alphabet,
) -> None:
    """Raise InputError for the first character that is neither letter nor ambiguity code."""
    foreign = set(_count(letters, states == UNKNOWN)) - set(alphabet.ambiguity_codes)
    if not foreign:
        return
    row, column = np.argwhere(np.isin(letters, [ord(letter) for letter in foreign]))[0]
    where = _place(names, row, numbers[column], letters[row, column])
    what, remedy = "is in no alphabet", "remove it, or give an alphabet that has it"
    if not alphabet.is_detected:
        what, remedy = "is not in the given alphabet", "remove it, or give another alphabet"
    raise InputError(
        f"{path}: {where}, {what}; expected {alphabet.kind} letters {alphabet.letters}; {remedy}"
    )


def _place(names: list[str], row: int, number: int, letter: int) -> str:
    return f"character {chr(letter)!r} in record {row + 1} ({names[row]}), column {number}"
