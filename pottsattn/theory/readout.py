"""What the fields of a student predict: loss, error, accuracy and confidence, without nodes.

At u = m P e_y + sqrt(q) P z, with z ~ Normal(0, I_C), every average here is an integral over one or
two variables for any number of colors C, since all of them ignore a common shift of u: z may be
taken iid. The trapezoid rule is exponentially accurate for these integrands.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_accuracy", "mean_confidence", "mean_error", "mean_loss"]

Array = NDArray[np.float64]

LOG_STEP = 0.25  # of log s; the error is exp(-pi^2 / step)
CONFIDENCE_STEP = 0.1


def mean_loss(n_states: int, m: float, q: float) -> float:
    """Return E[log sum_a exp(u_a) - u_y] at u = m P e_y + sqrt(q) P z, in nats.

    With log t = int_0^inf (e^-s - e^(-s t)) ds / s and s = e^x,

        E log sum_a e^(u_a) = int dx ( exp(-e^x) - psi(x + m) psi(x)^(C - 1) ),
        psi(x) = E exp(-e^(x + sqrt(q) z)).

    The absolute error is below 1e-12.
    """
    x = _grid(m, q)
    scale = math.sqrt(q)
    with_signal = _smoothed(_decay, x + m, scale)
    without = _smoothed(_decay, x, scale)
    integrand = _decay(x) - with_signal * without ** (n_states - 1)
    return float(LOG_STEP * integrand.sum() - m)


def mean_error(n_states: int, m: float, q: float) -> float:
    """Return E[1 - p_y] at u = m P e_y + sqrt(q) P z, p = softmax(u): minus d mean_loss / dm.

    At the fields of the true model, m = q = rho, it is also E[1 - sum_a p_a^2].
    """
    x = _grid(m, q)
    scale = math.sqrt(q)
    slope = _smoothed(_slope, x + m, scale)
    without = _smoothed(_decay, x, scale)
    return float(1.0 - LOG_STEP * (slope * without ** (n_states - 1)).sum())


def mean_accuracy(n_states: int, m: float, q: float) -> float:
    """Return P(argmax_a u_a = y) at u = m P e_y + sqrt(q) P z.

    It is int phi(z) Phi(z + m / sqrt(q))^(C - 1) dz.
    """
    from scipy.special import ndtr

    z = np.arange(-8.5, 8.5, 0.05)
    density = np.exp(-0.5 * z * z)
    return float(density @ ndtr(z + m / math.sqrt(q)) ** (n_states - 1) / density.sum())


def mean_confidence(n_states: int, m: float, q: float) -> float:
    """Return E[max_a p_a] at u = m P e_y + sqrt(q) P z; a calibrated student has the accuracy.

    With s = e^(x - v), where v is the largest field,

        E max_a p_a = sum_a int dv phi_a(v) int dx e^x exp(-e^x) prod_(b != a) Psi_b(x, v),
        Psi_b(x, v) = int_0^inf dd phi_b(v - d) exp(-e^(x - d)).

    Errors are below 1e-7 for q < 20.
    """
    scale = math.sqrt(q)
    step = CONFIDENCE_STEP / max(1.0, 0.5 * scale)
    z = np.arange(-8.0 - m / scale, 8.0 + m / scale + step, step)
    gap = np.arange(0.0, z[-1] - z[0] + step, step)
    x = np.arange(-20.0, 4.0, LOG_STEP)
    kept = _decay(x - scale * gap[:, None])  # (n_gaps, n_x)
    weights = np.full(len(gap), step)
    weights[0] *= 0.5
    # The integrals end at d = 0: trapezoid rule with its first correction there.
    end = step**2 / 12.0
    slope_of_kept = scale * np.exp(x) * kept[0]

    def below(shift: float) -> Array:
        distance = z[:, None] - gap - shift
        density = _density(distance)
        at_end = density[:, :1] * (distance[:, :1] * kept[0] + slope_of_kept)
        integral: Array = (density * weights) @ kept + end * at_end
        return integral

    signal = m / scale
    others, of_y = below(0.0), below(signal)
    top = np.exp(x) * _decay(x)
    n_others = n_states - 1
    if_y = _density(z - signal) @ (others**n_others @ top)
    if_other = n_others * _density(z) @ ((of_y * others ** (n_others - 1)) @ top)
    return float(step * LOG_STEP * (if_y + if_other))


def _grid(m: float, q: float) -> Array:
    """Return log s from where integrands vanish down to where they are e^-40, in LOG_STEP."""
    reach = 8.5 * math.sqrt(q)
    n_steps = math.ceil((45.0 + 2.0 * reach + max(m, 0.0)) / LOG_STEP)
    return 5.0 + reach - LOG_STEP * np.arange(n_steps, dtype=np.float64)


def _smoothed(function: Callable[[Array], Array], x: Array, scale: float) -> Array:
    """Return E function(x + scale z) on a grid that falls in steps of LOG_STEP."""
    if scale < 1.0:
        z = np.arange(-8.5, 8.75, 0.25)
        density = np.exp(-0.5 * z * z)
        average: Array = function(x[:, None] + scale * z) @ density
        return average / density.sum()
    # For wide fields let both grids share their step: the average becomes a convolution.
    n_reach = math.ceil(8.5 * scale / LOG_STEP)
    offsets = LOG_STEP * np.arange(-n_reach, n_reach + 1)
    density = np.exp(-0.5 * (offsets / scale) ** 2)
    padded = x[0] - LOG_STEP * np.arange(-n_reach, len(x) + n_reach)
    return np.convolve(function(padded), density / density.sum(), mode="valid")


def _decay(x: Array) -> Array:
    """Return exp(-e^x); it is zero from x = 7 on, and e^x overflows at 710."""
    decay: Array = np.exp(-np.exp(np.minimum(x, 7.0)))
    return decay


def _slope(x: Array) -> Array:
    """Return e^x exp(-e^x)."""
    bounded = np.minimum(x, 7.0)
    slope: Array = np.exp(bounded - np.exp(bounded))
    return slope


def _density(z: Array) -> Array:
    """Return the density of Normal(0, 1)."""
    density: Array = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return density
