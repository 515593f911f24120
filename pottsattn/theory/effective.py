"""An effective ensemble: the replica curve of SK-Potts, fitted to losses measured on any data.

    test loss(alpha) = f(C, J; alpha / K, ridge / R) - ln C + B + F / alpha

f is the learning curve of the factored student. B is the loss of fields alone, F / alpha what
learning the fields costs, K the number of sequences that do the work of one for a factored student,
R the same for the ridge. Of the SK-Potts ensemble all is known but J:

- factored student K = R = 1, H heads K = R = H, free blocks K = (C - 1)^2 and R = C - 1;
- a finite length divides K and R by L / (L - 1).

Real data have fewer colors in use than an alphabet has letters, fields, and couplings of all kinds.
For them C is the whole number nearest to the exponential of the mean entropy of a column, and J, K
and R are free. Then they are effective parameters, no properties of the data.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235: f.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import ConvergenceWarning
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.equations.student import ensemble_student
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.readout import mean_loss
from pottsattn.theory.tracing import bayes_loss

Array = NDArray[np.float64]
TEST_SCALE, TRAIN_SCALE = 0.003, 0.009  # how far theory may be off, over the baseline
SCALE_SPREAD = 0.05  # relative, of J by pair covariances: theory is for large L
PRIOR_SCALE = 1.0  # of log K and log R around their values for SK-Potts
STARTS = (0.2, 0.5, 0.8)  # J / C
LARGEST_SHARE = 0.98  # of J / C


@dataclass(frozen=True)
class MeasuredLoss:
    """Losses of one fit or the mean of several of equal size, nats per site.

    `error` is the standard error of the test loss.
    """

    alpha: float
    ridge: float
    test_loss: float
    train_loss: float
    error: float = 0.0


@dataclass(frozen=True)
class EffectiveEnsemble:
    """The parameters of the curve above.

    Attributes
    ----------
    n_states : int
        C of the curve.
    coupling_scale : float
        J, in units of k_B T.
    sequence_cost, ridge_cost : float
        K and R.
    baseline : float
        B, nats per site.
    field_cost : float
        F, nats per site times sequences per site; 0 without fields.
    """

    n_states: int
    coupling_scale: float
    sequence_cost: float
    ridge_cost: float
    baseline: float
    field_cost: float = 0.0

    @property
    def floor(self) -> float:
        """The test loss that unlimited sequences lead to."""
        return bayes_loss(self.n_states, self.coupling_scale) + self._shift

    @property
    def _shift(self) -> float:
        return self.baseline - math.log(self.n_states)

    def losses(
        self, alphas: ArrayLike, ridge: float, *, is_rough: bool = False
    ) -> tuple[Array, Array]:
        """Return test and training losses, shape (n_alphas,) each; NaN where theory has none.

        Rough ones stay with the coarse rule of the solver, as fits do.
        """
        array = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
        student = ensemble_student(self.n_states, self.coupling_scale, 1.0, 1.0, "factored")
        solver = StudentSolver(student)
        test, train = np.full(len(array), math.nan), np.full(len(array), math.nan)
        for at in np.argsort(array, kind="stable").tolist():
            alpha = float(array[at])
            point = solver.solve(
                alpha / self.sequence_cost, ridge / self.ridge_cost, is_rough=is_rough
            )
            if not point.problem:
                fields = self.field_cost / alpha
                test[at] = mean_loss(self.n_states, *point.test_overlaps) + self._shift + fields
                train[at] = point.train_loss + self._shift - fields
        return test, train

    def best_losses(self, alphas: ArrayLike) -> tuple[Array, Array]:
        """Return the least test loss over ridges and its ridge, shape (n_alphas,) each.

        Where no finite ridge is best the couplings are best left out: the loss is that of fields
        alone and the ridge infinite.
        """
        array = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            curve = optimal_ridge(self.n_states, self.coupling_scale, array / self.sequence_cost)
        is_none = np.isnan(curve.ridge)
        test = np.where(is_none, math.log(self.n_states), curve.test_loss)
        ridge = np.where(is_none, math.inf, curve.ridge * self.ridge_cost)
        return test + self._shift + self.field_cost / array, ridge


def fit_matched(
    starts: Sequence[EffectiveEnsemble],
    measured: Sequence[Sequence[MeasuredLoss]],
    scale: tuple[float, float],
) -> list[EffectiveEnsemble]:
    """Return `starts`, one for each method, at the one J that fits all their losses best.

    `scale` is another estimate of J and its standard error. It counts where there are so few
    sequences that the losses hardly depend on J.
    """
    value, error = scale
    width = math.hypot(error, SCALE_SPREAD * value)

    def made(parameters: Array) -> list[EffectiveEnsemble]:
        return [
            replace(start, coupling_scale=_scale(start.n_states, parameters[0])) for start in starts
        ]

    def prior(parameters: Array) -> Array:
        return (_scale(starts[0].n_states, parameters[0]) - np.array([value])) / width

    return _least_squares(made, prior, 1, measured)


def fit_effective(start: EffectiveEnsemble, measured: Sequence[MeasuredLoss]) -> EffectiveEnsemble:
    """Return `start` at the J, K and R that fit the measured losses best.

    log K and log R are held to `start` by a prior of width 1.
    """

    def made(parameters: Array) -> list[EffectiveEnsemble]:
        return [
            replace(
                start,
                coupling_scale=_scale(start.n_states, parameters[0]),
                sequence_cost=start.sequence_cost * math.exp(parameters[1]),
                ridge_cost=start.ridge_cost * math.exp(parameters[2]),
            )
        ]

    return _least_squares(made, lambda parameters: parameters[1:] / PRIOR_SCALE, 3, [measured])[0]


def residuals(ensemble: EffectiveEnsemble, measured: Sequence[MeasuredLoss]) -> Array:
    """Return theory minus measured test and training losses over the baseline, shape (n, 2)."""
    predicted = np.empty((len(measured), 2))
    for ridge in sorted({point.ridge for point in measured}):
        at = [k for k, point in enumerate(measured) if point.ridge == ridge]
        alphas = [measured[k].alpha for k in at]
        predicted[at] = np.transpose(ensemble.losses(alphas, ridge, is_rough=True))
    found = np.array([(point.test_loss, point.train_loss) for point in measured])
    return np.asarray((predicted - found) / ensemble.baseline)


def _scale(n_states: int, parameter: float) -> float:
    return LARGEST_SHARE * n_states / (1.0 + math.exp(-parameter))


def _least_squares(
    made: Callable[[Array], list[EffectiveEnsemble]],
    prior: Callable[[Array], Array],
    n_parameters: int,
    measured: Sequence[Sequence[MeasuredLoss]],
) -> list[EffectiveEnsemble]:
    from scipy.optimize import least_squares

    largest = max(point.alpha for points in measured for point in points)

    def cost(parameters: Array) -> Array:
        off = [prior(parameters)]
        for ensemble, points in zip(made(parameters), measured, strict=True):
            # Smaller sets scatter more, beyond the error of their held-out part.
            weights = np.sqrt([[point.alpha / largest] for point in points])
            noise = np.array([[point.error / ensemble.baseline] for point in points])
            scales = np.hypot(np.array([[TEST_SCALE, TRAIN_SCALE]]), noise)
            relative = np.nan_to_num(residuals(ensemble, points), nan=1.0)
            off.append((relative * weights / scales).ravel())
        return np.concatenate(off)

    fits = []
    for share in STARTS:
        first = np.zeros(n_parameters)
        first[0] = math.log(share / (LARGEST_SHARE - share))
        fits.append(least_squares(cost, first, bounds=(-8.0, 8.0), max_nfev=60))
    return made(min(fits, key=lambda fit: fit.cost).x)
