"""Whether attention has an optimum under its masks, from memory or from a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn.fitting.existence import Margins, never_seen
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.steps import Training
from pottsattn.training.workers import Workers


def can_grow(network: FactoredAttention) -> bool:
    """Whether couplings can become as large as they like: weights of softmax attention cannot."""
    return network.learns_similarity or network.attention == "free"


def missing_optimum_of_masks(training: Training) -> str | None:
    """Return why attention has no finite optimum under masks that stay the same, or None.

    What counts is what they hide, and what the others show: states that are never predicted, and
    couplings that tell the states of a site apart in every sequence that hides it. Where rows share
    what grows (symmetric, or U of softmax), all sites have to be.
    """
    network, penalty = training.objective.network, training.objective.penalty
    assert isinstance(network, FactoredAttention)
    is_softmax = network.attention == "softmax"
    are_fields_free = network.learns_fields and penalty.fields_l2 == 0.0
    are_couplings_free = penalty.couplings_l2 == 0.0 and can_grow(network)
    if not (are_fields_free or are_couplings_free):
        return None
    counts = np.zeros((training.data.length, training.data.n_states))
    margins = Margins(training.data.length)
    whole = replace(training.evaluation, workers=Workers())  # every process judges all data
    for batch in whole.full_batches():
        rows = batch.weights > 0.0
        states = batch.targets[rows].cpu().numpy()
        seen = None if batch.predicted is None else batch.predicted[rows].cpu().numpy()
        _count(counts, states, seen)
        if are_couplings_free:
            mask = None if batch.one_site else batch.context[rows] == network.n_states
            with torch.no_grad():
                logits = network(batch.context[rows], mask)
                if network.learns_fields and not are_fields_free:
                    logits = logits - network.fields
            margins.add(logits.double().cpu().numpy().copy(), states, seen)
    if are_fields_free and (why := never_seen(counts)):
        return why
    return (
        margins.separable(together=network.symmetric or is_softmax) if are_couplings_free else None
    )


def _count(
    counts: NDArray[np.float64], states: NDArray[np.uint8], seen: NDArray[np.bool_] | None
) -> None:
    """Add how often every state is predicted at its site to (L, C)."""
    for state in range(counts.shape[1]):
        found = states == state
        counts[:, state] += (found if seen is None else found & seen).sum(axis=0)
