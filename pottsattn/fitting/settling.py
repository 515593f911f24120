"""When steps on all data have come to their end, where nothing is convex.

A small gradient is no proof there: in a long flat valley the distance that the curvature seen makes
of it, g.B.g / 2, was below 1e-6 nats per site where further steps still gained 4e-4. So the fall of
the objective counts as well: at the rate of the last fifth of the steps, as many steps again would
gain no more than a tolerance. A fall like a power of the steps gains less than that.
"""

from __future__ import annotations

import math

from pottsattn._core.verdict import TOLERANCES

SETTLED_STEPS = 3  # in a row that must agree: one estimate alone may be far off
AIM = 1e-2  # of the tolerance of the distance, which is only estimated
FEWEST = 10  # steps over which the objective is compared
SHARE = 0.2  # of the steps


class Settling:
    """The objective along the steps of a descent.

    Parameters
    ----------
    length
        Sites; objectives and distances come summed over them.
    gap_tolerance
        Nats per site, of the distance. The tolerance of the fall is in proportion.
    share
        Of the steps, over which the rate of the fall is taken.

    Attributes
    ----------
    estimate : float
        The distance at the last step, nats per site; infinite where unknown.
    """

    def __init__(
        self, length: int, gap_tolerance: float = TOLERANCES.gap, share: float = SHARE
    ) -> None:
        self._length, self._share = length, share
        self._aim = AIM * gap_tolerance
        self._most = TOLERANCES.fall * gap_tolerance / TOLERANCES.gap
        self._values: list[float] = []
        self._n_near = 0
        self.estimate = math.inf

    def add(self, value: float, decrement: float) -> None:
        """Take in the objective after a step and its estimated distance to the minimum."""
        self._values.append(value)
        self.estimate = decrement / self._length
        self._n_near = self._n_near + 1 if self.estimate <= self._aim else 0

    def restart(self, value: float) -> None:
        """Begin, or go on in another precision or other units: the objective is `value` now."""
        change = value - self._values[-1] if self._values else 0.0
        self._values = [each + change for each in self._values] or [value]
        self._n_near = 0

    @property
    def is_met(self) -> bool:
        """Whether the last steps were all near, and further ones would gain no more."""
        return self._n_near >= SETTLED_STEPS and self.falls_on() <= self._most

    def falls_on(self) -> float:
        """Return how far the objective falls, nats per site, in as many steps again at the rate of
        the last fifth; infinite after the first few.
        """
        n_steps = len(self._values) - 1
        n_compared = max(FEWEST, round(self._share * n_steps))
        if n_steps < n_compared:
            return math.inf
        fall = self._values[-1 - n_compared] - self._values[-1]
        return fall / self._length * n_steps / n_compared

    def state(self) -> list[float]:
        """Return all that is known."""
        return [self.estimate, self._n_near, *self._values]

    def restore(self, state: list[float]) -> None:
        """Go on from a state."""
        self.estimate, n_near, *self._values = state
        self._n_near = int(n_near)
