"""A table of simulated points: one row per fit, over instances, sizes, ridges and methods.

File format `pottsattn.sweep/1`: one data set per column under `/points`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from pottsattn._display import html_table
from pottsattn._storage import create_hdf5, open_hdf5, provenance, write_csv

__all__ = ["SweepMean", "SweepRow", "SweepTable"]


@dataclass(frozen=True)
class SweepRow:
    """One fit on one instance."""

    method: str  # "plm", "factored", "attention"
    ridge_kind: str  # "fixed" or "optimal", as in LearningCurve
    alpha: float  # sequences per site
    ridge: float
    seed: int  # of the instance: model and sequences
    test_loss: float  # nats per masked site
    train_loss: float  # nats per masked site
    coupling_error: float
    bayes_loss: float  # nats per masked site, of the true model on the same test sequences
    seconds: float
    converged: bool


@dataclass(frozen=True)
class SweepMean:
    """Mean and standard error over instances at one point; NaN error for one instance."""

    method: str
    ridge_kind: str
    alpha: float
    ridge: float
    n_instances: int
    test_loss: float
    test_loss_error: float
    train_loss: float
    train_loss_error: float
    coupling_error: float
    coupling_error_error: float


@dataclass(frozen=True, eq=False)
class SweepTable:
    """Simulated points of a learning curve, with the sizes they were made at."""

    rows: tuple[SweepRow, ...]
    length: int
    n_states: int
    coupling_scale: float
    origin: dict[str, Any] = field(default_factory=dict)

    def means(self) -> Iterator[SweepMean]:
        """Yield the mean over instances for every method, kind of ridge and alpha."""
        groups: dict[tuple[str, str, float], list[SweepRow]] = {}
        for row in self.rows:
            groups.setdefault((row.method, row.ridge_kind, row.alpha), []).append(row)
        for key, rows in groups.items():
            statistics: list[float] = []
            for name in ("test_loss", "train_loss", "coupling_error"):
                values = np.array([getattr(row, name) for row in rows])
                error = values.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
                statistics += [float(values.mean()), float(error)]
            ridge = float(np.mean([row.ridge for row in rows]))
            yield SweepMean(*key, ridge, len(rows), *statistics)

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the table; `facts` are added to its origin in the provenance."""
        with create_hdf5(path, "sweep", provenance(**{**self.origin, **facts})) as file:
            file.attrs.update(
                length=self.length, n_states=self.n_states, coupling_scale=self.coupling_scale
            )
            group = file.create_group("points")
            for item in fields(SweepRow):
                values = [getattr(row, item.name) for row in self.rows]
                group.create_dataset(item.name, data=values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SweepTable:
        """Return the table in a file; InputError if it cannot be read or is of another kind."""
        with open_hdf5(path, "sweep") as file:
            columns = [_column(file["points"][item.name]) for item in fields(SweepRow)]
            return cls(
                rows=tuple(SweepRow(*values) for values in zip(*columns, strict=True)),
                length=int(file.attrs["length"]),
                n_states=int(file.attrs["n_states"]),
                coupling_scale=float(file.attrs["coupling_scale"]),
                origin=json.loads(file.attrs["provenance"]),
            )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per fit; losses in nats per masked site, seconds of wall time."""
        header = [item.name for item in fields(SweepRow)]
        write_csv(path, header, (list(asdict(row).values()) for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return {"points": [...]} with one entry per fit, and the sizes."""
        return {
            "points": [asdict(row) for row in self.rows],
            "length": self.length,
            "n_states": self.n_states,
            "coupling_scale": self.coupling_scale,
        }

    def _repr_html_(self) -> str:
        means = {
            f"{mean.method}, {mean.ridge_kind} ridge, alpha {mean.alpha:g}": mean.test_loss
            for mean in self.means()
        }
        return html_table(f"{self!r}: mean test loss (nats per masked site)", means)

    def __repr__(self) -> str:
        seeds = {row.seed for row in self.rows}
        return (
            f"SweepTable({len(self.rows)} fits, {len(seeds)} instances, length={self.length}, "
            f"n_states={self.n_states}, coupling_scale={self.coupling_scale:g})"
        )


def _column(dataset: Any) -> list[Any]:
    values = dataset.asstr()[()] if dataset.dtype.kind == "O" else dataset[()]
    return list(values.tolist())
