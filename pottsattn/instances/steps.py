"""The steps of a training of an encoder, whatever its objective: batches, AdamW, history, resume.

Step k has its batch, its draws (masks) and its learning rate as functions of the seed and of k
alone, so that the parameters, the state of the optimizer and k are all that a killed run needs to
go on to the same bits.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn._core.validate import InputError, check_positive
from pottsattn.instances.encoder import Encoder, encode
from pottsattn.instances.probes import feature_spread
from pottsattn.instances.result import EncoderHistory
from pottsattn.training.recipe import FullRecipe
from pottsattn.training.workers import Workers

# A feature spread below both, of 1 and of that at the start, is a collapse: with few numbers in a
# patch all vectors are close to their positions at first.
COLLAPSED, OF_THE_START = 0.05, 0.5
JUDGED = 256  # training instances on which the spread is measured along the training
ENTRIES = 20  # of the history, evenly spaced in the step
ORDERS, DRAWS, DROPS = range(3)  # streams of random numbers


class EncoderObjective(nn.Module):
    """The loss of a batch, and the encoder that it trains."""

    can_collapse = False

    @property
    def judged(self) -> Encoder:
        """The encoder that is kept."""
        raise NotImplementedError

    def prepare(self, progress: float) -> None:
        """Do what comes before a step; `progress` is the share of steps done."""

    def draw(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        """Return what the loss needs beside the inputs, one item per instance of the batch."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, draws: Tensor, drop_generator: Any) -> Tensor:
        """Return the mean loss of a batch."""
        raise NotImplementedError


class EncoderTraining:
    """The `pottsattn.training.steps.Steps` of an encoder.

    Parameters
    ----------
    objective
        On its device.
    inputs
        All instances, on the CPU.
    recipe, betas
        Steps, batches and rates of AdamW.
    workers
        The processes that share every batch.
    seed
        Of batches and draws.
    in_half
        Products of matrices in bfloat16.
    """

    def __init__(
        self,
        objective: EncoderObjective,
        inputs: Tensor,
        recipe: FullRecipe,
        betas: tuple[float, float],
        workers: Workers,
        seed: int,
        *,
        in_half: bool = False,
    ) -> None:
        self.objective, self.inputs, self.recipe = objective, inputs, recipe
        self.workers, self.seed, self.in_half = workers, seed, in_half
        self.device = next(objective.parameters()).device
        self.batch_size = min(recipe.batch_size, len(inputs))
        if self.batch_size % workers.count:
            raise InputError(
                f"{workers.count} processes cannot share batches of {self.batch_size} evenly; "
                "choose another batch size"
            )
        self.done, self.max_steps = 0, recipe.max_steps
        self._losses, self._n_losses = torch.zeros((), dtype=torch.float64, device=self.device), 0
        self._entries: list[tuple[float, ...]] = []
        self._seconds = 0.0
        self._has_warned = False
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._wrapped = workers.wrap(objective)
        self._optimizer = _optimizer(objective, recipe, betas)
        every = recipe.max_steps / ENTRIES
        self._recorded = {math.ceil(every * at) for at in range(1, ENTRIES + 1)}

    def advance(self) -> None:
        """Take a step; record where it is time to, and the start."""
        if not self._entries:
            self._record()
        self._step()
        if self.done in self._recorded:
            self._record()

    def finish(self) -> None:
        """Record the end."""
        self._wrapped = self.objective  # see `Workers.wrap`
        if self._entries[-1][0] != self.done:
            self._record()

    @property
    def is_over(self) -> bool:
        """Whether vectors or losses have become infinite, which no further step undoes."""
        return bool(self._entries) and not math.isfinite(self._entries[-1][2])

    @property
    def collapsed(self) -> bool:
        """Whether the objective can collapse and, by the last entry, has."""
        bound = min(COLLAPSED, OF_THE_START * self._entries[0][2])
        return self.objective.can_collapse and self._entries[-1][2] < bound

    def history(self) -> EncoderHistory:
        """Return the entries so far."""
        steps, *columns = np.array(self._entries).T
        return EncoderHistory(steps.astype(np.int64), *columns)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "done": self.done,
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "entries": self._entries,
            "losses": [float(self._losses), self._n_losses],
            "seconds": self._seconds,
            "has_warned": self._has_warned,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the training up where `state` left it."""
        self.done = state["done"]
        self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._entries = [tuple(entry) for entry in state["entries"]]
        losses, self._n_losses = state["losses"]
        self._losses = torch.full_like(self._losses, losses)
        self._seconds, self._has_warned = state["seconds"], state["has_warned"]

    def _step(self) -> None:
        started = time.perf_counter()
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.done)
        self.objective.prepare(self.done / self.recipe.max_steps)
        numbers = self._numbers()
        draws = self.objective.draw(numbers, rng_of(self.seed, DRAWS, self.done))
        share = self.workers.share(torch.from_numpy(numbers))
        inputs = self.inputs[share].to(self.device)
        own_draws = self.workers.share(torch.from_numpy(draws)).to(self.device)
        drops = torch.Generator()
        entropy = np.random.SeedSequence((self.seed, DROPS, self.done, self.workers.rank))
        drops.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_half):
            loss = self._wrapped(inputs, own_draws, drops)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._losses += loss.detach()
        self._n_losses += 1
        self.done += 1
        self._seconds += time.perf_counter() - started

    def _numbers(self) -> NDArray[np.int64]:
        """Return the numbers of the instances of this step; what a full batch misses is left."""
        epoch, at = divmod(self.done, len(self.inputs) // self.batch_size)
        if self._order[0] != epoch:
            order = rng_of(self.seed, ORDERS, epoch).permutation(len(self.inputs))
            self._order = (epoch, order)
        return self._order[1][at * self.batch_size : (at + 1) * self.batch_size]

    def _record(self) -> None:
        """Append to the history; warn once if all vectors have become the same."""
        loss = math.nan
        if self._n_losses:
            (total,) = self.workers.add([float(self._losses)])
            loss = total / self._n_losses / self.workers.count
        vectors, _ = encode(self.objective.judged, self.inputs[:JUDGED])
        spread = feature_spread(vectors) if np.isfinite(vectors).all() else math.nan
        self._entries.append((self.done, loss, spread, self._seconds))
        self._losses, self._n_losses = torch.zeros_like(self._losses), 0
        if self.collapsed and not self._has_warned and self.workers.leads:
            self._has_warned = True
            warnings.warn(
                f"the representation has collapsed at step {self.done}: feature spread "
                f"{spread:.3f}, {self._entries[0][2]:.3f} at the start; use norm batch or the loss "
                "infonce",
                stacklevel=2,
            )


def rng_of(seed: int, stream: int, at: int) -> np.random.Generator:
    """Return the generator of one step or epoch."""
    return np.random.default_rng(np.random.SeedSequence((seed, stream, at)))


def _optimizer(
    objective: nn.Module, recipe: FullRecipe, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Return AdamW; vectors (biases, norms, scales, the class token) and positions do not decay."""
    named = [(name, one) for name, one in objective.named_parameters() if one.requires_grad]
    free = [one for name, one in named if one.ndim < 2 or name.endswith("positions")]
    kept = {id(one) for one in free}
    groups: list[dict[str, Any]] = [
        {"params": [one for _, one in named if id(one) not in kept]},
        {"params": free, "weight_decay": 0.0},
    ]
    for name, beta in zip(("beta1", "beta2"), betas, strict=True):
        if check_positive(name, beta) >= 1.0:
            raise InputError(f"{name} must be below 1, got {beta}")
    return torch.optim.AdamW(
        groups, lr=recipe.rate(0), betas=betas, weight_decay=recipe.weight_decay, foreach=True
    )
