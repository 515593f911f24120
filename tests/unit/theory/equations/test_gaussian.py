"""Nodes, prox and one-dimensional integrals of the theory, each against an independent route."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.special import logsumexp, ndtr, softmax

from pottsattn.theory.equations.gaussian import (
    GaussianRule,
    gauss_hermite_nodes,
    points_per_direction,
)
from pottsattn.theory.readout import mean_accuracy, mean_loss


def expand(nodes, node):
    """Return the C fields of one node, color y first."""
    return np.repeat(nodes.fields[node], nodes.counts[node].astype(int))


@pytest.mark.parametrize("n_states", [2, 3, 4, 6, 21])
def test_nodes_have_the_moments_of_zero_sum_noise(n_states):
    nodes = gauss_hermite_nodes(n_states, 4)
    of_y, others, counts = nodes.fields[:, 0], nodes.fields[:, 1:], nodes.counts[:, 1:]
    variance = 1.0 - 1.0 / n_states
    assert_allclose(nodes.weights.sum(), 1.0, rtol=1e-14)
    assert_allclose(of_y + (counts * others).sum(axis=1), 0.0, atol=1e-12)
    assert_allclose(nodes.weights @ of_y, 0.0, atol=1e-10)
    assert_allclose(nodes.weights @ of_y**2, variance, rtol=1e-8)
    squares = nodes.weights @ (counts * others**2).sum(axis=1)
    assert_allclose(squares, (n_states - 1) * variance, rtol=1e-8)
    fourth = nodes.weights @ (counts * others**4).sum(axis=1)
    assert_allclose(fourth, (n_states - 1) * 3.0 * variance**2, rtol=1e-7)


def test_folded_nodes_equal_the_full_product_over_colors():
    n_states, n_points, m, q, V = 4, 5, 0.6, 0.9, 0.7
    points, weights = np.polynomial.hermite_e.hermegauss(n_points)
    shift = (1.0 / math.sqrt(n_states) - 1.0) / (n_states - 1)
    error = 0.0
    for chosen in itertools.product(range(n_points), repeat=n_states - 1):
        others = points[list(chosen)] + shift * points[list(chosen)].sum()
        fields = math.sqrt(q) * np.array([-others.sum(), *others])
        fields[0] += m + V
        u = fields.copy()
        for _ in range(200):
            u += 0.5 * (fields - V * softmax(u) - u)
        error += math.prod(weights[i] / weights.sum() for i in chosen) * (1.0 - softmax(u)[0])
    rule = GaussianRule(gauss_hermite_nodes(n_states, n_points))
    assert_allclose(rule(m, q, V).error, error, rtol=1e-10)


@pytest.mark.parametrize("n_states", [2, 3, 5, 21])
def test_prox_solves_its_equation_cold_warm_and_far_from_the_last_solution(n_states):
    nodes = gauss_hermite_nodes(n_states, 3)
    rule = GaussianRule(nodes)
    for m, q, V in [(0.5, 1.0, 1.0), (0.51, 1.1, 0.9), (5.0, 400.0, 1e4), (0.0, 1e-3, 1e-6)]:
        averages = rule(m, q, V)
        p = rule.probabilities(V)
        target = math.sqrt(q) * nodes.fields
        target[:, 0] += m
        u = target - V * p
        u[:, 0] += V
        log_norm = logsumexp(u, b=nodes.counts, axis=1, keepdims=True)
        used = nodes.counts > 0
        # u carries rounding of order V * eps, which is the accuracy asked of the solution.
        assert_allclose(p[used], np.exp(u - log_norm)[used], rtol=1e-9 + 1e-14 * V, atol=1e-15)
        assert_allclose(
            averages.train_loss, nodes.weights @ (log_norm[:, 0] - u[:, 0]), rtol=1e-9, atol=1e-12
        )


def test_two_colors_equal_a_bracketed_scalar_root():
    m, q, V = 0.8, 2.0, 3.0
    nodes = gauss_hermite_nodes(2, 16)
    rule = GaussianRule(nodes)
    rule(m, q, V)
    gaps = m + math.sqrt(q) * (nodes.fields[:, 0] - nodes.fields[:, 1])
    for gap, p in zip(gaps, rule.probabilities(V)[:, 0], strict=True):
        root = brentq(lambda d, g=gap: d - g - 2.0 * V / (1.0 + math.exp(d)), -50, 50, xtol=1e-13)
        assert_allclose(p, 1.0 / (1.0 + math.exp(-root)), rtol=1e-11)


def test_averages_equal_dense_linear_algebra_on_every_node():
    n_states, m, q, V = 5, 0.7, 0.8, 1.3
    nodes = gauss_hermite_nodes(n_states, 3)
    rule = GaussianRule(nodes)
    averages = rule(m, q, V)
    expected = np.zeros(4)
    columns = rule.probabilities(V)
    for node, weight in enumerate(nodes.weights):
        p = np.repeat(columns[node], nodes.counts[node].astype(int))
        curvature = np.diag(p) - np.outer(p, p)
        response = np.trace(curvature @ np.linalg.inv(np.eye(n_states) + V * curvature))
        miss = np.eye(n_states)[0] - p
        expected += weight * np.array([miss @ miss, response, miss[0], -math.log(p[0])])
    assert_allclose(averages, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("n_states", "n_points", "rtol"),
    [(2, 64, 1e-11), (3, 40, 1e-10), (4, 20, 2e-9), (5, 14, 2e-9), (10, 8, 1e-7)],
)
def test_loss_integral_equals_quadrature(n_states, n_points, rtol):
    m, q = 0.6, 0.7
    nodes = gauss_hermite_nodes(n_states, n_points)
    fields = math.sqrt(q) * nodes.fields
    fields[:, 0] += m
    losses = logsumexp(fields, b=nodes.counts, axis=1) - fields[:, 0]
    assert_allclose(mean_loss(n_states, m, q), nodes.weights @ losses, rtol=rtol)


def test_loss_integral_at_its_limits():
    assert_allclose(mean_loss(7, 0.0, 1e-300), math.log(7), rtol=1e-13)
    below, above = mean_loss(3, 0.5, 1.0 - 1e-12), mean_loss(3, 0.5, 1.0)  # its two branches
    assert_allclose(below, above, rtol=1e-11)
    # Wide fields: E max_a u_a - E u_y = sqrt(q) / sqrt(pi) for two colors, plus O(1 / sqrt(q)).
    assert_allclose(mean_loss(2, 0.0, 1e4), 1e2 / math.sqrt(math.pi), rtol=1e-3)


def test_accuracy():
    assert_allclose(mean_accuracy(2, 0.7, 1.3), ndtr(0.7 / math.sqrt(2.6)), rtol=1e-12)
    assert_allclose(mean_accuracy(9, 0.0, 0.4), 1.0 / 9.0, rtol=1e-12)


def test_rules_get_finer_and_keep_their_budget():
    for n_states in (2, 3, 5, 10, 21, 100, 256):
        orders = points_per_direction(n_states)
        assert list(orders) == sorted(set(orders))
        assert len(orders) >= 2
        assert math.comb(orders[-1] + n_states - 2, n_states - 1) <= 40000
