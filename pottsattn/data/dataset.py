"""Sequence data sets in memory and on disk (HDF5, format `pottsattn.sequences/1`).

A data set knows its states, weights and alphabet and, when it was sampled, the true model; it does
not know who will fit it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from pottsattn._core.storage import create_hdf5, open_hdf5, provenance
from pottsattn._core.validate import (
    GAP_POLICIES,
    InputError,
    check_choice,
    check_n_states,
    check_sequences,
    check_weights,
)
from pottsattn.data.alignment.filters import find_record
from pottsattn.data.alignment.numbering import Numbering
from pottsattn.data.weights import WeightedSequences
from pottsattn.model.potts import PottsModel

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True, eq=False, repr=False)
class SequenceDataset(WeightedSequences):
    """Sequences of integer states with what is needed to interpret them.

    Its `len` is the number of sequences; iteration gives them one by one, `np.asarray` all of them.

    Parameters
    ----------
    sequences : integers, shape (n_sequences, length)
        States 0..n_states-1, kept as uint8.
    n_states
        Number of states C, at least 2.
    weights : shape (n_sequences,), optional
        Non-negative; every sequence counts 1 if left out.
    alphabet
        State a is the letter `alphabet[a]`; "" for plain integers.
    gap_index
        State of the alignment gap, if there is one.
    gap_policy
        "state", or "ignored": the number `n_states` in a sequence then stands for a gap, at which
        nothing is known of the site (see `ignoring_gaps`).
    columns : shape (length,), optional
        Original column numbers; 1..length if left out.
    names : n_sequences strings, optional
        Names of the sequences in their alignment; empty if they have none.
    model
        The true model, if known.
    origin
        Facts for the provenance attribute of the file.
    numbering
        What the column numbers of an alignment mean, by which others are read on the same columns.

    Raises
    ------
    InputError
        States out of range, or shapes that do not fit together.
    """

    sequences: NDArray[np.uint8]
    n_states: int
    weights: NDArray[np.float64] | None = None
    alphabet: str = ""
    gap_index: int | None = None
    columns: NDArray[np.int32] | None = None
    names: tuple[str, ...] = ()
    model: PottsModel | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    gap_policy: str = "state"
    numbering: Numbering | None = None

    def __post_init__(self) -> None:
        check_choice("gap_policy", self.gap_policy, GAP_POLICIES)
        n_symbols = check_n_states(self.n_states) + self.ignores_gaps
        sequences = check_sequences(self.sequences, n_symbols)
        n_sequences, length = sequences.shape
        columns = np.arange(1, length + 1) if self.columns is None else np.asarray(self.columns)
        if columns.shape != (length,):
            raise InputError(f"columns must have shape ({length},), got {columns.shape}")
        if self.numbering is not None:
            self.numbering.places(columns)  # raises where a number has no column
        if self.alphabet and len(self.alphabet) != self.n_states:
            raise InputError(f"alphabet {self.alphabet!r} must have {self.n_states} letters")
        if self.names and len(self.names) != n_sequences:
            raise InputError(
                f"names must be {n_sequences}, one per sequence; got {len(self.names)}"
            )
        if self.model is not None and (self.model.length, self.model.n_states) != (
            length,
            self.n_states,
        ):
            raise InputError(f"the model {self.model!r} does not fit sequences of length {length}")
        object.__setattr__(self, "sequences", sequences)
        object.__setattr__(self, "columns", columns.astype(np.int32))
        object.__setattr__(self, "weights", check_weights(self.weights, n_sequences))

    @property
    def n_sequences(self) -> int:
        """Number of sequences, M."""
        return self.sequences.shape[0]

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.sequences.shape[1]

    @property
    def is_weighted(self) -> bool:
        """Whether sequences carry weights."""
        return self.weights is not None

    @property
    def ignores_gaps(self) -> bool:
        """Whether a gap says nothing of its site, instead of being one of its states."""
        return self.gap_policy == "ignored"

    @property
    def observed_share(self) -> float:
        """The weighted share of (sequence, site) pairs that are not an ignored gap."""
        if not self.ignores_gaps:
            return 1.0
        observed = (self.sequences < self.n_states).mean(axis=1)
        return float(self.normalized_weights @ observed)

    def ignoring_gaps(self) -> SequenceDataset:
        """Return the same sequences with one state less: gaps are ignored.

        States above the gap move down by one. The weights stay; so does a data set that ignores
        gaps already.

        Raises
        ------
        InputError
            There is no gap state, the two other states that a model needs are missing, or every
            symbol is a gap.
        """
        if self.ignores_gaps:
            return self
        gap, n_states = self.gap_index, self.n_states - 1
        if gap is None:
            raise InputError("these data have no gap state to ignore; expected a gap_index")
        is_gap = self.sequences == gap
        if is_gap.all():
            raise InputError("every symbol of these data is a gap; none is left to fit")
        states = np.where(self.sequences > gap, self.sequences - 1, self.sequences)
        return replace(
            self,
            sequences=np.where(is_gap, n_states, states).astype(np.uint8),
            n_states=n_states,
            alphabet=self.alphabet[:gap] + self.alphabet[gap + 1 :],
            gap_index=None,
            model=None,
            gap_policy="ignored",
        )

    def refuse_ignored_gaps(self, what: str) -> None:
        """Raise InputError if gaps are ignored: `what` takes complete sequences."""
        if self.ignores_gaps:
            raise InputError(
                f"{what} cannot ignore gaps; keep them as a state (`gap_policy='state'`)"
            )

    def site_frequencies(self) -> NDArray[np.float64]:
        """Return f_i(a), weighted, shape (length, n_states).

        Ignored gaps do not count: each site has the frequencies of the sequences that show it.
        """
        weights = self.normalized_weights
        columns = [
            np.bincount(column, weights=weights, minlength=self.n_states)[: self.n_states]
            for column in self.sequences.T
        ]
        frequencies: NDArray[np.float64] = np.stack(columns)
        if self.ignores_gaps:
            totals = frequencies.sum(axis=1, keepdims=True)
            frequencies[totals[:, 0] == 0.0] = 1.0  # a column of gaps
            frequencies /= frequencies.sum(axis=1, keepdims=True)
        return frequencies

    def pair_frequencies(self, site: int, *, first: int = 0) -> NDArray[np.float64]:
        """Return f_ij(a, b) of one site i and all j >= `first`, weighted, (length - first, C, C).

        The block of j = i is diagonal. An ignored gap counts as a draw from the frequencies of its
        site: marginals stay f_i, and the covariances are those of the pairs that are seen, times
        their share.
        """
        weights, n_blocks = self.normalized_weights, self.length - first
        n_symbols = self.n_states + self.ignores_gaps
        own = self.sequences[:, site].astype(np.intp) * n_symbols
        counts = np.empty((n_blocks, n_symbols**2))
        for j in range(n_blocks):
            codes = own + self.sequences[:, first + j]
            counts[j] = np.bincount(codes, weights=weights, minlength=n_symbols**2)
        pairs = counts.reshape(n_blocks, n_symbols, n_symbols)
        if not self.ignores_gaps:
            return pairs
        frequencies = self.site_frequencies()
        rows = pairs[:, :-1] + frequencies[site][:, None] * pairs[:, -1:]
        pairs = rows[:, :, :-1] + rows[:, :, -1:] * frequencies[first:, None, :]
        if site >= first:
            pairs[site - first] = np.diag(frequencies[site])
        return pairs

    def take(self, index: ArrayLike | slice) -> SequenceDataset:
        """Return the data set of the chosen sequences, with their weights."""
        chosen = index if isinstance(index, slice) else np.asarray(index)
        weights = None if self.weights is None else self.weights[chosen]
        names = tuple(np.array(self.names, dtype=object)[chosen]) if self.names else ()
        return replace(self, sequences=self.sequences[chosen], weights=weights, names=names)

    def named(self, name: str) -> SequenceDataset:
        """Return the data set of the one sequence with this name.

        It is the whole name, its first word, that up to a `/`, or an entry name that UniProt sets
        apart by `|`.

        Raises
        ------
        InputError
            There is none, or more than one.
        """
        return self.take([find_record(self.names, name)])

    def on_columns(self, columns: ArrayLike) -> SequenceDataset:
        """Return the data set of the sites with these column numbers, in their order.

        Raises
        ------
        InputError
            A column that is not there, or sites left out of data with a true model.
        """
        wanted = np.asarray(columns)
        assert self.columns is not None  # set by __post_init__
        if np.array_equal(wanted, self.columns):
            return self
        missing = np.setdiff1d(wanted, self.columns)
        if len(missing):
            raise InputError(
                f"column {missing[0]} is wanted, but not in the data; read them with the options "
                "of the fit, but max_gap_columns"
            )
        if self.model is not None:
            raise InputError("data with a true model cannot leave out sites")
        site_of = {int(number): site for site, number in enumerate(self.columns)}
        sites = [site_of[int(number)] for number in wanted]
        return replace(self, sequences=self.sequences[:, sites], columns=wanted)

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the data set; `facts` are added to its origin in the provenance attribute.

        Raises
        ------
        InputError
            The file cannot be written, nothing is left behind; or gaps are ignored: files keep the
            alignment, with the gap as a state.
        """
        self.refuse_ignored_gaps("a file of sequences")
        with create_hdf5(path, "sequences", provenance(**{**self.origin, **facts})) as file:
            file.attrs["n_states"] = self.n_states
            file.attrs["alphabet"] = self.alphabet
            file.attrs["gap_index"] = -1 if self.gap_index is None else self.gap_index
            file.attrs["columns"] = self.columns
            if self.numbering is not None:
                file.attrs["numbering"] = self.numbering.to_json()
            if "phase_zone" in self.origin:
                file.attrs["phase_zone"] = self.origin["phase_zone"]
            file.create_dataset(
                "sequences", data=self.sequences, chunks=True, compression="gzip", shuffle=True
            )
            if self.weights is not None:
                file.create_dataset("weights", data=self.weights)
            if self.names:
                file.create_dataset("names", data=list(self.names), compression="gzip")
            if self.model is not None:
                self.model.write(file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SequenceDataset:
        """Return the data set of a file.

        Raises
        ------
        InputError
            The file cannot be read, or its states do not fit its `n_states`.
        """
        with open_hdf5(path, "sequences") as file:
            gap_index = int(file.attrs["gap_index"])
            origin: dict[str, Any] = {
                "source": {"file": str(path), "made_by": json.loads(file.attrs["provenance"])}
            }
            if "phase_zone" in file.attrs:
                origin["phase_zone"] = str(file.attrs["phase_zone"])
            return cls(
                sequences=file["sequences"][()],
                n_states=int(file.attrs["n_states"]),
                weights=file["weights"][()] if "weights" in file else None,
                alphabet=str(file.attrs["alphabet"]),
                gap_index=None if gap_index < 0 else gap_index,
                columns=file.attrs["columns"],
                names=read_names(file),
                model=PottsModel.read(file) if "model" in file else None,
                origin=origin,
                numbering=Numbering.from_attributes(file.attrs),
            )

    def __len__(self) -> int:
        return self.n_sequences

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.sequences)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.sequences, dtype, copy=copy)

    def __repr__(self) -> str:
        size = f"n_sequences={self.n_sequences}, length={self.length}, n_states={self.n_states}"
        if self.is_weighted:
            size += f", effective_size={self.effective_size:.1f}"
        truth = "" if self.model is None else ", model known"
        return f"SequenceDataset({size}{truth})"


def read_names(file: h5py.File) -> tuple[str, ...]:
    """Return the names of the sequences in an open data set file; empty if it has none."""
    return tuple(file["names"].asstr()[()].tolist()) if "names" in file else ()
