"""Whether chains agree: split-R-hat, plain and by ranks, and what chance alone makes of it.

Every chain is cut in two, which gives m halves of n samples. Of m halves that sample one normal
distribution independently, n times the variance of the means over the mean variance within is
Fisher's F with m - 1 and m (n - 1) degrees of freedom, so

    R^2 = (n - 1) / n + F / n

is known as a distribution, for any m and n (one-way analysis of variance; Gelman and Rubin,
Statistical Science 7, 457, 1992). `r_hat_bound` is a quantile of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError

Array = NDArray[np.float64]
Trace = NDArray[np.floating[Any]]
MIN_SAMPLES = 4
DISAGREEMENT = 1.1  # of split-R-hat: means of halves spread by 0.45 of the deviation within
FALSE_ALARM = 1e-4  # of chains as good as `r_hat_bound` allows for, per number that is judged
SHARE_OF_TIME = 0.2  # of a half: chains are ten autocorrelation times long
FEWEST_OF_ONE, FEWEST_TO_SPARE = 20, 4  # samples, chains; see `is_more_than_one`
MOST_RANKED = 1 << 17  # values of a trace that are ranked: ranks of all would take much memory


def check_trace(name: str, trace: Trace) -> Trace:
    """Return an array of shape (n_samples, n_chains) of finite real numbers, or raise."""
    array = np.asarray(trace)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} must be real numbers of shape (n_samples, n_chains) with at least one chain, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise InputError(f"{name} must be finite, found NaN or infinity")
    return array


def varies(trace: Trace) -> bool:
    """Return whether not all values are the same."""
    return bool(trace.size and np.ptp(trace) != 0.0)


def split_r_hat(trace: Trace) -> float:
    """Return split-R-hat: near 1 when halves of chains agree, above `r_hat_bound` when not.

    NaN for fewer than 4 samples per chain; 1 for a constant trace; infinite for constant halves
    that differ.

    References
    ----------
    Gelman et al., Bayesian Data Analysis (3rd ed.), section 11.4.
    """
    trace = check_trace("trace", trace)
    half = len(trace) // 2
    if len(trace) < MIN_SAMPLES:
        return float("nan")
    if not varies(trace):
        return 1.0
    halves = (trace[:half], trace[-half:])
    means = np.concatenate([part.mean(axis=0, dtype=np.float64) for part in halves])
    within = np.mean([part.var(axis=0, ddof=1, dtype=np.float64) for part in halves])
    between = half * means.var(ddof=1)
    if within == 0.0:
        return float("inf")
    return float(np.sqrt((half - 1) / half + between / (half * within)))


def rank_r_hat(trace: Trace) -> float:
    """Return split-R-hat of the ranks, of the values or of their distances to the median.

    Values are replaced by normal scores of their ranks, so that heavy tails neither hide a
    difference nor make one; the distances see chains of one median and several widths. The larger
    one is returned; NaN, 1 and infinity are as in `split_r_hat`. Of long traces rounds are left
    out, evenly, so that some 2^17 values are ranked.

    References
    ----------
    Vehtari et al., Bayesian Analysis 16, 667 (2021), sections 4.1 and 4.2.
    """
    trace = check_trace("trace", trace)
    if len(trace) < MIN_SAMPLES or not varies(trace):
        return split_r_hat(trace)
    n_rounds = max(MIN_SAMPLES, MOST_RANKED // trace.shape[1])
    every = max(1, len(trace) // n_rounds)
    chains = slice(None, None, -(-trace.shape[1] * MIN_SAMPLES // MOST_RANKED))
    ranked = trace[(len(trace) - 1) % every :: every, chains]
    distances = np.abs(ranked - np.median(ranked))
    return max(split_r_hat(_normal_scores(one)) for one in (ranked, distances))


def r_hat_bound(n_samples: int, n_chains: int) -> float:
    """Return the largest split-R-hat that does not speak of chains that disagree.

    It is 1.1, or what chance makes of chains that agree where that is more: the quantile
    1 - 1e-4 of R^2 = (n - 1) / n + (1 / n + 1 / 5) F for halves of n samples. The 1 / 5 is for
    chains of ten autocorrelation times, what `diagnose` asks for: the means of their halves vary
    by a fifth of the variance. NaN for fewer than 4 samples per chain.
    """
    half, n_halves = n_samples // 2, 2 * n_chains
    if n_samples < MIN_SAMPLES:
        return float("nan")
    from scipy.special import fdtri

    ratio = float(fdtri(n_halves - 1, n_halves * (half - 1), 1.0 - FALSE_ALARM))
    chance = np.sqrt((half - 1) / half + (1.0 / half + SHARE_OF_TIME) * ratio)
    return float(max(DISAGREEMENT, chance))


def is_more_than_one(trace: Trace) -> bool:
    """Return whether a disagreement of chains is more than one chain of few samples.

    Two rare events in one half look like a chain that sits elsewhere, and chance is not normal
    with so few samples. So of chains with fewer than 20 samples at least two must disagree with
    the rest. Of fewer than 4 chains none can be spared.
    """
    n_samples, n_chains = trace.shape
    if n_samples >= FEWEST_OF_ONE or n_chains < FEWEST_TO_SPARE:
        return True
    means = trace.mean(axis=0, dtype=np.float64)
    farthest = int(np.argmax(np.abs(means - np.median(means))))
    rest = np.delete(trace, farthest, axis=1)
    return max(split_r_hat(rest), rank_r_hat(rest)) > r_hat_bound(*rest.shape)


def z_of_t(t: float, freedom: float) -> float:
    """Return the z that has the tail probability of Student's t."""
    from scipy.special import ndtri, stdtr

    tail = stdtr(freedom, -abs(t))
    return float(np.copysign(-ndtri(tail) if tail > 0.0 else abs(t), t))


def _normal_scores(values: Trace) -> Array:
    from scipy.special import ndtri

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0  # of equal values the mean of their ranks
    scores: Array = ndtri((ranks - 0.375) / (values.size + 0.25))
    return scores[inverse].reshape(values.shape)
