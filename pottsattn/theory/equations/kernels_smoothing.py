"""Compiled parts of `smoothed`: averages of the softmax under Gaussian noise, and their prox.

The noise is sigma zeta, with zeta iid Normal(0, 1) over the colors: the softmax ignores the common
shift by which this differs from Normal(0, P). With psi(x) = E exp(-e^(x + sigma zeta)),
Lambda = -log psi, rho = Lambda' and T(x) = exp(-sum_a Lambda(x + v_a)),

    E log sum_a e^(v_a + sigma zeta_a) = int dx ( psi(x) - T )
    pbar_a = E softmax_a               = int dx rho(x + v_a) T
    w_ab   = E softmax_a softmax_b     = int dx rho(x + v_a) rho(x + v_b) T     for a != b

(x = log s in log u = int ds/s (e^-s - e^(-s u)), less E sigma zeta = 0 written the same way; the
lines below are derivatives of the first). So an average over C - 1 directions costs one integral
for any C, and the Hessian is the Laplacian of the graph with weights w: positive semidefinite in
floating point too. The trapezoid rule in x converges exponentially.

Colors that share an entry v_a are kept once, with a count.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit
from pottsattn.theory.equations.kernels_elimination import eliminate

Array = NDArray[np.float64]

STEPS_PER_POINT = 6  # of the trapezoid rule: a color keeps its place between two entries
# Of the trapezoid rule in zeta. exp(-e^(x + sigma zeta)) is bounded for |Im(sigma zeta)| < pi / 2,
# so that at steps of 0.3 / sigma the error is about e^(-pi^2 / 0.3) = 5e-15.
NOISE_STEP = 0.3
NOISE_REACH = 12.0
WIDE_NOISE = 8.0
# The same with pi^2 / 0.25: 7e-18.
GUMBEL_STEP = 0.25
GUMBEL_BOTTOM, GUMBEL_TOP = -100.0, 4.0
NEGLIGIBLE_EXPONENT = 40.0  # T below 4e-18
NEWTON_STEP = 1e-9
MAX_EVALUATIONS = 200


@njit
def tabulate(sigma: float, bottom: float, spacing: float, coefficients: Array) -> None:
    """Write the quintic pieces of Lambda on a grid from `bottom`, shape (n_pieces, 6)."""
    n_pieces = coefficients.shape[0]
    before = np.zeros(3)
    after = np.zeros(3)
    for i in range(n_pieces + 1):
        x = bottom + spacing * i
        if sigma < WIDE_NOISE:
            total, survival, miss, first, second = _noise_sums(sigma, x)
        else:
            total, survival, miss, first, second = _gumbel_sums(sigma, x)
        # Lambda is tiny at the bottom and large at the top: neither may cancel.
        if miss < survival:
            after[0] = -math.log1p(-miss / total)
        else:
            after[0] = -math.log(survival / total)
        slope = first / survival
        after[1] = spacing * slope
        after[2] = spacing**2 * (second / survival + slope * slope)
        if i > 0:
            # The quintic with the values, slopes and curvatures of both ends.
            rise = after[0] - before[0] - before[1] - 0.5 * before[2]
            tilt = after[1] - before[1] - before[2]
            bend = after[2] - before[2]
            piece = coefficients[i - 1]
            piece[0] = before[0]
            piece[1] = before[1]
            piece[2] = 0.5 * before[2]
            piece[3] = 10.0 * rise - 4.0 * tilt + 0.5 * bend
            piece[4] = -15.0 * rise + 7.0 * tilt - bend
            piece[5] = 6.0 * rise - 3.0 * tilt + 0.5 * bend
        before[:] = after


@njit
def _noise_sums(sigma: float, x: float) -> tuple[float, float, float, float, float]:
    """Return sums over zeta of 1, e^-s, 1 - e^-s, s e^-s and (s - s^2) e^-s, s = e^(x + noise)."""
    noise_step = NOISE_STEP / max(sigma, 1.0)
    n_side = int(NOISE_REACH / noise_step)
    total = survival = miss = first = second = 0.0
    for j in range(-n_side, n_side + 1):
        z = noise_step * j
        weight = math.exp(-0.5 * z * z)
        # exp(-e^7) is 0 in double precision: beyond it s e^-s would become infinity times 0.
        s = math.exp(min(x + sigma * z, 7.0))
        decay = math.exp(-s)
        total += weight
        survival += weight * decay
        miss -= weight * math.expm1(-s)
        first += weight * s * decay
        second += weight * (s - s * s) * decay
    return total, survival, miss, first, second


@njit
def _gumbel_sums(sigma: float, x: float) -> tuple[float, float, float, float, float]:
    """Return the sums of `_noise_sums` for wide noise, at a cost that does not grow with it.

    exp(-e^t) = P(Y > t) for Y of density e^(y - e^y), so that psi(x) = E Phi((Y - x) / sigma).
    """
    total = survival = miss = first = second = 0.0
    for j in range(int((GUMBEL_TOP - GUMBEL_BOTTOM) / GUMBEL_STEP) + 1):
        y = GUMBEL_BOTTOM + GUMBEL_STEP * j
        weight = math.exp(y - math.exp(y))
        z = (y - x) / sigma
        slope = weight * math.exp(-0.5 * z * z) / (math.sqrt(2.0 * math.pi) * sigma)
        total += weight
        survival += weight * 0.5 * math.erfc(-z / math.sqrt(2.0))
        miss += weight * 0.5 * math.erfc(z / math.sqrt(2.0))
        first += slope
        second += slope * z / sigma
    return total, survival, miss, first, second


@njit
def smooth_softmax(
    v: Array,
    count: Array,
    n: int,
    table: Array,
    spacing: float,
    places: Array,
    probabilities: Array,
    products: Array,
) -> float:
    """Return E log sum exp at v, write pbar, shape (n,), and w, shape (n, n), diagonal included.

    `table` holds pieces of length `spacing`, as `tabulate` writes them; `places`
    is scratch, shape (4, n): row of the table, place within it, Lambda below it, rho.
    """
    step = spacing * STEPS_PER_POINT
    highest = v[0]
    for a in range(1, n):
        highest = max(highest, v[a])
    for a in range(n):
        # Shifted by the largest entry, so that every point lies in the table or below it, where
        # Lambda is an exponential.
        position = (v[a] - highest) / spacing
        row = math.floor(position)
        places[0, a] = row
        places[1, a] = position - row
        places[2, a] = table[0, 0] * math.exp(v[a] - highest) if row < 0 else 0.0
        probabilities[a] = 0.0
        for b in range(a + 1):
            products[a, b] = 0.0
    growth = math.exp(step)
    n_points = table.shape[0] // STEPS_PER_POINT
    log_sum = 0.0
    end = n_points
    for k in range(n_points):
        exponent = 0.0
        for a in range(n):
            row = int(places[0, a]) + STEPS_PER_POINT * k
            if row < 0:  # Lambda and rho are e^x times a constant there
                value = places[2, a]
                places[2, a] *= growth
                places[3, a] = value
            else:
                t = places[1, a]
                c = table[row]
                value = c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5]))))
                slope = c[1] + t * (
                    2.0 * c[2] + t * (3.0 * c[3] + t * (4.0 * c[4] + t * 5.0 * c[5]))
                )
                places[3, a] = slope / spacing
            exponent += count[a] * value
        if exponent > NEGLIGIBLE_EXPONENT:
            end = k
            break
        density = math.exp(-exponent)
        # psi - T, both between 0 and 1; alone neither integral exists.
        log_sum += math.exp(-table[STEPS_PER_POINT * k, 0]) - density
        for a in range(n):
            weighted = places[3, a] * density
            probabilities[a] += weighted
            for b in range(a + 1):
                products[a, b] += weighted * places[3, b]
    for k in range(end, n_points):
        log_sum += math.exp(-table[STEPS_PER_POINT * k, 0])
    for a in range(n):
        probabilities[a] *= step
        for b in range(a + 1):
            products[a, b] *= step
            products[b, a] = products[a, b]
    return highest + step * log_sum


@njit
def sweep_smoothed(
    weights: Array,
    fields: Array,
    counts: Array,
    m: float,
    q: float,
    V: float,
    context: float,
    table: Array,
    spacing: float,
    is_warm: bool,
    fitted: Array,
    averages: Array,
) -> None:
    """Solve the prox on every node from `fitted`, and write the five averages of `SmoothedRule`.

    `context` is the fraction 1 - r of sites that a masked sequence shows.
    """
    n_columns = fields.shape[1]
    scale = math.sqrt(q)
    stiffness = V * context * context
    target = np.empty(n_columns)
    u = np.empty(n_columns)
    v = np.empty(n_columns)
    step = np.empty((n_columns, 1))
    p = np.empty(n_columns)
    w = np.empty((n_columns, n_columns))
    matrix = np.empty((n_columns, n_columns))
    right = np.empty((n_columns, n_columns))
    places = np.empty((4, n_columns))
    averages[:] = 0.0
    for node in range(weights.shape[0]):
        count = counts[node]
        n = n_columns
        while count[n - 1] == 0.0:
            n -= 1
        mean = m / count[:n].sum()
        for a in range(n):
            target[a] = scale * fields[node, a] - mean
        target[0] += m
        if not is_warm:
            fitted[node, :n] = target[:n]

        log_sum = 0.0
        accepted = np.inf
        fraction = 1.0
        step[:] = 0.0
        for _ in range(MAX_EVALUATIONS):
            distance = 0.0
            for a in range(n):
                u[a] = fitted[node, a] + fraction * step[a, 0]
                v[a] = context * u[a]
                distance += count[a] * (u[a] - target[a]) ** 2
            log_sum = smooth_softmax(v, count, n, table, spacing, places, p, w)
            value = 0.5 * distance + V * (log_sum - v[0])
            # The slack covers rounding and the interpolation of the table.
            if value > accepted + 1e-11 * (1.0 + abs(accepted)):
                fraction *= 0.5  # the objective is convex: a shorter step descends
                continue
            accepted = value
            fraction = 1.0
            fitted[node, :n] = u[:n]
            _fill_laplacian(w, count, n, right)
            largest = 0.0
            for a in range(n):
                excess = p[a] - 1.0 if a == 0 else p[a]
                # In coordinates times the root of the counts the system is symmetric: `eliminate`
                # wants that.
                root = math.sqrt(count[a])
                step[a, 0] = -root * (u[a] - target[a] + V * context * excess)
                for b in range(n):
                    matrix[a, b] = stiffness * right[a, b]
                matrix[a, a] += 1.0
            eliminate(matrix, step, n, 1)
            for a in range(n):
                step[a, 0] /= math.sqrt(count[a])
                largest = max(largest, abs(step[a, 0]))
            # NaN ends the loop, too.
            if not largest > NEWTON_STEP:
                break

        error = 0.0  # summed over the other colors: 1 - p_y would cancel when p_y is near 1
        squares = 0.0
        roughness = 0.0
        response = 0.0
        for a in range(n):
            if a > 0:
                error += count[a] * p[a]
                squares += count[a] * p[a] * p[a]
            # Within a group of equal colors the Laplacian acts as a number, on count - 1 modes.
            within = right[a, a] + count[a] * w[a, a]
            response += (count[a] - 1.0) * within / (1.0 + stiffness * within)
            roughness += count[a] * (within - w[a, a])
            for b in range(n):
                matrix[a, b] = stiffness * right[a, b]
            matrix[a, a] += 1.0
        eliminate(matrix, right, n, n)
        for a in range(n):
            response += right[a, a]
        weight = weights[node]
        averages[0] += weight * context * context * (error * error + squares)
        averages[1] += weight * context * context * response
        averages[2] += weight * context * error
        averages[3] += weight * (log_sum - v[0])
        averages[4] += weight * roughness


@njit
def _fill_laplacian(w: Array, count: Array, n: int, laplacian: Array) -> None:
    """Write the Laplacian between groups of equal colors, in their normalized coordinates."""
    for a in range(n):
        total = 0.0
        for b in range(n):
            if b != a:
                total += count[b] * w[a, b]
                laplacian[a, b] = -math.sqrt(count[a] * count[b]) * w[a, b]
        laplacian[a, a] = total
