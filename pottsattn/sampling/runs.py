"""Chains that advance in rounds: warm-up, then one kept sequence of every chain a round.

A run can be stopped between rounds and its `state` stored; `restore` brings it back to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress
from pottsattn._core.threads import run_in_threads
from pottsattn.sampling.engine import Chains, Engine
from pottsattn.sampling.schedule import Schedule

SWEEPS_PER_CALL = 100  # between looks at Ctrl-C and the progress
WARMUP_PIECES = 32  # energies are read at their ends


@dataclass
class Workers:
    """Threads, the progress they report, and the event that ends them early."""

    n_threads: int
    total: int = 0
    progress: Progress | None = None  # in sweeps of chains
    done: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def map(self, function: Callable[[slice], None], n_items: int, block: int) -> None:
        """Run `function` on slices of at most `block` items in threads."""
        blocks = [slice(first, first + block) for first in range(0, n_items, block)]
        self.stop = threading.Event()  # the pool sets it when it ends, however it ends
        for _ in run_in_threads(function, blocks, self.n_threads, self.stop):
            pass

    def add(self, amount: int) -> None:
        """Report `amount` more chain sweeps."""
        with self._lock:
            self.done += amount
            if self.progress is not None:
                self.progress(self.done, self.total)


@dataclass(frozen=True)
class Rounds:
    """What some rounds kept."""

    sequences: NDArray[np.uint8]  # (n_rounds, n_kept, L)
    energies: NDArray[np.float64]  # (n_rounds, n_kept), H(s) in k_B T


class Run(Protocol):
    """A way to advance chains; see `PlainRun` and `tempering.TemperedRun`."""

    n_kept: int
    chains_per_kept: int
    n_pieces: int
    n_pieces_left: int
    thin_factor: int

    def warm_up(self, n_pieces: int, workers: Workers) -> NDArray[np.float64]:
        """Advance through pieces of the warm-up; return the energies at their ends."""

    def advance(self, n_rounds: int, workers: Workers) -> Rounds:
        """Advance by rounds of `thin_by` sweeps."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays that change."""

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go back to a stored state."""


def warmup_pieces(schedule: Schedule) -> list[tuple[int, float]]:
    """Return (sweeps, factor on the inverse temperature) of the pieces of the warm-up."""
    n_pieces = min(WARMUP_PIECES, schedule.n_warmup)
    if n_pieces == 0:
        return []
    edges = np.arange(n_pieces + 1) * schedule.n_warmup // n_pieces
    sizes = np.diff(edges).tolist()
    if schedule.start != "annealed":
        return [(size, 1.0) for size in sizes]
    n_annealed = -(-n_pieces // 2)
    return [(size, min(1.0, (k + 1) / n_annealed)) for k, size in enumerate(sizes)]


class PlainRun:
    """Independent chains at the temperature of the model."""

    chains_per_kept = 1

    def __init__(self, engine: Engine, chains: Chains, schedule: Schedule) -> None:
        self.n_kept = len(chains.states)
        self._engine, self._chains = engine, chains
        self._thin_by = schedule.thin_by
        self._pieces = warmup_pieces(schedule)
        self.n_pieces = self.n_pieces_left = len(self._pieces)
        self.thin_factor = 1

    def warm_up(self, n_pieces: int, workers: Workers) -> NDArray[np.float64]:
        """Advance through pieces of the warm-up; return the energies at their ends."""
        first = len(self._pieces) - self.n_pieces_left
        pieces = self._pieces[first : first + n_pieces]
        energies = np.full((len(pieces), self.n_kept), np.nan)

        def advance_block(block: slice) -> None:
            part = self._chains.part(block)
            for number, (n_sweeps, factor) in enumerate(pieces):
                heated = Chains(part.states, part.streams, part.betas * np.float32(factor))
                energies[number, block] = self._sweep(heated, n_sweeps, workers)

        workers.map(advance_block, self.n_kept, self._engine.chains_per_call)
        self.n_pieces_left -= len(pieces)
        return energies

    def advance(self, n_rounds: int, workers: Workers) -> Rounds:
        """Advance by rounds of `thin_by` sweeps, times `thin_factor`."""
        length = self._chains.states.shape[1]
        sequences = np.empty((n_rounds, self.n_kept, length), np.uint8)
        energies = np.full((n_rounds, self.n_kept), np.nan)

        def advance_block(block: slice) -> None:
            part = self._chains.part(block)
            for number in range(n_rounds):
                n_sweeps = self._thin_by * self.thin_factor
                energies[number, block] = self._sweep(part, n_sweeps, workers)
                sequences[number, block] = part.states

        workers.map(advance_block, self.n_kept, self._engine.chains_per_call)
        return Rounds(sequences, energies)

    def _sweep(self, part: Chains, n_sweeps: int, workers: Workers) -> Any:
        """Advance some chains and return their energies; NaN when told to stop."""
        while not workers.stop.is_set():
            n_steps = min(n_sweeps, SWEEPS_PER_CALL)
            n_sweeps -= n_steps
            if n_sweeps > 0:
                self._engine.advance(part, n_steps)
            else:
                energies = self._engine.advance_and_measure(part, n_steps)
            workers.add(n_steps * len(part.states))
            if n_sweeps == 0:
                return energies
        return np.nan

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays that change."""
        return {
            "states": self._chains.states.copy(),
            "streams": self._chains.streams.copy(),
            "progress": np.array([self.n_pieces_left, self.thin_factor]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go back to a stored state."""
        self._chains.states[:] = state["states"]
        self._chains.streams[:] = state["streams"]
        self.n_pieces_left, self.thin_factor = (int(value) for value in state["progress"])
