"""Limited-memory BFGS for smooth convex objectives, in the precision of the start.

SciPy's L-BFGS-B holds the interpreter lock and handles bounds, which rows solved in threads pay
for; it also stops for good when rounding in float32 spoils one line search. This one is the
two-loop recursion with backtracking, in NumPy operations that release the lock. It goes step by
step, so that a training (`pottsattn.fitting.masked.full_batch`) can be stopped after any of them.

Reference: Nocedal, Wright, Numerical Optimization (2nd ed.), algorithms 7.4 and 7.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]  # float32 or float64
Evaluate = Callable[[Vector], tuple[float, Vector]]
Metric = Callable[[Vector], Vector]
HISTORY = 8  # pairs
# That exist together at most: the pairs, the start, a point and its gradient, the direction, the
# next point and gradient, and the pair that they make.
VECTORS = 2 * HISTORY + 8
SUFFICIENT = 1e-4  # share of the predicted decrease that a step must reach
SHORTEST_STEP = 1e-6
PROGRESS = 0.9  # factor on the norm of the gradient that counts as such
MOST_IDLE = 10  # steps without any, in objective or gradient: rounding stops the descent
ROUNDING = 4.0  # units in the last place of the objective that may hide a decrease


class Descent:
    """A descent, where it is now.

    Parameters
    ----------
    evaluate
        Returns the objective and a fresh gradient, of the type of `start`.
    start : float32 or float64, shape (n,)
    metric
        Takes a gradient to a step: about the inverse Hessian but for a factor, which the recursion
        starts from; 1 if left out.
    known
        Objective and gradient at the start, where they need no evaluation.

    Attributes
    ----------
    x, value, gradient
        The point and what the objective is there.
    decrement : float
        Half g.B.g with the inverse Hessian B of the recursion: an estimate of how far the objective
        is above its minimum; infinite while nothing is known of B.
    n_evaluations, n_steps : int
        Evaluations; steps that were accepted.
    is_done : bool
        Set by `descend`.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        start: Vector,
        metric: Metric | None = None,
        *,
        known: tuple[float, Vector] | None = None,
    ) -> None:
        self._evaluate, self._metric = evaluate, metric
        self._rounding = ROUNDING * float(np.finfo(start.dtype).eps)
        self._pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=HISTORY)
        self.x = start
        self.value, self.gradient = evaluate(start) if known is None else known
        self.n_evaluations, self.n_steps, self._n_idle = 1, 0, 0
        self._least = float(np.linalg.norm(self.gradient))
        self._scale = 1.0  # of a step along the gradient
        self.is_done = False
        self._turn()

    @property
    def is_idle(self) -> bool:
        """Whether rounding hides all progress."""
        return self._n_idle >= MOST_IDLE

    def step(self) -> bool:
        """Take a step; False where none lowers the objective: at the minimum, within rounding."""
        x, value, rounding = self.x, self.value, self._rounding
        # Also the first step, along the gradient; halving cuts what is too long.
        step = 1.0
        while True:
            trial, expected = self._trial(step)
            trial_value, trial_gradient = self._evaluate(trial)
            self.n_evaluations += 1
            # Near the minimum, rounding of the objective exceeds its decrease: without slack the
            # search would end there, a step before the gradient is small.
            slack = rounding * abs(value)
            if trial_value <= value + SUFFICIENT * expected + slack:
                break
            step *= 0.5
            if step < SHORTEST_STEP:
                break
        if step < SHORTEST_STEP:
            if not self._pairs:  # not even along the gradient
                return False
            # Curvature that rounding spoiled: begin again, along the gradient.
            self._pairs.clear()
            self._turn()
            return True
        # Algorithm 7.5 asks for the Wolfe conditions, which keep change . bend above 0. Convexity
        # does that here, but for rounding: such pairs are left out.
        change, bend = trial - x, trial_gradient - self.gradient
        curvature = float(change @ bend)
        if curvature > rounding * float(np.linalg.norm(change)) * float(np.linalg.norm(bend)):
            self._pairs.append((change, bend, curvature))
        norm = float(np.linalg.norm(trial_gradient))
        # Either of the two counts: at the end the objective stands still while the gradient still
        # falls.
        is_idle = trial_value > value - slack and norm > PROGRESS * self._least
        self._n_idle = self._n_idle + 1 if is_idle else 0
        self._least = min(self._least, norm)
        self.x, self.value, self.gradient = trial, trial_value, trial_gradient
        self.n_steps += 1
        self._turn()
        return True

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "x": self.x,
            "value": self.value,
            "gradient": self.gradient,
            "pairs": [list(pair) for pair in self._pairs],
            "counts": [self.n_evaluations, self.n_steps, self._n_idle],
            "least": self._least,
            "scale": self._scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state, in which the start is known."""
        self._pairs.extend((change, bend, at) for change, bend, at in state["pairs"])
        self.n_evaluations, self.n_steps, self._n_idle = state["counts"]
        self._least, self._scale = state["least"], state["scale"]
        self._turn()

    def _trial(self, step: float) -> tuple[Vector, float]:
        """Return the point of a step, and by how much the slope lets the objective change."""
        return self.x + self.x.dtype.type(step) * self._direction, step * self._slope

    def _turn(self) -> None:
        """Take the direction of the next step."""
        self._direction = _direction(self.gradient, self._pairs, self._metric)
        self._slope = float(self._direction @ self.gradient)
        self.decrement = -0.5 * self._slope if self._pairs else np.inf


class BoundedDescent(Descent):
    """A descent in which the coordinates of `bounded`, shape (n,), are at least 0.

    Those at the bound that would leave it stay there; the recursion sees the others.

    Reference: Bertsekas, SIAM J. Control Optim. 20, 221 (1982): two-metric projection.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        start: Vector,
        metric: Metric | None,
        bounded: NDArray[np.bool_],
        *,
        known: tuple[float, Vector] | None = None,
    ) -> None:
        self._bounded = bounded
        super().__init__(evaluate, start, metric, known=known)

    def _trial(self, step: float) -> tuple[Vector, float]:
        trial, _ = super()._trial(step)
        trial[self._bounded & (trial < 0.0)] = 0.0
        return trial, float(self.gradient @ (trial - self.x))

    def _turn(self) -> None:
        at_bound = self._bounded & (self.x <= 0.0)
        free = ~(at_bound & (self.gradient > 0.0))
        gradient = self.gradient * free
        pairs: deque[tuple[Vector, Vector, float]] = deque()
        for change, bend, _ in self._pairs:
            change, bend = change * free, bend * free
            curvature = float(change @ bend)
            if curvature > self._rounding * float(np.linalg.norm(change) * np.linalg.norm(bend)):
                pairs.append((change, bend, curvature))

        def metric(vector: Vector) -> Vector:
            return vector if self._metric is None else self._metric(vector) * free

        if pairs:
            _, bend, curvature = pairs[-1]
            self._scale = curvature / float(bend @ bend)
            direction = _direction(gradient, pairs, metric)
            direction[at_bound & (direction < 0.0)] = 0.0
            slope = float(direction @ gradient)
        if not pairs or slope >= 0.0:
            # What cuts a step off at the bound may turn it uphill, unless it is along the gradient.
            self._pairs.clear()
            direction = -gradient.dtype.type(self._scale) * gradient
            slope = float(direction @ gradient)
        self._direction, self._slope = direction, slope
        self.decrement = -0.5 * slope if self._pairs else np.inf


def descend(
    evaluate: Evaluate,
    start: Vector,
    is_done: Callable[[Descent], bool],
    max_steps: int,
    metric: Metric | None = None,
) -> Descent:
    """Return the descent at the first point that is good enough, or at the last one reached.

    Parameters
    ----------
    evaluate, start, metric
        As of a `Descent`.
    is_done
        Tells by the descent, at the start and after every step.
    max_steps
        Accepted steps.
    """
    descent = Descent(evaluate, start, metric)
    while True:
        descent.is_done = is_done(descent)
        is_over = descent.is_done or descent.n_steps >= max_steps or descent.is_idle
        if is_over or not descent.step():
            return descent


def _direction(
    gradient: Vector, pairs: deque[tuple[Vector, Vector, float]], metric: Metric | None
) -> Vector:
    """Return minus the inverse Hessian of the recursion times the gradient.

    The recursion starts from a multiple of `metric`.
    """
    number = gradient.dtype.type
    result = -gradient
    weights = []
    for change, bend, curvature in reversed(pairs):
        weight = float(change @ result) / curvature
        result -= number(weight) * bend
        weights.append(weight)
    if pairs:
        # The scale of the last pair stands for the inverse Hessian that the recursion starts from
        # (equation 7.20).
        _, bend, curvature = pairs[-1]
        bends = bend if metric is None else metric(bend)
        result *= number(curvature / float(bend @ bends))
    if metric is not None:
        result = metric(result)
    for (change, bend, curvature), weight in zip(pairs, reversed(weights), strict=True):
        result += number(weight - float(bend @ result) / curvature) * change
    return result
