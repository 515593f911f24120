"""Enumeration against loops, transfer matrices against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.model.ensembles import chain, lattice_2d
from pottsattn.model.exact import all_states, enumerate_states, solve_chain, solve_torus
from pottsattn.model.potts import PottsModel


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
    with pytest.raises(InputError, match="neighbors only"):
        solve_chain(tiny_model)


@pytest.mark.parametrize(("n", "n_states"), [(2, 2), (2, 3), (2, 5), (3, 2), (3, 3)])
@pytest.mark.parametrize("coupling_scale", [0.0, 0.9, 6.0])
def test_torus_matches_enumeration(n, n_states, coupling_scale):
    model = lattice_2d(n**2, n_states, coupling_scale)
    exact, solved = enumerate_states(model), solve_torus(n, n_states, coupling_scale)
    energies = model.energy(exact.states)
    mean = exact.probabilities @ energies
    variance = exact.probabilities @ (energies - mean) ** 2
    assert_allclose(solved.log_partition, exact.log_partition, rtol=1e-12)
    assert_allclose(solved.mean_energy, mean, rtol=1e-11)
    assert_allclose(solved.energy_variance, variance, rtol=1e-10)


@pytest.mark.parametrize("n_states", [2, 3, 4])
def test_moments_of_the_torus_are_derivatives_of_its_partition_function(n_states):
    scale, step = 0.8, 0.002
    below, here, above = (solve_torus(4, n_states, scale + k * step) for k in (-1, 0, 1))
    slope = (above.log_partition - below.log_partition) / (2 * step)
    curvature = (above.log_partition - 2 * here.log_partition + below.log_partition) / step**2
    assert_allclose(here.mean_energy, -scale * slope, rtol=1e-4)
    assert_allclose(here.energy_variance, scale**2 * curvature, rtol=1e-3)


def test_torus_of_other_sides_and_strong_couplings():
    # Two-state lattice: the ground states, then one flipped site, which breaks four of 2 n^2 bonds.
    for n in (3, 5, 7):
        solved = solve_torus(n, 2, 20.0)
        flips = n**2 * np.exp(-80.0)
        assert_allclose(solved.log_partition, np.log(2) + 40.0 * n**2, rtol=1e-14)
        assert_allclose(solved.energy_variance, 80.0**2 * flips, rtol=1e-12)


def test_torus_refuses_what_is_too_large():
    for arguments, text in [
        ((13, 2, 1.0), "too many"),
        ((1, 2, 1.0), "n must"),
        ((3, 2, -1), "neg"),
    ]:
        with pytest.raises(InputError, match=text):
            solve_torus(*arguments)
