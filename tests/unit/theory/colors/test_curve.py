"""H heads with fixed color matrices: limits that are known, the capacity law, its correction."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import ConvergenceWarning, InputError
from pottsattn.theory.colors.curve import heads_curve, span_limit
from pottsattn.theory.colors.fields import ColorRule, mean_color_loss, zero_sum_directions
from pottsattn.theory.colors.spans import anisotropy_cost, span_anisotropy
from pottsattn.theory.colors.teacher import color_spectrum, similarity_phase_zone
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.ensemble import phase_zone
from pottsattn.theory.equations.gaussian import GaussianRule, gauss_hermite_nodes
from pottsattn.theory.readout import mean_loss
from pottsattn.theory.tracing import bayes_loss

OBSERVABLES = ("test_loss", "train_loss", "coupling_error")


def units(n_states):
    """Return e_i e_j^T in an orthonormal zero-sum basis, shape (C - 1, C - 1, C, C)."""
    E = zero_sum_directions(n_states)
    return np.einsum("ai,bj->ijab", E, E)


def clock(n_states, *amplitudes):
    steps = np.subtract.outer(np.arange(n_states), np.arange(n_states)) * (2 * np.pi / n_states)
    U = sum(f * np.cos((k + 1) * steps) for k, f in enumerate(amplitudes))
    return U * np.sqrt((n_states - 1) / (U**2).sum())


def assert_law(color_matrices, scale, alpha, ridge, **tolerance):
    """The student is heads(1; alpha, ridge) when given H times the data and the ridge."""
    n_states = np.shape(color_matrices)[-1]
    law = learning_curve(n_states, scale, [alpha], ridge)
    n_heads = dimension(color_matrices)
    curve = heads_curve(color_matrices, scale, [alpha * n_heads], ridge * n_heads)
    assert curve.converged.all()
    for name in OBSERVABLES:
        assert_allclose(getattr(curve, name), getattr(law, name), err_msg=name, **tolerance)
    P = np.eye(n_states) - 1.0 / n_states
    for name in ("m", "q", "V"):
        expected = getattr(law, name)[0] * P
        assert_allclose(getattr(curve, name)[0], expected, err_msg=name, **tolerance)


def dimension(color_matrices):
    n_states = np.shape(color_matrices)[-1]
    E = zero_sum_directions(n_states)
    flat = (E.T @ np.asarray(color_matrices) @ E).reshape(len(color_matrices), -1)
    return int(np.linalg.matrix_rank(flat))


@pytest.mark.parametrize(("n_states", "scale"), [(2, 1.0), (3, 1.5)])
def test_identity_is_the_factored_student(n_states, scale):
    assert_law([np.eye(n_states)], scale, 2.0, 0.3, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize(("n_states", "scale"), [(2, 1.0), (3, 1.5), (4, 2.0)])
def test_complete_basis_is_the_full_student(n_states, scale):
    # The full estimator penalizes |J|^2, heads |P J P|^2 / (C - 1).
    basis = units(n_states).reshape(-1, n_states, n_states)
    full = learning_curve(n_states, scale, [9.0], 0.4, estimator="full")
    curve = heads_curve(basis, scale, [9.0], 0.4 * (n_states - 1))
    for name in OBSERVABLES:
        assert_allclose(getattr(curve, name), getattr(full, name), rtol=0.0, atol=1e-7)


def exact_spans():
    u = units(4)
    i, j = np.triu_indices(3)
    shift = np.roll(np.eye(4), 1, axis=0)
    shift_of_5 = np.roll(np.eye(5), 1, axis=0)
    fifth = [np.linalg.matrix_power(shift_of_5, k) for k in range(5)]
    return {
        "symmetric": u[i, j] + u[j, i],
        "diagonal in a basis": u[[0, 1, 2], [0, 1, 2]],
        "circulant": [np.linalg.matrix_power(shift, k) for k in range(4)],
        "rotations": [np.eye(4), *(u - u.transpose(1, 0, 2, 3))[[0, 0, 1], [1, 2, 2]]],
        "complete": u.reshape(9, 4, 4),
        "symmetric circulant of 5": [power + power.T for power in fifth],
    }


@pytest.mark.parametrize("name", exact_spans())
def test_capacity_law_is_exact_for_isotropic_spans(name):
    span = np.array(exact_spans()[name])
    assert_allclose(span_anisotropy(span), 0.0, atol=1e-12)
    if span.shape[-1] == 4:  # five colors: the anisotropy alone, the curve takes seconds
        assert_law(span, 2.0, 1.5, 0.3, rtol=0.0, atol=1e-7)


def test_capacity_law_is_not_exact_otherwise():
    span = np.concatenate([np.eye(4)[None], units(4)[0]])  # P and one target direction
    with pytest.raises(AssertionError):
        assert_law(span, 2.0, 1.5, 0.3, rtol=0.0, atol=1e-4)


def test_anisotropy_cost_is_the_next_order_at_large_alpha():
    span = np.concatenate([np.eye(3)[None], units(3)[0]])  # P and one target direction
    ratios = []
    for alpha in (100.0, 200.0):
        curve = heads_curve(span, 1.5, [3.0 * alpha], 0.3)
        law = learning_curve(3, 1.5, [alpha], 0.1)
        difference = float((curve.test_loss - law.test_loss)[0])
        ratios.append(difference / anisotropy_cost(span, 1.5, 3.0 * alpha))
    limit = 2.0 * ratios[1] - ratios[0]  # what is left falls like 1 / alpha
    assert_allclose(limit, 1.0, atol=0.005)


def test_only_the_span_counts():
    rng = np.random.default_rng(0)
    span = rng.normal(size=(3, 3, 3))
    mixed = np.tensordot(rng.normal(size=(4, 3)), span, axes=1) + rng.normal(size=(4, 3, 1))
    curves = [heads_curve(one, 1.5, [3.0], 0.2) for one in (span, mixed)]
    assert [curve.n_heads for curve in curves] == [3, 3]
    for name in (*OBSERVABLES, "objective", "q", "V"):
        assert_allclose(*(getattr(curve, name) for curve in curves), rtol=0.0, atol=1e-8)


def test_averages_where_colors_are_alike():
    m, q, V = 0.5, 0.8, 0.6
    eye = np.eye(3)
    alike = GaussianRule(gauss_hermite_nodes(4, 40))(m, q, V)
    found = ColorRule(4, 20)(m * eye, q * eye, V * eye)
    assert_allclose(found.noise, alike.squared_error / 3 * eye, atol=1e-8)
    assert_allclose(found.curvature, alike.response / 3 * eye, atol=1e-8)
    assert_allclose(found.signal, alike.error / 3 * eye, atol=1e-8)
    assert_allclose(found.train_loss, alike.train_loss, atol=1e-8)
    assert_allclose(mean_color_loss(m * eye, q * eye), mean_loss(4, m, q), atol=1e-9)


def test_prox_with_a_matrix_response():
    """The averages on one node against the optimality condition u + V E^T (p - e_y) = omega."""
    from scipy.optimize import root

    rng = np.random.default_rng(1)
    M = rng.normal(size=(2, 2))
    half = rng.normal(size=(2, 2))
    V = 3.0 * half @ half.T
    rule = ColorRule(3, 1)  # the node z = 0
    E = rule.directions
    averages = rule(M, np.eye(2), V)
    noise, curvature, signal = np.zeros((3, 2, 2))
    for y in range(3):

        def p_at(u):
            p = np.exp(E @ u - (E @ u).max())
            return p / p.sum()

        u = root(lambda u, y=y: u + V @ E.T @ (p_at(u) - np.eye(3)[y]) - M @ E[y], M @ E[y]).x
        g = E.T @ (np.eye(3)[y] - p_at(u))
        K = E.T @ (np.diag(p_at(u)) - np.outer(p_at(u), p_at(u))) @ E
        noise += np.outer(g, g) / 3
        curvature += K @ np.linalg.inv(np.eye(2) + V @ K) / 3
        signal += np.outer(g, E[y]) / 3
    assert_allclose(averages.noise, noise, atol=1e-9)
    assert_allclose(averages.curvature, curvature, atol=1e-9)
    assert_allclose(averages.signal, signal, atol=1e-9)


def test_one_learned_matrix_would_be_the_teachers():
    rng = np.random.default_rng(4)
    best = heads_curve([np.eye(3)], 1.5, [2.0], 0.1).objective[0]
    for size in (0.1, 1.0, 10.0):
        nearby = np.eye(3) + size * rng.normal(size=(3, 3))
        assert heads_curve([nearby], 1.5, [2.0], 0.1).objective[0] > best + 1e-4


def test_span_with_the_teacher_learns_it():
    rng = np.random.default_rng(2)
    span = np.concatenate([np.eye(3)[None], rng.normal(size=(1, 3, 3))])
    limit = span_limit(span, 1.5)
    assert limit.converged
    assert_allclose(limit.loss, bayes_loss(3, 1.5), atol=1e-7)
    assert_allclose(limit.similarity, np.eye(3) - 1.0 / 3.0, atol=1e-6)
    assert_allclose(limit.effective_heads, 2.0, atol=1e-6)


def test_span_without_the_teacher_learns_nothing():
    skew = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    limit = span_limit([skew], 1.5)
    assert_allclose(limit.loss, np.log(3), atol=1e-7)
    assert_allclose(limit.similarity, 0.0, atol=1e-6)


def test_span_with_part_of_the_teacher_predicts_as_well_as_it_can():
    """The limit is the least loss over the span; data cost H_eff / (2 alpha) on top."""
    from scipy.optimize import minimize_scalar

    rho = 1.5**2 / 3
    B = units(3)[0, 0] + 0.3 * units(3)[0, 1]
    limit = span_limit([B], 1.5)
    E = zero_sum_directions(3)
    b = E.T @ B @ E
    best = minimize_scalar(
        lambda c: mean_color_loss(rho * c * b, rho * c * c * b @ b.T),
        bounds=(0.0, 2.0),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert_allclose(limit.loss, best.fun, atol=1e-7)
    assert_allclose(limit.similarity, best.x * B, atol=1e-4)
    alpha = 2000.0
    curve = heads_curve([B], 1.5, [alpha], 1e-3)
    excess = 2.0 * alpha * (curve.test_loss[0] - limit.loss)
    assert_allclose(excess, limit.effective_heads, atol=0.01)


def test_clock_teacher_has_one_channel_per_eigenvalue():
    U = clock(4, 1.0, 1.0)
    spectrum = color_spectrum(U, 2.0)
    average = np.tensordot(spectrum.weights, spectrum.covariances, axes=1)
    assert_allclose(average, np.eye(3) / 4, atol=1e-10)  # (1 / L) tr chi_k = 1 / C for each
    assert_allclose(similarity_phase_zone(U, 2.0).spin_glass_scale, 4.0 / np.sqrt(2.0))


@pytest.mark.parametrize("n_heads", [1, 2])
def test_every_head_costs_the_same_at_large_alpha(n_heads):
    U = clock(4, 1.0, 1.0)
    curve = heads_curve([U, np.eye(4)][:n_heads], 1.5, [2000.0], 0.1, teacher_similarity=U)
    excess = 4000.0 * (curve.test_loss - curve.bayes_loss)[0]
    assert_allclose(excess, n_heads, rtol=0.01)


def test_zones_of_the_identity():
    for n_states, scale in ((2, 1.0), (3, 1.5), (4, 3.8), (5, 4.2)):
        found = similarity_phase_zone(np.eye(n_states), scale)
        expected = phase_zone(n_states, scale)
        assert found.zone == expected.zone
        assert_allclose(found.spin_glass_scale, expected.spin_glass_scale)
        if n_states > 2:
            assert_allclose(found.ferromagnetic_scale, expected.ferromagnetic_scale)
            bound = min(expected.first_order_bound, expected.ferromagnetic_scale)
            assert_allclose(found.first_order_bound, bound, rtol=1e-6)


def test_from_the_glass_on_there_is_no_solution():
    with pytest.warns(ConvergenceWarning, match="no paramagnetic phase"):
        curve = heads_curve([np.eye(3)], 3.0, [1.0], 0.1)
    assert not curve.converged.any()
    assert np.isnan(curve.test_loss).all()


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (np.diag([1.0, 2.0, 3.0]), "rows of equal sums"),
        (np.roll(np.eye(3), 1, axis=0), "symmetric"),
        (np.ones((3, 3)), "zero-sum part"),
        (np.array([[2.0, -1, -1], [-1, 0.5, 0.5], [-1, 0.5, 0.5]]), "equally frequent"),
        (np.eye(4), "of the 3 colors"),
    ],
)
def test_teachers_outside_the_theory_are_refused(similarity, message):
    with pytest.raises(InputError, match=message):
        heads_curve([np.eye(3)], 1.0, [1.0], 0.1, teacher_similarity=similarity)


def test_wrong_spans_are_refused():
    with pytest.raises(InputError, match="C from 2 to 5"):
        heads_curve([np.eye(6)], 1.0, [1.0], 0.1)
    with pytest.raises(InputError, match="zero-sum part"):
        heads_curve(np.ones((1, 3, 3)), 1.0, [1.0], 0.1)
    with pytest.raises(InputError, match="must span P"):
        anisotropy_cost(units(3)[0], 1.5, 100.0)


def test_curves_are_exported_as_plain_values_and_csv(tmp_path):
    curve = heads_curve([np.eye(3)], 1.5, [4.0, 1.0], 0.1)
    report = curve.to_dict()
    assert report["points"][0]["test_loss"] == curve.test_loss[0]
    assert report["points"][1]["q"] == curve.q[1].tolist()
    assert report["phase"]["zone"] == "safe"
    curve.to_csv(tmp_path / "curve.csv")
    header, *rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert [float(row.split(",")[0]) for row in rows] == [4.0, 1.0]
    assert float(rows[0].split(",")[header.split(",").index("test_loss")]) == curve.test_loss[0]
    with pytest.warns(ConvergenceWarning):
        unsolved = heads_curve([np.eye(3)], 3.5, [4.0], 0.1).to_dict()
    assert unsolved["points"][0]["test_loss"] is None
