"""The prox of the softmax cross-entropy with a matrix response, averaged over Gaussian fields.

Fields live in the C - 1 zero-sum directions, the columns of `directions` (E below). For the color y
of a site the student's fields are omega = M E^T e_y + Q^(1/2) z. Its fitted fields u minimize
cross-entropy + (u - omega)^T V^-1 (u - omega) / 2. With R = V^(1/2) and u = omega + R v, v
minimizes

    |v|^2 / 2 + log sum_a exp((E u)_a) - (E u)_y,

which is strongly convex also where V is singular. Newton's method with backtracking finds it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

Array = NDArray[np.float64]

NEWTON_STEP = 1e-6  # last step of a quadratically convergent iteration: errors near its square
MAX_STEPS = 100


@njit
def color_sweep(
    directions: Array,
    weights: Array,
    nodes: Array,
    M: Array,
    Q_root: Array,
    V_root: Array,
    misses: Array,
    noise: Array,
    curvature: Array,
    signal: Array,
) -> float:
    """Solve the prox on every node for every color and write the averages; return the loss.

    With g = E^T (e_y - p) and K = E^T S E: noise is E[g g^T], curvature E[K (I + V K)^-1] and
    signal E[g e_y^T E]. `misses`, shape (C, n_nodes, C - 1), holds g: the start, and the answer.
    """
    n_states, n = directions.shape
    omega = np.empty(n)
    v = np.empty(n)
    p = np.empty(n_states)
    g = np.empty(n)
    K = np.empty((n, n))
    RK = np.empty((n, n))
    factor = np.empty((n, n))
    loss = 0.0
    noise[:] = 0.0
    curvature[:] = 0.0
    signal[:] = 0.0
    for y in range(n_states):
        for node in range(weights.shape[0]):
            for i in range(n):
                omega[i] = 0.0
                v[i] = 0.0
                for j in range(n):
                    omega[i] += M[i, j] * directions[y, j] + Q_root[i, j] * nodes[node, j]
                    # At the solution v = R g: a start that is good also when V has changed since.
                    v[i] += V_root[i, j] * misses[y, node, j]
            weight = weights[node] / n_states
            loss += weight * _solve(directions, y, omega, V_root, v, p, g, K, RK, factor)
            for i in range(n):
                misses[y, node, i] = g[i]
                for j in range(n):
                    noise[i, j] += weight * g[i] * g[j]
                    signal[i, j] += weight * g[i] * directions[y, j]
            # K (I + V K)^-1 = K - (R K)^T (I + R K R)^-1 (R K)
            _hessian(directions, p, V_root, K, RK, factor)
            for j in range(n):
                for i in range(n):
                    v[i] = RK[i, j]
                _cholesky_solve(factor, v)
                for i in range(n):
                    curvature[i, j] += weight * K[i, j]
                    for k in range(n):
                        curvature[i, j] -= weight * RK[k, i] * v[k]
    return loss


@njit
def color_loss(directions: Array, weights: Array, nodes: Array, M: Array, Q_root: Array) -> float:
    """Return E[log sum_a exp(u_a) - u_y] at u = M e_y + Q^(1/2) z, averaged over y, in nats."""
    n_states, n = directions.shape
    p = np.empty(n_states)
    g = np.empty(n)
    total = 0.0
    for y in range(n_states):
        mean = M @ directions[y]
        for node in range(weights.shape[0]):
            total += weights[node] * _miss(directions, y, mean + Q_root @ nodes[node], p, g)
    return total / n_states


@njit
def _miss(directions: Array, y: int, u: Array, p: Array, g: Array) -> float:
    """Write p and g = E^T (e_y - p) at fields u; return -log p_y."""
    n_states, n = directions.shape
    largest = -math.inf
    for a in range(n_states):
        field = 0.0
        for i in range(n):
            field += directions[a, i] * u[i]
        p[a] = field
        largest = max(largest, field)
    of_y = p[y]
    total = 0.0
    others = 0.0  # 1 - p_y would cancel when p_y is near 1
    for a in range(n_states):
        p[a] = math.exp(p[a] - largest)
        total += p[a]
        if a != y:
            others += p[a]
    for a in range(n_states):
        p[a] /= total
    for i in range(n):
        g[i] = directions[y, i] * others / total
        for a in range(n_states):
            if a != y:
                g[i] -= directions[a, i] * p[a]
    # The term of y is exactly 1 then, so that log1p keeps losses far below 1e-16.
    if of_y == largest:
        return math.log1p(others)
    return largest - of_y + math.log(total)


@njit
def _solve(
    directions: Array,
    y: int,
    omega: Array,
    V_root: Array,
    v: Array,
    p: Array,
    g: Array,
    K: Array,
    RK: Array,
    factor: Array,
) -> float:
    """Solve the prox from v on; write v, p and g, and return -log p_y."""
    n = omega.shape[0]
    u = np.empty(n)
    step = np.empty(n)
    loss = _at(directions, y, omega, V_root, v, u, p, g)
    value = loss + 0.5 * _square(v)
    for _ in range(MAX_STEPS):
        _hessian(directions, p, V_root, K, RK, factor)
        for i in range(n):
            step[i] = -v[i]
            for j in range(n):
                step[i] += V_root[i, j] * g[j]
        _cholesky_solve(factor, step)
        largest = 0.0
        reach = 0.0
        for i in range(n):
            move = 0.0
            for j in range(n):
                move += V_root[i, j] * step[j]
            reach = max(reach, abs(move))
            largest = max(largest, abs(step[i]))
            v[i] += step[i]
        loss = _at(directions, y, omega, V_root, v, u, p, g)
        new_value = loss + 0.5 * _square(v)
        # The Hessian hardly changes over small moves of the fields; over long ones a step may be
        # too long.
        while reach > 0.5 and new_value > value:
            reach *= 0.5
            for i in range(n):
                step[i] *= 0.5
                v[i] -= step[i]
            loss = _at(directions, y, omega, V_root, v, u, p, g)
            new_value = loss + 0.5 * _square(v)
        value = new_value
        if largest < NEWTON_STEP:
            break
    return loss


@njit
def _at(
    directions: Array,
    y: int,
    omega: Array,
    V_root: Array,
    v: Array,
    u: Array,
    p: Array,
    g: Array,
) -> float:
    """Write u = omega + R v, p and g; return -log p_y."""
    n = omega.shape[0]
    for i in range(n):
        u[i] = omega[i]
        for j in range(n):
            u[i] += V_root[i, j] * v[j]
    return _miss(directions, y, u, p, g)


@njit
def _hessian(
    directions: Array, p: Array, V_root: Array, K: Array, RK: Array, factor: Array
) -> None:
    """Write K = E^T (diag(p) - p p^T) E, R K and the Cholesky factor of I + R K R."""
    n_states, n = directions.shape
    for i in range(n):
        mean = 0.0
        for a in range(n_states):
            mean += p[a] * directions[a, i]
        for j in range(i + 1):
            total = 0.0
            for a in range(n_states):
                # Centered before it is summed: a difference of averages would cancel where p is
                # near 0 or 1.
                total += p[a] * (directions[a, i] - mean) * directions[a, j]
            K[i, j] = total
            K[j, i] = total
    for i in range(n):
        for j in range(n):
            RK[i, j] = 0.0
            for k in range(n):
                RK[i, j] += V_root[i, k] * K[k, j]
    for i in range(n):
        for j in range(i + 1):
            total = 1.0 if i == j else 0.0
            for k in range(n):
                total += RK[i, k] * V_root[k, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            # I + R K R is at least I: no pivoting, and no root of a negative number, even where V
            # is singular.
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]


@njit
def _cholesky_solve(factor: Array, x: Array) -> None:
    """Solve L L^T x = x in place."""
    n = factor.shape[0]
    for i in range(n):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]


@njit
def _square(x: Array) -> float:
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    return total
