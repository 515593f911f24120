"""The command `sweep`."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import DONE, NOT_CONVERGED, add_command, bar, check_output, say


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    sweep = add_command(
        commands,
        "sweep",
        _sweep,
        "Run a grid of sample, fit and compare; what is done is kept, and a killed sweep goes on.",
        epilog="The configuration is TOML: n_states, coupling_scales, lengths, instances, alphas, "
        "ridges, methods, and more. See docs/sweep.md.",
    )
    sweep.add_argument("config", metavar="CONFIG.toml", help="what to run")
    sweep.add_argument("--out", required=True, metavar="FILE", help="table to write (.h5)")
    sweep.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: --threads, or all cores)"
    )
    sweep.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster instead")


def _sweep(arguments: argparse.Namespace) -> int:
    from pottsattn._core.executors import open_executor
    from pottsattn.studies.sweep.config import read_config
    from pottsattn.studies.sweep.run import run_sweep

    check_output(arguments.out, arguments.config)
    config = read_config(arguments.config, first_seed=arguments.seed)
    n_workers = arguments.workers
    if n_workers is None and arguments.dask is None:
        n_workers = arguments.threads
    with open_executor(n_workers, arguments.dask) as executor, bar("sweep", "fit") as progress:
        result = run_sweep(config, arguments.out, executor=executor, progress=progress)
    report = result.to_dict()
    text = (
        f"{arguments.out}: {report['n_fits']} fits on {report['n_instances']} instances in "
        f"{result.seconds:.0f} s"
    )
    if result.resumed_from is not None:
        text += f", {result.resumed_from} of them by an earlier run"
    if not result.converged:
        text += f"; {report['message']}"
    say(arguments, report, text)
    return DONE if result.converged else NOT_CONVERGED
