"""Whether an optimum exists: without a penalty the parameters may run away to infinity.

A row without penalty has no finite optimum if its sequences are separated, logit(s_i) >= logit(a)
for every a in every sequence with one strict inequality: scaling the row up then lowers the loss
for ever. So do a state that never occurs at its site, in its field, and, with full blocks, a pair
of states that occur at their sites but never together.

Where fields are penalized, only couplings may run away: those of full blocks can carry a field,
those of factored ones cannot, and are judged without the fields. Symmetric blocks are shared by two
rows, so that all sites have to be separated at once.

Reference: Albert, Anderson, Biometrika 71, 1 (1984).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.model.couplings import Couplings, sequence_blocks

Array = NDArray[np.float64]
REMEDY = "so that its optimum is at infinity; give a penalty"


def missing_optimum(
    dataset: SequenceDataset,
    penalty: Penalty,
    fields: Array,
    couplings: Couplings,
    *,
    learn_fields: bool,
    symmetric: bool = False,
) -> str | None:
    """Return why the objective has no finite optimum, or None if nothing of that is seen.

    `fields` and `couplings` are where the descent ended. Counting costs nothing beside a fit and is
    done for the penalties that are zero only.
    """
    frequencies = dataset.site_frequencies()
    if learn_fields and penalty.fields_l2 == 0.0 and np.any(frequencies == 0.0):
        site, state = np.argwhere(frequencies == 0.0)[0]
        return f"state {state} never occurs at site {site} and fields_l2 is 0, {REMEDY}"
    if penalty.couplings_l2 > 0.0:
        return None
    if learn_fields and penalty.fields_l2 > 0.0 and couplings.is_factored:
        fields = np.zeros_like(fields)
    separated = _separated_sites(dataset, fields, couplings)
    if separated.all() if symmetric else separated.any():
        site = int(np.argmax(separated))
        return f"the sequences are separable at site {site} without a penalty, {REMEDY}"
    if couplings.is_factored:
        return None
    for site in range(dataset.length):
        pairs = dataset.pair_frequencies(site)
        expected = frequencies[site][None, :, None] * frequencies[:, None, :]
        missing = (pairs == 0.0) & (expected > 0.0)
        missing[site] = False
        if np.any(missing):
            other, a, b = np.argwhere(missing)[0]
            return (
                f"state {a} at site {site} never occurs with state {b} at site {other} and "
                f"couplings_l2 is 0, {REMEDY}"
            )
    return None


def _separated_sites(
    dataset: SequenceDataset, fields: Array, couplings: Couplings
) -> NDArray[np.bool_]:
    """Return at which sites the parameters tell the states apart in every sequence, (L,)."""
    least = np.full(dataset.length, np.inf)
    most = np.full(dataset.length, -np.inf)
    for block in sequence_blocks(dataset.n_sequences, dataset.length * dataset.n_states):
        states = dataset.sequences[block]
        if dataset.weights is not None:
            states = states[dataset.weights[block] > 0.0]
            if len(states) == 0:
                continue
        logits = couplings.logits(states) + fields
        target = np.take_along_axis(logits, states[:, :, None], axis=2)
        np.put_along_axis(logits, states[:, :, None].astype(np.intp), -np.inf, axis=2)
        margins = target[:, :, 0] - logits.max(axis=2)
        least = np.minimum(least, margins.min(axis=0))
        most = np.maximum(most, margins.max(axis=0))
    return (least >= 0.0) & (most > 0.0)
