"""Choosing the ridge without a test set: the least approximate leave-one-out loss along a path.

Ridges are tried by factors of four from 1 until the loss rises on both sides, then at the minimum
of parabolas in log ridge until one moves it by less than a fifth. Every fit starts from the one
before and is solved loosely; the last one is solved to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress, html_table
from pottsattn._core.interrupts import understood
from pottsattn._core.stopwatch import Stopwatch
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import FIELDS_L2, Ridge
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.leave_one_out import LeaveOneOut, curvature_of, leave_one_out

Array = NDArray[np.float64]
FIRST, FACTOR = 1.0, 4.0
LEAST, MOST = 1e-3, 1e4  # ridges beyond are not tried: the optimum counts as infinite or zero there
LOOSE_GAP = 1e-4  # nats per site, while the path is walked
SMALLEST_STEP = 0.2  # in log ridge, that a parabola must ask for
FLAT = 1e-3  # relative rise of the loss on both sides below which nothing is gained any more


@dataclass(frozen=True, eq=False, repr=False)
class RidgeChoice:
    """The best ridge and the path that led to it.

    Attributes
    ----------
    ridge : float
        In the units of the theory, couplings_l2 = ridge / (2 alpha).
    is_inside : bool
        Whether the loss rises on both sides; otherwise the ridge is at the end of those tried.
    fit : FitResult
        The fit at this ridge; `config["ridge_path"]` has the table, `seconds` counts all fits.
    ridges, losses, errors, train_losses : arrays of one length
        Every ridge tried, ascending: approximate leave-one-out loss, its standard error as an
        estimate of the test loss, training loss; nats per site. Differences are far more precise
        than the errors, since they share the sequences.
    """

    ridge: float
    is_inside: bool
    fit: FitResult
    ridges: Array
    losses: Array
    errors: Array
    train_losses: Array

    def to_dict(self) -> dict[str, Any]:
        """Return the path as plain lists."""
        return {
            "ridge": self.ridge,
            "is_inside": self.is_inside,
            "ridges": self.ridges.tolist(),
            "leave_one_out_losses": self.losses.tolist(),
            "errors": self.errors.tolist(),
            "train_losses": self.train_losses.tolist(),
        }

    def _repr_html_(self) -> str:
        return html_table("RidgeChoice", self.to_dict())

    def __repr__(self) -> str:
        where = "" if self.is_inside else ", at the end of the ridges tried"
        best = int(np.argmin(self.losses))
        return (
            f"RidgeChoice(ridge={self.ridge:.3g}{where}, leave-one-out loss "
            f"{self.losses[best]:.4f} +- {self.errors[best]:.4f} nats)"
        )


def choose_ridge(
    dataset: SequenceDataset,
    method: str = "plm",
    *,
    fields: str = "learned",
    fields_l2: float = FIELDS_L2,
    solver: Solver | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> RidgeChoice:
    """Return the ridge with the least approximate leave-one-out loss, and the fit there.

    Parameters
    ----------
    dataset
        Training data. Relatives of a sequence leave with it, so that families with many near
        copies do not ask for too small a ridge: the weights tell how many it has.
    method
        "plm", or "factored" with one head and identity color similarity.
    fields, fields_l2, n_threads
        As in `fit_pseudolikelihood`.
    solver
        Of the last fit, which starts where the one before it ended.
    progress
        Called with (ridges tried, that and the next one).

    Raises
    ------
    InputError
        A wrong option value.

    Warns
    -----
    ConvergenceWarning
        Some site of a fit ran out of steps.
    """
    watch = Stopwatch()
    learn_fields = fields == "learned"
    shared: dict[str, Any] = {"fields": fields, "n_threads": n_threads}
    tried: dict[float, LeaveOneOut] = {}  # by log ridge
    last: FitResult | None = None
    curvature = None

    def loss(log_ridge: float) -> float:
        nonlocal last, curvature
        log_ridge = round(log_ridge, 6)
        if log_ridge not in tried:
            initial = None if last is None else (last.fields, last.couplings)
            found = fit_pseudolikelihood(
                dataset,
                method,
                penalty=Ridge(float(np.exp(log_ridge)), fields_l2),
                solver=Solver(LOOSE_GAP, initial=initial),
                **shared,
            )
            if found.interrupted:
                raise KeyboardInterrupt
            last = found
            if curvature is None:
                curvature = curvature_of(dataset, method, learn_fields=learn_fields)
            tried[log_ridge] = leave_one_out(
                last, dataset, curvature=curvature, n_threads=n_threads
            )
            if progress is not None:
                progress(len(tried), len(tried) + 1)
        return tried[log_ridge].loss

    interrupted = is_inside = False
    try:
        best, is_inside = _minimize(loss)
    except KeyboardInterrupt:
        if not tried:
            raise
        understood()
        interrupted, best = True, min(tried, key=lambda at: tried[at].loss)
    assert last is not None
    order = sorted(tried)
    path = np.array([(tried[at].loss, tried[at].error, tried[at].train_loss) for at in order])
    if interrupted:
        message = f"interrupted after {len(tried)} ridges; this is the last fit, solved loosely"
        fit = replace(last, converged=False, interrupted=True, message=message)
    else:
        fit = fit_pseudolikelihood(
            dataset,
            method,
            penalty=Ridge(float(np.exp(best)), fields_l2),
            solver=replace(solver or Solver(), initial=(last.fields, last.couplings)),
            **shared,
        )
    choice = RidgeChoice(
        float(np.exp(best)), is_inside, fit, np.exp(order), path[:, 0], path[:, 1], path[:, 2]
    )
    config = fit.config | {"ridge_path": choice.to_dict()}
    times: dict[str, Any] = {"seconds": watch.seconds, "compile_seconds": watch.compile_seconds}
    return replace(choice, fit=replace(fit, config=config, **times))


def _minimize(loss: Callable[[float], float]) -> tuple[float, bool]:
    """Return the minimum of a function of log ridge, and whether it lies inside the range."""
    step, ends = np.log(FACTOR), (np.log(LEAST), np.log(MOST))
    best = np.log(FIRST)
    while True:
        around = [at for at in (best - step, best + step) if ends[0] <= at <= ends[1]]
        lower = min(around, key=loss)
        if loss(lower) >= loss(best):
            break
        best = lower
    if len(around) < 2:
        return best, False
    for width in (step, step / 2.0):  # the parabola, once more about its own minimum
        left, middle, right = loss(best - width), loss(best), loss(best + width)
        bend = left - 2.0 * middle + right
        shift = 0.5 * width * (left - right) / bend if bend > 0.0 else 0.0
        shift = float(np.clip(shift, -width, width))
        if abs(shift) < SMALLEST_STEP or max(left, right) - middle < FLAT * middle:
            return best + shift, True
        moved = best + shift
        if loss(moved) >= middle:
            break
        best = moved
    return best, True
