"""Open any file of the package by what it says it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.storage import file_format, open_hdf5
from pottsattn._core.validate import InputError, check_choice
from pottsattn.analysis.scoring import states_for
from pottsattn.data.alignment.placing import Sites
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.reading import read_dataset, read_like
from pottsattn.data.sites import same_sites
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.result import FitResult
from pottsattn.instances.result import InstanceRun
from pottsattn.model.ensembles import ENSEMBLES
from pottsattn.model.graph import read_edges
from pottsattn.model.potts import PottsModel
from pottsattn.spatial.run import SpatialRun
from pottsattn.studies.sweep.table import SweepTable
from pottsattn.theory.result import LearningCurve

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


def load_model(path: str | os.PathLike[str], like: Sites | None = None) -> PottsModel:
    """Return the Potts model in a data set, a model file or a fit (symmetrized).

    Parameters
    ----------
    like
        A fit or data set whose sites the model must have, if its file says which they are.

    Raises
    ------
    InputError
        The file cannot be read, holds no model, or that of other columns.
    """
    kind = file_format(path)
    if like is not None and kind in ("fit", "sequences"):
        source = load(path)
        if isinstance(source, SequenceDataset | FitResult) and not same_sites(like, source):
            raise InputError(f"{path} holds a model of other columns than the fit has")
    if kind == "fit":
        return FitResult.load(path).to_model()
    return PottsModel.load(path)


def read_labels(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the states and columns of a model mean, where its file says so.

    `alphabet`, `gap_index`, `columns` and `numbering`, as `sample_to_file` takes them.
    """
    source = load(path)
    names = ("alphabet", "gap_index", "columns")
    labels = {name: getattr(source, name) for name in names if hasattr(source, name)}
    numbering = getattr(source, "numbering", None)
    return labels if numbering is None else {**labels, "numbering": numbering.to_json()}


def read_initial(
    path: str | os.PathLike[str], model: PottsModel, source: str | os.PathLike[str] | None = None
) -> NDArray[np.uint8]:
    """Return the sequences of a file as starts of chains, (M, L), states of the model.

    Parameters
    ----------
    source
        The file of the model: columns and letters are matched to those that it has.

    Raises
    ------
    InputError
        The file cannot be read, or its columns or letters are not those of the model.
    """
    made_of = None if source is None else load(source)
    if isinstance(made_of, SequenceDataset | FitResult):
        dataset = read_like(path, made_of, identity_threshold=None)
        return states_for(made_of, dataset)
    return read_dataset(path, n_states=model.n_states, identity_threshold=None).sequences


def build_model(
    *,
    model: str | os.PathLike[str] | None = None,
    edges: str | os.PathLike[str] | None = None,
    ensemble: str | None = None,
    length: int | None = None,
    n_states: int | None = None,
    coupling_scale: float | None = None,
    inverse_temperature: float = 1.0,
    rng: np.random.Generator | int | None = None,
) -> PottsModel:
    """Return a model from a file, of a graph in a file, or of an ensemble.

    Parameters
    ----------
    model
        A file that holds a model (`load_model`), which brings its own sizes.
    edges
        A file with lines `i j [strength]`; `coupling_scale` is a factor on strengths, 1 if left
        out, and `length` the largest site + 1 (needed where no edge has site 0).
    ensemble
        One of `pottsattn.model.ensembles.ENSEMBLES`, "sk-potts" if left out, which needs the sizes.
    length, n_states, coupling_scale
        L, C and J.
    inverse_temperature
        Factor on fields and couplings.
    rng
        Generator or seed of a random ensemble.

    Raises
    ------
    InputError
        Arguments that are missing or do not go together, or a file that cannot be read.

    Examples
    --------
    >>> build_model(length=10, n_states=3, coupling_scale=1.0, rng=0)
    PottsModel(sk-potts, length=10, n_states=3, factored, heads=1)
    """
    sizes = {"length": length, "n_states": n_states, "coupling_scale": coupling_scale}
    if edges is not None:
        _refuse("`edges` is a model of its own", {"model": model, "ensemble": ensemble})
        if n_states is None:
            raise InputError("`edges` needs `n_states`")
        pairs, strengths = read_edges(edges)
        if length is not None and pairs.min() > 0:
            warnings.warn(
                f"no edge of {edges} has site 0; sites count from 0, subtract 1 from all if those "
                "of the file count from 1",
                stacklevel=2,
            )
        scale = 1.0 if coupling_scale is None else coupling_scale
        found = PottsModel.from_edges(
            pairs, n_states=n_states, strengths=scale * strengths, length=length
        )
    elif model is not None:
        _refuse("`model` brings its own sizes", {**sizes, "ensemble": ensemble})
        found = load_model(model)
    elif length is None or n_states is None or coupling_scale is None:
        names = ", ".join(f"`{name}`" for name, value in sizes.items() if value is None)
        raise InputError(f"a random model needs {names}; or give a file that holds one as `model`")
    else:
        name = check_choice("ensemble", ensemble or "sk-potts", list(ENSEMBLES))
        found = ENSEMBLES[name](length, n_states, coupling_scale, rng)
    return found if inverse_temperature == 1.0 else found.scaled(inverse_temperature)


def _refuse(why: str, others: dict[str, Any]) -> None:
    given = [f"`{name}`" for name, value in others.items() if value is not None]
    if given:
        raise InputError(f"{why}, leave out {', '.join(given)}")
