"""plmc's binary parameter file, read and written.

Little-endian, one after the other, nothing between:

    int32    L, q, sequences used, sequences skipped, iterations
    float32  theta, lambda_h, lambda_e, lambda_group, M_eff
    char     alphabet (q)
    float32  number of neighbors of every sequence, itself included, 0 if skipped
    char     focus sequence (L)          of the fit, else the first letter throughout
    int32    column numbers (L)
    float32  f_i(a) (L, q), h_i(a) (L, q)
    float32  f_ij(a, b) (L (L - 1) / 2, q, q), then J_ij(a, b) of the same shape, i < j

Reference: `OutputParametersFull` of plmc, https://github.com/debbiemarkslab/plmc, 18c9e55.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import write_whole
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sites import on_sites_of
from pottsattn.exchange.conventions import penalty_to
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
INTEGER, REAL = np.dtype("<i4"), np.dtype("<f4")
COUNTS = ("length", "n_states", "n_used", "n_skipped", "n_iterations")
STRENGTHS = ("theta", "lambda_h", "lambda_e", "lambda_group", "effective_size")
HEAD = np.dtype([(name, INTEGER) for name in COUNTS] + [(name, REAL) for name in STRENGTHS])
PLAIN_LETTERS = string.digits + string.ascii_letters  # for states that have no letters


@one_line
@dataclass(frozen=True, eq=False)
class PlmcFile:
    """What a parameter file of plmc holds but for the pair frequencies."""

    fields: Array  # (L, q)
    couplings: Couplings  # dense, symmetric
    site_frequencies: Array  # (L, q)
    weights: Array  # (used + skipped,), 0 for a skipped sequence
    alphabet: str  # "" for plain integers
    columns: NDArray[np.int32]  # (L,)
    focus: str  # L letters
    n_sequences: int
    n_iterations: int
    theta: float
    couplings_strength: float  # lambda_e
    fields_strength: float  # lambda_h
    effective_size: float


def read_plmc(path: str | os.PathLike[str]) -> PlmcFile:
    """Return what a parameter file of plmc holds.

    Raises
    ------
    InputError
        The file cannot be read, or its size is not what its first numbers say.
    """
    source = Path(path)
    try:
        with source.open("rb") as stream:
            return _read(stream, source, os.path.getsize(source))
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error


def write_plmc(path: str | os.PathLike[str], fit: FitResult, dataset: SequenceDataset) -> None:
    """Write the symmetrized fit in the zero-sum gauge, with the frequencies of its data.

    lambda_e and lambda_h are those of a joint fit with the same penalties; after the method "mf"
    they are -1 and minus the pseudocount, as EVcouplings expects. theta is 1 - identity threshold,
    0 if none is known; iterations are the evaluations of the fit.

    Raises
    ------
    InputError
        The file cannot be written, the data are not those of the fit, or there are more than 62
        states without letters.
    """
    if fit.alphabet and dataset.alphabet:
        dataset = on_sites_of(dataset, fit)
    dataset = fit.as_seen(dataset)
    _check_data(fit, dataset)
    alphabet = _letters(fit)
    model = fit.to_model()
    weights = np.ones(dataset.n_sequences) if dataset.weights is None else dataset.weights
    with write_whole(path) as temporary, temporary.open("wb") as stream:

        def put(values: object, kind: np.dtype[Any]) -> None:
            stream.write(np.ascontiguousarray(values, dtype=kind).tobytes())

        put(_head(fit, dataset), HEAD)
        stream.write(alphabet.encode("latin-1"))
        put(_reciprocal(weights), REAL)
        stream.write(_focus(fit, alphabet).encode("latin-1"))
        put(dataset.columns, INTEGER)
        put(dataset.site_frequencies(), REAL)
        put(model.fields, REAL)
        for site in range(fit.length - 1):
            put(dataset.pair_frequencies(site, first=site + 1), REAL)
        for site in range(fit.length - 1):
            put(model.couplings.row(site)[site + 1 :], REAL)


def _head(fit: FitResult, dataset: SequenceDataset) -> tuple[float, ...]:
    """Return the values of `HEAD`."""
    counts = (fit.length, fit.n_states, dataset.n_sequences, 0, fit.n_evaluations)
    threshold = dataset.origin.get("identity_threshold")
    theta = 0.0 if threshold is None else 1.0 - threshold
    if fit.method == "mf":
        if "pseudocount" not in fit.config:
            raise InputError("the fit does not say its pseudocount: fit again")
        strengths = (theta, -fit.config["pseudocount"], -1.0, -1.0)
    else:
        couplings, fields = penalty_to(
            "plmc", fit.penalty, length=fit.length, effective_size=fit.effective_size
        )
        if fit.couplings.is_factored:  # whose penalty is couplings_l2 / (C - 1) per block
            couplings /= fit.n_states - 1
        strengths = (theta, fields, couplings, 0.0)
    return (*counts, *strengths, fit.effective_size)


def _reciprocal(values: Array) -> Array:
    """Return 1 / values, 0 where they are 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0.0)


def _read(stream: BinaryIO, source: Path, n_bytes: int) -> PlmcFile:
    def take(count: int, kind: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(stream.read(count * kind.itemsize), dtype=kind)

    unknown = f"cannot read {source}: not a parameter file of plmc (version 2), or damaged"
    if n_bytes < HEAD.itemsize:
        raise InputError(unknown)
    head = dict(zip(COUNTS + STRENGTHS, take(1, HEAD)[0].item(), strict=True))
    length, n_states, n_used, n_skipped = (head[name] for name in COUNTS[:4])
    pairs_bytes = length * (length - 1) // 2 * n_states**2 * REAL.itemsize
    expected = HEAD.itemsize + n_states + 4 * (n_used + n_skipped) + 5 * length
    expected += 2 * length * n_states * REAL.itemsize + 2 * pairs_bytes
    if min(length, n_states) < 2 or min(n_used, n_skipped) < 0 or n_bytes != expected:
        raise InputError(unknown)
    alphabet = stream.read(n_states).decode("latin-1")
    neighbors = take(n_used + n_skipped, REAL).astype(np.float64)
    focus = stream.read(length).decode("latin-1")
    columns = take(length, INTEGER).astype(np.int32)
    site_frequencies = take(length * n_states, REAL).reshape(length, n_states)
    fields = take(length * n_states, REAL).reshape(length, n_states)
    stream.seek(pairs_bytes, os.SEEK_CUR)  # f_ij
    couplings = np.zeros((length, length, n_states, n_states))
    for site in range(length - 1):
        n_others = length - 1 - site
        row = take(n_others * n_states**2, REAL).reshape(n_others, n_states, n_states)
        couplings[site, site + 1 :] = row
        couplings[site + 1 :, site] = row.transpose(0, 2, 1)
    return PlmcFile(
        fields=fields.astype(np.float64),
        couplings=Couplings(dense=couplings),
        site_frequencies=site_frequencies.astype(np.float64),
        weights=_reciprocal(neighbors),
        alphabet="" if alphabet == PLAIN_LETTERS[:n_states] else alphabet,
        columns=columns,
        focus=focus,
        n_sequences=n_used,
        n_iterations=head["n_iterations"],
        theta=head["theta"],
        couplings_strength=head["lambda_e"],
        fields_strength=head["lambda_h"],
        effective_size=head["effective_size"],
    )


def _letters(fit: FitResult) -> str:
    if fit.alphabet:
        return fit.alphabet
    if fit.n_states > len(PLAIN_LETTERS):
        raise InputError(
            f"plmc names every state by a letter: {fit.n_states} states without an alphabet are "
            f"more than {len(PLAIN_LETTERS)}"
        )
    return PLAIN_LETTERS[: fit.n_states]


def _focus(fit: FitResult, alphabet: str) -> str:
    """Return the letters of the focus sequence, one for each column."""
    numbering = fit.numbering
    if numbering is None or not numbering.row or fit.columns is None:
        return alphabet[0] * fit.length
    residues = numbering.residue_of[numbering.places(fit.columns)]
    return "".join(numbering.residues[at] for at in residues)


def _check_data(fit: FitResult, dataset: SequenceDataset) -> None:
    """Raise InputError unless these are the data of the fit, as far as it can tell."""
    checks = (
        ("length", fit.length, dataset.length),
        ("number of states", fit.n_states, dataset.n_states),
        ("alphabet", fit.alphabet, dataset.alphabet),
        ("number of sequences", fit.n_sequences, dataset.n_sequences),
    )
    for what, expected, found in checks:
        if expected != found:
            raise InputError(
                f"frequencies come from the data of the fit, but its {what} is {expected}, that of "
                f"these data {found}; give the data that were fitted, read with the same options"
            )
    if not np.isclose(fit.effective_size, dataset.effective_size, rtol=1e-6):
        fitted = fit.origin.get("data", {}).get("identity_threshold")
        read = dataset.origin.get("identity_threshold")
        remedy = "give the data that were fitted, with the same weights"
        if fitted != read:
            remedy = f"read them with the `identity_threshold` of the fit, {fitted}, not {read}"
        raise InputError(
            f"the fit had an effective size of {fit.effective_size:.6g}, these data have "
            f"{dataset.effective_size:.6g}; {remedy}"
        )
