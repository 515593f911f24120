"""Measured distances between columns, from text files of several layouts."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from pottsattn._core.foreign import text_lines
from pottsattn._core.validate import InputError

LAYOUT = "'i j ... distance'"


class _Places(NamedTuple):
    """Where in a row the two columns and their distance stand."""

    first: int
    second: int
    distance: int


def read_distances(path: str | os.PathLike[str]) -> dict[tuple[int, int], float]:
    """Return {(i, j): distance}, i < j, from a text file with rows `i j ... distance`.

    Entries are separated by blanks, tabs or commas. Column numbers count from 1 and come first,
    also with a letter behind each (`i A_i j A_j ... distance`); the distance comes last. A header
    may say otherwise by the names `i`, `j` and `distance` or `dist`. A distance of 0, or an empty
    one, means unknown and is left out; of repeated pairs the smallest counts. Lines that start with
    # are comments; the file may be gzip-compressed.

    Raises
    ------
    InputError
        The file cannot be read, holds no known distance, or a row is not of that form (its line is
        named): a column 0, say, as in files that count from 0 and in matrices.
    """
    known: dict[tuple[int, int], float] = {}
    places: _Places | None = None
    for number, line in enumerate(text_lines(path), start=1):
        where = f"{path}, line {number}"
        entries = _entries(line)
        if not any(entries) or entries[0].startswith("#"):
            continue
        if places is None:
            named = _named_places(entries, where)
            places = named or _plain_places(entries)
            if named:
                continue
        row = _parse(entries, places, where)
        if row is not None:
            first, second, distance = row
            pair = (min(first, second), max(first, second))
            known[pair] = min(distance, known.get(pair, math.inf))
    if not known:
        raise InputError(f"{path} holds no known distance, expected rows {LAYOUT}")
    return known


def _entries(line: str) -> list[str]:
    """Return the entries of a line; only commas can have an empty one between them."""
    parts = line.split(",") if "," in line else [line]
    found = [entry for part in parts for entry in part.split() or [""]]
    return found


def _named_places(entries: list[str], where: str) -> _Places | None:
    """Return the places that a header names, None if the row is no header."""
    if any(_is_number(entry) for entry in entries):
        return None
    names = [entry.strip("\"'").lower() for entry in entries]
    if "i" not in names or "j" not in names:
        raise InputError(
            f"{where}: expected numbers {LAYOUT}, or a header with the names i, j and distance; "
            f"got {' '.join(entries)[:60]!r}"
        )
    distances = [at for at, name in enumerate(names) if name in ("distance", "dist")]
    return _Places(names.index("i"), names.index("j"), (distances or [len(names) - 1])[0])


def _plain_places(entries: list[str]) -> _Places:
    """Return the places in rows without a header; letters may stand behind the columns."""
    lettered = len(entries) > 4 and entries[1].isalpha() and entries[3].isalpha()
    return _Places(0, 2 if lettered else 1, -1)


def _parse(entries: list[str], places: _Places, where: str) -> tuple[int, int, float] | None:
    """Return (i, j, distance) of a row, None where the distance is unknown."""
    try:
        if len(entries) < 3:
            raise ValueError
        first, second = (float(entries[at]) for at in places[:2])
        distance = float(entries[places.distance] or 0.0)
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{where}: expected numbers {LAYOUT}, got {' '.join(entries)[:60]!r}"
        ) from error
    if not (first.is_integer() and second.is_integer()):
        raise InputError(f"{where}: i and j must be whole numbers")
    if min(first, second) < 1:
        raise InputError(
            f"{where} has column {min(first, second):.0f}, columns count from 1; a matrix, or a "
            f"file that counts from 0, must be written as rows {LAYOUT}"
        )
    if not 0.0 <= distance < math.inf:
        raise InputError(f"{where}: the distance must be 0 (unknown) or above, got {distance:g}")
    return (int(first), int(second), distance) if distance > 0.0 else None


def _is_number(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True
