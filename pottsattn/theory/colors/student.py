"""A student with H fixed color matrices: its replica equations up to averages over fields.

J_ij = sum_h A^h_ij B_h in the C - 1 zero-sum directions of color space, the B_h mutually orthogonal
with |B_h|^2 = C - 1, and the penalty (ridge L / 2) sum_h |A^h_i|^2 on a row. Nothing is assumed
about how colors enter, so the order parameters of `student` become (C - 1, C - 1) matrices.
A mode of the true couplings has trace weight t, teacher amplitude w* and input covariance X (a
matrix in color space); the teacher's color matrix is U. With the conjugate matrices

    qhat = alpha E (e_y - p)(e_y - p)^T,   Vhat = alpha E S (I + V S)^-1,
    Mhat = alpha E (e_y - p) e_y^T

a mode's couplings w_h are Gaussian with mean w* D^-1 s and covariance t D^-1 N D^-1, where

    D_hg = ridge delta_hg + tr(Vhat B_h X B_g^T),   N_hg = tr(qhat B_h X B_g^T),
    s_h = tr(B_h X U Mhat^T),

and the fields of the student have

    M = sum_h <w* w_h> B_h X U,   Q = sum_hg <w_h w_g> B_h X B_g^T,
    V = sum_hg t (D^-1)_hg B_h X B_g^T,

summed over modes. For H = 1 and B = P these are the equations of the factored student, for
H = (C - 1)^2 those of the full one.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.colors.fields import ColorAverages

Array = NDArray[np.float64]


class ColorConjugates(NamedTuple):
    """qhat, Vhat and Mhat, each of shape (C - 1, C - 1)."""

    noise: Array
    curvature: Array
    signal: Array


@dataclass(frozen=True, eq=False)
class ColorStudent:
    """A student with fixed color matrices as the fixed point sees it.

    Matrices in color space are in the coordinates of `color_fields.zero_sum_directions`.

    Attributes
    ----------
    alpha : float
        Sequences divided by the length.
    ridge : float
        O(1) penalty, above 0.
    color_matrices : ndarray, shape (H, C - 1, C - 1)
        B_h, indexed [h, target, source], mutually orthogonal with |B_h|^2 = C - 1.
    similarity : ndarray, shape (C - 1, C - 1)
        U of the teacher, symmetric.
    trace_weights, teacher : ndarray, shape (n_modes,)
        Weights t of (1 / L) tr, adding up to 1, and amplitudes w*.
    covariances : ndarray, shape (n_modes, C - 1, C - 1)
        X, the covariance of the inputs.
    """

    alpha: float
    ridge: float
    color_matrices: Array
    similarity: Array
    trace_weights: Array
    teacher: Array
    covariances: Array

    @cached_property
    def _pairs(self) -> Array:
        """B_h X B_g^T, shape (n_modes, H, H, C - 1, C - 1)."""
        seen = np.einsum("hab,nbc->nhac", self.color_matrices, self.covariances)
        return np.einsum("nhac,gdc->nhgad", seen, self.color_matrices, optimize=True)

    @cached_property
    def _signals(self) -> Array:
        """B_h X U, shape (n_modes, H, C - 1, C - 1)."""
        seen = self.covariances @ self.similarity
        return np.einsum("hab,nbc->nhac", self.color_matrices, seen)

    def conjugates(self, averages: ColorAverages) -> ColorConjugates:
        """Return the conjugate matrices that averages over the fields imply."""
        return ColorConjugates(
            noise=self.alpha * averages.noise,
            curvature=self.alpha * averages.curvature,
            signal=self.alpha * averages.signal,
        )

    def overlaps(self, conjugates: ColorConjugates) -> Array:
        """Return M, Q and V, shape (3, C - 1, C - 1)."""
        inverse = self._inverse(conjugates)
        mean, power = self._couplings(conjugates, inverse)
        response = self.trace_weights[:, None, None] * inverse
        return np.array(
            [
                np.tensordot(self.teacher[:, None] * mean, self._signals, axes=2),
                np.tensordot(power, self._pairs, axes=3),
                np.tensordot(response, self._pairs, axes=3),
            ]
        )

    def power(self, conjugates: ColorConjugates) -> float:
        """Return sum_h |A^h_i|^2, the squared norm of a row of couplings over C - 1."""
        _, power = self._couplings(conjugates, self._inverse(conjugates))
        return float(np.trace(power, axis1=1, axis2=2).sum())

    def coupling_error(self, conjugates: ColorConjugates) -> float:
        """Return |J - J*|^2 / |J*|^2, NaN for a teacher without couplings."""
        mean, power = self._couplings(conjugates, self._inverse(conjugates))
        squared = len(self.similarity) * float(np.trace(power, axis1=1, axis2=2).sum())
        matched = float(self.teacher @ mean @ self._projections)
        truth = float(self.teacher @ self.teacher) * float((self.similarity**2).sum())
        return (squared - 2.0 * matched) / truth + 1.0 if truth > 0.0 else np.nan

    def mean_similarity(self, conjugates: ColorConjugates) -> Array:
        """Return the color matrix by which mean couplings follow the true A, shape (C - 1, C - 1).

        It is U itself once everything is learned that the color matrices can express.
        """
        mean, _ = self._couplings(conjugates, self._inverse(conjugates))
        power = float(self.teacher @ self.teacher)
        slope = self.teacher @ mean / power if power > 0.0 else np.full(mean.shape[1], np.nan)
        return np.tensordot(slope, self.color_matrices, axes=1)

    def effective_heads(self, conjugates: ColorConjugates) -> float:
        """Return <tr F^-1 N>, F = D - ridge: each loses 1 / (2 alpha) nats as alpha grows."""
        curvature = np.tensordot(self._pairs, conjugates.curvature, axes=2)
        noise = np.tensordot(self._pairs, conjugates.noise, axes=2)
        traces = np.trace(np.linalg.solve(curvature, noise), axis1=1, axis2=2)
        return float(self.trace_weights @ traces)

    @property
    def bayes_overlap(self) -> Array:
        """R = sum w*^2 U X U: both M and Q of the true conditional law."""
        covariance = np.tensordot(self.teacher**2, self.covariances, axes=1)
        return self.similarity @ covariance @ self.similarity

    @cached_property
    def _projections(self) -> Array:
        """tr(B_h^T U), shape (H,)."""
        return np.tensordot(self.color_matrices, self.similarity, axes=2)

    def _inverse(self, conjugates: ColorConjugates) -> Array:
        """Return D^-1, shape (n_modes, H, H)."""
        curvature = np.tensordot(self._pairs, conjugates.curvature, axes=2)
        penalty = self.ridge * np.eye(len(self.color_matrices))
        return np.asarray(np.linalg.inv(curvature + penalty), dtype=np.float64)

    def _couplings(self, conjugates: ColorConjugates, inverse: Array) -> tuple[Array, Array]:
        """Return the mean (n_modes, H) and the second moment (n_modes, H, H) of the couplings."""
        signal = np.tensordot(self._signals, conjugates.signal, axes=2)
        mean = self.teacher[:, None] * (inverse @ signal[:, :, None])[:, :, 0]
        noise = np.tensordot(self._pairs, conjugates.noise, axes=2)
        spread = self.trace_weights[:, None, None] * (inverse @ noise @ inverse)
        return mean, mean[:, :, None] * mean[:, None, :] + spread
