"""Factored couplings with several heads and learned color similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fit_options import as_solving
from numpy.testing import assert_allclose

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._core.validate import ConvergenceWarning, InputError
from pottsattn.exchange.conventions import objective_in
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood import heads_fit
from pottsattn.fitting.pseudolikelihood.heads_fit import (
    covariance_patterns,
    nearest_heads,
    normalized_heads,
)
from pottsattn.fitting.pseudolikelihood.heads_problem import HeadsProblem
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.model.couplings import Couplings, zero_sum_projector
from pottsattn.model.exact import enumerate_states
from pottsattn.model.potts import PottsModel

LENGTH, N_STATES, N_HEADS = 6, 4, 2
PENALTY = Penalty(0.03, 0.02)


@pytest.fixture
def dataset(rng):
    sequences = rng.integers(N_STATES, size=(60, LENGTH))
    return SequenceDataset(sequences, N_STATES, weights=rng.uniform(size=60))


def random_heads(rng, n_heads=N_HEADS, length=LENGTH, n_states=N_STATES):
    interactions = rng.normal(size=(n_heads, length, length))
    interactions[:, np.arange(length), np.arange(length)] = 0.0
    return Couplings(interactions, rng.normal(size=(n_heads, n_states, n_states)))


@pytest.mark.parametrize("n_states", [4, 7])  # both kernels in single precision
@pytest.mark.parametrize("learn_fields", [True, False])
def test_objective_and_gradient_are_those_of_the_contract(learn_fields, n_states, rng):
    sequences = rng.integers(n_states, size=(60, LENGTH))
    dataset = SequenceDataset(sequences, n_states, weights=rng.uniform(size=60))
    data = RowData.of(dataset, PENALTY, learn_fields=learn_fields)
    problem = HeadsProblem(data, N_HEADS, 2)
    fields = learn_fields * rng.normal(size=(LENGTH, n_states))
    x = problem.point(fields, random_heads(rng, n_states=n_states))

    def plain(point):
        return objective_in("pottsattn", *problem.parameters(point), dataset, (0.03, 0.02))

    value, gradient = problem.objective(x)
    assert value == pytest.approx(plain(x), rel=1e-13)
    assert problem.judge(x)[0] == pytest.approx(value, rel=1e-13)
    direction = problem.tidied(rng.normal(size=x.size))
    problem.views(direction)[1][np.arange(LENGTH), :, np.arange(LENGTH)] = 0.0
    slope = (plain(x + 1e-5 * direction) - plain(x - 1e-5 * direction)) / 2e-5
    assert slope == pytest.approx(gradient @ direction, rel=1e-7)
    assert_allclose(problem.point(*problem.parameters(x)), x, atol=1e-13)
    single_value, single_gradient = problem.objective(x.astype(np.float32))
    assert single_value == pytest.approx(value, rel=1e-6)
    assert_allclose(single_gradient, gradient, atol=1e-5)


def test_loss_and_penalty_are_those_of_the_attention_layer(dataset, rng):
    couplings = random_heads(rng)
    layer = FactoredAttention(
        LENGTH, N_STATES, N_HEADS, color_similarity="learned", fields="none"
    ).double()
    with torch.no_grad():
        layer.interactions.copy_(torch.tensor(couplings.interactions))
        layer.color_similarity.copy_(torch.tensor(couplings.color_similarity))
    data = RowData.of(dataset, Penalty(0.03, 0.0), learn_fields=False)
    problem = HeadsProblem(data, N_HEADS, 1)
    objective, loss, _ = problem.judge(problem.point(np.zeros((LENGTH, N_STATES)), couplings))
    sequences = torch.tensor(dataset.sequences).long()
    log_p = torch.log_softmax(layer(sequences), dim=2)
    losses = -log_p.gather(2, sequences[:, :, None])[:, :, 0].detach().numpy()
    assert loss == pytest.approx(float((dataset.normalized_weights @ losses).sum()), rel=1e-12)
    assert objective - loss == pytest.approx(0.03 * float(layer.penalty().detach()), rel=1e-12)


def test_exact_weights_give_the_model_back(rng):
    """Every state with its Boltzmann weight and almost no penalty; the truth has two heads."""
    interactions = 0.3 * rng.normal(size=(2, 4, 4))
    interactions += interactions.transpose(0, 2, 1)
    interactions[:, np.arange(4), np.arange(4)] = 0.0
    similarity = rng.normal(size=(2, 3, 3))
    similarity += similarity.transpose(0, 2, 1)
    fields = 0.3 * rng.normal(size=(4, 3))
    truth = PottsModel.factored(interactions, similarity, n_states=3, fields=fields).zero_sum()
    states = enumerate_states(truth)
    dataset = SequenceDataset(states.states, 3, weights=states.probabilities)
    options = {"couplings_l2": 1e-9, "fields_l2": 1e-9, "gap_tolerance": 1e-13}
    fit = fit_pseudolikelihood(
        dataset, "factored", **as_solving(n_heads=2, max_steps=3000, precision="double", **options)
    )
    found = fit.couplings.zero_sum(fit.fields)
    assert_allclose(found[1].to_dense(), truth.to_dense(), atol=1e-4)
    assert_allclose(found[0] - found[0].mean(axis=1, keepdims=True), truth.fields, atol=1e-4)


def test_one_head_with_learned_similarity_is_not_worse_than_identity(rng):
    dataset = SequenceDataset(rng.integers(3, size=(300, 8)), 3)
    options = {"couplings_l2": 0.01, "gap_tolerance": 1e-8}
    fixed = fit_pseudolikelihood(dataset, "factored", **as_solving(**options))
    start = (fixed.fields, fixed.couplings)
    learned = fit_pseudolikelihood(
        dataset, "factored", **as_solving(color_similarity="learned", initial=start, **options)
    )
    assert learned.objective <= fixed.objective + 1e-6
    assert learned.config["color_similarity"] == "learned"
    assert np.isnan(learned.optimality_gap)  # not convex: no bound


def test_the_objective_never_rises(dataset, monkeypatch):
    steps = []
    descend = heads_fit.solve_jointly.__globals__["descend"]

    def watched(evaluate, start, is_done, max_steps, units):
        def is_met(descent):
            steps.append(descent.value)
            return is_done(descent)

        return descend(evaluate, start, is_met, max_steps, units)

    monkeypatch.setitem(heads_fit.solve_jointly.__globals__, "descend", watched)
    fit_pseudolikelihood(
        dataset, "factored", n_heads=2, penalty=Penalty(0.01), solver=Solver(precision="double")
    )
    assert len(steps) > 10
    assert np.all(np.diff(steps) <= 1e-12)


def test_restarts_report_their_spread(dataset):
    fit = fit_pseudolikelihood(
        dataset, "factored", n_heads=2, penalty=Penalty(0.001), solver=Solver(n_starts=3)
    )
    objectives = fit.config["start_objectives"]
    assert len(objectives) == 3
    assert fit.objective == min(objectives)
    assert "best of 3 starts, which differ by" in fit.message
    assert fit.converged
    again = fit_pseudolikelihood(
        dataset,
        "factored",
        n_heads=2,
        penalty=Penalty(0.001),
        solver=Solver(n_starts=3),
        n_threads=1,
    )
    assert_allclose(again.config["start_objectives"], objectives, rtol=1e-6)


def test_heads_are_normalized_and_ordered(rng):
    couplings = random_heads(rng, n_heads=3)
    couplings.color_similarity[1] *= 9.0
    result = normalized_heads(couplings)
    assert_allclose(result.to_dense(), couplings.to_dense())
    projector = zero_sum_projector(N_STATES)
    norms = np.linalg.norm(projector @ result.color_similarity @ projector, axis=(1, 2))
    assert_allclose(norms, np.sqrt(N_STATES - 1))
    strengths = np.linalg.norm(result.interactions, axis=(1, 2))
    assert np.all(np.diff(strengths) <= 0)


def test_nearest_heads_are_exact_where_they_can_be(rng):
    couplings = random_heads(rng, n_heads=3)
    assert_allclose(
        nearest_heads(Couplings(dense=couplings.to_dense()), 3).to_dense(), couplings.to_dense()
    )
    one = nearest_heads(couplings, 1).to_dense()
    unfolded = couplings.to_dense().reshape(-1, N_STATES**2)
    singular = np.linalg.svd(unfolded, compute_uv=False)
    assert np.linalg.norm(one.reshape(-1, N_STATES**2) - unfolded) == pytest.approx(
        np.linalg.norm(singular[1:])
    )


def test_patterns_of_covariances_are_orthonormal_and_zero_sum(dataset):
    patterns = covariance_patterns(dataset, 100)
    assert len(patterns) == (N_STATES - 1) ** 2
    assert_allclose(np.einsum("hab,gab->hg", patterns, patterns), np.eye(9), atol=1e-12)
    assert_allclose(patterns.sum(axis=2), 0.0, atol=1e-7)


def test_an_interrupt_keeps_the_starts_so_far(dataset):
    def interrupt(n_done, _):
        if n_done > 30:
            raise KeyboardInterrupt

    fit = fit_pseudolikelihood(
        dataset,
        "factored",
        n_heads=2,
        penalty=Penalty(0.001),
        solver=Solver(n_starts=5),
        progress=interrupt,
    )
    assert fit.interrupted
    assert not fit.converged
    assert len(fit.config["start_objectives"]) < 5


def test_running_out_of_steps_is_said(dataset):
    with pytest.warns(ConvergenceWarning, match="not converged in 4 steps"):
        fit_pseudolikelihood(
            dataset, "factored", n_heads=2, penalty=Penalty(0.001), solver=Solver(max_steps=4)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "plm", "n_heads": 2}, "heads and color_similarity apply to factored"),
        ({"method": "factored", "n_heads": 0}, "heads must be at least 1"),
        (
            {"method": "factored", "n_heads": 2, "color_similarity": "identity"},
            "2 heads with color_similarity 'identity' are one head",
        ),
    ],
)
def test_wrong_heads_are_refused(options, message, dataset):
    with pytest.raises(InputError, match=message):
        fit_pseudolikelihood(dataset, **as_solving(**options))
