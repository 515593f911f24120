"""Whether recorded chains hold what was asked for, from their traces."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from pottsattn._core.validate import ConvergenceWarning
from pottsattn.sampling.diagnostics import (
    Diagnosis,
    TwoStartCheck,
    WarmupSuggestion,
    diagnose,
    suggest_warmup,
    two_start_check,
)
from pottsattn.sampling.recording import Recorder, Traces
from pottsattn.sampling.result import DISAGREEMENT, SampleResult
from pottsattn.sampling.runs import warmup_pieces
from pottsattn.sampling.schedule import Schedule

FEWEST_TO_JUDGE = 20  # kept sequences per chain; split-R-hat of fewer is mostly noise
MOST_ROUNDS_JUDGED = 32  # kept after the warm-up, when the warm-up is judged
REMEDY = "raise warmup and thin, or use tempering"
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


def judge(result: SampleResult, criterion: Criterion, n_rounds: int) -> SampleResult:
    """Return the result marked by what does not hold, and warn of it."""
    reasons = []
    disagree = result.split_r_hat > DISAGREEMENT and n_rounds >= FEWEST_TO_JUDGE
    disagreement = (
        f"the chains disagree, split-R-hat {result.split_r_hat:.2f} (at most {DISAGREEMENT})"
    )
    if result.interrupted:
        reasons.append(f"interrupted after {result.n_sequences} of {criterion.n_sequences}")
    elif not criterion.holds(result.diagnoses):
        reasons.append(
            f"effective sample size {result.ess:.0f} of {criterion.min_ess:g} and split-R-hat "
            f"{result.split_r_hat:.3f} (at most {DISAGREEMENT}) with {result.thin_by} sweeps "
            "between sequences"
        )
    if result.two_start is not None and not result.two_start.is_met:
        reasons.append(result.two_start.message)
    elif result.two_start is not None and disagree:  # both kinds of start, stuck all over
        reasons.append(disagreement)
    if reasons:
        message = "; ".join(reasons)
        if not result.interrupted:
            message = f"{message}; {REMEDY}"
            warnings.warn(f"not converged: {message}", ConvergenceWarning, stacklevel=CALLER)
        return replace(result, converged=False, message=message)
    if disagree:
        warnings.warn(
            f"{disagreement}: they have not reached equilibrium; {REMEDY}", stacklevel=CALLER
        )
    return result
