"""How a network is trained: optimizer, steps, batches, rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_nonnegative,
    check_positive,
)

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe"]


OPTIMIZERS, SCHEDULES = ("adam", "lbfgs"), ("cosine", "constant")


HIGHEST_RATE = 1e6  # steps far beyond it overflow in single precision


PATIENCE = 0.2  # share of the steps over which the objective is compared


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; see `train_masked` for the meaning of each."""

    optimizer: str = "adam"
    max_steps: int = 300
    batch_size: int = 8192
    accumulate: int = 1
    learning_rate: float = 0.1
    schedule: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    stop_early: bool = False
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("max_steps", "batch_size", "accumulate"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("warmup_steps", self.warmup_steps, 0)
        if check_positive("learning_rate", self.learning_rate) > HIGHEST_RATE:
            raise InputError(
                f"learning_rate must be at most {HIGHEST_RATE:.0e}, got {self.learning_rate}"
            )
        check_nonnegative("weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)

    @property
    def patience(self) -> int:
        """Steps over which the objective is compared."""
        return max(1, round(PATIENCE * self.max_steps))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
        return 0.5 * self.learning_rate * (1.0 + math.cos(math.pi * done))
