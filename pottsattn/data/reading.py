"""Open data of any kind by what the file holds: data sets, alignments, arrays of integers."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.foreign import read_npy
from pottsattn._core.validate import (
    UNKNOWN_POLICIES,
    InputError,
    check_choice,
    check_identity_threshold,
)
from pottsattn.data.alignment.placing import Sites
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sites import on_sites_of
from pottsattn.data.weights import check_weights_path, read_weights

HDF5_SUFFIXES = (".h5", ".hdf5")
MAGIC = {"hdf5": b"\x89HDF\r\n\x1a\n", "npy": b"\x93NUMPY"}
OF_ALIGNMENTS = (
    "alphabet",
    "focus",
    "numbering",
    "first_residue",
    "max_gap_sequences",
    "max_gap_columns",
)


def read_dataset(
    path: str | os.PathLike[str],
    *,
    n_states: int | None = None,
    identity_threshold: float | None = 0.8,
    unknown: str = "drop",
    alphabet: str | None = None,
    focus: str | None = None,
    numbering: str = "alignment",
    first_residue: int | None = None,
    max_gap_sequences: float | None = None,
    max_gap_columns: float | None = None,
    weights: str | os.PathLike[str] | None = None,
    n_threads: int | None = None,
) -> SequenceDataset:
    """Return the data set in an HDF5 file, an alignment or a .npy array of integers.

    What a file is is told by its content.

    Parameters
    ----------
    path
        HDF5 (stored weights are used); an alignment (FASTA, A2M, A3M, Stockholm, Clustal, PHYLIP or
        one sequence a line, plain or .gz; weights are computed at `identity_threshold`); .npy of
        integers, shape (n_sequences, length).
    n_states
        For .npy: number of states, the largest state + 1 if left out.
    identity_threshold
        For alignments: see `pottsattn.data.alignment.identity.sequence_weights`; None: no weights.
    unknown, alphabet, focus, numbering, first_residue, max_gap_sequences, max_gap_columns
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
    options = {
        "alphabet": alphabet,
        "focus": focus,
        "numbering": numbering,
        "first_residue": first_residue,
        "max_gap_sequences": max_gap_sequences,
        "max_gap_columns": max_gap_columns,
        "unknown": unknown,
    }
    return _read_weighted(path, n_states, identity_threshold, options, weights, n_threads)


def read_like(
    path: str | os.PathLike[str],
    like: Sites,
    *,
    n_states: int | None = None,
    identity_threshold: float | None = 0.8,
    weights: str | os.PathLike[str] | None = None,
    sequence: str | int | None = None,
    n_threads: int | None = None,
    **options: Any,
) -> SequenceDataset:
    """Return the data set at `path` on the sites of a fit or data set: its columns and alphabet.

    Columns of an alignment are found by the focus sequence of the fit if the file has it, else by
    their number: those of the file that was fitted, its match columns, or those of the fit. Nothing
    is matched where either has no alphabet: states are then plain numbers.

    Parameters
    ----------
    path
        As for `read_dataset`, whose the other options are too.
    like
        The fit or data set.
    n_states
        That of `like` if left out, as the alphabet is.
    sequence
        Only the sequence of this name, or in this place from 0, is returned.

    Raises
    ------
    InputError
        As for `read_dataset`; another alphabet, or columns that are not in the data.
    """
    # A fit that ignores gaps has no letter for them; the data do.
    wanted = "-" + like.alphabet if like.gap_policy == "ignored" else like.alphabet
    if data_kind(path) == "alignment" and like.alphabet:
        options["sequence"] = sequence
        if options.get("alphabet") is None:
            options["alphabet"] = wanted
        if like.numbering is not None:
            options["like"] = like
    n_states = like.n_states if n_states is None else n_states
    dataset = _read_weighted(path, n_states, identity_threshold, options, weights, n_threads)
    if sequence is not None and "sequence" not in options:
        dataset = dataset.named(sequence) if isinstance(sequence, str) else dataset.take([sequence])
    if not (dataset.alphabet and like.alphabet):
        return dataset
    if dataset.alphabet != wanted:
        raise InputError(
            f"{path} has the alphabet {dataset.alphabet}, expected that of the fit, {wanted}"
        )
    try:
        return on_sites_of(dataset, like)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def data_kind(path: str | os.PathLike[str]) -> str:
    """Return what a file is by its first bytes: "hdf5", "npy", or else "alignment".

    One that cannot be opened, and a pipe, which can be read only once, is what its suffix says.
    """
    start = b""
    if os.path.isfile(path):
        with suppress(OSError), open(path, "rb") as stream:
            start = stream.read(8)
    for kind, magic in MAGIC.items():
        if start.startswith(magic):
            return kind
    suffix = Path(path).suffix.lower()
    return "hdf5" if suffix in HDF5_SUFFIXES else "npy" if suffix == ".npy" else "alignment"


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


def _read_weighted(
    path: str | os.PathLike[str],
    n_states: int | None,
    identity_threshold: float | None,
    options: dict[str, Any],
    weights: str | os.PathLike[str] | None,
    n_threads: int | None,
) -> SequenceDataset:
    """Return the data set at `path`, with the weights of another file if there is one."""
    if identity_threshold is not None:
        check_identity_threshold(identity_threshold)
    if data_kind(path) != "alignment":
        for name in OF_ALIGNMENTS:
            if options.get(name) not in (None, "alignment"):
                raise InputError(f"{name} applies to alignments, not to {path}")
    if weights is None:
        return _read(path, n_states, identity_threshold, options, n_threads)
    check_weights_path(weights)  # before the data, which may take long to read
    dataset = _read(path, n_states, None, options, n_threads)
    return replace(
        dataset,
        weights=read_weights(weights, dataset.n_sequences),
        origin={**dataset.origin, "weights": {"file": str(weights)}},
    )


def _read(
    path: str | os.PathLike[str],
    n_states: int | None,
    identity_threshold: float | None,
    options: dict[str, Any],
    n_threads: int | None,
) -> SequenceDataset:
    """Return the data set at `path`; alignments without a threshold are not weighted."""
    source, kind = Path(path), data_kind(path)
    if kind == "hdf5":
        return SequenceDataset.load(source)
    if kind == "npy":
        return _read_npy(source, n_states)
    if not os.path.exists(source):
        raise InputError(f"cannot read {path}: no such file")
    from pottsattn.data.alignment.identity import sequence_weights
    from pottsattn.data.alignment.reading import read_alignment

    alignment = read_alignment(source, **options)
    found = {
        "file": str(path),
        "format": alignment.form,
        "summary": alignment.summary,
        "n_dropped": alignment.n_gap_sequences + alignment.n_unknown_sequences,
    }
    origin: dict[str, Any] = {"source": found}
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
        numbering=alignment.numbering,
    )


def _read_npy(path: Path, n_states: int | None) -> SequenceDataset:
    array = read_npy(path)
    if n_states is None and array.dtype.kind in "iu" and array.size:
        n_states = int(array.max()) + 1
    origin = {"source": {"file": str(path)}}
    try:
        return SequenceDataset(array, 2 if n_states is None else n_states, origin=origin)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
