"""Averages over the fields of one site as two-dimensional integrals, for any number of colors.

With W = V p the prox of `gaussian` reads W_a + log W_a = sqrt(q) z_a + x (+ m + V for a = y), where
x = log V - t is common to all colors and fixed by sum_a W_a = V. Held at x the colors are
independent (z may be taken iid: the softmax ignores a common shift), so that an average over z
becomes one over x of products over colors:

    E F = int dx E[ F delta(sum_a W_a - V) sum_a g_a ],      g_a = dW_a / dx = W_a / (1 + W_a),
    delta(D) = int ds / (2 pi i) exp(-s D)  along Re s > 0.

F = p_y, p_a^2, log p_y are sums over colors. So is the response once it is multiplied by sum g:
V tr[S (I + V S)^-1] = sum g - sum g^2 / sum g. Each product has one smoothed transform per color,
psi(s, x) = E exp(-s W), with one or two factors replaced. C enters as an exponent only: the cost
grows like sqrt(C), where product rules over C - 1 directions either grow exponentially or lose
digits.

The rule along s is a window on the Fourier series of the sum with period 4 V: exact up to e^-28 for
its aliases, and for smooth densities of the sum near V. F = 1 measures what is left: its average is
the norm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.equations.gaussian import SiteAverages
from pottsattn.theory.equations.kernels_inversion import invert

Array = NDArray[np.float64]

LEAST_STATES = 3  # for two colors the density of their sum is too rough
REACH = 8.2  # standard deviations
DAMPING = 6.0  # Re s V; aliases of the sum are e^-24
SHARPEST = 5.0  # frequency times width of the sum that is still resolved
TAPER = 56  # frequencies that let go of what lies V away from the sum
MOST_FREQUENCIES = 600
MOST_STEPS = 20_000_000
PLACE_STEP = 1.0  # in units of the width of x
OVERSAMPLING = 7.0  # standard deviations of the transform of a Gaussian


class InversionRule:
    """The averages of `SiteAverages`, of at least three colors.

    Attributes
    ----------
    norm_error : float
        |E 1 - 1| in the last call: how exact it was.
    """

    def __init__(self, n_states: int) -> None:
        self.n_states = n_states
        self.norm_error = math.nan

    def is_affordable(self, m: float, q: float, V: float) -> bool:
        """Whether an evaluation takes less than about 1 s: not for very wide fields."""
        return _Grid.of(self.n_states, math.sqrt(q), V).n_steps < MOST_STEPS

    def __call__(self, m: float, q: float, V: float) -> SiteAverages:
        """Return the averages at m >= 0, q > 0, V > 0; NaN where they are not affordable.

        An iteration that strays to very wide fields ends there.
        """
        n_states = self.n_states
        scale = math.sqrt(q)
        signal = m + V
        grid = _Grid.of(n_states, scale, V)
        if not grid.n_steps < MOST_STEPS:
            return SiteAverages(math.nan, math.nan, math.nan, math.nan)
        steps = np.arange(-grid.n_side, grid.n_side + 1) * grid.spacing
        kernel = np.exp(-0.5 * (steps / scale) ** 2)
        sums = np.empty(6)
        invert(
            n_states,
            V,
            _place(n_states, V, signal) - REACH * scale,
            grid.spacing,
            grid.stride,
            grid.n_places,
            signal,
            kernel / kernel.sum(),
            DAMPING / V,
            0.5 * math.pi / V,
            grid.window,
            sums,
        )
        norm, own, own_square, other_squares, response, log_share = sums.tolist()
        self.norm_error = abs(norm - 1.0)
        # Dividing by the norm cancels part of the error.
        own, own_square = own / norm / V, own_square / norm / V**2
        return SiteAverages(
            squared_error=1.0 - 2.0 * own + own_square + other_squares / norm / V**2,
            response=response / V,
            error=1.0 - own,
            train_loss=math.log(V) - log_share / norm,
        )


class _Grid(NamedTuple):
    """Places x, `stride` steps of `spacing` apart: places resolve x, steps the turns of e^(-s W).

    `n_side` steps hold the Gaussian to one side, and `window` weights the frequencies.
    """

    window: Array
    spacing: float
    stride: int
    n_places: int
    n_side: int

    @property
    def n_steps(self) -> int:
        """Cost of an evaluation."""
        return self.n_places * (2 * self.n_side + 1) * len(self.window)

    @classmethod
    def of(cls, n_states: int, scale: float, V: float) -> _Grid:
        window = _window(n_states, scale, V)
        place_step = min(PLACE_STEP * scale / math.sqrt(n_states), 0.3)
        highest = 0.5 * math.pi * len(window) / (1.0 + V)
        stride = math.ceil(place_step * (highest + OVERSAMPLING / scale) / (2.0 * math.pi))
        spacing = place_step / stride
        n_places = math.ceil(2.0 * REACH * scale / place_step) + 1
        return cls(window, spacing, stride, n_places, math.ceil(REACH * scale / spacing))


def _window(n_states: int, scale: float, V: float) -> Array:
    """Return weights of the frequencies: flat over those that matter, then smoothly to zero."""
    from scipy.special import erfc

    steepness = max(1.0 + V, math.sqrt(n_states) * (1.0 + V / n_states))  # V over the width
    n_flat = min(SHARPEST * (2.0 / math.pi) * steepness / scale, MOST_FREQUENCIES)
    n_frequencies = math.ceil(n_flat) + TAPER
    position = np.arange(n_frequencies) / n_frequencies
    window: Array = erfc(n_frequencies / 6.5 * (position - 1.0) + 4.2) * (0.25 / V)
    window[0] *= 0.5
    return window


def _place(n_states: int, V: float, signal: float) -> float:
    """Return x where sum_a W_a = V without noise."""
    from scipy.special import wrightomega

    low = math.log(V / n_states) - signal - 1.0
    high = V + math.log(V) + 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        total = (n_states - 1) * wrightomega(middle) + wrightomega(middle + signal)
        if total > V:
            high = middle
        else:
            low = middle
    return high
