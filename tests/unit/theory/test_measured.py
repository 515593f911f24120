"""Instance mode on models that are drawn here as matrices: no sampling."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn._core.validate import InputError
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.mean_coupling import (
    largest_mean_coupling,
    mean_coupling_student,
    outlier_eigenvalue,
)
from pottsattn.theory.measured import MeasuredSite, instance_curve, instance_student

LENGTH, N_STATES, SCALE = 300, 3, 1.5


def sk_site(mean_coupling: float = 0.0, seed: int = 0) -> MeasuredSite:
    """Return the last site of an SK-Potts model by the linear theory of the paramagnetic phase."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.normal(scale=SCALE / np.sqrt(LENGTH), size=(LENGTH, LENGTH)), 1)
    couplings = upper + upper.T + mean_coupling / LENGTH * (1.0 - np.eye(LENGTH))
    own = N_STATES + SCALE**2 / N_STATES
    covariance = np.linalg.inv(own * np.eye(LENGTH - 1) - couplings[:-1, :-1])
    row = couplings[-1, :-1] * SCALE / np.linalg.norm(couplings[-1, :-1] - mean_coupling / LENGTH)
    return MeasuredSite(covariance, covariance @ row, row)


@pytest.mark.parametrize("estimator", ["factored", "full"])
def test_a_site_of_the_ensemble_has_the_curve_of_the_ensemble(estimator):
    alphas = [1.0, 4.0, 16.0]
    sites = [sk_site(seed=seed) for seed in range(4)]
    told: list[tuple[int, int]] = []
    measured = instance_curve(
        sites, N_STATES, alphas, 0.1, estimator=estimator, progress=lambda *at: told.append(at)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    finite = LENGTH / (LENGTH - 1)
    curve = learning_curve(
        N_STATES, SCALE, np.multiply(alphas, finite), 0.1 * finite, estimator=estimator
    )
    assert measured.converged
    for name, tolerance in (("test_loss", 0.005), ("train_loss", 0.01), ("coupling_error", 0.03)):
        np.testing.assert_allclose(getattr(measured, name), getattr(curve, name), rtol=tolerance)


def test_the_noise_of_a_measured_signal_is_subtracted():
    exact, n_measured = sk_site(), 30 * LENGTH
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(exact.covariance * N_STATES / ((N_STATES - 1) * n_measured))
    losses = {"corrected": [], "as measured": []}
    for _ in range(4):
        signal = exact.signal + root @ rng.normal(size=LENGTH - 1)
        for name, count in (("corrected", n_measured), ("as measured", np.inf)):
            site = MeasuredSite(exact.covariance, signal, exact.teacher, count)
            losses[name].append(instance_curve([site], N_STATES, [4.0], 0.1).test_loss[0])
    truth = instance_curve([exact], N_STATES, [4.0], 0.1).test_loss[0]
    error = np.std(losses["corrected"], ddof=1) / 2.0
    assert abs(np.mean(losses["corrected"]) - truth) < 5 * error + 5e-4  # merged modes
    assert abs(np.mean(losses["as measured"]) - truth) > 5 * error + 5e-4


def test_merging_modes_keeps_power_and_traces():
    rng = np.random.default_rng(2)
    covariance = np.diag(rng.uniform(0.2, 0.5, 40))
    signal = rng.normal(scale=0.02, size=40)
    student = instance_student(MeasuredSite(covariance, signal, None, 2000.0), 3, 1.0, 0.1)
    noise = 1.5 / 2000.0 * np.trace(covariance)
    assert student.train_signal @ student.train_signal == pytest.approx(signal @ signal - noise)
    assert student.trace_weights.sum() == pytest.approx(40 / 41)
    assert len(student.trace_weights) < 40
    assert np.isnan(student.bayes_overlap)


def test_wrong_sites_are_refused():
    good = np.eye(3)
    for site in (
        MeasuredSite(np.ones((3, 2)), np.ones(3)),
        MeasuredSite(np.triu(np.ones((3, 3))), np.ones(3)),
        MeasuredSite(good, np.ones(2)),
        MeasuredSite(good, np.ones(3), n_measured=0.0),
    ):
        with pytest.raises(InputError):
            instance_student(site, 3, 1.0, 0.1)
    with pytest.raises(InputError, match="no site"):
        instance_curve([], 3, [1.0], 0.1)


def test_the_outlier_of_a_mean_coupling():
    rng = np.random.default_rng(3)
    size, mean = 800, 2.0
    upper = np.triu(rng.normal(scale=SCALE / np.sqrt(size), size=(size, size)), 1)
    values = np.linalg.eigvalsh(upper + upper.T + mean / size)
    expected = outlier_eigenvalue(SCALE, mean)
    assert values[-1] == pytest.approx(expected, rel=0.02)
    assert values[-2] < 2.0 * SCALE + 0.1 < expected
    assert outlier_eigenvalue(SCALE, 1.0) is None
    assert outlier_eigenvalue(0.0, -1.0) == -1.0


def test_a_mean_coupling_changes_curves_by_one_part_in_the_length():
    losses = []
    for length in (2000, 20000):
        solver = StudentSolver(mean_coupling_student(3, SCALE, 2.0, length, 1.0, 1.0))
        losses.append(solver.solve(4.0, 0.1).overlaps)
    plain = StudentSolver(mean_coupling_student(3, SCALE, 0.0, 100, 1.0, 1.0)).solve(4.0, 0.1)
    changes = [np.abs(overlaps / plain.overlaps - 1.0).max() for overlaps in losses]
    assert changes[0] == pytest.approx(10.0 * changes[1], rel=0.1)
    assert changes[0] < 0.02


def test_the_mean_coupling_at_which_order_sets_in():
    for n_states in (3, 4, 5, 10):
        spinodal = n_states * np.sqrt(2.0 / (n_states - 2))
        assert largest_mean_coupling(n_states, spinodal) == pytest.approx(0.0)
        assert largest_mean_coupling(n_states, 0.0) == n_states
    with pytest.raises(InputError, match="no paramagnetic phase"):
        mean_coupling_student(3, SCALE, 2.7, 100, 1.0, 0.1)
