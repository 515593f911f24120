"""A network in training, judged on all of its data: losses, what masks say, the gradient.

Fresh masks of a fraction of the sites make the objective an average over masks. It is known by the
masks of visits that no training makes, the same ones for all that is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.evaluation_steps import (
    FEWEST_PATTERNS,
    SAMPLED,
    EvaluationCosts,
)
from pottsattn.fitting.masked.masking import BoundMasking, MaskedBatch
from pottsattn.fitting.masked.objective import EVALUATION_BATCH, Network, Objective, mean_loss
from pottsattn.fitting.masked.training_data import TrainingData
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.penalty import Penalty
from pottsattn.training.workers import Workers

GROUPS = 20  # of the training sequences on which a transformer is judged
JUDGING_VISIT = 1 << 40  # the first of the masks that judge: no training visits its data as often


@dataclass(frozen=True)
class Gradient:
    """The gradient of what is minimized, in the parameters of every site.

    Attributes
    ----------
    norm, noise : float
        Largest Euclidean norm of a site, and what random masks add to it.
    largest : float
        Entry.
    gap : float
        Upper bound on the distance to the minimum, nats per site, |gradient|^2 / (4 l2) by strong
        convexity; NaN where nothing is convex or penalized. Of random masks the noise is taken off
        the square, and twice its standard error added.
    """

    norm: float = math.nan
    noise: float = 0.0
    largest: float = math.nan
    gap: float = math.nan


@dataclass(frozen=True)
class Evaluation:
    """What a training is judged by: an objective, its data and masks, the processes at work.

    A mean over sites and sequences is a sum of batches, whose weights are made for that.
    """

    objective: Objective
    data: TrainingData
    masking: BoundMasking
    workers: Workers

    @property
    def predictions(self) -> float:
        """Sites predicted in one visit of a sequence of weight 1, on average."""
        return self.masking.predictions(self.data.weights) / self.data.n_sequences

    @property
    def draws_masks(self) -> bool:
        """Whether the objective is an average over masks that are drawn."""
        return self.masking.mask_fraction is not None and self.masking.mask_mode == "fresh"

    def batch(
        self, numbers: NDArray[np.int64], visit: int, norm: float, masking: BoundMasking
    ) -> MaskedBatch:
        """Return sequences masked, their weights divided by `norm`."""
        parameter = next(self.objective.parameters())
        weights = torch.from_numpy(self.data.weights[numbers] / norm).to(parameter.dtype)
        batch = masking.batch(numbers, self.data.rows(numbers), weights, visit)
        return batch.to(parameter.device)

    def full_batches(self, visit: int = 0) -> Iterator[MaskedBatch]:
        """Yield the share of this process of all training data, masked as the objective is.

        Fresh one-site masks are those of every site, their average; others those of a visit.
        """
        masking, n_predicted = self.masking, self.predictions
        if masking.mask_mode == "fresh" and masking.mask_fraction is None:
            masking, n_predicted = _every_site(self.data), self.data.length
        for numbers in self.data.blocks(EVALUATION_BATCH):
            share = self.workers.share(numbers)
            yield self.batch(share, visit, self.data.n_sequences * n_predicted, masking)

    def loss(self, data: TrainingData | None = None) -> float:
        """Return the loss of all sequences, each site alone masked, nats per site."""
        return mean_loss(self.objective, self._one_by_one(data or self.data), self.workers)

    def penalty(self) -> float:
        """Return the penalty, summed over sites."""
        with torch.no_grad():
            return float(self.objective.penalty_term())

    def judged(self, n_patterns: int) -> NDArray[np.float64]:
        """Return the objective per site on every group of masks or sequences that judges.

        Of a transformer groups of some sequences; else all sequences, masks that are drawn one
        pattern each.
        """
        groups: Iterable[Iterable[MaskedBatch]] = self._sequence_groups()
        if isinstance(self.objective.network, FactoredAttention):
            groups = (self.full_batches(visit) for visit in self._visits(n_patterns))
        with torch.no_grad():
            sums = [self._sum(group) for group in groups]
        return np.array(self.workers.add(sums)) + self.penalty() / self.data.length

    def gradient(self, n_patterns: int = FEWEST_PATTERNS) -> Gradient:
        """Return the gradient of what is minimized, left out for a transformer."""
        network, length = self.objective.network, self.data.length
        if not isinstance(network, FactoredAttention):
            return Gradient()
        visits = self._visits(n_patterns)
        means: list[Tensor] = []
        spread: list[Tensor] = []
        for number, visit in enumerate(visits, start=1):
            found = self._gradients(visit)
            means = means or [torch.zeros_like(each) for each in found]
            spread = spread or [torch.zeros_like(each) for each in found]
            for mean, squares, each in zip(means, spread, found, strict=True):
                change = each - mean
                mean += change / number
                squares += change * (each - mean)
        names = [name for name, _ in network.named_parameters()]
        squares = by_site(names, [mean**2 for mean in means], length)
        noise = torch.zeros_like(squares)
        if (n := len(visits)) > 1:
            noise = by_site(names, [each / (n * (n - 1)) for each in spread], length)
        gap, strength = math.nan, strong_convexity(network, self.objective.penalty)
        if strength:
            n_numbers = sum(each.numel() for each in means) / length
            doubt = 2.0 * math.sqrt(2.0 / n_numbers) * noise
            most = (squares - noise).clamp(min=0.0) + doubt
            # Rows are separate problems, unless they share their blocks.
            gap = float(most.mean() if network.symmetric else most.max()) / (4.0 * strength)
        largest = max(float(mean.abs().max()) for mean in means)
        return Gradient(math.sqrt(squares.max()), math.sqrt(noise.max()), largest, gap)

    def costs(self, step: float, validation: TrainingData | None) -> EvaluationCosts:
        """Return what looks at the training cost, in sequences that pass the network, beside a
        step.
        """
        data, masking = self.data, self.masking
        held_out = 0 if validation is None else validation.n_sequences
        if isinstance(self.objective.network, MaskedTransformer):
            rows = data.length if masking.mask_fraction is None else masking.n_masks
            judged = 2.0 * rows * min(SAMPLED, data.n_sequences)
            return EvaluationCosts(step, float(held_out * data.length), judged)
        entry = float(data.n_sequences + held_out)
        if not self.draws_masks:
            return EvaluationCosts(step, entry, 2.0 * data.n_sequences)
        pattern = 2.0 * data.n_sequences * masking.n_masks
        return EvaluationCosts(step, entry, FEWEST_PATTERNS * pattern, pattern)

    def _visits(self, n_patterns: int) -> range:
        """Return the visits whose masks make the objective, or stand for their average."""
        start = JUDGING_VISIT if self.draws_masks else 0
        return range(start, start + (n_patterns if self.draws_masks else 1))

    def _sum(self, batches: Iterable[MaskedBatch]) -> float:
        return sum(float(self.objective.loss(batch)) for batch in batches)

    def _gradients(self, visit: int) -> list[Tensor]:
        """Return the gradients of all parameters, summed over sites and processes."""
        network, workers = self.objective.network, self.workers
        network.zero_grad()
        for batch in self.full_batches(visit):
            (self.data.length * self.objective.loss(batch)).backward()
        term = self.objective.penalty_term() / workers.count
        term.backward()  # type: ignore[no-untyped-call]
        found = []
        for parameter in network.parameters():
            assert parameter.grad is not None
            found.append(workers.add_tensor(parameter.grad.double()))
        network.zero_grad()
        return found

    def _one_by_one(self, data: TrainingData) -> Iterator[MaskedBatch]:
        """Yield all sequences with the mask of every site alone, and their weights."""
        every, parameter = _every_site(data), next(self.objective.parameters())
        for numbers in data.blocks(EVALUATION_BATCH):
            weights = torch.from_numpy(data.weights[numbers]).to(parameter.dtype)
            yield every.batch(numbers, data.rows(numbers), weights, 0).to(parameter.device)

    def _sequence_groups(self) -> Iterator[list[MaskedBatch]]:
        """Yield groups of the first sequences, each of which makes a mean over masked sites."""
        data, masking, n_predicted = self.data, self.masking, self.predictions
        if masking.mask_fraction is None:
            masking, n_predicted = _every_site(data), float(data.length)
        numbers = np.arange(min(SAMPLED, data.n_sequences))
        parts = np.array_split(numbers, min(GROUPS, len(numbers)))
        norm = data.weights[numbers].sum() * n_predicted / len(parts)
        for number, part in enumerate(parts):
            share = self.workers.share(part)
            yield [self.batch(share, JUDGING_VISIT + number, norm, masking)]


def strong_convexity(network: Network, penalty: Penalty) -> float | None:
    """Return the l2 that every parameter has at least, or None where nothing is convex."""
    if not isinstance(network, FactoredAttention) or not network.is_convex:
        return None
    return min([penalty.couplings_l2] + [penalty.fields_l2] * network.learns_fields)


def by_site(names: list[str], values: list[Tensor], length: int) -> Tensor:
    """Return sums of values of every parameter, by the site whose row they belong to; those that
    are shared count for every site.
    """
    total = torch.zeros(length, dtype=torch.float64, device=values[0].device)
    for name, each in zip(names, values, strict=True):
        if name in ("interactions", "scores"):
            total += each.sum(dim=(0, 2))
        elif name == "fields":
            total += each.sum(dim=1)
        else:
            total += each.sum()
    return total


def _every_site(data: TrainingData) -> BoundMasking:
    """Return the masks of every site alone."""
    return BoundMasking(length=data.length, n_states=data.n_states, gap_policy=data.gap_policy)
