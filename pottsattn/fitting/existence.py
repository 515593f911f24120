"""Whether an optimum exists: without a penalty the parameters may run away to infinity.

What solvers (`pottsattn.fitting.pseudolikelihood`) and trainings (`pottsattn.fitting.masked`) are
asked, before anything is called converged.

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
from numpy.typing import ArrayLike, NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.model.couplings import Couplings, sequence_blocks

Array = NDArray[np.float64]


class Margins:
    """By how much the own state of a site leads the others, over all sequences and their sites.

    Filled by `add`, in blocks.
    """

    def __init__(self, length: int) -> None:
        self._least, self._most = np.full(length, np.inf), np.full(length, -np.inf)

    def add(
        self,
        logits: Array,
        states: NDArray[np.uint8],
        counted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take in logits (n, L, C), which are overwritten, of sequences (n, L); all sites count
        unless `counted` (n, L) says which.
        """
        target = np.take_along_axis(logits, states[:, :, None], axis=2)
        np.put_along_axis(logits, states[:, :, None].astype(np.intp), -np.inf, axis=2)
        margins = target[:, :, 0] - logits.max(axis=2)
        low = margins if counted is None else np.where(counted, margins, np.inf)
        high = margins if counted is None else np.where(counted, margins, -np.inf)
        self._least = np.minimum(self._least, low.min(axis=0, initial=np.inf))
        self._most = np.maximum(self._most, high.max(axis=0, initial=-np.inf))

    def separable(self, *, together: bool = False) -> str | None:
        """Return that sites are told apart in every sequence; `together`, where all have to be."""
        separated = (self._least >= 0.0) & (self._most > 0.0)
        if not (separated.all() if together else separated.any()):
            return None
        return f"the sequences are separable at site {np.argmax(separated)} without a penalty"


def never_seen(frequencies: ArrayLike) -> str | None:
    """Return that a state never occurs at its site, by counts or frequencies (L, C)."""
    missing = np.argwhere(np.asarray(frequencies) == 0.0)
    if len(missing) == 0:
        return None
    site, state = missing[0]
    return f"state {state} never occurs at site {site} and fields_l2 is 0"


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
    if learn_fields and penalty.fields_l2 == 0.0 and (why := never_seen(frequencies)):
        return why
    if penalty.couplings_l2 > 0.0:
        return None
    if learn_fields and penalty.fields_l2 > 0.0 and couplings.is_factored:
        fields = np.zeros_like(fields)
    margins = Margins(dataset.length)
    for block in sequence_blocks(dataset.n_sequences, dataset.length * dataset.n_states):
        states = dataset.sequences[block]
        if dataset.weights is not None:
            states = states[dataset.weights[block] > 0.0]
        margins.add(couplings.logits(states) + fields, states)
    if why := margins.separable(together=symmetric):
        return why
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
                "couplings_l2 is 0"
            )
    return None
