"""Encoders of the same size that a self-supervised one is compared with.

`random_encoder` is not trained, `train_supervised` is told the labels, and `train_masked_tokens`
predicts hidden tokens from the others, one by one: cross-entropy of states, or squared error of the
numbers of a patch. The trunk is the same throughout.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from pottsattn._core.validate import InputError, check_generator, check_positive
from pottsattn.instances.encoder import TOKEN_SCALE, Encoder
from pottsattn.instances.settings import EncoderConfig, TrainingConfig
from pottsattn.instances.steps import EncoderObjective
from pottsattn.instances.training import TrainedEncoder, as_inputs, train_encoder

Rng = np.random.Generator | int | None


def random_encoder(encoder: EncoderConfig, rng: Rng = None) -> Encoder:
    """Return an encoder as it is before training."""
    seed = int(check_generator(rng).integers(2**63))
    return Encoder(encoder, generator=torch.Generator().manual_seed(seed))


def train_supervised(
    inputs: ArrayLike,
    labels: ArrayLike,
    encoder: EncoderConfig,
    config: TrainingConfig | None = None,
    *,
    rng: Rng = None,
    **options: Any,
) -> TrainedEncoder:
    """Return an encoder trained with a linear readout of its instance vector to know the labels.

    Parameters
    ----------
    inputs, encoder, rng
        As for `pretrain`.
    labels : integers, shape (M,)
        Classes from 0.
    config
        Steps, batches and rates; the defaults if left out.
    options
        Of `pretrain`: checkpoint, device, n_threads, progress.

    Raises
    ------
    InputError
        Labels that do not fit the inputs, or what `pretrain` raises.
    """
    given, config = as_inputs(inputs, encoder), config or TrainingConfig()
    classes = np.asarray(labels)
    if classes.shape != (len(given),) or classes.dtype.kind not in "iu" or classes.min() < 0:
        raise InputError(
            f"labels must be integers from 0 of shape ({len(given)},), got shape "
            f"{classes.shape}, dtype {classes.dtype}"
        )

    def make(generator: torch.Generator, workers: Any) -> _Supervised:
        return _Supervised(encoder, classes.astype(np.int64), generator)

    facts = {"encoder": asdict(encoder), "training": asdict(config), "objective": "supervised"}
    return train_encoder(given, make, config, facts, rng=rng, **options)


def train_masked_tokens(
    inputs: ArrayLike,
    encoder: EncoderConfig,
    config: TrainingConfig | None = None,
    *,
    mask_fraction: float = 0.5,
    rng: Rng = None,
    **options: Any,
) -> TrainedEncoder:
    """Return an encoder trained to predict hidden tokens; its class attention stays random.

    Parameters
    ----------
    inputs, encoder, rng
        As for `pretrain`.
    config
        Steps, batches and rates; the defaults if left out.
    mask_fraction
        Share of the tokens that are hidden, above 0 and at most 1; at least one is.
    options
        Of `pretrain`: checkpoint, device, n_threads, progress.
    """
    given, config = as_inputs(inputs, encoder), config or TrainingConfig()
    if check_positive("mask_fraction", mask_fraction) > 1.0:
        raise InputError(f"mask_fraction must be at most 1, got {mask_fraction}")

    def make(generator: torch.Generator, workers: Any) -> _MaskedTokens:
        return _MaskedTokens(encoder, mask_fraction, generator)

    facts = {
        "encoder": asdict(encoder),
        "training": asdict(config),
        "objective": "masked",
        "mask_fraction": mask_fraction,
    }
    return train_encoder(given, make, config, facts, rng=rng, **options)


class _Supervised(EncoderObjective):
    def __init__(
        self, encoder: EncoderConfig, labels: NDArray[np.int64], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, generator=generator)
        self.readout = _linear(encoder.width, int(labels.max()) + 1, generator)
        self._labels = labels

    @property
    def judged(self) -> Encoder:
        return self.encoder

    def draw(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        return self._labels[numbers]

    def forward(self, inputs: Tensor, draws: Tensor, drop_generator: Any) -> Tensor:
        vectors, _ = self.encoder(inputs, drop_generator=drop_generator)
        return functional.cross_entropy(self.readout(vectors), draws)


class _MaskedTokens(EncoderObjective):
    def __init__(
        self, encoder: EncoderConfig, mask_fraction: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, generator=generator)
        self.encoder.class_layers.requires_grad_(False)
        self.encoder.class_token.requires_grad_(False)
        self.readout: nn.Module
        if encoder.n_states is not None:
            self.readout = _SiteReadout(encoder, generator)
        else:
            assert encoder.patch_dim is not None
            self.readout = _linear(encoder.width, encoder.patch_dim, generator)
        self.mask_token = nn.Parameter(torch.empty(encoder.width))
        nn.init.normal_(self.mask_token, std=TOKEN_SCALE, generator=generator)
        self._n_hidden = max(1, round(mask_fraction * encoder.n_tokens))

    @property
    def judged(self) -> Encoder:
        return self.encoder

    def draw(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which tokens are hidden, (B, n_tokens)."""
        ranks = rng.random((len(numbers), self.encoder.config.n_tokens)).argsort(axis=1)
        return ranks.argsort(axis=1) < self._n_hidden

    def forward(self, inputs: Tensor, draws: Tensor, drop_generator: Any) -> Tensor:
        _, tokens = self.encoder(
            inputs, hidden=draws, mask_token=self.mask_token, drop_generator=drop_generator
        )
        predictions = self.readout(tokens)[draws]
        if self.encoder.config.n_states is None:
            return functional.mse_loss(predictions, inputs[draws])
        return functional.cross_entropy(predictions, inputs[draws].long())


class _SiteReadout(nn.Module):
    """A linear map to states for every site, as embeddings have a vector for every (site, state).

    States of different sites need not mean the same: with one map for all sites the trunk would
    have to undo the labels of every site.
    """

    def __init__(self, encoder: EncoderConfig, generator: torch.Generator) -> None:
        super().__init__()
        n_states = encoder.n_states or 0
        scale = (2.0 / (n_states + encoder.width)) ** 0.5
        self.weight = nn.Parameter(torch.empty(encoder.n_tokens, n_states, encoder.width))
        self.bias = nn.Parameter(torch.zeros(encoder.n_tokens, n_states))
        nn.init.normal_(self.weight, std=scale, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.einsum("blw,lcw->blc", tokens, self.weight) + self.bias


def _linear(n_inputs: int, n_outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear map, Xavier-uniform with zero bias."""
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are replaced
        linear = nn.Linear(n_inputs, n_outputs)
    nn.init.xavier_uniform_(linear.weight, generator=generator)
    nn.init.zeros_(linear.bias)
    return linear
