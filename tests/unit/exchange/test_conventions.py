"""Penalties of other programs, and the values that their objectives have."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError, SequenceDataset, fit_pseudolikelihood
from pottsattn.exchange.conventions import (
    CONVENTIONS,
    default_strengths,
    objective_in,
    penalty_from,
    penalty_to,
)
from pottsattn.fitting.losses import site_losses
from pottsattn.fitting.penalty import Ridge
from pottsattn.model.couplings import Couplings

JOINT = ("plmc", "ccmpred", "pydca")
SIZES = {"length": 5, "effective_size": 17.3}


@pytest.fixture
def data(rng) -> SequenceDataset:
    sequences = rng.integers(3, size=(30, 5), dtype=np.uint8)
    return SequenceDataset(sequences, 3, weights=rng.uniform(0.2, 1.0, size=30), gap_index=0)


@pytest.fixture
def parameters(rng):
    """Fields with the gap at 0 and symmetric couplings, as every program can hold them."""
    fields = rng.normal(size=(5, 3))
    couplings = rng.normal(size=(5, 5, 3, 3))
    couplings += couplings.transpose(1, 0, 3, 2)
    couplings[range(5), range(5)] = 0.0
    return fields - fields[:, :1], couplings


def log_p(i, sequence, fields, couplings) -> float:
    """Return log P(s_i | s_-i), term by term."""
    logits = fields[i].copy()
    for j in range(5):
        if j != i:
            logits += couplings[i, j, :, sequence[j]]
    return logits[sequence[i]] - np.log(np.exp(logits).sum())


def by_the_book(convention, fields, couplings, data, strengths) -> float:
    """Return the objective as the source of each program sums it up, in loops."""
    lambda_j, lambda_h = strengths
    total = 0.0
    weights = data.weights if convention in JOINT else data.weights / data.weights.sum()
    for weight, sequence in zip(weights, data.sequences, strict=True):
        for i in range(5):
            total -= weight * log_p(i, sequence, fields, couplings)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    if convention in JOINT:
        pairs = [(i, j) for i, j in pairs if i < j]
    if convention == "ridge":  # couplings_l2 = ridge / (2 alpha)
        lambda_j *= data.length / (2 * data.weights.sum())
    if convention == "plmdca":  # lambda_J |J_i|^2 + 2 lambda_H |h_i|^2 for every site
        lambda_h *= 2
    total += lambda_j * sum((couplings[i, j] ** 2).sum() for i, j in pairs)
    return total + lambda_h * (fields**2).sum()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_objective_is_the_programs(convention, data, parameters):
    found = objective_in(convention, *parameters, data, (0.7, 0.3))
    assert_allclose(found, by_the_book(convention, *parameters, data, (0.7, 0.3)), rtol=1e-13)
    blocks = Couplings(dense=parameters[1])
    assert found == objective_in(convention, parameters[0], blocks, data, (0.7, 0.3))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equal_penalties_are_one_problem(convention, data, parameters):
    """The same penalty in any convention: the objectives differ by the scale of the data only."""
    sizes = {"length": 5, "effective_size": data.effective_size}
    penalty = penalty_from("plmc", 3.0, 0.4, **sizes)
    ours = objective_in("pottsattn", *parameters, data, (penalty.couplings_l2, penalty.fields_l2))
    strengths = penalty_to(convention, penalty, **sizes)
    scale = data.effective_size if convention in JOINT else 1.0
    theirs = objective_in(convention, *parameters, data, strengths)
    assert_allclose(theirs / scale, ours, rtol=1e-13)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_there_and_back(convention):
    there = penalty_from(convention, 10.4, 0.3, **SIZES)
    assert_allclose(penalty_to(convention, there, **SIZES), (10.4, 0.3), rtol=1e-15)


@pytest.mark.parametrize(
    ("convention", "ridge", "fields_l2"),
    [
        ("plmc", 100 / 5, 0.01 / 17.3),
        ("ccmpred", 0.2 * 4 / 5, 0.01 / 17.3),
        ("pydca", 0.2 * 4 / 5, 0.8 / 17.3),
        ("plmdca", 0.02 * 17.3 / 5, 0.02),
        ("ridge", 0.2, 0.01),
    ],
)
def test_defaults_are_those_of_the_documentation(convention, ridge, fields_l2):
    penalty = penalty_from(convention, *default_strengths(convention, 5), **SIZES)
    assert_allclose(penalty_to("ridge", penalty, **SIZES), (ridge, fields_l2), rtol=1e-14)


@pytest.mark.parametrize("method", ["plm", "factored"])
def test_objective_of_a_fit_is_ours(method, data):
    fit = fit_pseudolikelihood(data, method, penalty=Ridge(0.3, fields_l2=0.02))
    strengths = (fit.penalty.couplings_l2, 0.02)
    found = objective_in("pottsattn", fit.fields, fit.couplings, data, strengths)
    assert_allclose(found, fit.objective, rtol=1e-6)
    in_theory = objective_in("ridge", fit.fields, fit.couplings, data, (0.3, 0.02))
    assert_allclose(in_theory, found, rtol=1e-13)
    assert_allclose(site_losses(fit.fields, fit.couplings, data).mean(), fit.train_loss, rtol=1e-6)


def test_parameters_that_a_program_cannot_hold(data, parameters, rng):
    fields, couplings = parameters
    one_sided = couplings.copy()
    one_sided[0, 1] += 0.1
    for convention in JOINT:
        with pytest.raises(InputError, match="one block per pair"):
            objective_in(convention, fields, one_sided, data, (1.0, 1.0))
    objective_in("plmdca", fields, one_sided, data, (1.0, 1.0))
    with pytest.raises(InputError, match="field of the gap at 0"):
        objective_in("ccmpred", fields + 1.0, couplings, data, (1.0, 1.0))
    own = couplings.copy()
    own[2, 2] = 1.0
    with pytest.raises(InputError, match="itself must be 0"):
        objective_in("plmc", fields, own, data, (1.0, 1.0))
    with pytest.raises(InputError, match="couplings must have shape"):
        objective_in("plmc", fields, couplings[:4, :4], data, (1.0, 1.0))
    with pytest.raises(InputError, match="couplings have length 4"):
        objective_in("plmc", fields, Couplings(dense=couplings[:4, :4]), data, (1.0, 1.0))


def test_wrong_values():
    with pytest.raises(InputError, match=r"got 'plcm' \(did you mean plmc\?\)"):
        penalty_from("plcm", 1.0, 1.0, **SIZES)
    with pytest.raises(InputError, match="couplings of plmc must not be negative"):
        penalty_from("plmc", -1.0, 1.0, **SIZES)
    with pytest.raises(InputError, match="effective_size must be above 0"):
        penalty_from("plmc", 1.0, 1.0, length=5, effective_size=0.0)
