"""The page of spatial runs: what each attends to at the end, its time courses, its maps."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pottsattn._core.verdict import stated
from pottsattn.figures.spatial import (
    figure_attention_maps,
    figure_run,
    figure_spatial_runs,
)
from pottsattn.pages.page import Section, Table
from pottsattn.spatial.run import SpatialRun

COLUMNS = {
    "information_gap": "gap",
    "own_attention_global": "own, global",
    "own_attention_local": "own, local",
    "attention_to_global": "local to global",
    "excess_loss_ratio": "excess loss",
    "diversity": "diversity",
    "rate_ratio": "rate ratio",
}


def spatial_sections(runs: Mapping[str, SpatialRun]) -> list[Section]:
    """Return the sections of a page on runs by file name."""
    table = Table(
        ["file", "objective", "steps", *COLUMNS.values(), ""],
        [_row(path, run) for path, run in runs.items()],
    )
    sections = [
        Section(
            "Attention at the end",
            [
                "Attention of a query to the visible patches of its own area where there are any, "
                "by kind of area; of local queries to the global area; the reconstruction loss "
                "above the smallest possible as a share of its value at the start; one minus the "
                "mean cosine between the attention of two queries; how fast local queries leave "
                "the global area at the start against how fast they find their own."
            ],
            figures=[figure_spatial_runs(list(runs.values()))[0]] if len(runs) > 1 else [],
            table=table,
        )
    ]
    for path, run in runs.items():
        sections.append(
            Section(
                path,
                [repr(run)],
                figures=[figure_run(run)[0], figure_attention_maps(run)[0]],
                caption="Time courses; attention maps of chosen queries of the first cluster.",
            )
        )
    return sections


def _row(path: str, run: SpatialRun) -> list[str]:
    found = run.to_dict()
    values = [found[name] for name in COLUMNS]
    cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in values]
    return [
        path,
        run.objective,
        f"{run.n_steps}",
        *cells,
        "" if run.converged else stated(False, run.message),
    ]
