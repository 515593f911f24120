"""How a network is trained: optimizer, steps, batches, rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_nonnegative,
    check_positive,
)

OPTIMIZERS, SCHEDULES = ("adam", "lbfgs"), ("averaged", "cosine")
PRECISIONS = ("single", "double", "mixed", "bfloat16")
HIGHEST_RATE = 1e6  # steps far beyond it overflow in single precision
HELD = 100  # steps at the highest rate, before it falls like the root of their number
OF_ADAM = ("learning_rate", "schedule", "warmup_steps", "weight_decay", "clip_norm", "accumulate")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. What is None is chosen by the network.

    Parameters
    ----------
    optimizer
        "adam", with batches, or "lbfgs": steps on all data to the optimum, for objectives that stay
        the same (masks of all sites, or static ones). If left out, "lbfgs" for factored attention
        whose objective stays the same, on data in memory; "adam" else, and where `batch_size`,
        `stop_early` or an option that only Adam has asks for it.
    max_steps, batch_size, accumulate
        Steps at most, a bound: 10,000 if left out, 20,000 of factored attention by adam; sequences
        a step at most (an epoch is cut into batches of nearly equal size), 8192 for factored
        attention and 512 for a transformer; parts of a batch whose gradients are added up, to save
        memory. With lbfgs `batch_size` is that of the parts.
    learning_rate, schedule, warmup_steps
        Of Adam: the highest rate, 0.1 for factored attention and 5e-3 for a transformer if left
        out; "averaged": the rate falls like the root of the steps, and their weights are averaged,
        until twice the steps would gain nothing (`pottsattn.fitting.masked.averaging`), or
        "cosine": it falls to zero over `max_steps`; steps over which the rate rises from zero, 50
        for a transformer and none for factored attention if left out.
    weight_decay
        Of AdamW, for a transformer.
    clip_norm
        Longer gradients of the mean loss are scaled to this norm; 1 for a transformer if left out,
        not at all for factored attention.
    precision
        "single", of adam if left out; "double"; "mixed", of lbfgs if left out: single as far as it
        goes, then double; or "bfloat16", of adam only: matrix products in half precision.
    stop_early
        End the training when the held-out loss has not fallen while the steps doubled, and return
        the parameters of the least one. If left out, so it is for a transformer whose weights are
        averaged, on at least 100 sequences in memory: it would learn them by heart.

    Raises
    ------
    InputError
        A value out of range, or an option that the optimizer has not.
    """

    optimizer: str | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None
    schedule: str = "averaged"
    warmup_steps: int | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = None
    precision: str | None = None
    stop_early: bool | None = None

    def __post_init__(self) -> None:
        if self.optimizer is not None:
            check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        counts = {"max_steps": 1, "batch_size": 1, "accumulate": 1, "warmup_steps": 0}
        for name, least in counts.items():
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), least)
        rate = self.learning_rate
        if rate is not None and check_positive("learning_rate", rate) > HIGHEST_RATE:
            raise InputError(f"learning_rate must be at most {HIGHEST_RATE:.0e}, got {rate}")
        check_nonnegative("weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)

    def completed(self, **defaults: Any) -> FullRecipe:
        """Return the recipe with `defaults` where it leaves the choice."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        found = {"optimizer": "adam"} | defaults | given
        is_full = found["optimizer"] == "lbfgs"
        if is_full and self.of_adam:
            raise InputError(
                f"{self.of_adam[0]} is for the optimizer adam, lbfgs was asked for; leave one out"
            )
        if self.precision == ("bfloat16" if is_full else "mixed"):
            other = "adam" if is_full else "lbfgs"
            raise InputError(f"precision {self.precision} is for the optimizer {other}")
        found.setdefault("precision", "mixed" if is_full else "single")
        return FullRecipe(**found)

    @property
    def of_adam(self) -> list[str]:
        """The options given that only Adam has."""
        return [name for name in OF_ADAM if getattr(self, name) != getattr(Recipe, name)]

    @property
    def asks_for_adam(self) -> bool:
        """Whether anything given is for steps of batches; with lbfgs it would do nothing, or slow
        it down.
        """
        in_half = self.precision == "bfloat16"
        return bool(self.of_adam) or self.batch_size is not None or bool(self.stop_early) or in_half


@dataclass(frozen=True)
class FullRecipe(Recipe):
    """A recipe that leaves no choice."""

    optimizer: str = "adam"
    max_steps: int = 300
    batch_size: int = 8192
    learning_rate: float = 0.1
    warmup_steps: int = 0
    precision: str = "single"
    stop_early: bool = False

    def completed(self, **_defaults: Any) -> FullRecipe:
        """Return this: nothing is left open."""
        return self

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "averaged":
            return self.learning_rate * min(1.0, math.sqrt(HELD / (step + 1)))
        done = (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
        return 0.5 * self.learning_rate * (1.0 + math.cos(math.pi * done))
