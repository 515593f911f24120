"""What a network takes: integers for sequences, booleans for masks, of its own length."""

from __future__ import annotations

import torch
from torch import Tensor

from pottsattn._core.validate import InputError


def check_batch(sequences: Tensor, mask: Tensor | None, length: int) -> None:
    """Raise unless `sequences` are integers (n_sequences, length) and `mask` booleans like them.

    Raises
    ------
    TypeError
        Other types: `~` turns a mask of integers into other integers, and of floats it fails.
    InputError
        Other shapes: torch would stretch them.
    """
    if sequences.is_floating_point() or sequences.is_complex() or sequences.dtype == torch.bool:
        raise TypeError(f"sequences must be a tensor of integers, got {sequences.dtype}")
    if sequences.ndim != 2 or sequences.shape[1] != length:
        raise InputError(f"sequences must have shape (any, {length}), got {tuple(sequences.shape)}")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be a tensor of booleans, got {mask.dtype}; give mask.bool()")
    if mask.shape != sequences.shape:
        raise InputError(
            f"mask must have the shape {tuple(sequences.shape)} of sequences, "
            f"got {tuple(mask.shape)}"
        )
