"""The command export: a fit in the format of another program."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pottsattn._validate import InputError, check_choice
from pottsattn.cli._shell import DONE, add_command, add_data_options, check_output, read_like, say

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the commands of this module."""
    export = add_command(commands, "export", _export, "Write a fit for another program.")
    export.add_argument("fit", metavar="FIT", help="a file written by fit")
    export.add_argument(
        "--format",
        required=True,
        metavar="NAME",
        help="npz (parameters and scores), csv (ranked pairs), plmc (its binary parameters), "
        "plmc-text (its couplings), ccmpred (matrix of scores)",
    )
    export.add_argument("--out", required=True, metavar="F", help="file to write")
    export.add_argument(
        "--data", metavar="DATA", help="plmc: the data of the fit, read with the same options"
    )
    add_data_options(export)


def _export(arguments: argparse.Namespace) -> int:
    from pottsattn.exporting import FORMATS, NEEDS_DATA, export
    from pottsattn.fitting.result import FitResult

    check_choice("format", arguments.format, FORMATS)
    check_output(arguments.out, arguments.fit, arguments.data)
    fit = FitResult.load(arguments.fit)
    dataset = None
    if arguments.data is not None:
        if arguments.format not in NEEDS_DATA:
            raise InputError(
                f"--data applies to --format {' and '.join(NEEDS_DATA)}, not to {arguments.format}"
            )
        dataset = read_like(arguments, arguments.data, fit)
    export(fit, arguments.out, arguments.format, dataset=dataset)
    report = {
        "file": arguments.out,
        "format": arguments.format,
        "length": fit.length,
        "n_states": fit.n_states,
        "bytes": os.path.getsize(arguments.out),
    }
    say(arguments, report, f"{arguments.out}: {fit.method}, {arguments.format}")
    return DONE
