"""Attention to areas, and what it does to the scores, for one softmax layer on patches.

The score of patch q for query p is z_m Phi_{p,m} 1{q visible} + Upsilon_{pq}, m the area of q
(Huang et al., arXiv:2403.02233; docs/spatial.md). All visible patches of an area
share z_m Phi_{p,m}, so exp(score) = exp(z_m Phi_{p,m}) exp(Upsilon_{pq}): a query costs one
exponential per area and one addition per patch instead of one exponential per patch.

A batch holds, for every input, its cluster, its latents z (n_areas,), and a slot for every patch:
its area if it is visible, n_areas if it is hidden.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

Floats = NDArray[np.float64]


def position_weights(upsilon: Floats) -> Floats:
    """Return exp(Upsilon) with every row scaled by its largest entry, shape (P, P)."""
    weights: Floats = np.exp(upsilon - upsilon.max(axis=1, keepdims=True))
    return weights


@njit(fastmath={"contract"})
def area_attention(
    phi: Any,
    positions: Any,
    clusters: Any,
    latents: Any,
    slots: Any,
    queries: Any,
    weights: Any,
    attention: Any,
) -> None:
    """Fill `attention` (B, P, N), what each query gives to the visible patches of each area.

    `weights` (B, P, N + 1) gets the factor of exp(Upsilon) by slot: a_{pq} = weights[b, p, slot of
    q] positions[p, q]. Only rows in `queries` (B, P) are filled.
    """
    n_inputs, n_patches = slots.shape
    n_areas = latents.shape[1]
    columns = positions.T.copy()  # of all queries at once, so that sums run along memory
    sums = np.empty((n_areas + 1, n_patches))
    for b in range(n_inputs):
        sums[:] = 0.0
        for q in range(n_patches):
            slot_sums, column = sums[slots[b, q]], columns[q]
            for p in range(n_patches):
                slot_sums[p] += column[p]
        for p in range(n_patches):
            if not queries[b, p]:
                continue
            row = weights[b, p]
            # Hidden patches have the score 0: the largest is never below.
            shift = 0.0
            for m in range(n_areas):
                row[m] = latents[b, m] * phi[clusters[b], p, m]
                if sums[m, p] > 0.0:  # an area without a visible patch would shift all to zero
                    shift = max(shift, row[m])
            row[n_areas] = math.exp(-shift)
            total = row[n_areas] * sums[n_areas, p]
            for m in range(n_areas):
                row[m] = math.exp(row[m] - shift) if sums[m, p] > 0.0 else 0.0
                total += row[m] * sums[m, p]
            row /= total
            for m in range(n_areas):
                attention[b, p, m] = row[m] * sums[m, p]


@njit(fastmath={"contract"})
def score_gradient(
    positions: Any,
    clusters: Any,
    latents: Any,
    slots: Any,
    queries: Any,
    weights: Any,
    attention: Any,
    cotangent: Any,
    phi_gradient: Any,
    upsilon_gradient: Any,
) -> None:
    """Add the gradients in Phi (K, P, N) and Upsilon (P, P) of sum_bpm cotangent attention.

    The softmax gives  d A_m / d s_q = a_q (1{q visible in m} - A_m).
    """
    n_inputs, n_patches = slots.shape
    n_areas = latents.shape[1]
    table = np.zeros((n_areas + 1, n_patches))
    columns = np.zeros((n_patches, n_patches))  # of Upsilon, by key
    for b in range(n_inputs):
        for p in range(n_patches):
            if not queries[b, p]:
                table[:, p] = 0.0
                continue
            # But for exp(Upsilon), which comes last, all patches of a slot have the same gradient.
            mean = 0.0
            for m in range(n_areas):
                mean += cotangent[b, p, m] * attention[b, p, m]
            for m in range(n_areas):
                push = cotangent[b, p, m] - mean
                phi_gradient[clusters[b], p, m] += latents[b, m] * attention[b, p, m] * push
                table[m, p] = weights[b, p, m] * push
            table[n_areas, p] = -weights[b, p, n_areas] * mean
        for q in range(n_patches):
            column, slot_pushes = columns[q], table[slots[b, q]]
            for p in range(n_patches):
                column[p] += slot_pushes[p]
    for p in range(n_patches):
        for q in range(n_patches):
            # Left to the end: exp(Upsilon) is the same for all inputs of a batch.
            upsilon_gradient[p, q] += positions[p, q] * columns[q, p]
