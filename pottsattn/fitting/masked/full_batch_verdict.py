"""How steps on all data ended (`pottsattn.fitting.masked.full_batch`), in plain words."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from pottsattn._core.verdict import TOLERANCES, Verdict
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.evaluation import strong_convexity
from pottsattn.fitting.masked.full_batch import FullBatch
from pottsattn.fitting.masked.objective import Network
from pottsattn.fitting.masked.steps import Training

CANCELS = 10.0  # norms of the couplings of single heads, in units of that of their sum


@torch.no_grad()
def cancellation(network: Network) -> float:
    """Return the root of sum_h |J^h|^2 over that of |sum_h J^h|^2, J^h the couplings of a head.

    It grows without bound where heads that can only be of one sign act like one of either: A^h = A
    + eps B^h, U^h = V^h / eps with V^h of sum zero.
    """
    if not isinstance(network, FactoredAttention):
        return 1.0
    products = network.head_products()
    return float((products.diagonal().sum() / products.sum()).sqrt())


def judge_full_batch(training: Training, steps: FullBatch) -> Verdict:
    """Return the verdict on steps that have come to their end, uninterrupted.

    A problem that is convex is judged like a solver of pseudo-likelihood: by the bound of its
    penalty, or by the gradient where there is none. Others by the distance that the curvature seen
    makes of the gradient and by what as many steps again would gain.
    """
    numbers, recipe = training.numbers, training.recipe
    strength = strong_convexity(training.objective.network, training.objective.penalty)
    state = f"gradient norm {numbers.gradient.norm:.1e}"
    gap, gap_is = training.estimated_gap, "" if math.isnan(training.estimated_gap) else "estimate"
    if strength:
        gap, gap_is = numbers.gradient.gap, "bound"
        state += f", at most {gap:.1e} nats per site above the minimum"
        is_there = gap <= TOLERANCES.gap
    elif strength == 0.0:
        state += f", its largest entry {numbers.gradient.largest:.1e}"
        is_there = numbers.gradient.largest <= TOLERANCES.gradient
    else:
        state += (
            f", by the curvature seen about {gap:.1e} nats per site above the minimum; as many "
            f"steps again would gain about {steps.settling.falls_on():.1e}"
        )
        is_there = gap <= TOLERANCES.gap and steps.settling.falls_on() <= TOLERANCES.fall
    place = "a stationary point" if strength is None else "the optimum"
    if is_there:
        verdict = Verdict(True, f"at {place} after {training.done} steps: {state}")
    elif training.at_rest:
        reason = f"came to rest after {training.done} steps, where rounding hides more: {state}"
        verdict = Verdict(False, reason, "use precision double, or raise the penalty")
    else:
        reason = f"not converged in {recipe.max_steps} steps: {state}"
        verdict = Verdict(False, reason, "raise max_steps or the penalty")
        if (ratio := cancellation(training.objective.network)) > CANCELS:
            reason += (
                f"; the couplings of its heads, {ratio:.0f} times as large as their sum, cancel: "
                "the optimum may be at infinity"
            )
            verdict = Verdict(False, reason, "use one head or attention free, or raise max_steps")
    return replace(verdict, gap=gap, gap_is=gap_is, gradient_norm=numbers.gradient.norm)
