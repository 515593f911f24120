"""Fits made by hand, for tests of what reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.record import History
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings


def make_fit(couplings: Couplings, fields: Any = None, **changes: Any) -> FitResult:
    """Return a converged fit with these parameters; `changes` replace attributes."""
    attributes: dict[str, Any] = {
        "method": "plm",
        "fields": np.zeros((couplings.length, couplings.n_states)) if fields is None else fields,
        "couplings": couplings,
        "n_sequences": 100,
        "effective_size": 100.0,
        "objective": 3.0,
        "train_loss": 0.9,
        "penalty": Penalty(0.01, 0.01),
        "gradient_norm": 1e-6,
        "optimality_gap": 1e-9,
        "n_evaluations": 20,
        "n_parameters": 144,
        "seconds": 0.5,
        "converged": True,
        "message": "every site converged",
    }
    return FitResult(**{**attributes, **changes})


def make_history(n_entries: int = 5) -> History:
    """Return the losses of a training without test data."""
    epochs = np.arange(n_entries, dtype=float)
    losses = 1.0 + 1.0 / (1.0 + epochs)
    unknown = np.full(n_entries, np.nan)
    return History(epochs, losses + 0.01, losses, unknown, losses + 0.1, 0.01 * epochs)
