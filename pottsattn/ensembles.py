"""Random and regular Potts models to sample from.

`sk_potts` is the ensemble of the replica theory: A_ij = A_ji ~ Normal(0, J^2 / L), U = I, no fields
(docs/theory.md). `generalized` replaces U by a random symmetric zero-sum matrix with
|U|_F^2 = C - 1, the value of the identity's zero-sum part, so that J keeps its meaning. `chain` is
the open nearest-neighbour chain, solved exactly by `pottsattn.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pottsattn._validate import (
    check_at_least,
    check_generator,
    check_n_states,
    check_nonnegative,
)
from pottsattn.couplings import Couplings, zero_sum_projector
from pottsattn.potts import PottsModel

__all__ = ["ENSEMBLES", "chain", "generalized", "sk_potts"]

Rng = np.random.Generator | int | None


def sk_potts(length: int, n_states: int, coupling_scale: float, rng: Rng = None) -> PottsModel:
    """Return a standard Potts model with Gaussian interactions of variance J^2 / L.

    Parameters
    ----------
    length, n_states
        L >= 2 sites with C >= 2 states.
    coupling_scale
        J >= 0, in units of k_B T; the replica theory holds in the paramagnetic phase, see
        `pottsattn.theory.ensemble.phase_zone`.
    rng
        Generator or seed.
    """
    generator = check_generator(rng)
    _check_sizes(length, n_states, coupling_scale)
    interactions = _gaussian_interactions(length, coupling_scale, generator)
    return _factored(interactions, np.eye(n_states), "sk-potts", coupling_scale)


def generalized(length: int, n_states: int, coupling_scale: float, rng: Rng = None) -> PottsModel:
    """Return a Potts model with Gaussian interactions and a random color similarity.

    U is symmetric and zero-sum (rows and columns sum to zero) with |U|_F^2 = C - 1. See `sk_potts`
    for the parameters.
    """
    generator = check_generator(rng)
    _check_sizes(length, n_states, coupling_scale)
    interactions = _gaussian_interactions(length, coupling_scale, generator)
    projector = zero_sum_projector(n_states)
    noise = generator.normal(size=(n_states, n_states))
    similarity = projector @ (noise + noise.T) @ projector
    similarity *= np.sqrt((n_states - 1) / (similarity**2).sum())
    similarity = (similarity + similarity.T) / 2.0  # exact symmetry after rounding
    return _factored(interactions, similarity, "generalized", coupling_scale)


def chain(length: int, n_states: int, coupling_scale: float, rng: Rng = None) -> PottsModel:
    """Return the open chain A_{i,i+1} = J, U = I. `rng` is not used: the model is not random."""
    _check_sizes(length, n_states, coupling_scale)
    interactions = np.zeros((length, length))
    left = np.arange(length - 1)
    interactions[left, left + 1] = interactions[left + 1, left] = coupling_scale
    return _factored(interactions, np.eye(n_states), "chain", coupling_scale)


ENSEMBLES: dict[str, Callable[[int, int, float, Rng], PottsModel]] = {
    "sk-potts": sk_potts,
    "generalized": generalized,
    "chain": chain,
}


def _check_sizes(length: int, n_states: int, coupling_scale: float) -> None:
    check_at_least("length", length, 2)
    check_n_states(n_states)
    check_nonnegative("coupling_scale", coupling_scale)


def _gaussian_interactions(
    length: int, coupling_scale: float, generator: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    scale = coupling_scale / math.sqrt(length)
    upper = np.triu(generator.normal(scale=scale, size=(length, length)), 1)
    return upper + upper.T


def _factored(
    interactions: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    similarity: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    name: str,
    coupling_scale: float,
) -> PottsModel:
    return PottsModel(
        np.zeros((len(interactions), len(similarity))),
        Couplings(interactions[None], similarity[None]),
        ensemble=name,
        coupling_scale=float(coupling_scale),
    )
