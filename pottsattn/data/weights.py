"""Sequence weights: what follows from them, and files of their own, to be used again.

A text file has one weight a line, in the order of the sequences; a first line that is no number is
a header. Numbers are written such that they read back to the bit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.foreign import read_npy, text_lines
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError, check_array, check_weights
from pottsattn._core.whole_files import write_whole

SUFFIXES = (".csv", ".txt", ".npy")


class _Weighted(Protocol):
    """What a class that takes `WeightedSequences` has."""

    @property
    def n_sequences(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def weights(self) -> NDArray[np.float64] | None: ...
    @property
    def effective_size(self) -> float: ...


class WeightedSequences:
    """What weights imply for sequences in memory and in a file.

    A class that takes this has `n_sequences`, `length` and `weights`: shape (n_sequences,), or None
    where every sequence counts 1.
    """

    @property
    def normalized_weights(self: _Weighted) -> NDArray[np.float64]:
        """Weights with sum 1, shape (n_sequences,)."""
        if self.weights is None:
            return np.full(self.n_sequences, 1.0 / self.n_sequences)
        return self.weights / self.weights.sum()

    @property
    def effective_size(self: _Weighted) -> float:
        """M_eff: the sum of the weights, or M."""
        return float(self.n_sequences if self.weights is None else self.weights.sum())

    @property
    def alpha(self: _Weighted) -> float:
        """Sequences per site, M_eff / L."""
        return self.effective_size / self.length


def check_weights_path(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a file of weights, or raise InputError: .csv, .txt or .npy."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"cannot tell the kind of {path}: weights are {', '.join(SUFFIXES)}")
    return suffix


def write_weights(path: str | os.PathLike[str], weights: ArrayLike) -> None:
    """Write weights of shape (n_sequences,) as .csv (header `weight`), .txt (no header) or .npy.

    Raises
    ------
    InputError
        Another suffix, weights that are negative or all zero, or a file that cannot be written.
    """
    suffix = check_weights_path(path)
    column = check_array("weights", weights, (None,))
    check_weights(column, len(column))
    if suffix == ".csv":
        write_csv(path, ["weight"], [[weight] for weight in column.tolist()])
        return
    with write_whole(path) as temporary, temporary.open("wb") as stream:
        if suffix == ".npy":
            np.save(stream, column)
        else:
            stream.writelines(f"{weight!r}\n".encode() for weight in column.tolist())


def read_weights(path: str | os.PathLike[str], n_sequences: int) -> NDArray[np.float64]:
    """Return the weights in a .csv, .txt or .npy file, shape (n_sequences,).

    Raises
    ------
    InputError
        A file that cannot be read, another number of weights, or weights that are negative, not
        finite or all zero; the message names the line of the first wrong one.
    """
    suffix = check_weights_path(path)
    column = read_npy(path) if suffix == ".npy" else _parse(path)
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        raise InputError(f"cannot read {path}: expected one column of numbers")
    wrong = np.flatnonzero(~(np.isfinite(column) & (column >= 0)))
    if len(wrong):
        raise InputError(
            f"{path}: weight {wrong[0] + 1} is {column[wrong[0]]}, expected a number of at least 0"
        )
    if len(column) != n_sequences:
        raise InputError(
            f"{path} holds {len(column)} weights, the data {n_sequences} sequences; weights belong "
            "to the sequences that are kept, read with the same `unknown`"
        )
    try:
        weights = check_weights(column, n_sequences)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    assert weights is not None
    return weights


def _parse(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    numbers: list[float] = []
    blank = 0  # the first of the blank lines at the end
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            blank = blank or number
            continue
        try:
            numbers.append(float(line))
        except ValueError as error:
            if number > 1 or line[:1].isdigit():
                raise InputError(
                    f"cannot read {path}: line {number} is {line[:20]!r}, expected one number"
                ) from error
        if blank:
            raise InputError(f"cannot read {path}: line {blank} is '', expected one number")
    return np.array(numbers)
