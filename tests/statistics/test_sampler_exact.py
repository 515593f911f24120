"""Samplers against enumeration and transfer matrices, with errors taken from independent chains.

Standard errors come from the scatter between chains, so autocorrelation cannot fool them (STYLE
3.6). A fault of one part in ten at one site must fail the same test.
"""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn.model.couplings import Couplings
from pottsattn.model.exact import enumerate_states, solve_chain
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.sampler import sample
from pottsattn.sampling.schedule import Schedule

N_CHAINS = 128
N_KEPT = 2000
FAULT = 0.9


def z_scores(model: PottsModel, pair_marginals: np.ndarray) -> np.ndarray:
    """Return (sampled - exact) / standard error of all pair marginals, i <= j."""
    schedule = Schedule(n_chains=N_CHAINS, n_warmup=50, thin_by=2)
    sampled = sample(model, N_CHAINS * N_KEPT, schedule=schedule, rng=1).dataset.sequences
    one_hot = np.eye(model.n_states)[sampled.reshape(N_KEPT, N_CHAINS, -1)]
    by_chain = one_hot.transpose(1, 0, 2, 3).reshape(N_CHAINS, N_KEPT, -1)
    frequencies = by_chain.transpose(0, 2, 1) @ by_chain / N_KEPT  # (chains, L C, L C)
    exact = pair_marginals.transpose(0, 2, 1, 3).reshape(frequencies.shape[1:])
    possible = np.triu(exact > 0)
    error = frequencies.std(axis=0, ddof=1)[possible] / np.sqrt(N_CHAINS)
    return (frequencies.mean(axis=0) - exact)[possible] / error


def test_pair_marginals_match_enumeration(model):
    z = z_scores(model, enumerate_states(model).pair_marginals())
    assert np.abs(z).max() < 5


def test_chain_pair_marginals_match_transfer_matrices(chain_model):
    assert np.abs(z_scores(chain_model, solve_chain(chain_model).pair_marginals)).max() < 5


@pytest.mark.parametrize("scope", ["row", "row and column"])
def test_a_planted_fault_is_found(model, scope):
    strength = np.ones((4, 4))
    strength[0] = FAULT
    if scope == "row and column":
        strength[:, 0] = FAULT
    faulty = model.scaled(1.0)
    # Set after the check of symmetry: the kernel sees a row that its neighbors do not.
    if model.couplings.is_factored:
        interactions, color_similarity = model.couplings.factors()
        faulty.couplings = Couplings(strength * interactions, color_similarity)
    else:
        faulty.couplings = Couplings(dense=strength[:, :, None, None] * model.to_dense())
    z = z_scores(faulty, enumerate_states(model).pair_marginals())
    assert np.abs(z).max() > 5
