"""Time learning curves of 40 alphas against a plain NumPy iteration, answers checked first.

    python benchmarks/theory.py

The reference is what one writes from the equations: a full Gauss-Hermite product (Sobol points for
C > 5), SciPy's Wright omega inside Newton's method, 50 % damping, each alpha started from the one
before, test loss on the nodes. It runs 4 of the 40 alphas, and its time is multiplied by 10.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: one thread on both sides
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.special import logsumexp, ndtri, wrightomega
from scipy.stats import qmc

from pottsattn import __version__
from pottsattn.theory.curve import learning_curve

RIDGE = 0.1
ALPHAS = np.logspace(-1.0, 2.0, 40)
CASES = [(2, 1.0), (3, 1.5), (4, 2.0), (5, 2.5), (21, 3.0)]
REFERENCE_POINTS = {2: 32, 3: 16, 4: 12, 5: 8}
REFERENCE_EVERY = 10
REPEATS = 3

# C, J, ridge, alpha: m, q, V, test loss, Bayes loss, training loss, coupling error
KNOWN = {
    (2, 1.0, 0.1, 0.5): (0.203561, 0.708555, 3.50577, 0.750135, 0.581726, 0.218394, 1.56163),
    (2, 1.0, 0.1, 2.0): (0.446153, 1.41446, 1.53916, 0.768230, 0.581726, 0.350410, 2.25441),
    (2, 1.0, 0.1, 8.0): (0.517212, 0.890589, 0.358869, 0.648715, 0.581726, 0.516385, 0.863316),
    (3, 1.5, 0.1, 1.0): (0.484439, 0.994467, 1.46747, 1.08656, 0.877181, 0.546245, 1.11161),
    (3, 1.5, 0.1, 4.0): (0.699303, 1.06316, 0.478681, 0.983603, 0.877181, 0.755561, 0.654939),
    (3, 1.5, 0.1, 16.0): (0.742896, 0.853789, 0.121145, 0.907693, 0.877181, 0.845822, 0.193951),
    (4, 2.0, 0.3, 2.0): (0.523152, 0.459810, 0.392896, 1.18190, 1.05633, 0.965935, 0.474968),
}
COLUMNS = ("m", "q", "V", "test_loss", "bayes_loss", "train_loss", "coupling_error")


def largest_deviation() -> float:
    """Return the largest relative deviation from the known values (printed to six digits)."""
    largest = 0.0
    for (n_states, scale, ridge, alpha), known in KNOWN.items():
        curve = learning_curve(n_states, scale, [alpha], ridge)
        found = np.array([getattr(curve, name)[0] for name in COLUMNS])
        largest = max(largest, float(np.abs(found / np.array(known) - 1.0).max()))
    return largest


def reference_curve(n_states: int, scale: float, alphas: np.ndarray, ridge: float) -> np.ndarray:
    """Return the test losses of the plain iteration."""
    z, weights = reference_nodes(n_states)
    angles = np.arange(1, 101) * (math.pi / 101)
    trace = np.sin(angles) ** 2 * (2.0 / 101)
    x = 1.0 / (n_states + scale**2 / n_states - 2.0 * scale * np.cos(angles))
    m, q, V = scale**2 / n_states, scale**2 / n_states, 1.0
    losses = []
    for alpha in alphas:
        for _ in range(1000):
            p = reference_prox(z, m, q, V)
            miss = -p
            miss[:, 0] += 1.0
            d = p / (1.0 + V * p)
            noise = alpha * weights @ (miss**2).sum(axis=1)
            response = d.sum(axis=1) - (d**2).sum(axis=1) / d.sum(axis=1)
            D = ridge + alpha * (weights @ response) * x
            signal = alpha * weights @ miss[:, 0]
            new_m = signal * scale**2 * trace @ (x**2 / D)
            new_q = signal**2 * scale**2 * trace @ (x**3 / D**2) + noise * trace @ (x**2 / D**2)
            new_V = trace @ (x / D)
            step = np.log([new_m / m, new_q / q, new_V / V])
            m, q, V = np.array([m, q, V]) * np.exp(0.5 * step)
            if np.abs(step).max() < 1e-8:
                break
        u = math.sqrt(q) * z
        u[:, 0] += m
        losses.append(weights @ (logsumexp(u, axis=1) - u[:, 0]))
    return np.array(losses)


def reference_nodes(n_states: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes P z, shape (n_nodes, C), and weights."""
    basis = np.linalg.svd(np.eye(n_states) - 1.0 / n_states)[0][:, : n_states - 1]
    if n_states not in REFERENCE_POINTS:
        uniform = qmc.Sobol(n_states - 1, rng=0).random_base2(11)
        return ndtri(uniform) @ basis.T, np.full(2**11, 2.0**-11)
    points, weights = np.polynomial.hermite_e.hermegauss(REFERENCE_POINTS[n_states])
    z = np.array(list(itertools.product(points, repeat=n_states - 1)))
    product = np.prod(list(itertools.product(weights, repeat=n_states - 1)), axis=1)
    product /= product.sum()
    kept = product > 1e-13
    return z[kept] @ basis.T, product[kept]


def reference_prox(z: np.ndarray, m: float, q: float, V: float) -> np.ndarray:
    """Return p, shape (n_nodes, C)."""
    target = math.sqrt(q) * z
    target[:, 0] += m + V
    log_norm = target.max(axis=1) - V
    for _ in range(50):
        shares = wrightomega(target + math.log(V) - log_norm[:, None])
        step = (shares.sum(axis=1) - V) / (shares / (1.0 + shares)).sum(axis=1)
        log_norm += step
        if np.abs(step).max() < 1e-10:
            break
    return shares / V


def seconds(function, repeats: int = REPEATS) -> float:
    """Return the shortest wall time of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Check, then time."""
    start = time.perf_counter()
    deviation = largest_deviation()
    first = time.perf_counter() - start
    print(f"pottsattn {__version__}, numpy {np.__version__}, {platform.platform()}")
    print(f"known values: largest relative deviation {deviation:.1e} (six digits are known)")
    if deviation > 1e-5:
        raise SystemExit("wrong answers: nothing to time")
    print(f"first seven points, compilation or loading of its cache included: {first:.2f} s")
    few = ALPHAS[::REFERENCE_EVERY]
    print(f"{len(ALPHAS)} alphas 0.1..100, ridge {RIDGE}; reference {len(few)} alphas, scaled")
    print(" C   seconds  reference  ratio  evaluations  difference  error of the losses (max)")
    for n_states, scale in CASES:
        curve = learning_curve(n_states, scale, ALPHAS, RIDGE)
        if not curve.converged.all():
            raise SystemExit(f"theory: {curve.message}")
        losses = reference_curve(n_states, scale, few, RIDGE)
        difference = np.abs(losses / curve.test_loss[::REFERENCE_EVERY] - 1.0).max()
        ours = seconds(lambda C=n_states, J=scale: learning_curve(C, J, ALPHAS, RIDGE))
        theirs = seconds(lambda C=n_states, J=scale: reference_curve(C, J, few, RIDGE), 1)
        theirs *= len(ALPHAS) / len(few)
        print(
            f"{n_states:2d} {ours:9.3f} {theirs:10.2f} {theirs / ours:6.0f}"
            f" {curve.n_iterations.sum():12d} {difference:11.1e} {curve.loss_error.max():12.1e}"
        )


if __name__ == "__main__":
    main()
