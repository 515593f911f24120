"""Learning curves: reference values, exact laws, limits, honesty about failure, files."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import ConvergenceWarning, InputError
from pottsattn._core.storage import file_format
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.equations.gaussian import GaussianRule, gauss_hermite_nodes
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.equations.student import ensemble_student, ridge_to_couplings_l2
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.readout import mean_accuracy
from pottsattn.theory.result import COLUMNS, POINT_KEYS, LearningCurve
from pottsattn.theory.tracing import bayes_loss

OBSERVABLES = ("m", "q", "V", "test_loss", "bayes_loss", "train_loss", "coupling_error")

# Found by an independent implementation and checked against simulation (docs/theory.md).
REFERENCE = [
    (2, 1.0, 0.1, 0.5, 0.203561, 0.708555, 3.50577, 0.750135, 0.581726, 0.218394, 1.56163),
    (2, 1.0, 0.1, 2.0, 0.446153, 1.41446, 1.53916, 0.768230, 0.581726, 0.350410, 2.25441),
    (2, 1.0, 0.1, 8.0, 0.517212, 0.890589, 0.358869, 0.648715, 0.581726, 0.516385, 0.863316),
    (3, 1.5, 0.1, 1.0, 0.484439, 0.994467, 1.46747, 1.08656, 0.877181, 0.546245, 1.11161),
    (3, 1.5, 0.1, 4.0, 0.699303, 1.06316, 0.478681, 0.983603, 0.877181, 0.755561, 0.654939),
    (3, 1.5, 0.1, 16.0, 0.742896, 0.853789, 0.121145, 0.907693, 0.877181, 0.845822, 0.193951),
    (4, 2.0, 0.3, 2.0, 0.523152, 0.459810, 0.392896, 1.18190, 1.05633, 0.965935, 0.474968),
]


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"C{row[0]}-alpha{row[3]:g}")
def test_reference_values(row):
    n_states, scale, ridge, alpha, *expected = row
    curve = learning_curve(n_states, scale, [alpha], ridge)
    assert curve.converged.all()
    found = [getattr(curve, name)[0] for name in OBSERVABLES]
    assert_allclose(found, expected, rtol=5e-6)


@pytest.mark.parametrize(("n_states", "scale"), [(3, 1.5), (4, 2.0), (10, 3.0)])
def test_full_student_needs_the_square_of_c_minus_one_more_data(n_states, scale):
    alphas = np.array([0.7, 5.0]) * (n_states - 1) ** 2
    full = learning_curve(n_states, scale, alphas, 0.4, estimator="full")
    factored = learning_curve(
        n_states, scale, alphas / (n_states - 1) ** 2, 0.4 / (n_states - 1), estimator="factored"
    )
    for name in (*OBSERVABLES, "accuracy"):
        assert_allclose(getattr(full, name), getattr(factored, name), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "masks", [{}, {"mask_fraction": 0.3}, {"mask_fraction": 0.3, "mask_mode": "static"}]
)
def test_heads_scale_alpha_and_ridge(masks):
    heads = learning_curve(4, 2.0, [6.0], 0.3, n_heads=3, **masks)
    one = learning_curve(4, 2.0, [2.0], 0.1, **masks)
    for name in OBSERVABLES:
        assert_allclose(getattr(heads, name), getattr(one, name), rtol=1e-8, err_msg=name)


def test_all_heads_are_the_full_student():
    heads = learning_curve(4, 2.0, [9.0], 0.9, n_heads=9)
    full = learning_curve(4, 2.0, [9.0], 0.3, estimator="full")
    for name in OBSERVABLES:
        assert_allclose(getattr(heads, name), getattr(full, name), rtol=1e-8, err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 2, "estimator": "full"}, "only the factored"),
        ({"n_heads": 5}, "at most"),
        ({"n_heads": 0}, "n_heads"),
    ],
)
def test_wrong_numbers_of_heads_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        learning_curve(3, 1.5, [1.0], 0.1, **options)


@pytest.mark.parametrize("student", [{}, {"estimator": "full"}, {"n_heads": 2}])
def test_limits(student):
    curve = learning_curve(3, 1.5, [1e8, 2.0], [0.1, 1e9], **student)
    assert_allclose(curve.test_loss[0], curve.bayes_loss[0], rtol=1e-7)
    assert_allclose(curve.train_loss[0], curve.bayes_loss[0], rtol=1e-7)
    assert_allclose(curve.test_loss[1], np.log(3.0), rtol=1e-8)
    assert_allclose(curve.coupling_error, [0.0, 1.0], atol=1e-6)
    assert_allclose(curve.accuracy[0], mean_accuracy(3, 0.75, 0.75), rtol=1e-6)


def test_the_best_ridge_makes_more_data_never_worse():
    alphas = np.logspace(-1.0, 3.0, 17)
    for n_states, scale in ((2, 1.0), (4, 2.0)):
        best = optimal_ridge(n_states, scale, alphas).test_loss
        assert (np.diff(best) < 0.0).all()
        fixed = learning_curve(n_states, scale, alphas, 0.01).test_loss
        assert (best < fixed).all()
        assert (np.diff(fixed) > 0.0).any()  # the peak that a weak penalty leaves


@pytest.mark.parametrize(
    ("n_states", "scale", "n_points", "tolerance"),
    [
        (2, 1.0, 400, 1e-8),
        (3, 1.5, 150, 1e-8),
        (5, 2.5, 30, 1e-7),
        (10, 3.0, 8, 1e-7),
        (21, 3.0, 6, 1e-7),
    ],
)
def test_losses_do_not_depend_on_the_nodes(n_states, scale, n_points, tolerance):
    curve = learning_curve(n_states, scale, [2.0], 0.1)
    solver = StudentSolver(ensemble_student(n_states, scale, 1.0, 1.0, "factored"))
    solver.rules = [GaussianRule(gauss_hermite_nodes(n_states, n_points))]
    other = solver.solve(2.0, 0.1)
    assert_allclose(curve.q, other.test_overlaps[1], rtol=10 * tolerance)
    assert_allclose(curve.train_loss, other.train_loss, rtol=tolerance)
    assert curve.quadrature_error[0] < 1e-4


def solve_two_colors(scale, ridge, alpha):
    """Return the test loss for C = 2 from its scalar equations and the semicircle's resolvent.

    With < 1 / (s - a) > = G(s), all averages over the spectrum are closed: no nodes.
    """
    z = np.arange(-9.0, 9.0, 0.05)
    density = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    gap, J2 = (2.0 - scale) ** 2 / 2.0, scale**2

    def fields(m, q):
        return m + np.sqrt(2.0 * q) * z

    m, q, V = 0.3, 0.5, 1.0
    for _ in range(2000):
        low, high = fields(m, q), fields(m, q) + 2.0 * V  # u = omega + 2 V (1 - p(u))
        for _ in range(60):
            middle = 0.5 * (low + high)
            is_below = middle < fields(m, q) + 2.0 * V / (1.0 + np.exp(middle))
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        miss = 1.0 / (1.0 + np.exp(0.5 * (low + high)))
        curvature = 2.0 * miss * (1.0 - miss)
        qhat, mhat = 2.0 * alpha * (density @ miss**2), alpha * (density @ miss)
        Vhat = alpha * (density @ (curvature / (1.0 + V * curvature)))
        shift = Vhat / ridge
        y = 2.0 + J2 / 2.0 + shift
        G = 2.0 / (y + np.sqrt((gap + shift) * (y + 2.0 * scale)))
        slope = G**2 / (1.0 - J2 * G**2)
        first, second = G / ridge, 0.5 * G / (1.0 - 0.5 * J2 * G) / ridge
        third = 0.5 * slope / (1.0 - 0.5 * J2 * G) ** 2 / ridge**2
        new = np.array([mhat * J2 * second, mhat**2 * J2 * third + qhat * slope / ridge**2, first])
        change = np.abs(np.log(new / (m, q, V))).max()
        m, q, V = np.sqrt(new * (m, q, V))
        if change < 1e-13:
            break
    assert change < 1e-12
    return density @ np.logaddexp(0.0, -fields(m, q))


@pytest.mark.parametrize("scale", [1.0, 1.99, 1.9999, 2.0 - 1e-8, 2.0 - 1e-14])
def test_loss_error_holds_up_to_the_glass_transition(scale):
    curve = learning_curve(2, scale, [1.0], 0.1)
    off = abs(curve.test_loss[0] - solve_two_colors(scale, 0.1, 1.0))
    assert off < curve.loss_error[0] < 1e-8
    if scale == 1.9999:
        assert_allclose(curve.test_loss, 0.4873368, atol=5e-8)


def test_order_of_alphas_and_neighbors_do_not_matter():
    alphas = [8.0, 0.5, 2.0, 2.0, 40.0]
    ridges = [0.1, 1.0, 0.01, 0.01, 5.0]
    together = learning_curve(3, 2.0, alphas, ridges)
    assert_array_equal(together.alpha, alphas)
    assert_array_equal(together.ridge, ridges)
    for i, (alpha, ridge) in enumerate(zip(alphas, ridges, strict=True)):
        alone = learning_curve(3, 2.0, alpha, ridge)
        assert_allclose(together.test_loss[i], alone.test_loss[0], rtol=1e-7)


def test_hard_interpolation_regime_is_solved_and_above_bayes():
    # Few data and a weak penalty: broad fields (q near 100), where Gaussian rules struggle.
    curve = learning_curve(2, 1.0, [1.0, 2.0, 3.0], 1e-3)
    assert curve.converged.all()
    assert curve.q.max() > 50.0
    assert (curve.test_loss > curve.bayes_loss).all()
    assert (curve.train_loss < curve.bayes_loss).all()


def test_no_couplings_leave_only_noise_to_learn():
    curve = learning_curve(3, 0.0, [1.0], 0.5)
    assert_allclose(curve.bayes_loss, np.log(3), rtol=1e-12)
    assert_allclose(curve.accuracy, 1 / 3, rtol=1e-12)
    assert curve.test_loss[0] > np.log(3)
    assert np.isnan(curve.coupling_error[0])
    assert curve.converged.all()


@pytest.mark.parametrize(("n_states", "scale"), [(2, 1.0), (4, 2.0)])
def test_optimal_ridge_is_a_minimum_of_the_test_loss(n_states, scale):
    best = optimal_ridge(n_states, scale, [1.0, 30.0])
    assert best.converged.all()
    assert best.ridge_kind == "optimal"
    for factor in (0.9, 1.1):
        beside = learning_curve(n_states, scale, best.alpha, factor * best.ridge)
        assert (beside.test_loss > best.test_loss).all()
    # Both sides of the minimum rise alike, or the ridge is not at it.
    left, right = (
        learning_curve(n_states, scale, best.alpha, f * best.ridge).test_loss - best.test_loss
        for f in (np.exp(-0.1), np.exp(0.1))
    )
    assert_allclose(left, right, rtol=0.2)


def test_no_optimal_ridge_is_said():
    with pytest.warns(ConvergenceWarning, match="no optimal ridge"):
        curve = optimal_ridge(2, 0.0, [1.0])  # nothing to learn: the stronger the better
    assert not curve.converged[0]
    point = curve.to_dict()["points"][0]
    assert point["ridge"] is None
    assert point["test_loss"] is None
    assert point["alpha"] == 1.0
    assert point["reason"].startswith("no optimal ridge between 0.0001 and 1000")
    assert "least at the largest, 1000, 0.69" in point["reason"]


def test_beyond_the_glass_transition_there_is_no_garbage():
    with pytest.warns(ConvergenceWarning, match="no paramagnetic phase"):
        curve = learning_curve(3, 3.0, [1.0, 2.0], 0.1)
    assert not curve.converged.any()
    assert np.isnan(curve.test_loss).all()
    assert np.isnan(curve.bayes_loss).all()
    assert_array_equal(curve.ridge, 0.1)
    assert curve.phase.zone == "invalid"
    assert "NOT converged" in repr(curve)


def test_between_spinodal_and_glass_numbers_come_with_their_zone():
    curve = learning_curve(10, 6.0, [2.0], 1.0)
    assert curve.phase.zone == "invalid"
    assert curve.converged.all()


def test_bayes_loss():
    assert_allclose(bayes_loss(2, 1.0), 0.581726, rtol=1e-6)
    assert_allclose(bayes_loss(21, 0.0), np.log(21), rtol=1e-14)
    with pytest.raises(InputError, match="below n_states"):
        bayes_loss(3, 3.0)


def test_ridge_to_couplings_l2():
    assert ridge_to_couplings_l2(0.2, 4.0) == 0.025
    with pytest.raises(InputError, match="alpha"):
        ridge_to_couplings_l2(0.2, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_states": 1}, "n_states must be at least 2"),
        ({"n_states": 257}, "at most 256"),
        ({"coupling_scale": -0.1}, "coupling_scale must not be negative"),
        ({"alphas": []}, "alphas is empty"),
        ({"alphas": [1.0, 0.0]}, "alphas must be above 0"),
        ({"alphas": [[1.0]]}, "alphas must have shape"),
        ({"alphas": [np.nan]}, "alphas must be finite"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"ridge": [0.1, 0.2, 0.3]}, "ridge must have shape"),
        ({"estimator": "ful"}, "did you mean full"),
    ],
)
def test_wrong_input(change, message):
    good = {"n_states": 3, "coupling_scale": 1.0, "alphas": [1.0, 2.0], "ridge": 0.1}
    with pytest.raises(InputError, match=message):
        learning_curve(**(good | change))


def test_files_give_back_what_was_saved(tmp_path):
    curve = learning_curve(5, 3.6, [1.0, 4.0], [0.1, 0.2], estimator="full")
    curve.save(tmp_path / "curve.h5")
    assert file_format(tmp_path / "curve.h5") == "curve"
    loaded = LearningCurve.load(tmp_path / "curve.h5")
    for name in COLUMNS:
        assert_array_equal(getattr(loaded, name), getattr(curve, name))
        assert getattr(loaded, name).dtype == getattr(curve, name).dtype
    for name in ("n_states", "coupling_scale", "estimator", "ridge_kind", "phase", "message"):
        assert getattr(loaded, name) == getattr(curve, name)
    assert loaded.reasons == curve.reasons == ("", "")
    assert repr(loaded) == repr(curve)

    curve.to_csv(tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["test_loss"]) for row in rows] == curve.test_loss.tolist()
    assert [row["mask_fraction"] for row in rows] == ["", ""]
    assert [row["converged"] for row in rows] == ["1", "1"]
    assert [row["reason"] for row in rows] == ["", ""]


@pytest.fixture
def half_solved():
    """A curve with one point whose averages over fields are too coarse."""
    with pytest.warns(ConvergenceWarning, match="too coarse"):
        return learning_curve(2, 1.0, [2.341, 8.0], 1e-4)


def test_an_unsolved_point_is_told_from_a_solved_one_everywhere(half_solved, tmp_path):
    curve = half_solved
    assert np.isfinite(curve.test_loss).all()  # it looks like a solved one
    assert curve.converged.tolist() == [False, True]
    coarse, fine = curve.to_dict()["points"]
    assert "too coarse" in coarse["reason"]
    assert fine["reason"] is None
    assert curve.to_dict()["message"] == curve.message
    curve.to_csv(tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reason"] for row in rows] == [coarse["reason"], ""]
    curve.save(tmp_path / "curve.h5")
    assert LearningCurve.load(tmp_path / "curve.h5").reasons == curve.reasons
    html = curve._repr_html_()
    assert html.count("NOT converged, nats") == 1

    with h5py.File(tmp_path / "curve.h5", "r+") as file:  # as in version 0.1
        del file.attrs["reasons"]
    assert LearningCurve.load(tmp_path / "curve.h5").reasons == (curve.message, "")


def test_json_keys_are_the_published_ones():
    plain = learning_curve(2, 1.0, [1.0], 0.1).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {"points", "phase", "message"}
    assert tuple(plain["points"][0]) == (*POINT_KEYS, "confidence", "loss_error", "reason")
    assert plain["points"][0]["mask_fraction"] is None
    assert plain["points"][0]["converged"] is True
    assert plain["phase"] == {
        "zone": "safe",
        "spin_glass_scale": 2.0,
        "ferromagnetic_scale": None,
        "first_order_bound": None,
    }


def test_an_optimum_that_cannot_be_computed_is_told_from_none(monkeypatch):
    from pottsattn.theory.equations.solver import StudentSolver, unsolved

    solve = StudentSolver.solve

    def fail_at_moderate_ridge(self, alpha, ridge, **options):
        if 0.3 < ridge < 3.0:
            return unsolved(alpha, ridge, "planted")
        return solve(self, alpha, ridge, **options)

    monkeypatch.setattr(StudentSolver, "solve", fail_at_moderate_ridge)
    with pytest.warns(ConvergenceWarning, match="do not converge near the optimal ridge"):
        curve = optimal_ridge(3, 1.5, [4.0])
    assert np.isfinite(curve.ridge[0])
    assert np.isnan(curve.test_loss[0])
    assert not curve.converged[0]
