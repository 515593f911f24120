"""The SK-Potts ensemble: spectrum of its susceptibility, and where the theory holds.

Couplings A_ij = A_ji ~ Normal(0, J^2 / L) times the identity in color space, no fields, C colors.
In the paramagnetic phase the zero-sum part of the one-hot covariance is chi (x) P with

    chi = ((C + J^2 / C) I - A)^-1,      (1 / L) tr chi = 1 / C,

A having the semicircle spectrum on [-2 J, 2 J]. That phase ends at the spin-glass instability J = C
or, for C > 2, the ferromagnetic spinodal J = C sqrt(2 / (C - 2)); a first-order ferromagnetic
transition cannot come before J^2 = 4 C (C - 1) log(C - 1) / (C - 2)^2. For C > 4 the glass
transition is discontinuous and earlier than J = C (J = 4.955, 5.83, 8.84, 15.16 for C = 5, 6, 10,
21), yet above the ferromagnetic spinodal, so it moves no boundary given here.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.validate import InputError, check_at_least, check_nonnegative

LOG_STEP = 0.22  # of log u; the error is some 100 exp(-pi^2 / step), below rounding
REACH = 13.0  # of log u beyond the last pole: weights fall like u^3 and u^-3
MIN_GAP = 1e-16  # of 1 - J / C: the spacing of float64


@dataclass(frozen=True)
class PhaseZone:
    """Where a coupling scale lies among the transitions of the SK-Potts ensemble.

    Attributes
    ----------
    zone : {"safe", "caution", "invalid"}
        "safe" below every scale here; "caution" from the first-order bound on, where a first-order
        transition may have happened; "invalid" from the first instability on, where the
        paramagnetic theory does not hold.
    spin_glass_scale : float
        J = C, where the spectrum of chi loses its gap.
    ferromagnetic_scale, first_order_bound : float or None
        None for C = 2, which has no ferromagnetic transition at zero mean coupling.
    """

    zone: Literal["safe", "caution", "invalid"]
    spin_glass_scale: float
    ferromagnetic_scale: float | None
    first_order_bound: float | None

    @classmethod
    def of(
        cls, scale: float, glass: float, spinodal: float | None = None, bound: float | None = None
    ) -> PhaseZone:
        """Return the zone of J = `scale`, given where the transitions are."""
        if scale >= min(glass, math.inf if spinodal is None else spinodal):
            return cls("invalid", glass, spinodal, bound)
        is_safe = bound is None or scale < bound
        return cls("safe" if is_safe else "caution", glass, spinodal, bound)


def phase_zone(n_states: int, coupling_scale: float) -> PhaseZone:
    """Return the zone of `coupling_scale` (J, in units of k_B T) for C = `n_states` colors.

    Raises
    ------
    InputError
        Fewer than two states or a negative coupling scale.

    Examples
    --------
    >>> phase_zone(5, 3.8).zone
    'caution'
    """
    n_states = check_at_least("n_states", n_states, 2)
    scale = check_nonnegative("coupling_scale", coupling_scale)
    glass = float(n_states)
    if n_states == 2:
        return PhaseZone.of(scale, glass)
    excess = n_states - 2
    spinodal = n_states * math.sqrt(2.0 / excess)
    bound = 2.0 * math.sqrt(n_states * (n_states - 1) * math.log(n_states - 1)) / excess
    return PhaseZone.of(scale, glass, spinodal, bound)


def warn_outside_safe_zone(n_states: int, coupling_scale: float, *, stacklevel: int) -> str:
    """Return the zone of samples of SK-Potts models; warn where it is not "safe"."""
    zone = phase_zone(n_states, coupling_scale).zone
    if zone != "safe":
        warnings.warn(
            f"coupling_scale {coupling_scale:g} with {n_states} states is in the zone '{zone}': "
            "chains may not equilibrate and the replica theory may not hold; compare chains "
            "(split_r_hat), or lower coupling_scale or inverse_temperature",
            stacklevel=stacklevel + 1,
        )
    return zone


def check_paramagnetic(n_states: int, coupling_scale: float) -> float:
    """Return `coupling_scale` as a float from 0 to below C, where the spectrum of chi has a gap.

    Raises
    ------
    InputError
        A value out of this range.
    """
    scale = check_nonnegative("coupling_scale", coupling_scale)
    if scale >= n_states:
        raise InputError(
            f"coupling_scale must be below n_states = {n_states} (the spin-glass transition), "
            f"got {scale:g}"
        )
    return scale


@one_line
@dataclass(frozen=True, eq=False)
class Spectrum:
    """A discrete spectrum: < f(x) > = sum(weights * f(values)), both of shape (n_modes,)."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]


@one_line
@dataclass(frozen=True, eq=False)
class Semicircle:
    """Eigenvalues a of A / J on [-2, 2], by their distances to the ends; all of shape (n_modes,).

    `from_top` is (2 - a) / 4 and `from_bottom` (2 + a) / 4: near J = C what counts is the distance
    to an end, which differences of eigenvalues would lose.
    """

    from_top: NDArray[np.float64]
    from_bottom: NDArray[np.float64]
    weights: NDArray[np.float64]

    def susceptibility(self, n_states: int, scale: float) -> NDArray[np.float64]:
        """Return 1 / (C + s^2 / C - s a) for a channel of scale s, of either sign, |s| <= C."""
        distance = self.from_top if scale >= 0.0 else self.from_bottom
        gap = (n_states - abs(scale)) ** 2 / n_states
        values: NDArray[np.float64] = 1.0 / (gap + 4.0 * abs(scale) * distance)
        return values


def semicircle(n_states: int, largest_scale: float) -> Semicircle:
    """Return nodes for averages over A of functions of 1 / (C + s^2 / C - s a), |s| <= the largest.

    Such functions have their poles on the real axis outside [-2, 2], the nearest at a distance of
    (1 - |s| / C)^2 / (|s| / C). Gauss-Chebyshev quadrature of the second kind has an error of
    (|s| / C)^(2 n). Near J = C that takes too many nodes; there the half-angle tangent
    u = sqrt((2 - a) / (2 + a)) is e^t, with t in equal steps: all poles lie on Im t = +-pi / 2, so
    that the error is exp(-pi^2 / step) however near they come, and log(1 / (1 - J / C)) more nodes
    are all they cost. The rule that needs fewer nodes is taken; both are exact to rounding.
    """
    ratio = min(max(largest_scale / n_states, 1e-6), 1.0 - MIN_GAP)
    n_nodes = 12 + math.ceil(18.0 / -math.log(ratio))
    reach = REACH - math.log(0.5 * (1.0 - ratio))
    n_steps = math.ceil(reach / LOG_STEP)
    if n_nodes <= 2 * n_steps + 1:
        angles = np.arange(1, n_nodes + 1) * (math.pi / (n_nodes + 1))
        weights = np.sin(angles) ** 2 * (2.0 / (n_nodes + 1))
        return Semicircle(np.sin(0.5 * angles) ** 2, np.cos(0.5 * angles) ** 2, weights)
    t = LOG_STEP * np.arange(-n_steps, n_steps + 1)
    from_top, from_bottom = 1.0 / (1.0 + np.exp(-2.0 * t)), 1.0 / (1.0 + np.exp(2.0 * t))
    # sin(angle)^2 d(angle) 2 / pi = (16 / pi) u^3 / (1 + u^2)^3 dt
    weights = (from_top * from_bottom) ** 1.5 * (16.0 / math.pi * LOG_STEP)
    return Semicircle(from_top, from_bottom, weights)


def susceptibility_spectrum(n_states: int, coupling_scale: float) -> Spectrum:
    """Return the spectrum of chi for averages exact to rounding, at any coupling scale below C."""
    modes = semicircle(n_states, coupling_scale)
    return Spectrum(modes.susceptibility(n_states, coupling_scale), modes.weights)
