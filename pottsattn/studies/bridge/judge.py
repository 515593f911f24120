"""How the fits of `studies.bridge.run` are judged: held-out losses, and where couplings are."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn.analysis.comparison import coupling_error
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import sequence_losses, squared_error
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings, inner_product
from pottsattn.studies.bridge.result import BridgeFit, MaskedFit

Array = NDArray[np.float64]
JUDGED_MASKS = 100_000  # hidden sites of held-out sequences, at least
MAX_PATTERNS = 64
MAX_PAIRS = 20_000


class Judge:
    """What is said of a fit: held-out losses, and where its couplings are."""

    def __init__(self, train: SequenceDataset, test: SequenceDataset, optimum: FitResult) -> None:
        self._train, self._test, self._truth = train, test, train.model
        self._penalty, self._couplings = optimum.penalty, _gauged(optimum)
        self._optimum = optimum
        self._weights = test.normalized_weights
        self.losses = sequence_losses(optimum, test)
        self.bayes_loss = math.nan
        if self._truth is not None:
            self.bayes_loss = float(self._weights @ sequence_losses(self._truth, test))

    def error_of(self, values: Array) -> float:
        """Return the standard error of a weighted mean over held-out sequences."""
        centered = values - self._weights @ values
        return math.sqrt(squared_error(centered, self._weights, self._test.effective_size))

    def fit(self, name: str, fit: FitResult) -> BridgeFit:
        """Return what is said of a fit of the same objective."""
        losses = sequence_losses(fit, self._test)
        distance, _, correlation = self._places(fit)
        return BridgeFit(
            name=name,
            objective=_objective(fit, self._train, self._penalty),
            held_out_loss=float(self._weights @ losses),
            held_out_difference=float(self._weights @ (losses - self.losses)),
            correlation=correlation,
            distance=distance,
            coupling_error=self._error(fit),
            seconds=fit.seconds,
            converged=fit.converged,
            message=fit.message,
        )

    def masked(self, mode: str, fraction: float, fit: FitResult) -> MaskedFit:
        """Return what is said of a fit of masked sequences."""
        losses = sequence_losses(fit, self._test)
        distance, slope, correlation = self._places(fit)
        return MaskedFit(
            mode=mode,
            fraction=fraction,
            held_out_loss=float(self._weights @ losses),
            held_out_difference=float(self._weights @ (losses - self.losses)),
            difference_error=self.error_of(losses - self.losses),
            distance=distance,
            slope=slope,
            correlation=correlation,
            coupling_error=self._error(fit),
            masked_loss=_masked_loss(fit, self._test, fraction),
            masked_loss_at_optimum=_masked_loss(self._optimum, self._test, fraction),
            seconds=fit.seconds,
            converged=fit.converged,
            message=fit.message,
        )

    def _places(self, fit: FitResult) -> tuple[float, float, float]:
        """Return distance, slope and correlation of couplings, on those of the optimum."""
        found, best = _gauged(fit), self._couplings
        own, product, norm = (
            inner_product(*pair) for pair in ((found, found), (found, best), (best, best))
        )
        if min(own, norm) <= 0.0:
            return math.nan, math.nan, math.nan
        distance = math.sqrt(max(0.0, own - 2.0 * product + norm) / norm)
        return distance, product / norm, product / math.sqrt(own * norm)

    def _error(self, fit: FitResult) -> float:
        return math.nan if self._truth is None else coupling_error(fit, self._truth)


def _gauged(fit: FitResult) -> Couplings:
    return fit.couplings.zero_sum(fit.fields)[1]


def _objective(fit: FitResult, train: SequenceDataset, penalty: Penalty) -> float:
    """Return the penalized objective in nats per site, in double precision."""
    couplings = _gauged(fit)
    norm = inner_product(couplings, couplings) / (fit.n_states - 1)
    term = penalty.couplings_l2 * norm + penalty.fields_l2 * float((fit.fields**2).sum())
    return float(train.normalized_weights @ sequence_losses(fit, train)) + term / fit.length


@torch.no_grad()
def _masked_loss(fit: FitResult, test: SequenceDataset, fraction: float) -> float:
    """Return the loss of hidden sites with the rest as context; the masks are always the same."""
    n_heads = fit.couplings.n_heads
    layer = FactoredAttention(fit.length, fit.n_states, n_heads, color_similarity="learned")
    layer.double().set_parameters(fit.fields, fit.couplings)
    objective = Objective(layer, Penalty(0.0, 0.0), n_threads=1)
    wanted = math.ceil(JUDGED_MASKS / (test.n_sequences * fit.length * fraction))
    masking = BoundMasking(
        masks=min(wanted, MAX_PATTERNS),
        mask_fraction=fraction,
        length=fit.length,
        n_states=fit.n_states,
    )
    total = norm = 0.0
    step = max(1, (1 << 21) // (fit.length * fit.n_states * masking.n_masks))
    for start in range(0, test.n_sequences, step):
        part = np.arange(start, min(start + step, test.n_sequences))
        weights = torch.from_numpy(test.normalized_weights[part])
        batch = masking.batch(part, test.sequences[part], weights, 0)
        assert batch.predicted is not None
        total += float(objective.loss(batch))
        norm += float((batch.weights[:, None] * batch.predicted).sum())
    return total / norm if norm > 0.0 else math.nan


def coupling_pairs_of(
    optimum: FitResult, fit: FitResult, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return couplings of both, i != j: A_ij of one head, scaled alike, or J_ij(a, b)."""
    first, second = _gauged(optimum), _gauged(fit)
    off = np.argwhere(~np.eye(optimum.length, dtype=bool))
    if first.n_heads == 1:
        sites = _chosen(len(off), MAX_PAIRS, rng)
        second = second.with_scale_of(first)
        values = [item.factors()[0][0][tuple(off[sites].T)] for item in (first, second)]
        return values[0], values[1]
    sites = _chosen(len(off), max(1, MAX_PAIRS // optimum.n_states**2), rng)
    blocks = [np.stack([item.row(i)[j] for i, j in off[sites]]).ravel() for item in (first, second)]
    return blocks[0], blocks[1]


def _chosen(count: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(count)[:most])
