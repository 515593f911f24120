"""Measuring what the replica equations need of one model: (chi_i, c_i) of every site, J_inst.

`matched_ensemble` is the default correction for a finite model: the SK-Potts ensemble at the
realized J_inst^2 = sum_ij A_ij^2 / L, with the L - 1 neighbors that a site has. Most of the scatter
between instances is in J_inst. Instance mode (`pottsattn.theory.measured`) is for models that
belong to no ensemble: it takes (chi_i, c_i), which are measured here from sequences.

References: docs/plan.md; Rende et al., Phys. Rev. Research 6, 023057 (2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from pottsattn._core.validate import InputError, check_kind, check_nonnegative, check_positive
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings, inner_product
from pottsattn.model.potts import PottsModel
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.equations.student import ensemble_student

Array = NDArray[np.float64]
LARGEST_SHARE = 0.999  # of J = C, where the search for J ends
SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class MatchedEnsemble:
    """The arguments of `learning_curve` that stand for one finite model."""

    n_states: int
    coupling_scale: float
    alpha: float
    ridge: float


@dataclass(frozen=True)
class CouplingScale:
    """An estimate of J in units of k_B T, and its standard error."""

    value: float
    error: float


def coupling_scale_of_pairs(dataset: SequenceDataset) -> CouplingScale:
    """Return J_inst from the pair covariances of data, without a fit.

    In the paramagnetic phase (1 / L) tr chi^2 = g^2 / (1 - J^2 g^2) with g = 1 / C. The left side
    is g^2 + s, s the mean square of the covariances of a site with all others, per color channel;
    what noise adds to it, (L - 1) (C - 1) g^2 / M, is subtracted. Then J^2 g^2 = s / (s + g^2).

    Returns
    -------
    CouplingScale
        0 where noise leaves nothing; the error is that of sampling alone.
    """
    check_kind("dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, C)")
    dataset.refuse_ignored_gaps("a coupling scale")
    length, n_states, size = dataset.length, dataset.n_states, dataset.effective_size
    frequencies = dataset.site_frequencies()
    spreads = 1.0 - (frequencies**2).sum(axis=1)  # traces of the covariances of one site
    total = 0.0
    for site in range(length - 1):
        pairs = dataset.pair_frequencies(site, first=site + 1)
        later = frequencies[site + 1 :]
        covariance = pairs - frequencies[site][None, :, None] * later[:, None, :]
        total += float((covariance**2).sum() - spreads[site] * spreads[site + 1 :].sum() / size)
    channels = n_states - 1.0
    square = n_states**-2.0
    s = 2.0 * total / (length * channels)
    variance = 4.0 * square**2 / size**2
    variance += 8.0 * max(s, 0.0) * square / (size * length * channels)
    share = max(s, 0.0) / (max(s, 0.0) + square)
    value = n_states * math.sqrt(share)
    # d(J^2) = C^2 g^2 ds / (s + g^2)^2; at J = 0 the error is that of J^2, rooted.
    error_of_square = n_states**2 * square * math.sqrt(variance) / (max(s, 0.0) + square) ** 2
    return CouplingScale(value, error_of_square / (2.0 * max(value, math.sqrt(error_of_square))))


def realized_coupling_scale(couplings: Couplings) -> float:
    """Return J_inst = sqrt( sum_ij |P J_ij P|_F^2 / ((C - 1) L) ), for U = I sqrt(sum A^2 / L)."""
    length, n_states = couplings.length, couplings.n_states
    _, gauged = couplings.zero_sum(np.zeros((length, n_states)))
    return math.sqrt(inner_product(gauged, gauged) / ((n_states - 1) * length))


def matched_ensemble(
    source: PottsModel | FitResult, *, alpha: float | None = None, ridge: float | None = None
) -> MatchedEnsemble:
    """Return the ensemble that stands for a model, or for the model behind a fit.

    Parameters
    ----------
    source
        A model, or a converged fit, whose couplings are de-biased (`debiased_coupling_scale`).
    alpha, ridge
        M / L and the penalty of the student; those of the fit if left out.

    Returns
    -------
    MatchedEnsemble
        J_inst, alpha L / (L - 1), ridge L / (L - 1).

    Raises
    ------
    InputError
        A value out of range, or no alpha and ridge with a model.
    """
    check_kind("source", source, (PottsModel, FitResult), "give a model or a fit")
    finite = source.length / (source.length - 1.0)
    if isinstance(source, FitResult):
        size = source.effective_size / source.length
        alpha = size if alpha is None else alpha
        ridge = 2.0 * size * source.penalty.couplings_l2 if ridge is None else ridge
        scale = debiased_coupling_scale(source)
    else:
        scale = realized_coupling_scale(source.couplings)
    if alpha is None or ridge is None:
        raise InputError("a model has no alpha and no ridge of its own, give both")
    alpha, ridge = check_positive("alpha", alpha), check_nonnegative("ridge", ridge)
    return MatchedEnsemble(source.n_states, scale, alpha * finite, ridge * finite)


def debiased_coupling_scale(fit: FitResult) -> float:
    """Return J_inst of the model behind a fit: the J at which theory has couplings as strong.

    The fitted couplings are shrunk by the penalty and swollen by noise. The replica equations give
    both, E|w|^2 as a function of J at the alpha and ridge of the fit, which is solved for J.

    Raises
    ------
    InputError
        Not plm, nor factored with one head and U = I; no penalty on couplings; or couplings that
        are weaker or stronger than those of any paramagnetic model.
    """
    check_kind("fit", fit, FitResult, "fit the data first")
    if not fit.is_site_wise:
        raise InputError(
            "the coupling scale is de-biased for plm and for factored with identity color "
            f"similarity, site-wise; this is a fit of another kind ({fit.method})"
        )
    length, n_states = fit.length, fit.n_states
    finite = length / (length - 1.0)
    alpha = finite * fit.effective_size / length
    ridge = 2.0 * alpha * check_positive("couplings_l2 of the fit", fit.penalty.couplings_l2)
    estimator = "full" if fit.method == "plm" else "factored"
    observed = realized_coupling_scale(fit.couplings) ** 2

    def excess(scale: float) -> float:
        student = ensemble_student(n_states, scale, alpha, ridge, estimator)
        solver = StudentSolver(student)
        point = solver.solve(alpha, ridge)
        equations = solver.equations(alpha, ridge)
        equations.rule = solver.rules[-1]
        equations(point.overlaps)
        return student.power(equations.conjugates) - observed

    low, high = SMALLEST_SCALE, LARGEST_SHARE * n_states
    if not excess(low) < 0.0 < excess(high):
        raise InputError(
            f"the fitted couplings have strength {math.sqrt(observed):.3g} k_B T, which no "
            f"paramagnetic SK-Potts model with {n_states} states gives at this alpha and ridge"
        )
    return float(brentq(excess, low, high, xtol=1e-4))
