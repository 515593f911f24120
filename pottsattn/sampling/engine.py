"""Which kernel advances the chains of a model, and by what tables.

The choice depends on the model, the move and the number of chains, never on the number of threads;
that decides only how many chains a call advances, which changes no chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import LANES
from pottsattn._core.validate import InputError, check_choice
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.kernels_chains import row_kernel, sweep_bins
from pottsattn.sampling.kernels_cluster import sweep_swendsen_wang, sweep_wolff
from pottsattn.sampling.kernels_lanes import sweep_lanes
from pottsattn.sampling.tables import bin_tables, lane_tables, row_tables

MOVES = ("heat-bath", "metropolis", "swendsen-wang", "wolff")
MAX_GROUPS = 4
BINS_PER_CALL = 8  # chains, so that threads cost little
LARGEST_BINS = 4096  # sites; longer models keep neighbor lists only

Advance = Callable[
    [NDArray[np.uint8], NDArray[np.uint32], NDArray[np.float32], int, NDArray[np.float64]], None
]


@dataclass
class Chains:
    """The state of every chain: all that a run needs to go on.

    Attributes
    ----------
    states : uint8, shape (n_chains, length)
    streams : uint32, shape (n_chains, 4)
        Random streams, see `kernels_random`.
    betas : float32, shape (n_chains,)
        Factors on the model's fields and couplings.
    """

    states: NDArray[np.uint8]
    streams: NDArray[np.uint32]
    betas: NDArray[np.float32]

    def part(self, block: slice) -> Chains:
        """Return a view of some chains."""
        return Chains(self.states[block], self.streams[block], self.betas[block])


@dataclass(frozen=True)
class Engine:
    """A kernel with the tables of one model.

    Attributes
    ----------
    name : str
        Move and kernel, such as "heat-bath/lanes".
    chains_per_call : int
        How many chains a call should advance.
    """

    name: str
    chains_per_call: int
    _advance: Advance
    _energy_offset: float

    def compile(self, length: int) -> None:
        """Compile the kernel, if it is not yet, by advancing no chain."""
        states, streams = np.empty((0, length), np.uint8), np.empty((0, 4), np.uint32)
        self.advance(Chains(states, streams, np.empty(0, np.float32)), 0)

    def advance(self, chains: Chains, n_sweeps: int) -> None:
        """Advance chains in place by `n_sweeps`."""
        nothing = np.empty(0)
        self._advance(chains.states, chains.streams, chains.betas, n_sweeps, nothing)

    def advance_and_measure(self, chains: Chains, n_sweeps: int) -> NDArray[np.float64]:
        """Advance chains in place; return their energies H(s), at beta = 1, in k_B T."""
        energies = np.empty(len(chains.states))
        self._advance(chains.states, chains.streams, chains.betas, n_sweeps, energies)
        return energies + self._energy_offset


def random_streams(seeds: Iterable[np.random.SeedSequence]) -> NDArray[np.uint32]:
    """Return one random stream per seed, shape (n_seeds, 4)."""
    streams = [np.asarray(seed.generate_state(4, np.uint32), np.uint32) for seed in seeds]
    return np.stack(streams)


def build_engine(
    model: PottsModel,
    move: str = "heat-bath",
    *,
    n_chains: int,
    n_threads: int = 1,
    kernel: str | None = None,
) -> Engine:
    """Return the fastest kernel for a model, or `kernel`: "lanes", "bins" or "rows".

    Raises
    ------
    InputError
        Unknown move, or cluster moves of a model that has no clusters.
    """
    check_choice("move", move, MOVES)
    if move in ("swendsen-wang", "wolff"):
        return _cluster_engine(model, move, n_chains, n_threads)
    is_metropolis = move == "metropolis"
    if kernel is None:
        kernel = _fastest(model, n_chains)
    per_thread = -(-n_chains // n_threads)
    if kernel == "lanes":
        tables, offset = lane_tables(model)
        # The largest power of two that leaves no thread without a call. Lanes do not know each
        # other: a chain takes the same steps in any group.
        n_groups = min(MAX_GROUPS, 1 << max(0, (per_thread // LANES).bit_length() - 1))

        def advance(states, streams, betas, n_sweeps, energies):  # type: ignore[no-untyped-def]
            sweep_lanes(
                states, streams, betas, *tables, n_sweeps, is_metropolis, energies, n_groups
            )

        return Engine(f"{move}/lanes", LANES * n_groups, advance, offset)
    if kernel == "bins":
        bins, offset = bin_tables(model)

        def advance_bins(states, streams, betas, n_sweeps, energies):  # type: ignore[no-untyped-def]
            sweep_bins(states, streams, betas, *bins, n_sweeps, is_metropolis, energies)

        return Engine(f"{move}/bins", BINS_PER_CALL, advance_bins, offset)
    rows, offset = row_tables(model)
    sweep_rows = row_kernel(rows.rows.shape[2])

    def advance_rows(states, streams, betas, n_sweeps, energies):  # type: ignore[no-untyped-def]
        sweep_rows(states, streams, betas, *rows, n_sweeps, is_metropolis, energies)

    return Engine(f"{move}/rows", max(1, per_thread), advance_rows, offset)


def _fastest(model: PottsModel, n_chains: int) -> str:
    """Return "lanes", "bins" or "rows", by nanoseconds per update of one thread.

    The numbers are fitted to `benchmarks/sampling.py --choice`.
    """
    couplings, length, n_states = model.couplings, model.length, model.n_states
    n_others = n_states - 1
    if couplings.is_factored:
        # Bins need the interactions as a full table (L, L).
        if length > LARGEST_BINS:
            return "lanes"
        degree = len(couplings.neighbor_lists().neighbors) / length
        n_heads = couplings.n_heads
        # Two states differ by one number, whatever the heads: `lane_tables` adds them up.
        n_terms = 1 if n_states == 2 else n_heads * n_others
        is_plain = n_heads == 1 and np.array_equal(_similarity(model), np.eye(n_states)[None])
        # A flip adds a row to two bins of every head. The share of updates that flip is taken as
        # that of free spins, (C - 1) / C, the most there can be.
        other, cost = "bins", 60.0 + n_states + 0.12 * n_heads * length * n_others / n_states
        # The logits are a product with U, of whole vectors of states.
        if not is_plain:
            cost += 0.55 * n_heads * n_states * -(-n_states // LANES)
    else:
        degree, n_terms, is_plain = length - 1, n_others**2, n_states == 2
        other, cost = "rows", 50.0 + degree * (0.8 + 0.05 * n_states)
    n_full = LANES * -(-n_chains // LANES)  # lanes without a chain cost as much
    # With 64 chains a coupling that was loaded serves four vectors.
    per_state, per_term = (0.33, 0.025) if n_chains >= LANES * MAX_GROUPS else (0.47, 0.056)
    lanes = per_state * n_states + per_term * n_terms * degree
    if not is_plain and n_states > 2:
        lanes += 0.049 * n_terms * n_others
    return "lanes" if lanes * n_full / n_chains <= cost else other


def _similarity(model: PottsModel) -> NDArray[np.float64]:
    similarity = model.couplings.color_similarity
    assert similarity is not None
    return similarity


def _cluster_engine(model: PottsModel, move: str, n_chains: int, n_threads: int) -> Engine:
    lists = model.couplings.neighbor_lists() if model.couplings.is_factored else None
    reason = ""
    if lists is None or len(lists.interactions) != 1:
        reason = "couplings A_ij [a = b] of one head"
    # The same field for all states of a site shifts the energy and no draw.
    elif np.ptp(model.fields, axis=1).any():
        reason = "a model without fields"
    elif not np.array_equal(_similarity(model), np.eye(model.n_states)[None]):
        reason = "the identity as color similarity"
    elif (lists.interactions < 0.0).any():
        reason = "interactions that are not negative"
    if lists is None or reason:
        raise InputError(f"move {move} needs {reason}; use heat-bath or metropolis")
    sweep = sweep_swendsen_wang if move == "swendsen-wang" else sweep_wolff
    neighbors = lists.neighbors.astype(np.uint32)
    values = np.ascontiguousarray(lists.interactions[0])

    def advance(states, streams, betas, n_sweeps, energies):  # type: ignore[no-untyped-def]
        sweep(
            states, streams, betas, lists.starts, neighbors, values, model.n_states, n_sweeps,
            energies,
        )  # fmt: skip

    return Engine(move, 1, advance, -float(model.fields[:, 0].sum()))
