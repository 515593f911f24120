"""Open any file of the package by what it says it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from pottsattn._core.storage import file_format, open_hdf5
from pottsattn._core.validate import InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.result import FitResult
from pottsattn.instances.result import InstanceRun
from pottsattn.model.potts import PottsModel
from pottsattn.spatial.run import SpatialRun
from pottsattn.studies.sweep.table import SweepTable
from pottsattn.theory.curve import LearningCurve

__all__ = ["load", "load_all", "load_fit", "load_model"]

Loaded = (
    SequenceDataset
    | FitResult
    | InstanceRun
    | NetworkFit
    | LearningCurve
    | PottsModel
    | SpatialRun
    | SweepTable
)


def load_fit(path: str | os.PathLike[str]) -> FitResult | NetworkFit:
    """Return the fit in a file: one with couplings, or a transformer.

    Raises
    ------
    InputError
        The file cannot be read, or is no fit.
    """
    with open_hdf5(path, "fit") as file:
        is_network = "network" in file
    return NetworkFit.load(path) if is_network else FitResult.load(path)


READERS: dict[str, Callable[..., Loaded]] = {
    "sequences": SequenceDataset.load,
    "fit": load_fit,
    "curve": LearningCurve.load,
    "instances": InstanceRun.load,
    "model": PottsModel.load,
    "spatial": SpatialRun.load,
    "sweep": SweepTable.load,
}


def load(path: str | os.PathLike[str]) -> Loaded:
    """Return what an HDF5 file of the package holds, whatever its format.

    Raises
    ------
    InputError
        The file cannot be read, or this version does not know its format.
    """
    kind = file_format(path)
    if kind not in READERS:
        raise InputError(f"{path} holds pottsattn.{kind}, which this version cannot read")
    return READERS[kind](path)


def load_all(paths: Iterable[str | os.PathLike[str]]) -> dict[str, dict[str, Any]]:
    """Return what the files hold, by kind ("fit", "curve" and so on) and path.

    Raises
    ------
    InputError
        As for `load`.
    """
    loaded: dict[str, dict[str, Any]] = {}
    for path in paths:
        loaded.setdefault(file_format(path), {})[os.fspath(path)] = load(path)
    return loaded


def load_model(path: str | os.PathLike[str]) -> PottsModel:
    """Return the Potts model in a data set, a model file or a fit (symmetrized)."""
    if file_format(path) == "fit":
        return FitResult.load(path).to_model()
    return PottsModel.load(path)
