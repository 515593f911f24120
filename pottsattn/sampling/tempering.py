"""Parallel tempering (replica exchange) with a ladder of inverse temperatures.

Neighbors on the ladder exchange temperatures with probability
min(1, exp[(beta' - beta) (E' - E)]), even and odd pairs in turn, so that replicas travel (Okabe et
al., Chem. Phys. Lett. 335, 435, 2001; Syed et al., J. R. Stat. Soc. B 84, 321, 2022). The ladder
starts at beta = 0, where sequences are drawn afresh at every sweep, and is spaced by equal
rejection: with r_k the mean rejection of neighbors, the barrier Lambda(beta) = sum of r_k is made
a straight line over the rungs (Syed et al., section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.engine import Chains, Engine, build_engine, random_streams
from pottsattn.sampling.kernels_random import draw_word, unit_float
from pottsattn.sampling.runs import Rounds, Workers, warmup_pieces
from pottsattn.sampling.schedule import Schedule, Tempering

Array = NDArray[np.float64]
FIRST_RUNGS, MOST_RUNGS = 16, 128
TUNING_LADDERS, TUNING_ROUNDS = 4, 4


@dataclass(frozen=True, eq=False, repr=False)
class TemperingReport:
    """How well replicas traveled.

    Attributes
    ----------
    inverse_temperatures : float64, shape (n_rungs,)
    swap_rates : float64, shape (n_rungs - 1,)
        Mean acceptance of exchanges between neighbors.
    n_round_trips : int
        Replicas that went from the first rung to the last and back, all ladders together.
    n_swaps : int
        Attempts per pair and ladder.
    """

    inverse_temperatures: Array
    swap_rates: Array
    n_round_trips: int
    n_swaps: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "inverse_temperatures": self.inverse_temperatures,
            "swap_rates": self.swap_rates,
            "n_round_trips": self.n_round_trips,
            "n_swaps": self.n_swaps,
        }

    def __repr__(self) -> str:
        low = self.swap_rates.min() if self.n_swaps else float("nan")
        return (
            f"TemperingReport({len(self.inverse_temperatures)} rungs, lowest swap rate {low:.2f}, "
            f"{self.n_round_trips} round trips)"
        )


@njit
def _swap(
    rungs: NDArray[np.int64],
    betas: NDArray[np.float32],
    energies: NDArray[np.float64],
    ladder: NDArray[np.float64],
    parity: int,
    streams: NDArray[np.uint32],
    marks: NDArray[np.int8],
    rejected: NDArray[np.float64],
    trips: NDArray[np.int64],
) -> None:
    """Exchange neighbors of some ladders; rungs (n, R) holds the chain at every rung.

    betas, energies and marks are per chain (n R,); streams (n, 4); rejected (n, R - 1) adds up
    rejection probabilities, trips (n,) round trips. marks: 1 going up, -1 coming down, 0 neither.
    """
    n_ladders, n_rungs = rungs.shape
    for m in range(n_ladders):
        for k in range(parity, n_rungs - 1, 2):
            low, high = rungs[m, k], rungs[m, k + 1]
            gain = (ladder[k + 1] - ladder[k]) * (energies[high] - energies[low])
            accept = 1.0 if gain >= 0.0 else np.exp(gain)
            rejected[m, k] += 1.0 - accept
            if unit_float(draw_word(streams[m])) <= accept:
                rungs[m, k], rungs[m, k + 1] = high, low
                betas[low], betas[high] = ladder[k + 1], ladder[k]
        top, bottom = rungs[m, n_rungs - 1], rungs[m, 0]
        if marks[top] == 1:
            marks[top] = -1
        if marks[bottom] == -1:
            trips[m] += 1
        marks[bottom] = 1


class TemperedRun:
    """Ladders of chains; the chain at beta = 1 of every ladder is kept."""

    def __init__(
        self,
        engine: Engine,
        chains: Chains,
        swap_streams: NDArray[np.uint32],
        ladder: Array,
        schedule: Schedule,
        tempering: Tempering,
    ) -> None:
        self.n_kept = len(swap_streams)
        self.chains_per_kept = len(ladder)
        self._engine, self._chains, self._streams = engine, chains, swap_streams
        self._ladder = ladder
        self._sweeps_per_swap = tempering.sweeps_per_swap
        self._thin_by = schedule.thin_by
        self._pieces = warmup_pieces(schedule)
        self.n_pieces = self.n_pieces_left = len(self._pieces)
        self.thin_factor = 1
        n_rungs = len(ladder)
        self._rungs = np.arange(self.n_kept * n_rungs).reshape(self.n_kept, n_rungs)
        chains.betas[:] = np.tile(ladder, self.n_kept)
        self._marks = np.zeros(self.n_kept * n_rungs, np.int8)
        self._rejected = np.zeros((self.n_kept, n_rungs - 1))
        self._trips = np.zeros(self.n_kept, np.int64)
        self._n_swaps = np.zeros(self.n_kept, np.int64)

    def warm_up(self, n_pieces: int, workers: Workers) -> Array:
        """Advance through pieces of the warm-up; return the energies at beta = 1."""
        first = len(self._pieces) - self.n_pieces_left
        sizes = [n_sweeps for n_sweeps, _ in self._pieces[first : first + n_pieces]]
        rounds = self._advance(sizes, workers)
        self.n_pieces_left -= len(sizes)
        if self.n_pieces_left == 0:
            self.forget()
        return rounds.energies

    def advance(self, n_rounds: int, workers: Workers) -> Rounds:
        """Advance by rounds of `thin_by` sweeps, times `thin_factor`."""
        return self._advance([self._thin_by * self.thin_factor] * n_rounds, workers)

    def forget(self) -> None:
        """Start counting swaps and round trips anew."""
        for counter in (self._rejected, self._trips, self._n_swaps, self._marks):
            counter[:] = 0

    def _advance(self, sizes: list[int], workers: Workers) -> Rounds:
        n_rungs = self.chains_per_kept
        length = self._chains.states.shape[1]
        sequences = np.empty((len(sizes), self.n_kept, length), np.uint8)
        energies = np.full((len(sizes), self.n_kept), np.nan)

        def advance_block(block: slice) -> None:
            rungs = self._rungs[block]
            first = block.start * n_rungs
            here = slice(first, first + len(rungs) * n_rungs)
            part = self._chains.part(here)
            local = rungs - first
            for number, n_sweeps in enumerate(sizes):
                now = self._sweep(part, local, block, here, n_sweeps, workers)
                if now is None:
                    return
                kept = local[:, -1]
                energies[number, block] = now[kept]
                sequences[number, block] = part.states[kept]
                rungs[:] = local + first

        per_call = max(1, self._engine.chains_per_call // n_rungs)
        workers.map(advance_block, self.n_kept, per_call)
        return Rounds(sequences, energies)

    def _sweep(
        self,
        part: Chains,
        local: NDArray[np.int64],
        block: slice,
        here: slice,
        n_sweeps: int,
        workers: Workers,
    ) -> Array | None:
        while not workers.stop.is_set():
            n_steps = min(n_sweeps, self._sweeps_per_swap)
            energies = self._engine.advance_and_measure(part, n_steps)
            _swap(
                local, part.betas, energies, self._ladder, int(self._n_swaps[block][0] % 2),
                self._streams[block], self._marks[here], self._rejected[block], self._trips[block],
            )  # fmt: skip
            self._n_swaps[block] += 1
            workers.add(n_steps * len(part.states))
            n_sweeps -= n_steps
            if n_sweeps == 0:
                return energies
        return None

    def report(self) -> TemperingReport:
        """Return swap rates and round trips since the warm-up."""
        n_swaps = int(self._n_swaps[0])
        attempts = np.maximum(1, (n_swaps + np.arange(1, len(self._ladder)) % 2) // 2)
        rates = 1.0 - self._rejected.mean(axis=0) / attempts
        return TemperingReport(self._ladder, rates, int(self._trips.sum()), n_swaps // 2)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays that change."""
        return {
            "states": self._chains.states.copy(),
            "streams": self._chains.streams.copy(),
            "betas": self._chains.betas.copy(),
            "progress": np.array([self.n_pieces_left, self.thin_factor]),
            "swap_streams": self._streams.copy(),
            "rungs": self._rungs.copy(),
            "marks": self._marks.copy(),
            "rejected": self._rejected.copy(),
            "trips": self._trips.copy(),
            "n_swaps": self._n_swaps.copy(),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go back to a stored state."""
        self._chains.states[:] = state["states"]
        self._chains.streams[:] = state["streams"]
        self._chains.betas[:] = state["betas"]
        self.n_pieces_left, self.thin_factor = (int(value) for value in state["progress"])
        self._streams[:] = state["swap_streams"]
        self._rungs[:] = state["rungs"]
        self._marks[:] = state["marks"]
        self._rejected[:] = state["rejected"]
        self._trips[:] = state["trips"]
        self._n_swaps[:] = state["n_swaps"]


def tune_ladder(
    model: PottsModel,
    schedule: Schedule,
    tempering: Tempering,
    seeds: np.random.SeedSequence,
    n_threads: int,
) -> Array:
    """Return inverse temperatures from 0 to 1 whose neighbors reject equally often.

    A first ladder of 16 rungs is run, its barrier measured, and the ladder spaced anew with about
    2 Lambda + 1 rungs (rejection near one half, the optimum of Syed et al.), four times over.
    """
    ladder = np.linspace(0.0, 1.0, FIRST_RUNGS) ** 2
    for child in seeds.spawn(TUNING_ROUNDS):
        n_chains = TUNING_LADDERS * len(ladder)
        engine = build_engine(model, schedule.move, n_chains=n_chains, n_threads=n_threads)
        chains, swap_streams = _fresh(model, TUNING_LADDERS, len(ladder), child)
        plan = Schedule(n_warmup=tempering.n_tuning, thin_by=tempering.n_tuning, move=schedule.move)
        run = TemperedRun(engine, chains, swap_streams, ladder, plan, tempering)
        workers = Workers(n_threads)
        run.warm_up(run.n_pieces_left, workers)
        run.advance(1, workers)
        rejection = np.clip(1.0 - run.report().swap_rates, 1e-3, 1.0)
        barrier = np.concatenate([[0.0], np.cumsum(rejection)])
        n_rungs = int(np.clip(np.ceil(2.0 * barrier[-1]) + 1, 3, MOST_RUNGS))
        levels = np.linspace(0.0, barrier[-1], n_rungs)
        ladder = np.interp(levels, barrier, ladder)
        ladder[0], ladder[-1] = 0.0, 1.0
    return ladder


def _fresh(
    model: PottsModel, n_ladders: int, n_rungs: int, seeds: np.random.SeedSequence
) -> tuple[Chains, NDArray[np.uint32]]:
    """Return random chains and swap streams, all from `seeds`."""
    n_chains = n_ladders * n_rungs
    start, *children = seeds.spawn(1 + n_chains + n_ladders)
    states = np.random.default_rng(start).integers(
        model.n_states, size=(n_chains, model.length), dtype=np.uint8
    )
    streams = random_streams(children)
    betas = np.ones(n_chains, np.float32)
    return Chains(states, streams[:n_chains].copy(), betas), streams[n_chains:].copy()
