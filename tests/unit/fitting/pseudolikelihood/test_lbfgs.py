"""The descent itself: metrics, bounds, and going on from a state."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn.fitting.pseudolikelihood.coordinates import heads_metric
from pottsattn.fitting.pseudolikelihood.lbfgs import BoundedDescent, Descent, descend

CURVATURE = np.geomspace(1e-3, 1e3, 30)


@pytest.fixture
def quadratic(rng):
    """A badly scaled bowl, with its minimum somewhere."""
    center = rng.normal(size=30)
    return lambda x: (0.5 * float(CURVATURE @ (x - center) ** 2), CURVATURE * (x - center))


def inverse_curvature(vector):
    return vector / CURVATURE


def test_the_right_metric_is_worth_the_steps(quadratic):
    def near(descent):
        return descent.decrement < 1e-12

    plain = descend(quadratic, np.zeros(30), near, 10_000)
    measured = descend(quadratic, np.zeros(30), near, 10_000, inverse_curvature)
    assert plain.is_done
    assert measured.is_done
    assert measured.n_steps <= 3 < plain.n_steps


def test_bounded_coordinates_stop_at_zero(quadratic, rng):
    """The minimum of a separable bowl over x >= 0 is its center, cut at zero."""
    _, gradient = quadratic(np.zeros(30))
    center = -gradient / CURVATURE
    bounded = rng.integers(2, size=30).astype(bool)
    descent = BoundedDescent(quadratic, np.ones(30), inverse_curvature, bounded)
    for _ in range(60):
        descent.step()
        assert (descent.x[bounded] >= 0.0).all()
    assert_allclose(descent.x, np.where(bounded, np.maximum(center, 0.0), center), atol=1e-6)
    assert (bounded & (center < 0.0)).any()


def test_coupled_coordinates_reach_the_bound_too(rng):
    """Against the conditions of Karush, Kuhn and Tucker."""
    root = rng.normal(size=(40, 40))
    hessian, slope = root @ root.T / 40 + 0.1 * np.eye(40), rng.normal(size=40)

    def bowl(x):
        return float(0.5 * x @ hessian @ x + slope @ x), hessian @ x + slope

    bounded = np.ones(40, bool)
    descent = BoundedDescent(bowl, np.ones(40), None, bounded)
    while descent.n_steps < 300 and descent.step() and not descent.is_idle:
        pass
    at_bound = descent.x == 0.0
    assert at_bound.any()
    assert_allclose(descent.gradient[~at_bound], 0.0, atol=1e-6)
    assert (descent.gradient[at_bound] >= -1e-6).all()


def test_a_state_goes_on_to_the_same_bits(quadratic):
    whole = Descent(quadratic, np.zeros(30))
    for _ in range(5):
        whole.step()
    state = whole.state()
    rest = Descent(quadratic, state["x"], known=(state["value"], state["gradient"]))
    rest.restore(state)
    for descent in (whole, rest):
        for _ in range(5):
            descent.step()
    assert np.array_equal(whole.x, rest.x)
    assert whole.n_evaluations == rest.n_evaluations


def test_the_metric_of_heads_is_that_of_their_product(rng):
    """Steps in it change the product in the same way, whichever factors it is written in."""
    left, right = rng.normal(size=(3, 50)), rng.normal(size=(3, 12))
    gradient = rng.normal(size=(50, 12))
    mixing = np.diag([1.0, 1.5, 2.0]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]

    def change(left, right):
        of_left, of_right = heads_metric(left, right)
        return (of_left @ (right @ gradient.T)).T @ right + left.T @ (of_right @ (left @ gradient))

    assert_allclose(change(mixing @ left, np.linalg.inv(mixing).T @ right), change(left, right))


def test_heads_of_nothing_have_the_plain_metric(rng):
    of_left, of_right = heads_metric(np.zeros((2, 9)), rng.normal(size=(2, 4)))
    assert np.isfinite(of_left).all()
    assert np.array_equal(of_right, np.eye(2))
