"""The command plan."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn._core.validate import InputError
from pottsattn.cli._shell import (
    DATA_HELP,
    DONE,
    NOT_CONVERGED,
    add_command,
    add_data_options,
    bar,
    check_output,
    read_data,
    say,
)

TABLE_SUFFIX = ".csv"


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    parser = add_command(
        commands,
        "plan",
        _plan,
        "Predict the test loss against the number of sequences: how many are enough.",
    )
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument(
        "--target-loss", type=float, metavar="X", help="nats per site: the sequences for this loss"
    )
    parser.add_argument(
        "--ridge", type=float, default=0.2, metavar="X", help="penalty in units of the theory"
    )
    parser.add_argument("--fields", default="learned", metavar="NAME", help="learned or none")
    parser.add_argument(
        "--heads",
        type=int,
        metavar="H",
        help="heads of the layer between factored and plm (default: colors in use less one)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="table (.csv) or figure (.png, .pdf or .svg) to write"
    )
    add_data_options(parser)


def _plan(arguments: argparse.Namespace) -> int:
    out = arguments.out
    if out is not None:
        check_output(out, arguments.data)
        if not _is_table(out):
            from pottsattn.figures.style import check_figure_path

            try:
                check_figure_path(out)
            except InputError as error:
                raise InputError(f"a plan is written as .csv, or {error}") from error
    dataset = read_data(arguments, arguments.data)
    from pottsattn._core.threads import n_threads_or_default
    from pottsattn.cost.memory import PlannedFit, check_memory
    from pottsattn.studies.plan.run import METHODS, plan

    n_threads = n_threads_or_default(arguments.threads)
    for method in METHODS:
        check_memory(
            PlannedFit(method, dataset.length, dataset.n_states, dataset.n_sequences, n_threads)
        )
    with bar("plan", "fit") as progress:
        result = plan(
            dataset,
            ridge=arguments.ridge,
            fields=arguments.fields,
            n_heads=arguments.heads,
            target_loss=arguments.target_loss,
            identity_threshold=arguments.identity_threshold,
            rng=arguments.seed,
            n_threads=arguments.threads,
            progress=progress,
        )
    written = {}
    if out is not None and _is_table(out):
        result.to_csv(out)
        written["csv"] = out
    elif out is not None:
        from pottsattn.figures.plan import plot_plan
        from pottsattn.figures.style import save_figure

        save_figure(plot_plan(result), out)
        written["figure"] = out
    files = "".join(f"\nwritten: {path}" for path in written.values())
    say(
        arguments,
        {"data": arguments.data, **written, **result.to_dict()},
        f"{result}{files}",
        dataset,
    )
    return DONE if result.converged else NOT_CONVERGED


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLE_SUFFIX)
