"""Data on the sites of a fit: columns are found by what their numbers mean, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError
from pottsattn.data.alignment.numbering import Numbering
from pottsattn.data.alignment.placing import Sites
from pottsattn.data.dataset import SequenceDataset

ALONG = "numbered along "  # in the summary of data from before numberings were stored


def on_sites_of(dataset: SequenceDataset, like: Sites) -> SequenceDataset:
    """Return the data set of the sites of a fit or data set, in their order.

    Columns are found by the residues of a common focus, else by their place among the match
    columns. Data of as many columns as the fit, from elsewhere, are taken to be on its columns.
    Plain integers are matched by numbers alone, as are older files, which do not
    say what their numbers mean.

    Raises
    ------
    InputError
        The columns are not in the data.
    """
    assert dataset.columns is not None
    plain = np.arange(1, like.length + 1, dtype=np.int32)
    wanted = _columns(like)
    numbers: NDArray[np.int32] | None = wanted
    mine, theirs = dataset.numbering, like.numbering
    if not (dataset.alphabet and like.alphabet):
        if np.array_equal(wanted, plain):  # without gaps in its numbers: all sites there are
            numbers = wanted if dataset.length == like.length else None
        theirs = mine
    elif mine is None or theirs is None:
        if _is_along(dataset) != _is_along(like):
            numbers = None
            if np.array_equal(dataset.columns, wanted) or (
                mine is None and np.array_equal(dataset.columns, plain)
            ):
                numbers = dataset.columns
    elif not _same(mine, theirs):
        numbers = _numbers_of(wanted, mine, theirs)
        if numbers is None and dataset.length == like.length == mine.n_match:
            numbers = dataset.columns
    if numbers is None or not np.isin(numbers, dataset.columns).all():
        raise InputError(
            f"the data have {dataset.length} columns, {_span(dataset)}, but the fit {like.length}, "
            f"{_span(like)}; align the sequences to "
            "those of the fit, or read them with its `focus` and `numbering`"
        )
    found = dataset.on_columns(numbers)
    if np.array_equal(numbers, wanted) and mine is theirs:
        return found
    return replace(found, columns=wanted, numbering=theirs)


def same_sites(one: Sites, other: Sites) -> bool:
    """Return whether two fits or data sets of alignments have the same columns, in this order."""
    if not (one.alphabet and other.alphabet):
        return one.length == other.length
    numbers, mine, theirs = _columns(other), one.numbering, other.numbering
    if mine is not None and theirs is not None and not _same(mine, theirs):
        found = _numbers_of(numbers, mine, theirs)
        return found is not None and np.array_equal(found, _columns(one))
    return np.array_equal(numbers, _columns(one))


def _columns(sites: Sites) -> NDArray[np.int32]:
    plain = np.arange(1, sites.length + 1, dtype=np.int32)
    return plain if sites.columns is None else sites.columns


def _numbers_of(
    wanted: NDArray[np.int32], mine: Numbering, theirs: Numbering
) -> NDArray[np.int32] | None:
    """Return the numbers in one numbering of columns in another; None if nothing is common.

    A column that the first has not gets the number -1.
    """
    places = theirs.places(wanted)
    if mine.row and mine.residues == theirs.residues:
        key, keys = theirs.residue_of[places], mine.residue_of
    elif mine.width and mine.width == theirs.width:
        key, keys = theirs.file_columns[places], mine.file_columns
    elif mine.n_match == theirs.n_match:
        key, keys = places, np.arange(mine.n_match)
    else:
        return None
    number_of = {int(keys[place]): int(mine.numbers[place]) for place in mine.kept}
    return np.array([number_of.get(int(one), -1) for one in key], dtype=np.int32)


def _same(mine: Numbering, theirs: Numbering) -> bool:
    """Whether equal numbers mean equal columns."""
    if mine.first != theirs.first:
        return False
    if mine.first is not None:
        return mine.residues == theirs.residues
    if mine.width and mine.width == theirs.width and mine.match != theirs.match:
        return False
    return mine.n_match == theirs.n_match


def _is_along(sites: Any) -> bool:
    """Whether columns are numbered along a focus, as far as is known."""
    if sites.numbering is not None:
        return sites.numbering.first is not None
    return ALONG in str(getattr(sites, "origin", ""))


def _span(sites: Sites) -> str:
    columns = _columns(sites)
    numbering = sites.numbering
    words = f" ({numbering.words})" if numbering is not None and numbering.first is not None else ""
    return f"{columns[0]} to {columns[-1]}{words}"
