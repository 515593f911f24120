"""Masking policies: what is hidden from the network, and what it has to predict.

Two kinds. One-site masks: K sites of a sequence are predicted, each from all the others, as if it
were the only masked one; over a cycle of visits every site is. Their loss is the pseudo-likelihood.
A mask fraction r: every site is hidden with probability r, in each of K patterns, and all hidden
sites are predicted from what is left, which is another composite likelihood (docs/theory.md).

"fresh" masks are new at every visit of a sequence, "static" ones are drawn once and kept. Masks are
a function of seed, sequence and visit (`kernels_masking`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn._core.validate import InputError
from pottsattn.fitting.masked.kernels_masking import choose_sites, count_hidden, hide_sites
from pottsattn.fitting.masked.settings import HIDDEN_AS, Masking


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """What a network sees, and what it has to predict.

    Attributes
    ----------
    context : uint8 tensor, shape (n_rows, length)
        States that are seen; the number `n_states` at sites that show nothing.
    targets : uint8 tensor, shape (n_rows, length)
        The true states; any state at ignored gaps, which are not predicted.
    predicted : bool tensor, shape (n_rows, length), or None
        Sites whose loss counts; every one if None.
    weights : tensor, shape (n_rows,)
        Of the rows, such that the mean loss is the sum over rows and predicted sites of weight
        times -log P.
    one_site : bool
        Every predicted site is masked alone: `context` shows all of them.
    has_gaps : bool
        Some sites show nothing, masked or not: ignored gaps.
    """

    context: Tensor
    targets: Tensor
    predicted: Tensor | None
    weights: Tensor
    one_site: bool
    has_gaps: bool = False

    def part(self, rows: slice) -> MaskedBatch:
        """Return some of the rows, with the weights that they have in the whole."""
        predicted = None if self.predicted is None else self.predicted[rows]
        parts = self.context[rows], self.targets[rows], predicted, self.weights[rows]
        return MaskedBatch(*parts, one_site=self.one_site, has_gaps=self.has_gaps)

    def to(self, device: torch.device) -> MaskedBatch:
        """Return the batch on a device."""
        predicted = None if self.predicted is None else self.predicted.to(device)
        parts = self.context.to(device), self.targets.to(device), predicted, self.weights.to(device)
        return MaskedBatch(*parts, one_site=self.one_site, has_gaps=self.has_gaps)

    def without_gaps(self, n_states: int) -> MaskedBatch:
        """Return the batch with gaps, the number `n_states` in targets, ignored.

        They show nothing and are not predicted.
        """
        is_gap = self.targets == n_states
        seen = ~is_gap if self.predicted is None else self.predicted & ~is_gap
        context = self.context.masked_fill(is_gap, n_states)
        targets = self.targets.masked_fill(is_gap, 0)
        return MaskedBatch(context, targets, seen, self.weights, self.one_site, has_gaps=True)


@dataclass(frozen=True, kw_only=True)
class BoundMasking(Masking):
    """A masking of data of one size, by one seed.

    Parameters
    ----------
    length, n_states
        L and C of the sequences.
    seed
        Of all masks.
    gap_policy
        "ignored": the number `n_states` in a sequence is a gap.

    Raises
    ------
    InputError
        More one-site masks than sites, or too many states.
    """

    length: int
    n_states: int
    seed: int = 0
    gap_policy: str = "state"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_fraction is None:
            if self.n_masks > self.length:
                raise InputError(
                    f"masks must be at most the length {self.length}, got {self.n_masks}"
                )
        elif self.n_states > 255:
            raise InputError("a mask_fraction needs at most 255 states, got 256")

    @property
    def n_masks(self) -> int:
        """K."""
        if self.masks is not None:
            return self.masks
        return self.length if self.mask_fraction is None else 1

    @property
    def masks_all_sites(self) -> bool:
        """Whether every site is predicted at every visit, each from all the others."""
        return self.mask_fraction is None and self.n_masks == self.length

    @property
    def distinct_share(self) -> float:
        """The share of (sequence, site) pairs that count: 1 for fresh masks, as visits go on.

        With static masks a site of a sequence counts if one of its patterns hides it: a share
        1 - (1 - r)^K, or K / L of one-site masks. `couplings_l2` = ridge / (2 alpha share).
        """
        if self.mask_mode == "fresh":
            return 1.0
        if self.mask_fraction is None:
            return self.n_masks / self.length
        return float(1.0 - (1.0 - self.mask_fraction) ** self.n_masks)

    def predictions(self, weights: NDArray[np.float64]) -> float:
        """Return the predicted sites of a visit of all sequences, each times its weight.

        `weights` (M,). Expected ones for fresh masks, the true number for static ones.
        """
        total = float(weights.sum())
        if self.mask_fraction is None:
            return total * self.n_masks
        if self.mask_mode == "static":
            return float(
                count_hidden(self.seed, weights, self.n_masks, self.length, self.mask_fraction)
            )
        return total * self.n_masks * self.mask_fraction * self.length

    def batch(
        self,
        numbers: NDArray[np.int64],
        sequences: NDArray[np.uint8],
        weights: Tensor,
        visit: int,
    ) -> MaskedBatch:
        """Return some sequences, masked.

        Parameters
        ----------
        numbers : shape (n,)
            Of the sequences in their data set.
        sequences : shape (n, length)
        weights : shape (n,)
        visit
            How often the data set has been gone through.
        """
        batch = self._batch(numbers, sequences, weights, visit)
        return batch.without_gaps(self.n_states) if self.gap_policy == "ignored" else batch

    def _batch(
        self,
        numbers: NDArray[np.int64],
        sequences: NDArray[np.uint8],
        weights: Tensor,
        visit: int,
    ) -> MaskedBatch:
        visit = 0 if self.mask_mode == "static" else visit
        targets = torch.from_numpy(sequences)
        if self.masks_all_sites:
            return MaskedBatch(targets, targets, None, weights, one_site=True)
        if self.mask_fraction is None:
            chosen = np.empty(sequences.shape, dtype=np.bool_)
            choose_sites(self.seed, visit, numbers, self.n_masks, self.length, chosen)
            predicted = torch.from_numpy(chosen)
            return MaskedBatch(targets, targets, predicted, weights, one_site=True)
        shape = (len(sequences) * self.n_masks, self.length)
        context, hidden = np.empty(shape, np.uint8), np.empty(shape, np.bool_)
        shares = np.array(HIDDEN_AS[self.hidden_as])
        hide_sites(
            self.seed, visit, numbers, sequences, self.n_masks, self.mask_fraction, shares,
            self.n_states, context, hidden,
        )  # fmt: skip
        return MaskedBatch(
            torch.from_numpy(context),
            targets.repeat_interleave(self.n_masks, dim=0),
            torch.from_numpy(hidden),
            weights.repeat_interleave(self.n_masks, dim=0),
            one_site=False,
        )
