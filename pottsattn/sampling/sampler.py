"""Equilibrium sequences from a Potts model: many independent chains, warm-up, thinning.

Every chain owns a random stream spawned from one seed, so a seed gives the same sequences for any
number of threads.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._display import html_table
from pottsattn._numba import n_threads_or_default, run_in_threads
from pottsattn._storage import write_csv
from pottsattn._validate import check_at_least, check_generator, check_kind
from pottsattn.dataset import SequenceDataset
from pottsattn.potts import PottsModel
from pottsattn.sampling.diagnostics import autocorrelation_time, split_r_hat
from pottsattn.sampling.kernels_heat_bath import sweep_dense, sweep_factored
from pottsattn.theory.ensemble import phase_zone

__all__ = ["SampleResult", "Schedule", "sample"]

DISAGREEMENT = 1.1  # of split-R-hat, above which a user is warned
FEWEST_TO_JUDGE = 20  # kept sequences per chain; split-R-hat of fewer is mostly noise
CHAINS_PER_TASK = 4
SWEEPS_PER_CALL = 100  # between looks at Ctrl-C and the progress; rebuilding the bins costs one
Progress = Callable[[int, int], None]  # (done, total), in chain sweeps


@dataclass(frozen=True)
class Schedule:
    """How long to run; one sweep is L single-site updates.

    Attributes
    ----------
    n_chains : int
        Independent chains, started from uniformly random sequences; at most one per sequence.
    n_warmup : int
        Sweeps of every chain before the first kept sequence.
    thin_by : int
        Sweeps between kept sequences of a chain.
    """

    n_chains: int = 64
    n_warmup: int = 200
    thin_by: int = 10

    def __post_init__(self) -> None:
        check_at_least("chains", self.n_chains, 1)
        check_at_least("warmup", self.n_warmup, 0)
        check_at_least("thin", self.thin_by, 1)


@dataclass(frozen=True, eq=False, repr=False)
class SampleResult:
    """A sampled data set with the diagnostics of its chains.

    Attributes
    ----------
    dataset : SequenceDataset
        Sequences ordered by time, then chain; holds the true model.
    ess : float
        Effective number of independent sequences, by the energy; NaN if chains are too short.
    split_r_hat, autocorrelation_time : float
        Of the energy; the time is 1 + 2 sum rho, in sweeps, and no less than `thin_by`, below which
        nothing is seen. NaN if chains are too short.
    phase_zone : str or None
        "safe", "caution" or "invalid" for sk-potts models (`theory.ensemble.phase_zone`).
    kernel : str
        The kernel that ran.
    updates_per_second, seconds : float
        Single-site updates per second of wall time; wall time of the sampling.
    """

    dataset: SequenceDataset
    ess: float
    split_r_hat: float
    autocorrelation_time: float
    phase_zone: str | None
    kernel: str
    updates_per_second: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnostics, without the data."""
        return {
            "n_sequences": self.dataset.n_sequences,
            "ess": self.ess,
            "split_r_hat": self.split_r_hat,
            "autocorrelation_time": self.autocorrelation_time,
            "phase_zone": self.phase_zone,
            "kernel": self.kernel,
            "updates_per_second": self.updates_per_second,
            "seconds": self.seconds,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the diagnostics as one row."""
        write_csv(path, list(self.to_dict()), [list(self.to_dict().values())])

    def _repr_html_(self) -> str:
        return html_table("SampleResult", self.to_dict())

    def __repr__(self) -> str:
        return (
            f"SampleResult({self.dataset.n_sequences} sequences, ess={self.ess:.0f}, "
            f"split_r_hat={self.split_r_hat:.3f}, tau={self.autocorrelation_time:.3g} sweeps)"
        )


def sample(
    model: PottsModel,
    n_sequences: int,
    *,
    schedule: Schedule | None = None,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> SampleResult:
    """Return `n_sequences` sequences drawn from `model` by heat-bath Markov chains.

    Parameters
    ----------
    model
        Factored models never build their (L, L, C, C) tensor.
    n_sequences
        M, at least 1.
    schedule
        Chains, warm-up and thinning; `Schedule()` if left out.
    rng
        Generator or seed; the same seed gives the same sequences for any `n_threads`.
    progress
        Called with (done, total) from worker threads.

    Warns
    -----
    UserWarning
        Chains that disagree, or an sk-potts model outside the safe zone of its phase diagram:
        chains may not equilibrate.

    Examples
    --------
    >>> from pottsattn.ensembles import chain
    >>> sample(chain(10, 3, 0.5), 200, rng=0).dataset
    SequenceDataset(n_sequences=200, length=10, n_states=3, model known)
    """
    check_kind("model", model, PottsModel, "a fit gives one by fit.to_model()")
    check_at_least("n_sequences", n_sequences, 1)
    schedule = schedule or Schedule()
    generator = check_generator(rng)
    zone = _warn_outside_safe_zone(model)
    n_chains = min(schedule.n_chains, n_sequences)
    n_kept = -(-n_sequences // n_chains)
    states = generator.integers(model.n_states, size=(n_chains, model.length), dtype=np.uint8)
    children = generator.bit_generator.seed_seq.spawn(n_chains)  # type: ignore[attr-defined]
    streams = np.stack([child.generate_state(4, np.uint64) for child in children])
    kernel, sweep = _choose_kernel(model)

    kept = np.empty((n_kept, n_chains, model.length), dtype=np.uint8)
    n_sweeps = schedule.n_warmup + (n_kept - 1) * schedule.thin_by
    report = _Counter(n_chains * n_sweeps, progress)
    stop = threading.Event()

    def run_chains(first: int) -> None:
        block = slice(first, first + CHAINS_PER_TASK)
        for index in range(n_kept):
            n_left = schedule.n_warmup if index == 0 else schedule.thin_by
            while n_left > 0:
                if stop.is_set():
                    return
                n_steps = min(n_left, SWEEPS_PER_CALL)
                sweep(states[block], n_steps, streams[block])
                report.add(n_steps * len(states[block]))
                n_left -= n_steps
            kept[index, block] = states[block]

    started = time.perf_counter()
    firsts = range(0, n_chains, CHAINS_PER_TASK)
    for _ in run_in_threads(run_chains, firsts, n_threads_or_default(n_threads), stop):
        pass  # after Ctrl-C the running chains end at their next kernel call
    seconds = time.perf_counter() - started

    sequences = kept.reshape(-1, model.length)
    energies = model.energy(sequences).reshape(n_kept, n_chains)
    tau = autocorrelation_time(energies)
    origin = {
        "seed_entropy": str(generator.bit_generator.seed_seq.entropy),  # type: ignore[attr-defined]
        "schedule": asdict(schedule),
        "kernel": kernel,
    }
    if zone is not None:
        origin["phase_zone"] = zone
    r_hat = split_r_hat(energies)
    if r_hat > DISAGREEMENT and n_kept >= FEWEST_TO_JUDGE:
        warnings.warn(
            f"the chains disagree (split-R-hat {r_hat:.2f}, at most {DISAGREEMENT} is expected): "
            "they have not reached equilibrium; raise warmup and thin",
            stacklevel=2,
        )
    return SampleResult(
        dataset=SequenceDataset(
            sequences[:n_sequences], model.n_states, model=model, origin=origin
        ),
        ess=n_sequences / tau,
        split_r_hat=r_hat,
        autocorrelation_time=tau * schedule.thin_by,
        phase_zone=zone,
        kernel=kernel,
        updates_per_second=n_chains * n_sweeps * model.length / max(seconds, 1e-9),
        seconds=seconds,
    )


def _choose_kernel(
    model: PottsModel,
) -> tuple[str, Callable[[NDArray[np.uint8], int, NDArray[np.uint64]], None]]:
    fields = model.fields
    if model.couplings.is_factored:
        factors = [np.ascontiguousarray(factor) for factor in model.couplings.factors()]
        return "heat-bath/factored", lambda states, n_sweeps, streams: sweep_factored(
            states, fields, *factors, n_sweeps, streams
        )
    by_neighbor = np.ascontiguousarray(model.to_dense().transpose(0, 1, 3, 2))
    return "heat-bath/dense", lambda states, n_sweeps, streams: sweep_dense(
        states, fields, by_neighbor, n_sweeps, streams
    )


def _warn_outside_safe_zone(model: PottsModel) -> str | None:
    if model.ensemble != "sk-potts" or model.coupling_scale is None:
        return None
    phase = phase_zone(model.n_states, model.coupling_scale)
    if phase.zone != "safe":
        warnings.warn(
            f"coupling_scale {model.coupling_scale:g} with {model.n_states} states is in the zone "
            f"'{phase.zone}': chains may not equilibrate and the replica theory may not hold; "
            "compare chains (split_r_hat), or lower coupling_scale or inverse_temperature",
            stacklevel=3,
        )
    return phase.zone


class _Counter:
    """Adds up the work of several threads for one progress callback."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def add(self, amount: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += amount
                self._progress(self._done, self._total)
