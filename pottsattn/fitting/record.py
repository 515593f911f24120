"""What is known of every fit, whatever it fits: penalties, how it went, its history.

The part of the file format `pottsattn.fit/1` that all methods share.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import html_table
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError, check_nonnegative
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sequence_file import SequenceFile

if TYPE_CHECKING:
    import h5py

__all__ = ["DEFAULT_RIDGE", "FitRecord", "History", "Penalty", "penalty_for"]

Array = NDArray[np.float64]
DEFAULT_RIDGE = 0.2


@dataclass(frozen=True)
class Penalty:
    """L2 penalties per sequence, in the one convention of the package (docs/conventions.md).

    The objective of site i is mean_m[-log P(s_i | s_-i)] + fields_l2 |h_i|^2 + R_i, with
    R_i = couplings_l2 sum_{j != i} |J_ij|^2_F for full blocks and
    R_i = couplings_l2 / (C - 1) sum_{j != i} |P J_ij P|^2_F for factored couplings.
    """

    couplings_l2: float
    fields_l2: float


def penalty_for(
    dataset: SequenceDataset | SequenceFile,
    *,
    ridge: float | None,
    couplings_l2: float | None,
    fields_l2: float,
    share: float = 1.0,
) -> Penalty:
    """Return the penalties of a fit: couplings_l2 as given, or ridge / (2 alpha share).

    Ridge is 0.2 if neither is given. `share` is that of the (sequence, site) pairs that count: not
    all do with static masks.

    Raises
    ------
    InputError
        A negative penalty, or both `ridge` and `couplings_l2`.
    """
    if ridge is not None and couplings_l2 is not None:
        raise InputError("give either ridge or couplings_l2, not both")
    if couplings_l2 is None:
        ridge = DEFAULT_RIDGE if ridge is None else ridge
        couplings_l2 = check_nonnegative("ridge", ridge) / (2.0 * dataset.alpha * share)
    return Penalty(
        check_nonnegative("couplings_l2", couplings_l2), check_nonnegative("fields_l2", fields_l2)
    )


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
    resumed_from : int or None
        The step that a training went on from, after an earlier run was killed.
    """

    method: str
    n_sequences: int
    effective_size: float
    objective: float
    train_loss: float
    penalty: Penalty
    gradient_norm: float
    optimality_gap: float
    n_evaluations: int
    n_parameters: int
    seconds: float
    converged: bool
    message: str
    estimated_gap: float = np.nan
    interrupted: bool = False
    resumed_from: int | None = None
    alphabet: str = ""
    gap_index: int | None = None
    columns: NDArray[np.int32] | None = None
    gap_policy: str = "state"
    history: History | None = None
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
        file.attrs.update(
            method=self.method,
            n_states=self.n_states,
            alphabet=self.alphabet,
            gap_index=-1 if self.gap_index is None else self.gap_index,
            gap_policy=self.gap_policy,
            columns=self._columns(),
            n_sequences=self.n_sequences,
            effective_size=self.effective_size,
            objective=self.objective,
            train_loss=self.train_loss,
            couplings_l2=self.penalty.couplings_l2,
            fields_l2=self.penalty.fields_l2,
            ridge=self.ridge,
            gradient_norm=self.gradient_norm,
            optimality_gap=self.optimality_gap,
            n_evaluations=self.n_evaluations,
            n_parameters=self.n_parameters,
            seconds=self.seconds,
            converged=self.converged,
            message=self.message,
            interrupted=self.interrupted,
            resumed_from=-1 if self.resumed_from is None else self.resumed_from,
            estimated_gap=self.estimated_gap,
            config=json.dumps(self.config, sort_keys=True),
        )
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
        gap_index = int(attrs["gap_index"])
        resumed_from = int(attrs.get("resumed_from", -1))
        return {
            "method": str(attrs["method"]),
            "n_sequences": int(attrs["n_sequences"]),
            "effective_size": float(attrs["effective_size"]),
            "objective": float(attrs["objective"]),
            "train_loss": float(attrs["train_loss"]),
            "penalty": Penalty(float(attrs["couplings_l2"]), float(attrs["fields_l2"])),
            "gradient_norm": float(attrs["gradient_norm"]),
            "optimality_gap": float(attrs["optimality_gap"]),
            "n_evaluations": int(attrs["n_evaluations"]),
            "n_parameters": int(attrs["n_parameters"]),
            "seconds": float(attrs["seconds"]),
            "converged": bool(attrs["converged"]),
            "message": str(attrs["message"]),
            "interrupted": bool(attrs.get("interrupted", False)),
            "resumed_from": None if resumed_from < 0 else resumed_from,
            "estimated_gap": float(attrs.get("estimated_gap", np.nan)),
            "alphabet": str(attrs["alphabet"]),
            "gap_index": None if gap_index < 0 else gap_index,
            "columns": np.asarray(attrs["columns"]),
            "gap_policy": str(attrs.get("gap_policy", "state")),
            "history": history,
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
        return {
            "method": self.method,
            "converged": self.converged,
            "interrupted": self.interrupted,
            "message": self.message,
            "objective": self.objective,
            "train_loss": self.train_loss,
            "gradient_norm": self.gradient_norm,
            "optimality_gap": self.optimality_gap,
            "estimated_gap": self.estimated_gap,
            "n_evaluations": self.n_evaluations,
            "seconds": self.seconds,
            "n_parameters": self.n_parameters,
            "n_sequences": self.n_sequences,
            "effective_size": self.effective_size,
            "resumed_from": self.resumed_from,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write how the fit went as one row."""
        write_csv(path, list(self.to_dict()), [list(self.to_dict().values())])

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self.to_dict())

    def __repr__(self) -> str:
        state = "converged" if self.converged else f"NOT converged: {self.message}"
        return (
            f"{type(self).__name__}({self.method}, length={self.length}, n_states={self.n_states}, "
            f"{state}, train_loss={self.train_loss:.4f} nats, |grad|={self.gradient_norm:.1e})"
        )
