"""Instance mode: the fixed point of one measured site instead of an average over random models.

A site i enters the equations of `student` through two things that can be measured: the covariance
chi_i of the other sites at fixed color of site i, averaged over its colors, and the signal

    c_i = (1 / (C - 1)) sum_a e_a^T P E[ x_j | s_i = a ].

In the ensemble c = chi w*, and J^2 < x^2 f > is its average of c^T f(chi) c. Here c^T f(chi) c
takes that place, and traces are sums over the L - 1 modes divided by L. Nothing else is assumed of
the couplings, but the fields of a site still count as Gaussian: many weak neighbors.

A c measured from N sequences has noise of covariance C / ((C - 1) N) chi, so that c^T f c is too
large by C L / ((C - 1) N) < x f >. `instance_student` subtracts it, mode by mode.

References
----------
Loureiro et al., "Learning Gaussian mixtures with generalized linear models" (2021),
arXiv:2106.03791: deterministic equivalents at given covariances.
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from operator import length_hint
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import Progress, one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import (
    ConvergenceWarning,
    InputError,
    check_array,
    check_choice,
    check_n_states,
    check_positive,
)
from pottsattn._core.verdict import stated
from pottsattn.theory.equations.solver import SolvedPoint, StudentSolver
from pottsattn.theory.equations.student import ESTIMATORS, Student
from pottsattn.theory.readout import mean_accuracy, mean_loss
from pottsattn.theory.tracing import check_alphas

Array = NDArray[np.float64]
COLUMNS = ("alpha", "ridge", "test_loss", "bayes_loss", "train_loss", "coupling_error", "accuracy")


@one_line
@dataclass(frozen=True, eq=False)
class MeasuredSite:
    """What instance mode knows of one site.

    Attributes
    ----------
    covariance : ndarray, shape (length - 1, length - 1)
        chi_i, per color channel of the zero-sum one-hot vectors of the other sites.
    signal : ndarray, shape (length - 1,)
        c_i.
    teacher : ndarray, shape (length - 1,), or None
        The true row of couplings w*_i; None leaves coupling error and Bayes loss undefined.
    n_measured : float
        Sequences N behind the signal; infinite for exact values.
    """

    covariance: Array
    signal: Array
    teacher: Array | None = None
    n_measured: float = math.inf


@dataclass(frozen=True, eq=False)
class InstanceCurve:
    """Predictions for the sites of one model; arrays of shape (n_sites, n_alphas).

    Losses are in nats per masked site with the full context; NaN means undefined. `alpha` and
    `ridge` have shape (n_alphas,) and are those of the whole data set: alpha = M / L.
    """

    n_states: int
    estimator: str
    alpha: Array
    ridge: Array
    test_losses: Array
    bayes_losses: Array
    train_losses: Array
    coupling_errors: Array
    accuracies: Array
    converged: bool
    message: str

    @property
    def test_loss(self) -> Array:
        """Mean over sites, shape (n_alphas,)."""
        return self.test_losses.mean(axis=0)

    @property
    def bayes_loss(self) -> Array:
        """Mean over sites of the loss of the true model, the same at every alpha."""
        return self.bayes_losses.mean(axis=0)

    @property
    def train_loss(self) -> Array:
        """Mean over sites, without penalty."""
        return self.train_losses.mean(axis=0)

    @property
    def coupling_error(self) -> Array:
        """Mean over sites of |J_i - J*_i|^2 / |J*_i|^2."""
        return self.coupling_errors.mean(axis=0)

    @property
    def accuracy(self) -> Array:
        """Mean over sites of the probability that the most probable color is the true one."""
        return self.accuracies.mean(axis=0)

    def __repr__(self) -> str:
        n_sites, n_alphas = self.test_losses.shape
        state = stated(self.converged, self.message)
        return (
            f"InstanceCurve(n_states={self.n_states}, {self.estimator}, {n_sites} sites, "
            f"{n_alphas} points, {state})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return {"points": [...], "converged": ...} of means over sites."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        points = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
        return {"points": points, "converged": self.converged}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the means over sites, one row per alpha; InputError if that is not possible."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        write_csv(path, COLUMNS, zip(*columns, strict=True))


def instance_student(
    site: MeasuredSite, n_states: int, alpha: float, ridge: float, estimator: str = "factored"
) -> Student:
    """Return the student of a measured site; `alpha` = M / L and `ridge` are those of a fit.

    The noise of the measured signal is subtracted from its squared amplitudes. Modes whose share
    falls below zero are merged with their neighbors in the spectrum, where all functions of chi
    are nearly the same. The trace weights add up to (L - 1) / L.

    Raises
    ------
    InputError
        Arrays that do not fit together, a covariance that is not symmetric, or a value out of
        range.
    """
    check_n_states(n_states)
    check_choice("estimator", estimator, ESTIMATORS)
    covariance = check_array("covariance", site.covariance, (None, None))
    n_modes = len(covariance)
    if covariance.shape[1] != n_modes or not np.allclose(covariance, covariance.T, atol=1e-9):
        raise InputError(f"covariance must be symmetric, got shape {covariance.shape}")
    signal = check_array("signal", site.signal, (n_modes,))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    amplitudes = vectors.T @ signal
    noise = n_states / ((n_states - 1.0) * _check_measured(site.n_measured))
    power = amplitudes**2 - noise * values
    groups = _merged(values, power)
    n_groups = len(groups) - 1

    def summed(array: Array) -> Array:
        return np.add.reduceat(array, groups[:-1])

    sizes = np.diff(groups)
    means = summed(values) / sizes
    amplitude = np.sqrt(np.maximum(summed(power), 0.0))
    trace_weights = sizes / (n_modes + 1.0)
    teacher = np.full(n_groups, math.nan)
    if site.teacher is not None:
        weights = vectors.T @ check_array("teacher", site.teacher, (n_modes,))
        # Along and across the signal of a group: a mode of no trace weight holds the latter.
        along = np.divide(
            summed(weights * amplitudes), amplitude, out=np.zeros(n_groups), where=amplitude > 0.0
        )
        along = np.clip(along, *(sign * np.sqrt(summed(weights**2)) for sign in (-1.0, 1.0)))
        across = np.sqrt(np.maximum(summed(weights**2) - along**2, 0.0))
        nothing = np.zeros(n_groups)
        teacher = np.concatenate([along, across])
        amplitude = np.concatenate([amplitude, nothing])
        trace_weights = np.concatenate([trace_weights, nothing])
        means = np.concatenate([means, means])
    return Student(
        n_states=n_states,
        alpha=check_positive("alpha", alpha),
        ridge=check_positive("ridge", ridge),
        multiplicity={"factored": 1.0, "full": n_states - 1.0}[estimator],
        trace_weights=trace_weights,
        train_covariance=means,
        test_covariance=means,
        train_signal=amplitude,
        test_signal=amplitude,
        teacher=teacher,
    )


def instance_curve(
    sites: Iterable[MeasuredSite],
    n_states: int,
    alphas: ArrayLike,
    ridge: float,
    *,
    estimator: str = "factored",
    progress: Progress | None = None,
) -> InstanceCurve:
    """Return the learning curves of measured sites.

    Parameters
    ----------
    sites
        Sites of one model; a generator is read once.
    n_states
        Number of colors C.
    alphas : shape (n_alphas,)
        M / L, above 0.
    ridge
        O(1) penalty, above 0: couplings_l2 = ridge / (2 alpha).
    estimator
        "factored" or "full".
    progress
        Called with (sites done, sites); a generator tells no more than those done.

    Raises
    ------
    InputError
        A value out of range, or no site.

    Warns
    -----
    ConvergenceWarning
        Some point is not solved.
    """
    array = check_alphas(alphas)
    n_sites = length_hint(sites)
    rows: list[Array] = []
    problems: list[str] = []
    for site in sites:
        student = instance_student(site, n_states, 1.0, ridge, estimator)
        solver = StudentSolver(student)
        row = np.full((5, len(array)), math.nan)
        for at in np.argsort(array, kind="stable").tolist():
            point = solver.solve(float(array[at]), student.ridge)
            row[:, at] = _read_out(student, point)
            if point.problem:
                problems.append(f"site {len(rows)} at alpha {array[at]:g}: {point.problem}")
        rows.append(row)
        if progress is not None:
            progress(len(rows), max(len(rows), n_sites))
    if not rows:
        raise InputError("no site was given: at least one is needed")
    test, bayes, train, error, accuracy = np.stack(rows, axis=1)
    message = f"{len(problems)} points, first {problems[0]}" if problems else "converged"
    if problems:
        warnings.warn(f"instance curve: {message}", ConvergenceWarning, stacklevel=2)
    return InstanceCurve(
        n_states=n_states,
        estimator=estimator,
        alpha=array,
        ridge=np.full(len(array), student.ridge),
        test_losses=test,
        bayes_losses=bayes,
        train_losses=train,
        coupling_errors=error,
        accuracies=accuracy,
        converged=not problems,
        message=message,
    )


def _read_out(student: Student, point: SolvedPoint) -> tuple[float, ...]:
    """Return test, Bayes and training loss, coupling error and accuracy."""
    n_states, (m, q), rho = student.n_states, point.test_overlaps, student.bayes_overlap
    is_solved = q > 0.0
    return (
        mean_loss(n_states, m, q) if is_solved else math.nan,
        mean_loss(n_states, rho, rho) if rho > 0.0 else math.log(n_states) + 0.0 * rho,
        point.train_loss,
        point.coupling_error,
        mean_accuracy(n_states, m, q) if is_solved else math.nan,
    )


def _check_measured(n_measured: float) -> float:
    return n_measured if n_measured == math.inf else check_positive("n_measured", n_measured)


def _merged(values: Array, power: Array) -> NDArray[np.intp]:
    """Return the bounds of groups of modes whose power is not negative, (n_groups + 1,).

    A group of negative power joins the neighbor whose eigenvalue is nearest, the most negative
    group first; if the total is negative, one group is left.
    """
    bounds = list(range(len(values) + 1))
    sums, centers = power.tolist(), values.tolist()
    while len(sums) > 1:
        worst = int(np.argmin(sums))
        if sums[worst] >= 0.0:
            break
        left = centers[worst] - centers[worst - 1] if worst > 0 else math.inf
        right = centers[worst + 1] - centers[worst] if worst + 1 < len(sums) else math.inf
        first = worst - 1 if left <= right else worst
        sizes = bounds[first + 1] - bounds[first], bounds[first + 2] - bounds[first + 1]
        centers[first] = float(np.average(centers[first : first + 2], weights=sizes))
        sums[first] += sums.pop(first + 1)
        centers.pop(first + 1)
        bounds.pop(first + 1)
    return np.array(bounds, dtype=np.intp)
