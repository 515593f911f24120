"""One layer of factored self-attention, the neural network that is a generalised Potts model.

Queries and keys see positions only, values see symbols only:

    logit_i(a) = h_i(a) + sum_h sum_{j != i} A^h_ij sum_b U^h_ab x_j(b)

with A free (of either sign) and x_j the one-hot symbol at site j, zero where it is masked. Site i
never sees itself, so without any mask the logits at site i are those of masking site i alone: one
pass predicts every site as if it were the only masked one.

Reference: Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), eqs. 4-6.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pottsattn._validate import InputError, check_at_least, check_choice
from pottsattn.couplings import Couplings

__all__ = ["FactoredAttention"]


class FactoredAttention(nn.Module):
    """Factored attention with free interactions.

    Parameters
    ----------
    length, n_states, n_heads
        L, C and H.
    color_similarity
        "identity": U = I, fixed (one head only). "learned": U is a parameter.
    fields
        "learned" or "none".
    generator
        Draws the starting values of A and U when U is learned; with U = I the training problem is
        convex and A starts at zero.

    Attributes
    ----------
    interactions : Parameter, shape (n_heads, length, length)
        A; its diagonal is never used.
    color_similarity : Parameter or buffer, shape (n_heads, n_states, n_states)
        U.
    fields : Parameter or buffer, shape (length, n_states)
        h.

    Raises
    ------
    InputError
        Unknown option, or several heads with the identity: they would be one head.

    Examples
    --------
    >>> layer = FactoredAttention(length=5, n_states=3)
    >>> layer(torch.zeros(2, 5, dtype=torch.uint8)).shape
    torch.Size([2, 5, 3])
    """

    interactions: Tensor
    color_similarity: Tensor
    fields: Tensor
    off_diagonal: Tensor

    def __init__(
        self,
        length: int,
        n_states: int,
        n_heads: int = 1,
        *,
        color_similarity: str = "identity",
        fields: str = "learned",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_at_least("length", length, 2)
        check_at_least("n_states", n_states, 2)
        check_at_least("heads", n_heads, 1)
        check_choice("color_similarity", color_similarity, ("identity", "learned"))
        check_choice("fields", fields, ("learned", "none"))
        if color_similarity == "identity" and n_heads > 1:
            raise InputError(
                f"{n_heads} heads with color_similarity 'identity' are one head; use 'learned'"
            )
        shape = (n_heads, length, length)
        if color_similarity == "identity":
            self.interactions = nn.Parameter(torch.zeros(shape))
            self.register_buffer("color_similarity", torch.eye(n_states)[None])
        else:
            scale = (length * n_heads * n_states) ** -0.5
            self.interactions = nn.Parameter(scale * torch.randn(shape, generator=generator))
            self.color_similarity = nn.Parameter(
                torch.randn((n_heads, n_states, n_states), generator=generator)
            )
        if fields == "learned":
            self.fields = nn.Parameter(torch.zeros((length, n_states)))
        else:
            self.register_buffer("fields", torch.zeros((length, n_states)))
        self.register_buffer("off_diagonal", 1.0 - torch.eye(length), persistent=False)

    @property
    def learns_fields(self) -> bool:
        """Whether h is a parameter."""
        return isinstance(self.fields, nn.Parameter)

    @property
    def is_convex(self) -> bool:
        """Whether the training problem is convex: U is fixed."""
        return not isinstance(self.color_similarity, nn.Parameter)

    def forward(self, sequences: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits, shape (n_sequences, length, n_states).

        Parameters
        ----------
        sequences : integer tensor, shape (n_sequences, length)
            States 0..n_states-1.
        mask : bool tensor, shape (n_sequences, length), optional
            Sites whose embedding is zero in every context. Without it every site is predicted with
            that site alone masked.
        """
        n_sequences, length = sequences.shape
        n_heads, n_states, _ = self.color_similarity.shape
        # States come first in memory: reductions over few states are slow side by side, and the
        # gradient of U is a matrix product instead of a scattered sum.
        states = torch.arange(n_states, device=sequences.device)[:, None, None]
        visible = states == sequences.T  # (C, L, M)
        if mask is not None:
            visible = visible & ~mask.T
        one_hot = visible.to(self.interactions.dtype).reshape(n_states, length * n_sequences)
        table = self.color_similarity.transpose(0, 1).reshape(n_states * n_heads, n_states)
        values = (table @ one_hot).reshape(n_states, n_heads * length, n_sequences)
        rows = (self.interactions * self.off_diagonal).transpose(0, 1)  # (L, H, L)
        logits = rows.reshape(length, n_heads * length) @ values  # (C, L, M)
        return (logits + self.fields.T[:, :, None]).permute(2, 1, 0)  # (M, L, C)

    def penalty(self) -> Tensor:
        """Return sum_i sum_{j != i} |P J_ij P|^2_F / (C - 1), without the (L, L, C, C) tensor."""
        n_states = self.color_similarity.shape[-1]
        rows = self.interactions * self.off_diagonal
        similarity = self.color_similarity - self.color_similarity.mean(dim=1, keepdim=True)
        similarity = similarity - similarity.mean(dim=2, keepdim=True)  # P U P
        gram = torch.einsum("hij,gij->hg", rows, rows) * torch.einsum(
            "hab,gab->hg", similarity, similarity
        )
        return gram.sum() / (n_states - 1)

    def implied_couplings(self) -> tuple[NDArray[np.float64], Couplings]:
        """Return (fields, couplings) as float64 arrays: the Potts model of the layer, row-wise."""
        rows = (self.interactions * self.off_diagonal).detach().cpu().double().numpy()
        similarity = self.color_similarity.detach().cpu().double().numpy()
        fields = self.fields.detach().cpu().double().numpy()
        return fields.copy(), Couplings(rows.copy(), similarity.copy())
