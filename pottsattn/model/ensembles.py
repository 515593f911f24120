"""Random and regular Potts models to sample from.

`sk_potts` is the ensemble of the replica theory: A_ij = A_ji ~ Normal(0, J^2 / L), U = I, no fields
(docs/theory.md). `generalized` replaces U by a random symmetric zero-sum matrix with
|U|_F^2 = C - 1, the value of the identity's zero-sum part, so that J keeps its meaning. `chain` is
the open nearest-neighbor chain and `lattice_2d` the periodic square lattice; both are held sparse
and solved exactly by `pottsattn.model.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_generator,
    check_n_states,
    check_nonnegative,
)
from pottsattn.model.couplings import Couplings, zero_sum_projector
from pottsattn.model.graph import NeighborLists
from pottsattn.model.potts import PottsModel

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
    left = np.arange(length - 1)
    links = np.stack([left, left + 1], axis=1)
    return _standard(length, n_states, links, "chain", coupling_scale)


def lattice_2d(length: int, n_states: int, coupling_scale: float, rng: Rng = None) -> PottsModel:
    """Return the n x n square lattice with periodic borders: A_ij = J for neighbors, U = I.

    Site n y + x is at row y, column x. Large lattices order above J = log(1 + sqrt(C)). For n = 2
    a site has the same neighbor on both sides, A_ij = 2 J.

    Parameters
    ----------
    length, n_states
        L = n^2 sites with n >= 2 and C >= 2 states.
    coupling_scale
        J >= 0, in units of k_B T.
    rng
        Not used: the model is not random.

    References
    ----------
    Wu, Rev. Mod. Phys. 54, 235 (1982): the transition.
    """
    _check_sizes(length, n_states, coupling_scale)
    side = math.isqrt(length)
    if side < 2 or side**2 != length:
        below, above = max(side, 2) ** 2, max(side + 1, 2) ** 2
        nearest = f"{below} is" if below == above else f"{below} and {above} are"
        raise InputError(
            f"length of lattice-2d must be a square n^2 with n at least 2, got {length}; "
            f"{nearest} nearest"
        )
    sites = np.arange(length).reshape(side, side)
    neighbors = np.stack([np.roll(sites, -1, axis=1), np.roll(sites, -1, axis=0)])
    links = np.stack(np.broadcast_arrays(sites, neighbors), axis=-1).reshape(-1, 2)
    return _standard(length, n_states, links, "lattice-2d", coupling_scale)


ENSEMBLES: dict[str, Callable[[int, int, float, Rng], PottsModel]] = {
    "sk-potts": sk_potts,
    "generalized": generalized,
    "chain": chain,
    "lattice-2d": lattice_2d,
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


def _standard(
    length: int,
    n_states: int,
    links: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    name: str,
    coupling_scale: float,
) -> PottsModel:
    """Return the standard Potts model with J on every link (i, j); a double link counts twice."""
    strengths = np.full((1, len(links)), float(coupling_scale))
    return PottsModel(
        np.zeros((length, n_states)),
        Couplings(
            NeighborLists.from_pairs(length, links, strengths, strengths), np.eye(n_states)[None]
        ),
        ensemble=name,
        coupling_scale=float(coupling_scale),
    )
