"""`report`: write one self-contained page on files."""

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
    report = add_command(
        commands,
        "report",
        _report,
        "Write one self-contained page on the files.",
        epilog="Sweeps, with curves to lay beneath their points or the theory for them: curves, "
        "residuals, finite-size study, tables. Fits alone: how they ended, contacts and maps. "
        "Other files: the figure that plot draws of them.",
    )
    report.add_argument("files", nargs="+", metavar="FILE", help="files of pottsattn")
    report.add_argument("--out", required=True, metavar="PAGE", help="page: .html")
    report.add_argument(
        "--length", type=int, metavar="L", help="sweeps: length to judge (default: longest)"
    )
    add_distance_options(report)


def _report(arguments: argparse.Namespace) -> int:
    from pottsattn.pages.choice import write_report

    options = figure_options(arguments)
    check_output(arguments.out, *arguments.files)
    summaries = write_report(arguments.out, arguments.files, options)
    lines = [
        f"{path}: {found['n_within']} of {found['n_points']} points of length {found['length']} "
        "agree with theory"
        for path, found in summaries.items()
    ]
    report = {"file": arguments.out, "sweeps": summaries}
    say(arguments, report, "\n".join([arguments.out, *lines]))
    return DONE
