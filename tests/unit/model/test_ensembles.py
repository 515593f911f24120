"""Ensembles: the structure and the variance they promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.model.ensembles import ENSEMBLES, chain, generalized, lattice_2d, sk_potts


@pytest.mark.parametrize("ensemble", [sk_potts, generalized])
def test_interactions_have_variance_j_squared_over_length(ensemble):
    length, scale = 200, 1.7
    (interactions,), _ = ensemble(length, 3, scale, 0).couplings.factors()
    upper = interactions[np.triu_indices(length, 1)]
    assert_allclose(interactions, interactions.T, rtol=0)
    variance = scale**2 / length
    error = variance * np.sqrt(2.0 / len(upper))
    assert abs((upper**2).mean() - variance) < 5 * error
    assert abs(upper.mean()) < 5 * np.sqrt(variance / len(upper))


@pytest.mark.parametrize("n_states", [2, 3, 21])
def test_generalized_similarity_is_symmetric_zero_sum_and_normalized(n_states):
    _, (u,) = generalized(5, n_states, 1.0, 0).couplings.factors()
    assert_allclose(u, u.T, rtol=0)
    assert_allclose(u.sum(axis=0), 0.0, atol=1e-12)
    assert_allclose((u**2).sum(), n_states - 1, rtol=1e-12)


def test_sk_potts_is_the_standard_model():
    model = sk_potts(5, 4, 1.0, 0)
    assert_allclose(model.couplings.factors()[1], np.eye(4)[None], rtol=0)
    assert not model.fields.any()


def test_chain_couples_neighbors_only():
    (interactions,), _ = chain(4, 3, 0.7).couplings.factors()
    assert_allclose(interactions, 0.7 * (np.eye(4, k=1) + np.eye(4, k=-1)), rtol=0)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_lattice_matches_loops(side):
    expected = np.zeros((side**2, side**2))
    for y, x in np.ndindex(side, side):
        for down, right in [(1, 0), (-1, 0), (0, 1), (0, -1)]:
            neighbor = (y + down) % side * side + (x + right) % side
            expected[side * y + x, neighbor] += 0.7  # twice for the double links of side 2
    model = lattice_2d(side**2, 3, 0.7)
    assert model.couplings.is_sparse
    (interactions,), (similarity,) = model.couplings.factors()
    assert_allclose(interactions, expected, rtol=0)
    assert_allclose(similarity, np.eye(3), rtol=0)
    assert (expected.sum(axis=1) == 4 * 0.7).all()


@pytest.mark.parametrize(
    ("length", "text"),
    [(12, "got 12; 9 and 16 are nearest"), (2, "got 2; 4 is nearest"), (3, "got 3; 4 is nearest")],
)
def test_lattice_needs_a_square(length, text):
    with pytest.raises(InputError, match=f"square .*{text}"):
        lattice_2d(length, 3, 1.0)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_name_themselves_repeat_and_refuse_bad_sizes(name):
    first, second = (ENSEMBLES[name](9, 3, 1.5, 11) for _ in range(2))
    assert (first.ensemble, first.coupling_scale) == (name, 1.5)
    assert_allclose(first.to_dense(), second.to_dense(), rtol=0)
    for sizes, text in [((1, 3, 1.0), "length"), ((5, 1, 1.0), "n_states"), ((5, 3, -1.0), "neg")]:
        with pytest.raises(InputError, match=text):
            ENSEMBLES[name](*sizes, 0)
