"""Simulated points against the replica theory: deviations, and how they shrink with the length.

A point is compared with the ensemble at L -> infinity, and its instances each with the matched
ensemble, the correction of leading order for a finite system (docs/theory.md): the theory at the
realized J_inst (`realized_coupling_scale`), at alpha L / (L - 1) and ridge L / (L - 1), as a site
has L - 1 neighbors. Both deviations are fitted by slope / L.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from pottsattn._core.display import one_line
from pottsattn._core.validate import ConvergenceWarning, InputError, check_choice
from pottsattn.studies.sweep.table import OBSERVABLES, SweepPoint, SweepRow, SweepTable
from pottsattn.studies.sweep.tasks import ESTIMATOR_OF
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.result import LearningCurve

LARGEST_ALLOWANCE = 0.02  # of the predicted value
MOST_ERRORS = 4.0
MARGIN = 1.25  # of the curves beyond the points
POINTS_PER_DOUBLING = 6


@dataclass(frozen=True)
class Deviation:
    """A mean over instances against theory; NaN where there is none."""

    point: SweepPoint
    n_instances: int
    simulated: float
    error: float  # standard error over instances
    predicted: float  # of the ensemble at L -> infinity
    matched: float  # mean over instances of simulated minus predicted at the realized scale
    matched_error: float

    @property
    def difference(self) -> float:
        """Simulated - predicted."""
        return self.simulated - self.predicted

    @property
    def relative(self) -> float:
        """(simulated - predicted) / predicted."""
        return self.simulated / self.predicted - 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the conditions and the numbers side by side."""
        numbers = {name: value for name, value in asdict(self).items() if name != "point"}
        return {**asdict(self.point), **numbers}


@one_line
@dataclass(frozen=True)
class FiniteSizeFit:
    """Deviations of one point at several lengths, d = slope / L by weighted least squares.

    `offset` is the value at 1 / L = 0 of a straight line with an offset, which should be zero;
    NaN for fewer than three lengths. `chi_squared` is of the fit without it.
    """

    deviations: tuple[Deviation, ...]  # in the order of their lengths
    is_matched: bool
    slope: float
    slope_error: float
    chi_squared: float
    offset: float
    offset_error: float


@dataclass(frozen=True)
class Verdict:
    """A deviation against 4 standard errors plus what is allowed for the finite length."""

    deviation: Deviation
    allowance: float  # |slope| / L of the fit at the other lengths, at most 2 % of the prediction

    @property
    def is_within(self) -> bool:
        """Whether the deviation is within both together; False where it is not defined."""
        deviation = self.deviation
        return abs(deviation.difference) <= MOST_ERRORS * deviation.error + self.allowance


def deviations(table: SweepTable, observable: str = "test_loss") -> list[Deviation]:
    """Return every point of a table against theory.

    Without a prediction are the training loss of masked fits (theirs is of the full context, that
    of the theory of masked sequences), and several static masks per sequence.

    Raises
    ------
    InputError
        No such observable.
    """
    check_choice("observable", observable, OBSERVABLES)
    found = []
    means = {mean.point: mean for mean in table.means()}
    for point, rows in table.groups().items():
        mean = means[point]
        matched = np.array(
            [getattr(row, observable) - _matched_prediction(row, observable) for row in rows]
        )
        n_rows = len(rows)
        found.append(
            Deviation(
                point=point,
                n_instances=n_rows,
                simulated=getattr(mean, observable),
                error=getattr(mean, f"{observable}_error"),
                predicted=_predict(point, observable),
                matched=float(matched.mean()),
                matched_error=(
                    float(matched.std(ddof=1) / np.sqrt(n_rows)) if n_rows > 1 else math.nan
                ),
            )
        )
    return found


def _predict(point: SweepPoint, observable: str) -> float:
    if not _is_predicted(point, observable):
        return math.nan
    student = replace(point, method=ESTIMATOR_OF[point.method], length=0, masks=None)
    curve = _prediction(student)
    return float(getattr(curve, observable)[0]) if curve.converged[0] else math.nan


@lru_cache(maxsize=1 << 16)  # every observable, and several methods, ask for the same
def _prediction(student: SweepPoint) -> LearningCurve:
    """Return the curve of one point, whose `method` is an estimator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # then there is no prediction
        return learning_curve(
            student.n_states,
            student.coupling_scale,
            [student.alpha],
            student.ridge,
            estimator=student.method,
            mask_fraction=student.mask_fraction,
            mask_mode=student.mask_mode or "fresh",
        )


def _matched_prediction(row: SweepRow, observable: str) -> float:
    if math.isnan(row.realized_scale):
        return math.nan
    finite = row.length / (row.length - 1)
    matched = replace(
        row.point,
        coupling_scale=row.realized_scale,
        alpha=row.alpha * finite,
        ridge=row.ridge * finite,
    )
    return _predict(matched, observable)


def _is_predicted(point: SweepPoint, observable: str) -> bool:
    if point.method not in ESTIMATOR_OF:
        return False
    if point.mask_fraction is None:
        return True
    return observable != "train_loss" and (point.mask_mode == "fresh" or point.masks == 1)


def curves_for(table: SweepTable) -> list[LearningCurve]:
    """Return smooth curves of the theory through the alphas of a table's points."""
    alphas: dict[tuple[Any, ...], set[float]] = {}
    for point in table.groups():
        if _is_predicted(point, "test_loss"):
            size = (point.n_states, point.coupling_scale, ESTIMATOR_OF[point.method])
            masks = (point.mask_fraction, point.mask_mode)
            ridge = point.ridge if point.ridge_kind == "fixed" else None
            alphas.setdefault((*size, *masks, ridge), set()).add(point.alpha)
    curves = []
    for (n_states, scale, estimator, fraction, mode, ridge), values in alphas.items():
        low, high = min(values) / MARGIN, max(values) * MARGIN
        n_points = 2 + math.ceil(POINTS_PER_DOUBLING * math.log2(high / low))
        grid = np.union1d(np.geomspace(low, high, n_points), sorted(values))
        options = {"estimator": estimator, "mask_fraction": fraction, "mask_mode": mode or "fresh"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            if ridge is None:
                curves.append(optimal_ridge(n_states, scale, grid, **options))
            else:
                curves.append(learning_curve(n_states, scale, grid, ridge, **options))
    return curves


def finite_size_fits(entries: Iterable[Deviation], *, matched: bool = False) -> list[FiniteSizeFit]:
    """Return the fit of slope / L to every point that occurs at two lengths or more.

    Parameters
    ----------
    entries
        Deviations; those without a standard error are left out.
    matched
        Fit the deviations from the matched ensemble.
    """
    families: dict[SweepPoint, list[Deviation]] = {}
    for entry in entries:
        families.setdefault(replace(entry.point, length=0), []).append(entry)
    fits = []
    for family in families.values():
        usable = [entry for entry in family if np.isfinite(_numbers(entry, matched)).all()]
        usable = [entry for entry in usable if _numbers(entry, matched)[1] > 0.0]
        if len({entry.point.length for entry in usable}) > 1:
            ordered = sorted(usable, key=lambda entry: entry.point.length)
            fits.append(_fit(tuple(ordered), matched))
    return fits


def _numbers(entry: Deviation, matched: bool) -> tuple[float, float]:
    if matched:
        return entry.matched, entry.matched_error
    return entry.difference, entry.error


def _fit(entries: tuple[Deviation, ...], matched: bool) -> FiniteSizeFit:
    inverse = np.array([1.0 / entry.point.length for entry in entries])
    values, errors = np.array([_numbers(entry, matched) for entry in entries]).T
    weights = errors**-2
    norm = float(weights @ inverse**2)
    slope = float(weights @ (inverse * values)) / norm
    offset = offset_error = math.nan
    if len(entries) > 2:
        design = np.stack([np.ones_like(inverse), inverse], axis=1)
        covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
        offset = float((covariance @ (design.T @ (weights * values)))[0])
        offset_error = math.sqrt(covariance[0, 0])
    return FiniteSizeFit(
        deviations=entries,
        is_matched=matched,
        slope=slope,
        slope_error=norm**-0.5,
        chi_squared=float(weights @ (values - slope * inverse) ** 2),
        offset=offset,
        offset_error=offset_error,
    )


def judge(entries: Iterable[Deviation], length: int) -> list[Verdict]:
    """Return the verdict on every point of one length; the others tell the allowance.

    Raises
    ------
    InputError
        There is no point of that length.
    """
    every = list(entries)
    judged = [entry for entry in every if entry.point.length == length]
    if not judged:
        found = ", ".join(map(str, sorted({entry.point.length for entry in every})))
        raise InputError(f"no point has length {length}; the lengths are {found}")
    fits = finite_size_fits(entry for entry in every if entry.point.length != length)
    slopes = {replace(fit.deviations[0].point, length=length): fit.slope for fit in fits}
    verdicts = []
    for entry in judged:
        allowed = abs(slopes.get(entry.point, 0.0)) / length
        verdicts.append(Verdict(entry, min(allowed, LARGEST_ALLOWANCE * abs(entry.predicted))))
    return verdicts
