"""`weights`: write the weights of sequences."""

from __future__ import annotations

import argparse
from typing import Any

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
    weights = add_command(
        commands,
        "weights",
        _weights,
        "Write the weights of sequences, stored ones or 1 / (number of similar sequences), as "
        "--weights FILE of other commands reads them.",
    )
    weights.add_argument("data", metavar="DATA", help=DATA_HELP)
    weights.add_argument(
        "--out", metavar="W.csv", required=True, help="weights to write: .csv, .txt or .npy"
    )
    add_data_options(weights)


def _weights(arguments: argparse.Namespace) -> int:
    import time

    from pottsattn.data.reading import weights_of
    from pottsattn.data.weights import check_weights_path, write_weights

    check_weights_path(arguments.out)
    check_output(arguments.out, arguments.data, arguments.weights)
    started = time.perf_counter()
    dataset = read_data(arguments, arguments.data)
    weights, source = weights_of(dataset, arguments.identity_threshold, n_threads=arguments.threads)
    write_weights(arguments.out, weights)
    effective_size = float(weights.sum())
    report = {
        "file": arguments.out,
        "n_sequences": dataset.n_sequences,
        "effective_size": effective_size,
        "weights": source,
        "summary": dataset.origin.get("source", {}).get("summary"),
        "seconds": time.perf_counter() - started,
    }
    text = f"{arguments.out}: {dataset.n_sequences} weights {source}, sum {effective_size:.1f}"
    say(arguments, report, text)
    return DONE
