"""How the columns of an alignment are numbered: what is needed to find them again in another file.

Match columns are numbered from 1, or along a focus sequence from its first residue on, inserts
counted. The focus is kept as A3M has it: match columns as upper case and `-`, inserts as lower
case. So its residues, their columns and their numbers are known without the alignment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line, ranges_of
from pottsattn._core.validate import InputError

MOST_COLUMNS = 1 << 22  # of a file that says so itself
MOST_RESIDUES = 10**9


@one_line
@dataclass(frozen=True)
class Numbering:
    """What the numbers of columns mean.

    Attributes
    ----------
    n_match : int
        Match columns of the alignment.
    match : str
        Which columns of the file they were, from 1, in ranges such as "1-5, 8"; empty where inserts
        were told by letter.
    width : int
        Columns of the file, inserts included; 0 where inserts were told by letter.
    focus, row : str
        Name and aligned letters of the focus sequence, empty if there is none.
    first : int or None
        The number of its first residue; None: columns are numbered from 1 among the match columns.
    """

    n_match: int
    match: str = ""
    width: int = 0
    focus: str = ""
    row: str = ""
    first: int | None = None

    def __post_init__(self) -> None:
        for name, kind in (("n_match", int), ("width", int), ("match", str), ("focus", str),
                           ("row", str), ("first", (int, type(None)))):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InputError(f"numbering: {name} cannot be {value!r}")
        if self.first is not None and not 0 <= self.first <= MOST_RESIDUES:
            raise InputError(f"numbering: the first residue cannot be {self.first}")
        if not 0 < self.n_match <= MOST_COLUMNS or not 0 <= self.width <= MOST_COLUMNS:
            raise InputError(f"numbering: {self.n_match} match columns of {self.width} columns")
        if len(self.file_columns) != (self.n_match if self.match else 0):
            raise InputError(f"numbering: columns {self.match!r}, expected {self.n_match}")
        if bool(self.focus) != bool(self.row) or (self.first is not None and not self.row):
            raise InputError("numbering: a focus must have a name and letters")
        if self.row and (len(self.is_match) != self.n_match or not self.residues):
            raise InputError(f"numbering: the focus must have {self.n_match} match columns")

    @property
    def words(self) -> str:
        """What the numbers are."""
        if self.first is None:
            return "match columns"
        return f"along {self.focus}, its first residue is {self.first}"

    @cached_property
    def file_columns(self) -> NDArray[np.int64]:
        """Columns of the file that are match columns, from 0, (n_match,); empty if not known."""
        parts = [part.partition("-") for part in self.match.split(", ")] if self.match else []
        try:
            ends = [(int(low), int(high or low)) for low, _, high in parts]
        except ValueError as error:
            raise InputError(f"numbering: columns cannot be {self.match!r}") from error
        flat = [end for pair in ends for end in pair]
        if any(a > b for a, b in pairwise(flat)) or not all(1 <= end <= self.width for end in flat):
            raise InputError(f"numbering: columns {self.match!r} of {self.width}")
        pieces = [np.arange(low - 1, high) for low, high in ends]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    @cached_property
    def residues(self) -> str:
        """Letters of the focus in upper case, inserts included."""
        return self.row.replace("-", "").upper()

    @cached_property
    def is_match(self) -> NDArray[np.int64]:
        """Places in `row` of the match columns, (n_match,)."""
        return np.array([at for at, letter in enumerate(self.row) if not letter.islower()])

    @cached_property
    def residue_of(self) -> NDArray[np.int64]:
        """Which residue of the focus each match column has, from 0, (n_match,); -1 for a gap."""
        is_residue = np.array([letter != "-" for letter in self.row])
        residues = np.where(is_residue, np.cumsum(is_residue) - 1, -1)
        return residues[self.is_match]

    @cached_property
    def numbers(self) -> NDArray[np.int32]:
        """Numbers of the match columns, (n_match,); 0 for a gap of the focus they go along."""
        if self.first is None:
            return np.arange(1, self.n_match + 1, dtype=np.int32)
        numbers = np.where(self.residue_of < 0, 0, self.residue_of + self.first)
        return numbers.astype(np.int32)

    @cached_property
    def kept(self) -> NDArray[np.int64]:
        """Match columns that a filter may keep, from 0: those of the focus, or all."""
        return np.flatnonzero(self.residue_of >= 0) if self.row else np.arange(self.n_match)

    def places(self, columns: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return which match columns have these numbers, from 0, same shape.

        Raises
        ------
        InputError
            A number that none has.
        """
        known = self.numbers[self.kept]  # ascending
        at = np.searchsorted(known, columns).clip(max=len(known) - 1)
        missing = np.flatnonzero(known[at] != columns)
        if len(missing):
            raise InputError(f"numbering: no column has the number {columns[missing[0]]}")
        return self.kept[at]

    def to_json(self) -> str:
        """Return what an attribute of a file holds."""
        return json.dumps(asdict(self))

    @classmethod
    def from_attributes(cls, attributes: Any) -> Numbering | None:
        """Return that of a data set or a fit; None where its file does not say: an older one.

        Raises
        ------
        InputError
            The attribute says what cannot be.
        """
        if "numbering" not in attributes:
            return None
        try:
            return cls(**json.loads(attributes["numbering"]))
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"numbering: damaged ({error})") from error


def numbering_of(
    n_match: int,
    is_match: NDArray[np.bool_] | None,
    name: str = "",
    row: bytes = b"",
    first: int | None = None,
) -> Numbering:
    """Return the numbering of an alignment with these columns and this focus.

    Parameters
    ----------
    n_match
        Number of match columns.
    is_match : bool, shape (width,)
        Which columns of the file they are; None where inserts are told by letter.
    name, row
        The focus, in the letters and columns of the file.
    first
        As in `Numbering`.
    """
    match, width = "", 0
    if is_match is not None:
        match, width = ranges_of((np.flatnonzero(is_match) + 1).tolist()), len(is_match)
        if name:
            row = b"".join(
                (b"-" if code == b"." else code.upper()) if matches else code.lower().strip(b"-.")
                for matches, code in zip(is_match.tolist(), _letters(row), strict=True)
            )
    text = row.replace(b".", b"").decode("ascii", errors="replace")
    return Numbering(n_match, match, width, name, text, first)


def _letters(row: bytes) -> list[bytes]:
    return [row[at : at + 1] for at in range(len(row))]
