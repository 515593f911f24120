"""The accelerated fixed point: it finds solutions, and says so when it does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn.theory.equations.fixed_point import extrapolate, solve_fixed_point


def test_linear_map_of_logarithms_is_solved_in_dimension_plus_two_steps():
    # Anderson mixing is a Krylov method on a linear problem; plain iteration diverges here.
    matrix = np.array([[0.5, 0.8, 0.0], [-0.7, -1.2, 0.3], [0.1, 0.4, 0.9]])
    assert np.abs(np.linalg.eigvals(matrix)).max() > 0.9
    shift = np.array([0.1, -0.2, 0.05])
    result = solve_fixed_point(lambda x: np.exp(matrix @ np.log(x) + shift), np.ones(3))
    assert result.converged
    assert result.n_iterations <= 6
    solution = np.linalg.solve(np.eye(3) - matrix, shift)
    assert_allclose(np.log(result.values), solution, atol=1e-7)


def test_slow_map_is_stopped_on_its_residual():
    calls = []

    def update(x):
        calls.append(x.copy())
        return x**0.999 * 3.0**0.001 * (1.0 + 1e-4 * np.sin(np.log(x)))

    result = solve_fixed_point(update, np.array([40.0]), tolerance=1e-10)
    assert result.converged
    assert result.n_iterations == len(calls)
    assert abs(np.log(update(result.values) / result.values)).max() < 1e-10


def test_no_fixed_point_is_reported():
    result = solve_fixed_point(lambda x: 2.0 * x, np.array([1.0]), max_iterations=30)
    assert not result.converged
    assert result.n_iterations == 30
    assert result.residual == pytest.approx(np.log(2.0))


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_numbers_without_logarithm_end_the_iteration(value):
    result = solve_fixed_point(lambda x: np.full(2, value), np.ones(2))
    assert not result.converged
    assert result.n_iterations == 1
    assert result.residual == np.inf


def test_extrapolation_continues_a_parabola_and_is_bounded():
    coordinates = [0.0, 1.0, 1.5]
    logs = [np.array([0.1 * c**2 - 0.3 * c, 0.05 * c]) for c in coordinates]
    continued = extrapolate(coordinates, [np.exp(log) for log in logs], 2.0)
    assert_allclose(np.log(continued), [-0.2, 0.1], atol=1e-12)
    far = extrapolate(coordinates, [np.exp(log) for log in logs], 50.0)
    assert_allclose(np.log(far), logs[-1] + 1.0)
    assert_allclose(extrapolate([1.0], [np.ones(3)], 5.0), 1.0)
