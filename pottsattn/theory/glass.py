"""Glass transitions of the SK-Potts model, by one step of replica symmetry breaking.

In the paramagnetic phase the fields of a color y are those of a Gaussian channel: given y they are
Normal(tau P e_y, tau P), and a copy that shares the surroundings overlaps with them by

    tau = J^2 v(tau) / (C - 1),          v(tau) = (1 - 1/C) - E[1 - p_y],

the stationary points of   Phi(tau) = I(tau) - (1 - 1/C) tau / 2 + (C - 1) tau^2 / (4 J^2),  with
I(tau) = log C - (loss at m = q = tau) the information about y, so that I' = E[1 - p_y] / 2. tau = 0
is always one. For C <= 4 another leaves it continuously at J = C. For C > 4 a pair appears at a
finite tau earlier, at the dynamical transition, and has Phi = 0 at the static one (the point where
the break between replicas reaches 1).

References
----------
Gross, Kanter, Sompolinsky, "Mean-field theory of the Potts glass", Phys. Rev. Lett. 55, 304 (1985).
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from pottsattn._core.validate import check_n_states
from pottsattn.theory.readout import mean_error, mean_loss

LOWEST, HIGHEST = 1e-2, 60.0


@dataclass(frozen=True)
class GlassScales:
    """Coupling scales J of the transitions, in units of k_B T, at zero mean coupling.

    Attributes
    ----------
    dynamical : float
        From here on the fields of a site have metastable states.
    static : float
        From here on the paramagnet is not the equilibrium state.
    is_continuous : bool
        Both are at J = C (C <= 4).
    """

    dynamical: float
    static: float
    is_continuous: bool


@lru_cache(maxsize=64)
def glass_scales(n_states: int) -> GlassScales:
    """Return where the SK-Potts model of C = `n_states` colors becomes a glass.

    The ferromagnetic transitions of `phase_zone` come before, for C > 4.

    Raises
    ------
    InputError
        Fewer than two colors, or more than 256.

    Examples
    --------
    >>> round(glass_scales(6).static, 2)
    5.83
    """
    from scipy.optimize import brentq, minimize_scalar

    n_states = check_n_states(n_states)
    if n_states <= 4:
        return GlassScales(float(n_states), float(n_states), True)
    miss = 1.0 - 1.0 / n_states

    def overlap(tau: float) -> float:
        return miss - mean_error(n_states, tau, tau)

    def squared_scale(log_tau: float) -> float:
        tau = math.exp(log_tau)
        return (n_states - 1) * tau / overlap(tau)

    def potential(log_tau: float) -> float:
        """Return Phi at the J that makes tau stationary."""
        tau = math.exp(log_tau)
        information = math.log(n_states) - mean_loss(n_states, tau, tau)
        return information - 0.5 * miss * tau + 0.25 * tau * overlap(tau)

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(squared_scale, bounds=bounds, options={"xatol": 1e-9})
    crossing = brentq(potential, found.x, bounds[1], xtol=1e-10)
    return GlassScales(math.sqrt(found.fun), math.sqrt(squared_scale(crossing)), False)
