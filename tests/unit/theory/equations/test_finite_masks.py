"""K mask patterns per sequence: dense linear algebra, the limits K = 1 and K to infinity, laws."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp, softmax

from pottsattn import InputError
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.equations.finite_masks import FiniteMaskRule, FiniteMaskSolver, copy_nodes
from pottsattn.theory.equations.student import ensemble_student
from pottsattn.theory.masks import mask_solver
from pottsattn.theory.readout import mean_loss
from pottsattn.theory.result import LearningCurve

OBSERVABLES = ("test_loss", "train_loss", "coupling_error")


def dense_averages(nodes, fitted, weight, m, Q_common, Q_private, V_common, V_private):
    """The six averages from all fields of a node in one vector, in plain NumPy.

    Newton's method starts at the `fitted` fields: undamped, it may diverge from elsewhere.
    """
    n_states = nodes.common.shape[1]
    target = np.eye(n_states)[0]
    found, start = np.zeros(6), 0
    for share, z, end in zip(nodes.weights, nodes.common, nodes.ends, strict=True):
        zeta, n = nodes.private[start:end], end - start
        omega = m * (target - 1.0 / n_states) + np.sqrt(Q_common) * z + np.sqrt(Q_private) * zeta
        metric = np.kron(V_common * np.ones((n, n)) + V_private * np.eye(n), np.eye(n_states))
        u = fitted[start:end].ravel().copy()
        for _ in range(5):
            p = softmax(u.reshape(n, -1), axis=1)
            curvature = np.zeros((u.size, u.size))
            for k in range(n):
                at = slice(k * n_states, (k + 1) * n_states)
                curvature[at, at] = weight * (np.diag(p[k]) - np.outer(p[k], p[k]))
            force = weight * (target - p)
            excess = u - omega.ravel() - metric @ force.ravel()
            u -= np.linalg.solve(np.eye(u.size) + metric @ curvature, excess)
        assert np.abs(excess).max() < 1e-6
        response = curvature @ np.linalg.inv(np.eye(u.size) + metric @ curvature)
        blocks = response.reshape(n, n_states, n, n_states)
        loss = logsumexp(u.reshape(n, -1), axis=1) - u.reshape(n, -1)[:, 0]
        total = force.sum(axis=0)
        row = [total @ total, (force**2).sum(), np.einsum("kala->", blocks)]
        row += [np.einsum("kaka->", blocks), force[:, 0].sum(), loss.sum()]
        found += share * np.array(row)
        start = end
    return found


@pytest.mark.parametrize("n_states", [2, 3, 5])
def test_averages_equal_dense_linear_algebra_cold_warm_and_far(n_states):
    nodes = copy_nodes(n_states, 0.4, 3, 4, 0)
    rule = FiniteMaskRule([nodes], 0.4, 3)
    for order_parameters in [
        (0.6, 0.8, 0.3, 1.3, 0.7),
        (0.61, 0.82, 0.31, 1.2, 0.72),
        (2.0, 40.0, 9.0, 60.0, 20.0),
    ]:
        found = np.array(rule(*order_parameters))
        (fitted,) = rule.fitted_fields
        expected = dense_averages(nodes, fitted, rule.copy_weight, *order_parameters)
        expected[-1] /= rule.n_copies
        assert_allclose(found, expected, rtol=1e-6)


def test_nodes_share_the_sequences_among_the_numbers_of_copies():
    nodes = copy_nodes(3, 0.3, 5, 9, 0)
    copies = np.diff(nodes.ends, prepend=0)
    assert_allclose(nodes.weights.sum(), 1.0 - 0.7**5, rtol=1e-7)
    assert_allclose(nodes.weights @ copies, 5 * 0.3, rtol=1e-7)
    assert_allclose(nodes.private.sum(axis=1), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("n_states", "scale", "estimator"), [(2, 1.0, "factored"), (3, 1.5, "full")]
)
def test_one_mask_per_sequence_is_static_masks(n_states, scale, estimator):
    student = ensemble_student(n_states, scale, 1.0, 1.0, estimator)
    found = FiniteMaskSolver(student, 0.4, 1).solve(4.0, 0.1)
    static = mask_solver(student, 0.4, "static").solve(4.0, 0.1)
    assert not found.problem
    assert found.loss_error < 1e-3
    losses = [mean_loss(n_states, *point.test_overlaps) for point in (found, static)]
    assert abs(losses[0] - losses[1]) < found.loss_error
    assert_allclose(found.train_loss, static.train_loss, rtol=1e-3)
    assert_allclose(found.coupling_error, static.coupling_error, rtol=2e-3)


def test_many_masks_per_sequence_become_fresh_masks():
    numbers = np.array([8, 16, 32])
    options = {"mask_fraction": 0.7}
    curves = [
        learning_curve(2, 1.0, [4.0], 0.1, mask_mode="static", masks=k, **options) for k in numbers
    ]
    fresh = learning_curve(2, 1.0, [4.0], 0.1, **options)
    for name, tolerance in zip(OBSERVABLES, (5e-5, 1e-4, 5e-4), strict=True):
        values = [float(getattr(curve, name)[0]) for curve in curves]
        limit = float(getattr(fresh, name)[0])
        # a + b / K + c / K^2; errors of 1e-5 in the values grow fivefold in a
        extrapolated = np.polynomial.polynomial.polyfit(1.0 / numbers, values, 2)[0]
        assert abs(extrapolated - limit) < tolerance, name
        assert abs(values[-1] - limit) > 20.0 * tolerance, name


def test_full_student_needs_the_square_of_c_minus_one_more_data():
    masks = {"mask_fraction": 0.4, "mask_mode": "static", "masks": 3}
    full = learning_curve(3, 1.5, [8.0], 0.4, estimator="full", **masks)
    factored = learning_curve(3, 1.5, [2.0], 0.2, **masks)
    for name in OBSERVABLES:
        assert_allclose(getattr(full, name), getattr(factored, name), rtol=1e-6, err_msg=name)


def test_more_masks_are_better_and_their_error_is_told():
    losses = []
    for masks in (1, 2, 4):
        curve = learning_curve(
            4, 2.0, [2.0], 0.3, mask_fraction=0.3, mask_mode="static", masks=masks
        )
        assert curve.converged.all()
        assert curve.loss_error[0] < 1e-3
        losses.append(curve.test_loss[0])
    assert losses[0] > losses[1] > losses[2]


def test_files_and_words_tell_the_number_of_masks(tmp_path):
    curve = learning_curve(2, 1.0, [1.0], 0.5, mask_fraction=0.3, mask_mode="static", masks=2)
    curve.save(tmp_path / "curve.h5")
    assert LearningCurve.load(tmp_path / "curve.h5").masks == curve.masks == 2
    assert curve.to_dict()["masks"] == 2
    assert "2 static masks" in repr(curve)
    assert learning_curve(2, 1.0, [1.0], 0.5).masks is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 2}, "got masks 2 with no mask_fraction"),
        ({"masks": 2, "mask_fraction": 0.3}, "got masks 2 with mask_mode 'fresh'"),
        ({"masks": 0, "mask_fraction": 0.3, "mask_mode": "static"}, "masks must be at least 1"),
    ],
)
def test_wrong_numbers_of_masks(options, message):
    with pytest.raises(InputError, match=message):
        learning_curve(2, 1.0, [1.0], 0.5, **options)


def test_several_masks_need_a_ridge():
    masks = {"mask_fraction": 0.3, "mask_mode": "static", "masks": 2}
    with pytest.raises(InputError, match="several masks per sequence need a ridge above 0"):
        learning_curve(2, 1.0, [8.0], 0.0, **masks)


def test_too_many_masks_are_refused():
    with pytest.raises(InputError, match="at most 128 for 3 states"):
        learning_curve(3, 1.5, [4.0], 0.1, mask_fraction=0.3, mask_mode="static", masks=400)
