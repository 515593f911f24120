"""Fits in the file formats of other programs, and sequences as FASTA.

What is written of a fit is symmetrized, (J_ij(a, b) + J_ji(b, a)) / 2, and in the zero-sum gauge;
scores are those of `contacts`: Frobenius norm without the gap state, average product correction
with means over L - 1. Layouts are in docs/formats.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from pottsattn._core.validate import InputError, check_choice
from pottsattn._core.whole_files import write_whole
from pottsattn.analysis.contacts import rank_contacts, score_map
from pottsattn.data.alignment.writing import write_alignment
from pottsattn.data.dataset import SequenceDataset
from pottsattn.exchange.plmc_file import write_plmc
from pottsattn.fitting.result import FitResult

Path = str | os.PathLike[str]
NEEDS_DATA = ("plmc",)


def export(
    fit: FitResult, path: Path, format: str, *, dataset: SequenceDataset | None = None
) -> None:
    """Write a fit for another program.

    Parameters
    ----------
    fit
        Of any method.
    format
        "npz": fields, couplings and scores; "csv": pairs of columns with scores, best first;
        "plmc": plmc's binary parameters; "plmc-text": plmc's couplings file; "ccmpred": the matrix
        of scores.
    dataset
        The data of the fit, for "plmc" only: its frequencies and weights are part of that file.

    Raises
    ------
    InputError
        An unknown format, a file that cannot be written, or data missing or not those of the fit.

    Examples
    --------
    >>> export(fit, "pairs.csv", "csv")  # doctest: +SKIP
    """
    check_choice("format", format, FORMATS)
    if format in NEEDS_DATA:
        if dataset is None:
            raise InputError(
                f"format {format} holds the frequencies of the data, which a fit does not keep; "
                "give the data of the fit as `dataset`"
            )
        write_plmc(path, fit, dataset)
        return
    if dataset is not None:
        raise InputError(f"data are for format {' and '.join(NEEDS_DATA)}, not for {format}")
    _WRITERS[format](fit, path)


def write_sequences(path: str | os.PathLike[str], dataset: SequenceDataset) -> None:
    """Write a data set as an alignment, in the format of the suffix (`write_alignment`).

    Names are those of the data set; without, `sampled_1` and so on where the data set holds the
    model it was sampled from, otherwise `sequence_1`. Weights and column numbers are not part of
    these formats.

    Raises
    ------
    InputError
        The data set has no alphabet, another suffix, names that the format cannot hold, or a file
        that cannot be written.
    """
    if not dataset.alphabet:
        raise InputError(
            "alignments take letters, but these states are plain integers; their alphabet is not "
            "known"
        )
    kind = "sequence" if dataset.model is None else "sampled"
    names = dataset.names or [f"{kind}_{number + 1}" for number in range(dataset.n_sequences)]
    write_alignment(path, dataset.sequences, dataset.alphabet, names=names)


def _write_npz(fit: FitResult, path: Path) -> None:
    model = fit.to_model()
    with write_whole(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            fields=model.fields,
            couplings=model.couplings.to_dense(),
            scores=score_map(fit),
            columns=_columns(fit),
            alphabet=np.array(fit.alphabet),
            gap_index=np.array(-1 if fit.gap_index is None else fit.gap_index),
        )


def _write_csv(fit: FitResult, path: Path) -> None:
    rank_contacts(fit, min_separation=1).to_csv(path)


def _write_plmc_text(fit: FitResult, path: Path) -> None:
    columns, scores = _columns(fit).tolist(), score_map(fit)
    with write_whole(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        for i, first in enumerate(columns):
            stream.writelines(
                f"{first} - {columns[j]} - 0 {scores[i, j]:f}\n" for j in range(i + 1, fit.length)
            )


def _write_ccmpred(fit: FitResult, path: Path) -> None:
    with write_whole(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        for row in score_map(fit):
            stream.write("".join(f"{score:.20e}\t" for score in row) + "\n")


def _columns(fit: FitResult) -> np.ndarray:
    return np.arange(1, fit.length + 1) if fit.columns is None else fit.columns


_WRITERS: dict[str, Callable[[FitResult, Path], None]] = {
    "npz": _write_npz,
    "csv": _write_csv,
    "plmc-text": _write_plmc_text,
    "ccmpred": _write_ccmpred,
}
FORMATS = ("npz", "csv", *NEEDS_DATA, "plmc-text", "ccmpred")
