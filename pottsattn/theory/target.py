"""How many sequences a target loss takes: the learning curve read backwards.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pottsattn._core.validate import ConvergenceWarning, InputError, check_positive
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.optimum import optimal_ridge

LOWEST, HIGHEST = 1e-2, 1e5
N_GRID = 36
LOG_ALPHA_TOLERANCE = 1e-6


def alpha_for_loss(
    n_states: int,
    coupling_scale: float,
    target_loss: float,
    ridge: float | None = None,
    **student: Any,
) -> float:
    """Return the alpha from which on the test loss stays at or below a target.

    At a fixed ridge the test loss may rise before it falls, so that less data may reach the target
    too; at the best ridge it falls throughout.

    Parameters
    ----------
    n_states : int
        Number of colors C.
    coupling_scale : float
        J of the SK-Potts teacher, in units of k_B T.
    target_loss : float
        In nats per masked site, above 0.
    ridge : float or None
        Penalty; None for the best one at each alpha.
    **student
        `estimator`, `n_heads`, `mask_fraction`, `mask_mode`, as for `learning_curve`.

    Returns
    -------
    float
        Sequences per site; NaN where no alpha from 0.01 to 1e5 is enough, as for a target that is
        not above the Bayes loss, and 0.01 where that one is enough.

    Raises
    ------
    InputError
        A value out of range, or equations that have no solution on the way.

    Examples
    --------
    >>> round(alpha_for_loss(3, 1.5, 0.9836, 0.1), 2)
    4.0
    """
    from scipy.optimize import brentq

    target = check_positive("target_loss", target_loss)

    def losses(alphas: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            if ridge is None:
                curve = optimal_ridge(n_states, coupling_scale, alphas, **student)
            else:
                curve = learning_curve(n_states, coupling_scale, alphas, ridge, **student)
        return np.where(curve.converged, curve.test_loss, math.nan)

    def excess(log_alpha: float) -> float:
        found = float(losses([math.exp(log_alpha)])[0])
        if not math.isfinite(found):
            raise InputError(
                f"the equations are not solved at alpha {math.exp(log_alpha):g}, on the way to "
                f"target_loss {target:g}; use another ridge"
            )
        return found - target

    low, high = math.log(LOWEST), math.log(HIGHEST)
    if ridge is not None:
        above = np.flatnonzero(~(losses(np.exp(np.linspace(low, high, N_GRID))) <= target))
        if len(above) == 0:
            return LOWEST
        if above[-1] == N_GRID - 1:
            return math.nan
        low, high = np.linspace(low, high, N_GRID)[above[-1] : above[-1] + 2].tolist()
    else:
        if excess(low) <= 0.0:
            return LOWEST
        if excess(high) > 0.0:
            return math.nan
    return math.exp(brentq(excess, low, high, xtol=LOG_ALPHA_TOLERANCE))
