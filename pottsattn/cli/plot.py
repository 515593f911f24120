"""`plot`: draw the figure that fits the files."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_distance_options,
    check_output,
    figure_options,
    say,
)


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
        "class; several, probes against the mask fraction, or against the length of the training.",
    )
    plot.add_argument("files", nargs="+", metavar="FILE", help="files of pottsattn")
    plot.add_argument("--out", required=True, metavar="FIG", help="figure: .png, .pdf or .svg")
    plot.add_argument(
        "--observable",
        default="test_loss",
        metavar="NAME",
        help="test_loss, train_loss, coupling_error",
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
    from pottsattn.figures.choice import figure_for
    from pottsattn.figures.style import save_figure

    options = figure_options(arguments)
    check_output(arguments.out, *arguments.files, arguments.distances)
    save_figure(figure_for(arguments.files, options), arguments.out)
    say(arguments, {"file": arguments.out}, arguments.out)
    return DONE
