"""What is known of every fit, whatever it fits: penalties, how it went, its history.

The part of the file format `pottsattn.fit/1` that all methods share.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import html_table, one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError
from pottsattn._core.verdict import stated
from pottsattn.data.alignment.numbering import Numbering
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.training_record import TrainingRecord

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float64]
OF_DATA = {"of": "data"}  # entries that say what the data are, not how the fit went
# How a value of each type is read from an attribute of a file; numbers that are not given are -1.
READERS: dict[str, Callable[[Any], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "int | None": lambda value: None if value < 0 else int(value),
}


@one_line
@dataclass(frozen=True, eq=False)
class History:
    """Losses along a training, nats per masked site; NaN where not measured."""

    epochs: Array  # (n,)
    masked_loss: Array  # (n,), mean over the masks drawn since the last entry
    train_loss: Array  # (n,), full training data, every site
    validation_loss: Array  # (n,)
    objective: Array  # (n,), train_loss + penalties / L
    seconds: Array  # (n,), since the training began, evaluations of this history left out


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FitRecord:
    """How a fit went.

    Attributes
    ----------
    method : str
        "plm", "factored", "attention", "mf" or "transformer".
    n_sequences, effective_size : int, float
        M and M_eff of the training data.
    objective, train_loss : float
        Penalized objective, summed over sites; loss without penalty, mean over sites. Nats.
    gradient_norm : float
        Largest Euclidean norm of a site's gradient of the objective (mean over sequences).
    optimality_gap : float
        Upper bound, in nats per site, on how far the objective is above its minimum:
        |gradient|^2 / (4 l2) by strong convexity; NaN where no penalty or no convexity gives one.
    estimated_gap : float
        The same distance as the curvature seen by the optimizer has it, g.B.g / 2 with its inverse
        Hessian B, nats per site; NaN where there is none.
    converged : bool
    message : str
        In plain words how the fit ended and, if it did not converge, what to do.
    interrupted : bool
        Ended by Ctrl-C: what was learned so far.
    gap_policy : str
        "state", or "ignored": the gap is no state, and sequences may have the number `n_states`
        where nothing is known (`SequenceDataset.ignoring_gaps`).
    columns : int32 array
        Numbers of the sites; 1..length if there are no others.
    numbering : Numbering or None
        What these numbers mean in the alignment that was fitted.
    seconds, compile_seconds : float
        Wall time of the fit, with that of the earlier processes of a resumed training and without
        compilation; and that of compiling kernels in this process, which a later fit does not have.
    resumed_from : int or None
        The step that a training went on from, after an earlier run was killed.
    training : TrainingRecord or None
        Hashes of the training data, by which test data that are not new are known.
    """

    method: str
    converged: bool
    interrupted: bool = False
    message: str
    objective: float
    train_loss: float
    gradient_norm: float
    optimality_gap: float
    estimated_gap: float = np.nan
    n_evaluations: int
    seconds: float
    compile_seconds: float = 0.0
    n_parameters: int
    n_sequences: int
    effective_size: float
    resumed_from: int | None = None
    alphabet: str = field(default="", metadata=OF_DATA)
    gap_index: int | None = field(default=None, metadata=OF_DATA)
    gap_policy: str = field(default="state", metadata=OF_DATA)
    columns: NDArray[np.int32] | None = None
    numbering: Numbering | None = None
    penalty: Penalty
    history: History | None = None
    training: TrainingRecord | None = None
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        raise NotImplementedError

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        raise NotImplementedError

    @property
    def ridge(self) -> float:
        """The penalty in the units of the theory: 2 alpha couplings_l2."""
        return 2.0 * self.effective_size / self.length * self.penalty.couplings_l2

    def as_seen(self, dataset: SequenceDataset) -> SequenceDataset:
        """Return data without their gap state, if they have one that this fit ignores."""
        if self.gap_policy == "ignored" and dataset.gap_index is not None:
            return dataset.ignoring_gaps()
        return dataset

    def _write_record(self, file: h5py.File) -> None:
        values = {entry.name: getattr(self, entry.name) for entry in _plain_entries()}
        file.attrs.update(
            {name: -1 if value is None else value for name, value in values.items()},
            n_states=self.n_states,
            columns=self._columns(),
            couplings_l2=self.penalty.couplings_l2,
            fields_l2=self.penalty.fields_l2,
            ridge=self.ridge,
            config=json.dumps(self.config, sort_keys=True),
        )
        if self.numbering is not None:
            file.attrs["numbering"] = self.numbering.to_json()
        if self.training is not None:
            self.training.write(file)
        if self.history is not None:
            group = file.create_group("history")
            for name, values in asdict(self.history).items():
                if name == "seconds":  # times are outside the content hash
                    group.attrs[name] = values
                else:
                    group.create_dataset(name, data=values)

    @staticmethod
    def _read_record(file: h5py.File) -> dict[str, Any]:
        """Return the attributes of a fit, by name, without what is fitted."""
        attrs = file.attrs
        history = None
        if "history" in file:
            columns = {name: item[()] for name, item in file["history"].items()}
            unknown = np.full(len(columns["epochs"]), np.nan)  # files of version 0.1.0
            seconds = np.asarray(file["history"].attrs.get("seconds", unknown))
            history = History(**columns, seconds=seconds)
        record = {
            entry.name: READERS[str(entry.type)](attrs[entry.name])
            for entry in _plain_entries()
            if entry.name in attrs or entry.default is MISSING  # later than version 0.1.0
        }
        numbers, numbering = np.asarray(attrs["columns"]), Numbering.from_attributes(attrs)
        if numbering is not None:
            numbering.places(numbers)  # raises where a number has no column
        return record | {
            "penalty": Penalty(float(attrs["couplings_l2"]), float(attrs["fields_l2"])),
            "columns": numbers,
            "numbering": numbering,
            "history": history,
            "training": TrainingRecord.read(file),
            "config": json.loads(attrs["config"]),
            "origin": json.loads(attrs["provenance"]),
        }

    def _columns(self) -> NDArray[np.int32]:
        if self.columns is None:
            return np.arange(1, self.length + 1, dtype=np.int32)
        return self.columns

    def _check_length(self, states: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if states.shape[1] != self.length:
            raise InputError(f"sequences have length {states.shape[1]}, the fit {self.length}")
        return states

    def to_dict(self) -> dict[str, Any]:
        """Return how the fit went, without what is fitted."""
        entries = (entry for entry in _plain_entries() if not entry.metadata)
        return {entry.name: getattr(self, entry.name) for entry in entries}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write how the fit went as one row."""
        write_csv(path, list(self.to_dict()), [list(self.to_dict().values())])

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self.to_dict())

    def __repr__(self) -> str:
        state = stated(self.converged, self.message)
        return (
            f"{type(self).__name__}({self.method}, length={self.length}, n_states={self.n_states}, "
            f"{state}, train_loss={self.train_loss:.4f} nats, |grad|={self.gradient_norm:.1e})"
        )


def _plain_entries() -> list[Field[Any]]:
    """Return the entries of a record that are one number or text each: attributes of its file."""
    return [entry for entry in fields(FitRecord) if entry.type in READERS]
