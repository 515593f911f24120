"""What the learning curves become where they can be written down.

kappa = E[1 - p_y] at the fields of the true model, rho = J^2 / C. H is the number of heads: 1 for
the factored student, (C - 1)^2 for the full one. Each form is the limit of a curve of
`learning_curve`, which knows nothing of it.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import (
    InputError,
    check_array,
    check_at_least,
    check_n_states,
    check_positive,
)
from pottsattn.theory.ensemble import check_paramagnetic
from pottsattn.theory.readout import mean_error

Array = NDArray[np.float64]


def bayes_error(n_states: int, coupling_scale: float) -> float:
    """Return kappa = E[1 - p_y], the mean probability of wrong colors in the true model.

    Parameters
    ----------
    n_states : int
        Number of colors C, 2 to 256.
    coupling_scale : float
        J of the SK-Potts teacher in units of k_B T, above 0 and below C.

    Raises
    ------
    InputError
        A value out of range.
    """
    n_states = check_n_states(n_states)
    scale = check_paramagnetic(n_states, check_positive("coupling_scale", coupling_scale))
    rho = scale**2 / n_states
    return mean_error(n_states, rho, rho)


def large_alpha_excess(alphas: ArrayLike, n_heads: int = 1) -> Array:
    """Return H / (2 alpha), in nats per site: test - Bayes and Bayes - training loss alike.

    Holds for every C, J and ridge as alpha grows: half a nat for each free number of a row, over
    the sequences.

    Parameters
    ----------
    alphas : array_like
        Sequences per site, above 0.
    n_heads : int
        H; (C - 1)^2 for the full student.

    Raises
    ------
    InputError
        A value out of range.

    Examples
    --------
    >>> float(large_alpha_excess(100.0, n_heads=4))
    0.02
    """
    excess: Array = check_at_least("n_heads", n_heads, 1) / (2.0 * _positive("alphas", alphas))
    return excess


def large_alpha_coupling_error(
    n_states: int, coupling_scale: float, alphas: ArrayLike, n_heads: int = 1
) -> Array:
    """Return H (C^2 + J^2) / (C J^2 kappa alpha), the coupling error as alpha grows.

    Parameters and errors as for `bayes_error` and `large_alpha_excess`.
    """
    kappa = bayes_error(n_states, coupling_scale)
    squared = coupling_scale**2
    constant = check_at_least("n_heads", n_heads, 1) * (n_states**2 + squared)
    error: Array = constant / (n_states * squared * kappa * _positive("alphas", alphas))
    return error


def static_mask_excess(
    n_states: int, coupling_scale: float, alphas: ArrayLike, mask_fraction: ArrayLike
) -> Array:
    """Return kappa J^4 r^2 / (2 C^3) + 1 / (2 alpha r), test loss - Bayes loss with static masks.

    Holds for large alpha and small r: a bias from the context that is missing, and the variance of
    the sequences that are left. In nats per site; factored student.

    Parameters
    ----------
    n_states, coupling_scale
        As for `bayes_error`.
    alphas : array_like
        Sequences per site, above 0.
    mask_fraction : array_like
        r, above 0 and below 1; broadcast against `alphas`.

    Raises
    ------
    InputError
        A value out of range.
    """
    r = _positive("mask_fraction", mask_fraction)
    if r.size and r.max() >= 1.0:
        raise InputError(f"mask_fraction must be below 1, found {r.max():g}")
    bias = bayes_error(n_states, coupling_scale) * coupling_scale**4 / (2.0 * n_states**3)
    excess: Array = bias * r**2 + 1.0 / (2.0 * _positive("alphas", alphas) * r)
    return excess


def best_static_mask_fraction(n_states: int, coupling_scale: float, alphas: ArrayLike) -> Array:
    """Return (C^3 / (2 kappa J^4 alpha))^(1/3), the minimum of `static_mask_excess` over r.

    The excess there is 3 / (4 alpha r): mask less as data grow. Where the result is not small the
    formula does not hold, and above 1 it means nothing.

    Parameters and errors as for `static_mask_excess`.
    """
    curvature = 2.0 * bayes_error(n_states, coupling_scale) * coupling_scale**4
    best: Array = np.cbrt(n_states**3 / (curvature * _positive("alphas", alphas)))
    return best


def _positive(name: str, values: ArrayLike) -> Array:
    array = check_array(name, np.atleast_1d(values), (None,))
    if array.size and array.min() <= 0.0:
        raise InputError(f"{name} must be above 0, found {array.min():g}")
    shaped: Array = array.reshape(np.shape(values))
    return shaped
