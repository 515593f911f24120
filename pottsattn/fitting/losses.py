"""Losses in nats per site: of sequences, of sites, and their mean with its error."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.model.couplings import LOGITS_BLOCK, Couplings, sequence_blocks
from pottsattn.model.potts import log_softmax, own_log_p

Array = NDArray[np.float64]


class Predictor(Protocol):
    """Anything with conditionals: a model, a fit."""

    def log_conditionals(self, sequences: ArrayLike) -> Array:
        """Return log P(s_i = a | s_-i), shape (n_sequences, length, n_states)."""
        ...


def sequence_losses(predictor: Predictor, dataset: SequenceDataset) -> Array:
    """Return the loss of every sequence, mean over its sites, nats, shape (n_sequences,).

    Ignored gaps are left out of the mean.
    """
    losses = np.empty(dataset.n_sequences)
    for block in sequence_blocks(dataset.n_sequences, dataset.length * dataset.n_states):
        part = dataset.sequences[block]
        own = own_log_p(predictor.log_conditionals(part), part)
        n_seen = (part < dataset.n_states).sum(axis=1)
        losses[block] = -own.sum(axis=1) / np.maximum(n_seen, 1)
    return losses


def squared_error(deviations: Array, weights: Array, effective_size: float) -> Array:
    """Return the squared standard error of weighted means over sequences.

    Weights, of sum 1, tell how many independent sequences there are, M_eff: copies that share one
    add nothing.

    Parameters
    ----------
    deviations : shape (..., n_sequences)
        Of the values from their weighted mean.
    """
    error: Array = deviations**2 @ weights / effective_size
    return error


def mean_and_error(losses: Array, dataset: SequenceDataset) -> tuple[float, float]:
    """Return the weighted mean of losses of sequences and its standard error.

    With weights the error is on the safe side: relatives count as one, and know more together.
    """
    weights = dataset.normalized_weights
    # A sequence counts by the sites that it shows: all of them, unless gaps are ignored.
    seen = (dataset.sequences < dataset.n_states).mean(axis=1) / dataset.observed_share
    mean = float((weights * seen) @ losses)
    deviations = seen * (losses - mean)
    return mean, float(np.sqrt(squared_error(deviations, weights, dataset.effective_size)))


def site_losses(fields: Array, couplings: Couplings, dataset: SequenceDataset) -> Array:
    """Return the weighted mean of -log P(s_i | s_-i) for every site, shape (length,), nats.

    Over all sequences; ignored gaps add nothing.
    """
    weights = dataset.normalized_weights
    losses = np.zeros(dataset.length)
    for block in sequence_blocks(dataset.n_sequences, dataset.length * dataset.n_states):
        states = dataset.sequences[block]
        log_p = log_softmax(couplings.logits(states) + fields)
        losses -= weights[block] @ own_log_p(log_p, states)
    return losses


def losses_bytes(length: int, n_states: int, n_sequences: int) -> int:
    """Return the bytes that `site_losses` takes: logits of a block, their sum and their softmax."""
    return 3 * 8 * min(LOGITS_BLOCK, n_sequences * length * n_states)
