"""`plot`: draw the figure that fits the files."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn._core.storage import file_format
from pottsattn._core.validate import InputError, check_choice
from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_distance_options,
    check_output,
    load_all,
    say,
)

__all__ = ["add_parser"]

OBSERVABLES = ("test_loss", "train_loss", "coupling_error")


def add_parser(commands: Any) -> None:
    """Add the command."""
    plot = add_command(
        commands,
        "plot",
        _plot,
        "Draw the figure that fits the files.",
        epilog="Curves and sweeps: learning curves with points, and residuals where a line has "
        "their alpha; sweeps alone: with the theory for them. Fits and one data set with its "
        "true model: true against learned couplings. One fit: its training, or the scores of its "
        "pairs and the ridges tried; with --head-maps its heads. Fits and --distances: precision "
        "by rank, of one fit also its contact map. Several trained fits: their training. One "
        "sampled data set: its chains. Another data set: the frequencies of its states. Spatial "
        "runs: one, its time courses, or with --maps its attention over training; several on the "
        "same areas, their maps side by side; else own-area attention against the gap. Instance "
        "runs: one, its vectors, class attention and training, or with --maps class attention by "
        "class; several, probes against the mask ratio, or against the length of the training.",
    )
    plot.add_argument("files", nargs="+", metavar="FILE", help="files of pottsattn")
    plot.add_argument("--out", required=True, metavar="FIG", help="figure: .png, .pdf or .svg")
    plot.add_argument(
        "--observable", default="test_loss", metavar="NAME", help=f"{', '.join(OBSERVABLES)}"
    )
    plot.add_argument(
        "--length", type=int, metavar="L", help="sweeps: points of this length (default: longest)"
    )
    plot.add_argument(
        "--finite-size", action="store_true", help="sweeps: deviations from theory against 1 / L"
    )

    add_distance_options(plot)
    plot.add_argument(
        "--head-maps", action="store_true", help="one factored or attention fit: |A| of every head"
    )
    plot.add_argument(
        "--maps", action="store_true", help="spatial and instance runs: attention maps"
    )


def _plot(arguments: argparse.Namespace) -> int:
    from pottsattn.figures.style import save_figure

    check_choice("observable", arguments.observable, OBSERVABLES)
    check_output(arguments.out, *arguments.files)
    check_output(arguments.out, arguments.distances)
    ax = None if arguments.distances or arguments.head_maps else _chain_figure(arguments.files)
    if ax is None:
        ax = _choose_figure(load_all(arguments.files), arguments)
    save_figure(ax, arguments.out)
    say(arguments, {"file": arguments.out}, arguments.out)
    return DONE


def _chain_figure(paths: list[str]) -> Any:
    """Return the figure of one data set with traces, which needs no sequence, or None."""
    from pottsattn.sampling.traces import has_traces, read_traces

    if len(paths) > 1 or file_format(paths[0]) != "sequences" or not has_traces(paths[0]):
        return None
    from pottsattn.figures.chains import figure_chains

    return figure_chains(read_traces(paths[0]))[0]


def _choose_figure(loaded: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> Any:
    from pottsattn.figures.fits import plot_site_frequencies
    from pottsattn.figures.training import plot_histories, plot_history

    kinds = set(loaded)
    if arguments.distances is not None or arguments.head_maps:
        return _contact_figure(loaded, arguments)
    if kinds <= {"curve", "sweep"}:
        return _curve_figure(loaded, arguments)
    if arguments.finite_size or arguments.length is not None:
        raise InputError("--finite-size and --length are for sweeps; leave them out")
    if kinds == {"spatial"}:
        from pottsattn.figures.spatial import figure_spatial_runs

        return figure_spatial_runs(list(loaded["spatial"].values()), maps=arguments.maps)[0]
    if kinds == {"instances"}:
        from pottsattn.figures.instances import figure_instance_runs

        return figure_instance_runs(list(loaded["instances"].values()), maps=arguments.maps)[0]
    if arguments.maps:
        raise InputError("--maps is for spatial and instance runs; leave it out")
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


def _curve_figure(loaded: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> Any:
    from pottsattn.figures.curves import figure_learning_curves
    from pottsattn.figures.sizes import figure_finite_size
    from pottsattn.studies.sweep.deviations import curves_for, deviations, finite_size_fits

    curves = list(loaded.get("curve", {}).values())
    tables = list(loaded.get("sweep", {}).values())
    if arguments.length is not None:
        _check_length(tables, arguments.length)
    if arguments.finite_size:
        entries = [entry for table in tables for entry in deviations(table, arguments.observable)]
        fits = [*finite_size_fits(entries), *finite_size_fits(entries, matched=True)]
        if not fits:
            raise InputError(
                "--finite-size needs a sweep with two lengths or more and two instances or more "
                "of each"
            )
        return figure_finite_size(fits)[0]
    return figure_learning_curves(
        curves or [curve for table in tables for curve in curves_for(table)],
        tables,
        observable=arguments.observable,
        length=arguments.length,
    )[0]


def _check_length(tables: list[Any], length: int) -> None:
    found = sorted({row.length for table in tables for row in table.rows})
    if length not in found:
        raise InputError(
            f"no point has length {length}; the lengths are {', '.join(map(str, found)) or 'none'}"
        )


def _coupling_figure(fits: dict[str, Any], truth: Any) -> Any:
    from pottsattn.analysis.comparison import coupling_pairs
    from pottsattn.figures.fits import plot_couplings
    from pottsattn.figures.style import METHOD_LABELS, METHOD_MARKERS, new_figure, share_limits
    from pottsattn.fitting.result import FitResult

    axes = new_figure(len(fits), width=3.7, height=3.9)
    for ax, (path, fit) in zip(axes, fits.items(), strict=True):
        if (fit.length, fit.n_states) != (truth.length, truth.n_states):
            raise InputError(f"{path} and the true model are of different sizes")
        if not isinstance(fit, FitResult):
            raise InputError(f"{path}: a transformer has no couplings to lay beside true ones")
        label = METHOD_LABELS.get(fit.method, fit.method)
        color = str(METHOD_MARKERS.get(fit.method, {}).get("color", "#0072B2"))
        plot_couplings(*coupling_pairs(fit, truth), ax, label=label, color=color)
    share_limits(axes)
    return axes[0]


def _contact_figure(loaded: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> Any:
    from pottsattn.analysis.contacts import rank_contacts, read_distances
    from pottsattn.figures.contacts import figure_heads, plot_contact_map, plot_precision
    from pottsattn.figures.style import new_figure
    from pottsattn.fitting.result import FitResult

    fits: dict[str, Any] = loaded.get("fit", {})
    if set(loaded) != {"fit"} or not all(isinstance(fit, FitResult) for fit in fits.values()):
        raise InputError("--distances and --head-maps are for fits that have couplings")
    if arguments.head_maps:
        if len(fits) != 1 or arguments.distances is not None:
            raise InputError("--head-maps takes one fit, without --distances")
        fit = next(iter(fits.values()))
        return figure_heads(fit.couplings, fit.columns)[0]
    known = read_distances(arguments.distances)
    least = arguments.min_separation
    rankings = {path: rank_contacts(fit, min_separation=least) for path, fit in fits.items()}
    precisions = {
        path: ranking.precision(known, arguments.cutoff) for path, ranking in rankings.items()
    }
    length = max(ranking.length for ranking in rankings.values())
    if len(fits) > 1:
        return plot_precision(precisions, length=length)
    axes = new_figure(2, width=4.9, height=4.6)
    plot_precision(precisions, axes[1], length=length)
    ranking = next(iter(rankings.values()))
    return plot_contact_map(ranking, known, axes[0], cutoff=arguments.cutoff)


def _score_figure(fit: Any) -> Any:
    from pottsattn.analysis.contacts import score_map
    from pottsattn.figures.fits import plot_ridge_path, plot_scores
    from pottsattn.figures.style import new_figure

    path = fit.config.get("ridge_path")
    axes = new_figure(1 if path is None else 2)
    if path is not None:
        plot_ridge_path(path, axes[1])
    return plot_scores(score_map(fit).clip(min=0.0), list(fit.columns), axes[0])
