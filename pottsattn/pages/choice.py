"""Which sections fit which files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pottsattn._core.validate import InputError
from pottsattn.analysis.distances import read_distances
from pottsattn.figures.choice import FigureOptions, check_length, choose_figure
from pottsattn.files import load_all
from pottsattn.pages.fits import fit_sections
from pottsattn.pages.instances import instance_sections
from pottsattn.pages.page import Section, write_page
from pottsattn.pages.spatial import spatial_sections
from pottsattn.pages.sweep import sweep_sections, sweep_summary


def write_report(
    path: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    options: FigureOptions | None = None,
) -> dict[str, dict[str, Any]]:
    """Write one self-contained page on files of the package; return the verdict on each sweep.

    Parameters
    ----------
    path
        Page to write, .html.
    files
        Sweeps, with curves to lay beneath their points or the theory for them; spatial and
        instance runs; fits alone; else the figure of `choose_figure`.
    options
        `length` is the one that is judged; `distances` are for fits.

    Returns
    -------
    By the file of a sweep, `sweep_summary`.

    Raises
    ------
    InputError
        A file cannot be read or written, or an option is for others.
    """
    options = FigureOptions() if options is None else options
    if not os.fspath(path).lower().endswith((".html", ".htm")):
        raise InputError(f"a report is written as .html, got {path}")
    loaded = load_all(files)
    sections: list[Section] = []
    summaries = {}
    tables = loaded.pop("sweep", {})
    title = "Simulated fits against the replica theory" if tables else "Report"
    check_length(list(tables.values()), options.length)
    curves = list(loaded.pop("curve", {}).values()) if tables else []
    for name, table in tables.items():
        length = options.length or max(row.length for row in table.rows)
        sections += sweep_sections(table, curves, length=length)
        summaries[name] = sweep_summary(table, length)
    if "spatial" in loaded:
        sections += spatial_sections(loaded.pop("spatial"))
    if "instances" in loaded:
        sections += instance_sections(loaded.pop("instances"))
    if set(loaded) == {"fit"}:
        title = title if tables else "Fits"
        known = None if options.distances is None else read_distances(options.distances)
        sections += fit_sections(
            loaded["fit"], known, min_separation=options.min_separation, cutoff=options.cutoff
        )
    elif loaded:
        if options.distances is not None:
            raise InputError("`distances` is for a report of fits; leave it out")
        sections.append(Section("Figure", figures=[choose_figure(loaded, options)]))
    write_page(path, title, f"From {', '.join(map(str, files))}.", sections)
    return summaries
