"""Masked learning curves: reference values, prox and derivatives of the smoothed loss, limits."""

from __future__ import annotations

import itertools

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax

from pottsattn import ConvergenceWarning, InputError
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.equations.gaussian import GaussianRule, gauss_hermite_nodes
from pottsattn.theory.equations.smoothed import SmoothedRule, smoothed_softmax
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.equations.student import ensemble_student
from pottsattn.theory.masks import FreshMaskSolver, mask_solver
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.result import LearningCurve

OBSERVABLES = ("m", "q", "V", "test_loss", "train_loss", "coupling_error", "accuracy")


def zero_sum_product(n_states, n_points):
    """Return nodes of Normal(0, P), shape (n_nodes, n_states), and their weights."""
    points, weights = np.polynomial.hermite_e.hermegauss(n_points)
    spanning = np.column_stack([np.ones(n_states), np.eye(n_states)[:, 1:]])
    basis = np.linalg.qr(spanning)[0][:, 1:]
    nodes = np.array(list(itertools.product(points, repeat=n_states - 1))) @ basis.T
    products = np.array(list(itertools.product(weights, repeat=n_states - 1))).prod(axis=1)
    return nodes, products / products.sum()


def direct_averages(n_states, n_points, mask_fraction, m, q, V, variance):
    """The five averages by products of Gauss-Hermite nodes over z and over zeta, in plain NumPy."""
    context = 1.0 - mask_fraction
    noise, noise_weights = zero_sum_product(n_states, n_points)
    target = np.eye(n_states)[0]
    found = np.zeros(5)
    for z, weight in zip(*zero_sum_product(n_states, n_points), strict=True):
        omega = m * (target - 1.0 / n_states) + np.sqrt(q) * z
        u = omega.copy()
        for _ in range(30):
            v = context * u + np.sqrt(variance) * noise
            p = softmax(v, axis=1)
            mean = noise_weights @ p
            curvature = context**2 * (np.diag(mean) - (p.T * noise_weights) @ p)
            gradient = context * (mean - target)
            u -= np.linalg.solve(np.eye(n_states) + V * curvature, u - omega + V * gradient)
        response = np.trace(curvature @ np.linalg.inv(np.eye(n_states) + V * curvature))
        loss = noise_weights @ (logsumexp(v, axis=1) - v[:, 0])
        roughness = np.trace(curvature) / context**2
        found += weight * np.array([gradient @ gradient, response, -gradient[0], loss, roughness])
    return found


# Reference values


@pytest.mark.parametrize(
    ("alpha", "fraction", "test_loss", "train_loss", "coupling_error"),
    [
        (16.0, 0.3, 0.9924, 0.8332, 0.687),
        (16.0, 0.5, 0.9781, 0.9128, 0.583),
        (16.0, 0.9, 1.0734, 1.0369, 1.044),
        (4.0, 0.05, 1.1023, None, None),
        (4.0, 0.15, 1.1079, None, None),
        (4.0, 0.5, 1.0961, None, None),
    ],
)
def test_static_reference_values(alpha, fraction, test_loss, train_loss, coupling_error):
    curve = learning_curve(3, 1.5, [alpha], 0.1, mask_fraction=fraction, mask_mode="static")
    assert curve.converged.all()
    assert_allclose(curve.test_loss, test_loss, atol=5.1e-5)
    if train_loss is not None:
        assert_allclose(curve.train_loss, train_loss, atol=5.1e-5)
        assert_allclose(curve.coupling_error, coupling_error, atol=5.1e-4)


def test_fresh_reference_values():
    fractions = [0.15, 0.4, 0.7]
    curve = learning_curve(2, 1.0, [4.0] * 3, 0.1, mask_fraction=fractions)
    assert curve.converged.all()
    assert_array_equal(curve.mask_fraction, fractions)
    assert_allclose(curve.test_loss, [0.6809, 0.6613, 0.6523], atol=5.1e-5)
    assert_allclose(curve.coupling_error, [1.165, 0.841, 0.672], atol=5.1e-4)
    assert_allclose(learning_curve(2, 1.0, [4.0], 0.1).test_loss, 0.7087, atol=5.1e-5)


# The smoothed loss


@pytest.mark.parametrize(
    ("n_states", "sigma", "n_points"), [(2, 0.0, 1), (2, 0.5, 60), (3, 2.0, 150), (4, 0.5, 30)]
)
def test_smoothed_softmax_equals_quadrature_over_the_noise(n_states, sigma, n_points):
    fields = 2.0 * np.random.default_rng(n_states).normal(size=n_states)
    nodes, weights = zero_sum_product(n_states, n_points)
    p = softmax(fields + sigma * nodes, axis=1)
    found = smoothed_softmax(fields, sigma**2)
    log_sums = logsumexp(fields + sigma * nodes, axis=1)
    assert_allclose(found.log_sum, weights @ log_sums, atol=1e-10)
    assert_allclose(found.probabilities, weights @ p, atol=3e-10)
    curvature = np.diag(weights @ p) - (p.T * weights) @ p
    assert_allclose(found.curvature, curvature, atol=3e-10)


def test_smoothed_softmax_of_many_colors_and_distant_fields():
    fields = np.concatenate([[0.0, -40.0, -400.0], np.linspace(-3.0, 3.0, 253)])
    for sigma in (0.0, 0.4, 8.0):
        found = smoothed_softmax(fields, sigma**2)
        assert_allclose(found.probabilities.sum(), 1.0, rtol=1e-8)
        assert_allclose(found.curvature.sum(axis=1), 0.0, atol=1e-15)
    assert_allclose(
        smoothed_softmax(fields, 0.0).probabilities, softmax(fields), rtol=1e-8, atol=1e-100
    )


@pytest.mark.parametrize("sigma", [0.3, 1.9, 2.1, 7.9, 8.0, 30.0])
def test_smoothed_logistic_equals_a_fine_trapezoid_at_any_noise(sigma):
    t = np.linspace(-12.0, 12.0, 40001)
    weights = np.exp(-0.5 * t * t)
    weights /= weights.sum()
    gap = 1.3 + np.sqrt(2.0) * sigma * t  # the difference of two colors
    found = smoothed_softmax(np.array([1.3, 0.0]), sigma**2)
    assert_allclose(found.probabilities[1], weights @ (1.0 / (1.0 + np.exp(gap))), rtol=1e-10)
    assert_allclose(found.log_sum, weights @ np.logaddexp(0.0, gap), rtol=1e-10)
    slope = weights @ (0.5 / (1.0 + np.cosh(gap)))
    assert_allclose(found.curvature[0, 0], slope, rtol=1e-9)


@pytest.mark.parametrize("n_states", [2, 3, 5])
def test_derivatives_of_the_smoothed_loss(n_states):
    fields, variance, step = np.random.default_rng(1).normal(size=n_states), 0.6, 1e-4
    found = smoothed_softmax(fields, variance)
    for a in range(n_states):
        shift = step * np.eye(n_states)[a]
        above, below = (smoothed_softmax(fields + s * shift, variance) for s in (1, -1))
        slope = (above.log_sum - below.log_sum) / (2 * step)
        assert_allclose(slope, found.probabilities[a], atol=1e-7)
        bend = (above.probabilities - below.probabilities) / (2 * step)
        assert_allclose(bend, found.curvature[a], atol=1e-7)
    # d loss_r / d sigma^2 = tr K / 2: what makes the masks a ridge.
    above, below = (smoothed_softmax(fields, variance + s * step).log_sum for s in (1, -1))
    assert_allclose((above - below) / step, np.trace(found.curvature), atol=1e-6)


@pytest.mark.parametrize("n_states", [2, 3, 5, 21])
def test_gradient_vanishes_at_the_prox_cold_warm_and_far_from_the_last_solution(n_states):
    nodes = gauss_hermite_nodes(n_states, 3)
    rule = SmoothedRule(nodes, 0.3)
    for m, q, V, variance in [
        (0.5, 1.0, 1.0, 0.2),
        (0.51, 1.1, 0.9, 0.21),
        (5.0, 400.0, 1e4, 9.0),
        (0.0, 1e-3, 1e-6, 0.0),
    ]:
        rule(m, q, V, variance)
        for node in range(0, len(nodes.weights), 1 + len(nodes.weights) // 20):
            counts = nodes.counts[node].astype(int)
            u = np.repeat(rule.fitted_fields[node], counts)
            omega = np.sqrt(q) * np.repeat(nodes.fields[node], counts) - m / n_states
            omega[0] += m
            excess = smoothed_softmax(0.7 * u, variance).probabilities
            excess[0] -= 1.0
            # u carries rounding of order V * eps, and is solved to the size of a Newton step.
            assert_allclose(u - omega, -V * 0.7 * excess, rtol=0, atol=3e-9 + 1e-12 * V)


@pytest.mark.parametrize(("n_states", "n_points", "rtol"), [(2, 24, 1e-9), (3, 11, 1e-6)])
def test_averages_equal_plain_numpy(n_states, n_points, rtol):
    order_parameters = (0.6, 0.8, 1.3, 0.25)
    rule = SmoothedRule(gauss_hermite_nodes(n_states, 24), 0.4)
    site, roughness = rule(*order_parameters)
    expected = direct_averages(n_states, n_points, 0.4, *order_parameters)
    assert_allclose([*site, roughness], expected, rtol=rtol)


def test_averages_of_folded_colors_equal_unfolded_linear_algebra():
    n_states, V, variance, context = 5, 1.3, 0.3, 0.6
    nodes = gauss_hermite_nodes(n_states, 3)
    rule = SmoothedRule(nodes, 1.0 - context)
    site, roughness = rule(0.7, 0.8, V, variance)
    expected = np.zeros(5)
    for node, weight in enumerate(nodes.weights):
        u = np.repeat(rule.fitted_fields[node], nodes.counts[node].astype(int))
        found = smoothed_softmax(context * u, variance)
        curvature = context**2 * found.curvature
        response = np.trace(curvature @ np.linalg.inv(np.eye(n_states) + V * curvature))
        gradient = context * (found.probabilities - np.eye(n_states)[0])
        loss = found.log_sum - context * u[0]
        trace = np.trace(found.curvature)
        expected += weight * np.array([gradient @ gradient, response, -gradient[0], loss, trace])
    assert_allclose([*site, roughness], expected, rtol=1e-8)


@pytest.mark.parametrize("n_states", [2, 4, 21])
def test_without_masks_the_averages_are_those_of_the_softmax(n_states):
    nodes = gauss_hermite_nodes(n_states, 4)
    for order_parameters in [(0.5, 1.0, 0.7), (0.5, 80.0, 1e3), (1e-5, 1e-8, 1e-5)]:
        site, _ = SmoothedRule(nodes, 0.0)(*order_parameters, 0.0)
        assert_allclose(site, GaussianRule(nodes)(*order_parameters), rtol=1e-8, atol=1e-9)


# Limits and laws


@pytest.mark.parametrize("estimator", ["factored", "full"])
def test_fresh_masks_without_masks_are_the_pseudolikelihood(estimator):
    student = ensemble_student(3, 1.5, 1.0, 1.0, estimator)
    plain = StudentSolver(student).solve(4.0, 0.1)
    fresh = FreshMaskSolver(student, 0.0).solve(4.0, 0.1)
    assert fresh.ridge == 0.1
    assert_allclose(fresh.overlaps[:3], plain.overlaps, rtol=1e-6)
    assert_allclose(fresh.train_loss, plain.train_loss, rtol=1e-7)
    assert_allclose(fresh.coupling_error, plain.coupling_error, rtol=1e-6)


def test_fresh_masks_are_continuous_and_smooth_at_zero():
    plain = learning_curve(3, 1.5, [4.0], 0.1)
    close = learning_curve(3, 1.5, [4.0] * 2, 0.1, mask_fraction=[1e-3, 2e-3])
    for name in OBSERVABLES:
        first, second = getattr(close, name) - getattr(plain, name)
        size = abs(getattr(plain, name)[0])
        assert abs(first) < 1e-2 * size, name
        assert abs(second - 2.0 * first) < 1e-4 * size, name


def test_static_masks_that_hide_little_context_lose_only_sequences():
    fraction = 1e-7
    masked = learning_curve(
        3, 1.5, [4.0 / fraction], 0.1, mask_fraction=fraction, mask_mode="static"
    )
    plain = learning_curve(3, 1.5, [4.0], 0.1)
    for name in OBSERVABLES:
        assert_allclose(getattr(masked, name), getattr(plain, name), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["fresh", "static"])
def test_full_student_needs_the_square_of_c_minus_one_more_data(mode):
    masks = {"mask_fraction": 0.3, "mask_mode": mode}
    full = learning_curve(4, 2.0, [18.0], 0.9, estimator="full", **masks)
    factored = learning_curve(4, 2.0, [2.0], 0.3, **masks)
    for name in OBSERVABLES:
        assert_allclose(getattr(full, name), getattr(factored, name), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("n_states", "scale", "n_points"), [(2, 1.0, 200), (3, 1.5, 60), (4, 2.0, 24), (10, 3.0, 5)]
)
def test_fresh_curves_do_not_depend_on_the_nodes(n_states, scale, n_points):
    curve = learning_curve(n_states, scale, [2.0], 0.1, mask_fraction=0.3)
    assert curve.converged.all()
    solver = FreshMaskSolver(ensemble_student(n_states, scale, 1.0, 1.0, "factored"), 0.3)
    solver.rules = [SmoothedRule(gauss_hermite_nodes(n_states, n_points), 0.3)]
    other = solver.solve(2.0, 0.1)
    assert_allclose(curve.q, other.test_overlaps[1], rtol=1e-6)
    assert_allclose(curve.train_loss, other.train_loss, rtol=1e-7)


def test_masked_points_do_not_depend_on_their_neighbors():
    alphas, fractions = [8.0, 0.5, 2.0, 2.0], [0.3, 0.3, 0.6, 0.3]
    together = learning_curve(2, 1.0, alphas, 0.2, mask_fraction=fractions)
    for i, (alpha, fraction) in enumerate(zip(alphas, fractions, strict=True)):
        alone = learning_curve(2, 1.0, [alpha], 0.2, mask_fraction=fraction)
        assert_allclose(together.test_loss[i], alone.test_loss[0], rtol=1e-7)


def test_no_couplings_leave_only_noise_to_learn():
    for mode in ("fresh", "static"):
        curve = learning_curve(3, 0.0, [1.0], 0.5, mask_fraction=0.3, mask_mode=mode)
        assert curve.converged.all()
        assert curve.test_loss[0] > np.log(3)


@pytest.mark.parametrize("mode", ["fresh", "static"])
def test_optimal_ridge_with_masks_is_a_minimum(mode):
    masks = {"mask_fraction": 0.3, "mask_mode": mode}
    best = optimal_ridge(2, 1.0, [4.0], **masks)
    assert best.converged.all()
    assert best.mask_mode == mode
    for factor in (0.9, 1.1):
        beside = learning_curve(2, 1.0, best.alpha, factor * best.ridge, **masks)
        assert (beside.test_loss > best.test_loss).all()


def test_masking_is_no_substitute_for_a_good_ridge_but_helps_a_bad_one():
    plain, masked = ({}, {"mask_fraction": 0.15})
    at_small_ridge = [learning_curve(2, 1.0, [4.0], 0.1, **o).test_loss for o in (plain, masked)]
    at_best_ridge = [optimal_ridge(2, 1.0, [4.0], **o).test_loss for o in (plain, masked)]
    assert at_small_ridge[0] - at_small_ridge[1] > 0.02
    assert 0.0 < at_best_ridge[0] - at_best_ridge[1] < 0.002


# Files, words and mistakes


@pytest.mark.parametrize("mode", ["fresh", "static"])
def test_files_keep_the_masks(mode, tmp_path):
    curve = learning_curve(2, 1.0, [1.0, 4.0], 0.1, mask_fraction=[0.2, 0.4], mask_mode=mode)
    curve.save(tmp_path / "curve.h5")
    loaded = LearningCurve.load(tmp_path / "curve.h5")
    assert loaded.mask_mode == curve.mask_mode == mode
    assert_array_equal(loaded.mask_fraction, [0.2, 0.4])
    assert loaded.to_dict() == curve.to_dict()
    assert curve.to_dict()["mask_mode"] == mode
    assert [point["mask_fraction"] for point in curve.to_dict()["points"]] == [0.2, 0.4]
    assert f"{mode} masks" in repr(curve)


def test_files_without_a_mask_mode_are_read(tmp_path):
    curve = learning_curve(2, 1.0, [1.0], 0.1)
    assert curve.mask_mode is None
    curve.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5") as file:
        assert "mask_mode" not in file.attrs  # as files were written before there were masks
    assert LearningCurve.load(tmp_path / "old.h5").mask_mode is None


def test_an_unsolved_masked_point_is_marked():
    with pytest.warns(ConvergenceWarning, match="no paramagnetic phase"):
        curve = learning_curve(3, 3.0, [1.0], 0.1, mask_fraction=0.2)
    assert not curve.converged.any()
    assert_array_equal(curve.mask_fraction, 0.2)


def test_fields_that_run_away_are_marked():
    with pytest.warns(ConvergenceWarning):
        curve = learning_curve(2, 0.0, [0.01], 0.0, mask_fraction=0.3)
    assert not curve.converged.any()


def test_solver_without_masks_is_the_plain_one():
    student = ensemble_student(2, 1.0, 1.0, 1.0, "factored")
    solver = mask_solver(student, np.nan, None)
    assert type(solver) is StudentSolver
    assert solver.student is student


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fraction": 0.0}, "mask_fraction must be above 0 and below 1, got 0; leave it out"),
        ({"mask_fraction": 1}, "mask_fraction must be above 0 and below 1, got 1"),
        ({"mask_fraction": [0.2, -0.5]}, "below 1, got -0.5"),
        ({"mask_fraction": [0.2]}, r"mask_fraction must have shape \(2\), got \(1,\)"),
        ({"mask_fraction": np.nan}, "mask_fraction must be finite"),
        ({"mask_fraction": 0.2, "mask_mode": "fersh"}, "fresh, static.*did you mean fresh"),
        ({"mask_mode": "none"}, "mask_mode must be one of fresh, static"),
    ],
)
def test_wrong_masks(options, message):
    with pytest.raises(InputError, match=message):
        learning_curve(3, 1.0, [1.0, 2.0], 0.1, **options)
    with pytest.raises(InputError, match=message):
        optimal_ridge(3, 1.0, [1.0, 2.0], **options)
