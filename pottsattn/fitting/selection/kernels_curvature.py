"""The part of the Hessian of a factored row that counts sites in equal states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit


@njit
def same_state_sums(
    sequences: NDArray[np.uint8],
    weighted: NDArray[np.float64],
    of_sites: NDArray[np.float64],
    of_states: NDArray[np.float64],
) -> None:
    """Add sum_m w_m p_m(s_j) [s_j = s_k] to of_sites (L, L), w_m p_m(a) [s_j = a] to of_states.

    sequences (M, L); weighted (M, C) is w_m p_m(a); of_states (C, L). Sites are sorted by their
    state, so that a sequence costs about L^2 / C.
    """
    n_sequences, length = sequences.shape
    n_states = weighted.shape[1]
    starts = np.empty(n_states + 1, np.int64)
    places = np.empty(n_states, np.int64)
    order = np.empty(length, np.int64)
    for m in range(n_sequences):
        sequence, weights = sequences[m], weighted[m]
        # Counting sort: sites in equal states become neighbors in `order`.
        starts[:] = 0
        for j in range(length):
            starts[sequence[j] + 1] += 1
        for a in range(n_states):
            starts[a + 1] += starts[a]
            places[a] = starts[a]
        for j in range(length):
            state = sequence[j]
            order[places[state]] = j
            places[state] += 1
            of_states[state, j] += weights[state]
        for a in range(n_states):
            weight = weights[a]
            for at in range(starts[a], starts[a + 1]):
                # Both halves are filled, though they are equal: no branch in the innermost loop.
                row = of_sites[order[at]]
                for other in range(starts[a], starts[a + 1]):
                    row[order[other]] += weight
