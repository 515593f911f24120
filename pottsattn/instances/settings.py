"""Settings of the training of an encoder, and those that belong to a named size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pottsattn._core.validate import InputError, check_at_least, check_choice, check_positive
from pottsattn.instances.losses import LOSSES
from pottsattn.training.recipe import Recipe

__all__ = ["PretrainConfig", "TrainingConfig"]

TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "vit-base": {
        "batch_size": 2048,
        "rate_per_256": 1.5e-4,
        "warmup": 40 / 300,
        "weight_decay": 0.1,
        "momentum": 0.996,
    },
}
PRECISIONS = ("single", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How an encoder is trained, whatever for; the defaults suit the preset "tiny".

    Attributes
    ----------
    max_steps, batch_size : int
    learning_rate : float
        Of AdamW, at its highest: it rises over `warmup` of the steps, then falls to 0 as a cosine.
    warmup : float
        Share of the steps, below 1.
    weight_decay : float
    betas : tuple of float
    precision : {"single", "bfloat16"}
        Of the products of matrices.
    """

    max_steps: int = 800
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    precision: str = "single"

    def __post_init__(self) -> None:
        check_at_least("batch_size", self.batch_size, 2)
        check_choice("precision", self.precision, PRECISIONS)
        if not 0.0 <= self.warmup < 1.0:
            raise InputError(f"warmup must be a share of the steps in [0, 1), got {self.warmup}")
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """Batches and learning rates."""
        return Recipe(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=round(self.warmup * self.max_steps),
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """How a student is trained to predict its teacher.

    Attributes
    ----------
    loss : {"byol", "infonce"}
    mask_fraction : float
        Share of the tokens that each mask hides, in [0, 1).
    masks : int
        Masks of an instance in every step; their visible subsets are disjoint where they can be.
    temperature : float
        Of infonce.
    momentum : float
        m_0 of the teacher, in [0, 1].
    """

    loss: str = "byol"
    mask_fraction: float = 0.8
    masks: int = 5
    temperature: float = 0.2
    momentum: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("loss", self.loss, LOSSES)
        check_positive("temperature", self.temperature)
        if not 0.0 <= self.momentum <= 1.0:
            raise InputError(f"momentum must be in [0, 1], got {self.momentum}")

    @classmethod
    def preset(cls, name: str, **more: Any) -> PretrainConfig:
        """Return the settings that belong to a named size; `more` come before them.

        "vit-base": those of the published command, with a learning rate in proportion to the batch.
        """
        settings = dict(TRAINING_PRESETS[check_choice("preset", name, tuple(TRAINING_PRESETS))])
        per_256 = settings.pop("rate_per_256", None)
        settings |= more
        if per_256 is not None:
            settings.setdefault("learning_rate", per_256 * settings["batch_size"] / 256)
        return cls(**settings)
