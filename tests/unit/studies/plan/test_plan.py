"""`plan`: effective ensembles, its result, its command and its figure."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pottsattn import SequenceDataset, sample
from pottsattn._core.validate import InputError
from pottsattn.cli.main import main
from pottsattn.figures.plan import plot_plan
from pottsattn.figures.style import save_figure
from pottsattn.model.ensembles import sk_potts
from pottsattn.studies.plan.result import Plan
from pottsattn.studies.plan.run import plan
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.effective import (
    EffectiveEnsemble,
    MeasuredLoss,
    fit_effective,
    fit_matched,
    residuals,
)
from pottsattn.theory.optimum import optimal_ridge

TRUTH = EffectiveEnsemble(3, 1.5, 3.0, 1.5, baseline=1.4, field_cost=0.02)


def points_of(ensemble: EffectiveEnsemble, alphas: list[float], ridge: float) -> list[MeasuredLoss]:
    columns = ensemble.losses(alphas, ridge)
    return [
        MeasuredLoss(alpha, ridge, float(test), float(train))
        for alpha, test, train in zip(alphas, *columns, strict=True)
    ]


def test_an_effective_ensemble_without_effects_is_the_learning_curve():
    plain = EffectiveEnsemble(3, 1.5, 1.0, 1.0, math.log(3))
    curve = learning_curve(3, 1.5, [4.0, 1.0], 0.1)
    test, train = plain.losses([4.0, 1.0], 0.1)
    np.testing.assert_allclose(test, curve.test_loss, rtol=1e-6)
    np.testing.assert_allclose(train, curve.train_loss, rtol=1e-6)
    best = optimal_ridge(3, 1.5, [4.0])
    loss, ridge = replace(plain, sequence_cost=2.0, ridge_cost=3.0).best_losses([8.0])
    assert (loss[0], ridge[0]) == pytest.approx((best.test_loss[0], 3.0 * best.ridge[0]), rel=1e-3)
    assert plain.floor == pytest.approx(0.877181, abs=1e-5)


def test_effective_parameters_are_found_from_losses():
    start = EffectiveEnsemble(3, 1.0, 4.0, 2.0, 1.4, 0.02)
    points = points_of(TRUTH, [2.0, 4.0, 8.0], 0.2) + points_of(TRUTH, [8.0], 1.0)
    found = fit_effective(start, points)
    assert np.abs(residuals(found, points)).max() < 0.002  # the prior holds K and R a little
    assert found.coupling_scale == pytest.approx(1.5, rel=0.05)
    far = found.losses([32.0], 0.2)[0] / TRUTH.losses([32.0], 0.2)[0]
    assert far[0] == pytest.approx(1.0, abs=0.005)


def test_methods_share_one_scale_and_a_wrong_estimate_of_it_is_outvoted():
    starts = [replace(TRUTH, coupling_scale=1.0, sequence_cost=cost) for cost in (1.0, 4.0)]
    truths = [replace(start, coupling_scale=1.5) for start in starts]
    measured = [points_of(truth, [4.0, 8.0], 0.2) for truth in truths]
    found = fit_matched(starts, measured, (1.3, 0.1))
    assert found[0].coupling_scale == found[1].coupling_scale == pytest.approx(1.5, rel=0.01)
    vague = [[replace(point, error=0.5) for point in points] for points in measured]
    blind = fit_matched(starts, vague, (1.3, 0.01))
    assert blind[0].coupling_scale == pytest.approx(1.3, rel=0.05)


@pytest.fixture(scope="module")
def small() -> SequenceDataset:
    return sample(sk_potts(20, 3, 1.5, 0), 160, rng=0, n_threads=1).dataset


@pytest.fixture(scope="module")
def planned(small: SequenceDataset) -> Plan:
    return plan(small, ridge=0.5, fields="none", target_loss=0.95, n_threads=1)


def test_a_plan_says_what_it_found(planned, tmp_path):
    report = planned.to_dict()
    json.dumps(report)
    assert [method["method"] for method in report["methods"]] == ["factored", "heads 2", "plm"]
    assert planned.form == "matched"
    assert planned.baseline_loss == pytest.approx(math.log(3))
    for method in planned.methods:
        needed, best = method.sequences_for_target, method.best_sequences_for_target
        assert best <= needed
        losses = [point.test_loss for point in method.points]
        sizes = [point.n_sequences for point in method.points]
        assert np.interp(np.log(needed), np.log(sizes), losses) == pytest.approx(0.95, abs=0.005)
        assert all(point.best_loss <= point.test_loss + 1e-6 for point in method.points)
    # The capacity law: H heads need H times the sequences at H times the ridge.
    heads, factored = planned.method("heads"), planned.method("factored")
    for point, at_twice in zip(factored.points, heads.points[2:], strict=False):
        assert at_twice.alpha == pytest.approx(2.0 * point.alpha)
        assert at_twice.best_loss == pytest.approx(point.best_loss, abs=1e-4)
    assert "unlimited" in str(planned)
    assert "Plan(n_sequences=160" in repr(planned)
    planned.to_csv(tmp_path / "plan.csv")
    rows = (tmp_path / "plan.csv").read_text().splitlines()
    assert rows[0].startswith("method,n_sequences")
    assert len(rows) == 1 + 3 * len(planned.methods[0].points)


def test_the_figure_shows_every_method(planned, tmp_path):
    ax = plot_plan(planned)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {label.partition(",")[0] for label in labels} >= {"factored", "heads 2", "plm"}
    save_figure(ax, tmp_path / "plan.png")


def test_the_command(small, tmp_path, capsys):
    data, out = tmp_path / "data.h5", tmp_path / "plan.csv"
    small.save(data)
    words = ["plan", str(data), "--fields", "none", "--threads", "1", "--json"]
    assert main([*words, "--target-loss", "0.1", "--out", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["csv"] == str(out)
    assert out.exists()
    assert report["bayes_loss"] > 0.1
    assert all(method["sequences_for_target"] is None for method in report["methods"])
    for wrong in (
        ["--out", str(tmp_path / "plan.txt")],
        ["--ridge", "0"],
        ["--heads", "0"],
        ["--heads", "5"],
    ):
        assert main([*words, *wrong]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_wrong_input_is_refused(small):
    with pytest.raises(InputError, match="at least 16 sequences"):
        plan(small.take(slice(0, 15)))
    with pytest.raises(InputError, match="target_loss"):
        plan(small, target_loss=-1.0)
    with pytest.raises(TypeError):
        plan(small.sequences)
