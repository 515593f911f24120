"""One layer of factored self-attention, the neural network that is a generalized Potts model.

Queries and keys see positions only, values see symbols only:

    logit_i(a) = h_i(a) + sum_h sum_{j != i} A^h_ij sum_b U^h_ab x_j(b)

with x_j the one-hot symbol at site j, zero where it is masked. "free" attention is any A, of either
sign; "softmax" attention has rows exp(S_ij) / sum_{k != i} exp(S_ik), non-negative and of sum 1.
Either the (L, L) numbers are parameters, or they are q_i . k_j / sqrt(d) with learned queries and
keys of dimension d. Site i never sees itself, so without any mask the logits at site i are those of
masking site i alone: one pass predicts every site as if it were the only masked one.

With learned fields a learned U acts by its zero-sum part P U P alone: the rest would carry fields
that no penalty counts. This is the objective of factored pseudo-likelihood (`heads_problem`).

Reference: Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), eqs. 4-6.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pottsattn._core.validate import InputError, check_array, check_at_least
from pottsattn.fitting.masked.batches import check_batch
from pottsattn.fitting.masked.settings import AttentionConfig
from pottsattn.model.couplings import Couplings


class FactoredAttention(nn.Module):
    """Factored attention, free or softmax.

    Parameters
    ----------
    length, n_states
        L and C.
    n_heads, attention, head_dimension, color_similarity, fields, symmetric
        As in `AttentionConfig`.
    generator
        Draws the starting values; with a fixed U and free A the training problem is convex and A
        starts at zero.

    Attributes
    ----------
    interactions : Parameter, shape (n_heads, length, length)
        A of free attention without `head_dimension`; its diagonal is never used.
    scores : Parameter, shape (n_heads, length, length)
        S of softmax attention without `head_dimension`; its diagonal is never used.
    query, key : Parameter, shape (n_heads, length, head_dimension)
        Where there is a `head_dimension`.
    color_similarity : Parameter or buffer, shape (n_heads, n_states, n_states)
        U.
    fields : Parameter or buffer, shape (length, n_states)
        h.

    These names and shapes are those of `state_dict`, and stay.

    Raises
    ------
    InputError
        As `AttentionConfig`.

    Examples
    --------
    >>> layer = FactoredAttention(length=5, n_states=3)
    >>> layer(torch.zeros(2, 5, dtype=torch.uint8)).shape
    torch.Size([2, 5, 3])
    """

    color_similarity: Tensor
    fields: Tensor
    interactions: Tensor
    scores: Tensor
    is_self: Tensor

    def __init__(
        self,
        length: int,
        n_states: int,
        n_heads: int = 1,
        *,
        attention: str = "free",
        head_dimension: int | None = None,
        color_similarity: str | ArrayLike = "identity",
        fields: str = "learned",
        symmetric: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_at_least("length", length, 2)
        check_at_least("n_states", n_states, 2)
        AttentionConfig(n_heads, attention, head_dimension, color_similarity, fields, symmetric)
        self.length, self.n_states, self.n_heads = length, n_states, n_heads
        self.attention, self.symmetric = attention, symmetric
        self.head_dimension = head_dimension
        fixed = _fixed_similarity(color_similarity, n_heads, n_states)
        self._start_attention(generator, is_convex=fixed is not None)
        if fixed is None:
            # |U|_F near that of P: with larger U full-batch L-BFGS takes tens of times more steps.
            # Rows of softmax attention are near 1 / L, which U has to make up for.
            scale = math.sqrt(n_states - 1) / n_states if attention == "free" else 1.0
            start = torch.randn((n_heads, n_states, n_states), generator=generator)
            self.color_similarity = nn.Parameter(scale * start)
        else:
            self.register_buffer("color_similarity", fixed)
        if fields == "learned":
            self.fields = nn.Parameter(torch.zeros((length, n_states)))
        else:
            self.register_buffer("fields", torch.zeros((length, n_states)))
        self.register_buffer("is_self", torch.eye(length, dtype=torch.bool), persistent=False)

    def _start_attention(self, generator: torch.Generator | None, *, is_convex: bool) -> None:
        """Learn queries and keys, or A or S itself, from small random numbers or from zero."""
        free = self.attention == "free"
        scale = (self.length * self.n_heads * self.n_states) ** -0.5 if free else 1.0
        if self.head_dimension is not None:
            shape = (self.n_heads, self.length, self.head_dimension)
            self.query = nn.Parameter(scale**0.5 * torch.randn(shape, generator=generator))
            self.key = nn.Parameter(scale**0.5 * torch.randn(shape, generator=generator))
            return
        shape = (self.n_heads, self.length, self.length)
        if free and is_convex:
            self.interactions = nn.Parameter(torch.zeros(shape))
            return
        start = nn.Parameter(scale * torch.randn(shape, generator=generator))
        self.register_parameter("interactions" if free else "scores", start)

    @property
    def learns_fields(self) -> bool:
        """Whether h is a parameter."""
        return isinstance(self.fields, nn.Parameter)

    @property
    def learns_similarity(self) -> bool:
        """Whether U is a parameter."""
        return isinstance(self.color_similarity, nn.Parameter)

    @property
    def is_convex(self) -> bool:
        """Whether the training problem is convex: A itself is learned, and U is fixed."""
        is_free = self.attention == "free" and self.head_dimension is None
        return is_free and not self.learns_similarity

    @property
    def n_parameters(self) -> int:
        """Numbers that training is free to choose: without the unused diagonal."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if self.head_dimension is None:
            total -= self.n_heads * self.length
            if self.symmetric and self.attention == "free":
                total -= self.n_heads * self.length * (self.length - 1) // 2
        if self.symmetric and self.learns_similarity:
            total -= self.n_heads * self.n_states * (self.n_states - 1) // 2
        return total

    @property
    def architecture(self) -> dict[str, object]:
        """The options that this layer was made with, as plain values."""
        return {
            "attention": self.attention,
            "head_dimension": self.head_dimension,
            "heads": self.n_heads,
            "color_similarity": _similarity_name(self),
            "fields": "learned" if self.learns_fields else "none",
            "symmetric": self.symmetric,
        }

    def activation_bytes(self, n_rows: int) -> int:
        """Return the bytes of `forward` and the way back on a CPU, in single precision.

        What is visible as bits and as numbers, values of every head and their gradient, logits with
        and without fields, and their gradient through the softmax.
        """
        numbers = n_rows * self.length * self.n_states
        return numbers * (1 + 4 * (4 + 2 * self.n_heads))

    def attention_weights(self) -> Tensor:
        """Return A, shape (n_heads, length, length), with zero diagonal."""
        numbers: Tensor
        if self.head_dimension is not None:
            numbers = self.query @ self.key.transpose(1, 2) / math.sqrt(self.head_dimension)
        else:
            numbers = self.interactions if self.attention == "free" else self.scores
        if self.attention == "free":
            weights = numbers.masked_fill(self.is_self, 0.0)
        else:
            weights = numbers.masked_fill(self.is_self, -math.inf).softmax(dim=2)
        return (weights + weights.transpose(1, 2)) / 2 if self.symmetric else weights

    def values(self) -> Tensor:
        """Return U as it acts, shape (n_heads, n_states, n_states): see the module."""
        similarity = self.color_similarity
        if self.symmetric:
            similarity = (similarity + similarity.transpose(1, 2)) / 2
        return (
            _zero_sum(similarity) if self.learns_similarity and self.learns_fields else similarity
        )

    def forward(self, sequences: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits, shape (n_sequences, length, n_states), at least in single precision.

        Parameters
        ----------
        sequences : integer tensor, shape (n_sequences, length)
            States 0..n_states-1; any other number is a masked site.
        mask : bool tensor, shape (n_sequences, length), optional
            Sites whose embedding is zero in every context. Without it every site is predicted with
            that site alone masked.

        Raises
        ------
        TypeError, InputError
            Tensors of other types or shapes.
        """
        check_batch(sequences, mask, self.length)
        n_sequences, length = sequences.shape
        n_heads, n_states = self.n_heads, self.n_states
        # States come first in memory: reductions over few states are slow side by side, and the
        # gradient of U is a matrix product instead of a scattered sum.
        states = torch.arange(n_states, device=sequences.device)[:, None, None]
        visible = states == sequences.T  # (C, L, M)
        if mask is not None:
            visible = visible & ~mask.T
        rows = self.attention_weights().transpose(0, 1)  # (L, H, L)
        one_hot = visible.to(rows.dtype).reshape(n_states, length * n_sequences)
        table = self.values().transpose(0, 1).reshape(n_states * n_heads, n_states)
        values = (table @ one_hot).reshape(n_states, n_heads * length, n_sequences)
        logits = rows.reshape(length, n_heads * length) @ values  # (C, L, M)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half, if autocast
        return (logits + self.fields.T[:, :, None]).permute(2, 1, 0)  # (M, L, C)

    def penalty(self) -> Tensor:
        """Return sum_i sum_{j != i} |P J_ij P|^2_F / (C - 1), without the (L, L, C, C) tensor."""
        with torch.autocast(self.fields.device.type, enabled=False):
            return self.head_products().sum() / (self.n_states - 1)

    def head_products(self) -> Tensor:
        """Return <J^g, J^h> of the couplings of heads, zero-sum, shape (n_heads, n_heads)."""
        rows = self.attention_weights().flatten(1)
        similarity = _zero_sum(self.values()).flatten(1)
        return (rows @ rows.T) * (similarity @ similarity.T)

    @torch.no_grad()
    def implied_couplings(self) -> tuple[NDArray[np.float64], Couplings]:
        """Return (fields, couplings) as float64 arrays: the Potts model of the layer, row-wise."""
        rows, similarity, fields = (
            tensor.detach().cpu().double().numpy().copy()
            for tensor in (self.attention_weights(), self.values(), self.fields)
        )
        return fields, Couplings(rows, similarity)

    @torch.no_grad()
    def set_parameters(self, fields: NDArray[np.float64], couplings: Couplings) -> None:
        """Take h and (A, U) of factored couplings with as many heads.

        Raises
        ------
        InputError
            The couplings have another number of heads, or A is no parameter of this layer.
        """
        if self.attention != "free" or self.head_dimension is not None:
            raise InputError("only free attention without a head_dimension takes any A")
        interactions, similarity = couplings.factors()
        if len(interactions) != self.n_heads:
            raise InputError(f"{len(interactions)} heads for a layer that has {self.n_heads}")
        self.interactions.copy_(torch.from_numpy(interactions))
        self.color_similarity.copy_(torch.from_numpy(similarity))
        self.fields.copy_(torch.from_numpy(fields))


def _fixed_similarity(
    color_similarity: str | ArrayLike, n_heads: int, n_states: int
) -> Tensor | None:
    """Return the values of a fixed U, shape (n_heads, n_states, n_states), or None."""
    if not isinstance(color_similarity, str):
        shape = (n_heads, n_states, n_states)
        return torch.from_numpy(check_array("color_similarity", color_similarity, shape)).float()
    return None if color_similarity == "learned" else torch.eye(n_states)[None]


def _similarity_name(layer: FactoredAttention) -> str:
    if layer.learns_similarity:
        return "learned"
    identity = torch.eye(layer.n_states)[None]
    return "identity" if torch.equal(layer.color_similarity.cpu(), identity) else "fixed"


def _zero_sum(similarity: Tensor) -> Tensor:
    """Return P U P."""
    similarity = similarity - similarity.mean(dim=1, keepdim=True)
    return similarity - similarity.mean(dim=2, keepdim=True)
