"""Cluster moves for ferromagnets without fields: Swendsen-Wang and Wolff.

J_ij(a, b) = A_ij [a = b] with A_ij >= 0. Neighbors in the same state are joined with probability
1 - exp(-beta A_ij); Swendsen-Wang gives every cluster a random state, Wolff grows one cluster from
a random site and gives it another state. A step of either counts as one sweep.

References: Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987); Wolff, Phys. Rev. Lett. 62, 361 (1989).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit
from pottsattn.sampling.kernels_random import draw_word

TWO_TO_32 = 2.0**32


@njit
def _below(stream: NDArray[np.uint32], size: int) -> np.int64:
    """Return a random integer 0..size-1."""
    # No rejection: a number comes up too often by size / 2^32 at most.
    return np.int64((np.uint64(draw_word(stream)) * np.uint64(size)) >> np.uint64(32))


@njit
def _root(parents: NDArray[np.int64], site: int) -> int:
    while parents[site] != site:
        parents[site] = parents[parents[site]]  # halves the path, without recursion
        site = parents[site]
    return site


@njit
def _energy(
    state: NDArray[np.uint8],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float64],
) -> float:
    energy = 0.0
    for i in range(len(state)):
        for k in range(starts[i], starts[i + 1]):
            if state[neighbors[k]] == state[i]:
                energy -= 0.5 * values[k]
    return energy


@njit
def sweep_swendsen_wang(
    states: NDArray[np.uint8],
    streams: NDArray[np.uint32],
    betas: NDArray[np.float32],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float64],
    n_states: int,
    n_sweeps: int,
    energies: NDArray[np.float64],
) -> None:
    """Advance chains in place: states (n_chains, L), streams (n_chains, 4), betas (n_chains,).

    starts (L + 1,), neighbors (E,) and values A_ij (E,) list both directions of every bond;
    energies (n_chains,) are written at the end, or empty.
    """
    n_chains, length = states.shape
    parents = np.empty(length, np.int64)
    fresh = np.empty(length, np.uint8)
    stay_apart = np.empty(len(values), np.float64)
    for chain in range(n_chains):
        state, stream = states[chain], streams[chain]
        for k in range(len(values)):
            # In units of a random word, so that a bond costs a comparison of numbers and no
            # division. Interactions of 0 give 2^32, which no word reaches: such sites never join.
            stay_apart[k] = np.exp(-np.float64(betas[chain]) * values[k]) * TWO_TO_32
        for _ in range(n_sweeps):
            for i in range(length):
                parents[i] = i
            for i in range(length):
                for k in range(starts[i], starts[i + 1]):
                    j = np.int64(neighbors[k])
                    # Each bond once, though the lists hold it twice.
                    if j < i and state[j] == state[i] and draw_word(stream) >= stay_apart[k]:
                        first, second = _root(parents, i), _root(parents, j)
                        # The lower site is the root: what is drawn for a cluster does not depend on
                        # the order in which it was joined.
                        if first < second:
                            parents[second] = first
                        else:
                            parents[first] = second
            for i in range(length):
                root = _root(parents, i)
                if root == i:
                    fresh[i] = _below(stream, n_states)
            for i in range(length):
                state[i] = fresh[_root(parents, i)]
        if len(energies) > 0:
            energies[chain] = _energy(state, starts, neighbors, values)


@njit
def sweep_wolff(
    states: NDArray[np.uint8],
    streams: NDArray[np.uint32],
    betas: NDArray[np.float32],
    starts: NDArray[np.int64],
    neighbors: NDArray[np.uint32],
    values: NDArray[np.float64],
    n_states: int,
    n_sweeps: int,
    energies: NDArray[np.float64],
) -> None:
    """Advance chains in place, one cluster a sweep; arguments as in `sweep_swendsen_wang`."""
    n_chains, length = states.shape
    stack = np.empty(length, np.int64)
    stay_apart = np.empty(len(values), np.float64)
    for chain in range(n_chains):
        state, stream = states[chain], streams[chain]
        for k in range(len(values)):
            stay_apart[k] = np.exp(-np.float64(betas[chain]) * values[k]) * TWO_TO_32
        for _ in range(n_sweeps):
            seed = _below(stream, length)
            old = state[seed]
            # One of the other states, all alike: it must differ, since a site of the old state is
            # one that was not visited.
            new = np.uint8((old + 1 + _below(stream, n_states - 1)) % n_states)
            state[seed] = new
            stack[0] = seed
            n_left = 1
            while n_left > 0:
                n_left -= 1
                i = stack[n_left]
                for k in range(starts[i], starts[i + 1]):
                    j = np.int64(neighbors[k])
                    if state[j] == old and draw_word(stream) >= stay_apart[k]:
                        # Flipped when it is put on the stack, so that it cannot be put there again:
                        # L places are enough.
                        state[j] = new
                        stack[n_left] = j
                        n_left += 1
        if len(energies) > 0:
            energies[chain] = _energy(state, starts, neighbors, values)
