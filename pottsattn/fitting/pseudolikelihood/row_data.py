"""What the rows of a pseudo-likelihood fit share: data, penalty, where to start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.kernels_few_states import (
    MOST_STATES,
    masks_shape,
    state_masks,
)
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
PSEUDOCOUNT = 0.5  # of one sequence, in the starting fields only


@dataclass(frozen=True, eq=False)
class RowData:
    """The data and the penalty of a fit, and the parameters it starts from."""

    sequences: NDArray[np.uint8]
    weights: Array  # sum 1
    frequencies: Array  # (L, C), of all sequences that show the site
    start_fields: Array  # (L, C), log frequencies
    penalty: Penalty
    learn_fields: bool
    initial: tuple[Array, Couplings] | None = None
    ignores_gaps: bool = False  # the number C in a sequence is a gap

    @classmethod
    def of(
        cls,
        dataset: SequenceDataset,
        penalty: Penalty,
        *,
        learn_fields: bool,
        initial: tuple[Array, Couplings] | None = None,
    ) -> RowData:
        """Return the data of a fit; it starts at the log frequencies, or at `initial`."""
        frequencies = dataset.site_frequencies()
        pseudocount = PSEUDOCOUNT / dataset.effective_size
        start = np.log(frequencies + pseudocount / dataset.n_states)
        start -= start.mean(axis=1, keepdims=True)
        return cls(
            dataset.sequences,
            dataset.normalized_weights,
            frequencies,
            start,
            penalty,
            learn_fields,
            initial,
            dataset.ignores_gaps,
        )

    @staticmethod
    def bytes_of(length: int, n_states: int, n_sequences: int) -> tuple[int, int]:
        """Return the bytes of all arrays but the sequences, and those while they are made."""
        fields = length * n_states * (8 + 8 + 4)  # frequencies in both precisions, start
        kept = fields + n_sequences * (8 + 4 + length) + 4 * length  # weights, columns, neighbors
        if n_states > MOST_STATES:
            return kept, 0
        masks = 2 * math.prod(masks_shape(n_sequences, length, n_states))
        return kept + masks, n_sequences * length * 3 // 2

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.frequencies.shape[0]

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self.frequencies.shape[1]

    def rows_of(
        self, site: int, dtype: Any
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[Any]]:
        """Return sequences, their transpose and weights in one precision, as a site counts them.

        Sequences with an ignored gap at the site do not.
        """
        weights = self.weights if dtype == np.float64 else self.single_weights
        if not self.ignores_gaps:
            return self.sequences, self.columns, weights
        chosen = np.flatnonzero(self.columns[site] < self.n_states)
        return self.sequences[chosen], np.take(self.columns, chosen, axis=1), weights[chosen]

    @cached_property
    def columns(self) -> NDArray[np.uint8]:
        """The sequences by site, shape (L, M)."""
        return np.ascontiguousarray(self.sequences.T)

    @cached_property
    def single_weights(self) -> NDArray[np.float32]:
        """The weights in single precision."""
        return self.weights.astype(np.float32)

    @cached_property
    def single_frequencies(self) -> NDArray[np.float32]:
        """The frequencies in single precision."""
        return self.frequencies.astype(np.float32)

    @cached_property
    def masks(self) -> NDArray[np.uint16]:
        """The sequences as bits, as the kernel for few states wants them."""
        return state_masks(self.sequences, self.n_states)

    @cached_property
    def neighbors(self) -> NDArray[np.uint32]:
        """0..L-1, as the kernel in single precision wants them."""
        return np.arange(self.length, dtype=np.uint32)
