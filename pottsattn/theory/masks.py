"""Students that are trained on masked sequences: static masks, and fresh ones at every visit.

Every site is masked with probability r. Masked sites leave the context and are predicted.

Static masks (one per sequence, kept) fill a `Student` differently: for a site only the fraction r
of sequences that mask it counts, in inputs of covariance and signal

    x_r = (1 - r)^2 x + r (1 - r) / C,        c_r = (1 - r) c,

while the test sees the full context, x and c. Several static masks per sequence share it, see
`finite_masks`.

Fresh masks, in the limit of many visits, replace the loss by its mean over masks (`smoothed`), in
which every sequence counts. That loss depends on the couplings through u and through the variance
sigma^2 = r (1 - r) p / C of the masked field, p = |w|^2. The latter acts as a penalty: with p as a
fourth order parameter, the equations of `student` hold at

    ridge_eff = ridge + alpha r (1 - r) E[1 - sum_a p_a^2] / (C k).

r -> 0 with fresh masks is the pseudo-likelihood.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import InputError, check_array
from pottsattn.theory.equations.finite_masks import FiniteMaskSolver
from pottsattn.theory.equations.gaussian import SiteAverages
from pottsattn.theory.equations.smoothed import SmoothedRule
from pottsattn.theory.equations.solver import TINY, Equations, SolvedPoint, StudentSolver
from pottsattn.theory.equations.student import Student

MASK_MODES = ("fresh", "static")


def check_mask_fraction(mask_fraction: ArrayLike, n_alphas: int) -> NDArray[np.float64]:
    """Return mask fractions strictly between 0 and 1, shape (n_alphas,), from one or that many.

    Raises
    ------
    InputError
        A fraction out of range, or a wrong number of them.
    """
    if np.ndim(mask_fraction) == 0:
        mask_fraction = np.full(n_alphas, mask_fraction)
    fractions = check_array("mask_fraction", mask_fraction, (n_alphas,))
    for fraction in fractions:
        if not 0.0 < fraction < 1.0:
            raise InputError(
                f"mask_fraction must be above 0 and below 1, got {fraction:g}; leave it out for "
                "one masked site at a time (the pseudo-likelihood)"
            )
    return fractions


def mask_solver(
    student: Student, mask_fraction: float, mask_mode: str | None, masks: int | None = None
) -> StudentSolver:
    """Return the solver of an unmasked `student` trained with masks; mode None is without masks.

    `masks` is the number K of static patterns per sequence, 1 if None.
    """
    if mask_mode == "fresh":
        return FreshMaskSolver(student, mask_fraction)
    if masks is not None and masks > 1:
        return FiniteMaskSolver(student, mask_fraction, masks)
    if mask_mode == "static":
        return StudentSolver(static_mask_student(student, mask_fraction))
    return StudentSolver(student)


def static_mask_student(student: Student, mask_fraction: float) -> Student:
    """Return `student` trained on sequences that are masked once, with probability r each site."""
    context = 1.0 - mask_fraction
    hidden = mask_fraction * context * student.mean_covariance
    return replace(
        student,
        counted=mask_fraction,
        train_covariance=context**2 * student.test_covariance + hidden,
        train_signal=context * student.test_signal,
    )


class FreshMaskSolver(StudentSolver):
    """Solves students whose sequences are masked anew at every visit.

    Parameters
    ----------
    student : Student
        The student without masks.
    mask_fraction : float
        r, at least 0 and below 1.
    """

    def __init__(self, student: Student, mask_fraction: float) -> None:
        super().__init__(student)
        self.mask_fraction = mask_fraction
        self.rules = [SmoothedRule(nodes, mask_fraction) for nodes in self.nodes]

    def least_alpha(self) -> float:
        """Return 0: fresh masks act as a penalty themselves."""
        return 0.0

    def equations(self, alpha: float, ridge: float) -> Equations:
        """Return the equations at alpha and ridge, still without a rule."""
        student = replace(self.student, alpha=alpha, ridge=ridge)
        return FreshMaskEquations(student, self.mask_fraction)


class FreshMaskEquations(Equations):
    """(m, q, V, p) -> (m, q, V, p) of one student; `student` has the effective ridge."""

    def __init__(self, student: Student, mask_fraction: float) -> None:
        super().__init__(student)
        self._given = student
        self._spread = mask_fraction * (1.0 - mask_fraction) * student.mean_covariance

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        m, q, V, power = values.tolist()
        smoothed = self.rule(m, q, V, self._spread * power)
        return self._overlaps(smoothed.site, smoothed.roughness)

    def _overlaps(self, averages: SiteAverages, roughness: float) -> NDArray[np.float64]:
        given = self._given
        penalty = given.alpha * self._spread * roughness / given.multiplicity
        self.student = replace(given, ridge=given.ridge + penalty / given.ridge_scale)
        self.averages = averages
        self.conjugates = self.student.conjugates(averages)
        overlaps = self.student.train_overlaps(self.conjugates)
        self.overlaps = np.maximum(np.append(overlaps, self.student.power(self.conjugates)), TINY)
        return self.overlaps

    def cold_start(self) -> NDArray[np.float64]:
        """Return (m, q, V, p) from the conjugates of a student that predicts uniformly."""
        miss = 1.0 - 1.0 / self._given.n_states
        return self._overlaps(SiteAverages(miss, miss, miss, 0.0), miss)

    def point(self, values: NDArray[np.float64], *how: Any) -> SolvedPoint:
        """Return the solution at `values`, where the last evaluation was."""
        return replace(super().point(values, *how), ridge=self._given.ridge)
