"""Sampling: check every kernel against exact answers, then time it against the frozen reference.

    python benchmarks/sampling.py            # under three minutes
    python benchmarks/sampling.py --quick    # smoke test: the timings mean little
    python benchmarks/sampling.py --choice   # which kernel is faster, and which the engine takes

Ours and the reference run in turns, on all cores, and the shortest run of each counts. A bound is
the time that the arithmetic of an update would take at the speed that the same vector operations
reach alone, measured in the same run; what it counts is said at `operations`. Peers are timed where
they are installed; nothing here needs them.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import reference
from scipy.stats import chi2

from pottsattn import PottsModel, __version__
from pottsattn._core.simd.rows import masked_sums
from pottsattn._core.simd.vectors import (
    LANES,
    exp,
    fma,
    load_floats,
    splat,
    store_floats,
    store_words,
)
from pottsattn._core.threads import n_threads_or_default, njit, run_in_threads
from pottsattn.model.ensembles import generalized, lattice_2d, sk_potts
from pottsattn.model.exact import enumerate_states, solve_torus
from pottsattn.sampling.engine import Chains, Engine, build_engine
from pottsattn.sampling.kernels_chains import REFRESH
from pottsattn.sampling.kernels_random import draw_words
from pottsattn.sampling.tables import bin_tables, lane_tables, row_tables

N_KEPT = 400  # sequences per chain of a check
N_THREADS = n_threads_or_default(None)
WARMUP = 20  # sweeps before timing, so that sites flip as often as in equilibrium
LARGEST_Z = 5.0
SMALLEST_P = 1e-6
LARGEST_ENERGY_ERROR = 1e-4  # of one sequence, in k_B T
Advance = Callable[[int], object]  # by this many sweeps


def start(model: PottsModel, n_chains: int, seed: int = 0, beta: float = 1.0) -> Chains:
    """Return chains at random sequences."""
    rng = np.random.default_rng(seed)
    return Chains(
        rng.integers(model.n_states, size=(n_chains, model.length), dtype=np.uint8),
        rng.integers(1, 2**32, size=(n_chains, 4), dtype=np.uint32),
        np.full(n_chains, beta, np.float32),
    )


def blocks(engine: Engine, chains: Chains) -> list[Chains]:
    """Return the chains in parts, one a call."""
    cuts = [*range(0, len(chains.states), engine.chains_per_call), len(chains.states)]
    return [chains.part(slice(*cut)) for cut in itertools.pairwise(cuts)]


def advance(engine: Engine, chains: Chains, n_sweeps: int) -> None:
    """Advance all chains by all threads."""
    for _ in run_in_threads(
        lambda part: engine.advance(part, n_sweeps), blocks(engine, chains), N_THREADS
    ):
        pass


def advance_reference(model: PottsModel) -> Callable[[np.ndarray, int, int], None]:
    """Return the reference's function of (states, n_sweeps, seed) for one model."""
    if model.couplings.is_factored:
        interactions, similarity = model.couplings.factors()
        tables = (interactions[0], similarity[0], model.fields)
        sweep = reference.factored_heat_bath(model.n_states)
        return lambda states, *rest: sweep(states, *tables, *rest)
    couplings = np.ascontiguousarray(model.to_dense().transpose(0, 1, 3, 2))
    sweep = reference.dense_heat_bath(model.n_states)
    return lambda states, *rest: sweep(states, couplings, model.fields, *rest)


def check() -> None:
    """Compare every kernel and move with exact answers; SystemExit where one is wrong."""
    rng = np.random.default_rng(1)
    two = small_model(rng, 7, 2, 1)
    standard = small_model(rng, 5, 3, 1, np.eye(3)[None])
    general = small_model(rng, 5, 3, 2)
    plain = small_model(rng, 5, 3, 1)
    dense = PottsModel.dense(small_model(rng, 6, 3, 2).to_dense(), fields=rng.normal(size=(6, 3)))
    many = PottsModel.dense(small_model(rng, 2, 17, 1).to_dense())  # more states than lanes
    many_factored = small_model(rng, 2, 17, 1)
    cases = [("lanes", m) for m in (two, standard, general, many_factored)]
    cases += [("bins", m) for m in (two, standard, general, many_factored)]
    cases += [("rows", m) for m in (dense, many)]
    worst_z, worst_p = 0.0, 1.0
    for kernel, model in cases:
        for move in ("heat-bath", "metropolis"):
            z, p = check_states(model, move, kernel)
            worst_z, worst_p = max(worst_z, z), min(worst_p, p)
    for move in ("swendsen-wang", "wolff"):
        z, p = check_states(lattice_2d(9, 2, 0.5), move, None)
        worst_z, worst_p = max(worst_z, z, check_torus(move)), min(worst_p, p)
    for model in (plain, dense):
        z, p = check_states(model, "reference", None)
        worst_z, worst_p = max(worst_z, z), min(worst_p, p)
    print(
        f"{2 * len(cases) + 6} checks against exact answers: largest |z| {worst_z:.1f}, "
        f"smallest p of chi-square {worst_p:.1e}"
    )


def small_model(
    rng: np.random.Generator,
    length: int,
    n_states: int,
    n_heads: int,
    similarity: np.ndarray | None = None,
) -> PottsModel:
    """Return factored couplings with fields; a random color similarity unless it is given."""
    noise = np.triu(rng.normal(size=(n_heads, length, length)), 1) / math.sqrt(length)
    if similarity is None:
        similarity = rng.normal(size=(n_heads, n_states, n_states))
        similarity = (similarity + similarity.transpose(0, 2, 1)) / 2.0
    fields = 0.5 * rng.normal(size=(length, n_states))
    return PottsModel.factored(noise + noise.transpose(0, 2, 1), similarity, fields=fields)


def check_states(model: PottsModel, move: str, kernel: str | None) -> tuple[float, float]:
    """Return the largest |z| and the p-value of the frequencies of all C^L sequences."""
    n_chains, thin = 200, 20  # 200 chains leave lanes without a chain; 20 sweeps forget enough
    is_reference = move == "reference"
    beta = 1.0 if is_reference else 0.8
    chains = start(model, n_chains, beta=beta)
    step: Callable[[int], object]
    if is_reference:
        name = f"reference, {'factored' if model.couplings.is_factored else 'dense'}"
        run = advance_reference(model)
        step = lambda k: run(chains.states, thin, n_chains * k)  # noqa: E731
    else:
        engine = build_engine(model, move, n_chains=n_chains, kernel=kernel)
        name = f"{engine.name}, L = {model.length}, C = {model.n_states}"
        check_energies(engine, model, chains, name)
        step = lambda _: [engine.advance(part, thin) for part in blocks(engine, chains)]  # noqa: E731
    place = model.n_states ** np.arange(model.length)[::-1]
    probabilities = enumerate_states(model.scaled(beta)).probabilities
    counts = np.zeros((n_chains, len(probabilities)))
    step(0)
    for k in range(1, N_KEPT + 1):
        step(k)
        counts[np.arange(n_chains), chains.states @ place] += 1.0
    expected = n_chains * N_KEPT * probabilities
    often = expected > 150.0  # else the error estimated from the counts is too uncertain
    mean, error = counts[:, often].mean(0), counts[:, often].std(0, ddof=1) / math.sqrt(n_chains)
    z = np.abs((mean - N_KEPT * probabilities[often]) / error).max()
    order = np.argsort(expected)  # rare sequences are pooled until 10 of them are expected
    pools = np.floor(np.cumsum(expected[order]) / 10.0).astype(int)
    observed = np.bincount(pools, counts.sum(0)[order])
    expected = np.bincount(pools, expected[order])
    observed, expected = observed[expected > 0.0], expected[expected > 0.0]
    p = chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1)
    if not (z < LARGEST_Z and p > SMALLEST_P):
        raise SystemExit(f"WRONG: {name}: |z| {z:.1f}, p {p:.1e}")
    return float(z), float(p)


def check_energies(engine: Engine, model: PottsModel, chains: Chains, name: str) -> None:
    """Compare the energies that a kernel returns with those of the sequences."""
    energies = [engine.advance_and_measure(part, 3) for part in blocks(engine, chains)]
    off = np.abs(np.concatenate(energies) - model.energy(chains.states)).max()
    if not off < LARGEST_ENERGY_ERROR:
        raise SystemExit(f"WRONG: {name}: energies are off by {off:.1e}")


def check_torus(move: str) -> float:
    """Return the largest |z| of <H> and <H^2> on the 4 x 4 torus."""
    exact = solve_torus(4, 3, 0.9)
    model = lattice_2d(16, 3, 0.9)
    engine = build_engine(model, move, n_chains=100)
    chains = start(model, 100)
    sums = np.zeros((2, 100))
    for k in range(-5, N_KEPT):
        energies = [engine.advance_and_measure(part, 10) for part in blocks(engine, chains)]
        if k >= 0:
            deviation = np.concatenate(energies) - exact.mean_energy
            sums += [deviation, deviation**2 - exact.energy_variance]
    z = np.abs(sums.mean(1) / (sums.std(1, ddof=1) / 10.0)).max()
    if not z < LARGEST_Z:
        raise SystemExit(f"WRONG: {move}: energy on the 4 x 4 torus, |z| {z:.1f}")
    return float(z)


@njit
def peak_add(out, values, neighbors, masks, n_repeats):  # type: ignore[no-untyped-def]
    """Add 4 vectors under masks per neighbor."""
    for _ in range(n_repeats):
        masked_sums(out, 0, values, neighbors, 0, len(neighbors), masks, 0, 4)


@njit
def peak_exp(out, n_repeats):  # type: ignore[no-untyped-def]
    """Take the exponential of every vector of `out`."""
    zero = splat(np.float32(0.0))
    for _ in range(n_repeats):
        for at in range(0, len(out), LANES):
            store_floats(out, at, zero - exp(load_floats(out, at)))


@njit
def peak_product(out, factors, n_repeats):  # type: ignore[no-untyped-def]
    """Add factors[k] times a vector to each of four sums, for every k."""
    a = b = c = d = splat(np.float32(0.0))
    for _ in range(n_repeats):
        for k in range(len(factors)):
            a = fma(splat(factors[k]), load_floats(out, 0), a)
            b = fma(splat(factors[k]), load_floats(out, LANES), b)
            c = fma(splat(factors[k]), load_floats(out, 2 * LANES), c)
            d = fma(splat(factors[k]), load_floats(out, 3 * LANES), d)
    store_floats(out, 0, a + b + c + d)


@njit
def peak_word(streams, n_repeats):  # type: ignore[no-untyped-def]
    """Draw sixteen words for each group of streams."""
    mixed = draw_words(streams, 0, streams.shape[1])
    for _ in range(n_repeats):
        for group in range(streams.shape[1] // LANES):
            mixed = mixed ^ draw_words(streams, group, streams.shape[1])
    store_words(streams, 0, mixed)


@njit
def peak_change(bins, table, n_repeats):  # type: ignore[no-untyped-def]
    """Move rows of a table (n, P) from one row of bins (8, P) to another."""
    width = bins.shape[1]
    for _ in range(n_repeats):
        for row in range(len(table)):
            source, less, more = row * width, (row % 8) * width, ((row + 3) % 8) * width
            for j in range(0, width, LANES):
                value = load_floats(table, source + j)
                store_floats(bins, less + j, load_floats(bins, less + j) - value)
                store_floats(bins, more + j, load_floats(bins, more + j) + value)


@njit
def peak_read(out, table, n_repeats):  # type: ignore[no-untyped-def]
    """Add up a table in eight sums."""
    a = b = c = d = e = f = g = h = splat(np.float32(0.0))
    for _ in range(n_repeats):
        for at in range(0, len(table), 8 * LANES):
            a = a + load_floats(table, at)
            b = b + load_floats(table, at + LANES)
            c = c + load_floats(table, at + 2 * LANES)
            d = d + load_floats(table, at + 3 * LANES)
            e = e + load_floats(table, at + 4 * LANES)
            f = f + load_floats(table, at + 5 * LANES)
            g = g + load_floats(table, at + 6 * LANES)
            h = h + load_floats(table, at + 7 * LANES)
    store_floats(out, 0, ((a + b) + (c + d)) + ((e + f) + (g + h)))


def aligned(*shape: int) -> np.ndarray:
    """Return float32 numbers, one array per thread, that start at a cache line."""
    rng = np.random.default_rng(0)
    arrays = []
    for _ in range(N_THREADS):
        raw = rng.normal(size=math.prod(shape) + LANES).astype(np.float32)
        first = -raw.ctypes.data % 64 // 4
        arrays.append(raw[first : first + math.prod(shape)].reshape(shape))
    return arrays


class Machine:
    """Nanoseconds per vector operation of one core while all are busy: the least seen so far."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        n_cells = 96
        neighbors = np.arange(n_cells, dtype=np.uint32)
        masks = rng.integers(2**16, size=4 * n_cells, dtype=np.uint16)
        streams = rng.integers(1, 2**32, size=(N_THREADS, 4, 256), dtype=np.uint32)
        out, numbers, values, bins = aligned(64), aligned(1024), aligned(n_cells), aligned(8, 112)
        table = aligned(256, 112)  # 115 kB: too large for L1, fits in L2
        flat = [one.reshape(-1) for one in table]
        self._peaks = {  # vectors per repeat, kernel, its arguments in each thread
            "add": (4 * n_cells, peak_add, lambda t: (out[t], values[t], neighbors, masks)),
            "product": (4 * n_cells, peak_product, lambda t: (out[t], values[t])),
            "exp": (64, peak_exp, lambda t: (numbers[t],)),
            "word": (16, peak_word, lambda t: (streams[t],)),
            "change": (256 * 7, peak_change, lambda t: (bins[t], table[t])),
            "read": (256 * 7, peak_read, lambda t: (out[t], flat[t])),
        }
        self.costs = dict.fromkeys(self._peaks, math.inf)
        for _, kernel, arguments in self._peaks.values():
            kernel(*arguments(0), 1)

    def measure(self) -> None:
        """Time every operation once more: other jobs on the machine can only slow it down."""
        for name, (n_vectors, kernel, arguments) in self._peaks.items():
            n_repeats = 10_000_000 // n_vectors

            def one(t: int, kernel=kernel, arguments=arguments, n_repeats=n_repeats) -> float:
                return seconds(lambda: kernel(*arguments(t), n_repeats))

            fastest = min(run_in_threads(one, range(N_THREADS), N_THREADS))
            self.costs[name] = min(self.costs[name], 1e9 * fastest / (n_repeats * n_vectors))


def operations(engine: Engine, model: PottsModel, flips: float, n_sweeps: int) -> dict[str, float]:
    """Return vector operations per update that a heat bath cannot do without.

    Lanes: an addition per neighbor, head and state but one, for 16 chains; the product with U; an
    exponential per state; a random word. Rows: a row read per neighbor; exponentials. Bins: two
    rows of bins changed per flip and rebuilt every 32 sweeps (one row, half the work); the product
    with U; exponentials. Not counted: sums over states, comparisons, bits, loads and stores.
    """
    n_states, length = model.n_states, model.length
    kernel = engine.name.split("/")[-1]
    if kernel == "rows":
        rows = row_tables(model)[0]
        width = rows.rows.shape[2] / LANES
        return {"read": len(rows.neighbors) / length * width, "exp": math.ceil(width)}
    if kernel == "bins":
        bins = bin_tables(model)[0]
        width = bins.fields.shape[1] / LANES
        n_rows = len(bins.by_source) * (flips + 0.5 * math.ceil(n_sweeps / REFRESH) / n_sweeps)
        product = 0.0 if bins.is_identity else len(bins.by_source) * n_states * width
        return {
            "change": n_rows * bins.by_source.shape[2] / LANES,
            "product": product,
            "exp": width,
        }
    lanes = lane_tables(model)[0]
    n_sums = len(lanes.term_heads)
    additions = n_sums * len(lanes.neighbors) / length
    product = 0.0 if lanes.is_identity or n_states == 2 else n_sums * (n_states - 1)
    n_exps = 1 if n_states == 2 else n_states
    counts = {"add": additions, "product": product, "exp": n_exps, "word": 1.0}
    return {name: count / LANES for name, count in counts.items()}


@dataclass
class Runner:
    """Something that advances chains."""

    advance: Callable[[int], object]  # by this many sweeps
    updates: int  # per sweep
    n_sweeps: int = 1  # of a timed run
    times: list[float] | None = None

    @property
    def rate(self) -> float:
        """Million updates per second in the shortest run."""
        return 1e-6 * self.updates * self.n_sweeps / min(self.times or [math.nan])

    @property
    def spread(self) -> float:
        """How much longer the median run took than the shortest."""
        times = self.times or [math.nan]
        return statistics.median(times) / min(times) - 1.0


def race(
    runners: list[Runner],
    quick: bool,
    repeats: int = 20,
    length: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Time runners in turns, runs of `length` seconds each."""
    repeats, length = (1, 0.02) if quick else (repeats, length)
    for runner in runners:
        runner.advance(1)  # compiles, or loads what was compiled
        while True:
            run = min(seconds(lambda r=runner: r.advance(r.n_sweeps), clock) for _ in range(3))
            if run > 0.7 * length:
                break
            runner.n_sweeps = math.ceil(runner.n_sweeps * min(10.0, length / run))
        runner.times = []
    for _ in range(repeats):
        for runner in runners:
            runner.times.append(seconds(lambda r=runner: r.advance(r.n_sweeps), clock))


def seconds(
    function: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the time of one call."""
    started = clock()
    function()
    return clock() - started


def runner_of(
    model: PottsModel, n_chains: int, move: str, kernel: str | None
) -> tuple[Engine, Chains, Runner]:
    """Return an engine, its chains near equilibrium, and their runner."""
    engine = build_engine(model, move, n_chains=n_chains, n_threads=N_THREADS, kernel=kernel)
    chains = start(model, n_chains)
    advance(engine, chains, WARMUP)
    return engine, chains, Runner(lambda n: advance(engine, chains, n), chains.states.size)


@dataclass
class Case:
    """One line of the table."""

    name: str
    model: PottsModel
    n_chains: int
    floor: float | None = None  # of the ratio to the reference
    aim: float | None = None
    move: str = "heat-bath"
    has_reference: bool = True
    has_other: bool = True  # a second kernel that could serve


def cases() -> list[Case]:
    """Return what is timed."""

    def sk(length: int, n_states: int) -> PottsModel:
        return sk_potts(length, n_states, 1.0, 0)

    lattice = lattice_2d(64 * 64, 3, 0.95)
    plain = {"has_reference": False, "has_other": False}
    return [
        Case("factored L 100 C 2", sk(100, 2), 1024, 40, 60),
        Case("factored L 100 C 3", sk(100, 3), 1024),
        Case("factored L 100 C 4", sk(100, 4), 1024, 11, 20),
        Case("factored L 100 C 20", sk(100, 20), 1024, 3, 8),
        Case("general U L 100 C 20", generalized(100, 20, 1.0, 0), 1024),
        Case("factored L 500 C 4", sk(500, 4), 512),
        Case("factored L 500 C 20", sk(500, 20), 256, 3.5, 6),
        Case("dense L 100 C 3", dense_model(100, 3), 1000, has_other=False),
        Case("dense L 100 C 21", dense_model(100, 21), 1000, 12, 20, has_other=False),
        Case("lattice 64 x 64 C 3", lattice, 256, **plain),
        Case("lattice 64 x 64 C 3", lattice, 64, move="swendsen-wang", **plain),
    ]


def dense_model(length: int, n_states: int) -> PottsModel:
    """Return Gaussian couplings without structure, weak enough for chains to mix."""
    rng = np.random.default_rng(0)
    shape = (length, length, n_states, n_states)
    upper = rng.normal(scale=0.5 / math.sqrt(length), size=shape)
    upper[np.tril_indices(length)] = 0.0
    return PottsModel.dense(upper + upper.transpose(1, 0, 3, 2))


def time_case(case: Case, quick: bool) -> tuple[str, float, dict[str, float]]:
    """Time one case and print its line; return its name, M updates/s and operations per update."""
    model = case.model
    engine, chains, ours = runner_of(model, case.n_chains, case.move, None)
    runners = [ours]
    theirs = other = None
    if case.has_reference:
        states = chains.states[:128].copy()
        run = advance_reference(model)
        theirs = Runner(lambda n: run(states, n, 0), states.size)
        runners.append(theirs)
    if case.has_other:
        other_kernel = "bins" if engine.name.endswith("lanes") else "lanes"
        other = runner_of(model, case.n_chains, case.move, other_kernel)[2]
        runners.append(other)
    race(runners, quick)
    kernel = engine.name.removeprefix("heat-bath/")
    line = f"{case.name:21s} {kernel:13s} {ours.rate:7.1f} {100 * ours.spread:6.0f}"
    line += f" {theirs.rate:9.2f} {ours.rate / theirs.rate:6.1f}" if theirs else " " * 17
    line += f" {case.floor:5g} {case.aim:4g}" if case.floor else " " * 11
    line += f"   {other_kernel} {other.rate:.1f}" if other else ""
    print(line, flush=True)
    if case.move != "heat-bath":
        return case.name, ours.rate, {}
    flips = flip_rate(engine, chains)
    return case.name, ours.rate, operations(engine, model, flips, ours.n_sweeps)


def print_bound(name: str, rate: float, counts: dict[str, float], costs: dict[str, float]) -> None:
    """Print the rate at which the counted operations alone would run."""
    parts = {what: count * costs[what] for what, count in counts.items() if count > 0.0}
    bound = 1e3 * N_THREADS / sum(parts.values())
    shares = ", ".join(
        f"{what} {counts[what]:.3g} ({100 * part / sum(parts.values()):.0f} %)"
        for what, part in sorted(parts.items(), key=lambda item: -item[1])
    )
    print(f"{name:21s} bound {bound:7.1f} M/s, reached {100 * rate / bound:3.0f} %: {shares}")


def time_peers(quick: bool) -> None:
    """Time adabmDCA and thrml on dense couplings where they are installed.

    Run with adabmDCA 1.0.0 (torch 2.13.0, CPU) and thrml 0.1.4 (jax 0.10.2, CPU): on L = 12, C = 4
    with fields their mean energies agreed with ours, so that signs and layouts are right.
    """
    model, n_chains = dense_model(100, 21), 1000
    for package, make, floor in (("adabmDCA", adabmdca, 7), ("thrml", thrml, 5)):
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed")
            continue
        for move, theirs in make(model, n_chains):
            ours = runner_of(model, n_chains, move, None)[2]
            race([ours, theirs], quick, repeats=3, length=0.5)
            print(
                f"{package} {move}, dense L 100 C 21, {n_chains} chains: {theirs.rate:.2f} "
                f"M updates/s, ours {ours.rate:.1f}, ratio {ours.rate / theirs.rate:.1f} "
                f"(floor {floor})",
                flush=True,
            )


def adabmdca(model: PottsModel, n_chains: int) -> list[tuple[str, Runner]]:
    """Return adabmDCA's samplers, float32; a sweep of theirs updates L sites drawn at random."""
    import torch
    from adabmDCA.sampling import prepare_sampler

    couplings = torch.tensor(model.to_dense().transpose(0, 2, 1, 3), dtype=torch.float32)
    parameters = {
        "bias": torch.tensor(model.fields, dtype=torch.float32),
        "coupling_matrix": couplings.contiguous(),  # (L, C, L, C)
    }
    states = torch.tensor(start(model, n_chains).states.astype(np.int64))
    one_hot = torch.nn.functional.one_hot(states, model.n_states).to(torch.float32)

    def runner(name: str) -> Runner:
        sampler = prepare_sampler(name, torch.device("cpu"))
        return Runner(lambda n: sampler(one_hot, parameters, n, 1.0), states.numel())

    return [("heat-bath", runner("gibbs")), ("metropolis", runner("metropolis"))]


def thrml(model: PottsModel, n_chains: int) -> list[tuple[str, Runner]]:
    """Return thrml's Gibbs sampler, one block per site, compiled once for any number of sweeps."""
    import jax
    from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram
    from thrml.block_sampling import sample_blocks
    from thrml.models import CategoricalGibbsConditional, SquareCategoricalEBMFactor

    sites = [CategoricalNode() for _ in range(model.length)]
    i, j = np.triu_indices(model.length, 1)
    heads, tails = Block([sites[k] for k in i]), Block([sites[k] for k in j])
    weights = jax.numpy.asarray(model.to_dense()[i, j], jax.numpy.float32)
    spec = BlockGibbsSpec([Block([site]) for site in sites], [])
    conditional = CategoricalGibbsConditional(model.n_states)
    samplers = [conditional] * model.length
    factors = [
        SquareCategoricalEBMFactor([heads, tails], weights),
        SquareCategoricalEBMFactor([Block(sites)], jax.numpy.asarray(model.fields)),
    ]
    program = FactorSamplingProgram(spec, samplers, factors, [])

    def sweep_one(key, states):  # type: ignore[no-untyped-def]
        nothing = [None] * model.length
        return sample_blocks(key, states, [], program, nothing)[0]

    sweep = jax.jit(jax.vmap(sweep_one))
    states = [jax.numpy.asarray(column[:, None]) for column in start(model, n_chains).states.T]

    def run(n_sweeps: int) -> object:
        now = states
        for key in jax.random.split(jax.random.key(0), n_sweeps):
            now = sweep(jax.random.split(key, n_chains), now)
        return jax.block_until_ready(now)

    return [("heat-bath", Runner(run, n_chains * model.length))]


def compare_kernels(quick: bool) -> None:
    """Print nanoseconds per update of lanes and bins on one thread, and the engine's choice.

    This counts the thread's own time, so that other jobs on the machine matter less.
    """
    print("  L  C  U           chains   lanes    bins  flips  choice")
    sizes = itertools.product((50, 100, 500), (2, 4, 8, 20), (sk_potts, generalized))
    for length, n_states, make in sizes:
        model = make(length, n_states, 1.0, 0)
        for n_chains in (1, 2, 4, 8, 16, 64, 1024):
            if n_chains == 1024 and length == 500:
                continue  # seconds a run, and no news
            chains = start(model, n_chains)
            runners = []
            for kernel in ("lanes", "bins"):
                engine = build_engine(model, n_chains=n_chains, kernel=kernel)
                runners.append(Runner(partial(in_turn, engine, chains), chains.states.size))
            in_turn(engine, chains, WARMUP)
            race(runners, quick, repeats=7, length=0.02, clock=time.thread_time)
            lanes, bins = (runner.rate for runner in runners)
            took = build_engine(model, n_chains=n_chains).name.split("/")[1]
            ratio = lanes / bins if took == "bins" else bins / lanes
            print(
                f"{length:3d} {n_states:2d}  {make.__name__:11s} {n_chains:6d} "
                f"{1e3 / lanes:7.1f} {1e3 / bins:7.1f} {flip_rate(engine, chains):6.2f}  {took}"
                + (f"  {ratio:.2f} times slower" if ratio > 1.0 else ""),
                flush=True,
            )


def in_turn(engine: Engine, chains: Chains, n_sweeps: int) -> None:
    """Advance all chains by one thread."""
    for part in blocks(engine, chains):
        engine.advance(part, n_sweeps)


def flip_rate(engine: Engine, chains: Chains) -> float:
    """Return the fraction of updates that change a state: a sweep visits every site once."""
    before = chains.states.copy()
    advance(engine, chains, 1)
    return float((chains.states != before).mean())


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description="Check and time the samplers.")
    parser.add_argument("--quick", action="store_true", help="short times: a smoke test")
    parser.add_argument("--choice", action="store_true", help="compare lanes with bins instead")
    options = parser.parse_args()
    started = time.perf_counter()
    print(f"pottsattn {__version__}, numpy {np.__version__}, {platform.platform()}")
    if options.choice:
        compare_kernels(options.quick)
        return
    check()
    print("million updates per second; spread: the median run over the shortest, in %")
    print(
        f"{'case':21s} {'kernel':13s} {'M/s':>7s} spread reference  ratio floor  aim   other kernel"
    )
    machine, lines = Machine(), []
    for case in cases():
        lines.append(time_case(case, options.quick))
        for _ in range(1 if options.quick else 5):
            machine.measure()
    print(f"\nns for sixteen lanes on each of {N_THREADS} cores:", end=" ")
    print(", ".join(f"{name} {cost:.2f}" for name, cost in machine.costs.items()), end="; ")
    print(f"L2 gives {64 / machine.costs['read']:.0f} GB/s a core")
    for name, rate, counts in lines:
        if counts:
            print_bound(name, rate, counts, machine.costs)
    print()
    time_peers(options.quick)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
