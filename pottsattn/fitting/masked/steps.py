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
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn._core.validate import InputError
from pottsattn._core.verdict import TOLERANCES
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.averaging import Doubling, WeightAverage, standard_error
from pottsattn.fitting.masked.evaluation import Evaluation, Gradient, strong_convexity
from pottsattn.fitting.masked.evaluation_steps import SAMPLED, SHORTEST_PERIOD
from pottsattn.fitting.masked.full_batch import FullBatch
from pottsattn.fitting.masked.masking import BoundMasking, MaskedBatch
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.masked.training_data import TrainingData
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.record import History
from pottsattn.training.recipe import FullRecipe
from pottsattn.training.workers import Workers


@dataclass(frozen=True)
class FinalNumbers:
    """Of the network as it is returned, on the full training data.

    Attributes
    ----------
    objective : float
        Full-context loss, summed over sites, plus penalty.
    train_loss : float
        Nats per masked site, each site alone masked.
    gradient : Gradient
        Of what was minimized.
    """

    objective: float
    train_loss: float
    gradient: Gradient


class Training:
    """The `pottsattn.training.steps.Steps` of a network.

    Attributes
    ----------
    done : int
        Steps taken.
    n_evaluations : int
        Of the objective of a batch: line searches take several a step.
    at_rest : bool
        It has ended itself: steps on all data at the optimum or where they change nothing any
        more, others where as many again would gain too little.
    doubling : Doubling or None
        The last one of the mean of the weights with that of the period before, where they are
        averaged.
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
        self.evaluation = Evaluation(objective, data, masking, workers)
        self._predictions = self.evaluation.predictions
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
        is_transformer = isinstance(network, MaskedTransformer)
        rows = masking.n_masks if masking.mask_fraction is not None or is_transformer else 1
        step = 3.0 * rows * data.n_sequences / self.steps_per_epoch  # forward and back
        self._costs = costs = self.evaluation.costs(step, validation)
        self._recorded = costs.entry_steps(recipe.max_steps, has_early_stop=recipe.stop_early)
        self.doubling: Doubling | None = None
        self._average: WeightAverage | None = None
        if not self._is_full and recipe.schedule == "averaged":
            self._average = WeightAverage(network, costs.first_period)
        self._gradient: Gradient | None = None  # of the mean where the last period ended
        self.numbers: FinalNumbers

    def advance(self) -> None:
        """Take a step; record where it is time to, and the start."""
        if not self._entries:
            self._record()
        self._step()
        is_judged = self._average is not None and self._average.is_whole
        if is_judged:
            self._compare()
        if is_judged or self.done in self._recorded or self.at_rest:
            self._record()
        if is_judged:
            self.at_rest = self._stands_still()

    def finish(self) -> None:
        """Record the end, go back to the least held-out loss, compute the final numbers."""
        self._wrapped = self.objective  # see `Workers.wrap`
        if self._entries[-1][0] != self.done / self.steps_per_epoch:
            self._compare()
            self._record()
        if self._average is not None:
            self._average.keep()
        if self.recipe.stop_early and self._best_state:
            self.objective.network.load_state_dict(self._best_state)
        evaluation = self.evaluation
        loss = evaluation.loss()
        total = self.data.length * self.data.observed_share * loss + evaluation.penalty()
        gradient = self._gradient if self.at_rest and not self._best_state else None
        gradient = gradient or evaluation.gradient(self._n_gradients)
        self.numbers = FinalNumbers(total, loss, gradient)
        if isinstance(self.objective.network, MaskedTransformer) and not self._best_state:
            last = self._entries[-1]  # the loss of a transformer is not measured on the way
            self._entries[-1] = (*last[:2], loss, last[3], loss, last[5])

    @property
    def is_over(self) -> bool:
        """Whether it has ended before its last step."""
        return self.at_rest or self.stopped_early

    @property
    def full_batch(self) -> FullBatch | None:
        """The optimizer, if it takes steps on all data."""
        return self._optimizer if isinstance(self._optimizer, FullBatch) else None

    @property
    def estimated_gap(self) -> float:
        """The distance to the minimum by the curvature that L-BFGS saw, nats per site."""
        return math.nan if self.full_batch is None else self.full_batch.estimated_gap()

    @property
    def judges_held_out(self) -> bool:
        """Whether a doubling is judged by its gain on held-out sequences: of a transformer that may
        stop early, whose training loss falls as long as there are sequences to learn by heart.
        """
        return self.recipe.stop_early and isinstance(self.objective.network, MaskedTransformer)

    @cached_property
    def plateau(self) -> float:
        """The held-out loss of independent sites, nats per site, on whose plateau a transformer
        stays for a while at the start; of attention, which has none, infinity.
        """
        if self.validation is None or not isinstance(self.objective.network, MaskedTransformer):
            return math.inf
        return self.validation.loss_of_frequencies(self.data)

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
            "average": None if self._average is None else self._average.state_dict(),
            "doubling": None if self.doubling is None else astuple(self.doubling),
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
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if state["doubling"] is not None:
            self.doubling = Doubling(*state["doubling"])

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
            if self._average is not None:
                self._average.add()
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
            yield self.evaluation.batch(part, visit, norm, self.masking)

    def _numbers(self) -> tuple[int, NDArray[np.int64]]:
        """Return the epoch and the numbers of the sequences of this step's batch."""
        epoch, at = divmod(0 if self._repeats else self.done, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.data.order(self.seed, epoch))
        return epoch, np.array_split(self._order[1], self.steps_per_epoch)[at]

    def _compare(self) -> None:
        """Compare the mean of the weights with that of the period before, if there is one."""
        average = self._average
        if average is None or not average.n_new:
            return
        n_patterns = self._costs.n_patterns(average.n_new)
        judge = self.evaluation
        if self.judges_held_out and self.validation is not None:
            judge = replace(judge, data=self.validation)
        with average.shown(before=True):
            before = judge.judged(n_patterns)
        with average.shown():
            after = judge.judged(n_patterns)
        loss_error = 0.0
        if isinstance(self.objective.network, MaskedTransformer) and len(after) > 1:
            # What all sequences know of the loss, judged on some of them.
            share = min(1.0, SAMPLED / judge.data.n_sequences)
            loss_error = math.sqrt(share) * standard_error(after)
        self.doubling = Doubling.of(average.n_steps, average.n_new, before, after, loss_error)

    def _stands_still(self) -> bool:
        """Whether the comparison ends the training."""
        found, network = self.doubling, self.objective.network
        if found is None:
            return False
        if not math.isfinite(found.gain):
            return True
        if isinstance(network, MaskedTransformer):
            most = self.plateau if self.judges_held_out else self.data.independent_loss
            has_left = found.objective < most
        else:
            fall = self._entries[0][4] - self._entries[-1][4]
            has_left = network.is_convex or fall > TOLERANCES.fall
        if not (found.is_still and has_left) or self._average is None:
            return False
        with self._average.shown():
            self._gradient = self.evaluation.gradient(self._n_gradients)
        return not self._gradient.gap > TOLERANCES.random_gap  # NaN where nothing bounds it

    @property
    def _n_gradients(self) -> int:
        """Patterns of masks for the gradient, which costs three times as much as a loss."""
        return self._costs.n_patterns(max(1, self.done // 3))

    def _record(self) -> None:
        """Append losses to the history; keep the parameters of the least held-out loss."""
        shown = nullcontext() if self._average is None else self._average.shown()
        with shown if self.done else nullcontext():
            self._record_losses()

    def _record_losses(self) -> None:
        data = self.data
        train = held_out = math.nan
        if isinstance(self.objective.network, FactoredAttention):
            train = self.evaluation.loss()
        elif self.doubling and self.doubling.done == self.done and not self.judges_held_out:
            train = self.doubling.objective
        if self.validation is not None:
            held_out = self.evaluation.loss(self.validation)
        (losses,) = self.workers.add([float(self._losses)])
        # Steps are normalized by all sites that they mask, ignored gaps among them.
        share = data.observed_share
        masked = losses / self._n_losses / share if self._n_losses else math.nan
        epoch = self.done / self.steps_per_epoch
        objective = share * train + self.evaluation.penalty() / data.length
        self._entries.append((epoch, masked, train, held_out, objective, self._seconds))
        self._losses, self._n_losses = self._no_loss, 0
        if self.recipe.stop_early:
            if held_out < self.best[1]:
                self.best = (self.done, held_out)
                state = self.objective.network.state_dict()
                self._best_state = {name: tensor.clone() for name, tensor in state.items()}
            has_waited = self.done - self.best[0] > max(SHORTEST_PERIOD, self.best[0])
            self.stopped_early = has_waited and self.best[1] < self.plateau


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
