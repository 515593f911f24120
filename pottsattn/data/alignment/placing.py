"""Which columns of a file are read: those that it tells itself, or those of a fit.

A fit or a data set says how its columns are numbered (`numbering.Numbering`). In another file they
are found by the focus sequence, if it is there with the same residues, otherwise by their number:
the columns of the file that was fitted, its match columns, or the columns of the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError
from pottsattn.data.alignment.filters import (
    find_record,
    records_named,
    residue_range,
)
from pottsattn.data.alignment.formats import Text
from pottsattn.data.alignment.numbering import Numbering, numbering_of
from pottsattn.data.alignment.records import (
    INSERTS,
    LOWER,
    by_letter,
    check_lengths,
    inserts_are_letters,
    matrix,
    n_match,
    own_columns,
)

SHOWN = 30  # residues in a message


class Sites(Protocol):
    """What a fit or a data set says of its sites."""

    @property
    def n_states(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def alphabet(self) -> str: ...
    @property
    def gap_policy(self) -> str: ...
    @property
    def columns(self) -> NDArray[np.int32] | None: ...
    @property
    def numbering(self) -> Numbering | None: ...


@dataclass(frozen=True, eq=False)
class Placed:
    """Columns of a file, before filters."""

    letters: NDArray[np.uint8]  # (M, n), as in the file
    numbers: NDArray[np.int32]  # (n,)
    numbering: Numbering
    focus: int | None = None  # the record
    n_insert_columns: int = 0
    n_insert_letters: int = 0
    notes: tuple[str, ...] = ()  # for the summary


def own_placing(
    text: Text, focus: str | None, along_focus: bool, first_residue: int | None
) -> Placed:
    """Return the match columns of a file, or those in which its focus sequence has a letter.

    Raises
    ------
    InputError
        As `own_columns`; no such focus.
    """
    records = own_columns(text)
    n_columns = records.letters.shape[1]
    record, name, row, first = None, "", b"", None
    notes: tuple[str, ...] = ()
    if focus is not None:
        record = find_record(text.names, focus)
        name, row = text.names[record], text.rows[record]
        if along_focus:
            n_residues = len(row) - row.count(b"-") - row.count(b".")
            first, notes = _first_residue(name, n_residues, first_residue)
    numbering = numbering_of(n_columns, records.is_match, name, row, first)
    kept = numbering.kept
    return Placed(
        records.letters if len(kept) == n_columns else records.letters[:, kept],
        numbering.numbers[kept],
        numbering,
        record,
        0 if records.is_match is None else int((~records.is_match).sum()),
        records.n_insert_letters,
        notes,
    )


def _first_residue(name: str, n_residues: int, given: int | None) -> tuple[int, tuple[str, ...]]:
    """Return the number of the first residue, and what the summary says of it."""
    if given is not None:
        return given, ()
    found = residue_range(name)
    if found is None:
        return 1, ()
    first, last = found
    if last - first + 1 == n_residues:
        return first, ()
    note = (
        f"the range {first}-{last} in that name is not used: it has {last - first + 1} residues, "
        f"the sequence {n_residues}"
    )
    return 1, (note,)


def placing_of(text: Text, like: Sites, focus: str | None) -> Placed:
    """Return the columns of a fit, and those that a filter could have kept, in a file.

    Parameters
    ----------
    like
        The fit or data set, with a numbering.
    focus
        The name that its focus has in this file; its own name if left out.

    Raises
    ------
    InputError
        They are not in the file; the message names the record in their way.
    """
    numbering, _ = _known(like)
    if focus is not None and records_named([numbering.focus], focus):
        focus = None  # its own name
    if not numbering.row:
        placed = _by_number(text, like)
        return placed if focus is None else _with_letters_of(placed, text, focus)
    record, residue_at = _find_focus(text, like, focus)
    if record is None:
        return _by_number(text, like)
    if residue_at:
        return _by_focus(text, like, record, residue_at)
    with suppress(InputError):
        placed = _by_number(text, like)
        if _agrees(placed, record):  # but for gaps, as a letter X may become
            return placed
    raise InputError(
        f"{text.path}: {text.names[record]} has other residues than the focus of the fit, "
        f"{numbering.focus}; expected {_shown(numbering.residues)}"
    )


def _with_letters_of(placed: Placed, text: Text, focus: str) -> Placed:
    """Return the columns in which a sequence has a letter, as the focus of a file does."""
    record = find_record(text.names, focus)
    row = placed.letters[record]
    kept = np.flatnonzero((row != ord("-")) & (row != ord(".")))
    return replace(
        placed, letters=placed.letters[:, kept], numbers=placed.numbers[kept], focus=record
    )


def _agrees(placed: Placed, record: int) -> bool:
    """Return whether a sequence has the residues of the focus wherever it has letters."""
    numbering = placed.numbering
    row = placed.letters[record].tobytes().upper().decode("ascii", "replace")
    residues = numbering.residue_of[numbering.places(placed.numbers)]
    pairs = [(a, numbering.residues[at]) for a, at in zip(row, residues, strict=True)]
    return any(a == b for a, b in pairs) and all(a == b or a in "-." for a, b in pairs)


def _by_focus(text: Text, like: Sites, record: int, residue_at: dict[int, int]) -> Placed:
    """Return columns by the residues of the focus, which the file has at these places."""
    numbering, _ = _known(like)
    row = text.rows[record]
    n_insert_letters, is_column = 0, [True] * len(row)
    if inserts_are_letters(text):
        records = by_letter(text)
        letters, n_insert_letters = records.letters, records.n_insert_letters
        row = row.replace(b".", b"")
        is_column = [code not in LOWER for code in row]
    else:
        check_lengths(text, text.rows, "columns")
        letters = matrix(text.rows)
    columns = np.cumsum(is_column) - 1
    column_of = [
        int(column) if whole else -1
        for column, whole, code in zip(columns, is_column, row, strict=True)
        if code not in b"-."
    ]  # of every residue; -1 for an insert
    found = {
        place: column_of[residue_at[residue]]
        for place in numbering.kept.tolist()
        if (residue := int(numbering.residue_of[place])) in residue_at
    }
    found = {place: column for place, column in found.items() if column >= 0}
    return Placed(
        letters[:, list(found.values())],
        numbering.numbers[list(found)],
        numbering,
        record,
        n_insert_letters=n_insert_letters,
        notes=(f"on the columns of the fit along {text.names[record]}",),
    )


def _find_focus(text: Text, like: Sites, focus: str | None) -> tuple[int | None, dict[int, int]]:
    """Return the record of the focus, and which of its residues those of the fit are.

    None: it is not there. No residues: they are others.
    """
    numbering, _ = _known(like)
    if focus is not None:
        levels = [([find_record(text.names, focus)], True)]
    else:
        word = numbering.focus.split(maxsplit=1)[0]
        stem = word.split("/", 1)[0]
        entry = stem.rpartition("|")[2]
        # Another domain of the same protein is not the focus, and no fault.
        wanted = ((numbering.focus, True), (word, True), (stem, False), (entry, False))
        levels = [(records_named(text.names, name), must) for name, must in wanted]
    for found, must_agree in levels:
        for record in found:
            residues = text.rows[record].translate(None, b"-.").upper().decode("ascii", "replace")
            residue_at = _residues_in(residues, like)
            if residue_at:
                return record, residue_at
        if found and must_agree:
            return found[0], {}
    return None, {}


def _residues_in(found: str, like: Sites) -> dict[int, int]:
    """Return where in these residues those of the focus of a fit are; empty if they are not."""
    numbering, columns = _known(like)
    residues = numbering.residues
    of_fit = numbering.residue_of[numbering.places(columns)]
    for wanted in (range(len(residues)), numbering.residue_of[numbering.kept], of_fit):
        if "".join(residues[at] for at in wanted) == found:
            return {int(residue): at for at, residue in enumerate(wanted)}
    for longer, shorter in ((found, residues), (residues, found)):
        if longer.count(shorter) == 1:
            start = longer.find(shorter)
            shift = start if longer is found else -start
            first = 0 if longer is found else start
            return {at: at + shift for at in range(first, first + len(shorter))}
    return {}


def _shown(residues: str) -> str:
    return residues if len(residues) <= SHOWN else f"{residues[:SHOWN]}..."


def _known(like: Sites) -> tuple[Numbering, NDArray[np.int32]]:
    """Return the numbering and the columns of a fit that has them."""
    assert like.numbering is not None
    assert like.columns is not None
    return like.numbering, like.columns


class _Reading(NamedTuple):
    """A way to read a file: every record must have so many of these columns."""

    lengths: list[int]
    expected: int
    what: str
    columns: Callable[[], Placed]


def _by_number(text: Text, like: Sites) -> Placed:
    """Return columns by their number, in the first way that fits all records."""
    numbering, columns = _known(like)
    kept, note = numbering.kept, ("on the columns of the fit",)

    def of_matches(letters: NDArray[np.uint8], n_inserts: int = 0) -> Placed:
        chosen = letters[:, kept]
        numbers = numbering.numbers[kept]
        return Placed(chosen, numbers, numbering, n_insert_letters=n_inserts, notes=note)

    def of_letters() -> Placed:
        records = by_letter(text)
        return of_matches(records.letters, records.n_insert_letters)

    def of_file() -> Placed:
        letters = matrix(text.rows)
        _check_inserts(text, letters, numbering)
        placed = of_matches(letters[:, numbering.file_columns])
        return replace(placed, n_insert_columns=numbering.width - numbering.n_match)

    def of_fit() -> Placed:
        return Placed(matrix(text.rows), columns, numbering, notes=note)

    def of_fit_letters() -> Placed:
        records = by_letter(text)
        n_inserts = records.n_insert_letters
        return replace(of_fit(), letters=records.letters, n_insert_letters=n_inserts)

    widths, matches = [len(row) for row in text.rows], [n_match(row) for row in text.rows]
    total, length = numbering.n_match, like.length
    readings = [
        _Reading(widths, numbering.width, "columns", of_file),
        _Reading(matches, total, "match columns (upper case and '-')", of_letters),
        _Reading(widths, total, "columns", lambda: of_matches(matrix(text.rows))),
        _Reading(widths, length, "columns", of_fit),
        _Reading(matches, length, "match columns (upper case and '-')", of_fit_letters),
    ]
    if text.form == "A3M":
        readings = [reading for reading in readings if reading.lengths is matches]
    readings = [reading for reading in readings if reading.expected]  # a width may be unknown
    best, most = None, 0
    for reading in readings:
        n_right = reading.lengths.count(reading.expected)
        if n_right == len(text.rows):
            return reading.columns()
        if n_right > most:
            best, most = reading, n_right
    raise InputError(_refusal(text, like, best))


def _refusal(text: Text, like: Sites, reading: _Reading | None) -> str:
    numbering, _ = _known(like)
    if reading is not None:
        lengths, expected = reading.lengths, reading.expected
        at = next(at for at, length in enumerate(lengths) if length != expected)
        return (
            f"{text.path}: record {at + 1} ({text.names[at]}) has {lengths[at]} {reading.what}, "
            f"expected {expected} as in the other records and in the fit"
        )
    sizes = sorted({numbering.n_match, like.length, numbering.width} - {0}, reverse=True)
    focus = f", or the focus {numbering.focus}" if numbering.row else ""
    return (
        f"{text.path} is not on the columns of the fit: record 1 ({text.names[0]}) has "
        f"{len(text.rows[0])} columns; expected {' or '.join(map(str, sizes))}{focus}"
    )


def _check_inserts(text: Text, letters: NDArray[np.uint8], numbering: Numbering) -> None:
    """Raise InputError for a letter of a match column among the inserts of the fit."""
    is_insert = np.ones(numbering.width, dtype=bool)
    is_insert[numbering.file_columns] = False
    columns = np.flatnonzero(is_insert)
    is_wrong = np.ones(256, dtype=bool)
    is_wrong[list(INSERTS + b"-")] = False
    wrong = np.argwhere(is_wrong[letters[:, columns]])
    if len(wrong):
        row, column = wrong[0]
        letter = chr(letters[row, columns[column]])
        raise InputError(
            f"{text.path}: record {row + 1} ({text.names[row]}) has {letter!r} in column "
            f"{columns[column] + 1}, an insert in the alignment of the fit; leave inserts out, so "
            f"that {numbering.n_match} columns remain"
        )
