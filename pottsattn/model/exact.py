"""Exact answers for small models, chains and lattices: the ground truth of the tests.

Enumeration visits every one of the C^L sequences (up to 10^6); transfer matrices solve open
nearest-neighbor chains of any length and small periodic square lattices. Probabilities are plain,
log Z in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pottsattn._core.display import one_line
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_n_states,
    check_nonnegative,
)
from pottsattn.model.potts import PottsModel

Array = NDArray[np.float64]
MAX_ENUMERATED = 1_000_000
MAX_ROW_STATES = 4096  # the transfer matrix of a lattice then takes 128 MB


@one_line
@dataclass(frozen=True, eq=False)
class Enumeration:
    """Every state of a small model with its probability."""

    states: NDArray[np.uint8]  # (C^L, L)
    probabilities: Array  # (C^L,), sum 1
    log_partition: float  # log Z, nats
    n_states: int

    def site_marginals(self) -> Array:
        """Return P(s_i = a), shape (L, C)."""
        return self._one_hot_mean().reshape(self.states.shape[1], self.n_states)

    def pair_marginals(self) -> Array:
        """Return P(s_i = a, s_j = b), shape (L, L, C, C); diagonal blocks are diagonal."""
        length = self.states.shape[1]
        one_hot = self._one_hot()
        pairs = one_hot.T @ (one_hot * self.probabilities[:, None])
        shape = (length, self.n_states, length, self.n_states)
        return np.ascontiguousarray(pairs.reshape(shape).transpose(0, 2, 1, 3))

    def covariance(self) -> Array:
        """Return P(s_i = a, s_j = b) - P(s_i = a) P(s_j = b), shape (L, L, C, C)."""
        site = self.site_marginals()
        return self.pair_marginals() - np.einsum("ia,jb->ijab", site, site)

    def _one_hot(self) -> Array:
        return np.eye(self.n_states)[self.states].reshape(len(self.states), -1)

    def _one_hot_mean(self) -> Array:
        return self.probabilities @ self._one_hot()


@one_line
@dataclass(frozen=True, eq=False)
class ChainSolution:
    """An open chain solved by transfer matrices."""

    log_partition: float  # log Z, nats
    site_marginals: Array  # (L, C)
    pair_marginals: Array  # (L, L, C, C)


@dataclass(frozen=True)
class TorusSolution:
    """A periodic square lattice solved by transfer matrices."""

    log_partition: float  # log Z, nats
    mean_energy: float  # <H>, k_B T
    energy_variance: float  # <H^2> - <H>^2


def all_states(length: int, n_states: int) -> NDArray[np.uint8]:
    """Return all C^L sequences, shape (C^L, L); refuses more than 10^6."""
    if n_states**length > MAX_ENUMERATED:
        raise InputError(
            f"{n_states}^{length} states are too many to enumerate (limit {MAX_ENUMERATED})"
        )
    grid = np.indices((n_states,) * length, dtype=np.uint8)
    return np.ascontiguousarray(grid.reshape(length, -1).T)


def enumerate_states(model: PottsModel) -> Enumeration:
    """Return every state of `model` with its probability and log Z.

    Raises
    ------
    InputError
        More than 10^6 states.
    """
    states = all_states(model.length, model.n_states)
    log_weights = -model.energy(states)
    log_partition = float(logsumexp(log_weights))
    return Enumeration(states, np.exp(log_weights - log_partition), log_partition, model.n_states)


def solve_chain(model: PottsModel) -> ChainSolution:
    """Return log Z and marginals of an open chain (couplings between neighbors only).

    Raises
    ------
    InputError
        Some couplings are not between neighbors.
    """
    length, n_states = model.length, model.n_states
    blocks = np.empty((length - 1, n_states, n_states))
    for site, row in enumerate(model.couplings.rows()):
        distant = np.abs(np.arange(length) - site) > 1
        if np.any(row[distant] != 0.0):
            raise InputError("the transfer matrix needs couplings between neighbors only")
        if site < length - 1:
            blocks[site] = row[site + 1]
    backward = np.zeros((length, n_states))  # log sum over all sites to the right
    for site in range(length - 2, -1, -1):
        right = model.fields[site + 1] + backward[site + 1]
        backward[site] = logsumexp(blocks[site] + right, axis=1)
    first = model.fields[0] + backward[0]
    log_partition = float(logsumexp(first))

    site_marginals = np.empty((length, n_states))
    site_marginals[0] = np.exp(first - log_partition)
    pair_marginals = np.zeros((length, length, n_states, n_states))
    transitions = []
    for site in range(length - 1):
        log_step = blocks[site] + model.fields[site + 1] + backward[site + 1]
        transitions.append(np.exp(log_step - logsumexp(log_step, axis=1, keepdims=True)))
        site_marginals[site + 1] = site_marginals[site] @ transitions[site]
    for site in range(length):
        joint = np.diag(site_marginals[site])
        pair_marginals[site, site] = joint
        for other in range(site + 1, length):
            joint = joint @ transitions[other - 1]
            pair_marginals[site, other] = joint
            pair_marginals[other, site] = joint.T
    return ChainSolution(log_partition, site_marginals, pair_marginals)


def solve_torus(n: int, n_states: int, coupling_scale: float) -> TorusSolution:
    """Return log Z and the moments of the energy of the n x n standard Potts lattice, periodic.

    The model is `ensembles.lattice_2d(n**2, n_states, coupling_scale)`. With U(s, s') the number of
    unequal neighbors in a row (half of each row's own) and between rows s and s',

        Z = exp(2 n^2 J) Tr T^n,    T(s, s') = exp(-J U(s, s')).

    T U and T U^2 (entry by entry) are carried through the product beside T, which gives the
    moments of the number of unequal neighbors. Every number is positive, so none is lost to
    rounding, at any J.

    Parameters
    ----------
    n, n_states
        Sites per side, at least 2, and C; C^n is at most 4096.
    coupling_scale
        J >= 0, in units of k_B T.

    References
    ----------
    Kramers and Wannier, Phys. Rev. 60, 252 (1941).
    """
    check_at_least("n", n, 2)
    check_n_states(n_states)
    check_nonnegative("coupling_scale", coupling_scale)
    if n_states**n > MAX_ROW_STATES:
        raise InputError(
            f"{n_states}^{n} states of a row are too many for the transfer matrix "
            f"(limit {MAX_ROW_STATES})"
        )
    rows = all_states(n, n_states)
    own = (rows != np.roll(rows, 1, axis=1)).sum(axis=1) / 2.0
    unequal = own[:, None] + own
    for column in rows.T:
        unequal += column[:, None] != column
    weights = np.exp(-coupling_scale * unequal)
    one_row = (weights, weights * unequal, weights * unequal**2)
    half = _power(one_row, n // 2)
    rest = _product(half, one_row, np.matmul) if n % 2 else half
    total, first, second = _product(half, rest, lambda a, b: float(np.vdot(a, b)))  # Tr a b
    mean = first / total
    n_bonds = 2 * n**2
    return TorusSolution(
        log_partition=coupling_scale * n_bonds + float(np.log(total)),
        mean_energy=coupling_scale * (mean - n_bonds),
        energy_variance=coupling_scale**2 * (second / total - mean**2),
    )


def _power(moments: tuple[Any, Any, Any], exponent: int) -> tuple[Any, Any, Any]:
    if exponent == 1:
        return moments
    half = _power(moments, exponent // 2)
    square = _product(half, half, np.matmul)
    return _product(square, moments, np.matmul) if exponent % 2 else square


def _product(
    left: tuple[Any, Any, Any], right: tuple[Any, Any, Any], times: Callable[[Any, Any], Any]
) -> tuple[Any, Any, Any]:
    """Return sums of weights, of weights * u and of weights * u^2, where the u of both add up."""
    return (
        times(left[0], right[0]),
        times(left[0], right[1]) + times(left[1], right[0]),
        times(left[0], right[2]) + 2.0 * times(left[1], right[1]) + times(left[2], right[0]),
    )
