"""What every fit returns: parameters as the optimum left them, and how it went.

File format `pottsattn.fit/1`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._display import html_table
from pottsattn._storage import create_hdf5, open_hdf5, provenance, write_csv
from pottsattn._validate import InputError, check_nonnegative, check_sequences
from pottsattn.couplings import Couplings
from pottsattn.dataset import SequenceDataset
from pottsattn.potts import PottsModel, log_softmax, read_couplings, write_couplings

__all__ = ["DEFAULT_RIDGE", "CouplingErrors", "FitResult", "History", "Penalty", "penalty_for"]

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
    dataset: SequenceDataset,
    *,
    ridge: float | None,
    couplings_l2: float | None,
    fields_l2: float,
) -> Penalty:
    """Return the penalties of a fit: couplings_l2 as given, or ridge / (2 alpha).

    Ridge is 0.2 if neither is given.

    Raises
    ------
    InputError
        A negative penalty, or both `ridge` and `couplings_l2`.
    """
    if ridge is not None and couplings_l2 is not None:
        raise InputError("give either ridge or couplings_l2, not both")
    if couplings_l2 is None:
        ridge = DEFAULT_RIDGE if ridge is None else ridge
        couplings_l2 = check_nonnegative("ridge", ridge) / (2.0 * dataset.alpha)
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


@dataclass(frozen=True, eq=False)
class CouplingErrors:
    """Standard errors of the parameters of a fit (`pottsattn.fitting.standard_errors`).

    `kind` is "laplace" or "sandwich". `couplings` are (L, L) for interactions, (L, L, C, C) for the
    zero-sum parts of full blocks. `fields` (L, C) are those of h of factored fits, of full blocks
    those of the mean logits h_i(a) + sum_jb J_ij(a, b) f_j(b); both less their mean over states.
    """

    kind: str
    fields: Array
    couplings: Array


@dataclass(frozen=True, eq=False, repr=False)
class FitResult:
    """A fitted generalised Potts model.

    Attributes
    ----------
    method : str
        "plm", "factored", "attention" or "mf".
    fields : shape (length, n_states)
        h; zero when `config["fields"]` is "none".
    couplings : Couplings
        J as fitted: row i belongs to site i; see `symmetric` and `gauge`.
    n_sequences, effective_size : int, float
        M and M_eff of the training data.
    objective, train_loss : float
        Penalised objective, summed over sites; loss without penalty, mean over sites. Nats.
    gradient_norm : float
        Largest Euclidean norm of a site's gradient of the objective (mean over sequences).
    optimality_gap : float
        Upper bound, in nats per site, on how far the objective is above its minimum:
        |gradient|^2 / (4 l2) by strong convexity; NaN where no penalty or no convexity gives one.
    estimated_gap : float
        The same distance as the curvature seen by the optimizer has it, g.B.g / 2 with its inverse
        Hessian B, nats per site; NaN where there is none.
    symmetric : bool
        Whether J_ij(a, b) = J_ji(b, a) holds as fitted.
    gauge : str
        "as fitted", or what is known of the gauge.
    converged : bool
    message : str
        In plain words how the fit ended and, if it did not converge, what to do.
    interrupted : bool
        Ended by Ctrl-C: what was learned so far.
    errors : CouplingErrors or None
        Standard errors, where they were asked for.
    """

    method: str
    fields: Array
    couplings: Couplings
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
    symmetric: bool = False
    gauge: str = "as fitted"
    interrupted: bool = False
    alphabet: str = ""
    gap_index: int | None = None
    columns: NDArray[np.int32] | None = None
    history: History | None = None
    errors: CouplingErrors | None = None
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.fields.shape[0]

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self.fields.shape[1]

    @property
    def ridge(self) -> float:
        """The penalty in the units of the theory: 2 alpha couplings_l2."""
        return 2.0 * self.effective_size / self.length * self.penalty.couplings_l2

    def log_conditionals(self, sequences: ArrayLike) -> Array:
        """Return log P(s_i = a | s_-i) in nats, shape (n_sequences, length, n_states)."""
        states = check_sequences(sequences, self.n_states)
        if states.shape[1] != self.length:
            raise InputError(f"sequences have length {states.shape[1]}, the fit {self.length}")
        return log_softmax(self.couplings.logits(states) + self.fields)

    def to_model(self) -> PottsModel:
        """Return the symmetrized Potts model of the fit, in the zero-sum gauge."""
        fields, couplings = self.couplings.zero_sum(self.fields)
        return PottsModel(fields, couplings.symmetrized())

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the fit (format `pottsattn.fit/1`); `facts` are added to the provenance."""
        with create_hdf5(path, "fit", provenance(**{**self.origin, **facts})) as file:
            file.attrs.update(
                method=self.method,
                n_states=self.n_states,
                alphabet=self.alphabet,
                gap_index=-1 if self.gap_index is None else self.gap_index,
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
                estimated_gap=self.estimated_gap,
                symmetric=self.symmetric,
                gauge=self.gauge,
                config=json.dumps(self.config, sort_keys=True),
            )
            write_couplings(file, self.fields, self.couplings)
            if self.errors is not None:
                group = file.create_group("errors")
                group.attrs["kind"] = self.errors.kind
                group.create_dataset("fields", data=self.errors.fields)
                group.create_dataset("couplings", data=self.errors.couplings)
            if self.history is not None:
                group = file.create_group("history")
                for name, values in asdict(self.history).items():
                    group.create_dataset(name, data=values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FitResult:
        """Return the fit in a file; InputError if it cannot be read or is not a fit."""
        with open_hdf5(path, "fit") as file:
            attrs = file.attrs
            fields, couplings = read_couplings(file)
            errors = None
            if "errors" in file:
                group = file["errors"]
                kind = str(group.attrs["kind"])
                errors = CouplingErrors(kind, group["fields"][()], group["couplings"][()])
            history = None
            if "history" in file:
                history = History(**{name: item[()] for name, item in file["history"].items()})
            gap_index = int(attrs["gap_index"])
            return cls(
                method=str(attrs["method"]),
                fields=fields,
                couplings=couplings,
                n_sequences=int(attrs["n_sequences"]),
                effective_size=float(attrs["effective_size"]),
                objective=float(attrs["objective"]),
                train_loss=float(attrs["train_loss"]),
                penalty=Penalty(float(attrs["couplings_l2"]), float(attrs["fields_l2"])),
                gradient_norm=float(attrs["gradient_norm"]),
                optimality_gap=float(attrs["optimality_gap"]),
                n_evaluations=int(attrs["n_evaluations"]),
                n_parameters=int(attrs["n_parameters"]),
                seconds=float(attrs["seconds"]),
                converged=bool(attrs["converged"]),
                message=str(attrs["message"]),
                interrupted=bool(attrs.get("interrupted", False)),
                estimated_gap=float(attrs.get("estimated_gap", np.nan)),
                symmetric=bool(attrs["symmetric"]),
                gauge=str(attrs["gauge"]),
                alphabet=str(attrs["alphabet"]),
                gap_index=None if gap_index < 0 else gap_index,
                columns=np.asarray(attrs["columns"]),
                history=history,
                errors=errors,
                config=json.loads(attrs["config"]),
                origin=json.loads(attrs["provenance"]),
            )

    def _columns(self) -> NDArray[np.int32]:
        if self.columns is None:
            return np.arange(1, self.length + 1, dtype=np.int32)
        return self.columns

    def to_dict(self) -> dict[str, Any]:
        """Return how the fit went, without its parameters."""
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
            "symmetric": self.symmetric,
            "n_evaluations": self.n_evaluations,
            "seconds": self.seconds,
            "n_parameters": self.n_parameters,
            "n_sequences": self.n_sequences,
            "effective_size": self.effective_size,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write how the fit went as one row."""
        write_csv(path, list(self.to_dict()), [list(self.to_dict().values())])

    def _repr_html_(self) -> str:
        return html_table("FitResult", self.to_dict())

    def __repr__(self) -> str:
        state = "converged" if self.converged else f"NOT converged: {self.message}"
        return (
            f"FitResult({self.method}, length={self.length}, n_states={self.n_states}, {state}, "
            f"train_loss={self.train_loss:.4f} nats, |grad|={self.gradient_norm:.1e})"
        )
