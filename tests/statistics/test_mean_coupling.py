"""A mean coupling J0 / L moves the uniform mode, and C > 2 colors move it further."""

from __future__ import annotations

import numpy as np

from pottsattn import PottsModel, sample
from pottsattn.model.ensembles import sk_potts
from pottsattn.theory.mean_coupling import uniform_susceptibility

LENGTH, N_STATES, SCALE, MEAN, N_INSTANCES = 200, 3, 1.5, 1.0, 10


def test_the_uniform_susceptibility_of_samples():
    found = []
    for seed in range(N_INSTANCES):
        interactions = sk_potts(LENGTH, N_STATES, SCALE, seed).couplings.factors()[0][0]
        interactions = interactions + MEAN / LENGTH * (1.0 - np.eye(LENGTH))
        model = PottsModel.factored(interactions, n_states=N_STATES)
        states = sample(model, 600, rng=seed + 100).dataset.sequences
        counts = np.stack([(states == color).sum(axis=1) for color in range(N_STATES)])
        found.append(counts.var(axis=1).sum() / LENGTH / (N_STATES - 1))
    error = np.std(found, ddof=1) / np.sqrt(N_INSTANCES)
    assert abs(np.mean(found) - uniform_susceptibility(N_STATES, SCALE, MEAN)) < 5 * error
    without = 1.0 / (N_STATES - MEAN)  # the second moment of the couplings left out
    assert abs(np.mean(found) - without) > 5 * error
