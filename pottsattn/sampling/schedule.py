"""How long chains run, by which moves and from where they start."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pottsattn._core.validate import InputError, check_at_least, check_choice, check_positive
from pottsattn.sampling.engine import MOVES

N_LADDERS = 8  # enough with `Tempering`: each is many chains
STARTS = ("random", "ordered", "annealed", "two")


@dataclass(frozen=True)
class Schedule:
    """How long to run; one sweep is L single-site updates, or one cluster step.

    Attributes
    ----------
    n_chains : int
        Independent chains, or ladders of chains with `Tempering`; at most one per sequence.
    n_warmup : int
        Sweeps of every chain before the first kept sequence.
    thin_by : int
        Sweeps between kept sequences of a chain.
    move : str
        "heat-bath" or "metropolis", site by site; "swendsen-wang" or "wolff", clusters of a
        ferromagnet without fields.
    start : str
        "random": uniformly random sequences. "ordered": state 0 at every site. "annealed": random,
        then fields and couplings grow linearly from 0 during the first half of the warm-up.
        "two": half of the chains random, half ordered, for the two-start check.
    """

    n_chains: int = 64
    n_warmup: int = 200
    thin_by: int = 10
    move: str = "heat-bath"
    start: str = "random"

    def __post_init__(self) -> None:
        check_at_least("n_chains", self.n_chains, 1)
        check_at_least("n_warmup", self.n_warmup, 0)
        check_at_least("thin_by", self.thin_by, 1)
        check_choice("move", self.move, MOVES)
        check_choice("start", self.start, STARTS)
        if self.start == "two" and self.n_chains < 4:
            raise InputError(f"start two needs at least 4 chains, got {self.n_chains}")


@dataclass(frozen=True)
class Tempering:
    """Replica exchange: every chain is a ladder of inverse temperatures from 0 to 1.

    Attributes
    ----------
    inverse_temperatures : tuple of float, optional
        The ladder, ascending, ending at 1. Left out, it is found by equal rejection of neighbors.
    sweeps_per_swap : int
        Sweeps between exchanges of neighbors.
    n_tuning : int
        Sweeps of each of the tuning rounds that find the ladder.
    """

    inverse_temperatures: tuple[float, ...] | None = None
    sweeps_per_swap: int = 4
    n_tuning: int = 200

    def __post_init__(self) -> None:
        check_at_least("sweeps_per_swap", self.sweeps_per_swap, 1)
        check_at_least("n_tuning", self.n_tuning, 10)
        ladder = self.inverse_temperatures
        if ladder is None:
            return
        if len(ladder) < 2 or ladder[-1] != 1.0:
            raise InputError(f"inverse_temperatures must be at least two, the last 1, got {ladder}")
        for low, high in pairwise(ladder):
            if low < 0.0 or check_positive("inverse_temperatures", high) <= low:
                raise InputError(f"inverse_temperatures must ascend from 0 or above, got {ladder}")
