"""Which figure fits which files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from pottsattn._core.storage import file_format
from pottsattn._core.validate import InputError, check_choice
from pottsattn.analysis.comparison import coupling_pairs
from pottsattn.analysis.contacts import rank_contacts, score_map
from pottsattn.analysis.distances import read_distances
from pottsattn.figures.chains import figure_chains
from pottsattn.figures.contacts import figure_heads, plot_contact_map, plot_precision
from pottsattn.figures.curves import figure_learning_curves
from pottsattn.figures.fits import (
    plot_couplings,
    plot_ridge_path,
    plot_scores,
    plot_site_frequencies,
)
from pottsattn.figures.instances import figure_instance_runs
from pottsattn.figures.sizes import figure_finite_size
from pottsattn.figures.spatial import figure_spatial_runs
from pottsattn.figures.style import (
    BLUE,
    METHOD_LABELS,
    METHOD_MARKERS,
    new_figure,
    plain,
    share_limits,
)
from pottsattn.figures.training import plot_histories, plot_history
from pottsattn.files import load_all
from pottsattn.fitting.result import FitResult
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.traces import has_traces, read_traces
from pottsattn.studies.sweep.against_theory import curves_for, deviations, finite_size_fits
from pottsattn.studies.sweep.table import OBSERVABLES, SweepTable

Loaded = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FigureOptions:
    """What to show of the files, where there is a choice.

    Attributes
    ----------
    observable : str
        Of curves and sweeps: "test_loss", "train_loss" or "coupling_error".
    length : int, optional
        Of sweeps: the length whose points are drawn (default: the longest).
    finite_size : bool
        Of sweeps: deviations from theory against 1 / L.
    distances : path, optional
        Of fits: a file with rows `i j ... distance`, for the precision of their contacts.
    min_separation : int
        With distances: least |i - j| of ranked pairs.
    cutoff : float
        With distances: a contact is closer than this.
    head_maps : bool
        Of one factored or attention fit: |A| of every head.
    maps : bool
        Of spatial and instance runs: attention maps.

    Raises
    ------
    InputError
        Another observable.
    """

    observable: str = "test_loss"
    length: int | None = None
    finite_size: bool = False
    distances: str | os.PathLike[str] | None = None
    min_separation: int = 6
    cutoff: float = 8.0
    head_maps: bool = False
    maps: bool = False

    def __post_init__(self) -> None:
        check_choice("observable", self.observable, OBSERVABLES)


def figure_for(
    paths: Sequence[str | os.PathLike[str]], options: FigureOptions | None = None
) -> Axes:
    """Return the first axes of the figure that fits the files.

    Parameters
    ----------
    paths
        Files of the package. One data set with traces gives its chains, without a sequence read.

    Raises
    ------
    InputError
        A file cannot be read, no figure shows these files together, or an option is for others.

    Examples
    --------
    >>> ax = figure_for(["curve.h5", "sweep.h5"], FigureOptions(observable="coupling_error"))
    >>> save_figure(ax, "errors.svg")  # doctest: +SKIP
    """
    options = FigureOptions() if options is None else options
    asks_for_fits = options.distances is not None or options.head_maps
    is_data = not asks_for_fits and len(paths) == 1 and file_format(paths[0]) == "sequences"
    if is_data and has_traces(paths[0]):
        return figure_chains(read_traces(paths[0]))[0]
    return choose_figure(load_all(paths), options)


def choose_figure(loaded: Loaded, options: FigureOptions) -> Axes:
    """Return the first axes of the figure that fits what `load_all` returned.

    Raises
    ------
    InputError
        No figure shows these together, or an option is for others.
    """
    kinds = set(loaded)
    if options.distances is not None or options.head_maps:
        return _contact_figure(loaded, options)
    if kinds <= {"curve", "sweep"}:
        return _curve_figure(loaded, options)
    if options.finite_size or options.length is not None:
        raise InputError("`finite_size` and `length` are for sweeps; leave them out")
    if kinds == {"spatial"}:
        return figure_spatial_runs(list(loaded["spatial"].values()), maps=options.maps)[0]
    if kinds == {"instances"}:
        return figure_instance_runs(list(loaded["instances"].values()), maps=options.maps)[0]
    if options.maps:
        raise InputError("`maps` is for spatial and instance runs; leave it out")
    truths = [*loaded.get("model", {}).values()]
    truths += [data.model for data in loaded.get("sequences", {}).values() if data.model]
    if "fit" in kinds and kinds <= {"fit", "sequences", "model"} and len(truths) == 1:
        return _coupling_figure(loaded["fit"], truths[0])
    if kinds == {"fit"} and len(loaded["fit"]) == 1:
        fit = next(iter(loaded["fit"].values()))
        return plot_history(fit.history) if fit.history else _score_figure(fit)
    if kinds == {"fit"} and all(fit.history for fit in loaded["fit"].values()):
        return plot_histories({path: fit.history for path, fit in loaded["fit"].items()})
    if kinds == {"sequences"} and len(loaded["sequences"]) == 1:
        return plot_site_frequencies(next(iter(loaded["sequences"].values())))
    found = ", ".join(f"{len(files)} {kind}" for kind, files in loaded.items())
    raise InputError(
        f"no figure for {found}; expected curves and sweeps, fits with one data set that holds the "
        "true model, one fit, several trained ones, one data set, spatial runs, or instance runs"
    )


def check_length(tables: Sequence[SweepTable], length: int | None) -> None:
    """Raise InputError if a length is given that no point of the tables has."""
    found = sorted({row.length for table in tables for row in table.rows})
    if length is not None and length not in found:
        raise InputError(
            f"no point has length {length}; the lengths are {', '.join(map(str, found)) or 'none'}"
        )


def _curve_figure(loaded: Loaded, options: FigureOptions) -> Axes:
    curves = list(loaded.get("curve", {}).values())
    tables = list(loaded.get("sweep", {}).values())
    check_length(tables, options.length)
    if options.finite_size:
        entries = [entry for table in tables for entry in deviations(table, options.observable)]
        fits = [*finite_size_fits(entries), *finite_size_fits(entries, matched=True)]
        if not fits:
            raise InputError(
                "`finite_size` needs a sweep with two lengths or more and two instances or more "
                "of each"
            )
        return figure_finite_size(fits)[0]
    return figure_learning_curves(
        curves or [curve for table in tables for curve in curves_for(table)],
        tables,
        observable=options.observable,
        length=options.length,
    )[0]


def _coupling_figure(fits: Mapping[str, Any], truth: PottsModel) -> Axes:
    axes = new_figure(len(fits), width=3.7, height=3.9)
    for ax, (path, fit) in zip(axes, fits.items(), strict=True):
        if (fit.length, fit.n_states) != (truth.length, truth.n_states):
            raise InputError(f"{path} and the true model are of different sizes")
        if not isinstance(fit, FitResult):
            raise InputError(f"{path}: a transformer has no couplings to lay beside true ones")
        label = METHOD_LABELS.get(fit.method, plain(fit.method))
        color = str(METHOD_MARKERS.get(fit.method, {}).get("color", BLUE))
        plot_couplings(*coupling_pairs(fit, truth), ax, label=label, color=color)
    share_limits(axes)
    return axes[0]


def _contact_figure(loaded: Loaded, options: FigureOptions) -> Axes:
    fits = loaded.get("fit", {})
    if set(loaded) != {"fit"} or not all(isinstance(fit, FitResult) for fit in fits.values()):
        raise InputError("`distances` and `head_maps` are for fits that have couplings")
    if options.head_maps:
        if len(fits) != 1 or options.distances is not None:
            raise InputError("`head_maps` takes one fit, without `distances`")
        fit = next(iter(fits.values()))
        return figure_heads(fit.couplings, fit.columns)[0]
    assert options.distances is not None
    known = read_distances(options.distances)
    least = options.min_separation
    rankings = {path: rank_contacts(fit, min_separation=least) for path, fit in fits.items()}
    precisions = {
        path: ranking.precision(known, options.cutoff) for path, ranking in rankings.items()
    }
    length = max(ranking.length for ranking in rankings.values())
    if len(fits) > 1:
        return plot_precision(precisions, length=length)
    axes = new_figure(2, width=4.9, height=4.6)
    plot_precision(precisions, axes[1], length=length)
    ranking = next(iter(rankings.values()))
    return plot_contact_map(ranking, known, axes[0], cutoff=options.cutoff)


def _score_figure(fit: FitResult) -> Axes:
    assert fit.columns is not None
    path = fit.config.get("ridge_path")
    axes = new_figure(1 if path is None else 2)
    if path is not None:
        plot_ridge_path(path, axes[1])
    return plot_scores(score_map(fit).clip(min=0.0), list(fit.columns), axes[0])
