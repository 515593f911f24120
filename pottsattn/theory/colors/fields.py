"""Averages over the fields of one site when colors are not treated alike.

Given the color y, a student's fields are omega = M e_y + Q^(1/2) z in the C - 1 zero-sum
directions, with matrices M and Q and a matrix response V. The averages run over the colors y and
over products of Gauss-Hermite points, without the folding that color symmetry allows in `gaussian`:
up to five colors.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
Loureiro et al., "Learning Gaussian mixtures with generalized linear models" (2021),
arXiv:2106.03791.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.colors.kernels_colors import color_loss, color_sweep

Array = NDArray[np.float64]

MAX_COLORS = 5
# Points per direction of the coarse, the middle and the fine rule, by C.
POINTS = {2: (64, 256, 1024), 3: (16, 40, 100), 4: (8, 14, 28), 5: (6, 9, 14)}
NEGLIGIBLE_WEIGHT = 1e-13


class ColorAverages(NamedTuple):
    """Averages over the fields at (M, Q, V); matrices of shape (C - 1, C - 1).

    `noise` is E[(e_y - p)(e_y - p)^T], `curvature` E[S (I + V S)^-1], `signal` E[(e_y - p) e_y^T]
    and `train_loss` E[-log p_y] in nats.
    """

    noise: Array
    curvature: Array
    signal: Array
    train_loss: float


class ColorRule:
    """The averages of `ColorAverages` on fixed nodes, each solve started from the previous one."""

    def __init__(self, n_states: int, n_points: int) -> None:
        self.directions = zero_sum_directions(n_states)
        self.nodes, self.weights = _product_nodes(n_states - 1, n_points)
        self._misses = np.zeros((n_states, *self.nodes.shape))

    def __call__(self, M: Array, Q: Array, V: Array) -> ColorAverages:
        """Return the averages; Q and V are symmetric and may be singular."""
        noise, curvature, signal = np.empty((3, *M.shape))
        loss = color_sweep(
            self.directions,
            self.weights,
            self.nodes,
            np.ascontiguousarray(M),
            symmetric_root(Q),
            symmetric_root(V),
            self._misses,
            noise,
            curvature,
            signal,
        )
        return ColorAverages(noise, curvature, signal, loss)


def color_rules(n_states: int) -> list[ColorRule]:
    """Return the coarse, the middle and the fine rule for C colors, 2 to `MAX_COLORS`."""
    return [ColorRule(n_states, n_points) for n_points in POINTS[n_states]]


def mean_color_loss(M: Array, Q: Array) -> float:
    """Return E[log sum_a exp(u_a) - u_y] at u = M e_y + Q^(1/2) z over all colors y, in nats.

    M and Q are in the coordinates of `zero_sum_directions`, shape (C - 1, C - 1). The products of
    the fine rule are exact to about 1e-8 for C <= 4 and 1e-6 for C = 5 while |Q| is of order one.
    """
    n_states = len(M) + 1
    nodes, weights = finest_nodes(n_states)
    root = symmetric_root(Q)
    return float(
        color_loss(zero_sum_directions(n_states), weights, nodes, np.ascontiguousarray(M), root)
    )


def finest_nodes(n_states: int) -> tuple[Array, Array]:
    """Return nodes z, shape (n_nodes, C - 1), and weights of the fine rule."""
    return _product_nodes(n_states - 1, POINTS[n_states][-1])


@lru_cache(maxsize=8)
def zero_sum_directions(n_states: int) -> Array:
    """Return orthonormal columns that span the zero-sum vectors, shape (C, C - 1): E E^T = P."""
    steps = np.tril(np.ones((n_states, n_states - 1)))
    for a in range(1, n_states):
        steps[a:, a - 1] = 0.0
        steps[a, a - 1] = -a
        steps[:a, a - 1] = 1.0
    directions: Array = steps / np.linalg.norm(steps, axis=0)
    directions.flags.writeable = False
    return directions


def symmetric_root(matrix: Array) -> Array:
    """Return the root of a symmetric matrix; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(matrix)
    root: Array = np.ascontiguousarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
    return root


@lru_cache(maxsize=16)
def _product_nodes(n_directions: int, n_points: int) -> tuple[Array, Array]:
    """Return Gauss-Hermite products, shape (n_nodes, n_directions), and their weights."""
    from scipy.special import roots_hermitenorm

    points, point_weights = roots_hermitenorm(n_points)
    shape = (n_directions, -1)
    nodes = np.stack(np.meshgrid(*[points] * n_directions, indexing="ij")).reshape(shape).T
    products = np.stack(np.meshgrid(*[point_weights] * n_directions, indexing="ij"))
    weights = products.reshape(shape).prod(axis=0)
    weights /= weights.sum()
    kept = weights > NEGLIGIBLE_WEIGHT
    return np.ascontiguousarray(nodes[kept]), weights[kept] / weights[kept].sum()
