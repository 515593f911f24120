"""What of an alignment is kept: columns of a focus sequence, rows and columns of few gaps."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_nonnegative, did_you_mean

ROUNDING = 1e-9  # of a share of gaps
HINTS = 5000  # names that are compared with one that is not there


def check_share(name: str, value: float | None) -> float:
    """Return a share from 0 to 1; 1 if left out."""
    if value is None:
        return 1.0
    if check_nonnegative(name, value) > 1.0:
        raise InputError(f"{name} must be at most 1, got {value}; it is a share of gaps")
    return float(value)


def find_record(names: Sequence[str], wanted: str) -> int:
    """Return which sequence `wanted` names (`records_named`).

    Raises
    ------
    InputError
        None, or several.
    """
    found = records_named(names, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{len(found)} sequences are named {wanted!r}, records {found[0] + 1} and "
            f"{found[1] + 1} among them; give the whole name of one"
        )
    words = [_first_word(name) for name in names[:HINTS]]
    hint = did_you_mean(wanted, words)
    example = f"expected a name like {words[0]!r}" if words else "these sequences have no names"
    raise InputError(f"no sequence is named {wanted!r}{hint}; {example}")


def records_named(names: Sequence[str], wanted: str) -> list[int]:
    """Return which names are `wanted`, shape (n,): the first of these that finds any.

    The whole name; its first word; that up to a `/`; a field of it between `|`, as UniProt writes
    accessions and entry names.
    """
    words = [_first_word(name) for name in names]
    stems = [word.split("/", 1)[0] for word in words]
    for candidates in (names, words, stems):
        found = [index for index, name in enumerate(candidates) if name == wanted]
        if found:
            return found
    return [index for index, stem in enumerate(stems) if wanted in stem.split("|")[1:]]


def _first_word(name: str) -> str:
    return name.split(maxsplit=1)[0] if name.strip() else name


def residue_range(name: str) -> tuple[int, int] | None:
    """Return the range that ends the first word of a name, as in `X/5-57`, if there is one."""
    found = re.fullmatch(r"\S*/([0-9]{1,9})-([0-9]{1,9})(\s.*)?", name)
    return None if found is None else (int(found[1]), int(found[2]))


def with_few_gaps(
    is_gap: NDArray[np.bool_], max_gap_sequences: float, max_gap_columns: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows, then the columns, whose share of gaps is not larger than that.

    Shares of columns are those among the kept rows, since fragments make gaps in every column.

    Parameters
    ----------
    is_gap : bool, shape (n_sequences, length)

    Raises
    ------
    InputError
        Nothing is left.
    """
    n_sequences, length = is_gap.shape
    shares = np.count_nonzero(is_gap, axis=1) / length
    rows = np.flatnonzero(shares <= max_gap_sequences + ROUNDING)
    if len(rows) == 0:
        raise InputError(
            f"no sequence has at most {max_gap_sequences:g} of gaps, the least is "
            f"{shares.min():.3g}; raise max_gap_sequences"
        )
    kept = is_gap if len(rows) == n_sequences else is_gap[rows]
    shares = np.count_nonzero(kept, axis=0) / len(rows)
    columns = np.flatnonzero(shares <= max_gap_columns + ROUNDING)
    if len(columns) == 0:
        raise InputError(
            f"no column has at most {max_gap_columns:g} of gaps, the least is "
            f"{shares.min():.3g}; raise max_gap_columns"
        )
    return rows, columns
