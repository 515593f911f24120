"""The page of instance runs: scores beside those of references, and a look at every encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pottsattn._core.verdict import stated
from pottsattn.figures.instances import figure_attention_by_class, figure_instance_runs, figure_run
from pottsattn.instances.probes import ProbeScores
from pottsattn.instances.result import InstanceRun
from pottsattn.pages.page import Section, Table

COLUMNS = {
    "linear_probe": "linear probe",
    "knn": "nearest neighbors",
    "token_linear_probe": "one token",
    "field_r2": "local fields",
}


def instance_sections(runs: Mapping[str, InstanceRun]) -> list[Section]:
    """Return the sections of a page on runs by file name."""
    shared = len({run.source for run in runs.values()}) == 1
    sections = [
        Section(
            "What the vectors know",
            [
                "Shares of right answers on intact test instances, with their standard errors: of "
                "a linear probe and of 20 nearest neighbors of the instance vector, and of a "
                "linear probe of one token. Local fields: the share of the variance of the true "
                "ones that tokens explain. Feature spread: 1 is spread evenly, near 0 collapsed."
            ],
            figures=[figure_instance_runs(list(runs.values()))[0]]
            if shared and len(runs) > 1
            else [],
            table=Table(
                ["encoder", *COLUMNS.values(), "feature spread", ""],
                [row for path, run in runs.items() for row in _rows(path, run)],
            ),
        )
    ]
    for path, run in runs.items():
        figures = [figure_run(run)[0]]
        if run.config["encoder"]["grid"] is not None:
            figures.append(figure_attention_by_class(run)[0])
        sections.append(
            Section(
                path,
                [repr(run)],
                figures=figures,
                caption="Test vectors by class; where the class token looks; the training.",
            )
        )
    return sections


def _rows(path: str, run: InstanceRun) -> list[list[str]]:
    trained = _row(path, run.scores, "" if run.converged else stated(False, run.message))
    others = [_row(f"{path}: {name}", one, "") for name, one in run.references.items()]
    known = {
        f"{path}: raw input": (run.raw_linear_probe, run.raw_linear_probe_error),
        f"{path}: Bayes": (run.bayes, run.bayes_error),
        f"{path}: chance": (run.chance, math.nan),
    }
    bounds = [
        [name, _cell(*found), *[""] * (len(COLUMNS) + 1)]
        for name, found in known.items()
        if not math.isnan(found[0])
    ]
    return [trained, *others, *bounds]


def _row(name: str, scores: ProbeScores, remark: str) -> list[str]:
    cells = [_cell(getattr(scores, one), getattr(scores, f"{one}_error")) for one in COLUMNS]
    return [name, *cells, f"{scores.feature_std:.3f}", remark]


def _cell(value: float, error: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"
