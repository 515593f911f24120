"""Deviations from theory: the theory that is meant, finite-size fits, verdicts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sweep_factory import NOISE, SLOPE, STUDENTS, make_rows

from pottsattn import InputError, learning_curve
from pottsattn.figures.curves import figure_learning_curves
from pottsattn.figures.sizes import figure_finite_size
from pottsattn.pages.sweep import sweep_sections, sweep_summary
from pottsattn.studies.sweep.against_theory import curves_for, deviations, finite_size_fits, judge
from pottsattn.studies.sweep.table import SweepTable
from pottsattn.theory.optimum import optimal_ridge


@pytest.fixture(scope="module")
def table() -> SweepTable:
    return SweepTable(tuple(make_rows()))


def test_deviations_are_from_the_student_of_each_point(table):
    found = deviations(table)
    assert len(found) == 9
    for entry in found:
        point, student = entry.point, STUDENTS[entry.point.method]
        assert entry.predicted == learning_curve(3, 1.5, [4.0], 0.3, **student).test_loss[0]
        assert entry.difference == pytest.approx(SLOPE / point.length)
        assert entry.error == pytest.approx(NOISE)  # std 0.0141 / sqrt(2)
        finite = point.length / (point.length - 1)
        matched = learning_curve(3, 1.6, [4.0 * finite], 0.3 * finite, **student)
        expected = entry.simulated - matched.test_loss[0]
        assert entry.matched == pytest.approx(expected, abs=1e-9)
        assert entry.matched_error == pytest.approx(NOISE)
        assert entry.to_dict()["length"] == point.length


def test_what_theory_does_not_describe_has_no_prediction(table):
    training = {entry.point.method: entry for entry in deviations(table, "train_loss")}
    assert math.isnan(training["attention"].predicted)  # of masked sequences in the theory
    assert training["factored"].difference == pytest.approx(0.0, abs=1e-12)
    several = SweepTable(tuple(replace(row, masks=2) for row in table.rows[4:6]))
    assert math.isnan(deviations(several)[0].predicted)
    assert curves_for(several) == []
    old = SweepTable(tuple(replace(row, realized_scale=math.nan) for row in table.rows[:2]))
    assert math.isnan(deviations(old)[0].matched)
    assert math.isfinite(deviations(old)[0].difference)
    with pytest.raises(InputError, match="observable must be one of test_loss"):
        deviations(table, "accuracy")


def test_finite_size_fits_find_the_slope(table):
    entries = deviations(table)
    fits = finite_size_fits(reversed(entries))
    assert len(fits) == 3
    for fit in fits:
        assert [entry.point.length for entry in fit.deviations] == [20, 40, 80]
        assert fit.slope == pytest.approx(SLOPE)
        # var = NOISE^2 / sum of 1 / L^2
        assert fit.slope_error == pytest.approx(NOISE / np.sqrt(20**-2 + 40**-2 + 80**-2))
        assert fit.chi_squared == pytest.approx(0.0, abs=1e-9)
        assert fit.offset == pytest.approx(0.0, abs=1e-9)
    shifted = [replace(e, simulated=e.simulated + 0.1, matched=e.matched + 0.1) for e in entries]
    (first, *_) = finite_size_fits(shifted)
    assert first.offset == pytest.approx(0.1)
    assert first.chi_squared > 50
    assert finite_size_fits(entries[:3]) == []  # one length
    assert all(fit.is_matched for fit in finite_size_fits(entries, matched=True))


def test_lengths_of_unequal_numbers_of_instances_belong_together(table):
    """The mean of many equal ridges need not be equal to one of them in the last bit."""
    more = [replace(row, seed=seed) for row in table.rows[:2] for seed in range(2, 25)]
    (fit, *_) = finite_size_fits(deviations(SweepTable((*table.rows, *more))))
    assert [entry.n_instances for entry in fit.deviations] == [48, 2, 2]


def test_verdicts_allow_errors_and_what_other_lengths_show(table):
    entries = deviations(table)
    for verdict in judge(entries, 80):
        assert verdict.allowance == pytest.approx(SLOPE / 80)
        assert verdict.is_within

    def moved(by: float) -> bool:
        changed = [
            replace(e, simulated=e.predicted + by) if e.point.length == 80 else e for e in entries
        ]
        return all(verdict.is_within for verdict in judge(changed, 80))

    limit = 4 * NOISE + SLOPE / 80
    assert moved(0.999 * limit)
    assert moved(-0.999 * limit)
    assert not moved(1.001 * limit)
    assert not moved(math.nan)
    steep = [replace(e, simulated=e.predicted + 10 / e.point.length) for e in entries]
    capped = judge(steep, 80)[0]
    assert capped.allowance == pytest.approx(0.02 * capped.deviation.predicted)
    with pytest.raises(InputError, match="no point has length 30; the lengths are 20, 40, 80"):
        judge(entries, 30)


def test_curves_go_through_the_alphas_of_the_points(table):
    best = SweepTable(tuple(make_rows((20,), ridge_kind="optimal", ridge=0.5, alpha=3.0)[:2]))
    curves = curves_for(SweepTable((*table.rows, *best.rows)))
    assert len(curves) == 4
    assert {curve.mask_mode for curve in curves} == {None, "static"}
    (optimal,) = [curve for curve in curves if curve.ridge_kind == "optimal"]
    at = list(optimal.alpha).index(3.0)
    assert optimal.ridge[at] == pytest.approx(optimal_ridge(3, 1.5, [3.0]).ridge[0], rel=1e-3)
    assert all(4.0 in curve.alpha for curve in curves if curve is not optimal)


def test_figures_show_points_lines_and_residuals(table):
    (ax,) = figure_learning_curves(curves_for(table), [table], length=20)
    assert ax.get_title() == "ridge 0.3"
    points = {
        container.get_label(): container[0].get_ydata()[0]
        for container in ax.containers
        if not str(container.get_label()).startswith("_")
    }
    assert len(points) == 3
    assert "attention, static masks, r = 0.3" in points
    _, below = ax.get_figure().axes
    residuals = [line.get_ydata()[0] for line in below.lines[1:]]  # the first is at zero
    assert residuals == pytest.approx([SLOPE / 20 / NOISE] * 3)
    entries = deviations(table)
    fits = [*finite_size_fits(entries), *finite_size_fits(entries, matched=True)]
    ensemble, matched = figure_finite_size(fits)
    assert "deviation from the matched ensemble" in matched.get_title()
    lines = [line for line in ensemble.lines if line.get_label().startswith(("plm", "r = 0.3"))]
    assert len(lines) == 2
    for line in lines:
        (zero, right), (low, high) = line.get_xdata(), line.get_ydata()
        assert (zero, low) == (0.0, 0.0)
        assert high / right == pytest.approx(SLOPE)


def test_sections_tell_what_agrees(table):
    summary = sweep_summary(table, 80)
    assert (summary["n_points"], summary["n_within"]) == (3, 3)
    sections = list(sweep_sections(table, length=80))
    titles = [section.title for section in sections]
    assert titles == [
        "What was simulated",
        "Learning curves: test loss, L = 80",
        "Learning curves: coupling error, L = 80",
        "Deviations at L = 80",
        "Deviations at L = 80: coupling error",
        "Finite-size study: test loss",
        "How this was made",
    ]  # instances have one coupling error each, so that its errors, and fits, are undefined
    verdicts = sections[3].table
    assert verdicts is not None
    assert [row[0] for row in verdicts.rows] == [
        "factored", "plm", "attention, static masks r = 0.3"
    ]  # fmt: skip
    sizes = sections[5].table
    assert sizes is not None
    assert len(sizes.rows) == 6
    assert any("+0.500 ±" in cell for cell in sizes.rows[0])
