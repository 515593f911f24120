"""`example`: write an alignment to try things with."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    example = add_command(
        commands,
        "example",
        _example,
        "Write an alignment to try things with: 500 artificial sequences, sampled from our fit to "
        "Pfam PF00014.",
    )
    example.add_argument(
        "--out", metavar="F.fasta", required=True, help="file to write: .fasta, .fa or .a2m, or .gz"
    )


def _example(arguments: argparse.Namespace) -> int:
    from pottsattn.data.example import example_alignment
    from pottsattn.data.reading import read_dataset
    from pottsattn.exchange.formats import write_sequences

    dataset = read_dataset(example_alignment(), identity_threshold=None)
    write_sequences(arguments.out, dataset)
    report = {
        "file": arguments.out,
        "n_sequences": dataset.n_sequences,
        "length": dataset.length,
    }
    text = (
        f"{arguments.out}: {dataset.n_sequences} artificial sequences of {dataset.length} columns"
    )
    say(arguments, report, f"{text}, sampled from a fit to Pfam PF00014")
    return DONE
