"""A mean coupling J0 / L added to every A_ij of the SK-Potts ensemble: what it changes.

In the paramagnetic phase next to nothing. The couplings gain the rank-one part J0 v v^T, v the
uniform direction, so that the bulk of their spectrum, and with it every trace of the replica
equations, stays. A row of couplings gains J0 / sqrt(L) along v: |w*|^2 = J^2 + J0^2 / L.

A uniform magnetization m also changes the variances of colors at first order in m where C > 2.
Through the second moment of the couplings this acts as a mean coupling of its own: the response
chi is that of

    J_u = J0 + J^2 (C - 2) / (2 C)

in place of J0, and v^T chi v = 1 / (C - J_u). Order sets in at J_u = C. For J_u > J one eigenvalue
leaves the bulk, J_u + J^2 / J_u, with overlap^2 o^2 = 1 - J^2 / J_u^2 with v. Its weight in traces
is 1 / L: learning curves do not depend on J0 as L grows, and `mean_coupling_student` tells how much
is left at finite L.

References
----------
Benaych-Georges, Nadakuditi, Adv. Math. 227, 494 (2011): the outlier and its overlap.
Elderfield, Sherrington, J. Phys. C 16, L497 (1983): the Potts glass.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pottsattn._core.validate import (
    InputError,
    check_array,
    check_at_least,
    check_choice,
    check_n_states,
    check_nonnegative,
    check_positive,
)
from pottsattn.theory.ensemble import phase_zone
from pottsattn.theory.equations.student import ESTIMATORS, Student, ensemble_student


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


def uniform_susceptibility(n_states: int, coupling_scale: float, mean_coupling: float) -> float:
    """Return v^T chi v = 1 / (C - J_u): the variance of sum_i x_i / sqrt(L) per color channel.

    Infinite from `largest_mean_coupling` on. For |J_u| > J it is that of the mode that orders.

    Raises
    ------
    InputError
        As `largest_mean_coupling`, or a mean coupling that is not a finite number.
    """
    gap = largest_mean_coupling(n_states, coupling_scale) - _check_finite(
        "mean_coupling", mean_coupling
    )
    return 1.0 / gap if gap > 0.0 else math.inf


def outlier_eigenvalue(coupling_scale: float, rank_one: float) -> float | None:
    """Return the eigenvalue outside [-2 J, 2 J] of a random A plus `rank_one` v v^T, if any.

    None for |rank_one| <= J.

    Raises
    ------
    InputError
        A negative coupling scale, or a rank-one part that is not a finite number.
    """
    scale = check_nonnegative("coupling_scale", coupling_scale)
    rank_one = _check_finite("rank_one", rank_one)
    if abs(rank_one) <= scale or rank_one == 0.0:
        return None
    return rank_one + scale**2 / rank_one


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

    The outlier has trace weight 1 / L. Along it a row has the random part J / sqrt(L) and the mean
    o J0 / sqrt(L), its signal o J_u / sqrt(L) times the response. Where there is no outlier the
    student is that of the ensemble.

    Raises
    ------
    InputError
        A value out of range, or a mean coupling at or above `largest_mean_coupling`.
    """
    check_n_states(n_states)
    check_choice("estimator", estimator, ESTIMATORS)
    mean_coupling = _check_finite("mean_coupling", mean_coupling)
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
    uniform = mean_coupling + n_states - limit
    if outlier_eigenvalue(coupling_scale, uniform) is None:
        return student
    # C + J^2 / C less the eigenvalue is a product without cancellation near a transition.
    response = n_states / ((limit - mean_coupling) * (n_states - coupling_scale**2 / uniform))
    overlap = math.sqrt(1.0 - (coupling_scale / uniform) ** 2)
    bulk = 1.0 - 1.0 / length
    teacher = np.array([coupling_scale, overlap * mean_coupling]) / math.sqrt(length)
    signal = np.array([coupling_scale, overlap * uniform]) * response / math.sqrt(length)
    covariances = np.append(student.test_covariance, [response, response])
    signals = np.append(student.test_signal * math.sqrt(bulk), signal)
    return replace(
        student,
        trace_weights=np.append(student.trace_weights * bulk, [1.0 / length, 0.0]),
        train_covariance=covariances,
        test_covariance=covariances,
        train_signal=signals,
        test_signal=signals,
        teacher=np.append(student.teacher * math.sqrt(bulk), teacher),
    )


def _check_finite(name: str, value: float) -> float:
    return check_array(name, value, ()).item()
