"""Diagnostics of chains against a process whose answers are known, AR(1)."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from pottsattn.sampling.diagnostics import (
    CRITERIA,
    autocorrelation_function,
    autocorrelation_time,
    diagnose,
    split_r_hat,
    suggest_warmup,
    two_start_check,
)


def ar1(correlation, n_samples, n_chains, rng):
    trace = np.empty((n_samples, n_chains))
    trace[0] = rng.normal(size=n_chains)
    noise = rng.normal(scale=np.sqrt(1 - correlation**2), size=trace.shape)
    for t in range(1, n_samples):
        trace[t] = correlation * trace[t - 1] + noise[t]
    return trace


def replicas(correlation, n_samples, n_chains, n_replicas, rng):
    return np.split(ar1(correlation, n_samples, n_chains * n_replicas, rng), n_replicas, axis=1)


def ar1_time(correlation):
    return (1 + correlation) / (1 - correlation)


def stuck_chains(n_samples, n_chains, rng):
    noise = rng.normal(scale=1e-3, size=(n_samples, n_chains))
    return rng.normal(size=n_chains) + noise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3), (9, 1), (10, 4), (300, 200)])
def test_autocorrelation_function_matches_its_definition(shape, dtype, rng):
    trace = (5.0 + rng.normal(size=shape)).astype(dtype)
    centered = trace - trace.mean(dtype=np.float64)
    n = len(trace)
    covariance = np.array([np.mean(centered[: n - t] * centered[t:]) for t in range(n)])
    expected = covariance / covariance[0]
    np.testing.assert_allclose(autocorrelation_function(trace), expected, atol=1e-12)


def test_autocorrelation_function_works_chain_by_chain(rng):
    trace = rng.normal(size=(20_000, 60)).astype(np.float32)
    tracemalloc.start()
    autocorrelation_function(trace)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 8 * len(trace)  # a dozen real arrays of one chain, some of them padded


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize(("n_samples", "n_chains"), [(2000, 16), (8000, 1)])
def test_autocorrelation_time_of_ar1(correlation, n_samples, n_chains, rng):
    traces = replicas(correlation, n_samples, n_chains, 16, rng)
    times = [autocorrelation_time(trace) for trace in traces]
    expected = max(ar1_time(correlation), 1.0)
    error = np.std(times, ddof=1) / np.sqrt(len(times))
    # Sokal's window cuts a share exp(-5) of the sum, and the clamp at 1 lifts the mean at 0.
    assert abs(np.mean(times) - expected) < 5 * error + 0.01 * expected


def test_one_autocorrelation_function_of_all_chains_beats_a_time_for_each(rng):
    traces = replicas(0.8, 180, 48, 20, rng)  # 20 times the time

    def rms_error(times):
        return np.sqrt(np.mean((np.array(times) - ar1_time(0.8)) ** 2))

    of_all = [autocorrelation_time(trace) for trace in traces]
    of_each = [np.mean([autocorrelation_time(chain[:, None]) for chain in t.T]) for t in traces]
    assert rms_error(of_all) < 0.7 * rms_error(of_each)


def test_effective_size_gives_the_error_of_the_mean(rng):
    trace = ar1(0.8, 1000, 256, rng)
    predicted = trace.var() / diagnose(trace, 1.0).ess * 256
    found = trace.mean(axis=0).var(ddof=1)
    assert found == pytest.approx(predicted, rel=5 * np.sqrt(2 / 255))


def test_chains_that_never_mix_count_once_each(rng):
    stuck = stuck_chains(100, 20, rng)
    diagnosis = diagnose(stuck, 1.0)
    assert diagnosis.ess < 20
    assert diagnosis.split_r_hat > 10
    assert not diagnosis.is_long_enough
    # Planted fault: with a mean subtracted for each chain they look independent and long enough.
    faulty = diagnose(stuck - stuck.mean(axis=0), 1.0)
    assert faulty.ess > 1000
    assert faulty.is_long_enough


def test_estimates_called_long_enough_are_right_within_a_factor_of_two(rng):
    believed = {}
    for lengths, n_chains in [(5, 8), (5, 64), (15, 64), (50, 1), (50, 16), (500, 1)]:
        traces = replicas(0.5, 3 * lengths, n_chains, 60, rng)
        found = [diagnose(trace, 1.0) for trace in traces]
        ratios = [one.autocorrelation_time / 3.0 for one in found if one.is_long_enough]
        assert all(0.5 < ratio < 2.0 for ratio in ratios)
        believed[lengths, n_chains] = len(ratios) / 60
    assert max(believed[case] for case in [(5, 8), (5, 64), (50, 1)]) < 0.05
    assert min(believed[case] for case in [(15, 64), (50, 16), (500, 1)]) > 0.9


def test_many_short_chains_do_for_independent_samples_but_not_for_a_drift(rng):
    noise = rng.normal(size=(15, 64))
    assert diagnose(noise, 1.0).is_long_enough
    for n_samples, n_chains in [(15, 64), (1000, 64)]:
        noise = rng.normal(size=(n_samples, n_chains))
        drift = 5.0 * np.linspace(0, 1, n_samples)[:, None]
        diagnosis = diagnose(noise + drift, 1.0)
        assert diagnosis.ess < 10 * 64  # not the whole 960 of what looks anti-correlated
        assert not diagnosis.is_long_enough


def test_diagnosis_is_in_sweeps_and_shows_itself(rng):
    trace = ar1(0.5, 500, 8, rng).astype(np.float32)
    diagnosis = diagnose(trace, 10)
    tau = autocorrelation_time(trace)
    assert diagnosis.autocorrelation_time == 10 * tau
    assert diagnosis.ess == trace.size / tau
    assert diagnosis.split_r_hat == split_r_hat(trace)
    assert json.loads(json.dumps(diagnosis.to_dict()))["is_long_enough"] is True
    assert repr(diagnosis).startswith(f"Diagnosis(ess={diagnosis.ess:.0f}, split_r_hat=")
    assert repr(diagnosis).endswith(" sweeps)")
    assert repr(diagnose(trace[:20], 10)).endswith(" sweeps, too short to be sure)")


def test_split_r_hat_matches_its_definition(rng):
    trace = rng.normal(size=(11, 3)) + np.arange(3)
    halves = [trace[part, chain] for chain in range(3) for part in (slice(0, 5), slice(6, 11))]
    within = np.mean([half.var(ddof=1) for half in halves])
    between = np.var([half.mean() for half in halves], ddof=1)
    expected = np.sqrt((4 / 5 * within + between) / within)
    assert split_r_hat(trace) == pytest.approx(expected, rel=1e-12)
    assert split_r_hat(trace.astype(np.float32)) == pytest.approx(expected, rel=1e-6)


def test_split_r_hat_sees_a_drift_that_all_chains_share(rng):
    noise = rng.normal(size=(400, 8))
    assert split_r_hat(noise) < 1.01
    assert split_r_hat(noise + np.linspace(0, 3, 400)[:, None]) > 1.2


def test_short_and_constant_traces():
    for shape in [(0, 5), (3, 5)]:
        assert np.isnan(autocorrelation_time(np.zeros(shape)))
        assert np.isnan(split_r_hat(np.zeros(shape)))
    constant = np.full((10, 3), 0.1)  # its mean is not 0.1 in floating point
    assert np.isnan(autocorrelation_function(constant)).all()
    assert np.isnan(autocorrelation_time(constant))
    assert split_r_hat(constant) == 1.0
    assert split_r_hat(np.repeat([[0.0, 1.0]], 10, axis=0)) == np.inf
    diagnosis = diagnose(constant, 10)
    assert np.isnan([diagnosis.ess, diagnosis.autocorrelation_time]).all()
    assert not diagnosis.is_long_enough


@pytest.mark.parametrize("trace", [np.zeros(5), np.zeros((5, 0)), np.full((5, 2), np.nan)])
def test_wrong_traces_are_refused(trace):
    for function in (autocorrelation_time, split_r_hat, lambda trace: diagnose(trace, 1)):
        with pytest.raises(ValueError, match="trace must be"):
            function(trace)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("n_chains", [1, 16])
@pytest.mark.parametrize(
    ("transient", "earliest", "latest"),
    [
        (lambda t: 0 * t, 0, 400),
        (lambda t: 1000.0 * (t < 2), 20, 400),
        (lambda t: 8.0 * np.exp(-t / 5.0), 50, 400),  # from where it is below 3 sigma on
        (lambda t: 8.0 * np.exp(-t / 20.0), 190, 990),
        (lambda t: 4.0 * (t < 60), 550, 800),
    ],
    ids=["none", "two wild frames", "short", "long", "step"],
)
def test_warmup_ends_where_the_transient_does(
    transient, earliest, latest, n_chains, criterion, rng
):
    t = np.arange(200)
    cuts, n_sufficient = [], 0
    for noise in replicas(0.3, 200, n_chains, 15, rng):
        found = suggest_warmup(10 * t, noise + transient(t)[:, None], criterion)
        cuts.append(found.n_sweeps)
        n_sufficient += found.is_sufficient
    assert earliest <= min(cuts)
    assert np.median(cuts) <= latest
    assert n_sufficient >= 12


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    "transient",
    [lambda t: t / 20.0, lambda t: 20.0 * np.exp(-t / 100.0), lambda t: 2.0 * (t > 120)],
    ids=["drift", "exponential", "late step"],
)
def test_a_trace_that_never_settles_is_called_so(transient, criterion, rng):
    t = np.arange(200)
    for noise in replicas(0.3, 200, 16, 10, rng):
        found = suggest_warmup(t, noise + transient(t)[:, None], criterion)
        assert not found.is_sufficient
        assert "never settled" in found.message or "still drifts" in found.message
        assert found.message.startswith(criterion)


def test_an_optimum_at_the_limit_is_insufficient():
    steep = np.exp(-np.arange(100) / 50.0)[:, None]
    for criterion in CRITERIA:
        found = suggest_warmup(np.arange(100), np.repeat(steep, 3, axis=1), criterion)
        assert (found.n_sweeps, found.is_sufficient) == (49, False)
        assert "never settled" in found.message


def test_wild_frames_fool_the_effective_size_as_published(rng):
    # Planted fault: n / tau of what is left, whose variance the wild frames dominate.
    trace = ar1(0.9, 400, 1, rng)
    trace[0] += 1000.0
    sizes = [(400 - cut) / autocorrelation_time(trace[cut:]) for cut in range(200)]
    assert np.argmax(sizes) == 0
    assert suggest_warmup(np.arange(400), trace, "effective-size").n_sweeps >= 1


def test_warmup_of_chains_shorter_than_their_memory_is_not_called_sufficient(rng):
    found = suggest_warmup(np.arange(40), ar1(0.95, 40, 32, rng))
    assert not found.is_sufficient
    assert "run longer" in found.message


@pytest.mark.parametrize("criterion", CRITERIA)
def test_warmup_of_odd_traces(criterion, rng):
    for n_frames in range(12):
        for trace in (np.zeros((n_frames, 2)), rng.normal(size=(n_frames, 1))):
            found = suggest_warmup(np.arange(n_frames) * 3, trace, criterion)
            assert 0 <= found.n_sweeps <= 3 * max(n_frames // 2, 0)
            assert found.is_sufficient is False or n_frames >= 8
            assert "nan" not in found.message
    frozen = np.full((50, 3), 0.1, dtype=np.float32)
    assert suggest_warmup(np.arange(50), frozen, criterion).is_sufficient
    frozen[:7] = np.linspace(9, 1, 7)[:, None]
    found = suggest_warmup(np.arange(50), frozen, criterion)
    assert (found.n_sweeps, found.is_sufficient) == (7, True)


def test_warmup_takes_uneven_times_and_long_traces(rng):
    times = np.concatenate([np.arange(100), np.arange(100, 1100, 10)])
    trace = rng.normal(size=(200, 8)) + 9.0 * np.exp(-times / 10.0)[:, None]
    long = rng.normal(size=(5432, 4)) + 9.0 * (np.arange(5432) < 777)[:, None]
    for criterion in CRITERIA:
        found = suggest_warmup(times, trace, criterion)
        assert 20 <= found.n_sweeps <= 100
        assert found.is_sufficient
        found = suggest_warmup(np.arange(5432), long, criterion)
        assert 777 <= found.n_sweeps < 1200
        assert found.is_sufficient


def test_warmup_refuses_wrong_input():
    trace = np.zeros((10, 2))
    with pytest.raises(ValueError, match="criterion must be one of mser, effective-size"):
        suggest_warmup(np.arange(10), trace, "mesr")
    with pytest.raises(ValueError, match="times must have shape"):
        suggest_warmup(np.arange(9), trace)
    with pytest.raises(ValueError, match="times must increase"):
        suggest_warmup(np.zeros(10), trace)


@pytest.mark.parametrize(("n_first", "n_second"), [(16, 16), (2, 2), (12, 20)])
def test_z_of_two_groups_that_agree_is_normal(n_first, n_second, rng):
    groups = replicas(0.9, 50, n_first + n_second, 500, rng)
    scores = [two_start_check(group[:, :n_first], group[:, n_first:]).z for group in groups]
    alarms = np.mean(np.abs(scores) > 2.0)  # 4.6 % of a normal
    assert alarms < 0.046 + 5 * np.sqrt(0.046 / 500)
    assert np.sum(np.abs(scores) > 4.0) <= 1
    assert abs(np.mean(scores)) < 5 / np.sqrt(500)


def test_errors_that_take_samples_as_independent_raise_false_alarms(rng):
    # Planted fault: the error of the mean from all samples, not from the spread of the chains.
    groups = np.stack(replicas(0.9, 50, 32, 100, rng))
    difference = groups[..., :16].mean(axis=(1, 2)) - groups[..., 16:].mean(axis=(1, 2))
    faulty = difference / np.sqrt(groups.var(axis=(1, 2)) * 2 / (50 * 16))
    assert np.mean(np.abs(faulty) > 4.0) > 0.15


def test_two_starts_that_differ_are_found(rng):
    for group in replicas(0.9, 50, 32, 50, rng):  # the chain means spread by 0.56
        found = two_start_check(group[:, :16] + 2.0, group[:, 16:])
        assert found.z > 4.0
        assert not found.is_met
        assert "disagree" in found.message
        assert "|z| < 4" in found.message
        assert two_start_check(group[:, 16:], group[:, :16] + 2.0).z == -found.z


def test_two_starts_of_constant_and_of_few_chains(rng):
    moving = rng.normal(size=(10, 4))
    constant = np.full((10, 3), 0.1)
    check = two_start_check(constant, np.asfortranarray(np.full((7, 5), 0.1)))
    assert (check.z, check.is_met) == (0.0, True)
    check = two_start_check(constant, constant + 1.0)
    assert (check.z, check.is_met) == (np.inf, False)
    assert not two_start_check(constant + 20.0, moving).is_met  # frozen elsewhere
    assert two_start_check(constant, moving).is_met  # frozen where the others are: not seen here
    for few in (moving[:, :1], moving[:0]):
        check = two_start_check(moving, few)
        assert np.isnan(check.z)
        assert not check.is_met
        assert "2 chains" in check.message
