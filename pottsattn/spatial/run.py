"""The record of a training on the spatial system, and its file `pottsattn.spatial/1`."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import html_table, one_line
from pottsattn._core.storage import create_hdf5, open_hdf5, provenance, write_csv
from pottsattn._core.verdict import (
    Verdict,
    diverged_by,
    interrupted_at,
    judge_bounded,
    judge_losses,
    stated,
)
from pottsattn.spatial.areas import PatchAreas
from pottsattn.spatial.objectives import AreaLayer

Floats = NDArray[np.float64]
NAMES = {"n_steps": "max_steps", "mask_ratio": "mask_fraction"}  # in older files, and now


@one_line
@dataclass(frozen=True, eq=False)
class SpatialHistory:
    """Traces of a training, one entry per recorded step; see `AttentionMeasures`, `Correlations`.

    Names with `phi_` and `upsilon_` are means of Phi and Upsilon; the rest are measures on inputs
    that were never trained on. `loss` is that of the training inputs of the step.
    """

    step: NDArray[np.int64]
    loss: Floats
    own_global: Floats
    own_local: Floats
    to_global: Floats
    excess_global: Floats
    excess_local: Floats
    excess: Floats
    diversity: Floats
    phi_own_global: Floats
    phi_own_local: Floats
    phi_local_to_global: Floats
    phi_local_to_local: Floats
    upsilon_same_local: Floats
    upsilon_unrelated: Floats

    def __len__(self) -> int:
        return len(self.step)

    def first(self, name: str, *, above: float | None = None, below: float | None = None) -> float:
        """Return the first recorded step at which a trace is beyond a threshold, or NaN."""
        values = getattr(self, name)
        beyond = values > above if above is not None else values < below
        return float(self.step[beyond][0]) if beyond.any() else math.nan


@dataclass(frozen=True)
class PhaseTimes:
    """When a local query learns what, in steps; NaN if it does not.

    decoupled
        Phi_{local -> global} falls below -1/2: the query leaves the global area.
    grown
        Phi_{own, local} rises above 1/2: it finds its own area.
    attends_own
        Its own area gets more than half of its attention.
    global_attends_own
        The same for queries of the global area.
    """

    decoupled: float
    grown: float
    attends_own: float
    global_attends_own: float


@one_line
@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Mean attention of chosen queries of cluster 0 to every patch, during training.

    steps: shape (n_maps,). queries: patches, shape (n_queries,). maps: shape
    (n_maps, n_queries, n_patches), means over inputs and masks under which the query is hidden;
    NaN if none of them hides it.
    """

    steps: NDArray[np.int64]
    queries: NDArray[np.int64]
    maps: Floats


@dataclass(frozen=True, eq=False)
class SpatialRun:
    """A trained layer, how it got there, and what it attends to.

    Parameters
    ----------
    objective
        "mae" (masked reconstruction) or "contrastive".
    areas, layer, history, maps
        The data, the correlations at the end, the traces, the attention maps.
    rate_ratio
        Of `pottsattn.spatial.measures.rate_ratio`; NaN for contrastive.
    config
        What decided the numbers.
    n_steps
        Steps that were done.
    interrupted
        Whether Ctrl-C ended the training.
    seconds
        Of this run.
    resumed_from
        The step at which an earlier run had stopped, or None.
    """

    objective: str
    areas: PatchAreas
    layer: AreaLayer
    history: SpatialHistory
    maps: AttentionMaps
    rate_ratio: float
    config: dict[str, Any]
    n_steps: int
    interrupted: bool = False
    seconds: float = math.nan
    resumed_from: int | None = None

    @cached_property
    def verdict(self) -> Verdict:
        """Whether more steps would change the loss, and how that is known."""
        if self.interrupted:
            return interrupted_at(self.n_steps, self.config.get("max_steps", self.n_steps))
        if not np.isfinite(self.layer.phi).all():
            return diverged_by(self.n_steps)
        if self.objective == "mae":
            return judge_bounded(self.history.excess, self.n_steps)
        return judge_losses(self.history.loss, self.n_steps)

    @property
    def converged(self) -> bool:
        """Whether at most 2 % of the excess loss is left, or the contrastive loss is flat."""
        return self.verdict.converged

    @property
    def message(self) -> str:
        """How the training ended."""
        return self.verdict.message

    @property
    def excess_loss_ratio(self) -> float:
        """Loss above the smallest possible over its value at the start; NaN for contrastive."""
        if self.objective != "mae":
            return math.nan
        return float(self.history.excess[-1] / self.history.excess[0])

    @property
    def phase_times(self) -> PhaseTimes:
        """When local queries leave the global area and when they find their own."""
        return PhaseTimes(
            decoupled=self.history.first("phi_local_to_global", below=-0.5),
            grown=self.history.first("phi_own_local", above=0.5),
            attends_own=self.history.first("own_local", above=0.5),
            global_attends_own=self.history.first("own_global", above=0.5),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the measures at the end and when what was learned; NaN where undefined."""
        last, times = self.history, self.phase_times
        return {
            "objective": self.objective,
            "own_attention_global": float(last.own_global[-1]),
            "own_attention_local": float(last.own_local[-1]),
            "attention_to_global": float(last.to_global[-1]),
            "excess_loss_ratio": self.excess_loss_ratio,
            "excess_loss_ratio_global": self._ratio("excess_global"),
            "excess_loss_ratio_local": self._ratio("excess_local"),
            "diversity": float(last.diversity[-1]),
            "rate_ratio": self.rate_ratio,
            "information_gap": self.areas.information_gap,
            "phases": {item.name: getattr(times, item.name) for item in fields(times)},
            "n_steps": self.n_steps,
            "converged": self.converged,
            "message": self.message,
            "resumed_from": self.resumed_from,
            "seconds": self.seconds,
        }

    def _ratio(self, name: str) -> float:
        values = getattr(self.history, name)
        return float(values[-1] / values[0]) if self.objective == "mae" else math.nan

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the history, one row per recorded step."""
        columns = [getattr(self.history, item.name) for item in fields(SpatialHistory)]
        names = [item.name for item in fields(SpatialHistory)]
        write_csv(path, names, zip(*columns, strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run as HDF5, `pottsattn.spatial/1`; InputError if that is not possible."""
        with create_hdf5(path, "spatial", provenance(seed=self.config.get("seed"))) as file:
            file.attrs.update(
                objective=self.objective,
                config=json.dumps(self.config, sort_keys=True),
                rate_ratio=self.rate_ratio,
                n_steps=self.n_steps,
                interrupted=self.interrupted,
                converged=self.converged,
                message=self.message,
                seconds=self.seconds,
                resumed_from=-1 if self.resumed_from is None else self.resumed_from,
            )
            if self.areas.grid is not None:
                file.attrs["grid"] = self.areas.grid
            file["areas"] = self.areas.labels
            file["phi"], file["upsilon"] = self.layer.phi, self.layer.upsilon
            for item in fields(SpatialHistory):
                file[f"history/{item.name}"] = getattr(self.history, item.name)
            for item in fields(AttentionMaps):
                file[f"maps/{item.name}"] = getattr(self.maps, item.name)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpatialRun:
        """Return the run in a file; InputError if it cannot be read or is of another kind."""
        with open_hdf5(path, "spatial") as file:
            attributes = file.attrs
            grid = attributes.get("grid")
            resumed_from = int(attributes["resumed_from"])
            config = json.loads(attributes["config"])
            return cls(
                objective=str(attributes["objective"]),
                areas=PatchAreas(
                    file["areas"][()], None if grid is None else (int(grid[0]), int(grid[1]))
                ),
                layer=AreaLayer(file["phi"][()], file["upsilon"][()]),
                history=SpatialHistory(
                    **{
                        item.name: file[f"history/{item.name}"][()]
                        for item in fields(SpatialHistory)
                    }
                ),
                maps=AttentionMaps(
                    **{item.name: file[f"maps/{item.name}"][()] for item in fields(AttentionMaps)}
                ),
                rate_ratio=float(attributes["rate_ratio"]),
                config={NAMES.get(name, name): x for name, x in config.items()},
                n_steps=int(attributes["n_steps"]),
                interrupted=bool(attributes["interrupted"]),
                seconds=float(attributes["seconds"]),
                resumed_from=None if resumed_from < 0 else resumed_from,
            )

    def __repr__(self) -> str:
        last = self.history
        state = stated(self.converged, self.message)
        return (
            f"SpatialRun({self.objective}, {self.areas!r}, {self.n_steps} steps, own area: "
            f"global {last.own_global[-1]:.3f}, local {last.own_local[-1]:.3f}, local to global "
            f"{last.to_global[-1]:.3f}, diversity {last.diversity[-1]:.2f}, {state})"
        )

    def _repr_html_(self) -> str:
        return html_table(
            f"{self.objective}, {self.n_steps} steps",
            {name: value for name, value in self.to_dict().items() if name != "phases"},
        )
