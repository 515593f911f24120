"""`mutations`: scan the single mutations of a sequence."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pottsattn.fitting.result import FitResult


def add_parser(commands: Any) -> None:
    """Add the command."""
    mutations = add_command(
        commands,
        "mutations",
        _mutations,
        "Scan all single mutations of a sequence: changes of -H and of the pseudo-log-likelihood.",
    )
    mutations.add_argument("fit", metavar="FIT", help="a file written by fit")
    mutations.add_argument(
        "--sequence",
        required=True,
        metavar="S",
        help="the wild type: its letters, one for each column of FIT, - or . for gaps (integers "
        "with commas if FIT has no alphabet); a file, whose first sequence is taken; with --data "
        "a name",
    )
    mutations.add_argument("--data", metavar="DATA", help="where the sequence named S is")
    mutations.add_argument("--out", metavar="FIG", help="heat map to write: .png, .pdf or .svg")
    mutations.add_argument("--csv", metavar="F.csv", help="table to write, a row per mutation")
    add_data_options(mutations, weighted=False)


def _mutations(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.scoring import scan_mutations
    from pottsattn.fitting.result import FitResult

    check_outputs(arguments, arguments.fit, arguments.data, arguments.sequence)
    fit = FitResult.load(arguments.fit)
    scan = scan_mutations(fit, _wild_type(arguments, fit))

    def draw() -> Any:
        from pottsattn.figures.family import figure_mutations

        return figure_mutations(scan)[0]

    written = write_outputs(arguments, draw, scan.to_csv)
    report = {"fit": arguments.fit, "figure": None, "csv": None, **written, **scan.to_dict()}
    say(arguments, report, "\n".join([str(scan), *written_files(written)]))
    return DONE


def _wild_type(arguments: argparse.Namespace, fit: FitResult) -> NDArray[np.uint8]:
    """Return the states of the sequence that is meant: a name, a file or letters."""
    from pottsattn.analysis.scoring import states_for, states_of

    wanted = arguments.sequence
    if arguments.data is not None:
        return states_for(fit, read_like(arguments, arguments.data, fit, wanted))[0]
    if os.path.isfile(wanted):
        return states_for(fit, read_like(arguments, wanted, fit, 0))[0]
    return states_of(fit, wanted)
