"""Confront simulated fits with the replica theory: the sweep of sweep.toml, judged point by point.

    python benchmarks/sweep.py --out sweep        # about an hour on one core

Writes the table sweep.h5, figures and report.html into the folder, prints the tables of
docs/sweep.md and exits with 1 if a test loss at L = 200 lies further from theory than four standard
errors plus the 1 / L allowance that the other lengths tell (at most 2 %). A killed run continues; a
table that is there is judged without new fits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pottsattn._core.executors import LocalProcesses
from pottsattn.figures.curves import figure_learning_curves
from pottsattn.figures.sizes import figure_finite_size
from pottsattn.figures.style import save_figure
from pottsattn.pages.page import write_page
from pottsattn.pages.sweep import sweep_sections
from pottsattn.studies.sweep.against_theory import (
    Deviation,
    FiniteSizeFit,
    Verdict,
    curves_for,
    deviations,
    finite_size_fits,
    judge,
)
from pottsattn.studies.sweep.config import read_config
from pottsattn.studies.sweep.run import run_sweep
from pottsattn.studies.sweep.table import SweepPoint, SweepTable

CONFIG = Path(__file__).with_suffix(".toml")


def main() -> int:
    """Run what is not done yet, judge, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("sweep"), metavar="DIR")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE.toml")
    parser.add_argument("--length", type=int, default=200, metavar="L", help="length to judge")
    parser.add_argument("--workers", type=int, metavar="N")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "sweep.h5"
    if not path.exists():
        with LocalProcesses(arguments.workers) as processes:
            result = run_sweep(read_config(arguments.config), path, executor=processes)
        print(f"{len(result.table.rows)} fits, {result.seconds / 60:.1f} minutes of this run")
    table = SweepTable.load(path)
    entries = deviations(table)
    verdicts = judge(entries, arguments.length)
    done = {point: [row.converged for row in rows] for point, rows in table.groups().items()}
    print_verdicts("test loss", verdicts, done)
    errors = judge(deviations(table, "coupling_error"), arguments.length)
    print_verdicts("coupling error", errors, done)
    print_sizes(finite_size_fits(entries), finite_size_fits(entries, matched=True))
    draw(table, entries, arguments.length, arguments.out)
    n_within = sum(verdict.is_within for verdict in verdicts)
    n_failed = sum(not row.converged for row in table.rows)
    print(f"\n{n_within} of {len(verdicts)} test losses agree; {n_failed} fits did not converge")
    return 0 if n_within == len(verdicts) and n_failed == 0 else 1


def print_verdicts(
    title: str, verdicts: Sequence[Verdict], done: dict[SweepPoint, list[bool]]
) -> None:
    """Print simulation against theory at the judged length, and which fits converged."""
    print(f"\n{title}, L = {verdicts[0].deviation.point.length}\n")
    head = "| C | J | student | alpha | simulated | theory | deviation | in errors | allowance |"
    print(f"{head} converged |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for verdict in verdicts:
        entry = verdict.deviation
        print(
            f"| {describe(entry.point)} | {entry.simulated:.4f} ± {entry.error:.4f} "
            f"| {entry.predicted:.4f} | {100 * entry.relative:+.2f} % "
            f"| {entry.difference / entry.error:+.1f} "
            f"| {100 * verdict.allowance / entry.predicted:.2f} %"
            f"{'' if verdict.is_within else ': NOT within'} "
            f"| {sum(done[entry.point])} of {len(done[entry.point])} |"
        )


def print_sizes(ensemble: Sequence[FiniteSizeFit], matched: Sequence[FiniteSizeFit]) -> None:
    """Print the fits of slope / L to the deviations of the test loss, as Markdown."""
    print(
        "\nslope of the deviation of the test loss against 1 / L, and what is left at 1 / L = 0\n"
    )
    print("| C | J | student | alpha | slope | chi² (d.o.f.) | offset | matched: slope | offset |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one, other in zip(ensemble, matched, strict=True):
        print(
            f"| {describe(one.deviations[0].point)} | {one.slope:+.2f} ± {one.slope_error:.2f} "
            f"| {one.chi_squared:.1f} ({len(one.deviations) - 1}) "
            f"| {one.offset:+.4f} ± {one.offset_error:.4f} "
            f"| {other.slope:+.2f} ± {other.slope_error:.2f} "
            f"| {other.offset:+.4f} ± {other.offset_error:.4f} |"
        )


def describe(point: SweepPoint) -> str:
    """Return the cells that name a point."""
    student = point.method
    if point.mask_fraction is not None:
        student = f"{point.mask_mode} masks, r = {point.mask_fraction:g}"
    return f"{point.n_states} | {point.coupling_scale:g} | {student} | {point.alpha:g}"


def draw(table: SweepTable, entries: Sequence[Deviation], length: int, out: Path) -> None:
    """Write the figures and the report."""
    for name in ("test_loss", "coupling_error"):
        axes = figure_learning_curves(curves_for(table), [table], observable=name, length=length)
        save_figure(axes[0], out / f"{name}.png")
    for matched in (False, True):
        fits = finite_size_fits(entries, matched=matched)
        name = "finite_size_matched.png" if matched else "finite_size.png"
        save_figure(figure_finite_size(fits)[0], out / name)
    title = "Simulated fits against the replica theory"
    write_page(out / "report.html", title, "", list(sweep_sections(table, length=length)))


if __name__ == "__main__":
    sys.exit(main())
