"""The share of right answers with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError


@dataclass(frozen=True)
class Accuracy:
    """The share of right answers among `n_samples`, and its binomial standard error."""

    value: float
    error: float
    n_samples: int

    def __repr__(self) -> str:
        return f"Accuracy({self.value:.4f} +- {self.error:.4f}, n_samples={self.n_samples})"


def accuracy(predicted: NDArray[Any], labels: NDArray[Any]) -> Accuracy:
    """Return the share of `predicted` that equals `labels`, both shape (n_samples,).

    The error is that of the share after one right and one wrong answer more, so that it stays
    above 0 when all answers are right.
    """
    if predicted.shape != labels.shape or predicted.ndim != 1 or len(labels) == 0:
        raise InputError(
            f"predicted and labels must have the same shape (n_samples,), "
            f"got {predicted.shape} and {labels.shape}"
        )
    n_samples, n_right = len(labels), int(np.count_nonzero(predicted == labels))
    share = (n_right + 1) / (n_samples + 2)
    error = math.sqrt(share * (1.0 - share) / n_samples)
    return Accuracy(n_right / n_samples, error, n_samples)
