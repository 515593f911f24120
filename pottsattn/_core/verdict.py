"""What a search for an optimum may be called: one verdict, one table of tolerances, one wording.

Everything that can end without having converged says so in the words of `stated`.

A verdict has to be earned. A solver or a training that has stopped is converged if

1. it was not interrupted,
2. an optimum exists: nothing unpenalized runs away to infinity (`pottsattn.fitting.existence`),
3. what was compared says so. Where the problem is convex and every parameter is penalized, by a
   proof, |gradient|^2 / (4 l2). Where no bound exists, by the distance that the curvature seen
   makes of the gradient, g.B.g / 2, or by the gradient itself; where steps are random, by the fall
   of the loss over the last steps, set against its standard error.

A number that is not known (NaN) proves nothing: a comparison with it fails.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import ConvergenceWarning

ERRORS = 3.0  # standard errors by which a loss is below that of the start
FEWEST_LOSSES = 10  # two in each of the last two fifths


@dataclass(frozen=True)
class Tolerances:
    """What is near enough, for all fits.

    Attributes
    ----------
    gap
        Distance to the minimum, nats per site, of a solver or of full-batch steps: proven, or
        estimated by the curvature seen.
    random_gap
        The same, proven, after steps of random batches or masks. The bound is hundreds of times the
        distance there, and holds the noise of masks by which the gradient is known.
    gradient
        Largest entry of the gradient where no penalty bounds the distance.
    fall
        What twice the steps may gain, nats per site, or the standard error of that.
    network_fall
        Of a transformer, half the standard error of its loss over the sequences that judge, and
        this at most.
    left
        Share of what there was to gain that may be left, where the smallest possible loss is known.
    still
        Fall of a noisy loss over the last fifth of the steps, with its standard error, as a share
        of its whole fall.
    """

    gap: float = 1e-6
    random_gap: float = 1e-2
    gradient: float = 1e-7
    fall: float = 1e-5
    network_fall: float = 3e-3
    left: float = 0.02
    still: float = 0.01


TOLERANCES = Tolerances()


@dataclass(frozen=True)
class Verdict:
    """How a search for an optimum ended. `FitRecord` has `converged` and `message` from it.

    Attributes
    ----------
    converged : bool
    reason : str
        In plain words: what was compared with what.
    remedy : str
        What to do where it did not converge.
    gap, gap_is : float, str
        Distance to the minimum, nats per site, and what it is: "bound" or "estimate"; NaN and ""
        where neither is known.
    gradient_norm, gradient_noise : float
        Of what was minimized; the noise of random masks or batches, 0 where there is none.
    has_optimum : bool
        Nothing was seen that moves the optimum to infinity.
    """

    converged: bool
    reason: str
    remedy: str = ""
    gap: float = math.nan
    gap_is: str = ""
    gradient_norm: float = math.nan
    gradient_noise: float = 0.0
    has_optimum: bool = True

    @property
    def message(self) -> str:
        """The reason and, where it did not converge, what to do."""
        has_remedy = bool(self.remedy) and not self.converged
        return f"{self.reason}; {self.remedy}" if has_remedy else self.reason

    def warn(self, stacklevel: int = 2) -> None:
        """Warn of a search that did not converge; `stacklevel` as seen by the caller."""
        if not self.converged:
            warnings.warn(self.message, ConvergenceWarning, stacklevel=stacklevel + 1)


def at_infinity(why: str) -> Verdict:
    """Return the verdict on a problem without an optimum, for the reason `why`."""
    reason = f"{why}, so that its optimum is at infinity"
    return Verdict(False, reason, "give a penalty", has_optimum=False)


def stated(converged: bool, message: str = "") -> str:
    """Return how a result ended as it is printed: "converged", or in capitals that it did not."""
    if converged:
        return "converged"
    return f"NOT converged: {message}" if message else "NOT converged"


def interrupted_at(step: int, max_steps: int) -> Verdict:
    """Return the verdict on a training that Ctrl-C has ended."""
    return Verdict(False, f"interrupted at step {step} of {max_steps}")


def judge_bounded(excess: NDArray[np.float64], step: int) -> Verdict:
    """Return the verdict on a training by its loss above the smallest possible, which is known.

    Parameters
    ----------
    excess
        From the start to the end, on inputs that stay the same.
    step
        Steps taken.
    """
    at_start, at_end = float(excess[0]), float(excess[-1])
    if not np.isfinite(excess).all():
        return diverged_by(step)
    if at_end > at_start:
        return above_the_start(at_end, at_start)
    share = at_end / at_start if at_start > 0.0 else 0.0
    most = TOLERANCES.left
    reason = (
        f"{100 * share:.3g} % of what there was to gain is left after {step} steps (at most "
        f"{100 * most:g} %)"
    )
    remedy = "raise the steps or the learning rate"
    return Verdict(share <= most, reason, remedy)


def judge_losses(losses: NDArray[np.float64], step: int) -> Verdict:
    """Return the verdict on a training by losses of new inputs, at a rate that stays the same.

    It has converged if the loss is below that of the start by more than its noise, and fell over
    the last fifth of the steps, its standard error added, by a small share of its whole fall: a
    training that hardly moves falls by a fifth.

    Parameters
    ----------
    losses
        Of the steps, or of evenly spaced ones, from the start to the end.
    step
        Steps taken.
    """
    if not np.isfinite(losses).all():
        return diverged_by(step)
    fifth = len(losses) // 5
    if len(losses) < FEWEST_LOSSES:
        reason = f"{len(losses)} losses are too few to judge, at least {FEWEST_LOSSES} are needed"
        return Verdict(False, reason, "raise the steps")
    before, last = losses[-2 * fifth : -fifth], losses[-fifth:]
    scatter = math.sqrt(0.5 * (before.var(ddof=1) + last.var(ddof=1)))
    fall, error = float(before.mean() - last.mean()), scatter * math.sqrt(2.0 / fifth)
    whole, whole_error = float(losses[0] - last.mean()), scatter * math.sqrt(1.0 + 1.0 / fifth)
    if whole < -ERRORS * whole_error:
        return above_the_start(float(last.mean()), float(losses[0]))
    if not whole > ERRORS * whole_error:
        return not_below_the_start(float(last.mean()), float(losses[0]), scatter)
    most = TOLERANCES.still
    share, error_share = fall / whole, error / whole
    said = (
        f"the loss fell by {100 * share:.2g} ± {100 * error_share:.2g} % of its whole fall over "
        f"the last fifth of {step} steps (at most {100 * most:g} %)"
    )
    if abs(share) + error_share <= most:
        return Verdict(True, said)
    if share > error_share:
        remedy = "raise the steps"
    elif share < -error_share:
        remedy = "lower the learning rate"
    else:
        remedy = "raise the steps or the batch size, for less noise"
    return Verdict(False, said, remedy)


def diverged_by(step: int) -> Verdict:
    """Return the verdict on a training whose numbers are no longer finite."""
    reason = f"numbers became too large by step {step}"
    return Verdict(False, reason, "lower the learning rate or the start scale")


def above_the_start(at_end: float, at_start: float) -> Verdict:
    """Return the verdict on a training that has made things worse."""
    reason = f"the loss is above that of the start, {at_end:.4g} and {at_start:.4g}"
    return Verdict(False, reason, "lower the learning rate")


def not_below_the_start(at_end: float, at_start: float, noise: float) -> Verdict:
    """Return the verdict on a training that has changed nothing that could be seen."""
    reason = (
        f"the loss is not below that of the start: {at_start:.4g} at first, {at_end:.4g} in the "
        f"end, with a noise of {noise:.2g}"
    )
    return Verdict(False, reason, "raise the steps or the learning rate")
