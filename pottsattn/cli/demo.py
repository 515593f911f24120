"""`demo`: run the main job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pottsattn._core.verdict import stated
from pottsattn.cli._shell import (
    DONE,
    NOT_CONVERGED,
    add_command,
    bar,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "Run the main job: data sets, three fits each, the replica theory over them, a report.",
    )
    demo.add_argument("--out", default="demo-report", metavar="DIR", help="folder to write into")
    demo.add_argument(
        "--instances", type=int, default=4, metavar="N", help="random models, for the error bars"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from pottsattn.demo.job import Settings
    from pottsattn.demo.run import run_demo

    settings = Settings(n_instances=arguments.instances, seed=arguments.seed)
    with bar("demo", "fit") as progress:
        result = run_demo(arguments.out, settings, n_threads=arguments.threads, progress=progress)
    page = Path(arguments.out) / "report.html"
    deviations = list(result.deviations())
    worst = max(deviations, key=lambda entry: abs(entry.relative))
    say(
        arguments,
        {
            "report": str(page),
            "converged": result.converged,
            "deviations": [entry.to_dict() for entry in deviations],
        },
        f"{page}: largest deviation of a mean test loss from theory "
        f"{100 * abs(worst.relative):.2f} % ({worst.point.method}, alpha {worst.point.alpha:g})"
        + ("" if result.converged else f"; {stated(False, result.message)}"),
    )
    return DONE if result.converged else NOT_CONVERGED
