"""Every kernel against exact solutions, with errors taken from independent chains.

Standard errors come from the scatter between chains, so autocorrelation cannot fool them (STYLE
3.6); chi-square tests take one state of every chain. Whether chains are independent of each other
neither of them sees: that is tested on pairs of chains. Every check must catch planted faults.
"""

from __future__ import annotations

import numpy as np
import pytest
from chains_factory import CLUSTER_MOVES, KERNELS, SITE_MOVES, advance, random_chains
from conftest import random_model
from scipy.stats import chi2

from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import lattice_2d
from pottsattn.model.exact import enumerate_states, solve_chain, solve_torus
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.engine import Chains, Engine, build_engine
from pottsattn.sampling.kernels_random import draw_word

SEED = 1
N_CHAINS, N_KEPT, THIN_BY, N_WARMUP = 128, 1500, 2, 50
N_INDEPENDENT = 1 << 14
LIMIT = 5.0  # of |z|
RARE = 1e-6  # the probability that chi-square is above its limit
FEWEST = 5.0  # expected in a cell of chi-square; rarer cells are one
FAULT = 0.9

MODELS = {  # name: form, length, number of states
    "two states": ("factored", 5, 2),
    "three states": ("factored", 4, 3),
    "five states": ("factored", 3, 5),
    "two heads": ("sparse two-heads", 4, 3),
    "dense": ("dense", 4, 3),
}
CASES = [
    (name, kernel, move)
    for name in MODELS
    for kernel in (("lanes", "rows") if name == "dense" else KERNELS)
    for move in SITE_MOVES
]


def model_of(name: str) -> PottsModel:
    return random_model(MODELS[name][0], np.random.default_rng(SEED), *MODELS[name][1:])


def rng_of(kernel: str) -> np.random.Generator:
    """Every kernel has a seed of its own: from the same one they give the same sequences."""
    return np.random.default_rng([SEED, KERNELS.index(kernel)])


def sweeps(engine: Engine, chains: Chains, n_sweeps: int, frozen: int | None) -> None:
    """Advance chains; a frozen site is put back after every sweep, as if it were skipped."""
    if frozen is None:
        advance(engine, chains, n_sweeps)
        return
    for _ in range(n_sweeps):
        kept = chains.states[:, frozen].copy()
        advance(engine, chains, 1)
        chains.states[:, frozen] = kept


def codes(states: np.ndarray, n_states: int) -> np.ndarray:
    """Return the row of `Enumeration.states` that every sequence is."""
    powers = n_states ** np.arange(states.shape[-1])[::-1]
    return states.astype(np.int64) @ powers


def pair_z(engine: Engine, chains: Chains, pair_marginals: np.ndarray, frozen=None) -> float:
    """Return the largest |sampled - exact| / standard error of the pair marginals, i <= j."""
    n_states = pair_marginals.shape[-1]
    sweeps(engine, chains, N_WARMUP, frozen)
    sampled = np.empty((N_KEPT, *chains.states.shape), np.uint8)
    for kept in sampled:
        sweeps(engine, chains, THIN_BY, frozen)
        kept[:] = chains.states
    one_hot = np.eye(n_states, dtype=np.float32)[sampled.transpose(1, 0, 2)]
    one_hot = one_hot.reshape(len(chains.states), N_KEPT, -1)
    frequencies = one_hot.transpose(0, 2, 1) @ one_hot / N_KEPT  # (chains, L C, L C)
    exact = pair_marginals.transpose(0, 2, 1, 3).reshape(frequencies.shape[1:])
    possible = np.triu(exact > 0)
    error = frequencies.std(axis=0, ddof=1)[possible] / np.sqrt(len(frequencies))
    return float(np.abs((frequencies.mean(axis=0) - exact)[possible] / error).max())


def chi_square(found: np.ndarray, probabilities: np.ndarray) -> float:
    """Return chi-square of independent states over its limit: above 1 once in 1 / RARE tries."""
    order = np.argsort(probabilities)
    expected = len(found) * probabilities[order]
    counts = np.bincount(found, minlength=len(probabilities))[order]
    n_rare = max(
        np.searchsorted(expected, FEWEST), 1 + np.searchsorted(np.cumsum(expected), FEWEST)
    )
    cells = np.r_[0, n_rare : len(expected)]
    expected, counts = np.add.reduceat(expected, cells), np.add.reduceat(counts, cells)
    return float(((counts - expected) ** 2 / expected).sum() / chi2.isf(RARE, len(expected) - 1))


def deviations(
    model: PottsModel, exact, kernel: str, move: str, frozen=None
) -> tuple[float, float]:
    """Return the largest |z| of the pair marginals, and chi-square of all states over its limit."""
    rng = rng_of(kernel)
    engine = build_engine(model, move, n_chains=N_CHAINS, kernel=kernel)
    z = pair_z(engine, random_chains(model, N_CHAINS, rng), exact.pair_marginals(), frozen)
    independent = random_chains(model, N_INDEPENDENT, rng)
    sweeps(engine, independent, N_WARMUP, frozen)
    return z, chi_square(codes(independent.states, model.n_states), exact.probabilities)


@pytest.mark.parametrize(("name", "kernel", "move"), CASES)
def test_kernels_match_enumeration(name, kernel, move):
    model = model_of(name)
    z, chi_square_ratio = deviations(model, enumerate_states(model), kernel, move)
    assert z < LIMIT
    assert chi_square_ratio < 1.0


@pytest.mark.parametrize(("name", "kernel", "move"), CASES)
def test_a_weaker_row_of_couplings_is_found(name, kernel, move):
    """Set after the check of symmetry: the kernel sees a row that its neighbors do not."""
    model = model_of(name)
    faulty = model.scaled(1.0)
    strength = np.ones((model.length, model.length))
    strength[(model.to_dense() ** 2).sum(axis=(1, 2, 3)).argmax()] = FAULT
    if model.couplings.is_factored:
        interactions, color_similarity = model.couplings.factors()
        faulty.couplings = Couplings(strength * interactions, color_similarity)
    else:
        faulty.couplings = Couplings(dense=strength[:, :, None, None] * model.to_dense())
    z, chi_square_ratio = deviations(faulty, enumerate_states(model), kernel, move)
    assert z > LIMIT or chi_square_ratio > 1.0


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_skipped_site_is_found(kernel, move):
    """By chi-square: errors of chain means take a site that differs between chains for noise."""
    model = model_of("two states")
    _, chi_square_ratio = deviations(model, enumerate_states(model), kernel, move, frozen=3)
    assert chi_square_ratio > 1.0


def joint_chi_square(kernel: str, move: str, distance: int, fault: str = "none") -> float:
    """Return chi-square over its limit of the joint states of chains k and k + `distance`."""
    model = random_model("factored", np.random.default_rng(SEED), 4, 2)
    chains = random_chains(model, N_INDEPENDENT, rng_of(kernel))
    pairs = chains.streams.reshape(-1, 2, distance, 4)
    if fault != "none":
        streams = pairs[:, 0].copy()
        if fault == "one draw later":
            for stream in streams.reshape(-1, 4):
                draw_word(stream)
        pairs[:, 1] = streams
    advance(build_engine(model, move, n_chains=N_CHAINS, kernel=kernel), chains, N_WARMUP)
    exact = enumerate_states(model).probabilities
    first, second = np.moveaxis(codes(chains.states, 2).reshape(-1, 2, distance), 1, 0)
    return chi_square((len(exact) * first + second).ravel(), np.outer(exact, exact).ravel())


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("distance", [1, 16])  # neighboring lanes, neighboring groups
def test_chains_are_independent_of_each_other(kernel, move, distance):
    assert joint_chi_square(kernel, move, distance) < 1.0


@pytest.mark.parametrize("fault", ["the same stream", "one draw later"])
@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("distance", [1, 16])
def test_streams_that_overlap_are_found(kernel, move, distance, fault):
    """Marginals of single chains stay right, and their errors look smaller than they are."""
    assert joint_chi_square(kernel, move, distance, fault) > 1.0


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_open_chain_matches_transfer_matrices(kernel, move, chain_model):
    engine = build_engine(chain_model, move, n_chains=N_CHAINS, kernel=kernel)
    chains = random_chains(chain_model, N_CHAINS, rng_of(kernel))
    assert pair_z(engine, chains, solve_chain(chain_model).pair_marginals) < LIMIT


TORUS_MOVES = ("heat-bath", *CLUSTER_MOVES)
TORUS_THIN_BY = {"heat-bath": 4, "swendsen-wang": 1, "wolff": 4}
TEMPERATURES = (0.7, 1.0, 1.3)  # beta over that of the transition


def torus_z(n_states: int, move: str, beta_factor: float = 1.0) -> float:
    """Return the largest |z| of mean and variance of the energy at three temperatures."""
    model = lattice_2d(16, n_states, 1.0)
    betas = np.log(1.0 + np.sqrt(n_states)) * np.array(TEMPERATURES)
    rng = np.random.default_rng(SEED)
    chains = random_chains(model, 3 * N_CHAINS, rng, np.tile(beta_factor * betas, N_CHAINS))
    kernel = "lanes" if move == "heat-bath" else None
    engine = build_engine(model, move, n_chains=3 * N_CHAINS, kernel=kernel)
    advance(engine, chains, 200)
    energies = np.stack([advance(engine, chains, TORUS_THIN_BY[move]) for _ in range(500)])
    energies = energies.reshape(500, N_CHAINS, 3)
    z = []
    for number, beta in enumerate(betas):
        exact = solve_torus(4, n_states, beta)
        deviation = beta * energies[:, :, number] - exact.mean_energy
        for by_chain in (deviation.mean(0), (deviation**2).mean(0) - exact.energy_variance):
            z.append(by_chain.mean() / (by_chain.std(ddof=1) / np.sqrt(N_CHAINS)))
    return float(np.abs(z).max())


@pytest.mark.parametrize("n_states", [2, 3, 4])
@pytest.mark.parametrize("move", TORUS_MOVES)
def test_torus_matches_transfer_matrices(n_states, move):
    assert torus_z(n_states, move) < LIMIT


@pytest.mark.parametrize("n_states", [2, 3, 4])
@pytest.mark.parametrize("move", TORUS_MOVES)
def test_a_torus_at_another_temperature_is_found(n_states, move):
    assert torus_z(n_states, move, beta_factor=0.98) > LIMIT


def critical_z(n_states: int, exponent: float, beta_factor: float = 1.0) -> float:
    """Return |z| of the energy per bond strength and site of an infinite lattice at the transition.

    Lattices of n x n sites have e(n) = e + a n^-exponent; e is fitted to three of them.
    """
    critical = np.log(1.0 + np.sqrt(n_states))
    means, errors, sizes = [], [], np.array([8, 16, 32])
    for n in sizes:
        model = lattice_2d(n**2, n_states, 1.0)
        rng = np.random.default_rng(SEED)
        chains = random_chains(model, 32, rng, beta_factor * critical)
        engine = build_engine(model, "swendsen-wang", n_chains=32)
        advance(engine, chains, 200)
        energies = np.stack([advance(engine, chains, 1) for _ in range(600)]).mean(axis=0)
        means.append(energies.mean() / n**2)
        errors.append(energies.std(ddof=1) / np.sqrt(32) / n**2)
    design = np.stack([np.ones(3), sizes**-exponent], axis=1) / np.array(errors)[:, None]
    covariance = np.linalg.inv(design.T @ design)
    infinite = covariance[0] @ design.T @ (np.array(means) / errors)
    exact = -(1.0 + 1.0 / np.sqrt(n_states))
    return float(abs(infinite - exact) / np.sqrt(covariance[0, 0]))


CRITICAL = [(2, 1.0), (3, 0.8)]  # C, and d - 1/nu with nu = 1, 5/6 (Wu 1982)


@pytest.mark.parametrize(("n_states", "exponent"), CRITICAL)
def test_swendsen_wang_gives_the_critical_energy(n_states, exponent):
    assert critical_z(n_states, exponent) < LIMIT


@pytest.mark.parametrize(("n_states", "exponent"), CRITICAL)
def test_a_lattice_off_the_transition_is_found(n_states, exponent):
    assert critical_z(n_states, exponent, beta_factor=0.99) > LIMIT
