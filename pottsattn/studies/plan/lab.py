"""Fits to some parts of the data, judged on the others: what `planning` learns from.

The data are cut into four parts (whole clusters of an alignment). Losses are taken relative to how
hard a part is by fields alone, so that parts are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.resampling import split
from pottsattn.fitting.losses import squared_error
from pottsattn.fitting.penalty import Ridge
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.studies.plan.result import MeasuredFit

Array = NDArray[np.float64]
N_PARTS = 4


def cut(
    dataset: SequenceDataset, identity_threshold: float, rng: np.random.Generator
) -> list[SequenceDataset]:
    """Return four parts of about equal size."""

    def halves(whole: SequenceDataset) -> tuple[SequenceDataset, SequenceDataset]:
        return split(whole, 0.5, rng=rng, identity_threshold=identity_threshold)

    first, second = halves(dataset)
    return [*halves(first), *halves(second)]


class Lab:
    """Fits to some parts and judges on the others.

    Parameters
    ----------
    dataset, parts
        The whole and its parts.
    fields, fields_l2, n_threads
        As in `fit_pseudolikelihood`.
    n_fits, progress
        `progress` is called with (fits done, `n_fits`).
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        parts: list[SequenceDataset],
        fields: str,
        fields_l2: float,
        n_threads: int | None,
        n_fits: int,
        progress: Progress | None,
    ) -> None:
        self.dataset, self.parts = dataset, parts
        self._fields_l2 = fields_l2
        self._fitted = partial(fit_pseudolikelihood, fields=fields, n_threads=n_threads)
        self._progress = progress
        self._n_done, self._n_all = 0, n_fits
        self._n_failed = 0
        self.learns_fields = fields == "learned"
        self.entropies = np.full(dataset.length, math.log(dataset.n_states))
        if self.learns_fields:
            frequencies = dataset.site_frequencies()
            self._log_frequencies = np.log(np.where(frequencies > 0.0, frequencies, 1.0))
            self.entropies = -(frequencies * self._log_frequencies).sum(axis=1)
        self.baseline = float(self.entropies.mean())

    @property
    def converged(self) -> bool:
        """Whether all fits so far did."""
        return self._n_failed == 0

    @property
    def message(self) -> str:
        """How many fits failed."""
        return "converged" if self.converged else f"{self._n_failed} fits did not converge"

    def skip(self, n_fits: int) -> None:
        """Count fits that are not needed as done."""
        self._n_done += n_fits
        if self._progress is not None:
            self._progress(self._n_done, self._n_all)

    def fits(
        self, method: str, ridge: float, trained_on: Sequence[tuple[int, ...]]
    ) -> list[MeasuredFit]:
        """Return the mean over the fits to so many parts, for each number of them."""
        rows: dict[int, list[MeasuredFit]] = {}
        for chosen in trained_on:
            rows.setdefault(len(chosen), []).append(self._fit(method, ridge, chosen))
            self.skip(1)
        return [_mean(found) for found in rows.values()]

    def _fit(self, method: str, ridge: float, chosen: tuple[int, ...]) -> MeasuredFit:
        train = _joined(self.dataset, [self.parts[k] for k in chosen])
        rest = _joined(self.dataset, [p for k, p in enumerate(self.parts) if k not in chosen])
        fit = self._fitted(train, method, penalty=Ridge(ridge, self._fields_l2))
        if fit.interrupted:
            raise KeyboardInterrupt
        self._n_failed += not fit.converged
        log_p = fit.log_conditionals(rest.sequences)
        own = np.take_along_axis(log_p, rest.sequences[:, :, None].astype(np.intp), axis=2)
        losses = -own[:, :, 0].mean(axis=1) - self._hardness(rest)
        weights = rest.normalized_weights
        loss = float(weights @ losses)
        return MeasuredFit(
            n_parts=len(chosen),
            n_sequences=train.n_sequences,
            effective_size=train.effective_size,
            alpha=train.alpha,
            ridge=ridge,
            test_loss=loss,
            test_loss_error=math.sqrt(squared_error(losses - loss, weights, rest.effective_size)),
            train_loss=fit.train_loss - float(train.normalized_weights @ self._hardness(train)),
        )

    def _hardness(self, part: SequenceDataset) -> Array:
        """Return by how much sequences are harder than the data as a whole, by fields alone.

        Taken off the losses, it makes parts comparable: some hold harder sequences than others.
        """
        if not self.learns_fields:
            return np.zeros(part.n_sequences)
        sites = np.arange(part.length)
        hardness: Array = -self._log_frequencies[sites, part.sequences].mean(axis=1)
        return hardness - self.baseline


def _joined(dataset: SequenceDataset, parts: list[SequenceDataset]) -> SequenceDataset:
    weights = None
    if dataset.weights is not None:
        weights = np.concatenate([part.weights for part in parts if part.weights is not None])
    sequences = np.concatenate([part.sequences for part in parts])
    return replace(dataset, sequences=sequences, weights=weights, names=())


def _mean(fits: list[MeasuredFit]) -> MeasuredFit:
    def of(name: str) -> float:
        return float(np.mean([getattr(fit, name) for fit in fits]))

    return MeasuredFit(
        n_parts=fits[0].n_parts,
        n_sequences=round(of("n_sequences")),
        effective_size=of("effective_size"),
        alpha=of("alpha"),
        ridge=fits[0].ridge,
        test_loss=of("test_loss"),
        test_loss_error=of("test_loss_error") / math.sqrt(len(fits)),
        train_loss=of("train_loss"),
    )
