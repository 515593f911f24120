"""The mean of the weights along random steps, and what doubling the steps gains.

Steps of random batches and masks wander around an optimum as far as their rate lets them, and a
rate that falls to zero stills them wherever they are. The mean of the weights comes to rest at the
optimum (Polyak, Juditsky): its noise falls with the number of steps. With rates that fall like the
root of the steps (`FullRecipe.rate`) nothing depends on how long a training is going to be.

The steps are cut into periods, each as long as all before it: n, n, 2 n, 4 n, ... The weights of a
training are the mean over its last period; within a period over that and the one before. At the end
of a period its mean is compared with that of the period before, on the same sequences and masks.

Reference: Polyak, Juditsky, SIAM J. Control Optim. 30, 838 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn._core.verdict import TOLERANCES

MOST_ERROR = 5.0  # standard error of a fall, in units of one that does not count


@dataclass(frozen=True)
class Doubling:
    """What doubling the steps gained: the mean of the weights against that of the period before.

    Attributes
    ----------
    done, new : int
        Steps so far, and those since the period before.
    objective : float
        Of the mean, nats per site, on what it was judged by.
    fall, error : float
        By how much it fell, and the standard error of that over masks or sequences; 0 where all
        data and all masks were judged.
    loss_error : float
        The standard error of the objective itself over the training or the held-out sequences,
        where that is what the fall is measured by; 0 where it is not. Half of it may be gained, as
        the next doubling may gain more than the last one.
    """

    done: int
    new: int
    objective: float
    fall: float
    error: float
    loss_error: float = 0.0

    @classmethod
    def of(
        cls,
        done: int,
        new: int,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        loss_error: float = 0.0,
    ) -> Doubling:
        """Return what objectives of groups of masks or sequences, the same ones, say."""
        falls = before - after
        error = standard_error(falls) if len(falls) > 1 else 0.0
        return cls(done, new, float(after.mean()), float(falls.mean()), error, loss_error)

    @property
    def gain(self) -> float:
        """What twice the steps would gain if every doubling gained as much, nats per site.

        Where nothing but noise is left to average out, each gains half of the one before.
        """
        return self.fall * self._doublings

    @property
    def gain_error(self) -> float:
        """The standard error of `gain`."""
        return self.error * self._doublings

    @property
    def most(self) -> float:
        """The largest gain, nats per site, at which a training is called still."""
        return max(TOLERANCES.fall, self.gain_error, self._most_of_network)

    @property
    def is_known(self) -> bool:
        """Whether the error is small enough to tell anything."""
        return self.error <= max(MOST_ERROR * TOLERANCES.fall, self._most_of_network)

    @property
    def is_still(self) -> bool:
        """Whether twice the steps would change no more than `most`."""
        return abs(self.gain) <= self.most and self.is_known

    @property
    def _most_of_network(self) -> float:
        return min(0.5 * self.loss_error, TOLERANCES.network_fall)

    @property
    def _doublings(self) -> float:
        return math.log(2.0) / math.log(self.done / (self.done - self.new))


def standard_error(values: NDArray[np.float64]) -> float:
    """Return that of the mean of at least two values."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


class WeightAverage:
    """The mean of the parameters of a network along its steps.

    Parameters
    ----------
    network
        Whose parameters are stepped.
    first_period
        Steps of the first period.

    Attributes
    ----------
    n_steps : int
        Added so far.
    """

    def __init__(self, network: nn.Module, first_period: int) -> None:
        self._parameters = [each for each in network.parameters() if each.requires_grad]
        self._end = first_period
        self.n_steps = self._n_before = self._n_current = 0
        self._before: list[Tensor] = []
        self._current = [torch.zeros_like(each) for each in self._parameters]

    @torch.no_grad()
    def add(self) -> None:
        """Take in the parameters after a step."""
        if self.is_whole:
            self._before, self._n_before = self._current, self._n_current
            self._current, self._n_current = [torch.zeros_like(p) for p in self._parameters], 0
            self._end *= 2
        self.n_steps += 1
        self._n_current += 1
        for mean, parameter in zip(self._current, self._parameters, strict=True):
            mean.lerp_(parameter, 1.0 / self._n_current)

    @property
    def is_whole(self) -> bool:
        """Whether a period has just ended."""
        return self.n_steps == self._end

    @property
    def n_new(self) -> int:
        """Steps since the period before; 0 within the first."""
        return self._n_current if self._before else 0

    @contextmanager
    def shown(self, *, before: bool = False) -> Iterator[None]:
        """Let the network have the mean meanwhile, or that of the period `before`."""
        kept = [each.detach().clone() for each in self._parameters]
        self._write(self._before if before else self._mean())
        try:
            yield
        finally:
            self._write(kept)

    def keep(self) -> None:
        """Leave the network at the mean."""
        self._write(self._mean())

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next mean depends on."""
        return {
            "before": self._before,
            "current": self._current,
            "counts": [self.n_steps, self._n_before, self._n_current, self._end],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        device = self._parameters[0].device
        self._before = [each.to(device) for each in state["before"]]
        self._current = [each.to(device) for each in state["current"]]
        self.n_steps, self._n_before, self._n_current, self._end = state["counts"]

    def _mean(self) -> list[Tensor]:
        if self.is_whole or not self._before:
            return self._current
        share = self._n_current / (self._n_current + self._n_before)
        pairs = zip(self._before, self._current, strict=True)
        return [torch.lerp(before, current, share) for before, current in pairs]

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
