"""How good a set of chains is: autocorrelation time, effective sample size, split-R-hat.

All take a trace of shape (n_samples, n_chains), such as the energy of the kept samples. Estimates
that the trace is too short for are NaN, never an exception.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["autocorrelation_time", "split_r_hat"]

Array = NDArray[np.float64]
WINDOW = 5.0  # the sum is cut at the first lag above WINDOW times the time itself
MIN_SAMPLES = 4


def autocorrelation_time(trace: Array) -> float:
    """Return tau = 1 + 2 sum_t rho(t), in units of the spacing of the trace.

    The autocorrelation functions of the chains are averaged, with one mean over all chains, before
    they are summed (Sokal's window). NaN for fewer than 4 samples per chain, or a constant trace.

    References
    ----------
    Sokal, Monte Carlo methods in statistical mechanics (1996), section 3.
    """
    n_samples = trace.shape[0]
    if n_samples < MIN_SAMPLES or np.ptp(trace) == 0.0:
        return float("nan")
    centered = trace - trace.mean()
    padded = 1 << (2 * n_samples - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centered, n=padded, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum.mean(axis=1), n=padded)[:n_samples]
    covariance /= n_samples - np.arange(n_samples)  # unbiased: short traces otherwise look good
    times = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
    inside = np.arange(n_samples) >= WINDOW * times
    window = int(np.argmax(inside)) if inside.any() else n_samples - 1
    return float(max(times[window], 1.0))


def split_r_hat(trace: Array) -> float:
    """Return split-R-hat: 1 when halves of chains agree, above about 1.01 when they do not.

    NaN for fewer than 4 samples per chain; 1 for a constant trace.

    References
    ----------
    Gelman et al., Bayesian Data Analysis (3rd ed.), section 11.4.
    """
    half = trace.shape[0] // 2
    if trace.shape[0] < MIN_SAMPLES:
        return float("nan")
    if np.ptp(trace) == 0.0:
        return 1.0
    halves = np.concatenate([trace[:half], trace[-half:]], axis=1)
    within = halves.var(axis=0, ddof=1).mean()
    between = half * halves.mean(axis=0).var(ddof=1)
    if within == 0.0:
        return float("inf")
    return float(np.sqrt((half - 1) / half + between / (half * within)))
