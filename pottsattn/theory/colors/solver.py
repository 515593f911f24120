"""The fixed point of one `ColorStudent`: matrices of order parameters, solved for each other.

The iteration runs over the conjugate matrices per sequence, E (e_y - p)(e_y - p)^T,
E S (I + V S)^-1 and E (e_y - p) e_y^T, which are regular also where the fields of a student leave
out directions of color space. Their matrix logarithms are the coordinates, so that each acts as
the logarithm of (m, q, V) does for colors alike.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.colors.fields import ColorAverages, color_rules
from pottsattn.theory.colors.student import ColorConjugates, ColorStudent
from pottsattn.theory.equations.solver import FixedPointEquations, FixedPointSolver, SolvedPoint

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColorPoint(SolvedPoint):
    """A solved point of a student with fixed color matrices.

    `overlaps` is the matrices M, Q and V, shape (3, C - 1, C - 1), `test_overlaps` the traces of M
    and Q over C - 1, `power` the squared norm sum_h |A^h_i|^2 of a row; `mean_similarity` and
    `effective_heads` are those of `ColorStudent`.
    """

    power: float
    mean_similarity: Array
    effective_heads: float


class ColorSolver(FixedPointSolver):
    """Solves students with fixed color matrices that differ in alpha and ridge.

    With so many coordinates plain iterations are quicker than a Jacobian.
    """

    def __init__(self, student: ColorStudent) -> None:
        self.student = student
        self.rules = color_rules(len(student.similarity) + 1)
        self.forget()

    def equations(self, alpha: float, ridge: float) -> ColorEquations:
        """Return the equations at alpha and ridge, still without a rule."""
        return ColorEquations(replace(self.student, alpha=alpha, ridge=ridge))


class ColorEquations(FixedPointEquations):
    """Exponentials of the coordinates -> the same, of one student."""

    student: ColorStudent
    averages: ColorAverages
    conjugates: ColorConjugates

    def __init__(self, student: ColorStudent) -> None:
        self.student = student

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        self.conjugates = self.student.conjugates(_averages(values))
        self.averages = self.rule(*self.student.overlaps(self.conjugates))
        self.overlaps = _values(self.averages)
        return self.overlaps

    def test_overlaps(self) -> tuple[float, float]:
        """Return the traces of M and Q over C - 1."""
        M, Q, _ = self.student.overlaps(self.conjugates)
        return float(np.trace(M)) / len(M), float(np.trace(Q)) / len(Q)

    def cold_start(self) -> NDArray[np.float64]:
        """Return the coordinates of a student that predicts uniformly."""
        n = len(self.student.similarity)
        uniform = np.eye(n) / (n + 1.0)
        return _values(ColorAverages(uniform, uniform, uniform, 0.0))

    def train_loss(self) -> float:
        """Return the training loss, without penalty."""
        return self.averages.train_loss

    def coupling_error(self) -> float:
        """Return |J - J*|^2 / |J*|^2."""
        return self.student.coupling_error(self.conjugates)

    def point(self, values: NDArray[np.float64], *how: Any) -> ColorPoint:
        """Return the solution at `values`, where the last evaluation was."""
        student, found = self.student, super().point(values, *how)
        facts = {
            **vars(found),
            "overlaps": student.overlaps(self.conjugates),
            "power": student.power(self.conjugates),
            "mean_similarity": student.mean_similarity(self.conjugates),
            "effective_heads": student.effective_heads(self.conjugates),
        }
        return ColorPoint(**facts)


def _values(averages: ColorAverages) -> Array:
    """Return exp of the entries of the logarithms of the three matrices."""
    from scipy.linalg import logm

    noise, curvature = _symmetric_log(averages.noise), _symmetric_log(averages.curvature)
    signal = np.real(logm(averages.signal))
    return np.exp(np.concatenate([noise.ravel(), curvature.ravel(), signal.ravel()]))


def _averages(values: Array) -> ColorAverages:
    """Return the matrices of `_values`; the loss is not among them."""
    from scipy.linalg import expm

    logarithms = np.log(values)
    n = math.isqrt(len(logarithms) // 3)
    noise, curvature, signal = logarithms.reshape(3, n, n)
    return ColorAverages(expm(_symmetric(noise)), expm(_symmetric(curvature)), expm(signal), np.nan)


def _symmetric_log(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(_symmetric(matrix))
    with np.errstate(divide="ignore", invalid="ignore"):  # a failed step: the caller sees NaN
        return (vectors * np.log(values)) @ vectors.T


def _symmetric(matrix: Array) -> Array:
    return 0.5 * (matrix + matrix.T)
