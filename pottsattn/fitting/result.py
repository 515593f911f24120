"""What a fit of a Potts model returns: parameters as the optimum left them, and how it went.

File format `pottsattn.fit/1`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import create_hdf5, open_hdf5, provenance
from pottsattn._core.validate import InputError, check_sequences
from pottsattn.fitting.methods import SOLVED
from pottsattn.fitting.record import FitRecord
from pottsattn.model.couplings import Couplings
from pottsattn.model.potts import PottsModel, log_softmax, read_couplings, write_couplings

Array = NDArray[np.float64]


@one_line
@dataclass(frozen=True, eq=False)
class CouplingErrors:
    """Standard errors of the parameters of a fit (`pottsattn.fitting.selection.standard_errors`).

    `kind` is "laplace" or "sandwich". `couplings` are (L, L) for interactions, (L, L, C, C) for the
    zero-sum parts of full blocks. `fields` (L, C) are those of h of factored fits, of full blocks
    those of the mean logits h_i(a) + sum_jb J_ij(a, b) f_j(b); both less their mean over states.
    """

    kind: str
    fields: Array
    couplings: Array


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FitResult(FitRecord):
    """A fitted generalized Potts model, and how the fit went (see `FitRecord`).

    Attributes
    ----------
    fields : shape (length, n_states)
        h; zero when `config["fields"]` is "none".
    couplings : Couplings
        J as fitted: row i belongs to site i; see `symmetric` and `gauge`.
    symmetric : bool
        Whether J_ij(a, b) = J_ji(b, a) holds as fitted.
    gauge : str
        "as fitted", or what is known of the gauge.
    errors : CouplingErrors or None
        Standard errors, where they were asked for.
    """

    fields: Array
    couplings: Couplings
    symmetric: bool = False
    gauge: str = "as fitted"
    errors: CouplingErrors | None = None

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.fields.shape[0]

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self.fields.shape[1]

    @property
    def is_site_wise(self) -> bool:
        """Whether every row is a convex optimum of its own: plm, or factored with U = I."""
        similarity = self.config.get("color_similarity", "identity")
        return self.method in SOLVED and similarity == "identity" and not self.symmetric

    def log_conditionals(self, sequences: ArrayLike) -> Array:
        """Return log P(s_i = a | s_-i) in nats, shape (n_sequences, length, n_states)."""
        n_symbols = self.n_states + (self.gap_policy == "ignored")
        states = self._check_length(check_sequences(sequences, n_symbols))
        return log_softmax(self.couplings.logits(states) + self.fields)

    def to_model(self) -> PottsModel:
        """Return the symmetrized Potts model of the fit, in the zero-sum gauge."""
        fields, couplings = self.couplings.zero_sum(self.fields)
        return PottsModel(fields, couplings.symmetrized())

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the fit (format `pottsattn.fit/1`); `facts` are added to the provenance."""
        with create_hdf5(path, "fit", provenance(**{**self.origin, **facts})) as file:
            self._write_record(file)
            file.attrs.update(symmetric=self.symmetric, gauge=self.gauge)
            write_couplings(file, self.fields, self.couplings)
            if self.errors is not None:
                group = file.create_group("errors")
                group.attrs["kind"] = self.errors.kind
                group.create_dataset("fields", data=self.errors.fields)
                group.create_dataset("couplings", data=self.errors.couplings)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FitResult:
        """Return the fit in a file; InputError if it cannot be read or has no couplings."""
        with open_hdf5(path, "fit") as file:
            record = cls._read_record(file)
            if record["method"] == "transformer":
                raise InputError("a transformer has no couplings; expected a fit that has")
            fields, couplings = read_couplings(file)
            errors = None
            if "errors" in file:
                group = file["errors"]
                kind = str(group.attrs["kind"])
                errors = CouplingErrors(kind, group["fields"][()], group["couplings"][()])
            return cls(
                **record,
                fields=fields,
                couplings=couplings,
                symmetric=bool(file.attrs["symmetric"]),
                gauge=str(file.attrs["gauge"]),
                errors=errors,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return how the fit went, without its parameters."""
        return {**super().to_dict(), "symmetric": self.symmetric}
