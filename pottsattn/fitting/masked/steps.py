"""The steps of a training, for every network: batches, optimizer, history, checkpoints.

Step k has its batch, its masks and its learning rate as functions of the seed and of k alone. So
the parameters, the state of the optimizer and k are all that a killed run needs to go on to the
same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn._core.validate import InputError
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.full_batch import FullBatch
from pottsattn.fitting.masked.masking import BoundMasking, MaskedBatch
from pottsattn.fitting.masked.objective import EVALUATION_BATCH, Network, Objective, mean_loss
from pottsattn.fitting.masked.training_data import TrainingData
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.record import History
from pottsattn.training.recipe import FullRecipe
from pottsattn.training.workers import Workers

ENTRIES = 50  # of the history, evenly spaced in the logarithm of the step
EVALUATION_SHARE = 0.2  # of the work of the training, that goes into its history at most
FEWEST_ENTRIES = 6
SAMPLED = 2000  # training sequences on which a transformer is judged, in L passes each


@dataclass(frozen=True)
class FinalNumbers:
    """Of the network as it is returned, on the full training data.

    Attributes
    ----------
    objective : float
        Full-context loss, summed over sites, plus penalty.
    train_loss : float
        Nats per masked site, each site alone masked.
    gradient_norm, optimality_gap : float
        Of what was minimized; NaN for fresh masks of a fraction of the sites, whose objective is an
        average over masks, and for transformers.
    largest : float
        Entry of that gradient.
    estimated_gap : float
        By the curvature that L-BFGS saw.
    """

    objective: float
    train_loss: float
    gradient_norm: float
    optimality_gap: float
    largest: float = math.nan
    estimated_gap: float = math.nan


class Training:
    """The `pottsattn.training.steps.Steps` of a network.

    Attributes
    ----------
    done : int
        Steps taken.
    n_evaluations : int
        Of the objective of a batch: line searches take several a step.
    at_rest : bool
        Full-batch steps have ended it: at the optimum, or where they change nothing any more.
    stopped_early : bool
        The held-out loss has ended it.
    best : tuple of int and float
        The step of the least held-out loss and that loss, where it may end the training.
    numbers : FinalNumbers
        Of the network that it ends with; once it has finished.
    """

    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        validation: TrainingData | None,
        masking: BoundMasking,
        recipe: FullRecipe,
        workers: Workers,
        seed: int,
    ) -> None:
        self.objective, self.data, self.validation = objective, data, validation
        self.masking, self.recipe, self.workers, self.seed = masking, recipe, workers, seed
        network = objective.network
        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.done = self.n_evaluations = 0
        self.max_steps = recipe.max_steps
        self.at_rest = self.stopped_early = False
        self.best: tuple[int, float] = (0, math.inf)
        self._best_state: dict[str, Tensor] = {}
        self._entries: list[tuple[float, ...]] = []
        self._no_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self._losses, self._n_losses = self._no_loss, 0  # on the device, which is not waited for
        self._seconds = 0.0  # of steps
        self._kept_batches: list[MaskedBatch] = []
        self._is_full = recipe.optimizer == "lbfgs"
        if self._is_full and not (masking.masks_all_sites or masking.mask_mode == "static"):
            raise InputError(
                "the optimizer lbfgs needs an objective that stays the same; use masks of all "
                "sites or static ones, or adam"
            )
        if recipe.stop_early and validation is None:
            raise InputError("early stopping needs held-out data: give validation")
        size = data.n_sequences if self._is_full else recipe.batch_size
        self.steps_per_epoch = math.ceil(data.n_sequences / size)
        if math.floor(data.n_sequences / self.steps_per_epoch) < workers.count:
            raise InputError(
                f"{workers.count} processes for batches of {size} sequences; use fewer processes"
            )
        # Of one sequence with weight 1: a batch is normalized by what it has on average.
        self._predictions = masking.predictions(data.weights) / data.n_sequences
        # Where an epoch is one step of the same sites, so that it is prepared once.
        self._repeats = self._is_full or (self.steps_per_epoch == 1 and masking.masks_all_sites)
        n_hidden = self._predictions * data.n_sequences * recipe.max_steps / self.steps_per_epoch
        if n_hidden < 1.0:
            raise InputError(
                f"a mask_fraction of {masking.mask_fraction} hides no site of these data in "
                f"{recipe.max_steps} steps; raise it, or masks"
            )
        if recipe.precision == "mixed" and workers.count > 1:  # a module is shared in one precision
            network.double()
            self.dtype = torch.float64
        self._wrapped = workers.wrap(objective)
        self._optimizer: torch.optim.Optimizer | FullBatch = self._new_optimizer()
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._recorded = self._entry_steps()
        self.numbers: FinalNumbers

    def advance(self) -> None:
        """Take a step; record where it is time to, and the start."""
        if not self._entries:
            self._record()
        self._step()
        if self.done in self._recorded or self.at_rest:
            self._record()

    def finish(self) -> None:
        """Record the end, go back to the least held-out loss, compute the final numbers."""
        self._wrapped = self.objective  # see `Workers.wrap`
        if self._entries[-1][0] != self.done / self.steps_per_epoch:
            self._record()
        if self.recipe.stop_early and self._best_state:
            self.objective.network.load_state_dict(self._best_state)
        self.numbers = final_numbers(self)

    @property
    def is_over(self) -> bool:
        """Whether it has ended before its last step."""
        return self.at_rest or self.stopped_early

    @property
    def full_batch(self) -> FullBatch | None:
        """The optimizer, if it takes steps on all data."""
        return self._optimizer if isinstance(self._optimizer, FullBatch) else None

    def history(self) -> History:
        """Return the losses so far."""
        return History(*np.array(self._entries).T)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "done": self.done,
            "n_evaluations": self.n_evaluations,
            "network": self.objective.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "entries": self._entries,
            "seconds": self._seconds,
            "losses": [float(self._losses), self._n_losses],
            "best": self.best,
            "best_state": self._best_state,
            "is_over": [self.at_rest, self.stopped_early],
            "is_double": self.dtype is torch.float64,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the training up where `state` left it."""
        self.done, self.n_evaluations = state["done"], state["n_evaluations"]
        if state["is_double"] and self.dtype is not torch.float64:
            self._go_double()
        self.objective.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._entries = [tuple(entry) for entry in state["entries"]]
        self._seconds = state["seconds"]
        losses, self._n_losses = state["losses"]
        self._losses = self._no_loss + losses
        self.best, self._best_state = tuple(state["best"]), state["best_state"]
        self.at_rest, self.stopped_early = state["is_over"]

    def full_batches(self) -> Iterator[MaskedBatch]:
        """Yield the share of this process of all training data, masked as the objective is.

        Fresh one-site masks are those of every site, their average. Weights are such that the
        losses of all processes add up to the mean over masked sites.
        """
        masking, n_predicted = self.masking, self._predictions
        if masking.mask_mode == "fresh" and masking.mask_fraction is None:
            masking, n_predicted = self._every_site(self.data), self.data.length
        for numbers in self.data.blocks(EVALUATION_BATCH):
            share = self.workers.share(numbers)
            yield self._batch(share, 0, self.data.n_sequences * n_predicted, masking)

    def one_by_one(
        self, data: TrainingData, n_sequences: int | None = None
    ) -> Iterator[MaskedBatch]:
        """Yield all or the first sequences with the mask of every site alone, and their weights."""
        every = self._every_site(data)
        for numbers in data.blocks(EVALUATION_BATCH, n_sequences):
            weights = torch.from_numpy(data.weights[numbers]).to(self.dtype)
            yield every.batch(numbers, data.rows(numbers), weights, 0).to(self.device)

    @staticmethod
    def _every_site(data: TrainingData) -> BoundMasking:
        """Return the masks of every site alone."""
        return BoundMasking(length=data.length, n_states=data.n_states, gap_policy=data.gap_policy)

    def _step(self) -> None:
        started = time.perf_counter()
        if isinstance(self._optimizer, FullBatch):
            self._optimizer.step()
            if self._optimizer.at_rest and self.recipe.precision == "mixed" and self._is_single:
                self._go_double()
            else:
                self.at_rest = self._optimizer.at_rest
        else:
            for group in self._optimizer.param_groups:
                group["lr"] = self.recipe.rate(self.done)
            self._optimizer.step(self._evaluate)  # type: ignore[arg-type]
        self.done += 1
        self._seconds += time.perf_counter() - started

    @property
    def _is_single(self) -> bool:
        return self.dtype is torch.float32

    def _go_double(self) -> None:
        """Go on in double precision: single precision has gone as far as it goes."""
        before = self.full_batch
        self.objective.network.double()
        self.dtype, self._kept_batches = torch.float64, []
        self._wrapped = self.workers.wrap(self.objective)
        self._optimizer = self._new_optimizer(before)

    def _new_optimizer(self, before: FullBatch | None = None) -> torch.optim.Optimizer | FullBatch:
        network, penalty = self.objective.network, self.objective.penalty
        if not self._is_full:
            return _adam(network, self.recipe)
        shown = self.data.frequencies() * (1.0 - (self.masking.mask_fraction or 0.0))
        strength = strong_convexity(network, penalty)
        return FullBatch(network, self._evaluate, shown, penalty, strength, before)

    def _evaluate(self) -> Tensor:
        """Return the objective of the batch of this step; its gradient is left in the network."""
        self.objective.network.zero_grad()
        batches = self._kept_batches or list(self._micro_batches())
        if self._repeats:
            self._kept_batches = batches
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for number, batch in enumerate(batches, start=1):
            is_last = number == len(batches)
            with nullcontext() if is_last else _not_yet(self._wrapped):
                objective, loss = self._wrapped(batch, 1.0 / len(batches))
                objective.backward()
            total += objective.detach()
            self._losses = self._losses + loss.double() / self.workers.count
        if self.recipe.clip_norm is not None and not self._is_full:
            most = self.recipe.clip_norm * self.data.length  # the objective is summed over sites
            torch.nn.utils.clip_grad_norm_(self.objective.network.parameters(), most)
        self._n_losses += 1
        self.n_evaluations += 1
        if self._is_full and self.workers.count > 1:
            total = self.workers.add_tensor(total) / self.workers.count
        return total

    def _micro_batches(self) -> Iterator[MaskedBatch]:
        """Yield the parts of a batch whose gradients are added up."""
        if self._is_full:
            n_parts = math.ceil(self.data.n_sequences / self.recipe.batch_size)
            numbers, visit = np.arange(self.data.n_sequences), 0
        else:
            n_parts = self.recipe.accumulate
            visit, numbers = self._numbers()
        share = self.workers.share(numbers)
        for part in np.array_split(share, min(n_parts, len(share))):
            norm = len(numbers) / self.workers.count * self._predictions
            yield self._batch(part, visit, norm, self.masking)

    def _numbers(self) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch and the numbers of the sequences of this step's batch."""
        epoch, at = divmod(0 if self._repeats else self.done, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.data.order(self.seed, epoch))
        return epoch, np.array_split(self._order[1], self.steps_per_epoch)[at]

    def _batch(
        self, numbers: NDArray[np.int64], visit: int, norm: float, masking: BoundMasking
    ) -> MaskedBatch:
        """Return sequences masked, their weights divided by `norm`."""
        weights = torch.from_numpy(self.data.weights[numbers] / norm).to(self.dtype)
        batch = masking.batch(numbers, self.data.rows(numbers), weights, visit)
        return batch.to(self.device)

    def _record(self) -> None:
        """Append losses to the history; keep the parameters of the least held-out loss."""
        data, length = self.data, self.data.length
        train = held_out = math.nan
        if isinstance(self.objective.network, FactoredAttention):
            train = mean_loss(self.objective, self.one_by_one(data), self.workers)
        elif self.done in self._judged():
            train = mean_loss(self.objective, self.one_by_one(data, SAMPLED), self.workers)
        if self.validation is not None:
            batches = self.one_by_one(self.validation)
            held_out = mean_loss(self.objective, batches, self.workers)
        (losses,) = self.workers.add([float(self._losses)])
        # Steps are normalized by all sites that they mask, ignored gaps among them.
        share = data.observed_share
        masked = losses / self._n_losses / share if self._n_losses else math.nan
        with torch.no_grad():
            term = float(self.objective.penalty_term()) / length
        epoch = self.done / self.steps_per_epoch
        objective = share * train + term
        self._entries.append((epoch, masked, train, held_out, objective, self._seconds))
        self._losses, self._n_losses = self._no_loss, 0
        if self.recipe.stop_early and held_out < self.best[1]:
            self.best = (self.done, held_out)
            state = self.objective.network.state_dict()
            self._best_state = {name: tensor.clone() for name, tensor in state.items()}
        self.stopped_early = (
            self.recipe.stop_early and self.done - self.best[0] > self.recipe.patience
        )

    def _judged(self) -> tuple[int, ...]:
        steps = self.recipe.max_steps
        return (steps - self.recipe.patience, steps)

    def _entry_steps(self) -> set[int]:
        """Return the steps after which the history gets an entry."""
        steps = self.recipe.max_steps
        rows = self.masking.n_masks if self.masking.mask_fraction is not None else 1.0
        evaluated = float(self.data.n_sequences)
        if self.validation is not None:
            evaluated += self.validation.n_sequences
        if not isinstance(self.objective.network, FactoredAttention):
            evaluated = self.data.length * (evaluated - self.data.n_sequences)
            rows = float(self.masking.n_masks)
        # Forward and backward take three times as long as forward.
        work = 3.0 * steps * self.data.n_sequences / self.steps_per_epoch * rows
        wanted = EVALUATION_SHARE * work / max(1.0, evaluated)
        n_entries = int(min(ENTRIES, max(FEWEST_ENTRIES, wanted)))
        found = np.geomspace(1, steps, n_entries)
        if self.recipe.stop_early:  # half of them evenly spaced in the step
            found = np.append(found[::2], np.linspace(1, steps, n_entries // 2))
        return {*found.round().astype(int).tolist(), *self._judged()}


def strong_convexity(network: Network, penalty: Penalty) -> float | None:
    """Return the l2 that every parameter has at least, or None where nothing is convex."""
    if not isinstance(network, FactoredAttention) or not network.is_convex:
        return None
    return min([penalty.couplings_l2] + [penalty.fields_l2] * network.learns_fields)


def final_numbers(training: Training) -> FinalNumbers:
    """Return objective, loss and gradient of the network that a training ends with."""
    objective, data, masking = training.objective, training.data, training.masking
    network = objective.network
    loss = mean_loss(objective, training.one_by_one(data), training.workers)
    with torch.no_grad():
        term = float(objective.penalty_term())
    total = data.length * data.observed_share * loss + term
    is_average = masking.mask_mode == "fresh" and masking.mask_fraction is not None
    if not isinstance(network, FactoredAttention) or is_average:
        return FinalNumbers(total, loss, math.nan, math.nan)
    estimate = math.nan if training.full_batch is None else training.full_batch.estimated_gap()
    network.zero_grad()
    for batch in training.full_batches():
        (data.length * objective.loss(batch)).backward()
    term_here = objective.penalty_term() / training.workers.count
    term_here.backward()  # type: ignore[no-untyped-call]
    squares = torch.zeros(data.length, dtype=torch.float64, device=training.device)
    largest = 0.0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        gradient = training.workers.add_tensor(parameter.grad.double())
        largest = max(largest, float(gradient.abs().max()))
        if name in ("interactions", "scores"):
            squares += (gradient**2).sum(dim=(0, 2))
        elif name == "fields":
            squares += (gradient**2).sum(dim=1)
        else:
            squares += (gradient**2).sum()
    network.zero_grad()
    norm, strength, gap = (
        float(squares.max().sqrt()),
        strong_convexity(network, objective.penalty),
        math.nan,
    )
    if strength:  # by strong convexity per site: |gradient|^2 / (4 l2)
        worst = squares.mean() if network.symmetric else squares.max()  # rows are separate problems
        gap = float(worst) / (4.0 * strength)
    return FinalNumbers(total, loss, norm, gap, largest, estimate)


def _adam(network: nn.Module, recipe: FullRecipe) -> torch.optim.Optimizer:
    # Small batches of few masked sites: older squares of gradients than these tell nothing.
    betas = (0.9, 0.999) if isinstance(network, FactoredAttention) else (0.9, 0.99)
    options: dict[str, Any] = {"lr": recipe.rate(0), "betas": betas}
    if recipe.weight_decay > 0.0:
        decay = recipe.weight_decay
        return torch.optim.AdamW(network.parameters(), weight_decay=decay, **options)
    return torch.optim.Adam(network.parameters(), **options)


def _not_yet(module: Any) -> Any:
    """Return a context in which gradients are not averaged over processes yet."""
    return module.no_sync() if hasattr(module, "no_sync") else nullcontext()
