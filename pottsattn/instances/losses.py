"""What student and teacher are compared by: BYOL's distance, or InfoNCE among the batch.

With q and k the normalized prediction of the student and projection of the teacher,

    byol = mean_b |q_b - k_b|^2 = mean_b (2 - 2 q_b.k_b),
    infonce = -2 T mean_b log( exp(q_b.k_b / T) / sum_c exp(q_b.k_c / T) ),

averaged over masks. The factor 2 T is that of the published code.

References: Grill et al., Advances in Neural Information Processing Systems 33 (2020); van den Oord,
Li, Vinyals, arXiv:1807.03748; Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def byol(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance of directions.

    Parameters
    ----------
    predictions
        Of the student, shape (masks, B, size).
    targets
        Of the teacher, shape (B, size), without gradient.
    """
    cosines = functional.cosine_similarity(predictions, targets[None], dim=-1)  # (masks, B)
    return 2.0 - 2.0 * cosines.mean()


def infonce(predictions: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss, in which the other instances of the batch are the negatives.

    Parameters
    ----------
    predictions, targets
        As for `byol`.
    temperature
        T, above 0.
    """
    predictions = functional.normalize(predictions, dim=-1)
    targets = functional.normalize(targets, dim=-1)
    logits = predictions @ targets.mT / temperature  # (masks, B, B)
    own = torch.arange(len(targets), device=targets.device).expand(len(logits), -1)
    return 2.0 * temperature * functional.cross_entropy(logits.flatten(0, 1), own.flatten())
