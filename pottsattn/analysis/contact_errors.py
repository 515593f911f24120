"""How far contact scores and precisions can be trusted: refits to data drawn anew.

Bootstrap: the fit is repeated on identity clusters drawn with replacement; the spread of the
precision over these replicas is its standard error for the sequences at hand. The structure and
the pairs that count are the same throughout. A replica holds about 63 % of the clusters, so its
mean precision lies somewhat below that of the full data and is not a correction.

Null: the fit is repeated on columns without correlations, so that every score is noise. Left out is
that common descent couples columns too: pairs above the null are coupled, as contacts are, but not
only they.

Source: Efron, Ann. Stat. 7, 1 (1979), the bootstrap; `pottsattn.data.resampling` has both draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress, one_line
from pottsattn._core.validate import (
    ConvergenceWarning,
    check_at_least,
    check_generator,
    check_kind,
)
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.resampling import cluster_bootstrap, uncorrelated_columns
from pottsattn.data.sites import on_sites_of
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.refitting import refit

Array = NDArray[np.float64]


@one_line
@dataclass(frozen=True, eq=False)
class PrecisionErrors:
    """Precisions of refits to bootstrap samples, and their standard deviations."""

    at: dict[str, float]  # "L/2", "L", "2L": standard error of the precision
    area: float  # standard error of the area
    mean_at: dict[str, float]  # means over replicas, which have fewer distinct sequences
    mean_area: float
    curve: Array  # (n_pairs,), standard error of the precision at every rank
    replicas: Array  # (n_replicas, 4), L/2, L, 2L and area of every replica
    converged: bool  # whether every refit converged
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return errors and means as plain values."""
        return {
            "n_replicas": len(self.replicas),
            "precision_error": self.at,
            "area_error": self.area,
            "precision_mean": self.mean_at,
            "area_mean": self.mean_area,
            "converged": self.converged,
        }


@one_line
@dataclass(frozen=True, eq=False)
class NullScores:
    """Scores of fits to columns without correlations."""

    scores: Array  # (n_shuffles, n_pairs), ascending in every row
    converged: bool  # whether every refit converged
    message: str

    @property
    def highest(self) -> float:
        """The highest score of all."""
        return float(self.scores.max())

    def n_expected(self, scores: Array) -> Array:
        """Return how many pairs of one null fit have at least these scores, a mean, same shape."""
        ranks = [np.searchsorted(row, scores, side="left") for row in self.scores]
        return self.scores.shape[1] - np.mean(ranks, axis=0)

    def n_above(self, scores: Array) -> int:
        """Return how many scores are higher than every null score."""
        return int(np.count_nonzero(scores > self.highest))

    def to_dict(self, scores: Array) -> dict[str, Any]:
        """Return as plain values what the null says of these scores."""
        return {
            "n_fits": len(self.scores),
            "highest_score": self.highest,
            "n_above": self.n_above(scores),
            "converged": self.converged,
        }


def bootstrap_precision(
    fit: FitResult,
    dataset: SequenceDataset,
    known: dict[tuple[int, int], float],
    *,
    n_replicas: int = 20,
    cutoff: float = 8.0,
    identity_threshold: float = 0.8,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    **ranking: Any,
) -> PrecisionErrors:
    """Return standard errors of the precision over identity clusters of sequences.

    Parameters
    ----------
    fit
        The fit, whose method, options and penalties are used again. Pseudo-likelihood refits start
        from it and are solved to 1e-3 nats per site.
    dataset
        The data it was fitted to.
    known, cutoff
        As in `ContactRanking.precision`.
    n_replicas
        At least 2; the error itself is known to a share 1 / sqrt(2 (n_replicas - 1)).
    identity_threshold
        Of the clusters, see `pottsattn.data.resampling.cluster_labels`.
    progress
        Called with (replicas done, replicas).
    **ranking
        `min_separation`, `apc`, `with_gap` as in `rank_contacts`.

    Raises
    ------
    InputError
        A wrong option, or data of another size.
    """
    check_at_least("n_replicas", n_replicas, 2)
    dataset = _fitted(fit, dataset)
    samples = cluster_bootstrap(
        dataset, n_replicas, identity_threshold=identity_threshold, rng=check_generator(rng)
    )
    rows, curves = [], []
    names: list[str] = []

    def judge(found: FitResult) -> None:
        precision = rank_contacts(found, **ranking).precision(known, cutoff)
        names[:] = precision.at
        rows.append([*precision.at.values(), precision.area])
        curves.append(precision.curve)

    n_converged = _refit_all(fit, samples, judge, True, n_threads, progress)
    replicas = np.array(rows)
    errors, means = replicas.std(axis=0, ddof=1), replicas.mean(axis=0)
    return PrecisionErrors(
        at=dict(zip(names, errors[:-1].tolist(), strict=True)),
        area=float(errors[-1]),
        mean_at=dict(zip(names, means[:-1].tolist(), strict=True)),
        mean_area=float(means[-1]),
        curve=np.std(curves, axis=0, ddof=1),
        replicas=replicas,
        converged=n_converged == n_replicas,
        message=f"{n_converged} of {n_replicas} refits converged",
    )


def null_scores(
    fit: FitResult,
    dataset: SequenceDataset,
    *,
    n_shuffles: int = 1,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    **ranking: Any,
) -> NullScores:
    """Return the scores of fits to columns without correlations (`uncorrelated_columns`).

    Parameters are those of `bootstrap_precision`; every shuffle is one fit.

    Raises
    ------
    InputError
        A wrong option, or data of another size.
    """
    check_at_least("n_shuffles", n_shuffles, 1)
    streams = check_generator(rng).spawn(n_shuffles)
    dataset = _fitted(fit, dataset)
    samples = [uncorrelated_columns(dataset, stream) for stream in streams]
    scores: list[Array] = []

    def judge(found: FitResult) -> None:
        scores.append(np.sort(rank_contacts(found, **ranking).score))

    n_converged = _refit_all(fit, samples, judge, False, n_threads, progress)
    return NullScores(
        np.array(scores),
        converged=n_converged == n_shuffles,
        message=f"{n_converged} of {n_shuffles} refits converged",
    )


def _fitted(fit: FitResult, dataset: SequenceDataset) -> SequenceDataset:
    """Return data on the columns of the fit, without gaps if it ignores them."""
    check_kind("fit", fit, FitResult, "load one: FitResult.load(path)")
    check_kind("dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, C)")
    return fit.as_seen(on_sites_of(dataset, fit))


def _refit_all(
    fit: FitResult,
    samples: list[SequenceDataset],
    judge: Callable[[FitResult], None],
    from_fit: bool,
    n_threads: int | None,
    progress: Progress | None,
) -> int:
    """Give every refit to `judge` and return how many converged."""
    n_converged = 0
    for done, sample in enumerate(samples, start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told in the result
            found = refit(fit, sample, from_fit=from_fit, n_threads=n_threads)
        if found.interrupted:
            raise KeyboardInterrupt
        n_converged += found.converged
        judge(found)
        if progress is not None:
            progress(done, len(samples))
    return n_converged
