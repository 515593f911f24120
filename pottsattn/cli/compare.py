"""`compare`: judge fits on test data."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    read_like,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    compare = add_command(
        commands, "compare", _compare, "Judge fits on test data, and against the truth if known."
    )
    compare.add_argument("fits", nargs="+", metavar="FIT", help="files written by fit")
    compare.add_argument("--test", required=True, metavar="DATA", help="data not used for training")
    compare.add_argument(
        "--truth", metavar="FILE", help="file with the true model (default: that of the test data)"
    )
    add_data_options(compare)


def _compare(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.comparison import compare
    from pottsattn.files import load_fit, load_model

    fits = {path: load_fit(path) for path in arguments.fits}
    first = next(iter(fits.values()))
    test = read_like(arguments, arguments.test, first)
    truth = None if arguments.truth is None else load_model(arguments.truth, first)
    result = compare(fits, test, truth)
    for message in result.warnings:
        warnings.warn(message, stacklevel=1)
    say(arguments, result.to_dict(), str(result))
    return DONE
