"""Slopes, coexistence and targets of learning curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.theory.branches import solution_branches
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.derivatives import loss_slopes
from pottsattn.theory.equations.student import ensemble_student
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.target import alpha_for_loss
from pottsattn.theory.tracing import check_task, solvers_of

LOSSES = ("test_loss", "train_loss", "coupling_error")
FRESH = {"mask_fraction": 0.3}
STATIC = {"mask_fraction": 0.3, "mask_mode": "static"}


@pytest.mark.parametrize(
    ("n_states", "scale", "student"),
    [
        (3, 1.5, {}),
        (3, 1.5, {"estimator": "full"}),
        (3, 1.5, FRESH),
        (3, 1.5, STATIC),
        (5, 2.5, {"n_heads": 4}),
    ],
)
def test_slopes_equal_differences_of_solved_points(n_states, scale, student):
    h = 1e-3
    alphas, ridges = 4.0 * np.exp([h, -h, 0.0, 0.0]), 0.1 * np.exp([0.0, 0.0, h, -h])
    curve = learning_curve(n_states, scale, alphas, ridges, **student)
    slopes = loss_slopes(n_states, scale, [4.0], 0.1, **student)
    assert slopes.converged.all()
    for name in LOSSES:
        values = getattr(curve, name)
        for at, parameter in ((0, "alpha"), (2, "ridge")):
            expected = (values[at] - values[at + 1]) / (2.0 * h)  # curvature: h^2, rounding 1e-9/h
            found = getattr(slopes, f"{name}_by_log_{parameter}")
            assert_allclose(found, expected, atol=2e-6, err_msg=f"{name} {parameter}")


def test_the_objective_changes_with_the_penalty_by_the_power_of_the_couplings():
    """Envelope theorem: d(train_loss + ridge |w|^2 / (2 alpha)) / d ridge = |w|^2 / (2 alpha)."""
    alpha, ridge, h = 4.0, 0.1, 1e-3
    powers = []
    for shift in (h, -h):
        task = check_task(3, 1.5, [alpha], "factored")
        ((_, solver),) = solvers_of(task)
        point = solver.solve(alpha, ridge * math.exp(shift))
        student = ensemble_student(3, 1.5, alpha, point.ridge, "factored")
        equations = solver.equations(student.alpha, student.ridge)
        equations.rule = solver.rules[-1]
        equations(point.overlaps)
        powers.append(student.power(equations.conjugates))
    power_by_log_ridge = (powers[0] - powers[1]) / (2.0 * h)
    slopes = loss_slopes(3, 1.5, [alpha], ridge)
    expected = -ridge / (2.0 * alpha) * power_by_log_ridge
    assert_allclose(slopes.train_loss_by_log_ridge, expected, rtol=1e-5)


def test_where_there_is_no_solution_to_follow_it_is_said():
    for function in (loss_slopes, solution_branches):
        with pytest.raises(InputError, match="spin-glass transition"):
            function(3, 3.0, [8.0], 0.1)
    with pytest.raises(InputError, match="ridge must be above 0"):
        solution_branches(3, 1.5, [8.0], 0.0)
    assert loss_slopes(3, 1.5, [8.0], 0.0).test_loss_by_log_ridge == 0.0


def test_the_slope_in_the_ridge_vanishes_at_the_best_ridge():
    best = optimal_ridge(3, 1.5, [4.0])
    slopes = loss_slopes(3, 1.5, [4.0], best.ridge)
    assert abs(slopes.test_loss_by_log_ridge[0]) < 1e-5
    assert slopes.test_loss_by_log_alpha[0] < -1e-2


@pytest.mark.parametrize("student", [{}, {"estimator": "full"}, FRESH, STATIC])
def test_one_solution_from_all_sides(student):
    branches = solution_branches(3, 1.5, [0.3, 1.4, 10.0], 1e-2, **student)
    assert branches.n_solutions.tolist() == [1, 1, 1]
    assert np.isfinite(branches.overlaps).all()


def test_two_planted_solutions_are_counted(monkeypatch):
    from pottsattn.theory.equations.solver import StudentSolver

    solve = StudentSolver.solve

    def with_memory(self, alpha, ridge, **options):
        remembered = bool(self._history)
        point = solve(self, alpha, ridge, **options)
        if remembered and alpha > 1.0:
            object.__setattr__(point, "overlaps", 1.01 * point.overlaps)
        return point

    monkeypatch.setattr(StudentSolver, "solve", with_memory)
    branches = solution_branches(3, 1.5, [0.5, 2.0], 0.1)
    assert branches.n_solutions.tolist() == [1, 2]


def test_alpha_for_loss_inverts_the_curve():
    for ridge in (0.1, None):
        alpha = alpha_for_loss(3, 1.5, 0.95, ridge)
        if ridge is None:
            curve = optimal_ridge(3, 1.5, [alpha, 2.0 * alpha])
        else:
            curve = learning_curve(3, 1.5, [alpha, 2.0 * alpha], ridge)
        assert_allclose(curve.test_loss[0], 0.95, atol=1e-6)
        assert curve.test_loss[1] < 0.95
    assert alpha_for_loss(3, 1.5, 0.95) < alpha_for_loss(3, 1.5, 0.95, 0.1)
    four_times = alpha_for_loss(3, 1.5, 0.95, estimator="full")
    assert_allclose(four_times, 4.0 * alpha_for_loss(3, 1.5, 0.95), rtol=1e-3)


def test_targets_out_of_reach_and_trivial_ones():
    assert math.isnan(alpha_for_loss(3, 1.5, 0.87))  # the Bayes loss is 0.8772
    with pytest.raises(InputError, match="not solved at alpha"):  # at the peak, near 2.3
        alpha_for_loss(2, 1.0, 2.5, 1e-4)
    assert alpha_for_loss(3, 1.5, 2.0, 0.5) == 0.01
    with pytest.raises(InputError):
        alpha_for_loss(3, 1.5, -1.0)
