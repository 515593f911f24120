"""Diagnostics of chains against a process whose answers are known, AR(1)."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn.sampling.diagnostics import autocorrelation_time, split_r_hat


def ar1(correlation, n_samples, n_chains, rng):
    trace = np.empty((n_samples, n_chains))
    trace[0] = rng.normal(size=n_chains)
    noise = rng.normal(scale=np.sqrt(1 - correlation**2), size=trace.shape)
    for t in range(1, n_samples):
        trace[t] = correlation * trace[t - 1] + noise[t]
    return trace


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_ar1(correlation, rng):
    times = [autocorrelation_time(ar1(correlation, 2000, 16, rng)) for _ in range(16)]
    expected = (1 + correlation) / (1 - correlation)
    error = np.std(times, ddof=1) / np.sqrt(len(times))
    # Sokal's window cuts a share exp(-5) of the sum, and the clamp at 1 lifts the mean at 0.
    assert abs(np.mean(times) - expected) < 5 * error + 0.01 * expected


def test_effective_size_gives_the_error_of_the_mean(rng):
    trace = ar1(0.8, 1000, 256, rng)
    predicted = trace.var() * autocorrelation_time(trace) / len(trace)
    found = trace.mean(axis=0).var(ddof=1)
    assert found == pytest.approx(predicted, rel=5 * np.sqrt(2 / 255))


def test_chains_that_never_mix_count_once_each(rng):
    stuck = np.tile(rng.normal(size=20), (100, 1)) + rng.normal(scale=1e-3, size=(100, 20))
    assert stuck.size / autocorrelation_time(stuck) < 20
    assert split_r_hat(stuck) > 10


def test_split_r_hat_matches_its_definition(rng):
    trace = rng.normal(size=(11, 3)) + np.arange(3)
    halves = [trace[part, chain] for chain in range(3) for part in (slice(0, 5), slice(6, 11))]
    within = np.mean([half.var(ddof=1) for half in halves])
    between = np.var([half.mean() for half in halves], ddof=1)
    expected = np.sqrt((4 / 5 * within + between) / within)
    assert split_r_hat(trace) == pytest.approx(expected, rel=1e-12)


def test_split_r_hat_sees_a_drift_that_all_chains_share(rng):
    noise = rng.normal(size=(400, 8))
    assert split_r_hat(noise) < 1.01
    assert split_r_hat(noise + np.linspace(0, 3, 400)[:, None]) > 1.2


def test_short_and_constant_traces():
    assert np.isnan(autocorrelation_time(np.zeros((3, 5))))
    assert np.isnan(split_r_hat(np.zeros((3, 5))))
    constant = np.full((10, 3), 0.1)  # its mean is not 0.1 in floating point
    assert np.isnan(autocorrelation_time(constant))
    assert split_r_hat(constant) == 1.0
    assert split_r_hat(np.repeat([[0.0, 1.0]], 10, axis=0)) == np.inf
