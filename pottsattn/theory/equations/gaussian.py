"""Gaussian averages over the fields of one site, and the prox of the softmax cross-entropy.

Given the color y of a site the student's fields are omega = m P e_y + sqrt(q) P z, with
z ~ Normal(0, I_C) and P = I - 11^T / C. Its fitted fields u minimize cross-entropy + |u - omega|^2
/ (2 V), so that

    u + V softmax(u) = omega + V e_y,        p = softmax(u),  S = diag(p) - p p^T.

The replica equations need averages of p and S over z. By color symmetry y = 0 and the other C - 1
colors are exchangeable. Nodes are products of a Gauss-Hermite rule over C - 1 zero-sum directions,
chosen so that exchanging colors exchanges coordinates: one node per orbit remains, kept as
occupation numbers. comb(n + C - 2, C - 1) nodes of at most n + 1 distinct fields replace n^(C - 1)
nodes of C fields, few enough for every C, and nothing is random.

What is read out of the solution needs neither prox nor nodes (`readout`).

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
Loureiro et al., "Learning Gaussian mixtures with generalized linear models" (2021),
arXiv:2106.03791.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

Array = NDArray[np.float64]

NODE_BUDGETS = (400, 3000, 40000)  # of the coarse, the middle and the fine rule, before pruning
POINT_LIMITS = (64, 256, 1024)  # per direction; they bind for C = 2 only
NEGLIGIBLE_WEIGHT = 1e-13
WARM_STEPS = 8
NEWTON_STEP = 1e-6  # last step of a quadratically convergent iteration: errors near its square


@dataclass(frozen=True, eq=False)
class Nodes:
    """Quadrature nodes for z given y = 0, one per orbit of the C - 1 other colors.

    Attributes
    ----------
    weights : ndarray, shape (n_nodes,)
        Gaussian weights of the orbits; they sum to 1.
    fields : ndarray, shape (n_nodes, n_columns)
        Distinct entries of P z: column 0 belongs to y, the rest to the other colors.
    counts : ndarray, shape (n_nodes, n_columns)
        How many colors share each entry, as floats; zeros come last and mark unused columns.
    """

    weights: Array
    fields: Array
    counts: Array


class SiteAverages(NamedTuple):
    """Averages over the fields of one site at the order parameters (m, q, V).

    `squared_error` is E |e_y - p|^2, `response` E tr[S (I + V S)^-1], `error` E [1 - p_y] and
    `train_loss` E [-log p_y] in nats.
    """

    squared_error: float
    response: float
    error: float
    train_loss: float


class GaussianRule:
    """The averages of `SiteAverages` on fixed nodes, each solve started from the previous one.

    Parameters
    ----------
    nodes : Nodes
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        # t = log sum exp(u) and log(V p) of every node: the state that makes repeated calls cheap.
        self._log_norm = np.zeros(len(nodes.weights))
        self._log_shares = np.zeros_like(nodes.fields)
        self._is_warm = False

    def __call__(self, m: float, q: float, V: float) -> SiteAverages:
        """Return the averages at the order parameters m >= 0, q > 0, V > 0."""
        averages = np.zeros(4)
        nodes = self.nodes
        _sweep(
            nodes.weights,
            nodes.fields,
            nodes.counts,
            m,
            q,
            V,
            self._is_warm,
            self._log_norm,
            self._log_shares,
            averages,
        )
        self._is_warm = True
        return SiteAverages(*averages.tolist())

    def probabilities(self, V: float) -> Array:
        """Return p of the last call, shape (n_nodes, n_columns); unused columns are zero."""
        return np.where(self.nodes.counts > 0.0, np.exp(self._log_shares) / V, 0.0)


def points_per_direction(n_states: int) -> tuple[int, ...]:
    """Return the Gauss-Hermite orders of the coarse, middle and fine rule for C colors.

    Each is the largest order whose folded product stays within its node budget; orders that
    coincide are listed once.
    """
    orders = []
    for budget, limit in zip(NODE_BUDGETS, POINT_LIMITS, strict=True):
        order = 2
        while order < limit and math.comb(order + n_states - 1, n_states - 1) <= budget:
            order += 1
        orders.append(order)
    return tuple(sorted(set(orders)))


@lru_cache(maxsize=16)
def gauss_hermite_nodes(n_states: int, n_points: int) -> Nodes:
    """Return the folded product of `n_points` Gauss-Hermite points in the C - 1 directions.

    With x iid Normal(0, 1) over the other colors, z_a = x_a + b sum(x) and z_y = -sum_a z_a has
    covariance P for b = (1 / sqrt(C) - 1) / (C - 1). It treats the other colors alike, so a product
    node depends on how often each point occurs only, with a multinomial weight.
    """
    from scipy.special import gammaln, roots_hermitenorm

    n_others = n_states - 1
    points, point_weights = roots_hermitenorm(n_points)
    with np.errstate(divide="ignore"):  # the outermost weights of a long rule underflow
        log_point_weights = np.log(point_weights / point_weights.sum())
    useful = log_point_weights > math.log(NEGLIGIBLE_WEIGHT)
    points, log_point_weights = points[useful], log_point_weights[useful]

    occupations = _occupations(n_others, len(points))
    log_weights = (
        gammaln(n_others + 1.0)
        - gammaln(occupations + 1.0).sum(axis=1)
        + occupations @ log_point_weights
    )
    kept = log_weights > math.log(NEGLIGIBLE_WEIGHT)
    occupations, weights = occupations[kept], np.exp(log_weights[kept])

    total = occupations @ points
    shift = (1.0 / math.sqrt(n_states) - 1.0) / n_others * total
    n_distinct = min(len(points), n_others)
    order = np.argsort(occupations == 0, axis=1, kind="stable")[:, :n_distinct]
    fields_of_y = -(total + n_others * shift)
    return Nodes(
        weights=weights / weights.sum(),
        fields=np.column_stack([fields_of_y, points[order] + shift[:, None]]),
        counts=np.column_stack(
            [np.ones(len(weights)), np.take_along_axis(occupations, order, axis=1)]
        ),
    )


def _occupations(n_items: int, n_levels: int) -> Array:
    """Return every way to put `n_items` on `n_levels`, shape (n_ways, n_levels)."""
    n_slots = n_items + n_levels - 1
    bars = np.array(list(combinations(range(n_slots), n_levels - 1)), dtype=np.int64)
    bars = bars.reshape(-1, n_levels - 1)  # also right for one level: one way, no bars
    ends = np.ones((len(bars), 1), dtype=np.int64)
    return (np.diff(np.hstack([-ends, bars, n_slots * ends]), axis=1) - 1).astype(np.float64)


@njit
def _sweep(
    weights: Array,
    fields: Array,
    counts: Array,
    m: float,
    q: float,
    V: float,
    is_warm: bool,
    log_norm: Array,
    log_shares: Array,
    averages: Array,
) -> None:
    """Solve the prox on every node and write the four averages of `SiteAverages`."""
    n_columns = fields.shape[1]
    target = np.empty(n_columns)
    shares = np.empty(n_columns)
    scale = math.sqrt(q)
    averages[:] = 0.0
    for node in range(weights.shape[0]):
        count = counts[node]
        log_share = log_shares[node]
        n = n_columns
        while count[n - 1] == 0.0:
            n -= 1
        for a in range(n):
            target[a] = scale * fields[node, a]
        target[0] += m + V
        solved = False
        if is_warm:
            solved = _newton(target, count, n, V, log_norm, node, log_share, shares)
        if not solved:
            log_norm[node] = _safe_start(target, count, n, V, log_share)
            _newton(target, count, n, V, log_norm, node, log_share, shares)

        error = 0.0  # summed over the other colors: 1 - p_y would cancel when p_y is near 1
        squares = 0.0
        first = 0.0
        second = 0.0
        for a in range(n):
            share = math.exp(log_share[a])
            p = share / V
            d = p / (1.0 + share)
            first += count[a] * d
            second += count[a] * d * d
            if a > 0:
                error += count[a] * p
                squares += count[a] * p * p
        weight = weights[node]
        averages[0] += weight * (error * error + squares)
        # Sherman-Morrison: tr S (I + V S)^-1 = sum d - sum d^2 / sum d with d = p / (1 + V p).
        averages[1] += weight * (first - second / first)
        averages[2] += weight * error
        averages[3] += weight * (math.log(V) - log_share[0])


@njit
def _newton(
    target: Array,
    count: Array,
    n: int,
    V: float,
    log_norm: Array,
    node: int,
    log_share: Array,
    shares: Array,
) -> bool:
    """Newton's method for all unknowns at once; False when it leaves its basin.

    With W = V p the prox reads W_a + log W_a = target_a + log V - t and sum_a W_a = V. Working
    with log W keeps colors of vanishing probability exact.
    """
    log_V = math.log(V)
    for _ in range(WARM_STEPS):
        excess = -V
        slope = 0.0
        for a in range(n):
            share = math.exp(log_share[a])
            miss = share + log_share[a] - target[a] - log_V + log_norm[node]
            pull = share / (1.0 + share)
            shares[a] = share
            excess += count[a] * (share - pull * miss)
            slope += count[a] * pull
        norm_step = excess / slope
        largest = abs(norm_step)
        for a in range(n):
            miss = shares[a] + log_share[a] - target[a] - log_V + log_norm[node]
            step = (miss + norm_step) / (1.0 + shares[a])
            log_share[a] -= step
            largest = max(largest, abs(step))
        log_norm[node] += norm_step
        if largest < NEWTON_STEP:
            return True
        if not largest < 2.0:  # too far for the linearization, or NaN
            return False
    return False


@njit
def _safe_start(target: Array, count: Array, n: int, V: float, log_share: Array) -> float:
    """Return t = log sum exp(u) and set log W, from any distance.

    sum_a W_a(t) - V is convex and decreasing in t, and positive at t = max(target) - V, so that
    Newton's method climbs to its root without overshooting.
    """
    log_V = math.log(V)
    log_norm = target[0]
    for a in range(1, n):
        log_norm = max(log_norm, target[a])
    log_norm -= V
    for _ in range(200):
        excess = -V
        slope = 0.0
        for a in range(n):
            log_share[a] = _log_omega(target[a] + log_V - log_norm)
            share = math.exp(log_share[a])
            excess += count[a] * share
            slope += count[a] * share / (1.0 + share)
        step = excess / slope
        log_norm += step
        if not abs(step) > NEWTON_STEP:
            break
    return log_norm


@njit
def _log_omega(x: float) -> float:
    """Return l = log(wright_omega(x)), the root of e^l + l = x (convex: start on its right)."""
    value = math.log(x) if x > 1.0 else x
    for _ in range(100):
        share = math.exp(value)
        step = (share + value - x) / (1.0 + share)
        value -= step
        if not abs(step) > NEWTON_STEP:
            break
    return value
