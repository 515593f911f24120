"""What a search for an optimum may be called: one verdict, one table of tolerances, one wording.

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

from pottsattn._core.validate import ConvergenceWarning


@dataclass(frozen=True)
class Tolerances:
    """What is near enough, for all fits.

    Attributes
    ----------
    gap
        Distance to the minimum, nats per site, of a solver or of full-batch steps: proven, or
        estimated by the curvature seen.
    random_gap
        The same, proven, after steps of random batches or masks, whose noise hides less.
    gradient
        Largest entry of the gradient where no penalty bounds the distance.
    fall
        Fall of the loss over the last steps, nats per site, that further steps must not exceed.
    """

    gap: float = 1e-6
    random_gap: float = 1e-3
    gradient: float = 1e-7
    fall: float = 1e-5


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
