"""A row at its optimum, and what is asked of its curvature: how it gives way, and by how much.

`pottsattn.fitting.selection.curvature` answers, for factored couplings and for full blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.model.potts import log_softmax

Array = NDArray[np.float64]


class RowState:
    """The conditionals of one site: p (M, C), the scores p - e_s (M, C) and the losses (M,)."""

    def __init__(self, log_p: Array, states: NDArray[np.uint8]) -> None:
        self.log_p, self.states = log_p, states
        self.p = np.exp(log_p)
        self.score = self.p.copy()
        sequences = np.arange(len(states))
        self.score[sequences, states] -= 1.0
        self.loss = -log_p[sequences, states]

    def moved(self, shifts: Array, chosen: NDArray[np.intp]) -> RowState:
        """Return the state of the chosen sequences with logits moved by `shifts` (n, C)."""
        return RowState(log_softmax(self.log_p[chosen] + shifts), self.states[chosen])


@dataclass(frozen=True)
class Influence:
    """What sequences that are left out do to each other at one site.

    Attributes
    ----------
    without : RowState
        Each of them on the fit without it.
    felt, pull : arrays (n, k)
        When m' joins the others, the loss of m changes by -(felt @ pull.T)[m, m'], up to a mean.
    """

    without: RowState
    felt: Array
    pull: Array


def row_state(dataset: SequenceDataset, fields: Array, row: Array, site: int) -> RowState:
    """Return the conditionals of a site; fields (C,), row (L, C, C) as in `Couplings.row`."""
    length, n_states = dataset.length, dataset.n_states
    logits = np.tile(fields, (dataset.n_sequences, 1))
    by_neighbor = row.transpose(0, 2, 1)  # [j, b, a]
    for j in range(length):
        if j != site:
            logits += by_neighbor[j][dataset.sequences[:, j]]
    return RowState(log_softmax(logits.reshape(-1, n_states)), dataset.sequences[:, site])


class Curvature(Protocol):
    """`FactoredCurvature` or `FullCurvature`, made for a data set."""

    @property
    def judged(self) -> NDArray[np.intp]:
        """Sequences by which the scatter of left-out losses is judged, (n,)."""

    @property
    def shares(self) -> Array:
        """Their weights, of sum 1."""

    @property
    def leaving(self) -> float:
        """The mean weight that leaves with a sequence: w M_eff."""

    def shifts(
        self,
        site: int,
        state: RowState,
        penalty: Penalty,
        chosen: NDArray[np.intp],
        scores: Array,
    ) -> Array:
        """Return V g of the chosen sequences, shape (n, C), with g = `scores`."""
        ...

    def influence(self, site: int, state: RowState, penalty: Penalty) -> Influence:
        """Return what the sequences of `judged` do to each other."""
        ...

    def variances(
        self, site: int, state: RowState, penalty: Penalty, *, sandwich: bool
    ) -> tuple[Array, Array]:
        """Return squared standard errors of fields (C,) and of the row of couplings."""
        ...
