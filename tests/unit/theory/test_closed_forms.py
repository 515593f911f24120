"""Closed forms, thresholds and transitions, against the solver and against other routes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from pottsattn import ConvergenceWarning, InputError
from pottsattn.theory.closed_forms import (
    bayes_error,
    best_static_mask_fraction,
    large_alpha_coupling_error,
    large_alpha_excess,
    static_mask_excess,
)
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.existence import existence_threshold, mean_squared_distance
from pottsattn.theory.glass import glass_scales
from pottsattn.theory.mean_coupling import (
    mean_coupling_student,
    outlier_eigenvalue,
    uniform_susceptibility,
)
from pottsattn.theory.readout import mean_loss

STUDENTS = [(2, 1.0, {}, 1), (3, 1.5, {"estimator": "full"}, 4), (4, 2.0, {"n_heads": 3}, 3)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: existence_threshold(3, 1.5, -1.0), "multiplicity must be above 0"),
        (lambda: existence_threshold(3, 30.0), "spin-glass transition"),
        (lambda: static_mask_excess(3, 1.5, [1.0], 2.0), "mask_fraction must be below 1"),
        (lambda: uniform_susceptibility(3, 1.5, math.nan), "mean_coupling must be finite"),
        (lambda: outlier_eigenvalue(1.5, math.nan), "rank_one must be finite"),
        (lambda: mean_coupling_student(3, 1.5, math.nan, 99, 1.0, 0.1), "must be finite"),
        (lambda: mean_coupling_student(3, 1.5, 0.1, 99, 1.0, 0.1, "ful"), "estimator must be"),
    ],
)
def test_values_out_of_range_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(("n_states", "scale", "student", "n_heads"), STUDENTS)
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_large_alpha(n_states, scale, student, n_heads, ridge):
    alphas = np.array([1e4, 1e5])
    curve = learning_curve(n_states, scale, alphas, ridge, **student)
    excess = large_alpha_excess(alphas, n_heads)
    error = large_alpha_coupling_error(n_states, scale, alphas, n_heads)
    for found, limit in (
        (curve.test_loss - curve.bayes_loss, excess),
        (curve.bayes_loss - curve.train_loss, excess),
        (curve.coupling_error, error),
    ):
        deviation = np.abs(found / limit - 1.0)
        assert deviation[1] < 1e-3
        assert deviation[1] < 0.2 * deviation[0] + 1e-5  # it vanishes like 1 / alpha


def test_static_masks_at_large_alpha():
    alphas, r = [1e5, 1e6], best_static_mask_fraction(3, 1.5, [1e5, 1e6])
    curve = learning_curve(3, 1.5, alphas, 1e-3, mask_fraction=r, mask_mode="static")
    excess = curve.test_loss - curve.bayes_loss
    assert_allclose(static_mask_excess(3, 1.5, alphas, r), 3.0 / (4.0 * np.array(alphas) * r))
    assert_allclose(r[0] / r[1], 10.0 ** (1.0 / 3.0))
    deviation = np.abs(excess / static_mask_excess(3, 1.5, alphas, r) - 1.0)
    assert deviation[0] < 0.2
    assert deviation[1] < 0.6 * deviation[0]  # corrections of order r
    for factor in (0.7, 1.4):
        other = learning_curve(
            3, 1.5, alphas, 1e-3, mask_fraction=factor * r, mask_mode="static"
        ).test_loss
        assert (other > curve.test_loss).all()


def test_without_a_penalty_the_solution_depends_on_the_strength_of_the_fields_only():
    """V Vhat = 1, m = mhat V rho and q = m^2 / rho + V^2 qhat (THEORY 7b)."""
    n_states, scale, alpha = 3, 1.5, 4.0
    curve = learning_curve(n_states, scale, [alpha], 0.0)
    m, q, V = curve.m[0], curve.q[0], curve.V[0]
    rho = scale**2 / n_states
    # E over fields of the equations, on plain nodes: u + V softmax(u) = omega + V e_y.
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    basis = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])
    z = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2) @ basis
    weight = np.outer(weights, weights).ravel() / weights.sum() ** 2
    omega = math.sqrt(q) * z + m * np.array([2.0, -1.0, -1.0]) / 3.0
    omega[:, 0] += V
    u = omega.copy()
    for _ in range(400):
        p = np.exp(u - u.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        u += 0.5 * (omega - V * p - u)
    miss = np.array([1.0, 0.0, 0.0]) - p
    d = p / (1.0 + V * p)
    response = weight @ (d.sum(axis=1) - (d**2).sum(axis=1) / d.sum(axis=1))
    signal, noise = alpha * weight @ miss[:, 0], alpha * weight @ (miss**2).sum(axis=1)
    assert_allclose(alpha * response * V, 1.0, rtol=1e-7)
    assert_allclose(m, signal * V * rho, rtol=1e-7)
    assert_allclose(q, m**2 / rho + V**2 * noise, rtol=1e-7)
    assert_allclose(learning_curve(n_states, scale, [alpha], 1e-6).q, q, rtol=1e-4)


KNOWN_THRESHOLDS = {2: 2.0, 3: 1.2, 4: 0.919, 5: 0.772, 10: 0.502, 21: 0.355}


@pytest.mark.parametrize("n_states", KNOWN_THRESHOLDS)
def test_existence_threshold_without_signal(n_states):
    known = KNOWN_THRESHOLDS[n_states]
    found = existence_threshold(n_states, 0.0)
    assert_allclose(found, known, atol=6e-4)
    assert existence_threshold(n_states, 0.0, 3.0) == 9.0 * found


def test_existence_threshold_with_signal():
    for (n_states, scale), known in {(2, 1.0): 2.341, (3, 1.5): 1.485, (4, 2.0): 1.198}.items():
        assert_allclose(existence_threshold(n_states, scale), known, atol=6e-4)


@pytest.mark.parametrize(("n_states", "signal"), [(2, 0.3), (5, -0.4), (12, 1.0)])
def test_distance_to_the_cone_equals_pooling(n_states, signal):
    u = np.random.default_rng(0).normal(size=(100_000, n_states))
    u[:, 0] += signal
    largest = -np.sort(-u[:, 1:], axis=1)
    pooled = (u[:, :1] + np.cumsum(largest, axis=1)) / np.arange(2, n_states + 1)
    level = np.maximum(u[:, 0], pooled.max(axis=1))
    excess = np.maximum(u[:, 1:] - level[:, None], 0.0)
    squared = (level - u[:, 0]) ** 2 + (excess**2).sum(axis=1)
    error = squared.std() / math.sqrt(len(squared))
    assert abs(mean_squared_distance(n_states, signal) - squared.mean()) < 4.0 * error


def is_separable(inputs, colors, n_states):
    """Whether some w gives every sequence's color the largest field (a linear program)."""
    n_sequences, length, _ = inputs.shape
    rows = [
        inputs[mu, :, a] - inputs[mu, :, colors[mu]]
        for mu in range(n_sequences)
        for a in range(n_states)
        if a != colors[mu]
    ]
    # Maximise the least margin within a box.
    rows = np.hstack([np.array(rows), np.ones((len(rows), 1))])
    bounds = [(-1.0, 1.0)] * length + [(None, None)]
    found = linprog(np.eye(length + 1)[-1] * -1.0, rows, np.zeros(len(rows)), bounds=bounds)
    return found.x[-1] > 1e-9


def test_gaussian_data_separate_below_the_threshold_and_not_above():
    """C = 3 without signal: alpha_c = 6 / 5; a window of 1 / sqrt(L) around it is left out."""
    n_states, length, threshold = 3, 60, existence_threshold(3, 0.0)
    generator = np.random.default_rng(1)
    separated = []
    for alpha in (0.7 * threshold, 1.3 * threshold):
        n_sequences = round(alpha * length)
        draws = []
        for _ in range(4):
            inputs = generator.normal(size=(n_sequences, length, n_states))
            colors = generator.integers(n_states, size=n_sequences)
            draws.append(is_separable(inputs, colors, n_states))
        separated.append(sum(draws))
    assert separated == [4, 0]


def test_no_fit_without_a_penalty_below_the_threshold():
    threshold = existence_threshold(3, 1.5)
    with pytest.warns(ConvergenceWarning, match="without a penalty"):
        curve = learning_curve(3, 1.5, [0.99 * threshold, 2.0 * threshold], 0.0)
    assert curve.converged.tolist() == [False, True]
    assert np.isnan(curve.test_loss[0])


def test_fresh_masks_are_a_penalty():
    curve = learning_curve(3, 1.5, [0.5], 0.0, mask_fraction=0.3)
    assert curve.converged.all()
    assert_allclose(
        curve.test_loss, learning_curve(3, 1.5, [0.5], 1e-7, mask_fraction=0.3).test_loss, rtol=1e-4
    )


def test_glass_scales():
    known = {5: 4.955, 6: 5.83, 10: 8.84, 21: 15.16}
    for n_states, static in known.items():
        scales = glass_scales(n_states)
        assert_allclose(scales.static, static, atol=6e-3)
        assert scales.dynamical < scales.static < n_states
    assert glass_scales(4).static == 4.0


def test_bayes_error_and_wrong_input():
    rho = 0.75
    h = 1e-5
    slope = (mean_loss(3, rho + h, rho) - mean_loss(3, rho - h, rho)) / (2.0 * h)
    assert_allclose(bayes_error(3, 1.5), -slope, rtol=1e-7)
    for call in (
        lambda: bayes_error(3, 3.0),
        lambda: bayes_error(3, 0.0),
        lambda: large_alpha_excess([0.0]),
        lambda: large_alpha_excess([1.0], n_heads=0),
        lambda: static_mask_excess(3, 1.5, [1.0], -0.1),
        lambda: existence_threshold(1, 1.0),
    ):
        with pytest.raises(InputError):
            call()
