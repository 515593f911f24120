"""`split`: hold out a part of a data set."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import write_together
from pottsattn.cli._shell import (
    DATA_HELP,
    DONE,
    add_command,
    add_data_options,
    check_output,
    read_data,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    split = add_command(
        commands, "split", _split, "Hold out a part of a data set (whole clusters of alignments)."
    )
    split.add_argument("data", metavar="DATA", help=DATA_HELP)
    split.add_argument(
        "--fraction", type=float, required=True, metavar="X", help="share held out, into B.h5"
    )
    split.add_argument(
        "--out", nargs=2, required=True, metavar=("A.h5", "B.h5"), help="kept part, held-out part"
    )
    add_data_options(split)


def _split(arguments: argparse.Namespace) -> int:
    from pottsattn.data.resampling import split

    for path in arguments.out:
        check_output(path, arguments.data)
    if os.path.realpath(arguments.out[0]) == os.path.realpath(arguments.out[1]):
        raise InputError(f"both parts would be written to {arguments.out[0]}")
    dataset = read_data(arguments, arguments.data)
    parts = split(
        dataset,
        arguments.fraction,
        rng=arguments.seed,
        identity_threshold=arguments.identity_threshold,
    )
    with write_together():
        for path, part in zip(arguments.out, parts, strict=True):
            part.save(path, seed=arguments.seed)
    report = {
        "files": list(arguments.out),
        "n_sequences": [part.n_sequences for part in parts],
        "effective_size": [part.effective_size for part in parts],
    }
    lines = [f"{path}: {part!r}" for path, part in zip(arguments.out, parts, strict=True)]
    say(arguments, report, "\n".join(lines))
    return DONE
