"""The replica-symmetric equations of one student, up to its averages over fields.

A student of one site sees inputs with covariance x_r while it trains and x when it is tested, and a
signal c_r and c, all given per mode of the couplings A (trace weights t, teacher amplitudes w*).
With the conjugate parameters (qhat, Vhat, mhat) and D = ridge + Vhat x_r,

    V = k sum t x_r / D
    m = mhat sum c_r^2 / D
    q = mhat^2 sum c_r^2 x_r / D^2 + k qhat sum t x_r^2 / D^2

and   qhat = alpha E|e_y - p|^2 / k,   Vhat = alpha E tr S(I + V S)^-1 / k,
      mhat = alpha E[1 - p_y] / k.

k = 1 is the factored student (one head, fixed identity in color space), k = C - 1 the unconstrained
one with a free C x C block per pair (plmDCA). H heads of orthonormal color matrices lie between:
k = sqrt(H) with ridge / sqrt(H) in D, exactly so where the sum of B_h B_h^T is proportional to P,
as for H = 1 and H = (C - 1)^2. Other students (static masks, a measured instance) fill the same
fields differently; where only a fraction of the sequences counts for a site, alpha above is that
fraction of the alpha given.

Substituting gives student(k; alpha, ridge) = student(1; alpha / k^2, ridge / k) for these losses.

`ridge` is the coefficient of (ridge L / 2) |w|^2 in the objective summed over sequences; in units
of one sequence couplings_l2 = ridge / (2 alpha).

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import check_nonnegative, check_positive
from pottsattn.theory.ensemble import susceptibility_spectrum
from pottsattn.theory.equations.gaussian import SiteAverages

ESTIMATORS = ("factored", "full")


def ridge_to_couplings_l2(ridge: float, alpha: float) -> float:
    """Return the penalty per sequence, couplings_l2 = ridge / (2 alpha).

    Raises
    ------
    InputError
        A negative ridge, or alpha that is not above 0.
    """
    return check_nonnegative("ridge", ridge) / (2.0 * check_positive("alpha", alpha))


class Conjugates(NamedTuple):
    """qhat, Vhat and mhat: strength of the noise, curvature and signal that the data exert."""

    noise: float
    curvature: float
    signal: float


@dataclass(frozen=True, eq=False)
class Student:
    """A student as the fixed point sees it.

    Attributes
    ----------
    n_states : int
        Number of colors C.
    alpha : float
        Sequences divided by the length.
    ridge : float
        O(1) penalty, at least 0.
    multiplicity : float
        k of the equations above.
    trace_weights : ndarray, shape (n_modes,)
        Weights t of (1 / L) tr, adding up to 1.
    train_covariance, test_covariance : ndarray, shape (n_modes,)
        Eigenvalues x_r and x of the covariance of the inputs.
    train_signal, test_signal : ndarray, shape (n_modes,)
        Amplitudes c_r and c of the signal, in the same modes.
    teacher : ndarray, shape (n_modes,)
        Amplitudes w* of the true couplings.
    counted : float
        Fraction of the sequences that count for one site: r with static masks, else 1.
    ridge_scale : float
        The ridge in D over `ridge`: 1 / sqrt(H) with H heads, else 1.
    """

    n_states: int
    alpha: float
    ridge: float
    multiplicity: float
    trace_weights: NDArray[np.float64]
    train_covariance: NDArray[np.float64]
    test_covariance: NDArray[np.float64]
    train_signal: NDArray[np.float64]
    test_signal: NDArray[np.float64]
    teacher: NDArray[np.float64]
    counted: float = 1.0
    ridge_scale: float = 1.0

    def conjugates(self, averages: SiteAverages) -> Conjugates:
        """Return the conjugate parameters that averages over the fields imply."""
        scale = self.alpha * self.counted / self.multiplicity
        return Conjugates(
            noise=scale * averages.squared_error,
            curvature=scale * averages.response,
            signal=scale * averages.error,
        )

    def train_overlaps(self, conjugates: Conjugates) -> NDArray[np.float64]:
        """Return the array (m, q, V) of the training fields."""
        covariance = self.train_covariance
        inverse = self._inverse(conjugates)
        signal = self.train_signal * inverse
        noise = covariance * inverse
        m = conjugates.signal * (self.train_signal @ signal)
        q = conjugates.signal**2 * (signal @ (covariance * signal)) + (
            self.multiplicity * conjugates.noise * (self.trace_weights @ noise**2)
        )
        return np.array([m, q, self.multiplicity * (self.trace_weights @ noise)])

    def test_overlaps(self, conjugates: Conjugates) -> tuple[float, float]:
        """Return (m, q) of the fields in the full context, which the test loss sees."""
        inverse = self._inverse(conjugates)
        signal = self.train_signal * inverse
        m = conjugates.signal * (signal @ self.test_signal)
        q = conjugates.signal**2 * (signal @ (self.test_covariance * signal)) + (
            self.multiplicity
            * conjugates.noise
            * (self.trace_weights @ (self.train_covariance * self.test_covariance * inverse**2))
        )
        return float(m), float(q)

    def coupling_error(self, conjugates: Conjugates) -> float:
        """Return |w - w*|^2 / |w*|^2, NaN for a teacher without couplings."""
        inverse = self._inverse(conjugates)
        missed = conjugates.signal * self.train_signal * inverse - self.teacher
        noise = self._noise_power(conjugates, inverse)
        power = float(self.teacher @ self.teacher)
        return float(missed @ missed + noise) / power if power > 0.0 else np.nan

    def power(self, conjugates: Conjugates) -> float:
        """Return |w|^2, the squared norm of a row of couplings over C - 1."""
        inverse = self._inverse(conjugates)
        signal = conjugates.signal * self.train_signal * inverse
        return float(signal @ signal) + self._noise_power(conjugates, inverse)

    def _inverse(self, conjugates: Conjugates) -> NDArray[np.float64]:
        """Return 1 / D."""
        penalty = self.ridge_scale * self.ridge
        inverse: NDArray[np.float64] = 1.0 / (
            penalty + conjugates.curvature * self.train_covariance
        )
        return inverse

    def _noise_power(self, conjugates: Conjugates, inverse: NDArray[np.float64]) -> float:
        traced = float(self.trace_weights @ (self.train_covariance * inverse**2))
        return self.multiplicity * conjugates.noise * traced

    @property
    def mean_covariance(self) -> float:
        """(1 / L) tr chi, the variance of one input per color channel: 1 / C for the ensemble."""
        return float(self.trace_weights @ self.test_covariance)

    @property
    def bayes_overlap(self) -> float:
        """rho = w*.c: both m and q of the true conditional law."""
        return float(self.teacher @ self.test_signal)


def ensemble_student(
    n_states: int,
    coupling_scale: float,
    alpha: float,
    ridge: float,
    estimator: str,
    n_heads: int = 1,
) -> Student:
    """Return the "factored" or "full" student of an SK-Potts teacher below its glass transition.

    A factored student may have several heads.
    """
    spectrum = susceptibility_spectrum(n_states, coupling_scale)
    teacher = coupling_scale * np.sqrt(spectrum.weights)
    signal = teacher * spectrum.values
    return Student(
        n_states=n_states,
        alpha=alpha,
        ridge=ridge,
        multiplicity={"factored": math.sqrt(n_heads), "full": n_states - 1.0}[estimator],
        trace_weights=spectrum.weights,
        train_covariance=spectrum.values,
        test_covariance=spectrum.values,
        train_signal=signal,
        test_signal=signal,
        teacher=teacher,
        ridge_scale=1.0 / math.sqrt(n_heads),
    )
