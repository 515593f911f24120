"""The command export: a fit in the format of another program, or sequences as FASTA."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pottsattn._core.validate import InputError, check_choice
from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    check_output,
    read_data,
    read_like,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    export = add_command(
        commands, "export", _export, "Write a fit for another program, or sequences."
    )
    export.add_argument(
        "fit", metavar="FIT", help="a file written by fit; for sequences a data set"
    )
    export.add_argument(
        "--format",
        required=True,
        metavar="NAME",
        help="npz (parameters and scores), csv (ranked pairs), plmc (its binary parameters), "
        "plmc-text (its couplings), ccmpred (matrix of scores); "
        "sequences (of a data set, as .fasta, .a2m, .a3m, .sto, .aln, .clustal or .phy)",
    )
    export.add_argument(
        "--out", required=True, metavar="F", help="file to write; sequences: also .gz"
    )
    export.add_argument(
        "--data", metavar="DATA", help="plmc: the data of the fit, read with the same options"
    )
    add_data_options(export)


def _export(arguments: argparse.Namespace) -> int:
    from pottsattn.exchange.formats import FORMATS, NEEDS_DATA, export
    from pottsattn.fitting.result import FitResult

    check_choice("format", arguments.format, (*FORMATS, "sequences"))
    check_output(arguments.out, arguments.fit, arguments.data)
    if arguments.format == "sequences":
        return _export_sequences(arguments)
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


def _export_sequences(arguments: argparse.Namespace) -> int:
    from pottsattn.exchange.formats import write_sequences

    if arguments.data is not None:
        raise InputError("--data does not apply to --format sequences; the data set comes first")
    dataset = read_data(arguments, arguments.fit)
    write_sequences(arguments.out, dataset)
    report = {
        "file": arguments.out,
        "format": "sequences",
        "length": dataset.length,
        "n_states": dataset.n_states,
        "n_sequences": dataset.n_sequences,
        "bytes": os.path.getsize(arguments.out),
    }
    say(arguments, report, f"{arguments.out}: {dataset.n_sequences} sequences")
    return DONE
