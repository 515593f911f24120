"""Enumeration against loops, transfer matrices against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.ensembles import chain
from pottsattn.exact import all_states, enumerate_states, solve_chain
from pottsattn.potts import PottsModel


def test_all_states_lists_every_sequence_once():
    assert all_states(3, 4).tolist() == [list(s) for s in itertools.product(range(4), repeat=3)]
    with pytest.raises(InputError, match="too many"):
        all_states(20, 2)


def test_enumeration_matches_loops(model):
    exact = enumerate_states(model)
    weights = np.exp(-model.energy(exact.states))
    assert_allclose(exact.log_partition, np.log(weights.sum()), rtol=1e-12)
    pairs = np.zeros((4, 4, 3, 3))
    for state, weight in zip(exact.states, weights / weights.sum(), strict=True):
        for i, j in np.ndindex(4, 4):
            pairs[i, j, state[i], state[j]] += weight
    assert_allclose(exact.pair_marginals(), pairs, atol=1e-14)
    sites = pairs[0].sum(axis=1)
    assert_allclose(exact.site_marginals(), sites, atol=1e-14)
    independent = sites[:, None, :, None] * sites[None, :, None, :]
    assert_allclose(exact.covariance(), pairs - independent, atol=1e-14)


@pytest.mark.parametrize("strength", [1.0, 300.0])
def test_transfer_matrix_matches_enumeration(chain_model, strength):
    model = PottsModel(strength * chain_model.fields, chain_model.couplings)
    exact, solved = enumerate_states(model), solve_chain(model)
    assert_allclose(solved.log_partition, exact.log_partition, rtol=1e-12)
    assert_allclose(solved.site_marginals, exact.site_marginals(), atol=1e-12)
    assert_allclose(solved.pair_marginals, exact.pair_marginals(), atol=1e-12)


def test_transfer_matrix_uses_the_block_in_its_direction(rng):
    couplings = np.zeros((3, 3, 2, 2))
    for i in range(2):
        couplings[i, i + 1] = rng.normal(size=(2, 2))
        couplings[i + 1, i] = couplings[i, i + 1].T
    model = PottsModel.dense(couplings)
    assert_allclose(
        solve_chain(model).pair_marginals, enumerate_states(model).pair_marginals(), atol=1e-14
    )


def test_long_chain_has_its_closed_form():
    # Open standard Potts chain: Z = C (e^J + C - 1)^(L - 1).
    solved = solve_chain(chain(500, 5, 1.3))
    assert_allclose(solved.log_partition, np.log(5) + 499 * np.log(np.exp(1.3) + 4), rtol=1e-12)
    decay = (np.exp(1.3) - 1) / (np.exp(1.3) + 4)
    assert_allclose(solved.pair_marginals[10, 14, 0, 0], (1 + 4 * decay**4) / 25, rtol=1e-10)


def test_transfer_matrix_refuses_distant_couplings(tiny_model):
    with pytest.raises(InputError, match="neighbours only"):
        solve_chain(tiny_model)
