"""Parameters to start a fit from: those of a fit file, an exported .npz or a file of plmc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.foreign import ZIP_START, read_npz
from pottsattn._core.validate import InputError, check_array
from pottsattn.data.dataset import SequenceDataset
from pottsattn.exchange.plmc_file import read_plmc
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
HDF5_START = b"\x89HDF"


class Parameters(NamedTuple):
    """A model as a file holds it."""

    fields: Array  # (L, C)
    couplings: Couplings
    alphabet: str  # "" for plain integers


def read_parameters(path: str | os.PathLike[str]) -> Parameters:
    """Return the parameters in a fit file, or in what `export` writes as npz or plmc.

    Those of a fit are as the optimum left them, the others symmetric; plmc's are float32.

    Raises
    ------
    InputError
        The file cannot be read or holds no parameters.
    """
    source = Path(path)
    try:
        with source.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    if start == HDF5_START:
        fit = FitResult.load(source)
        return Parameters(fit.fields, fit.couplings, fit.alphabet)
    if start == ZIP_START:
        return _read_npz(source)
    file = read_plmc(source)
    return Parameters(file.fields, file.couplings, file.alphabet)


def initial_parameters(
    path: str | os.PathLike[str], dataset: SequenceDataset
) -> tuple[Array, Couplings]:
    """Return (fields, couplings) of a file for a fit of `dataset`, states in its order.

    Raises
    ------
    InputError
        The file cannot be read, or its sites or states are not those of the data.
    """
    fields, couplings, alphabet = read_parameters(path)
    length, n_states = fields.shape
    if (length, n_states) != (dataset.length, dataset.n_states):
        raise InputError(
            f"{path} has length {length} and {n_states} states, the data {dataset.length} and "
            f"{dataset.n_states}" + _hint(alphabet, dataset)
        )
    if not alphabet or not dataset.alphabet or alphabet == dataset.alphabet:
        return fields, couplings
    if sorted(alphabet) != sorted(dataset.alphabet):
        raise InputError(
            f"{path} has the alphabet {alphabet!r}, the data {dataset.alphabet!r}; they must have "
            "the same letters"
        )
    order = [alphabet.index(letter) for letter in dataset.alphabet]
    dense = couplings.to_dense()[:, :, order][:, :, :, order]
    return fields[:, order], Couplings(dense=dense)


def _hint(alphabet: str, dataset: SequenceDataset) -> str:
    has_gap = dataset.gap_index is not None
    if alphabet and has_gap and dataset.alphabet[dataset.gap_index or 0] not in alphabet:
        return "; plmc was told to leave out the gap (-g), fit without it"
    return ""


def _read_npz(source: Path) -> Parameters:
    arrays = read_npz(source, ("fields", "couplings", "alphabet"))
    missing = [name for name in ("fields", "couplings") if name not in arrays]
    if missing:
        raise InputError(f"cannot read {source}: no array {missing[0]}, as `export` writes it")
    try:
        fields = check_array("fields", arrays["fields"], (None, None))
        shape = (len(fields),) * 2 + fields.shape[1:] * 2
        couplings = check_array("couplings", arrays["couplings"], shape)
    except (InputError, TypeError) as error:
        raise InputError(f"cannot read {source}: {error}") from error
    alphabet = str(arrays["alphabet"]) if "alphabet" in arrays else ""
    return Parameters(fields, Couplings(dense=couplings), alphabet)
