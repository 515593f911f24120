"""Split-R-hat and its bound: chance, heavy tails, planted chains that are stuck."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pottsattn.sampling.agreement import MIN_SAMPLES, r_hat_bound, rank_r_hat, split_r_hat
from pottsattn.sampling.diagnostics import diagnose

SHAPES = [(4, 64), (6, 64), (10, 64), (15, 64), (40, 64), (4, 8), (100, 8), (30, 2), (100, 1)]


def stuck(trace, share, distance, rng):
    """Return a trace in which a share of the chains (at least one) sits elsewhere."""
    n_chains = trace.shape[1]
    is_stuck = rng.permutation(n_chains) < max(1, round(share * n_chains))
    return trace + distance * is_stuck


@pytest.mark.parametrize(
    ("n_samples", "largest"), [(4, 1.136), (6, 1.076), (10, 1.040), (15, 1.028)]
)
def test_largest_of_two_hundred_is_the_quantile_of_the_law(n_samples, largest, rng):
    # 1.13, 1.08, 1.04, 1.04 had been found for 64 chains of independent normal samples.
    from scipy.special import fdtri

    half, n_halves = n_samples // 2, 128
    ratio = fdtri(n_halves - 1, n_halves * (half - 1), 1.0 - 1.0 / 200.0)
    assert np.sqrt((half - 1 + ratio) / half) == pytest.approx(largest, abs=1e-3)
    found = [split_r_hat(rng.normal(size=(n_samples, 64))) for _ in range(2000)]
    share = np.mean(np.array(found) > largest)
    assert abs(share - 0.005) < 4 * np.sqrt(0.005 / 2000)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("law", ["normal", "cauchy", "exponential", "rare"])
def test_independent_samples_of_any_law_stay_below_the_bound(shape, law, rng):
    draw = {
        "normal": rng.standard_normal,
        "cauchy": rng.standard_cauchy,
        "exponential": rng.standard_exponential,
        "rare": lambda size: (rng.random(size) < 0.02).astype(float),
    }[law]
    for _ in range(200):
        assert not diagnose(draw(size=shape), 1.0).disagrees


@pytest.mark.parametrize("n_chains", [4, 8, 64])
def test_chains_of_ten_autocorrelation_times_stay_below_the_bound(n_chains, rng):
    correlation, n_samples = 2.0 / 3.0, 50  # a time of 5
    for _ in range(200):
        trace = rng.normal(size=(n_samples, n_chains))
        for t in range(1, n_samples):
            trace[t] = correlation * trace[t - 1] + np.sqrt(1 - correlation**2) * trace[t]
        assert not diagnose(trace, 1.0).disagrees


@pytest.mark.parametrize("shape", [(4, 64), (15, 64), (40, 64), (10, 8), (100, 8), (30, 4)])
def test_planted_stuck_chains_are_found(shape, rng):
    for share in (2 / shape[1], 0.5):
        for _ in range(50):
            assert diagnose(stuck(rng.normal(size=shape), share, 12.0, rng), 1.0).disagrees


def test_one_chain_of_few_samples_may_be_a_rare_event(rng):
    for n_samples, found in [(15, False), (20, True)]:
        trace = rng.normal(size=(n_samples, 64))
        trace[:, 3] += 12.0
        assert diagnose(trace, 1.0).disagrees is found


def test_halves_that_drift_apart_are_found(rng):
    noise = rng.normal(size=(20, 64))
    assert diagnose(noise + np.linspace(0.0, 4.0, 20)[:, None], 1.0).disagrees


def test_ranks_see_what_heavy_tails_hide(rng):
    noise = rng.standard_cauchy(size=(100, 16))
    trace = stuck(noise, 0.5, 6.0, rng)
    bound = r_hat_bound(100, 16)
    assert split_r_hat(trace) < bound < rank_r_hat(trace)
    found = diagnose(trace, 1.0)
    assert found.disagrees
    assert found.disagreement.startswith("rank-normalized split-R-hat")
    assert rank_r_hat(noise) < 1.05


def test_distances_to_the_median_see_chains_of_other_width(rng):
    trace = rng.normal(size=(100, 16)) * np.where(np.arange(16) < 8, 1.0, 8.0)
    assert split_r_hat(trace) < 1.1
    assert rank_r_hat(trace) > r_hat_bound(100, 16)


def test_ranks_do_not_hide_one_chain_far_away(rng):
    trace = rng.normal(size=(40, 64))
    trace[:, 5] += 100.0
    assert rank_r_hat(trace) < 1.1 < split_r_hat(trace)
    assert diagnose(trace, 1.0).disagrees


def test_ranks_of_equal_values_are_their_mean(rng):
    from scipy.stats import norm, rankdata

    trace = rng.integers(4, size=(12, 5)).astype(float)
    distances = np.abs(trace - np.median(trace))
    scores = [
        norm.ppf((rankdata(one) - 0.375) / (60 + 0.25)).reshape(12, 5) for one in (trace, distances)
    ]
    assert rank_r_hat(trace) == pytest.approx(max(split_r_hat(one) for one in scores), rel=1e-12)


def test_ranks_of_long_traces_take_little_memory(rng):
    trace = rng.normal(size=(40_000, 64)).astype(np.float32)
    tracemalloc.start()
    assert rank_r_hat(trace) < 1.01
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    drifting = trace + np.linspace(0.0, 3.0, len(trace), dtype=np.float32)[:, None]
    assert rank_r_hat(drifting) > 1.2
    wide = rng.normal(size=(5, 60_000))
    assert rank_r_hat(wide) < 1.1


def test_bound_falls_with_samples_and_chains():
    assert np.isnan(r_hat_bound(MIN_SAMPLES - 1, 64))
    by_samples = [r_hat_bound(n, 64) for n in (4, 6, 10, 20, 40, 1000)]
    by_chains = [r_hat_bound(40, n) for n in (1, 2, 4, 8, 64, 10_000)]
    for bounds in (by_samples, by_chains):
        assert bounds == sorted(bounds, reverse=True)
        assert min(bounds) >= 1.1


def test_time_of_chains_that_are_stuck_is_a_lower_bound(rng):
    noise = rng.normal(size=(400, 16))
    assert not diagnose(noise, 1.0).is_lower_bound
    # A tenth of the variance for good lets the window close, yet chains disagree.
    for trace in (stuck(noise, 0.5, 12.0, rng), noise + 0.7 * rng.normal(size=16)):
        found = diagnose(trace, 1.0)
        assert found.is_lower_bound
        assert not found.is_long_enough
