"""The time of a fit is told from pilots of the fit itself."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._core.display import readable_seconds
from pottsattn.cost import run_time
from pottsattn.cost.memory import PlannedFit
from pottsattn.cost.run_time import extrapolated, plan_time


@pytest.mark.parametrize("power", [2, 3])
def test_times_of_pilots_grow_as_the_costs_do(power):
    def pilot(n_sequences: int, length: int) -> float:
        return 3e-9 * n_sequences * length**2 + 1e-7 * length**power + 5e-6 * length

    for sizes in ((1000, 21, 4000), (300, 3, 50), (20, 5, 1000)):
        fit = PlannedFit("plm", *sizes, n_threads=1)
        expected = pilot(fit.n_sequences, fit.length)
        assert extrapolated(pilot, fit, power) == pytest.approx(expected, rel=1e-3)


def test_pilots_that_take_equally_long_say_that_nothing_shrinks():
    assert 0.0 < extrapolated(lambda *_: 0.1, PlannedFit("plm", 9, 3, 50, 1), 2) < 1.0


def test_evaluations_are_those_of_typical_fits(monkeypatch):
    monkeypatch.setattr(run_time, "_pilot_seconds", lambda _fit, data, n: n * data.length**2 * 1e-6)
    monkeypatch.setattr(run_time, "_weighting_seconds", lambda fit: fit.n_sequences * 1e-3)
    told = {}
    for name, method, kind in (
        ("plm", "plm", {}),
        ("symmetric", "plm", {"symmetric": True}),
        ("factored", "factored", {}),
        ("heads", "factored", {"color_similarity": "learned"}),
    ):
        told[name] = plan_time(PlannedFit(method, 100, 21, 4000, 2, **kind))
        n_evaluations = run_time.TYPICAL[name]
        assert told[name].n_evaluations == n_evaluations
        assert told[name].stages["fit"] == pytest.approx(n_evaluations * 1e-2)
        assert told[name].seconds == pytest.approx(n_evaluations * 1e-2 + 4.0)
    four = plan_time(PlannedFit("factored", 100, 21, 4000, 2, n_heads=4))
    assert four.n_evaluations == 2 * told["heads"].n_evaluations
    assert four.within > 3


def test_time_of_attention_is_unknown():
    found = plan_time(PlannedFit("attention", 100, 21, 4000, 2))
    report = found.to_dict()
    assert report["seconds"] is report["seconds_within_factor"] is None
    assert set(report["seconds_by_stage"].values()) == {None}
    assert "unknown" in str(found)


@pytest.mark.parametrize(
    ("method", "n_states", "kind"),
    [
        ("plm", 21, {}),
        ("plm", 3, {}),
        ("plm", 6, {"symmetric": True}),
        ("factored", 7, {}),
        ("factored", 3, {}),
        ("factored", 4, {"n_heads": 3}),
        ("mf", 4, {}),
    ],
)
def test_time_is_measured_and_of_the_right_order(method, n_states, kind):
    seconds = plan_time(PlannedFit(method, 30, n_states, 1000, 1, **kind)).seconds
    assert 1e-4 < seconds < 60.0  # such fits take 0.05 to 2 s on an idle machine


def test_the_estimate_of_a_tiny_fit_is_near_what_it_takes():
    rng = np.random.default_rng(1)
    data = SequenceDataset(rng.integers(4, size=(3000, 40), dtype=np.uint8), 4)
    fit_pseudolikelihood(data, n_threads=1)  # compiled from here on
    taken = fit_pseudolikelihood(data, n_threads=1).seconds
    told = plan_time(PlannedFit("plm", 40, 4, 3000, 1)).stages["fit"]
    assert told / 50 < taken < told * 50


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.1 s"),
        (0.456, "0.46 s"),
        (41.0, "41 s"),
        (99.99, "100 s"),
        (130.0, "2.2 min"),
        (7000.0, "1.9 h"),
        (1e6, "12 days"),
    ],
)
def test_times_are_told_with_two_digits(seconds, text):
    assert readable_seconds(seconds) == text
