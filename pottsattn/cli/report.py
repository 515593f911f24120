"""`report`: write one self-contained page on files."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn._core.validate import InputError
from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_distance_options,
    check_output,
    load_all,
    say,
)
from pottsattn.cli.plot import _check_length, _choose_figure

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command."""
    report = add_command(
        commands,
        "report",
        _report,
        "Write one self-contained page on the files.",
        epilog="Sweeps, with curves to lay beneath their points or the theory for them: curves, "
        "residuals, finite-size study, tables. Fits alone: how they ended, contacts and maps. "
        "Other files: the figure that plot draws of them.",
    )
    report.add_argument("files", nargs="+", metavar="FILE", help="files of pottsattn")
    report.add_argument("--out", required=True, metavar="PAGE", help="page: .html")
    report.add_argument(
        "--length", type=int, metavar="L", help="sweeps: length to judge (default: longest)"
    )
    add_distance_options(report)
    report.set_defaults(observable="test_loss", finite_size=False)  # of other figures
    report.set_defaults(head_maps=False, maps=False)


def _report(arguments: argparse.Namespace) -> int:
    from pottsattn.pages.page import Section, write_page
    from pottsattn.pages.sweep import sweep_sections, sweep_summary

    if not arguments.out.lower().endswith((".html", ".htm")):
        raise InputError(f"a report is written as .html, got {arguments.out}")
    check_output(arguments.out, *arguments.files)
    loaded = load_all(arguments.files)
    tables: dict[str, Any] = loaded.pop("sweep", {})
    if arguments.length is not None:
        _check_length(list(tables.values()), arguments.length)
    sections: list[Section] = []
    summaries = {}
    curves = list(loaded.pop("curve", {}).values()) if tables else []
    for path, table in tables.items():
        length = arguments.length or max(row.length for row in table.rows)
        sections += sweep_sections(table, curves, length=length)
        summaries[path] = sweep_summary(table, length)
    if "spatial" in loaded:
        from pottsattn.pages.spatial import spatial_sections

        sections += spatial_sections(loaded.pop("spatial"))
    if "instances" in loaded:
        from pottsattn.pages.instances import instance_sections

        sections += instance_sections(loaded.pop("instances"))
    if set(loaded) == {"fit"}:
        sections += _fit_sections(loaded["fit"], arguments)
    elif loaded:
        if arguments.distances is not None:
            raise InputError("--distances is for a report of fits; leave it out")
        sections.append(Section("Figure", figures=[_choose_figure(loaded, arguments)]))
    title = "Simulated fits against the replica theory" if tables else "Report"
    if not tables and set(loaded) == {"fit"}:
        title = "Fits"
    write_page(arguments.out, title, f"From {', '.join(arguments.files)}.", sections)
    say(
        arguments,
        {"file": arguments.out, "sweeps": summaries},
        "\n".join(
            [
                arguments.out,
                *(
                    f"{path}: {found['n_within']} of {found['n_points']} points of length "
                    f"{found['length']} agree with theory"
                    for path, found in summaries.items()
                ),
            ]
        ),
    )
    return DONE


def _fit_sections(fits: dict[str, Any], arguments: argparse.Namespace) -> Any:
    from pottsattn.analysis.contacts import read_distances
    from pottsattn.pages.fits import fit_sections

    known = None if arguments.distances is None else read_distances(arguments.distances)
    return fit_sections(
        fits, known, min_separation=arguments.min_separation, cutoff=arguments.cutoff
    )
