"""Whether recorded chains hold what was asked for, from their traces."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from pottsattn._core.validate import ConvergenceWarning
from pottsattn.sampling.agreement import DISAGREEMENT, MIN_SAMPLES
from pottsattn.sampling.diagnostics import (
    Diagnosis,
    TwoStartCheck,
    WarmupSuggestion,
    diagnose,
    suggest_warmup,
    two_start_check,
)
from pottsattn.sampling.recording import Recorder, Traces
from pottsattn.sampling.result import SampleResult
from pottsattn.sampling.runs import warmup_pieces
from pottsattn.sampling.schedule import Schedule

FEWEST_TO_WARN = 20  # kept sequences per chain; split-R-hat of fewer is above 1.1 by chance
MOST_ROUNDS_JUDGED = 32  # kept after the warm-up, when the warm-up is judged
REMEDY = "raise warmup and thin, or use tempering"
REMEDY_FROZEN = "use tempering, or cluster moves for a ferromagnet without fields"
ROUNDING = 1e-6  # of energies in single precision, relative
CALLER = 4  # of `sample`: where a warning points to


@dataclass(frozen=True)
class Criterion:
    """What was asked of `n_sequences`: `min_ess`, or None."""

    n_sequences: int
    min_ess: float | None

    def diagnose(self, traces: Traces, spacing: int) -> dict[str, Diagnosis]:
        """Return the diagnosis of energy and overlap; `spacing` is in sweeps."""
        found = {}
        for name, (_, trace) in traces.by_name().items():
            one = diagnose(trace, spacing)
            n_effective = self.n_sequences * spacing / one.autocorrelation_time
            found[name] = replace(one, ess=n_effective)  # of all chains, not of the traced ones
        return found

    def holds(self, diagnoses: dict[str, Diagnosis]) -> bool:
        """Return whether `min_ess` is reached; a constant observable has no say."""
        if self.min_ess is None:
            return True
        known = [one for one in diagnoses.values() if not np.isnan(one.ess)]
        return bool(known) and all(
            one.ess >= self.min_ess and one.split_r_hat <= DISAGREEMENT for one in known
        )


def check_two_starts(traces: Traces, n_chains: int) -> TwoStartCheck:
    """Return the worse check, by energy or overlap, of the first half of the chains and the rest.

    A check that could not be made counts as the worst.
    """
    checks = []
    for chains, trace in traces.by_name().values():
        is_second = chains >= n_chains // 2
        checks.append(two_start_check(trace[:, ~is_second], trace[:, is_second]))
    return max(checks, key=lambda check: np.inf if np.isnan(check.z) else abs(check.z))


def judge_warmup(
    recorder: Recorder, traces: Traces, schedule: Schedule, spacing: int
) -> WarmupSuggestion:
    """Return how long the warm-up should be, by its energies and the first ones after it."""
    before = recorder.warmup_energies()
    sizes = [n_sweeps for n_sweeps, _ in warmup_pieces(schedule)]
    times = np.cumsum(sizes[: len(before)])
    after = traces.energy[: max(len(before), MOST_ROUNDS_JUDGED)]
    later = schedule.n_warmup + spacing * np.arange(1, len(after) + 1)
    energies = np.concatenate([before[:, traces.chains], after]) if len(before) else after
    return suggest_warmup(np.concatenate([times, later]), energies)


def is_frozen(traces: Traces) -> bool:
    """Return whether no chain changed after its first sequence, as far as the traces tell."""
    if len(traces.energy) < MIN_SAMPLES:
        return False
    moved = np.ptp(traces.energy.astype(np.float64), axis=0)
    rounding = ROUNDING * np.abs(traces.energy).max(initial=0.0)
    return bool(np.all(np.ptp(traces.overlap, axis=0) == 0.0) and np.all(moved <= rounding))


def judge(
    result: SampleResult, criterion: Criterion, traces: Traces, is_scattered: bool
) -> SampleResult:
    """Return the result marked by what does not hold, and warn of it.

    `is_scattered` tells that chains started at random sequences. If all of them ended at one
    sequence and stay there, that is where the probability is.
    """
    reasons, remedy = [], REMEDY
    frozen = is_frozen(traces)
    is_one = frozen and is_scattered and traces.energy.shape[1] > 1 and np.all(traces.overlap == 1)
    known = "unknown" if np.isnan(result.ess) else f"{result.ess:.0f}"
    if result.interrupted:
        reasons.append(f"interrupted after {result.n_sequences} of {criterion.n_sequences}")
    if frozen and not is_one:
        reasons.append(
            f"the chains are frozen: none of {traces.energy.shape[1]} changed after its first "
            "sequence"
        )
        remedy = REMEDY_FROZEN
    if not result.interrupted and not criterion.holds(result.diagnoses):
        reasons.append(
            f"effective sample size {known} of {criterion.min_ess:g} and split-R-hat "
            f"{result.split_r_hat:.3f} (at most {DISAGREEMENT}) with {result.thin_by} sweeps "
            "between sequences"
        )
    if result.two_start is not None and not result.two_start.is_met:
        reasons.append(result.two_start.message)
    apart = [
        f"{one.disagreement} of the {name}"
        for name, one in result.diagnoses.items()
        if one.disagrees
    ]
    if apart and not frozen:
        reasons.append(f"the chains disagree: {', '.join(apart)}")
    if result.colors is not None and not result.colors.is_met:
        reasons.append(result.colors.message)
    if reasons:
        message = "; ".join(reasons)
        if not result.interrupted:
            message = f"{message}; {remedy}"
            warnings.warn(f"not converged: {message}", ConvergenceWarning, stacklevel=CALLER)
        return replace(result, converged=False, message=message)
    n_rounds = len(traces.energy)
    if n_rounds < MIN_SAMPLES:
        return replace(
            result,
            message=f"done; not judged, as chains of {n_rounds} sequences are too short: at least "
            f"{MIN_SAMPLES} are needed",
        )
    if is_one:
        return replace(
            result, message="done; all chains, from random starts, ended at one sequence"
        )
    if result.split_r_hat > DISAGREEMENT and n_rounds >= FEWEST_TO_WARN:
        warnings.warn(
            f"split-R-hat is {result.split_r_hat:.2f}, and for long chains near 1: these are "
            f"short, or begin to disagree; {REMEDY}",
            stacklevel=CALLER,
        )
    return result
