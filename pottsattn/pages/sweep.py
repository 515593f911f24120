"""The report of a sweep: sections with figures and tables for one page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pottsattn.figures.curves import figure_learning_curves
from pottsattn.figures.sizes import figure_finite_size
from pottsattn.pages.page import Section, Table
from pottsattn.studies.sweep.against_theory import (
    Deviation,
    FiniteSizeFit,
    Verdict,
    curves_for,
    deviations,
    finite_size_fits,
    judge,
)
from pottsattn.studies.sweep.table import SweepPoint, SweepTable
from pottsattn.theory.result import LearningCurve

OBSERVABLES = {"test_loss": "test loss", "coupling_error": "coupling error"}
MASKS_NOTE = (
    "The training loss of masked fits is not compared: theirs is measured with the full context, "
    "that of the theory on masked sequences."
)


def sweep_summary(table: SweepTable, length: int) -> dict[str, Any]:
    """Return how many points of one length agree with theory, and the largest deviation."""
    verdicts = judge(deviations(table), length)
    defined = [v for v in verdicts if math.isfinite(v.deviation.difference)]
    return {
        "length": length,
        "n_points": len(defined),
        "n_within": sum(verdict.is_within for verdict in defined),
        "largest_relative_deviation": max(
            (abs(verdict.deviation.relative) for verdict in defined), default=None
        ),
        "converged": table.converged,
    }


def sweep_sections(
    table: SweepTable, curves: Sequence[LearningCurve] = (), *, length: int
) -> Iterator[Section]:
    """Yield the sections on one sweep.

    Parameters
    ----------
    curves
        Lines to draw; those of the theory through the points if left out.
    length
        The length that is drawn and judged; the others tell its finite-size allowance.
    """
    summary = sweep_summary(table, length)
    yield Section("What was simulated", [*_facts(table), _verdict_text(summary)])
    lines = curves or curves_for(table)
    entries = {name: deviations(table, name) for name in OBSERVABLES}
    for name, title in OBSERVABLES.items():
        axes = figure_learning_curves(lines, [table], observable=name, length=length, separate=True)
        yield Section(
            f"Learning curves: {title}, L = {length}",
            figures=axes,
            caption="Lines: replica theory for infinite systems. Points: mean over instances with "
            "its standard error. Below: residuals in standard errors; the band is 4.",
        )
    yield Section(
        f"Deviations at L = {length}",
        [
            "Allowance: the slope / L that two or more other lengths tell, at most 2 %; 0 where "
            "they are fewer. " + MASKS_NOTE
        ],
        table=_verdict_table(judge(entries["test_loss"], length)),
    )
    yield Section(
        f"Deviations at L = {length}: coupling error",
        table=_verdict_table(judge(entries["coupling_error"], length)),
    )
    for name, title in OBSERVABLES.items():
        fits = [*finite_size_fits(entries[name]), *finite_size_fits(entries[name], matched=True)]
        if fits:
            yield Section(
                f"Finite-size study: {title}",
                ["Matched: each instance against the theory at its own realized coupling scale, "
                "alpha L / (L - 1) and ridge L / (L - 1). An offset within its error of zero says "
                "that the deviation vanishes like 1 / L."],
                figures=figure_finite_size(fits, separate=True),
                caption="Deviation of the mean over instances from theory against 1 / L, with its "
                "standard error; lines: slope / L by weighted least squares.",
                table=_size_table(fits),
            )  # fmt: skip
    yield Section("How this was made", code=_origin_text(table))


def _facts(table: SweepTable) -> list[str]:
    state = table.message[0].upper() + table.message[1:]
    seconds = sum(row.seconds for row in table.rows)
    return [f"{table!r}. {state}. The fits took {seconds:.0f} s in all, on one thread each."]


def _verdict_text(summary: dict[str, Any]) -> str:
    largest = summary["largest_relative_deviation"]
    if largest is None:
        return "No point has a prediction."
    return (
        f"At L = {summary['length']} {summary['n_within']} of {summary['n_points']} mean test "
        "losses are within four standard errors plus the finite-size allowance of the theory; the "
        f"largest deviation is {100 * largest:.2f} %."
    )


def _verdict_table(verdicts: Sequence[Verdict]) -> Table:
    header = (*_POINT_HEADER, "simulated", "theory", "deviation (%)", "in standard errors")
    return Table(
        (*header, "allowance (%)", "agrees", "from the matched ensemble"),
        [
            (
                *_point_cells(entry.point),
                _with_error(entry.simulated, entry.error),
                _number(entry.predicted, ".4f"),
                _number(100 * entry.relative, "+.2f"),
                _number(_ratio(entry.difference, entry.error), "+.1f"),
                _number(100 * verdict.allowance / entry.predicted, ".2f"),
                "-" if math.isnan(entry.predicted) else ("yes" if verdict.is_within else "NO"),
                _with_error(entry.matched, entry.matched_error, "+.4f"),
            )
            for verdict in verdicts
            for entry in [verdict.deviation]
        ],
    )


def _size_table(fits: Sequence[FiniteSizeFit]) -> Table:
    rows = []
    for fit in fits:
        point = replace(fit.deviations[0].point, length=0)
        rows.append(
            (
                *_point_cells(point),
                "matched" if fit.is_matched else "ensemble",
                "; ".join(_size_cell(entry, fit.is_matched) for entry in fit.deviations),
                _with_error(fit.slope, fit.slope_error, "+.3f"),
                f"{fit.chi_squared:.1f} ({len(fit.deviations) - 1})",
                _with_error(fit.offset, fit.offset_error, "+.5f"),
            )
        )
    header = (*_POINT_HEADER, "theory", "deviations by length", "slope")
    return Table((*header, "chi squared (degrees of freedom)", "offset at 1 / L = 0"), rows)


def _size_cell(entry: Deviation, is_matched: bool) -> str:
    value = entry.matched if is_matched else entry.difference
    return f"{entry.point.length}: {value:+.4f}"


_POINT_HEADER = ("method", "C", "J", "alpha", "ridge")


def _point_cells(point: SweepPoint) -> tuple[str, ...]:
    method = point.method
    if point.mask_fraction is not None:
        method += f", {point.mask_mode} masks r = {point.mask_fraction:g}"
    ridge = f"{point.ridge:.3g}" + (" (best)" if point.ridge_kind == "optimal" else "")
    numbers = (str(point.n_states), f"{point.coupling_scale:g}", f"{point.alpha:g}")
    return (method, *numbers, ridge)


def _with_error(value: float, error: float, form: str = ".4f") -> str:
    if math.isnan(error):
        return _number(value, form)
    return f"{_number(value, form)} ± {_number(error, form.lstrip('+'))}"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _ratio(value: float, error: float) -> float:
    return value / error if error > 0.0 else math.nan


def _origin_text(table: SweepTable) -> str:
    origin = table.origin
    lines = [f"{name} {number}" for name, number in origin.get("versions", {}).items()]
    lines = [", ".join(lines), str(origin.get("command", "")), ""]
    configuration = origin.get("configuration", origin.get("settings", {}))
    lines += [f"{name} = {json.dumps(value)}" for name, value in configuration.items()]
    return "\n".join(lines)
