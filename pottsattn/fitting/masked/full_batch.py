"""Steps of L-BFGS on all data, until the optimum of attention is reached.

They end where the problem says so, whatever number of steps is allowed: a convex one by the bound
|gradient|^2 / (4 l2), or by the gradient where there is no penalty; others when the objective has
settled (`pottsattn.fitting.settling`); all of them where rounding hides what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pottsattn._core.verdict import TOLERANCES
from pottsattn.fitting.masked.coordinates import AttentionCoordinates
from pottsattn.fitting.masked.objective import Network
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.joint_solver import TUNING_STEPS
from pottsattn.fitting.pseudolikelihood.lbfgs import VECTORS as DESCENT_VECTORS
from pottsattn.fitting.pseudolikelihood.lbfgs import BoundedDescent, Descent
from pottsattn.fitting.settling import SHARE, Settling

# Of the tolerance of the bound: a verdict is to hold with room to spare, and a proof is cheap, as
# steps near the optimum of a convex problem gain a digit each.
AIM_OF_BOUND = 1e-4
# Of the size of the network that exist together: those of the descent, the network, its gradient
# and a vector on its way between them.
VECTORS = DESCENT_VECTORS + 4
Vector = NDArray[Any]


class FullBatch:
    """The optimizer of a training on all data.

    Parameters
    ----------
    network
        What is trained.
    evaluate
        Returns the objective, summed over sites; its gradient is left in the network.
    frequencies : shape (length, n_states)
        Of the states that are seen.
    strength
        l2 where the problem is convex, 0 without penalty; None where it is not.
    before
        The same steps in another precision, from which these go on.

    Attributes
    ----------
    settling : Settling
        The objective along the steps.
    at_rest : bool
        Further steps are of no use.
    """

    def __init__(
        self,
        network: Network,
        evaluate: Callable[[], Tensor],
        frequencies: NDArray[np.float64],
        penalty: Penalty,
        strength: float | None,
        before: FullBatch | None = None,
    ) -> None:
        self._network, self._evaluate, self._strength = network, evaluate, strength
        self._coordinates = AttentionCoordinates(network, frequencies, penalty.fields_l2)
        self._largest = self._squares = np.inf
        self._descent: Descent | None = None
        self._metric: list[NDArray[np.float64]] = []
        self._is_tuned = before is not None
        # Softmax attention with several heads falls in bursts, between which its rate says little.
        share = 0.5 if self._coordinates.bounded.any() else SHARE
        new = Settling(len(frequencies), share=share)
        self.settling: Settling = new if before is None else before.settling
        self.at_rest = False

    def step(self) -> None:
        """Take one step."""
        if self._descent is None:
            self._begin()
        elif self._descent.n_steps >= TUNING_STEPS and not self._is_tuned:
            self._is_tuned = True
            if self._coordinates.metric():
                self._begin()
        descent = self._descent
        assert descent is not None
        has_moved = descent.step()
        self._coordinates.move(descent.x)
        self.settling.add(descent.value, descent.decrement)
        self.at_rest = not has_moved or descent.is_idle or self._is_solved()

    def estimated_gap(self) -> float:
        """Return the distance to the minimum per site by the curvature seen, NaN where unknown."""
        found = self.settling.estimate
        return found if np.isfinite(found) else np.nan

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, beside the network."""
        return {
            "descent": None if self._descent is None else self._descent.state(),
            "metric": self._metric,
            "is_tuned": self._is_tuned,
            "settling": self.settling.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._is_tuned, self._metric = state["is_tuned"], state["metric"]
        self.settling.restore(state["settling"])
        if state["descent"] is not None:
            here = state["descent"]
            self._descent = self._new_descent(here["x"], (here["value"], here["gradient"]))
            self._descent.restore(here)

    def _begin(self) -> None:
        """Begin a descent from where the network is, in a metric that suits it there."""
        if self._is_tuned:
            self._metric = self._coordinates.metric()
        self._descent = self._new_descent(self._coordinates.point())
        self.settling.restart(self._descent.value)

    def _new_descent(self, start: Vector, known: tuple[float, Vector] | None = None) -> Descent:
        metric, bounded = self._coordinates.applied(self._metric), self._coordinates.bounded
        if bounded.any():
            return BoundedDescent(self._evaluated, start, metric, bounded, known=known)
        return Descent(self._evaluated, start, metric, known=known)

    def _evaluated(self, point: Vector) -> tuple[float, Vector]:
        """Return objective and gradient at a point."""
        self._coordinates.move(point)
        value = float(self._evaluate())
        gradients = [each.grad for each in self._network.parameters() if each.grad is not None]
        self._squares = sum(float((each.double() ** 2).sum()) for each in gradients)
        self._largest = max(float(each.abs().max()) for each in gradients)
        return value, self._coordinates.gradient(point)

    def _is_solved(self) -> bool:
        if self._strength is None:
            return self.settling.is_met
        if self._strength > 0.0:
            return self._squares / (4.0 * self._strength) <= AIM_OF_BOUND * TOLERANCES.gap
        return self._largest <= TOLERANCES.gradient
