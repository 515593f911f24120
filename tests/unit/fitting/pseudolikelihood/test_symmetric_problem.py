"""The joint fit with one block for each pair of sites."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fit_options import as_solving
from numpy.testing import assert_allclose

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._core.validate import ConvergenceWarning, InputError
from pottsattn.exchange.conventions import objective_in
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood import symmetric_problem
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.pseudolikelihood.symmetric_problem import SymmetricProblem
from pottsattn.fitting.result import FitResult

LENGTH, N_STATES = 5, 4
PENALTY = Penalty(0.03, 0.02)


@pytest.fixture
def dataset(rng):
    sequences = rng.integers(N_STATES, size=(60, LENGTH))
    return SequenceDataset(sequences, N_STATES, weights=rng.uniform(size=60))


@pytest.mark.parametrize("learn_fields", [True, False])
def test_coordinates_are_those_of_the_plain_objective(learn_fields, dataset, rng):
    problem = SymmetricProblem(RowData.of(dataset, PENALTY, learn_fields=learn_fields), 2)
    x = problem.tidied(rng.normal(size=problem.start().size))

    def plain(point):
        return objective_in("pottsattn", *problem.parameters(point), dataset, (0.03, 0.02))

    value, gradient = problem.objective(x)
    assert value == pytest.approx(plain(x), rel=1e-13)
    direction = problem.tidied(rng.normal(size=x.size))
    slope = (plain(x + 1e-5 * direction) - plain(x - 1e-5 * direction)) / 2e-5
    assert slope == pytest.approx(gradient @ direction, rel=1e-7)
    fields, couplings = problem.parameters(x)
    again = SymmetricProblem(
        RowData.of(dataset, PENALTY, learn_fields=learn_fields, initial=(fields, couplings)), 1
    )
    assert_allclose(again.start(), x, atol=1e-13)
    single_value, single_gradient = problem.objective(x.astype(np.float32))
    assert single_value == pytest.approx(value, rel=1e-6)
    assert_allclose(single_gradient, gradient, atol=2e-6)


@pytest.mark.parametrize("fields", ["learned", "none"])
def test_the_gradient_at_the_optimum_vanishes_for_automatic_differentiation(fields, dataset):
    fit = fit_pseudolikelihood(
        dataset,
        fields=fields,
        symmetric=True,
        penalty=Penalty(0.03, 0.02),
        solver=Solver(gap_tolerance=1e-12),
    )
    assert fit.converged
    assert fit.symmetric
    upper = np.triu_indices(LENGTH, 1)
    blocks = torch.tensor(fit.couplings.to_dense()[upper], requires_grad=True)
    h = torch.tensor(fit.fields, requires_grad=True)
    dense = torch.zeros((LENGTH, LENGTH, N_STATES, N_STATES), dtype=torch.float64)
    dense = dense.index_put((torch.tensor(upper[0]), torch.tensor(upper[1])), blocks)
    dense = dense + dense.permute(1, 0, 3, 2)
    assert_allclose(dense.detach(), fit.couplings.to_dense())
    one_hot = torch.eye(N_STATES, dtype=torch.float64)[torch.tensor(dataset.sequences).long()]
    log_p = torch.log_softmax(torch.einsum("ijab,mjb->mia", dense, one_hot) + h, dim=2)
    losses = -(log_p * one_hot).sum(dim=2)
    objective = (torch.tensor(dataset.normalized_weights)[:, None] * losses).sum()
    objective = objective + 0.03 * (dense**2).sum() + 0.02 * (h**2).sum()
    objective.backward()
    assert fit.objective == pytest.approx(float(objective.detach()), rel=1e-12)
    assert fit.train_loss == pytest.approx(
        float((losses.T @ torch.tensor(dataset.normalized_weights)).mean().detach()), rel=1e-12
    )
    squares = float((blocks.grad**2).sum())
    if fields == "learned":
        squares += float((h.grad**2).sum())
    assert np.sqrt(squares) < 1e-6
    assert fit.gradient_norm == pytest.approx(np.sqrt(squares), rel=1e-3, abs=1e-13)


def test_it_is_reported_and_kept_in_the_file(dataset, tmp_path):
    fit = fit_pseudolikelihood(dataset, symmetric=True, penalty=Penalty(0.03))
    assert fit.n_parameters == LENGTH * N_STATES + 10 * N_STATES**2
    assert 0.0 < fit.estimated_gap < 1e-6
    assert fit.optimality_gap < 1e-6
    fit.save(tmp_path / "fit.h5")
    loaded = FitResult.load(tmp_path / "fit.h5")
    assert loaded.symmetric
    assert loaded.gauge == "least penalty"
    assert loaded.estimated_gap == fit.estimated_gap
    rows = fit_pseudolikelihood(dataset, penalty=Penalty(0.03))
    assert not rows.symmetric
    assert rows.objective < fit.objective  # more freedom


def test_a_start_at_the_optimum_stays_there(dataset):
    cold = fit_pseudolikelihood(
        dataset, symmetric=True, penalty=Penalty(0.03), solver=Solver(gap_tolerance=1e-9)
    )
    warm = fit_pseudolikelihood(
        dataset,
        symmetric=True,
        penalty=Penalty(0.03),
        solver=Solver(initial=(cold.fields, cold.couplings)),
    )
    assert warm.n_evaluations <= 3 < cold.n_evaluations


def test_running_out_of_steps_is_said(dataset):
    with pytest.warns(ConvergenceWarning, match="not converged in 2 steps"):
        fit = fit_pseudolikelihood(
            dataset, symmetric=True, penalty=Penalty(0.001), solver=Solver(max_steps=2)
        )
    assert not fit.converged


def test_an_interrupt_keeps_the_best_point(dataset):
    def interrupt(n_done, _):
        if n_done == 6:
            raise KeyboardInterrupt

    fit = fit_pseudolikelihood(dataset, symmetric=True, penalty=Penalty(0.001), progress=interrupt)
    start = fit_pseudolikelihood(dataset, penalty=Penalty(1e6))
    assert fit.interrupted
    assert not fit.converged
    assert fit.train_loss < start.train_loss - 0.05


def test_factored_rows_are_not_shared(dataset):
    with pytest.raises(InputError, match="symmetric applies to plm"):
        fit_pseudolikelihood(dataset, "factored", symmetric=True)


def test_a_fault_in_one_row_moves_the_optimum(dataset, monkeypatch):
    """Planted: the gradient of one site counts half; the objective of the contract sees it."""
    options = {"couplings_l2": 0.03, "symmetric": True, "gap_tolerance": 1e-9}
    best = fit_pseudolikelihood(dataset, **as_solving(**options)).objective
    right = symmetric_problem.full_row_loss

    def wrong(data, site, fields, rows, of_fields, of_rows):
        loss = right(data, site, fields, rows, of_fields, of_rows)
        if site == 1:
            of_rows *= 0.5
        return loss

    monkeypatch.setattr(symmetric_problem, "full_row_loss", wrong)
    fit = fit_pseudolikelihood(dataset, **as_solving(**options))
    found = objective_in("pottsattn", fit.fields, fit.couplings, dataset, (0.03, 0.01))
    assert found > best + 1e-3
