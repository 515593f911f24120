"""A mean coupling J0 / L added to every A_ij of the SK-Potts ensemble: what it changes.

In the paramagnetic phase next to nothing. The couplings gain the rank-one part J0 v v^T, v the
uniform direction, so that

- the bulk of their spectrum, and with it every trace of the replica equations, stays;
- a row of couplings gains J0 / sqrt(L) along v: |w*|^2 = J^2 + J0^2 / L;
- for |J0| > J one eigenvalue leaves the bulk, J0 + J^2 / J0, with overlap^2 1 - J^2 / J0^2 with v.
  Its weight in traces is 1 / L.

Learning curves do not depend on J0 as L grows; `mean_coupling_student` keeps the outlier, to tell
how much is left at finite L. Ferromagnetic order sets in at J0 + J^2 (C - 2) / (2 C) = C.

References
----------
Benaych-Georges, Nadakuditi, Adv. Math. 227, 494 (2011): the outlier and its overlap.
Elderfield, Sherrington, J. Phys. C 16, L497 (1983): the Potts glass with a mean coupling.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pottsattn._validate import (
    InputError,
    check_at_least,
    check_n_states,
    check_nonnegative,
    check_positive,
)
from pottsattn.theory.ensemble import phase_zone
from pottsattn.theory.student import Student, ensemble_student

__all__ = ["largest_mean_coupling", "mean_coupling_student", "outlier_eigenvalue"]


def largest_mean_coupling(n_states: int, coupling_scale: float) -> float:
    """Return J0 at which ferromagnetic order sets in: C - J^2 (C - 2) / (2 C), in k_B T.

    Negative where the model orders without a mean coupling. A necessary condition only: the
    transition is of first order for C > 2 and may come at a smaller J0.

    Raises
    ------
    InputError
        Fewer than two states, or a negative coupling scale.

    Examples
    --------
    >>> largest_mean_coupling(3, 1.5)
    2.625
    """
    n_states = check_at_least("n_states", n_states, 2)
    scale = check_nonnegative("coupling_scale", coupling_scale)
    return n_states - scale**2 * (n_states - 2) / (2.0 * n_states)


def outlier_eigenvalue(coupling_scale: float, mean_coupling: float) -> float | None:
    """Return the eigenvalue of A outside [-2 J, 2 J], or None for |J0| <= J."""
    scale = check_nonnegative("coupling_scale", coupling_scale)
    if abs(mean_coupling) <= scale or mean_coupling == 0.0:
        return None
    return mean_coupling + scale**2 / mean_coupling


def mean_coupling_student(
    n_states: int,
    coupling_scale: float,
    mean_coupling: float,
    length: int,
    alpha: float,
    ridge: float,
    estimator: str = "factored",
) -> Student:
    """Return the student of SK-Potts with J0 / L on every coupling, its outlier mode included.

    The outlier has trace weight 1 / L and the teacher's amplitude sqrt(J0^2 - J^2) / sqrt(L). For
    |J0| <= J there is no outlier and the student is that of the ensemble.

    Raises
    ------
    InputError
        A value out of range, or a mean coupling at or above `largest_mean_coupling`.
    """
    check_n_states(n_states)
    length = check_at_least("length", length, 2)
    alpha, ridge = check_positive("alpha", alpha), check_positive("ridge", ridge)
    limit = largest_mean_coupling(n_states, coupling_scale)
    glass = phase_zone(n_states, coupling_scale).spin_glass_scale
    if coupling_scale >= glass or mean_coupling >= limit:
        raise InputError(
            f"no paramagnetic phase at coupling_scale {coupling_scale:g} and mean_coupling "
            f"{mean_coupling:g}, expected below {glass:g} and {limit:g}"
        )
    student = ensemble_student(n_states, coupling_scale, alpha, ridge, estimator)
    eigenvalue = outlier_eigenvalue(coupling_scale, mean_coupling)
    if eigenvalue is None:
        return student
    covariance = 1.0 / (n_states + coupling_scale**2 / n_states - eigenvalue)
    amplitude = math.sqrt((mean_coupling**2 - coupling_scale**2) / length)
    signal = np.append(student.test_signal, amplitude * covariance)
    covariances = np.append(student.test_covariance, covariance)
    return replace(
        student,
        trace_weights=np.append(student.trace_weights * (1.0 - 1.0 / length), 1.0 / length),
        train_covariance=covariances,
        test_covariance=covariances,
        train_signal=signal,
        test_signal=signal,
        teacher=np.append(student.teacher, amplitude),
    )
