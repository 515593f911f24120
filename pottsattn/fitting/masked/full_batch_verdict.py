"""How steps on all data ended (`pottsattn.fitting.masked.full_batch`), in plain words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn._core.verdict import TOLERANCES, Verdict
from pottsattn.fitting.existence import Margins, never_seen
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.evaluation import strong_convexity
from pottsattn.fitting.masked.full_batch import FullBatch
from pottsattn.fitting.masked.steps import Training


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
    return replace(verdict, gap=gap, gap_is=gap_is, gradient_norm=numbers.gradient.norm)


def missing_optimum_of_masks(training: Training) -> str | None:
    """Return why masks that are kept leave attention no finite optimum, or None.

    What counts is what they hide, and what the others show: states that are never predicted, and
    couplings that tell the states of a site apart in every sequence that hides it. Where rows share
    what grows (symmetric, or U of softmax), all sites have to be.
    """
    network, penalty = training.objective.network, training.objective.penalty
    assert isinstance(network, FactoredAttention)
    is_softmax = network.attention == "softmax"
    are_fields_free = network.learns_fields and penalty.fields_l2 == 0.0
    can_grow = penalty.couplings_l2 == 0.0 and (network.learns_similarity or not is_softmax)
    if not (are_fields_free or can_grow):
        return None
    counts = np.zeros((training.data.length, training.data.n_states))
    margins = Margins(training.data.length)
    for batch in training.evaluation.full_batches():
        rows = batch.weights > 0.0
        states = batch.targets[rows].cpu().numpy()
        seen = None if batch.predicted is None else batch.predicted[rows].cpu().numpy()
        _count(counts, states, seen)
        if can_grow:
            mask = None if batch.one_site else batch.context[rows] == network.n_states
            with torch.no_grad():
                logits = network(batch.context[rows], mask)
                if network.learns_fields and not are_fields_free:
                    logits = logits - network.fields
            margins.add(logits.double().cpu().numpy().copy(), states, seen)
    if are_fields_free and (why := never_seen(counts)):
        return why
    return margins.separable(together=network.symmetric or is_softmax) if can_grow else None


def _count(
    counts: NDArray[np.float64], states: NDArray[np.uint8], seen: NDArray[np.bool_] | None
) -> None:
    """Add how often every state is predicted at its site to (L, C)."""
    for state in range(counts.shape[1]):
        found = states == state
        counts[:, state] += (found if seen is None else found & seen).sum(axis=0)
