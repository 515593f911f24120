"""Where a fit without a penalty exists: alpha above a threshold alpha_c.

Below it some direction of the couplings separates the data, every sequence's true color having the
largest field, and the likelihood grows without end along it (the transition of Candes and Sur for
logistic regression, C = 2). As ridge -> 0 the replica equations depend on C and rho alone, and so
does

    alpha_c = max_{|t| < 1} (1 - t^2) / E dist^2( t sqrt(rho) P e_y + P z, K_y ),
    K_y = { u : u_y >= u_a for all a },

times k^2 for students of multiplicity k (C - 1 for free blocks, sqrt(H) for H heads).

The nearest point of K_y has its y and all larger entries pooled at one value l, where
l - u_y = R = sum_a (u_a - l)_+, and dist^2 = R^2 + sum_a (u_a - l)_+^2. Held at l the colors are
independent (z may be taken iid), and the density of u_y is Gaussian, so that

    E dist^2 = int dl E[ (1 + N) (R^2 + Q) phi(l - R - t sqrt(rho)) ]

with N, R, Q = sums of (1, r, r^2) over the pooled colors, r = (u_a - l)_+: one Fourier integral of
products over colors, for any C.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
Candes, Sur, "The phase transition for the existence of the maximum likelihood estimate in
high-dimensional logistic regression", Ann. Statist. 48, 27 (2020), arXiv:1804.09753.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import check_n_states, check_positive
from pottsattn.theory.ensemble import check_paramagnetic

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

REACH = 9.0  # standard deviations
LEVEL_STEP = 0.1


def existence_threshold(n_states: int, coupling_scale: float, multiplicity: float = 1.0) -> float:
    """Return alpha_c of an SK-Potts teacher, in sequences per site.

    Parameters
    ----------
    n_states : int
        Number of colors C, 2 to 256.
    coupling_scale : float
        J in units of k_B T, at least 0 and below C.
    multiplicity : float
        k of the student: 1 (factored), C - 1 (full), sqrt(H) (H heads).

    Raises
    ------
    InputError
        A value out of range.

    Examples
    --------
    >>> round(existence_threshold(2, 1.0), 3)
    2.341
    """
    n_states = check_n_states(n_states)
    scale = check_paramagnetic(n_states, coupling_scale)
    return separability_threshold(n_states, scale**2 / n_states) * (
        check_positive("multiplicity", multiplicity) ** 2
    )


@lru_cache(maxsize=256)
def separability_threshold(n_states: int, rho: float) -> float:
    """Return alpha_c of the factored student where the true fields have strength `rho`."""
    from scipy.optimize import minimize_scalar

    def negative(t: float) -> float:
        return -(1.0 - t * t) / mean_squared_distance(n_states, t * math.sqrt(rho))

    found = minimize_scalar(negative, bounds=(-0.999, 0.999), options={"xatol": 1e-7})
    return float(-found.fun)


def mean_squared_distance(n_states: int, signal: float) -> float:
    """Return E dist^2(`signal` P e_y + P z, K_y)."""
    from scipy.special import erfcx, ndtr

    n = n_states - 1
    level = np.arange(-REACH, REACH, LEVEL_STEP)[:, None]
    # Low levels pool many colors: far above l - u_y, R would only come back as an alias.
    density = np.exp(-0.5 * level**2) / math.sqrt(2.0 * math.pi)
    mean = n * (density - level * ndtr(-level))
    possible = mean - REACH * math.sqrt(n) < level + REACH + abs(signal)
    level, density = level[possible][:, None], density[possible][:, None]
    k_step = 2.0 * math.pi / (4.0 * REACH + 2.0 * REACH * math.sqrt(n) + abs(signal))
    k = np.arange(0.0, REACH, k_step)
    # E r^j e^(ikr) over pooled colors, j = 0, 1, 2, and E e^(ikr) over all.
    argument = np.asarray(level - 1j * k, dtype=np.complex128) / math.sqrt(2.0)
    pooled = np.exp(-0.5 * level**2) * _scaled_complement(argument) / 2.0
    once = density + (1j * k - level) * pooled
    twice = pooled + 1j * k * once - level * once
    free = 0.5 * erfcx(-level / math.sqrt(2.0)) * np.exp(-0.5 * level**2)
    every = free + pooled

    def power(exponent: int) -> Complex:
        product: Complex = every ** max(exponent, 0)
        return product

    # (1 + N) (2 sum r_a^2 + sum_{a != b} r_a r_b), pair by pair of colors.
    total = 4.0 * n * twice * power(n - 1)
    total = total + n * (n - 1) * (3.0 * once**2 + 2.0 * twice * pooled) * power(n - 2)
    total = total + n * (n - 1) * (n - 2) * once**2 * pooled * power(n - 3)
    weights = np.exp(-0.5 * k**2 - 1j * k * (level - signal))
    weights[:, 0] *= 0.5
    return float((total * weights).real.sum() * LEVEL_STEP * k_step / math.pi)


def _scaled_complement(z: Complex) -> Complex:
    """Return exp(z^2) erfc(z) for complex z."""
    from scipy.special import wofz

    scaled: Complex = wofz(1j * z)
    return scaled
