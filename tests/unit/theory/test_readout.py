"""One-dimensional integrals for what fields predict, against averages over many drawn fields."""

from __future__ import annotations

import math

import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtri, softmax
from scipy.stats import qmc

from pottsattn.theory.curve import learning_curve
from pottsattn.theory.readout import mean_accuracy, mean_confidence, mean_error, mean_loss

CASES = [(2, 0.5, 0.8), (3, 0.7, 1.06), (5, 0.5, 3.0), (21, 0.4, 0.6), (3, 0.01, 0.02)]


@pytest.mark.parametrize(("n_states", "m", "q"), CASES)
def test_error_and_confidence_equal_averages_over_fields(n_states, m, q):
    fields = math.sqrt(q) * ndtri(qmc.Sobol(n_states, rng=0).random_base2(16))
    fields[:, 0] += m
    p = softmax(fields, axis=1)
    spread = (
        p.max(axis=1).std() / 256.0
    )  # of plain Monte Carlo; Sobol points do better, if anything
    assert_allclose(mean_confidence(n_states, m, q), p.max(axis=1).mean(), atol=spread)
    spread = p[:, 0].std() / 256.0
    assert_allclose(mean_error(n_states, m, q), 1.0 - p[:, 0].mean(), atol=spread)


@pytest.mark.parametrize(("n_states", "m", "q"), CASES)
def test_error_is_the_slope_of_the_loss(n_states, m, q):
    h = 1e-5
    slope = (mean_loss(n_states, m + h, q) - mean_loss(n_states, m - h, q)) / (2.0 * h)
    assert_allclose(mean_error(n_states, m, q), -slope, rtol=1e-8)


@pytest.mark.parametrize("n_states", [2, 3, 21])
def test_the_true_fields_are_calibrated(n_states):
    confidence = mean_confidence(n_states, 0.7, 0.7)
    assert_allclose(confidence, mean_accuracy(n_states, 0.7, 0.7), rtol=1e-6)
    assert mean_confidence(n_states, 0.7, 0.8) > confidence + 1e-3


@pytest.mark.parametrize(("n_states", "q"), [(3, 4.0), (21, 15.0), (256, 4.0), (256, 15.0)])
def test_confidence_keeps_its_error_for_many_colors_and_wide_fields(n_states, q):
    exact = mean_accuracy(n_states, q, q)  # of calibrated fields
    assert_allclose(mean_confidence(n_states, q, q), exact, atol=5e-8)


@pytest.mark.parametrize("n_states", [2, 5, 256])
def test_losses_do_not_jump_where_the_steps_start_to_grow(n_states, monkeypatch):
    m, q = 3.0, 300.0  # wide
    found = (mean_loss(n_states, m, q), mean_error(n_states, m, q))
    monkeypatch.setattr("pottsattn.theory.readout.WIDE", 20.0)
    assert_allclose(found, (mean_loss(n_states, m, q), mean_error(n_states, m, q)), rtol=1e-12)


def test_fields_of_any_width_are_read_out():
    q = 1e12  # then the loss is the mean gap to the largest field, 3 / (2 sqrt(pi)) for 3 colors
    assert_allclose(mean_loss(3, 1.0, q), 1.5e6 / math.sqrt(math.pi), rtol=1e-5)
    assert_allclose(mean_error(3, 1.0, q), 2.0 / 3.0, rtol=1e-5)
    assert_allclose(mean_confidence(3, 1.0, q), 1.0, atol=1e-5)


def test_a_weak_penalty_makes_overconfident_students():
    curve = learning_curve(3, 1.5, [2.0, 2.0], [0.01, 3.0])
    assert curve.confidence[0] > curve.accuracy[0] + 0.1
    assert curve.confidence[1] < curve.accuracy[1]
