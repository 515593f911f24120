"""Heads on the instance vector, used in training only: projector, and predictor of the student.

The projector is an MLP of three linear maps, width -> hidden -> hidden -> size, the predictor of
two, size -> hidden -> size, with a norm and GELU between them. The published code has layer norms.
With few classes and small networks these collapse (docs/instances.md); batch norms do not.

Reference: Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pottsattn.instances.settings import HeadConfig


def make_projector(
    width: int, config: HeadConfig, generator: torch.Generator | None = None
) -> Head:
    """Return the MLP from the instance vector to what is compared."""
    return Head((width, config.hidden, config.hidden, config.size), config.norm, generator)


def make_predictor(config: HeadConfig, generator: torch.Generator | None = None) -> Head:
    """Return the MLP of the student that predicts the projection of the teacher."""
    return Head((config.size, config.hidden, config.size), config.norm, generator)


class Head(nn.Module):
    """Linear maps with a norm and GELU between them, Xavier-uniform, zero biases."""

    def __init__(
        self, sizes: tuple[int, ...], norm: str, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):  # the constructors draw weights that are replaced
            for before, after in pairwise(sizes):
                if parts:
                    parts += [_norm(norm, before), nn.GELU()]
                parts.append(nn.Linear(before, after))
        self.parts = nn.Sequential(*parts)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
        for part in self.parts:
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the projections of the vectors of one or several masks, (masks, B, width)."""
        return torch.stack([self.parts(one) for one in vectors])


def _norm(name: str, size: int) -> nn.Module:
    if name == "layer":
        return nn.LayerNorm(size)
    return nn.BatchNorm1d(size, track_running_stats=False)
