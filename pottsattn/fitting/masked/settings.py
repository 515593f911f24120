"""What a masked training is told: the network, and what is masked. Free of torch.

How it is trained is a `Recipe` (pottsattn.training.recipe).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_positive,
)
from pottsattn.fitting.methods import COLOR_SIMILARITIES, FIELDS, check_heads

ATTENTIONS = ("free", "softmax")
VARIANTS = ("vanilla", "positional", "content", "linear")
MASK_MODES = ("fresh", "static")
HIDDEN_AS = {  # shares of hidden sites that show nothing, a random state, their own state
    "dropped": (1.0, 0.0, 0.0),
    "replaced": (0.0, 1.0, 0.0),
    "bert": (0.8, 0.1, 0.1),
}


@dataclass(frozen=True)
class AttentionConfig:
    """Arguments of `FactoredAttention` beside the sizes of the data.

    Parameters
    ----------
    n_heads
        H.
    attention
        "free": A of either sign. "softmax": rows of A are positive and sum to 1.
    head_dimension
        Dimension d of queries and keys; the (L, L) numbers themselves are learned if left out.
    color_similarity
        "identity": U = I, fixed (one head only). "learned": U is a parameter. An array of shape
        (n_heads, n_states, n_states): fixed at these values.
    fields
        "learned" or "none".
    symmetric
        J_ij(a, b) = J_ji(b, a): A and U are replaced by their symmetric parts.

    Raises
    ------
    InputError
        Unknown option, or several heads with the identity: they would be one head.
    """

    n_heads: int = 1
    attention: str = "free"
    head_dimension: int | None = None
    color_similarity: str | ArrayLike = "identity"
    fields: str = "learned"
    symmetric: bool = False

    def __post_init__(self) -> None:
        is_named = isinstance(self.color_similarity, str)
        check_heads(self.n_heads, str(self.color_similarity) if is_named else "learned")
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("fields", self.fields, FIELDS)
        if self.head_dimension is not None:
            check_at_least("head_dimension", self.head_dimension, 1)

    @classmethod
    def of_record(cls, config: Mapping[str, Any]) -> AttentionConfig:
        """Return the layer of a fit by its `config`; InputError if U was given as an array."""
        if config["color_similarity"] not in COLOR_SIMILARITIES:
            raise InputError(
                "a fit whose color similarity was given cannot be repeated from its file"
            )
        names = ("attention", "head_dimension", "color_similarity", "fields", "symmetric")
        return cls(config["heads"], **{name: config[name] for name in names if name in config})


@dataclass(frozen=True)
class TransformerConfig:
    """Arguments of `MaskedTransformer` beside the sizes of the data.

    Raises
    ------
    InputError
        Unknown variant, or a width that the heads cannot share.
    """

    n_layers: int = 1
    n_heads: int = 1
    width: int = 64
    feedforward_width: int | None = None
    variant: str = "vanilla"

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_heads", "width"):
            check_at_least(name, getattr(self, name), 1)
        if self.feedforward_width is not None:
            check_at_least("feedforward_width", self.feedforward_width, 1)
        check_choice("variant", self.variant, VARIANTS)
        if self.width % self.n_heads:
            raise InputError(
                f"width must be a multiple of n_heads {self.n_heads}, got {self.width}"
            )


@dataclass(frozen=True)
class Masking:
    """What is hidden from a network, for data of any size.

    Parameters
    ----------
    masks
        K. Without `mask_fraction` the one-site masks of a sequence and visit, all L sites if left
        out (one for a transformer); with it the patterns of a sequence and visit, 1 if left out.
    mask_fraction
        r, inside (0, 1): the probability of a site to be hidden. None: one-site masks.
    mask_mode
        "fresh": new masks at every visit of a sequence; "static": drawn once and kept.
    hidden_as
        What hidden sites show. "dropped": nothing (a zero embedding, or the mask token of a
        transformer); "replaced": a random state; "bert": 80 % nothing, 10 % a random state, 10 %
        their own, as in Devlin et al. (2019), arXiv:1810.04805.

    Raises
    ------
    InputError
        A value out of range.
    """

    masks: int | None = None
    mask_fraction: float | None = None
    mask_mode: str = "fresh"
    hidden_as: str = "dropped"

    def __post_init__(self) -> None:
        check_choice("mask_mode", self.mask_mode, MASK_MODES)
        check_choice("hidden_as", self.hidden_as, tuple(HIDDEN_AS))
        if self.masks is not None:
            check_at_least("masks", self.masks, 1)
        if self.mask_fraction is None:
            if self.hidden_as != "dropped":
                raise InputError(
                    f"hidden_as {self.hidden_as!r} needs a mask_fraction: with one-site masks "
                    "every other site shows its own state"
                )
        elif check_positive("mask_fraction", self.mask_fraction) >= 1.0:
            raise InputError(
                f"mask_fraction must be below 1, got {self.mask_fraction}: nothing would be seen"
            )
