"""Compiled parts of `finite_masks`: the prox of the masked copies of one site, coupled by a row.

Copy k has fields u_k = omega_k + V_c sum_l f_l + V_p f_k with f_k = c (e_y - softmax(u_k)), which
minimize c sum_k loss(u_k) + |u - omega|^2 / 2 in the metric of (V_c 1 1^T + V_p I)^-1. Newton's
method needs matrices of C colors only: with tau = c V_p and d = p / (1 + tau p),

    M_k = c S_k (I + tau S_k)^-1 = c (diag d - d d^T / sum d),
    s = V_c sum_k (f_k - c S_k step_k)   solves   (I + V_c M) s = V_c sum_k (f_k - M_k (omega_k
        + V_p f_k - u_k)),               M = sum_k M_k,
    step_k = (I + tau S_k)^-1 (omega_k + s + V_p f_k - u_k).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit
from pottsattn.theory.equations.kernels_elimination import eliminate

Array = NDArray[np.float64]

N_AVERAGES = 6
NEWTON_STEP = 1e-8
MAX_EVALUATIONS = 100


@njit
def sweep_copies(
    weights: Array,
    common: Array,
    private: Array,
    ends: NDArray[np.int64],
    m: float,
    common_scale: float,
    private_scale: float,
    V_common: float,
    V_private: float,
    copy_weight: float,
    is_warm: bool,
    fitted: Array,
    averages: Array,
) -> None:
    """Solve the prox on every node from `fitted`, and write the averages of `FiniteMaskRule`.

    `common` is z of a node, shape (n_nodes, C), `private` zeta of its copies, one after another,
    shape (n_copies, C), up to `ends`, shape (n_nodes,).
    """
    n_states = common.shape[1]
    most = 0
    start = 0
    for end in ends:
        most = max(most, end - start)
        start = end
    omega = np.empty((most, n_states))
    u = np.empty((most, n_states))
    p = np.empty((most, n_states))
    d = np.empty((most, n_states))
    sums = np.empty(most)
    step = np.zeros((most, n_states))
    matrix = np.empty((n_states, n_states))
    right = np.empty((n_states, n_states))
    shift = np.empty((n_states, 1))
    pull = np.empty(n_states)
    tau = copy_weight * V_private
    averages[:] = 0.0
    start = 0
    for node in range(weights.shape[0]):
        n = ends[node] - start
        for k in range(n):
            for a in range(n_states):
                omega[k, a] = (
                    common_scale * common[node, a]
                    + private_scale * private[start + k, a]
                    - m / n_states
                )
            omega[k, 0] += m
            if not is_warm:
                fitted[start + k] = omega[k]
        # (V_c 1 1^T + V_p I)^-1 = (I - spread 1 1^T) / V_p: what follows is the objective times
        # V_p, which is finite also where V_p is small.
        spread = V_common / (V_private + n * V_common)
        fraction = 1.0
        accepted = np.inf
        loss = 0.0
        step[:] = 0.0
        # One loop for Newton steps and for halving them: each turn evaluates at fitted + fraction *
        # step.
        for _ in range(MAX_EVALUATIONS):
            loss = 0.0
            distance = 0.0
            pull[:] = 0.0
            for k in range(n):
                highest = -np.inf
                for a in range(n_states):
                    u[k, a] = fitted[start + k, a] + fraction * step[k, a]
                    highest = max(highest, u[k, a])
                    away = u[k, a] - omega[k, a]
                    pull[a] += away
                    distance += away * away
                total = 0.0
                for a in range(n_states):
                    p[k, a] = math.exp(u[k, a] - highest)
                    total += p[k, a]
                for a in range(n_states):
                    p[k, a] /= total
                loss += highest + math.log(total) - u[k, 0]
            for a in range(n_states):
                distance -= spread * pull[a] * pull[a]
            value = 0.5 * distance + tau * loss
            # The slack is what rounding can add at the solution, where a step changes nothing.
            if value > accepted + 1e-12 * (1.0 + abs(accepted)):
                fraction *= 0.5  # the objective is convex: a shorter step descends
                continue
            accepted = value
            fraction = 1.0
            matrix[:] = 0.0
            shift[:] = 0.0
            for k in range(n):
                fitted[start + k] = u[k]
                _response(p[k], tau, d[k])
                sums[k] = d[k].sum()
                overlap = 0.0  # d . (omega + V_p f - u)
                for a in range(n_states):
                    force = copy_weight * ((1.0 if a == 0 else 0.0) - p[k, a])
                    step[k, a] = omega[k, a] + V_private * force - u[k, a]
                    overlap += d[k, a] * step[k, a]
                    shift[a, 0] += V_common * force
                for a in range(n_states):
                    shift[a, 0] -= (
                        V_common * copy_weight * d[k, a] * (step[k, a] - overlap / sums[k])
                    )
                _add_response(d[k], sums[k], copy_weight * V_common, matrix)
            for a in range(n_states):
                matrix[a, a] += 1.0
            eliminate(matrix, shift, matrix.shape[0], 1)
            largest = 0.0
            for k in range(n):
                # (I + tau S)^-1 = diag g + tau (g p) (g p)^T / sum d with g = 1 / (1 + tau p)
                overlap = 0.0
                for a in range(n_states):
                    step[k, a] += shift[a, 0]
                    overlap += d[k, a] * step[k, a]
                for a in range(n_states):
                    step[k, a] = step[k, a] / (1.0 + tau * p[k, a]) + (
                        tau * d[k, a] * overlap / sums[k]
                    )
                    largest = max(largest, abs(step[k, a]))
            # NaN ends the loop, too.
            if not largest > NEWTON_STEP:
                break

        matrix[:] = 0.0
        pull[:] = 0.0
        error = 0.0
        squares = 0.0
        for k in range(n):
            _response(p[k], tau, d[k])
            sums[k] = d[k].sum()
            _add_response(d[k], sums[k], copy_weight, matrix)
            miss = 0.0  # summed over the other colors: 1 - p_y would cancel when p_y is near 1
            for a in range(1, n_states):
                miss += p[k, a]
                squares += p[k, a] * p[k, a]
                pull[a] += p[k, a]
            error += miss
            squares += miss * miss
            pull[0] += miss
        for a in range(n_states):  # G = V_c (I + V_c M)^-1 beside M (I + V_c M)^-1
            for b in range(n_states):
                right[a, b] = matrix[a, b]
                matrix[a, b] *= V_common
            matrix[a, a] += 1.0
        collective = np.copy(right)
        eliminate(matrix, collective, n_states, n_states)
        for a in range(n_states):
            for b in range(n_states):
                matrix[a, b] = V_common * ((1.0 if a == b else 0.0) - V_common * collective[a, b])
        common_response = 0.0
        for a in range(n_states):
            common_response += collective[a, a]
        private_response = 0.0
        for k in range(n):
            first = 0.0
            second = 0.0
            for a in range(n_states):
                first += d[k, a]
                second += d[k, a] * d[k, a]
            private_response += copy_weight * (first - second / first)
            right[:] = 0.0
            _add_response(d[k], sums[k], copy_weight, right)
            for a in range(n_states):
                for b in range(n_states):
                    product = 0.0
                    for e in range(n_states):
                        product += right[a, e] * right[e, b]
                    private_response -= product * matrix[b, a]
        collected = 0.0
        for a in range(n_states):
            collected += pull[a] * pull[a]
        weight = weights[node]
        averages[0] += weight * copy_weight**2 * collected
        averages[1] += weight * copy_weight**2 * squares
        averages[2] += weight * common_response
        averages[3] += weight * private_response
        averages[4] += weight * copy_weight * error
        averages[5] += weight * loss
        start = ends[node]


@njit
def _response(p: Array, tau: float, d: Array) -> None:
    for a in range(p.shape[0]):
        d[a] = p[a] / (1.0 + tau * p[a])


@njit
def _add_response(d: Array, total: float, scale: float, matrix: Array) -> None:
    """Add scale (diag d - d d^T / sum d), as a Laplacian: semidefinite in floating point too."""
    for a in range(d.shape[0]):
        for b in range(a):
            bond = scale * d[a] * d[b] / total
            matrix[a, b] -= bond
            matrix[b, a] -= bond
            matrix[a, a] += bond
            matrix[b, b] += bond
