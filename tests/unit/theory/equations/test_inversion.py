"""Averages by inversion against products of Gauss-Hermite rules, and the errors that are told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import ConvergenceWarning
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.equations.gaussian import GaussianRule, gauss_hermite_nodes
from pottsattn.theory.equations.inversion import InversionRule
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.equations.student import ensemble_student
from pottsattn.theory.readout import mean_loss


@pytest.mark.parametrize(
    ("n_states", "m", "q", "V", "n_points"),
    [
        (4, 0.5, 0.8, 1.0, 60),
        (5, 0.5, 0.8, 1.0, 40),
        (5, 0.1, 0.1, 0.1, 20),
        (5, 0.05, 0.5, 10.0, 40),
        (21, 0.3, 0.01, 5.0, 4),
    ],
)
def test_inversion_equals_a_fine_product_rule(n_states, m, q, V, n_points):
    rule = InversionRule(n_states)
    found = np.array(rule(m, q, V))
    expected = np.array(GaussianRule(gauss_hermite_nodes(n_states, n_points))(m, q, V))
    assert rule.norm_error < 1e-8
    assert_allclose(found, expected, rtol=2e-8)


@pytest.mark.parametrize(
    ("n_states", "m", "q", "V"),
    [(21, 1.0, 9.0, 0.5), (64, 0.5, 0.5, 2.0), (8, 5.0, 9.0, 3.0), (5, 0.3, 40.0, 60.0)],
)
def test_the_norm_is_one_where_product_rules_are_too_coarse(n_states, m, q, V):
    rule = InversionRule(n_states)
    averages = rule(m, q, V)
    assert rule.norm_error < 1e-8
    assert 0.0 < averages.error < 1.0
    assert averages.squared_error > averages.error**2


def test_the_norm_tells_a_window_that_is_too_narrow(monkeypatch):
    monkeypatch.setattr("pottsattn.theory.equations.inversion.SHARPEST", 0.3)
    rule = InversionRule(21)
    rule(0.3, 0.01, 5.0)
    assert rule.norm_error > 1e-4


def test_an_iteration_that_strays_to_wide_fields_ends():
    assert math.isnan(InversionRule(21)(0.0, 500.0, 5e6).error)
    with pytest.warns(ConvergenceWarning, match="larger ridge"):
        assert not learning_curve(21, 0.0, [0.01], 1e-8).converged.any()


@pytest.mark.parametrize(
    ("n_states", "scale", "n_coarse"), [(3, 1.5, 6), (4, 2.0, 8), (21, 3.0, 3)]
)
def test_the_error_told_of_the_test_loss_covers_the_error(n_states, scale, n_coarse):
    exact = learning_curve(n_states, scale, [2.0], 0.1)
    solver = StudentSolver(ensemble_student(n_states, scale, 1.0, 1.0, "factored"))
    coarse, finer = (gauss_hermite_nodes(n_states, n) for n in (n_coarse - 1, n_coarse))
    solver.rules = [GaussianRule(coarse), GaussianRule(finer)]
    point = solver.solve(2.0, 0.1)
    error = abs(mean_loss(n_states, *point.test_overlaps) - exact.test_loss[0])
    assert 1e-9 < error < point.loss_error
    assert exact.loss_error[0] < 2e-8 < point.loss_error
