"""A transformer encoder that turns some tokens of an instance into one vector.

The trunk sees the given tokens only, without a class token; then a learned class token c gathers
what they hold, in class-attention blocks (LN: layer norm, g: learned scale per component)

    c <- c + g_1 * Attention(query c; keys and values [c; x] of LN),   c <- c + g_2 * MLP(LN(c)),

which leave the tokens x as they are. The instance vector is LN(c), the token vectors are LN(x).
Tokens carry their positions, so their order does not matter.

References: Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code; class attention: Touvron et
al., Proc. ICCV, 32 (2021); positions of images: Chen, Xie, He, Proc. ICCV, 9640 (2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn.instances.settings import EncoderConfig

TOKEN_SCALE = 0.02  # standard deviation of the class token at the start
EMBEDDING_SCALE = 1.0  # of states and positions: unit variance, as what a layer norm gives
AT_ONCE = 256  # instances that are encoded together where no gradient is needed
PERIOD = 10000.0  # longest wavelength of the positions of images is 2 pi times this


class Encoder(nn.Module):
    """Trunk and class attention, without heads.

    Parameters
    ----------
    config
        Sizes.
    generator
        Draws the starting values; torch's global stream if left out.

    Notes
    -----
    Linear maps start Xavier-uniform with zero biases. Names of parameters within `layers.k` are
    those of `torch.nn.TransformerEncoderLayer`.

    Examples
    --------
    >>> encoder = Encoder(EncoderConfig(n_tokens=5, n_states=3))
    >>> instance, tokens = encoder(torch.zeros(2, 5, dtype=torch.uint8))
    >>> instance.shape, tokens.shape
    (torch.Size([2, 32]), torch.Size([2, 5, 32]))
    """

    positions: Tensor

    def __init__(self, config: EncoderConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        with torch.random.fork_rng(devices=[]):  # the constructors draw weights that are replaced
            if config.n_states is not None:
                self.embedding: nn.Module = nn.Embedding(config.n_tokens * config.n_states, width)
                self.positions = nn.Parameter(torch.empty(config.n_tokens, width))
            else:
                assert config.patch_dim is not None
                self.embedding = nn.Linear(config.patch_dim, width)
                self.register_buffer("positions", _grid_positions(config), persistent=False)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width,
                    config.n_heads,
                    config.feedforward_ratio * width,
                    0.0,
                    "gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(config.n_layers)
            )
            self.class_token = nn.Parameter(torch.empty(width))
            self.class_layers = nn.ModuleList(
                ClassAttention(config) for _ in range(config.n_class_layers)
            )
            self.norm = nn.LayerNorm(width)
        self._draw(generator)

    def forward(
        self,
        inputs: Tensor,
        visible: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        mask_token: Tensor | None = None,
        drop_generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the instance vectors and the token vectors.

        Parameters
        ----------
        inputs
            States, integers of shape (B, n_tokens), or patches, (B, n_tokens, patch_dim).
        visible
            Numbers of the tokens that are seen, (masks, B, n_visible): all masks go through the
            encoder in one batch, mask-major. All tokens are seen if left out.
        hidden, mask_token
            Tokens whose content is replaced by a vector, (B, n_tokens) of bool and (width,), while
            their positions stay; for masked modeling.
        drop_generator
            On the CPU; draws which residual branches are skipped. None are if left out.

        Returns
        -------
        tuple of Tensor
            (masks * B, width) and (masks * B, n_visible, width).
        """
        tokens = self._embed(inputs, visible, hidden, mask_token)
        gathered, _ = self._gather(tokens, drop_generator)
        gathered = self.norm(gathered)
        return gathered[:, 0], gathered[:, 1:]

    def class_attention(self, inputs: Tensor) -> Tensor:
        """Return where the class token looks in the last block, mean over heads, (B, n_tokens).

        What it gives to itself is left out, so a row sums to less than 1.
        """
        _, attention = self._gather(self._embed(inputs), None)
        return attention[:, 1:]

    def _gather(
        self, tokens: Tensor, drop_generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        for at, layer in enumerate(self.layers):
            rate = self.config.drop_path * at / max(1, len(self.layers) - 1)
            assert isinstance(layer, nn.TransformerEncoderLayer)
            tokens = _advance(layer, tokens, rate, drop_generator)
        token = self.class_token.expand(len(tokens), 1, -1)
        for block in self.class_layers:
            token, attention = block(token, tokens)
        return torch.cat([token, tokens], dim=1), attention

    def _embed(
        self,
        inputs: Tensor,
        visible: Tensor | None = None,
        hidden: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Return what the trunk starts from; only visible tokens are embedded."""
        n_states = self.config.n_states
        if n_states is not None:
            sites = torch.arange(self.config.n_tokens, device=inputs.device)
            inputs = sites * n_states + inputs.long()  # (B, L), numbers of (site, state)
        positions = self.positions
        if visible is not None:
            rows = torch.arange(len(inputs), device=inputs.device)[:, None]
            inputs = inputs[rows, visible].flatten(0, 1)  # (masks * B, n_visible, ...)
            positions = positions[visible].flatten(0, 1)
        content = self.embedding(inputs)
        if hidden is not None and mask_token is not None:
            content = torch.where(hidden[..., None], mask_token, content)
        return content + positions

    def _draw(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" in name:
                nn.init.ones_(parameter)
            elif "scale" in name:
                nn.init.constant_(parameter, self.config.layer_scale)
            elif name == "class_token":
                nn.init.normal_(parameter, std=TOKEN_SCALE, generator=generator)
            elif name in ("positions", "embedding.weight") and self.config.n_states is not None:
                nn.init.normal_(parameter, std=EMBEDDING_SCALE, generator=generator)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)


class ClassAttention(nn.Module):
    """A block in which only the class token asks, and only it changes."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, config.n_heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, config.feedforward_ratio * width)
        self.linear2 = nn.Linear(config.feedforward_ratio * width, width)
        self.scale1 = nn.Parameter(torch.empty(width))
        self.scale2 = nn.Parameter(torch.empty(width))

    def forward(self, token: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token, (B, 1, width), and its mean attention, (B, 1 + n)."""
        both = self.norm1(torch.cat([token, tokens], dim=1))  # (B, 1 + n, width)
        update, attention = self.attention(both[:, :1], both, both)
        token = token + self.scale1 * update
        hidden = nn.functional.gelu(self.linear1(self.norm2(token)))
        return token + self.scale2 * self.linear2(hidden), attention[:, 0]


def encode(encoder: Encoder, inputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the instance and token vectors of intact instances, a part of them at a time.

    Parameters
    ----------
    encoder
        On any device.
    inputs
        On the CPU, as `Encoder.forward` takes them; M instances.

    Returns
    -------
    tuple of float32 arrays
        (M, width) and (M, n_tokens, width).
    """
    device = encoder.class_token.device
    with torch.no_grad():
        parts = [encoder(part.to(device)) for part in torch.split(inputs, AT_ONCE)]
    vectors, tokens = (torch.cat(some).cpu().numpy() for some in zip(*parts, strict=True))
    return vectors, tokens


def _advance(
    layer: nn.TransformerEncoderLayer, tokens: Tensor, rate: float, generator: Any
) -> Tensor:
    """Return what a layer makes of tokens; each residual branch is skipped with `rate`."""
    inner = layer.norm1(tokens)  # (B, n, width)
    update, _ = layer.self_attn(inner, inner, inner, need_weights=False)
    tokens = tokens + _dropped(update, rate, generator)
    update = layer.linear2(layer.activation(layer.linear1(layer.norm2(tokens))))
    return tokens + _dropped(update, rate, generator)


def _dropped(update: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Return `update` with whole instances set to zero at random, the others scaled up."""
    if generator is None or rate == 0.0:
        return update
    kept = torch.rand(len(update), 1, 1, generator=generator) >= rate
    return update * (kept / (1.0 - rate)).to(update)


def _grid_positions(config: EncoderConfig) -> Tensor:
    """Return fixed sines and cosines of column and row, (n_tokens, width)."""
    assert config.grid is not None
    rows, columns = torch.meshgrid(*(torch.arange(size) for size in config.grid), indexing="ij")
    n_waves = config.width // 4
    waves = PERIOD ** (-torch.arange(n_waves) / n_waves)
    angles = [place.flatten()[:, None] * waves for place in (columns, rows)]  # (n_tokens, w / 4)
    return torch.cat([turn(angle) for angle in angles for turn in (torch.sin, torch.cos)], dim=1)
