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

Array = NDArray[np.float64]

LOG_STEP = 0.25  # of log s; the error is exp(-pi^2 / step)
WIDE = 16.0  # sqrt(q) from which on averages are so smooth in log s that steps grow with it
CONFIDENCE_STEP = 0.1


def mean_loss(n_states: int, m: float, q: float) -> float:
    """Return E[log sum_a exp(u_a) - u_y] at u = m P e_y + sqrt(q) P z, in nats.

    With log t = int_0^inf (e^-s - e^(-s t)) ds / s and s = e^x,

        E log sum_a e^(u_a) = int dx ( exp(-e^x) - psi(x + m) psi(x)^(C - 1) ),
        psi(x) = E exp(-e^(x + sqrt(q) z)).

    The first term is -gamma - x_0 from x_0 on (gamma: Euler's constant), the second 1 there. The
    error is below 1e-12, absolute or relative to sqrt(q).
    """
    x, step = _grid(m, q)
    scale = math.sqrt(q)
    with_signal = _survival(x + m, scale)
    kept = with_signal * _survival(x, scale) ** (n_states - 1)
    return float(-np.euler_gamma - x[-1] - step * (kept.sum() - 0.5 * kept[-1]) - m)


def mean_error(n_states: int, m: float, q: float) -> float:
    """Return E[1 - p_y] at u = m P e_y + sqrt(q) P z, p = softmax(u): minus d mean_loss / dm.

    At the fields of the true model, m = q = rho, it is also E[1 - sum_a p_a^2].
    """
    x, step = _grid(m, q)
    scale = math.sqrt(q)
    slope = _slope_of_survival(x + m, scale)
    return float(1.0 - step * (slope * _survival(x, scale) ** (n_states - 1)).sum())


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

    Errors are below 1e-7.
    """
    from scipy.special import ndtr

    scale = math.sqrt(q)
    step = CONFIDENCE_STEP
    z = np.arange(-8.0 - m / scale, 8.0 + m / scale + step, step)
    # Psi_b = Phi - int dd phi_b(v - d) (1 - exp(-e^(x - d))), and the latter ends with e^(x - d).
    narrow = step / max(1.0, 0.5 * scale)
    gap = np.arange(0.0, min(z[-1] - z[0], 48.0 / scale) + narrow, narrow)
    x = np.arange(-20.0, 4.0, LOG_STEP)
    lost = 1.0 - _decay(x - scale * gap[:, None])  # (n_gaps, n_x)
    weights = np.full(len(gap), narrow)
    weights[0] *= 0.5
    # The integrals end at d = 0: trapezoid rule with its first correction there.
    end = narrow**2 / 12.0
    slope_of_lost = scale * np.exp(x) * _decay(x)

    def below(shift: float) -> Array:
        distance = z[:, None] - gap - shift
        density = _density(distance)
        at_end = density[:, :1] * (distance[:, :1] * lost[0] - slope_of_lost)
        integral: Array = (density * weights) @ lost + end * at_end
        return ndtr(z - shift)[:, None] - integral

    signal = m / scale
    others, of_y = below(0.0), below(signal)
    top = np.exp(x) * _decay(x)
    n_others = n_states - 1
    if_y = _density(z - signal) @ (others**n_others @ top)
    if_other = n_others * _density(z) @ ((of_y * others ** (n_others - 1)) @ top)
    return float(step * LOG_STEP * (if_y + if_other))


def _grid(m: float, q: float) -> tuple[Array, float]:
    """Return x = log s from where integrands vanish down to where they are e^-40, and its step."""
    scale = math.sqrt(q)
    step = LOG_STEP if scale < WIDE else scale / WIDE
    n_steps = math.ceil((45.0 + 17.0 * scale + max(m, 0.0)) / step)
    return 5.0 + 8.5 * scale - step * np.arange(n_steps, dtype=np.float64), step


def _survival(x: Array, scale: float) -> Array:
    """Return psi(x) = E exp(-e^(x + scale z)), z ~ Normal(0, 1), on a grid of `_grid`.

    exp(-e^t) = P(Y > t) for Y of density e^(y - e^y), so that it is E Phi((Y - x) / scale) too: the
    cost of that does not grow with the width.
    """
    if scale < WIDE:
        return _smoothed(_decay, x, scale)
    from scipy.special import ndtr

    y, weights = _gumbel()
    return np.asarray(ndtr((y - x[:, None]) / scale) @ weights)


def _slope_of_survival(x: Array, scale: float) -> Array:
    """Return -psi'(x) = E s exp(-s) at s = e^(x + scale z)."""
    if scale < WIDE:
        return _smoothed(_slope, x, scale)
    y, weights = _gumbel()
    return np.asarray(_density((y - x[:, None]) / scale) @ (weights / scale))


def _gumbel() -> tuple[Array, Array]:
    """Return y and the weights of its density e^(y - e^y)."""
    y = np.arange(-45.0, 4.5, LOG_STEP)
    density = _slope(y)
    return y, density / density.sum()


def _smoothed(function: Callable[[Array], Array], x: Array, scale: float) -> Array:
    """Return E function(x + scale z) on a grid that falls in steps of LOG_STEP."""
    if scale < 1.0:
        z = np.arange(-8.5, 8.75, 0.25)
        density = np.exp(-0.5 * z * z)
        average: Array = function(x[:, None] + scale * z) @ density
        return average / density.sum()
    # For wider fields let both grids share their step: the average becomes a convolution.
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
