"""Gaussian averages over the fields of one site whose context is masked afresh at every visit.

At each visit every other site is hidden with probability r. Given the sequence, the field of the
context that is left is Gaussian over the masks: (1 - r) u + sigma zeta, zeta ~ Normal(0, P), with
sigma^2 = r (1 - r) |w|^2 / C. Averaged over masks, the loss of a site of color y is

    loss_r(y, u) = E_zeta[ log sum_a e^(v_a) - v_y ],      v = (1 - r) u + sigma zeta,
    grad loss_r  = (1 - r) (pbar - e_y),                   pbar = E_zeta softmax(v),
    K = Hessian  = (1 - r)^2 E_zeta S,                     S = diag(p) - p p^T at p = softmax(v).

The fitted fields minimize loss_r + |u - omega|^2 / (2 V), which has no closed form: a safeguarded
Newton method solves it on every node of `gaussian`. Averages over zeta are one-dimensional
integrals (`kernels_smoothing`) for any number of colors, so that nothing is sampled here either.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.equations.gaussian import Nodes, SiteAverages
from pottsattn.theory.equations.kernels_smoothing import (
    STEPS_PER_POINT,
    smooth_softmax,
    sweep_smoothed,
    tabulate,
)

Array = NDArray[np.float64]

TABLE_SPACING = 0.0625  # errors of the interpolation below 1e-12 where T is not negligible


class SmoothedAverages(NamedTuple):
    """Averages over the fields of one site at the order parameters (m, q, V) and sigma^2.

    `site` holds those of an unmasked site, with the smoothed loss in place of the cross-entropy:
    E |grad loss_r|^2, E tr[K (I + V K)^-1], E [-grad_y loss_r] and E loss_r in nats. `roughness` is
    E tr S = E [1 - sum_a p_a^2], twice the slope of loss_r in sigma^2.
    """

    site: SiteAverages
    roughness: float


class SmoothedRule:
    """The averages of `SmoothedAverages` on fixed nodes, each solve started from the previous one.

    Parameters
    ----------
    nodes : Nodes
    mask_fraction : float
        r, at least 0 and below 1.
    """

    def __init__(self, nodes: Nodes, mask_fraction: float) -> None:
        self.nodes = nodes
        self.context = 1.0 - mask_fraction
        self.fitted_fields = np.zeros_like(nodes.fields)  # u of the last call; unused columns: 0
        self._is_warm = False

    def __call__(self, m: float, q: float, V: float, variance: float) -> SmoothedAverages:
        """Return the averages at m >= 0, q > 0, V > 0 and sigma^2 = `variance` >= 0."""
        table = _table(math.sqrt(variance))
        averages = np.zeros(5)
        nodes = self.nodes
        sweep_smoothed(
            nodes.weights,
            nodes.fields,
            nodes.counts,
            m,
            q,
            V,
            self.context,
            *table,
            self._is_warm,
            self.fitted_fields,
            averages,
        )
        self._is_warm = True
        *site, roughness = averages.tolist()
        return SmoothedAverages(SiteAverages(*site), roughness)


class SmoothedSoftmax(NamedTuple):
    """E log sum exp(v), in nats, pbar, shape (n_states,), and E S, shape (n_states, n_states)."""

    log_sum: float
    probabilities: Array
    curvature: Array


def smoothed_softmax(fields: Array, variance: float) -> SmoothedSoftmax:
    """Return averages at v = `fields` + sigma zeta, with zeta ~ Normal(0, P) and sigma^2 given.

    Parameters
    ----------
    fields : ndarray, shape (n_states,)
    variance : float
        sigma^2, at least 0.

    Examples
    --------
    >>> smoothed_softmax(np.array([1.0, 1.0]), 0.3).probabilities.round(6).tolist()
    [0.5, 0.5]
    """
    n_states = len(fields)
    table = _table(math.sqrt(variance))
    probabilities = np.empty(n_states)
    products = np.empty((n_states, n_states))
    log_sum = smooth_softmax(
        np.asarray(fields, dtype=np.float64),
        np.ones(n_states),
        n_states,
        *table,
        np.empty((4, n_states)),
        probabilities,
        products,
    )
    np.fill_diagonal(products, 0.0)
    # The common part of iid noise, of variance sigma^2 / C, moves no average: its mean is zero.
    return SmoothedSoftmax(log_sum, probabilities, np.diag(products.sum(axis=1)) - products)


class _Table(NamedTuple):
    """Lambda of `kernels_smoothing` as quintic pieces, shape (n_pieces, 6), and their length."""

    pieces: Array
    spacing: float


def _table(sigma: float) -> _Table:
    """Return Lambda wherever T is neither 1 nor negligible; noise makes it as smooth as itself."""
    bottom = -(24.0 + 7.0 * sigma)
    spacing = TABLE_SPACING * max(1.0, 0.5 * sigma)
    n_points = math.ceil((4.0 + 8.5 * sigma - bottom) / (spacing * STEPS_PER_POINT))
    pieces = np.empty((n_points * STEPS_PER_POINT, 6))
    tabulate(sigma, bottom, spacing, pieces)
    return _Table(pieces, spacing)
