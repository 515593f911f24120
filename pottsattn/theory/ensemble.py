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

from pottsattn._core.validate import InputError, check_at_least, check_nonnegative

MAX_CHEBYSHEV_NODES = 4096


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


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A discrete spectrum: < f(x) > = sum(weights * f(values)), both of shape (n_modes,)."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]


def susceptibility_spectrum(n_states: int, coupling_scale: float) -> Spectrum:
    """Return the spectrum of chi by Gauss-Chebyshev quadrature of the second kind.

    Its error falls like (J / C)^(2 n): n is chosen for float64 and capped at 4096 (J > 0.995 C).
    The coupling scale must lie below C.
    """
    ratio = max(coupling_scale / n_states, 1e-6)
    n_nodes = min(12 + math.ceil(18.0 / -math.log(ratio)), MAX_CHEBYSHEV_NODES)
    angles = np.arange(1, n_nodes + 1) * (math.pi / (n_nodes + 1))
    eigenvalues = 2.0 * coupling_scale * np.cos(angles)
    return Spectrum(
        values=1.0 / (n_states + coupling_scale**2 / n_states - eigenvalues),
        weights=np.sin(angles) ** 2 * (2.0 / (n_nodes + 1)),
    )
