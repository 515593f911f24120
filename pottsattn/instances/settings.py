"""Sizes of an encoder and its heads, settings of its training, and named sets of both.

Free of torch, so that the command line has its options from here.
"""

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
from pottsattn.training.recipe import FullRecipe

ENCODER_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 32, "n_layers": 2, "n_heads": 4, "feedforward_ratio": 2},
    "vit-base": {
        "width": 768,
        "n_layers": 12,
        "n_heads": 12,
        "feedforward_ratio": 4,
        "drop_path": 0.1,
    },
}
HEAD_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden": 128, "size": 32, "norm": "batch"},
    "vit-base": {"hidden": 4096, "size": 256, "norm": "layer"},
}
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
LOSSES = ("byol", "infonce")
NORMS = ("batch", "layer")
PRECISIONS = ("single", "bfloat16")


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder.

    Attributes
    ----------
    n_tokens : int
        L sites, or patches of an image.
    n_states : int or None
        C: tokens are the sites of sequences; every (site, state) has a learned vector.
    patch_dim : int or None
        Tokens are patches of this many numbers, embedded linearly. Either this or `n_states`.
    grid : tuple of int or None
        Rows and columns of the patches; square if left out.
    width, n_layers, n_heads, feedforward_ratio
        Of the trunk, and of the class-attention blocks.
    n_class_layers : int
        Class-attention blocks.
    layer_scale : float
        g_1 and g_2 at the start.
    drop_path : float
        Probability with which the last layer of a trunk in training skips a residual branch; it
        rises linearly from 0 at the first layer.

    Raises
    ------
    InputError
        Sizes that do not fit each other.
    """

    n_tokens: int
    n_states: int | None = None
    patch_dim: int | None = None
    grid: tuple[int, int] | None = None
    width: int = 32
    n_layers: int = 2
    n_heads: int = 4
    feedforward_ratio: int = 2
    n_class_layers: int = 2
    layer_scale: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_tokens", "width", "n_layers", "n_heads", "feedforward_ratio"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("n_class_layers", self.n_class_layers, 1)
        check_positive("layer_scale", self.layer_scale)
        if check_nonnegative("drop_path", self.drop_path) >= 1.0:
            raise InputError(f"drop_path must be below 1, got {self.drop_path}")
        if self.width % self.n_heads:
            raise InputError(
                f"width must be a multiple of n_heads {self.n_heads}, got {self.width}"
            )
        if (self.n_states is None) == (self.patch_dim is None):
            raise InputError("give either n_states (sequences) or patch_dim (images)")
        if self.n_states is not None:
            check_at_least("n_states", self.n_states, 2)
            return
        check_at_least("patch_dim", self.patch_dim, 1)
        if self.width % 4:
            raise InputError(f"width must be a multiple of 4 for images, got {self.width}")
        side = math.isqrt(self.n_tokens)
        grid = (side, side) if self.grid is None else (self.grid[0], self.grid[1])
        if grid[0] * grid[1] != self.n_tokens:
            raise InputError(f"{self.n_tokens} patches are no grid of {grid[0]} x {grid[1]}")
        object.__setattr__(self, "grid", grid)

    @classmethod
    def preset(cls, name: str, n_tokens: int = 196, **more: Any) -> EncoderConfig:
        """Return a named size: "tiny", or "vit-base" (of 196 patches of 16 x 16 x 3 numbers).

        `more` are attributes, which come before those of the preset.
        """
        sizes = ENCODER_PRESETS[check_choice("preset", name, tuple(ENCODER_PRESETS))]
        if name == "vit-base" and more.get("n_states") is None:
            more = {"patch_dim": 16 * 16 * 3, **more}
        return cls(**{"n_tokens": n_tokens, **sizes, **more})

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters of the encoder, without heads."""
        width, hidden = self.width, self.feedforward_ratio * self.width
        block = 4 * width * (width + 1)  # queries, keys, values, output
        block += 2 * width * hidden + hidden + width  # feed-forward layer
        block += 4 * width  # two layer norms
        ends = width + 2 * width  # class token, last layer norm
        if self.n_states is not None:
            ends += self.n_tokens * (self.n_states + 1) * width
        else:
            assert self.patch_dim is not None
            ends += (self.patch_dim + 1) * width
        return (self.n_layers + self.n_class_layers) * block + (
            2 * width * self.n_class_layers + ends
        )


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the heads.

    Attributes
    ----------
    hidden : int
        Width of the hidden layers.
    size : int
        Components of what student and teacher compare.
    norm : {"batch", "layer"}
        Between the linear maps. Batch statistics are those of one mask, so that several masks in
        one batch give what they give one by one; running statistics are not kept.
    """

    hidden: int = 128
    size: int = 32
    norm: str = "batch"

    def __post_init__(self) -> None:
        check_at_least("head_hidden", self.hidden, 1)
        check_at_least("head_size", self.size, 1)
        check_choice("norm", self.norm, NORMS)

    @classmethod
    def preset(cls, name: str, **more: Any) -> HeadConfig:
        """Return a named size, "tiny" or "vit-base"; `more` come before those of the preset."""
        return cls(**{**HEAD_PRESETS[check_choice("preset", name, tuple(HEAD_PRESETS))], **more})


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
    def recipe(self) -> FullRecipe:
        """Batches and learning rates."""
        return FullRecipe(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="cosine",
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
