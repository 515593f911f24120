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
    """Return which name is `wanted`: the whole name, its first word, or that up to a `/`.

    Raises
    ------
    InputError
        None is, or several are.
    """
    words = [name.split(maxsplit=1)[0] if name.strip() else name for name in names]
    stems = [word.split("/", 1)[0] for word in words]
    for candidates in (names, words, stems):
        found = [index for index, name in enumerate(candidates) if name == wanted]
        if len(found) > 1:
            raise InputError(
                f"focus {wanted!r} is the name of {len(found)} sequences, records "
                f"{found[0] + 1} and {found[1] + 1} among them; give the whole name of one"
            )
        if found:
            return found[0]
    hint = did_you_mean(wanted, words[:HINTS])
    raise InputError(
        f"focus {wanted!r} is the name of no sequence{hint}; expected a name like {words[0]!r}"
    )


def first_residue(name: str, n_residues: int) -> int:
    """Return the start of the range that ends the first word of a name, as in `X/5-57`, else 1.

    A range counts only if it is as long as the sequence, `n_residues`.
    """
    found = re.fullmatch(r"\S*/([0-9]{1,9})-([0-9]{1,9})(\s.*)?", name)
    if found is None or int(found[2]) - int(found[1]) + 1 != n_residues:
        return 1
    return int(found[1])


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
