"""Teachers J_ij = A_ij U with a color similarity U: when colors stay balanced, and their phases.

A_ij = A_ji ~ Normal(0, J^2 / L), U symmetric and, up to a constant, zero-sum, no fields. The cavity
fields of a site of color a are Gaussian with mean R e_a and covariance R = (J^2 / C) U^2, so its
marginal is exp(R_aa / 2) up to a factor. Marginals are therefore uniform, at every site, if and
only if U^2 has a constant diagonal (all circulant, clock-like U; not a random one). Then the
covariance of the one-hot inputs has one channel per eigenvector of U, of eigenvalue u_k:

    chi_k = ((C + J^2 u_k^2 / C) I - u_k A)^-1,      (1 / L) tr chi_k = 1 / C.

Otherwise marginals differ from color to color, hence from site to site (a field U <x> with random
signs acts on each), and neither equation holds.

A channel loses its gap at J |u_k| = C: the spin glass comes from the largest |u_k|. A common
magnetization grows from J^2 = 2 C / (largest eigenvalue of P (U o U) P) on, o being the entrywise
product. Before J^2 = min over color frequencies f of 4 (log C - entropy(f)) / (f^T P (U o U) P f)
no first-order ferromagnetic transition can come, by the annealed free energy.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import one_line
from pottsattn._core.validate import InputError, check_array, check_nonnegative
from pottsattn.theory.colors.fields import MAX_COLORS, zero_sum_directions
from pottsattn.theory.ensemble import PhaseZone, semicircle

Array = NDArray[np.float64]

SYMMETRY_TOLERANCE = 1e-9  # relative to the largest entry


def check_similarity(name: str, similarity: ArrayLike) -> Array:
    """Return P U P of a color similarity that keeps all colors equally frequent, shape (C, C).

    Raises
    ------
    InputError
        Not a square matrix of 2 to `MAX_COLORS` colors, not symmetric, with rows of unequal sums
        (they act as random fields), without a zero-sum part, or with unequal diagonal entries of
        its square.
    """
    matrix = check_array(name, similarity, (None, None))
    n_states = len(matrix)
    if matrix.shape != (n_states, n_states) or not 2 <= n_states <= MAX_COLORS:
        raise InputError(
            f"{name} must be a square matrix of 2 to {MAX_COLORS} colors, got shape {matrix.shape}"
        )
    tolerance = SYMMETRY_TOLERANCE * float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > tolerance:
        raise InputError(
            f"{name} must be symmetric, since J_ij = A_ij U is the transpose of J_ji = A_ji U; "
            "use (U + U^T) / 2"
        )
    if np.ptp(matrix.sum(axis=1)) > n_states * tolerance:
        raise InputError(
            f"{name} must have rows of equal sums: others act as random fields; use P U P with "
            "P = I - 1/C"
        )
    zero_sum: Array = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    squares = (zero_sum**2).sum(axis=1)
    if squares.max() <= tolerance**2:
        raise InputError(f"{name} must have a zero-sum part, found a constant matrix")
    if np.ptp(squares) > SYMMETRY_TOLERANCE * squares.max():
        raise InputError(
            f"{name} must keep all colors equally frequent, which needs a constant diagonal of its "
            f"square (zero-sum part), found {squares.min():.4g}..{squares.max():.4g}: with others "
            "marginals differ from site to site and the theory does not hold; use a circulant one"
        )
    return zero_sum


@one_line
@dataclass(frozen=True, eq=False)
class ColorSpectrum:
    """The covariance of the inputs, one matrix in color space per mode of A.

    Attributes
    ----------
    weights : ndarray, shape (n_modes,)
        Weights of (1 / L) tr over the modes, adding up to 1.
    covariances : ndarray, shape (n_modes, C - 1, C - 1)
        Covariance of the inputs in the coordinates of `zero_sum_directions`.
    """

    weights: Array
    covariances: Array


def color_spectrum(similarity: Array, coupling_scale: float) -> ColorSpectrum:
    """Return the spectrum for a checked similarity (C, C) below the glass, J max |u_k| < C."""
    n_states = len(similarity)
    directions = zero_sum_directions(n_states)
    u, channels = np.linalg.eigh(directions.T @ similarity @ directions)
    largest = coupling_scale * float(np.abs(u).max())
    modes = semicircle(n_states, largest)
    values = np.stack(
        [modes.susceptibility(n_states, scale) for scale in (coupling_scale * u).tolist()], axis=1
    )
    return ColorSpectrum(modes.weights, np.einsum("nk,ak,bk->nab", values, channels, channels))


def similarity_phase_zone(similarity: ArrayLike, coupling_scale: float) -> PhaseZone:
    """Return the zone of J (in units of k_B T) for couplings A_ij U, as `phase_zone` for U = I.

    Parameters
    ----------
    similarity : array_like, shape (C, C)
        U, symmetric, with a constant diagonal of the square of its zero-sum part.
    coupling_scale : float
        J: A_ij ~ Normal(0, J^2 / L).

    Raises
    ------
    InputError
        A negative coupling scale, or a U that `check_similarity` refuses.

    Examples
    --------
    >>> similarity_phase_zone(np.eye(4), 2.0).spin_glass_scale
    4.0
    """
    zero_sum = check_similarity("similarity", similarity)
    scale = check_nonnegative("coupling_scale", coupling_scale)
    n_states = len(zero_sum)
    glass = n_states / float(np.abs(np.linalg.eigvalsh(zero_sum)).max())
    directions = zero_sum_directions(n_states)
    squared = directions.T @ zero_sum**2 @ directions
    growth = float(np.linalg.eigvalsh(squared)[-1])
    if growth <= SYMMETRY_TOLERANCE * float(np.abs(zero_sum).max()) ** 2:  # no magnetization pays
        return PhaseZone.of(scale, glass)
    spinodal = math.sqrt(2.0 * n_states / growth)
    bound = _first_order_bound(directions @ squared @ directions.T, spinodal)
    return PhaseZone.of(scale, glass, spinodal, bound)


def _first_order_bound(squared: Array, spinodal: float) -> float:
    """Return the least J at which some color frequencies have the annealed free energy of none."""
    from scipy.optimize import minimize
    from scipy.special import xlogy

    n_states = len(squared)

    def square_of_bound(frequencies: Array) -> Array:
        pull = np.einsum("ka,ab,kb->k", frequencies, squared, frequencies)
        cost = math.log(n_states) + xlogy(frequencies, frequencies).sum(axis=1)
        paid = np.where(pull > 1e-10, cost / np.maximum(pull, 1e-10), spinodal**2)
        return np.asarray(4.0 * paid)

    # Ordered phases favor a group of colors: scan each group and polish the best.
    groups = ((np.arange(1, 2**n_states - 1)[:, None] >> np.arange(n_states)) & 1).astype(float)
    groups /= groups.sum(axis=1, keepdims=True)
    strengths = np.linspace(0.02, 0.98, 49)[:, None, None]
    frequencies = ((1.0 - strengths) / n_states + strengths * groups).reshape(-1, n_states)
    best = frequencies[np.argmin(square_of_bound(frequencies))]

    def polished(logits: Array) -> float:
        weights = np.exp(logits - logits.max())
        return float(square_of_bound((weights / weights.sum())[None])[0])

    return min(spinodal, math.sqrt(minimize(polished, np.log(best), method="BFGS").fun))
