"""Limited-memory BFGS for smooth convex objectives, in the precision of the start.

SciPy's L-BFGS-B holds the interpreter lock and handles bounds, which rows solved in threads pay
for; it also stops for good when rounding in float32 spoils one line search. This one is the
two-loop recursion with backtracking, in NumPy operations that release the lock.

Reference: Nocedal, Wright, Numerical Optimization (2nd ed.), algorithms 7.4 and 7.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]  # float32 or float64
Evaluate = Callable[[Vector], tuple[float, Vector]]
HISTORY = 8  # pairs
# That exist together at most: the pairs, the start, a point and its gradient, the direction, the
# next point and gradient, and the pair that they make.
VECTORS = 2 * HISTORY + 8
SUFFICIENT = 1e-4  # share of the predicted decrease that a step must reach
SHORTEST_STEP = 1e-6
PROGRESS = 0.9  # factor on the norm of the gradient that counts as such
MOST_IDLE = 10  # steps without any, in objective or gradient: rounding stops the descent
ROUNDING = 4.0  # units in the last place of the objective that may hide a decrease


class Descent(NamedTuple):
    """Where a descent ended."""

    x: Vector
    n_evaluations: int
    n_steps: int
    decrement: float  # half g.B.g with the inverse Hessian B of the recursion: an estimate of how
    # far the objective is above its minimum; infinite while nothing is known of B
    is_done: bool


def descend(
    evaluate: Evaluate,
    start: Vector,
    is_done: Callable[[Vector, Vector, float], bool],
    max_steps: int,
) -> Descent:
    """Return the first point whose gradient is good enough, or the last one reached.

    Parameters
    ----------
    evaluate
        Returns the objective and a fresh gradient, of the type of `start`.
    start : float32 or float64, shape (n,)
    is_done
        Tells by a point, its gradient and the decrement there (infinite before the first pair).
    max_steps
        Accepted steps.
    """
    x = start
    value, gradient = evaluate(x)
    rounding = ROUNDING * float(np.finfo(start.dtype).eps)
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=HISTORY)
    n_evaluations, n_steps, n_idle = 1, 0, 0
    least = float(np.linalg.norm(gradient))
    decrement, has_ended = np.inf, False
    while True:
        direction = _direction(gradient, pairs)
        slope = float(direction @ gradient)
        decrement = -0.5 * slope if pairs else np.inf
        has_ended = is_done(x, gradient, decrement)
        if has_ended or n_steps >= max_steps or n_idle >= MOST_IDLE:
            break
        # Also the first step, along the gradient; halving cuts what is too long.
        step = 1.0
        while True:
            trial = x + start.dtype.type(step) * direction
            trial_value, trial_gradient = evaluate(trial)
            n_evaluations += 1
            # Near the minimum, rounding of the objective exceeds its decrease: without slack the
            # search would end there, a step before the gradient is small.
            slack = rounding * abs(value)
            if trial_value <= value + SUFFICIENT * step * slope + slack:
                break
            step *= 0.5
            if step < SHORTEST_STEP:
                break
        if step < SHORTEST_STEP:
            if not pairs:  # not even along the gradient: the minimum within rounding
                break
            # Curvature that rounding spoiled: begin again, along the gradient.
            pairs.clear()
            continue
        # Algorithm 7.5 asks for the Wolfe conditions, which keep change . bend above 0. Convexity
        # does that here, but for rounding: such pairs are left out.
        change, bend = trial - x, trial_gradient - gradient
        curvature = float(change @ bend)
        if curvature > rounding * float(np.linalg.norm(change)) * float(np.linalg.norm(bend)):
            pairs.append((change, bend, curvature))
        norm = float(np.linalg.norm(trial_gradient))
        # Either of the two counts: at the end the objective stands still while the gradient still
        # falls.
        is_idle = trial_value > value - slack and norm > PROGRESS * least
        n_idle = n_idle + 1 if is_idle else 0
        least = min(least, norm)
        x, value, gradient = trial, trial_value, trial_gradient
        n_steps += 1
    return Descent(x, n_evaluations, n_steps, decrement, has_ended)


def _direction(gradient: Vector, pairs: deque[tuple[Vector, Vector, float]]) -> Vector:
    """Return minus the inverse Hessian of the recursion times the gradient."""
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
        result *= number(curvature / float(bend @ bend))
    for (change, bend, curvature), weight in zip(pairs, reversed(weights), strict=True):
        result += number(weight - float(bend @ result) / curvature) * change
    return result
