"""Kernels against plain Python in double precision, draw by draw, and at their extremes."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from chains_factory import CLUSTER_MOVES, KERNELS, SITE_MOVES, advance, copied, random_chains
from conftest import random_model

from pottsattn import InputError
from pottsattn._core.simd.vectors import LANES, store_words
from pottsattn.model.ensembles import chain, lattice_2d, sk_potts
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.engine import Chains, build_engine
from pottsattn.sampling.kernels_cluster import sweep_swendsen_wang, sweep_wolff
from pottsattn.sampling.kernels_lanes import sweep_lanes
from pottsattn.sampling.kernels_random import draw_word, draw_words, unit_float
from pottsattn.sampling.tables import lane_tables

MASK = (1 << 32) - 1
STRONG = 1e3  # an interaction that always joins


class Xoshiro:
    """xoshiro128++ in whole numbers, after Blackman and Vigna's public-domain C code."""

    def __init__(self, state):
        self.s = [int(word) for word in state]

    def next(self):
        def rotl(x, k):
            return ((x << k) | (x >> (32 - k))) & MASK

        s = self.s
        result = (rotl((s[0] + s[3]) & MASK, 7) + s[0]) & MASK
        t = (s[1] << 9) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 11)
        return result


def unit(word):
    return (word + 0.5) / 2**32


def test_reference_generator_gives_the_published_values():
    stream = Xoshiro([1, 2, 3, 4])  # the test vector of the rand_xoshiro crate
    assert [stream.next() for _ in range(10)] == [
        641,
        1573767,
        3222811527,
        3517856514,
        836907274,
        4247214768,
        3867114732,
        1355841295,
        495546011,
        621204420,
    ]


def test_kernels_draw_the_reference_stream(rng):
    stream = rng.integers(1 << 32, size=4, dtype=np.uint32)
    reference = Xoshiro(stream)
    words = [reference.next() for _ in range(1000)]
    assert [draw_word(stream) for _ in range(1000)] == words
    assert stream.tolist() == reference.s


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_lanes_draw_a_stream_each(n_groups, rng):
    n_lanes = LANES * n_groups

    @numba.njit
    def run(streams, group, drawn):
        for n in range(len(drawn)):
            store_words(drawn, n * n_lanes + LANES * group, draw_words(streams, group, n_lanes))

    streams = rng.integers(1 << 32, size=(4, n_lanes), dtype=np.uint32)
    references = [Xoshiro(stream) for stream in streams.T]
    drawn = np.zeros((50, n_lanes), np.uint32)
    for group in range(n_groups):
        run(streams, group, drawn)
    assert drawn.T.tolist() == [[stream.next() for _ in range(50)] for stream in references]
    assert streams.T.tolist() == [stream.s for stream in references]


def test_unit_floats_are_never_zero_and_fine_near_it():
    assert unit_float(np.uint32(0)) == 2.0**-33
    assert unit_float(np.uint32(1)) == 1.5 * 2.0**-32
    assert unit_float(np.uint32(MASK)) == 1.0


def reference_sweeps(model: PottsModel, chains: Chains, n_sweeps: int, move: str) -> None:
    """Advance chains in place by the rule that `kernels_lanes` states."""
    tensor, sites, n_states = model.to_dense(), np.arange(model.length), model.n_states
    for m, beta in enumerate(chains.betas.astype(float)):
        stream, state = Xoshiro(chains.streams[m]), chains.states[m].astype(np.int64)
        for site in np.tile(sites, n_sweeps):
            old, new = state[site], state[site]
            logits = model.fields[site] + tensor[site, sites, :, state].sum(axis=0)
            if move == "metropolis":
                proposal = (stream.next() * n_states) >> 32
                gain = min(0.0, beta * (logits[proposal] - logits[old]))
                if unit(stream.next()) <= math.exp(gain):
                    new = proposal
            else:
                weights = np.exp(beta * (logits - logits.max()))
                threshold = unit(stream.next()) * weights.sum()
                weights[old] = 0.0
                above = np.flatnonzero(np.cumsum(weights) > threshold)
                new = above[0] if len(above) > 0 else old
            state[site] = new
        chains.states[m], chains.streams[m] = state, stream.s


def kernels_of(model: PottsModel) -> tuple[str, ...]:
    return KERNELS if model.couplings.is_factored else ("lanes", "rows")


def check_against_reference(model, n_chains, n_sweeps, move, rng):
    """Rounding to single precision flips about one draw in 10^6; the seed is one without."""
    chains = random_chains(model, n_chains, rng, rng.uniform(0.1, 1.5, size=n_chains))
    chains.betas[0] = 0.0
    expected = copied(chains)
    reference_sweeps(model, expected, n_sweeps, move)
    for kernel in kernels_of(model):
        engine = build_engine(model, move, n_chains=n_chains, kernel=kernel)
        assert engine.name == f"{move}/{kernel}"
        found = copied(chains)
        energies = advance(engine, found, n_sweeps)
        assert found.states.tolist() == expected.states.tolist(), kernel
        assert found.streams.tolist() == expected.streams.tolist(), kernel
        exact = model.energy(found.states)
        assert np.abs(energies - exact).max() <= 1e-5 * np.abs(exact).max(), kernel


@pytest.mark.parametrize("move", SITE_MOVES)
def test_kernels_match_plain_python(move, model, rng):
    check_against_reference(model, 5, 40, move, rng)  # longer than bins live


def sized_model(form: str, length: int, n_states: int, rng: np.random.Generator) -> PottsModel:
    if form not in ("identity", "like identity"):
        return random_model(form, rng, length, n_states)
    fields = rng.normal(scale=0.5, size=(length, n_states))
    (interactions,), _ = sk_potts(length, n_states, 2.0, rng).couplings.factors()
    scale, constant = (1.0, 0.0) if form == "identity" else (-0.7, 0.3)
    return PottsModel.factored(interactions, scale * np.eye(n_states) + constant, fields=fields)


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize(
    ("form", "length", "n_states", "n_chains"),
    [
        ("identity", 19, 2, 100),
        ("factored", 7, 2, 33),
        ("two-heads", 6, 2, 5),
        ("sparse two-heads", 17, 2, 1),
        ("identity", 18, 3, 33),
        ("like identity", 9, 3, 17),
        ("sparse", 35, 5, 16),
        ("identity", 11, 5, 100),
        ("dense", 9, 2, 33),
        ("dense", 9, 5, 100),
        ("two-heads", 5, 5, 33),
        ("factored", 5, 17, 33),
        ("dense", 6, 17, 5),
        ("like identity", 7, 17, 1),
        ("identity", 9, 21, 33),
        ("two-heads", 5, 21, 5),
        ("dense", 7, 21, 1),
    ],
)
def test_kernels_match_plain_python_at_every_size(move, form, length, n_states, n_chains, rng):
    model = sized_model(form, length, n_states, rng)
    n_sweeps = max(2, 1000 // (length * n_chains))
    check_against_reference(model, n_chains, n_sweeps, move, rng)


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize(
    ("form", "n_states"), [("identity", 2), ("identity", 4), ("two-heads", 3), ("dense", 3)]
)
def test_lanes_do_not_depend_on_their_neighbors(move, form, n_states, rng):
    model = sized_model(form, 10, n_states, rng)
    tables, _ = lane_tables(model)
    chains = random_chains(model, 100, rng, rng.uniform(0.1, 1.5, size=100))

    def run(n_groups: int, order: np.ndarray) -> tuple[bytes, ...]:
        part = Chains(chains.states[order], chains.streams[order], chains.betas[order])
        energies = np.empty(100)
        for first in range(0, 100, LANES * n_groups):
            block = slice(first, first + LANES * n_groups)
            sweep_lanes(
                part.states[block], part.streams[block], part.betas[block], *tables, 6,
                move == "metropolis", energies[block], n_groups,
            )  # fmt: skip
        back = np.argsort(order)
        return tuple(array[back].tobytes() for array in (part.states, part.streams, energies))

    results = {run(n_groups, np.arange(100)) for n_groups in (1, 2, 4)}
    results.add(run(4, rng.permutation(100)))
    assert len(results) == 1


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("kernel", ["bins", "rows"])
def test_chains_do_not_depend_on_their_block(move, kernel, tiny_model, rng):
    engine = build_engine(tiny_model, move, n_chains=20, kernel=kernel)
    whole = random_chains(tiny_model, 20, rng)
    parts = copied(whole)
    engine.advance(whole, 5)
    for block in (slice(0, 1), slice(1, 14), slice(14, 20)):
        engine.advance(parts.part(block), 5)
    assert parts.states.tolist() == whole.states.tolist()
    assert parts.streams.tolist() == whole.streams.tolist()


@pytest.mark.parametrize("n_sweeps", [0, 1, 40])
def test_energies_are_those_of_the_model(n_sweeps, model, rng):
    chains = random_chains(model, 20, rng, 0.5)
    for kernel in kernels_of(model):
        engine = build_engine(model, n_chains=20, kernel=kernel)
        energies = advance(engine, chains, n_sweeps)
        assert energies == pytest.approx(model.energy(chains.states), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("move", CLUSTER_MOVES)
@pytest.mark.parametrize("n_sweeps", [0, 3])
def test_energies_of_cluster_moves(move, n_sweeps, rng):
    lattice = lattice_2d(36, 3, 0.8)
    fields = np.repeat(rng.normal(size=(36, 1)), 3, axis=1)  # no preference: only an offset
    model = PottsModel(fields, lattice.couplings)
    chains = random_chains(model, 5, rng, 1.2)
    energies = advance(build_engine(model, move, n_chains=5), chains, n_sweeps)
    assert energies == pytest.approx(model.energy(chains.states), rel=1e-5)


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("state", range(3))
def test_huge_fields_choose_the_most_probable_state(move, size, state, model, rng):
    fields = np.zeros((4, 3))
    fields[:, state] = size
    extreme = PottsModel(fields, model.couplings)
    for kernel in kernels_of(model):
        engine = build_engine(extreme, move, n_chains=20, kernel=kernel)
        chains = random_chains(extreme, 20, rng)
        energies = advance(engine, chains, 60)
        assert np.all((chains.states == state) == (size > 0)), kernel
        exact = extreme.energy(chains.states)
        assert energies == pytest.approx(exact, rel=1e-5, abs=1e-5), kernel


@pytest.mark.parametrize("move", SITE_MOVES)
@pytest.mark.parametrize("n_states", [2, 21])
def test_mixed_huge_fields_of_few_and_many_states(move, n_states, rng):
    couplings = random_model("factored", rng, 6, n_states).couplings
    fields = rng.permuted(np.tile(np.linspace(-1e4, 1e4, n_states), (6, 1)), axis=1)
    model = PottsModel(fields, couplings)
    for kernel in KERNELS:
        chains = random_chains(model, 20, rng)
        advance(build_engine(model, move, n_chains=20, kernel=kernel), chains, 400)
        assert np.all(chains.states == fields.argmax(axis=1)), kernel


def two_pairs(n_states: int) -> PottsModel:
    """0-1 and 2-3 are joined, by bonds that never break; 1-2 is a pair without interaction."""
    return PottsModel.from_edges([(0, 1), (2, 3)], n_states=n_states, strengths=STRONG)


def is_uniform(codes: np.ndarray, n_codes: int) -> bool:
    """Whether counts are within five deviations of equal ones."""
    expected = len(codes) / n_codes
    deviation = np.sqrt(expected * (1.0 - 1.0 / n_codes))
    counts = np.bincount(codes, minlength=n_codes)
    return len(counts) == n_codes and np.abs(counts - expected).max() < 5 * deviation


def test_swendsen_wang_clusters_end_where_the_interaction_does(rng):
    model = two_pairs(3)
    chains = random_chains(model, 4000, rng)
    chains.states[:] = 1
    build_engine(model, "swendsen-wang", n_chains=1).advance(chains, 1)
    first, second = chains.states[:, [0, 2]].astype(int).T
    assert np.array_equal(chains.states[:, 0], chains.states[:, 1])
    assert np.array_equal(chains.states[:, 2], chains.states[:, 3])
    assert is_uniform(3 * first + second, 9)


def test_wolff_flips_one_cluster_to_another_state(rng):
    model = two_pairs(3)
    chains = random_chains(model, 4000, rng)
    chains.states[:] = 1
    build_engine(model, "wolff", n_chains=1).advance(chains, 1)
    changed = chains.states != 1
    assert np.array_equal(changed[:, ::2], changed[:, 1::2])
    assert np.all(changed.sum(axis=1) == 2)
    new = chains.states.max(axis=1, where=changed, initial=0).astype(int)
    assert is_uniform(2 * changed[:, 0] + (new == 2), 4)


@pytest.mark.parametrize("sweep", [sweep_swendsen_wang, sweep_wolff])
def test_a_listed_interaction_of_zero_joins_nothing(sweep, rng):
    """Tables without zeros hide how a kernel treats them: 0-1 strong, 1-2 zero."""
    starts, neighbors = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1], np.uint32)
    values = np.array([STRONG, STRONG, 0.0, 0.0])
    states = np.ones((2000, 3), np.uint8)
    streams = rng.integers(1 << 32, size=(2000, 4), dtype=np.uint32)
    sweep(states, streams, np.ones(2000, np.float32), starts, neighbors, values, 2, 1, np.empty(0))
    assert np.array_equal(states[:, 0], states[:, 1])
    differs = (states[:, 1] != states[:, 2]).mean()
    assert differs == (1.0 if sweep is sweep_wolff else pytest.approx(0.5, abs=0.06))


@pytest.mark.parametrize("move", CLUSTER_MOVES)
def test_at_beta_zero_every_site_is_a_cluster(move, rng):
    model = lattice_2d(16, 3, STRONG)
    chains = random_chains(model, 2000, rng, 0.0)
    chains.states[:] = 2
    build_engine(model, move, n_chains=1).advance(chains, 1)
    if move == "wolff":
        assert np.all((chains.states != 2).sum(axis=1) == 1)
        assert is_uniform((chains.states != 2).argmax(axis=1), 16)
    else:
        pairs = 3 * chains.states[:, :-1].astype(int) + chains.states[:, 1:]
        assert all(is_uniform(codes, 9) for codes in pairs.T)


@pytest.mark.parametrize("move", CLUSTER_MOVES)
def test_strong_interactions_move_whole_domains(move, rng):
    """The upper half of a lattice is in state 0, the lower in 1: each moves as one."""
    model = lattice_2d(64, 3, STRONG)
    chains = random_chains(model, 1000, rng)
    chains.states[:, :32], chains.states[:, 32:] = 0, 1
    build_engine(model, move, n_chains=1).advance(chains, 1)
    halves = chains.states.reshape(1000, 2, 32)
    assert np.all(halves == halves[:, :, :1])
    upper, lower = halves[:, :, 0].astype(int).T
    if move == "wolff":  # one of them, to another state
        assert np.all((upper != 0) ^ (lower != 1))
    else:  # both, on their own
        assert is_uniform(3 * upper + lower, 9)
    whole = random_chains(model, 100, rng)
    whole.states[:] = 1
    build_engine(model, move, n_chains=1).advance(whole, 1)
    assert np.all(whole.states == whole.states[:, :1])
    assert (whole.states[:, 0] != 1).any()


@pytest.mark.parametrize("move", CLUSTER_MOVES)
def test_models_without_clusters_are_refused(move, rng):
    ferromagnet = chain(4, 3, 1.0)
    fields = np.zeros((4, 3))
    fields[2, 1] = 0.1
    bonds = np.abs(ferromagnet.couplings.factors()[0][0])
    refused = {
        "without fields": PottsModel(fields, ferromagnet.couplings),
        "not negative": PottsModel.factored(-bonds, n_states=3),
        "of one head": PottsModel.factored(np.stack([bonds, bonds]), n_states=3),
        "identity as color similarity": PottsModel.factored(bonds, 2.0 * np.eye(3)),
        r"A_ij \[a = b\]": PottsModel.dense(ferromagnet.to_dense()),
    }
    build_engine(ferromagnet, move, n_chains=1)
    for reason, model in refused.items():
        with pytest.raises(InputError, match=f"move {move} needs .*{reason}.*use heat-bath"):
            build_engine(model, move, n_chains=1)


def test_unknown_moves_are_refused(tiny_model):
    with pytest.raises(InputError, match="move"):
        build_engine(tiny_model, "gibbs", n_chains=1)


@pytest.mark.parametrize("n_threads", [1, 2, 16])
@pytest.mark.parametrize("move", SITE_MOVES)
def test_the_kernel_is_chosen_by_the_model_and_the_number_of_chains(move, n_threads, rng):
    def name(model: PottsModel, n_chains: int) -> str:
        return build_engine(model, move, n_chains=n_chains, n_threads=n_threads).name

    assert name(sk_potts(200, 2, 1.0, rng), 256) == f"{move}/lanes"
    assert name(sk_potts(200, 4, 1.0, rng), 64) == f"{move}/lanes"
    assert name(sk_potts(500, 20, 1.0, rng), 256) == f"{move}/bins"
    assert name(sk_potts(500, 20, 1.0, rng), 1024) == f"{move}/bins"
    assert name(random_model("dense", rng), 256) == f"{move}/lanes"
    assert name(random_model("dense", rng, 20, 21), 256) == f"{move}/rows"
    assert name(random_model("dense", rng, 20, 4), 1) == f"{move}/rows"
    assert name(lattice_2d(100**2, 3, 1.0), 64) == f"{move}/lanes"
    assert name(lattice_2d(100**2, 3, 1.0), 1) == f"{move}/lanes"
    assert name(sk_potts(200, 4, 1.0, rng), 1) == f"{move}/bins"  # fifteen lanes would be empty
