"""Open data of any kind by the name of the file: data sets, alignments, arrays of integers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.foreign import read_npy
from pottsattn._core.storage import is_hdf5
from pottsattn._core.validate import (
    UNKNOWN_POLICIES,
    InputError,
    check_choice,
    check_identity_threshold,
)
from pottsattn.data.alignment.records import FORMATS, alignment_format
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.weights import check_weights_path, read_weights

HDF5_SUFFIXES = (".h5", ".hdf5")


class Sites(Protocol):
    """What a fit or a data set says of its sites."""

    @property
    def n_states(self) -> int: ...
    @property
    def alphabet(self) -> str: ...
    @property
    def gap_policy(self) -> str: ...
    @property
    def columns(self) -> NDArray[np.int32] | None: ...


def read_dataset(
    path: str | os.PathLike[str],
    *,
    n_states: int | None = None,
    identity_threshold: float | None = 0.8,
    unknown: str = "drop",
    alphabet: str | None = None,
    focus: str | None = None,
    numbering: str = "alignment",
    max_gap_sequences: float | None = None,
    max_gap_columns: float | None = None,
    weights: str | os.PathLike[str] | None = None,
    n_threads: int | None = None,
) -> SequenceDataset:
    """Return the data set in a .h5 file, an alignment or a .npy array of integers.

    Parameters
    ----------
    path
        .h5 or .hdf5 (stored weights are used); .fasta, .fa, .a2m, .a3m, .sto or .stockholm, also
        .gz (weights are computed at `identity_threshold`); .npy of integers, shape
        (n_sequences, length).
    n_states
        For .npy: number of states, the largest state + 1 if left out.
    identity_threshold
        For alignments: see `pottsattn.data.alignment.identity.sequence_weights`; None: no weights.
    unknown, alphabet, focus, numbering, max_gap_sequences, max_gap_columns
        For alignments: see `pottsattn.data.alignment.reading.read_alignment`.
    weights
        A file of weights (`pottsattn.data.weights`) that replace the stored or computed ones.

    Raises
    ------
    InputError
        Unknown kind of file, a file that cannot be read, options of alignments for other data, or
        weights that do not fit the data.
    """
    check_choice("unknown", unknown, UNKNOWN_POLICIES)
    if identity_threshold is not None:
        check_identity_threshold(identity_threshold)
    options: dict[str, Any] = {
        "alphabet": alphabet,
        "focus": focus,
        "numbering": None if numbering == "alignment" else numbering,
        "max_gap_sequences": max_gap_sequences,
        "max_gap_columns": max_gap_columns,
    }
    given = [name for name, value in options.items() if value is not None]
    if given and alignment_format(path) is None:
        raise InputError(f"{given[0]} applies to alignments ({', '.join(FORMATS)}), not to {path}")
    options |= {"unknown": unknown, "numbering": numbering}
    if weights is None:
        return _read(path, n_states, identity_threshold, options, n_threads)
    check_weights_path(weights)  # before the data, which may take long to read
    dataset = _read(path, n_states, None, options, n_threads)
    return replace(
        dataset,
        weights=read_weights(weights, dataset.n_sequences),
        origin={**dataset.origin, "weights": {"file": str(weights)}},
    )


def read_like(
    path: str | os.PathLike[str],
    like: Sites,
    *,
    n_states: int | None = None,
    alphabet: str | None = None,
    **options: Any,
) -> SequenceDataset:
    """Return the data set at `path` on the sites of a fit or data set: its columns and alphabet.

    Nothing is matched where either has no alphabet: states are then plain numbers.

    Parameters
    ----------
    path
        As for `read_dataset`, whose the other options are too.
    like
        The fit or data set.
    n_states, alphabet
        Those of `like` if left out.

    Raises
    ------
    InputError
        As for `read_dataset`; another alphabet, or columns that the data do not have.
    """
    # A fit that ignores gaps has no letter for them; the data do.
    wanted = "-" + like.alphabet if like.gap_policy == "ignored" else like.alphabet
    if like.alphabet and alphabet is None and alignment_format(path) is not None:
        alphabet = wanted
    n_states = like.n_states if n_states is None else n_states
    dataset = read_dataset(path, n_states=n_states, alphabet=alphabet, **options)
    if not (dataset.alphabet and like.alphabet) or like.columns is None:
        return dataset
    if dataset.alphabet != wanted:
        raise InputError(
            f"{path} has the alphabet {dataset.alphabet}, expected that of the fit, {wanted}"
        )
    try:
        return dataset.on_columns(like.columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def weights_of(
    dataset: SequenceDataset, identity_threshold: float = 0.8, *, n_threads: int | None = None
) -> tuple[NDArray[np.float64], str]:
    """Return the weights of what `read_dataset` returned, (n_sequences,), and where they are from.

    They are "given" by a file of weights, "stored" with the data, or computed "at identity X", by
    `read_dataset` or here.
    """
    weights = dataset.weights
    if weights is not None and "weights" in dataset.origin:
        return weights, "given"
    if weights is not None and "identity_threshold" not in dataset.origin:
        return weights, "stored"
    if weights is None:
        from pottsattn.data.alignment.identity import sequence_weights

        weights = sequence_weights(dataset.sequences, identity_threshold, n_threads=n_threads)
    return weights, f"at identity {dataset.origin.get('identity_threshold', identity_threshold):g}"


def _read(
    path: str | os.PathLike[str],
    n_states: int | None,
    identity_threshold: float | None,
    options: dict[str, Any],
    n_threads: int | None,
) -> SequenceDataset:
    """Return the data set at `path`; alignments without a threshold are not weighted."""
    source = Path(path)
    suffixes = [suffix.lower() for suffix in source.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if compressed and len(suffixes) > 1 else "".join(suffixes[-1:])
    if suffix in FORMATS:
        from pottsattn.data.alignment.identity import sequence_weights
        from pottsattn.data.alignment.reading import read_alignment

        alignment = read_alignment(source, **options)
        origin: dict[str, Any] = {"source": {"file": str(path), "summary": alignment.summary}}
        weights = None
        if identity_threshold is not None:
            weights = sequence_weights(alignment.sequences, identity_threshold, n_threads=n_threads)
            origin["identity_threshold"] = identity_threshold
        return SequenceDataset(
            alignment.sequences,
            len(alignment.alphabet),
            weights=weights,
            alphabet=alignment.alphabet,
            gap_index=alignment.gap_index,
            columns=alignment.columns,
            names=alignment.names,
            origin=origin,
        )
    if suffix == ".npy" and not compressed:
        return _read_npy(source, n_states)
    if suffix in HDF5_SUFFIXES and not compressed:
        return SequenceDataset.load(source)
    if not os.path.exists(source):
        raise InputError(f"cannot read {path}: no such file")
    if is_hdf5(source):
        return SequenceDataset.load(source)
    known = ", ".join((*HDF5_SUFFIXES, *FORMATS, ".npy"))
    raise InputError(f"cannot tell the kind of {path} by its name; expected {known} (or .gz)")


def _read_npy(path: Path, n_states: int | None) -> SequenceDataset:
    array = read_npy(path)
    if n_states is None and array.dtype.kind in "iu" and array.size:
        n_states = int(array.max()) + 1
    origin = {"source": {"file": str(path)}}
    try:
        return SequenceDataset(array, 2 if n_states is None else n_states, origin=origin)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
