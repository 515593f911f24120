"""How good a set of chains is: autocorrelation time, agreement, warm-up, two kinds of starts.

All take a trace of shape (n_samples, n_chains), float32 or float64, such as the energy of the kept
samples. Estimates that the trace is too short for are NaN or flagged, never an exception.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pottsattn._core.validate import InputError, check_array, check_choice
from pottsattn.sampling.agreement import (
    MIN_SAMPLES,
    Array,
    Trace,
    check_trace,
    is_more_than_one,
    r_hat_bound,
    rank_r_hat,
    split_r_hat,
    varies,
    z_of_t,
)

WINDOW = 5.0  # the sum is cut at the first lag above WINDOW times the time itself
FEWEST_EFFECTIVE = 200.0  # see `diagnose`
VALUES_PER_BLOCK = 1 << 15  # transformed at a time, or one chain if that is more
CRITERIA = ("mser", "effective-size")
MAX_CUTS, MAX_BATCHES = 100, 1000  # of "effective-size", with Fourier transforms for each cut
LARGEST_Z, LARGEST_DRIFT = 4.0, 3.0  # of two kinds of starts, of halves after the warm-up


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """How well a set of chains sampled one observable.

    Attributes
    ----------
    autocorrelation_time : float
        1 + 2 sum rho, in sweeps, and no less than the spacing, below which nothing is seen. NaN
        for fewer than 4 samples per chain, or a constant trace.
    ess : float
        Effective number of independent samples, at most the number of samples; NaN with the time.
    split_r_hat, rank_r_hat : float
        Near 1 when halves of chains agree; of the values and of their ranks.
    r_hat_bound : float
        The most that either may be, by the number of chains and of samples.
    disagrees : bool
        Whether one is above it, and not for a single chain of fewer than 20 samples.
    is_long_enough : bool
        Whether the time, and `ess` with it, can be believed (`diagnose` states the criterion).
    is_lower_bound : bool
        Whether the time is only known to be at least so long, and `ess` at most so large: the
        sum was cut at half of the trace, or the chains disagree.
    """

    autocorrelation_time: float
    ess: float
    split_r_hat: float
    rank_r_hat: float
    r_hat_bound: float
    disagrees: bool
    is_long_enough: bool
    is_lower_bound: bool

    @property
    def disagreement(self) -> str:
        """How far the chains disagree, in words."""
        kind = "" if self.split_r_hat > self.r_hat_bound else "rank-normalized "
        largest = max(self.split_r_hat, self.rank_r_hat)
        return f"{kind}split-R-hat {largest:.2f} (at most {self.r_hat_bound:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return asdict(self)

    def __repr__(self) -> str:
        return (
            f"Diagnosis(ess={self.ess:.0f}, split_r_hat={self.split_r_hat:.3f}, "
            f"tau={self.autocorrelation_time:.3g} sweeps"
            f"{'' if self.is_long_enough else ', too short to be sure'})"
        )


@dataclass(frozen=True)
class WarmupSuggestion:
    """How many sweeps of a trace to discard.

    Attributes
    ----------
    n_sweeps : int
        Sweep number of the first frame to keep.
    criterion : str
        The criterion that chose it, one of `CRITERIA`.
    is_sufficient : bool
        Whether what is left is stationary, as far as its length can tell.
    message : str
        The same in words.
    """

    n_sweeps: int
    criterion: str
    is_sufficient: bool
    message: str


@dataclass(frozen=True)
class TwoStartCheck:
    """Whether chains from two kinds of starts sample the same distribution.

    Attributes
    ----------
    z : float
        Difference of the means in standard errors, first minus second; infinite when the two
        groups differ and neither varies between its chains, NaN with fewer than 2 chains in one.
    is_met : bool
        Whether abs(z) < 4.
    message : str
        The same in words.
    """

    z: float
    is_met: bool
    message: str


def autocorrelation_function(trace: Trace) -> Array:
    """Return rho(t) of shape (n_samples,), 1 at lag 0: the mean over chains of autocovariances.

    One mean over all chains is subtracted: with a mean for each, chains that are stuck at
    different values would look as if they mixed. NaN for a constant trace.
    """
    trace = check_trace("trace", trace)
    if not varies(trace):
        return np.full(len(trace), np.nan)
    return _autocorrelation(trace)


def autocorrelation_time(trace: Trace) -> float:
    """Return tau = 1 + 2 sum_t rho(t), in units of the spacing of the trace.

    The autocorrelation functions of the chains are averaged before they are summed, up to Sokal's
    window of 5 tau, or to half of a trace that is too short for it: beyond, the subtracted mean
    makes a drift look anti-correlated. NaN for fewer than 4 samples per chain, or a constant trace.

    The time is at least 1. Lost is the gain of anti-correlated samples (tau < 1): their mean is
    known better than the effective size says.

    References
    ----------
    Sokal, Monte Carlo methods in statistical mechanics (1996), section 3.
    """
    return _integrate(check_trace("trace", trace))[0]


def diagnose(trace: Trace, spacing: float) -> Diagnosis:
    """Return the diagnosis of a trace whose samples are `spacing` sweeps apart.

    The estimate of tau counts as long enough when

    1. Sokal's window closes within half of the trace, so each chain is 10 tau long. More chains do
       not make up for it: they share a drift, and one over the whole trace lasts to its end;
    2. all chains together are 200 tau long: the relative error of tau is about sqrt(20 / ess)
       (Madras and Sokal, J. Stat. Phys. 50, 109, 1988), here a third.

    emcee asks for 50 tau of the mean over its walkers; here 64 chains of 15 samples with tau near
    1 pass, and one chain of 50 tau does not. What differs between chains for good, if it holds
    less than a tenth of the variance, lets the window close; so chains that disagree by split-R-hat
    are never long enough.
    """
    trace = check_trace("trace", trace)
    tau, closed = _integrate(trace)
    ess = trace.size / tau
    plain, ranked, bound = split_r_hat(trace), rank_r_hat(trace), r_hat_bound(*trace.shape)
    disagrees = max(plain, ranked) > bound and is_more_than_one(trace)
    return Diagnosis(
        autocorrelation_time=spacing * tau,
        ess=ess,
        split_r_hat=plain,
        rank_r_hat=ranked,
        r_hat_bound=bound,
        disagrees=disagrees,
        is_long_enough=closed and ess >= FEWEST_EFFECTIVE and not disagrees,
        is_lower_bound=disagrees or not closed,
    )


def suggest_warmup(times: ArrayLike, trace: Trace, criterion: str = "mser") -> WarmupSuggestion:
    """Return how many sweeps to discard, from a trace recorded from the start on.

    The mean over chains is cut at the frame where what is left of it has the smallest standard
    error: its first frames are kept only if they make the mean better known. Only frames of the
    first half of the sweeps may go. Frames count alike, also where they are not evenly spaced.

    Parameters
    ----------
    times
        Sweep numbers, shape (n,), increasing.
    trace
        Shape (n, n_chains), with the warm-up.
    criterion
        "mser" takes frames as independent: the squared error is var / n (White). "effective-size"
        takes var tau / n, with tau of the chains: most independent samples, each with the variance
        of the equilibrium (Chodera); it discards more. As published it is n / tau, each with the
        variance of what is left, and a few wild first frames raise that number (pymbar#283).

    Notes
    -----
    The suggestion is sufficient when the cut is not the last one allowed, and what is left is 10
    autocorrelation times of the chains long, and its two halves agree: abs(z) < 3 from the spread
    between chains. With one chain only its length can tell a late step or a drift.

    References
    ----------
    White, Simulation 69, 323 (1997); Chodera, J. Chem. Theory Comput. 12, 1799 (2016).

    Examples
    --------
    >>> import numpy as np
    >>> trace = np.random.default_rng(0).normal(size=(100, 8))
    >>> trace[:10] += 5.0
    >>> suggest_warmup(10 * np.arange(100), trace).n_sweeps
    100
    """
    check_choice("criterion", criterion, CRITERIA)
    trace = check_trace("trace", trace)
    times = check_array("times", times, (len(trace),))
    if np.any(np.diff(times) <= 0.0):
        raise InputError("times must increase")
    n_frames = len(trace)
    middle = (times[0] + times[-1]) / 2.0 if n_frames else 0.0
    last = min(int(np.searchsorted(times, middle, side="right")) - 1, n_frames - MIN_SAMPLES)

    def suggest(cut: int, is_sufficient: bool, message: str) -> WarmupSuggestion:
        n_sweeps = int(np.ceil(times[cut])) if n_frames else 0
        return WarmupSuggestion(n_sweeps, criterion, is_sufficient, f"{criterion}: {message}")

    if n_frames < 2 * MIN_SAMPLES or last < 1:
        return suggest(
            n_frames // 2,
            False,
            f"{n_frames} frames, {max(last, 0)} of them to be discarded at most, are too few to "
            "judge; record more often or longer",
        )
    if not varies(trace):
        return suggest(0, True, "the trace is constant: nothing to discard, and nothing to judge")
    cut = _best_cut(trace, last, criterion)
    where = f"sweep {times[cut]:g} of {times[-1]:g}"
    if cut == last:
        return suggest(
            cut,
            False,
            f"the trace never settled: it is best cut at {where}, the latest allowed; run longer",
        )
    left = trace[cut:]
    half = len(left) // 2
    early, late = (part.mean(axis=0, dtype=np.float64) for part in (left[:half], left[-half:]))
    z = _welch(late - early, np.zeros(2)) if len(early) > 1 else 0.0
    if abs(z) >= LARGEST_DRIFT:
        return suggest(
            cut, False, f"the trace still drifts from {where} on (z = {z:.1f}); run longer"
        )
    if varies(left) and not _integrate(left)[1]:
        return suggest(
            cut,
            False,
            f"the trace from {where} on is too short to tell whether it settled: less than "
            f"{2 * WINDOW:g} autocorrelation times; run longer",
        )
    return suggest(cut, True, f"the trace settled by {where}")


def two_start_check(first: Trace, second: Trace) -> TwoStartCheck:
    """Return whether chains from two kinds of starts, such as random and ordered, agree.

    Errors come from the spread of the chain means within each group (Welch), so autocorrelation
    does not matter. Welch's t is given as the z of the same tail probability, so that for groups
    of one size 4 is a false alarm in some 15,000, or rarer, for any number of chains. Uneven small
    groups raise more: 8 against 64 chains one in 3,000, 3 against 24 one in 200.

    Chains stuck far apart within a group make it pass: look at `split_r_hat`, too.

    Parameters
    ----------
    first, second
        Traces of shape (n, K1) and (n, K2) after warm-up, K1 and K2 at least 2.
    """
    first, second = check_trace("first", first), check_trace("second", second)
    if not (first.size and second.size) or min(first.shape[1], second.shape[1]) < 2:
        return TwoStartCheck(
            float("nan"), False, "each kind of start needs 2 chains and a sample of each"
        )
    z = _welch(*(trace.mean(axis=0, dtype=np.float64) for trace in (first, second)))
    is_met = abs(z) < LARGEST_Z
    return TwoStartCheck(
        z,
        is_met,
        f"the two kinds of starts {'agree' if is_met else 'disagree'}: z = {z:.2f}, and "
        f"|z| < {LARGEST_Z:g} is asked for",
    )


def _autocorrelation(trace: Trace) -> Array:
    n_samples, n_chains = trace.shape
    mean = trace.mean(dtype=np.float64)
    step = max(1, VALUES_PER_BLOCK // n_samples)
    power = np.zeros(n_samples + 1)
    for first in range(0, n_chains, step):
        block = trace[:, first : first + step].T.astype(np.float64, order="C") - mean
        spectrum = np.fft.rfft(block, n=2 * n_samples, axis=1)  # padded: lags do not wrap
        power += (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    covariance: Array = np.fft.irfft(power, n=2 * n_samples)[:n_samples]
    covariance /= n_samples - np.arange(n_samples)  # unbiased: short traces otherwise look good
    return covariance / covariance[0]


def _integrate(trace: Trace) -> tuple[float, bool]:
    """Return tau, in units of the spacing, and whether the window closed within half a trace."""
    if len(trace) < MIN_SAMPLES or not varies(trace):
        return float("nan"), False
    times = 2.0 * np.cumsum(_autocorrelation(trace)[: len(trace) // 2 + 1]) - 1.0
    inside = np.arange(len(times)) >= WINDOW * times
    closed = bool(inside.any())
    window = int(np.argmax(inside)) if closed else len(times) - 1
    return float(max(times[window], 1.0)), closed


def _best_cut(trace: Trace, last: int, criterion: str) -> int:
    """Return the cut, at most `last`, after which the squared standard error is smallest."""
    if criterion == "mser":
        return int(np.argmin(_squared_errors(trace)[: last + 1]))
    size = -(-len(trace) // MAX_BATCHES)  # var tau / n is the same for means of batches
    whole = trace[: len(trace) // size * size]
    batches = whole.reshape(-1, size, trace.shape[1]).mean(axis=1, dtype=np.float64)
    errors = _squared_errors(batches)
    cuts = np.unique(np.geomspace(1, last // size + 1, MAX_CUTS).round().astype(int)) - 1
    taus = np.nan_to_num([_integrate(batches[cut:])[0] for cut in cuts], nan=1.0)
    best = int(cuts[np.argmin(errors[cuts] * taus)])
    return last if best == cuts[-1] else best * size


def _squared_errors(trace: Trace) -> Array:
    """Return var / n of what every cut leaves of the mean over chains."""
    mean = trace.mean(axis=1, dtype=np.float64)
    mean -= mean[-1]  # exact zeros where it is constant
    n_left = np.arange(len(mean), 0.0, -1.0)
    sums = np.cumsum(mean[::-1])[::-1]
    squares = np.cumsum(mean[::-1] ** 2)[::-1]
    return np.maximum(squares - sums**2 / n_left, 0.0) / n_left**2


def _welch(first: Array, second: Array) -> float:
    if np.ptp(first) == 0.0 and np.ptp(second) == 0.0:
        return 0.0 if first[0] == second[0] else float("inf")
    shares = np.array([group.var(ddof=1) / len(group) for group in (first, second)])
    freedom = np.array([len(first), len(second)]) - 1.0
    t = (first.mean() - second.mean()) / np.sqrt(shares.sum())
    return z_of_t(t, shares.sum() ** 2 / (shares**2 / freedom).sum())
