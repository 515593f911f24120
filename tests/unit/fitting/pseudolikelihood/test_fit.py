"""Pseudo-likelihood rows against plain NumPy, the objective of the contract, and the solver."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from fit_options import as_solving
from numpy.testing import assert_allclose

from pottsattn import ConvergenceWarning, InputError, PottsModel, SequenceDataset
from pottsattn._core.storage import content_hash
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood import rows_full
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import (
    row_loss_factored,
    row_loss_full,
)
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.model.couplings import Couplings, zero_sum_projector
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.exact import enumerate_states
from pottsattn.model.potts import log_softmax

METHODS = ("plm", "factored")


@pytest.fixture
def data(rng) -> SequenceDataset:
    """Weighted random sequences, L = 7 (no multiple of the kernel's unroll), C = 3."""
    sequences = rng.integers(3, size=(40, 7), dtype=np.uint8)
    sequences[:, 3] = sequences[:, 0]  # something to learn
    return SequenceDataset(sequences, 3, weights=rng.uniform(0.2, 2.0, size=40))


def losses(fields, couplings: Couplings, data: SequenceDataset) -> np.ndarray:
    """Weighted mean of -log P(s_i | s_-i) for every site, by NumPy alone."""
    log_p = log_softmax(couplings.logits(data.sequences) + fields)
    chosen = np.take_along_axis(log_p, data.sequences[:, :, None].astype(int), axis=2)[:, :, 0]
    return -data.normalized_weights @ chosen


def random_row(method: str, site: int, rng, length=7, n_states=3):
    """Return (parameters as the kernel takes them, the same as Couplings of one row)."""
    if method == "plm":
        row = rng.normal(size=(length, n_states, n_states))  # [j, b, a]
        row[site] = 0.0
        dense = np.zeros((length, length, n_states, n_states))
        dense[site] = row.transpose(0, 2, 1)
        return row.ravel(), Couplings(dense=dense)
    row = rng.normal(size=length)
    row[site] = 0.0
    interactions = np.zeros((1, length, length))
    interactions[0, site] = row
    return row, Couplings(interactions, np.eye(n_states)[None])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("site", [0, 3, 6])
def test_row_loss_and_gradient_match_numpy(method, site, data, rng):
    kernel = row_loss_full if method == "plm" else row_loss_factored
    fields = rng.normal(size=3)
    row, couplings = random_row(method, site, rng)
    field_gradient, gradient = np.empty(3), np.empty_like(row)

    def loss(h, x):
        arguments = (site, data.sequences, data.normalized_weights, h, x)
        return kernel(*arguments, field_gradient, gradient)

    every_site = np.zeros((7, 3))
    every_site[site] = fields
    assert_allclose(loss(fields, row), losses(every_site, couplings, data)[site], rtol=1e-13)
    analytic = np.concatenate([field_gradient, gradient])
    numeric = np.empty_like(analytic)
    x, step = np.concatenate([fields, row]), 1e-3
    for k in range(len(x)):  # five-point stencil, error O(step^4)
        values = []
        for shift in (-2, -1, 1, 2):
            y = x.copy()
            y[k] += shift * step
            values.append(loss(y[:3], y[3:]))
        numeric[k] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    own = slice(3 + site * len(row) // 7, 3 + (site + 1) * len(row) // 7)
    numeric[own] = 0.0  # a site never sees itself: its own block stays zero
    assert_allclose(analytic, numeric, atol=1e-10)


def test_row_loss_is_safe_for_large_logits(data):
    row = np.full(7 * 9, 1e4)
    row[:9] = 0.0
    gradients = np.empty(3), np.empty_like(row)
    fields = np.array([0.0, 1e4, -1e4])
    loss = row_loss_full(0, data.sequences, data.normalized_weights, fields, row, *gradients)
    assert np.isfinite(loss)
    assert np.isfinite(gradients[1]).all()


@pytest.mark.parametrize("fields", ["learned", "none"])
@pytest.mark.parametrize("method", METHODS)
def test_objective_is_that_of_the_contract(method, fields, data):
    fit = fit_pseudolikelihood(
        data, method, fields=fields, penalty=Penalty(0.03, 0.02), solver=Solver(gap_tolerance=1e-10)
    )
    projector = zero_sum_projector(3)
    blocks = fit.couplings.to_dense()
    if method == "factored":
        blocks = projector @ blocks @ projector / np.sqrt(2)  # / (C - 1) on the square
    penalty = 0.03 * (blocks**2).sum() + 0.02 * (fit.fields**2).sum()
    loss = losses(fit.fields, fit.couplings, data)
    assert_allclose(fit.train_loss, loss.mean(), rtol=1e-12)
    assert_allclose(fit.objective, loss.sum() + penalty, rtol=1e-12)
    if fields == "none":
        assert not fit.fields.any()


@pytest.mark.parametrize("method", METHODS)
def test_gap_bound_holds(method, data):
    """A loosely solved fit is no further above a tightly solved one than it says."""
    tight = fit_pseudolikelihood(
        data, method, penalty=Penalty(0.01), solver=Solver(gap_tolerance=1e-14)
    )
    loose = fit_pseudolikelihood(
        data, method, penalty=Penalty(0.01), solver=Solver(gap_tolerance=1e-3)
    )
    above = (loose.objective - tight.objective) / data.length
    assert 0.0 < above <= loose.optimality_gap <= 1e-3
    assert tight.converged


def test_weights_count_copies(data):
    counts = np.arange(40) % 3
    weighted = dataclasses.replace(data, weights=counts)
    copies = SequenceDataset(np.repeat(data.sequences, counts, axis=0), 3)
    options = {"couplings_l2": 0.05, "gap_tolerance": 1e-12}
    first = fit_pseudolikelihood(weighted, "plm", **as_solving(**options))
    second = fit_pseudolikelihood(copies, "plm", **as_solving(**options))
    assert_allclose(first.couplings.to_dense(), second.couplings.to_dense(), atol=1e-5)
    assert first.effective_size == second.effective_size == counts.sum()


def test_ridge_is_in_units_of_the_theory(data):
    fit = fit_pseudolikelihood(data, "factored", ridge=0.4)
    assert_allclose(fit.penalty.couplings_l2, 0.4 / (2 * data.effective_size / 7))
    assert_allclose(fit.ridge, 0.4)


@pytest.mark.parametrize("method", METHODS)
def test_truth_is_not_looked_at_and_threads_do_not_matter(method, data, tmp_path):
    model = sk_potts(7, 3, 1.0, rng=1)
    known = dataclasses.replace(data, model=model)
    for name, dataset, n_threads in (("a", data, 1), ("b", known, 2)):
        fit = fit_pseudolikelihood(dataset, method, ridge=0.1, n_threads=n_threads)
        fit.save(tmp_path / f"{name}.h5")
    assert content_hash(tmp_path / "a.h5") == content_hash(tmp_path / "b.h5")


def test_a_stall_is_told_from_running_out_of_steps(data):
    with pytest.warns(ConvergenceWarning, match="float64 cannot lower the objective"):
        fit = fit_pseudolikelihood(
            data, "factored", ridge=0.1, solver=Solver(gradient_tolerance=1e-300)
        )
    assert not fit.converged
    assert fit.optimality_gap < 1e-12


def test_running_out_of_steps_is_said(data):
    with pytest.warns(ConvergenceWarning, match="7 of 7 sites did not converge in 1 steps"):
        fit = fit_pseudolikelihood(data, "plm", ridge=0.1, solver=Solver(max_steps=1))
    assert not fit.converged
    assert fit.gradient_norm > 1e-4
    assert "NOT converged" in repr(fit)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_interruption_keeps_the_rows_that_are_solved(n_threads, data):
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = fit_pseudolikelihood(data, "plm", ridge=0.1).couplings.to_dense()
    fit = fit_pseudolikelihood(data, "plm", ridge=0.1, n_threads=n_threads, progress=stop)
    assert fit.interrupted
    assert not fit.converged
    assert fit.message.startswith("interrupted: 3 of 7 sites are solved")
    dense = fit.couplings.to_dense()
    assert_allclose(dense[:3], whole[:3], atol=1e-9)
    assert not dense[3:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": -0.1}, "ridge must not be negative"),
        ({"couplings_l2": np.nan}, "couplings_l2 must be finite"),
        ({"ridge": 0.1, "couplings_l2": 0.1}, "either ridge or penalty"),
        ({"fields_l2": -1.0}, "fields_l2 must not be negative"),
        ({"fields": "lerned"}, r"did you mean learned\?"),
        ({"method": "plmdca"}, r"did you mean plm\?"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_wrong_options_are_named(options, message, data):
    with pytest.raises(InputError, match=message):
        fit_pseudolikelihood(data, **as_solving(**options))


def test_exact_recovery_of_full_couplings(model):
    check_exact_recovery(model, "plm")


def test_exact_recovery_of_factored_couplings(rng):
    interactions = sk_potts(4, 3, 1.5, rng=2).couplings.factors()[0]
    fields = rng.normal(scale=0.5, size=(4, 3))
    check_exact_recovery(PottsModel.factored(interactions, n_states=3, fields=fields), "factored")


def check_exact_recovery(truth: PottsModel, method: str) -> None:
    """Every state with its exact weight and no penalty gives back J and h."""
    states = enumerate_states(truth)
    data = SequenceDataset(states.states, truth.n_states, weights=states.probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_pseudolikelihood(
            data, method, penalty=Penalty(0.0, 0.0), solver=Solver(gradient_tolerance=1e-8)
        )
    fitted: PottsModel = fit.to_model()
    expected = truth.zero_sum()
    assert_allclose(fitted.to_dense(), expected.to_dense(), atol=1e-6)
    assert_allclose(fitted.fields, expected.fields, atol=1e-6)
    # The rows alone, before they are averaged, are right as well.
    rows = fit.couplings.zero_sum(fit.fields)[1].to_dense()
    assert_allclose(rows, expected.to_dense(), atol=1e-6)


@pytest.mark.parametrize("n_states", [2, 3, 5, 8, 17, 21, 24])
@pytest.mark.parametrize("n_sequences", [1, 127, 300])  # less than, about and more than a block
def test_single_precision_kernel_is_that_of_double(n_states, n_sequences, rng):
    length, site = 7, 3
    dataset = SequenceDataset(rng.integers(n_states, size=(n_sequences, length)), n_states)
    problem = FullRows(RowData.of(dataset, Penalty(0.01, 0.02), learn_fields=True))
    x = rng.normal(size=n_states + length * n_states**2)
    x[n_states:].reshape(length, -1)[site] = 0.0
    value, gradient = problem.objective(site, x)
    single_value, single_gradient = problem.objective(site, x.astype(np.float32))
    assert single_value == pytest.approx(value, rel=2e-6)
    assert np.abs(single_gradient - gradient).max() < 2e-6
    assert np.all(single_gradient[n_states:].reshape(length, -1)[site] == 0.0)


@pytest.mark.parametrize("fields_l2", [0.0, 0.02])
@pytest.mark.parametrize("learn_fields", [True, False])
@pytest.mark.parametrize("kind", [FullRows, FactoredRows])
def test_coordinates_are_those_of_the_plain_objective(kind, learn_fields, fields_l2, rng):
    """The objective and its gradient at a point are those of the contract at its parameters."""
    length, n_states, site = 5, 4, 2
    weights = rng.uniform(size=60)
    dataset = SequenceDataset(rng.integers(n_states, size=(60, length)), n_states, weights=weights)
    rows = kind(RowData.of(dataset, Penalty(0.03, fields_l2), learn_fields=learn_fields))
    x = rng.normal(size=rows.start(site).size)
    if kind is FullRows:
        x = rows.tidied(site, x)
        x[n_states:].reshape(length, n_states, n_states)[site] = 0.0
    value, gradient = rows.objective(site, x)
    objective, _, plain = rows.judge(site, x)
    assert value == pytest.approx(objective, rel=1e-13)
    assert_allclose(rows.plain_gradient(site, gradient), plain, atol=1e-13)
    # A step in the coordinates changes the plain objective as the gradient says.
    direction = gradient / np.linalg.norm(gradient)
    ahead, behind = (rows.judge(site, x + h * direction)[0] for h in (1e-4, -1e-4))
    assert (ahead - behind) / 2e-4 == pytest.approx(gradient @ direction, rel=1e-6)


@pytest.mark.parametrize("fields", ["learned", "none"])
def test_both_precisions_meet_the_same_optimum(fields, rng):
    dataset = SequenceDataset(rng.integers(5, size=(400, 9)), 5, weights=rng.uniform(size=400))
    mixed, double = (
        fit_pseudolikelihood(
            dataset, fields=fields, solver=Solver(gap_tolerance=1e-10, precision=precision)
        )
        for precision in ("mixed", "double")
    )
    assert mixed.converged
    assert mixed.optimality_gap < 1e-10  # judged in double precision
    difference = mixed.couplings.to_dense() - double.couplings.to_dense()
    assert np.abs(difference).max() < 1e-4
    assert mixed.objective == pytest.approx(double.objective, abs=2e-9)


def test_a_wrong_single_precision_kernel_is_put_right_by_double(rng, monkeypatch):
    """What single precision gets wrong, here a neighbor left out, the verdict sees."""
    dataset = SequenceDataset(rng.integers(3, size=(200, 6)), 3)
    right = fit_pseudolikelihood(dataset, solver=Solver(precision="double"))
    row_loss = rows_full.full_row_loss

    def wrong(data, site, fields, rows, *gradients):
        if rows.dtype == np.float32:
            rows = rows.copy()
            neighbor = (site + 1) % 6
            rows[3 * neighbor : 3 * neighbor + 3] = 0.0
        return row_loss(data, site, fields, rows, *gradients)

    monkeypatch.setattr(rows_full, "full_row_loss", wrong)
    fit = fit_pseudolikelihood(dataset)
    assert fit.converged
    assert fit.objective == pytest.approx(right.objective, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fields", ["learned", "none"])
def test_a_fit_that_starts_at_the_optimum_stays_there(method, fields, data):
    cold = fit_pseudolikelihood(data, method, fields=fields, solver=Solver(gap_tolerance=1e-8))
    warm = fit_pseudolikelihood(
        data,
        method,
        fields=fields,
        solver=Solver(gap_tolerance=1e-6, initial=(cold.fields, cold.couplings)),
    )
    assert warm.n_evaluations <= 3 < cold.n_evaluations
    assert warm.objective == pytest.approx(cold.objective, abs=1e-6)


def test_a_factored_fit_starts_at_the_nearest_interactions(data):
    cold = fit_pseudolikelihood(data, "factored", solver=Solver(gap_tolerance=1e-8))
    dense = Couplings(dense=cold.couplings.to_dense())
    warm = fit_pseudolikelihood(data, "factored", solver=Solver(initial=(cold.fields, dense)))
    assert warm.n_evaluations <= 3


def test_initial_parameters_of_another_size_are_refused(data, rng):
    other = fit_pseudolikelihood(SequenceDataset(rng.integers(3, size=(9, 5)), 3), "factored")
    with pytest.raises(InputError, match=r"\(5, 3\), the data have \(7, 3\)"):
        fit_pseudolikelihood(
            data, "factored", solver=Solver(initial=(other.fields, other.couplings))
        )
