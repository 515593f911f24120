"""A table of simulated points: one row per fit, over instances, sizes, ridges, methods and masks.

File format `pottsattn.sweep/1`: one data set per column under `/points`; times are an attribute,
outside the content hash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pottsattn._core.display import html_table
from pottsattn._core.storage import create_hdf5, open_hdf5, provenance, write_csv

if TYPE_CHECKING:
    import h5py

OBSERVABLES = ("test_loss", "train_loss", "coupling_error")
UNMASKED = {"mask_fraction": np.nan, "mask_mode": "", "masks": 0}  # None, as it is stored


@dataclass(frozen=True)
class SweepRow:
    """One fit on one instance."""

    method: str  # "plm", "factored", "attention"
    ridge_kind: str  # "fixed" or "optimal", as in LearningCurve
    alpha: float  # sequences per site
    ridge: float
    seed: int  # of the instance: model and sequences
    test_loss: float  # nats per masked site
    train_loss: float  # nats per masked site, full context whatever the masks
    coupling_error: float
    bayes_loss: float  # nats per masked site, of the true model on the same test sequences
    seconds: float
    converged: bool
    length: int
    n_states: int
    coupling_scale: float  # J of the ensemble, k_B T
    realized_scale: float = np.nan  # `realized_coupling_scale` of the instance, k_B T
    mask_fraction: float | None = None  # None: one masked site at a time
    mask_mode: str | None = None  # "fresh" or "static"
    masks: int | None = None  # patterns per sequence
    sample_converged: bool = True  # the chains that gave training and test sequences; older: true

    @property
    def instance(self) -> tuple[int, float, int, int]:
        """What tells its model and sequences from others."""
        return self.n_states, self.coupling_scale, self.length, self.seed

    @property
    def is_sound(self) -> bool:
        """Whether both the fit and the chains of its sequences converged."""
        return self.converged and self.sample_converged

    @property
    def point(self) -> SweepPoint:
        """The conditions that its instances share."""
        return SweepPoint(**{item.name: getattr(self, item.name) for item in fields(SweepPoint)})


@dataclass(frozen=True)
class SweepPoint:
    """The conditions of a fit; its instances differ by seed alone."""

    method: str
    ridge_kind: str
    alpha: float
    ridge: float
    length: int
    n_states: int
    coupling_scale: float
    mask_fraction: float | None
    mask_mode: str | None
    masks: int | None


@dataclass(frozen=True)
class SweepMean:
    """Mean and standard error over instances at one point; NaN error for one instance."""

    point: SweepPoint
    n_instances: int
    test_loss: float
    test_loss_error: float
    train_loss: float
    train_loss_error: float
    coupling_error: float
    coupling_error_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions, the number of instances, means and errors side by side."""
        return {**asdict(self.point), **{k: v for k, v in asdict(self).items() if k != "point"}}


@dataclass(frozen=True, eq=False)
class SweepTable:
    """Simulated points of learning curves."""

    rows: tuple[SweepRow, ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def converged(self) -> bool:
        """Whether all fits and all samples converged."""
        return all(row.is_sound for row in self.rows)

    @property
    def message(self) -> str:
        """That in words, with what did not."""
        n_fits = sum(not row.converged for row in self.rows)
        n_samples = len({row.instance for row in self.rows if not row.sample_converged})
        failed = [
            f"{n} {what}" + ("s" if n > 1 else "")
            for n, what in ((n_fits, "fit"), (n_samples, "sample"))
            if n
        ]
        if not failed:
            return "all fits and samples converged"
        return f"{' and '.join(failed)} did NOT converge"

    def groups(self) -> dict[SweepPoint, list[SweepRow]]:
        """Return the rows of every point, in the order of the table.

        A ridge that is the best of its alpha belongs to the point by name, not by value.
        """
        found: dict[tuple[Any, ...], list[SweepRow]] = {}
        for row in self.rows:
            values = asdict(row.point)
            if row.ridge_kind != "fixed":
                del values["ridge"]
            found.setdefault(tuple(values.items()), []).append(row)
        return {rows[0].point: rows for rows in found.values()}

    def means(self) -> Iterator[SweepMean]:
        """Yield the mean over instances of every point."""
        for point, rows in self.groups().items():
            statistics: list[float] = []
            for name in OBSERVABLES:
                values = np.array([getattr(row, name) for row in rows])
                error = values.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
                statistics += [float(values.mean()), float(error)]
            yield SweepMean(point, len(rows), *statistics)

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the table; `facts` are added to its origin in the provenance."""
        with create_hdf5(path, "sweep", provenance(**{**self.origin, **facts})) as file:
            group = file.create_group("points")
            for item in fields(SweepRow):
                values = [getattr(row, item.name) for row in self.rows]
                if item.name == "seconds":  # times are outside the content hash
                    group.attrs[item.name] = values
                else:
                    stored = [UNMASKED[item.name] if x is None else x for x in values]
                    group.create_dataset(item.name, data=stored)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SweepTable:
        """Return the table in a file; InputError if it cannot be read or is of another kind."""
        with open_hdf5(path, "sweep") as file:
            n_rows = len(file["points/method"])
            columns = [_column(file, item.name, n_rows) for item in fields(SweepRow)]
            return cls(
                rows=tuple(SweepRow(*values) for values in zip(*columns, strict=True)),
                origin=json.loads(file.attrs["provenance"]),
            )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per fit; losses in nats per masked site, seconds of wall time."""
        write_csv(path, [item.name for item in fields(SweepRow)], map(astuple, self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return {"points": [...]} with one entry per fit."""
        return {"points": [asdict(row) for row in self.rows]}

    def _repr_html_(self) -> str:
        means = {
            f"{mean.point.method}, {mean.point.ridge_kind} ridge, alpha {mean.point.alpha:g}, "
            f"L {mean.point.length}, C {mean.point.n_states}, J {mean.point.coupling_scale:g}"
            + (f", r {mean.point.mask_fraction:g}" if mean.point.mask_fraction else ""): (
                mean.test_loss
            )
            for mean in self.means()
        }
        return html_table(f"{self!r}: mean test loss (nats per masked site)", means)

    def __repr__(self) -> str:
        instances = {row.instance for row in self.rows}
        sizes = ", ".join(
            f"{name}={'/'.join(f'{value:g}' for value in sorted({row[at] for row in instances}))}"
            for at, name in ((2, "length"), (0, "n_states"), (1, "coupling_scale"))
        )
        return f"SweepTable({len(self.rows)} fits, {len(instances)} instances, {sizes})"


def _column(file: h5py.File, name: str, n_rows: int) -> list[Any]:
    """Return a column; what files before version 0.2 lack is an attribute, or the same for all."""
    from h5py import check_string_dtype

    group = file["points"]
    if name == "seconds" and name in group.attrs:
        return list(np.asarray(group.attrs[name]).tolist())
    if name not in group:
        if name in file.attrs:
            return [file.attrs[name].item()] * n_rows
        absent = {"realized_scale": np.nan, "sample_converged": True, **dict.fromkeys(UNMASKED)}
        return [absent[name]] * n_rows
    dataset = group[name]
    is_text = check_string_dtype(dataset.dtype) is not None
    column = list((dataset.asstr() if is_text else dataset)[()].tolist())
    if name not in UNMASKED:
        return column
    return [None if value in ("", 0) or value != value else value for value in column]
