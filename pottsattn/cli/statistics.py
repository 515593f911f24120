"""`statistics`: compare frequencies of sampled sequences with those of data."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    check_outputs,
    read_like,
    say,
    write_outputs,
    written_files,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    statistics = add_command(
        commands,
        "statistics",
        _statistics,
        "Compare the frequencies and pair correlations of sampled sequences with those of data.",
    )
    statistics.add_argument("data", metavar="DATA", help="the data, such as those of a fit")
    statistics.add_argument("sampled", metavar="SAMPLED.h5", help="sequences sampled from the fit")
    statistics.add_argument("--out", metavar="FIG", help="figure to write: .png, .pdf or .svg")
    statistics.add_argument("--csv", metavar="F.csv", help="table of site frequencies to write")
    add_data_options(statistics)


def _statistics(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.moments import compare_moments
    from pottsattn.data.dataset import SequenceDataset

    check_outputs(arguments, arguments.data, arguments.sampled)
    sampled = SequenceDataset.load(arguments.sampled)
    dataset = read_like(arguments, arguments.data, sampled)
    result = compare_moments(dataset, sampled)

    def draw() -> Any:
        from pottsattn.figures.family import figure_moments

        return figure_moments(result)[0]

    written = write_outputs(arguments, draw, result.to_csv)
    report = {"data": arguments.data, "sampled": arguments.sampled, "figure": None, "csv": None}
    report |= {**written, **result.to_dict()}
    say(arguments, report, "\n".join([str(result), *written_files(written)]))
    return DONE
