"""The command bridge."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import (
    DATA_HELP,
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    add_command,
    add_data_options,
    bar,
    check_outputs,
    read_data,
    say,
    write_outputs,
    written_files,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "bridge",
        _bridge,
        "Show on your data that masked modeling and pseudo-likelihood coincide, and what masking "
        "more than one site changes.",
    )
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument(
        "--ridge", type=float, metavar="X", help="penalty in units of the theory (default: 0.2)"
    )
    parser.add_argument(
        "--fields", default="learned", metavar="NAME", help="learned or none (default: learned)"
    )
    parser.add_argument("--heads", type=int, default=1, metavar="H", help="heads (default: 1)")
    parser.add_argument(
        "--color-similarity",
        metavar="NAME",
        help="identity or learned (default: identity with one head, whatever the data: then there "
        "is one optimum; learned with several heads)",
    )
    parser.add_argument(
        "--mask-fraction",
        type=float,
        nargs="+",
        action="extend",
        metavar="R",
        help="probability of a site to be hidden, one or several (default: 0.15 0.3 0.5 0.75 0.9)",
    )
    parser.add_argument(
        "--held-out", type=float, default=0.2, metavar="X", help="share of the data to judge by"
    )
    parser.add_argument(
        "--max-sequences",
        type=int,
        default=3000,
        metavar="M",
        help="use at most so many sequences, drawn at random",
    )
    parser.add_argument("--out", metavar="FIG", help="figure to write: .png, .pdf or .svg")
    parser.add_argument("--csv", metavar="F.csv", help="table to write, a row for each fit")
    add_data_options(parser)


def _bridge(arguments: argparse.Namespace) -> int:
    check_outputs(arguments, arguments.data)
    dataset = read_data(arguments, arguments.data)
    from pottsattn._core.threads import n_threads_or_default
    from pottsattn.cost.memory import PlannedFit, check_memory
    from pottsattn.studies.bridge.run import MASK_FRACTIONS, bridge

    similarity = arguments.color_similarity
    if similarity is None:
        similarity = "identity" if arguments.heads == 1 else "learned"
    n_threads = n_threads_or_default(arguments.threads)
    n_used = max(1, min(dataset.n_sequences, arguments.max_sequences))
    for method in ("factored", "attention"):
        sizes = (dataset.length, dataset.n_states, n_used, n_threads)
        check_memory(
            PlannedFit(method, *sizes, n_heads=arguments.heads, color_similarity=similarity)
        )
    with bar("bridge", "step") as progress:
        result = bridge(
            dataset,
            ridge=arguments.ridge,
            fields=arguments.fields,
            color_similarity=similarity,
            n_heads=arguments.heads,
            mask_fractions=arguments.mask_fraction or MASK_FRACTIONS,
            held_out=arguments.held_out,
            max_sequences=arguments.max_sequences,
            identity_threshold=arguments.identity_threshold,
            rng=arguments.seed,
            n_threads=arguments.threads,
            progress=progress,
        )

    def draw() -> Any:
        from pottsattn.figures.bridge import plot_bridge

        return plot_bridge(result)[0]

    written = write_outputs(arguments, draw, result.to_csv)
    text = "\n".join([str(result), "", *written_files(written)])
    say(arguments, {"data": arguments.data, **written, **result.to_dict()}, text, dataset)
    if result.interrupted:
        return INTERRUPTED
    return DONE if result.converged else NOT_CONVERGED
