"""Kernels against plain Python, and what `sample` promises besides the distribution."""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn._storage import content_hash
from pottsattn.ensembles import chain, sk_potts
from pottsattn.exact import enumerate_states
from pottsattn.potts import PottsModel
from pottsattn.sampling import kernels_heat_bath as kernels
from pottsattn.sampling.sampler import Schedule, sample

MASK = (1 << 64) - 1


class Xoshiro:
    """xoshiro256++ in whole numbers, after Blackman and Vigna's public-domain C code."""

    def __init__(self, state):
        self.s = [int(word) for word in state]

    def next(self):
        def rotl(x, k):
            return ((x << k) | (x >> (64 - k))) & MASK

        s = self.s
        result = (rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return result

    def uniform(self):
        return (self.next() >> 11) / 2**53


def test_reference_generator_gives_the_published_values():
    stream = Xoshiro([1, 2, 3, 4])  # the test vector of the rand_xoshiro crate
    assert [stream.next() for _ in range(5)] == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
    ]


def test_kernel_draws_the_reference_stream(rng):
    state = rng.integers(1 << 64, size=4, dtype=np.uint64)
    reference = Xoshiro(state)
    assert all(kernels._uniform(state) == reference.uniform() for _ in range(1000))
    assert state.tolist() == reference.s


def reference_sweeps(states, tensor, fields, n_sweeps, streams):
    for chain_states, stream in zip(states, map(Xoshiro, streams), strict=True):
        for _ in range(n_sweeps):
            for i in range(len(chain_states)):
                logits = [
                    fields[i, a] + sum(tensor[i, j, a, s] for j, s in enumerate(chain_states))
                    for a in range(fields.shape[1])
                ]
                weights = [math.exp(x - max(logits)) for x in logits]
                threshold = stream.uniform() * sum(weights)
                chain_states[i] = np.searchsorted(np.cumsum(weights), threshold, side="right")


def test_kernels_match_plain_python(model, rng):
    states = rng.integers(3, size=(5, 4), dtype=np.uint8)
    streams = rng.integers(1 << 64, size=(5, 4), dtype=np.uint64)
    expected = states.copy()
    reference_sweeps(expected, model.to_dense(), model.fields, 20, streams)
    if model.couplings.is_factored:
        kernels.sweep_factored(states, model.fields, *model.couplings.factors(), 20, streams)
    else:
        by_neighbor = np.ascontiguousarray(model.to_dense().transpose(0, 1, 3, 2))
        kernels.sweep_dense(states, model.fields, by_neighbor, 20, streams)
    assert states.tolist() == expected.tolist()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_fields_choose_the_most_probable_state(model, size):
    fields = np.zeros((4, 3))
    fields[:, 1] = size
    drawn = sample(PottsModel(fields, model.couplings), 300, rng=0).dataset.sequences
    assert np.all((drawn == 1) == (size > 0))


def test_same_seed_same_file_for_any_number_of_threads(model, tmp_path):
    hashes = set()
    schedule = Schedule(n_chains=10, n_warmup=3, thin_by=2)
    for run, (seed, n_threads) in enumerate([(5, 1), (5, 2), (6, 1)]):
        result = sample(model, 95, schedule=schedule, rng=seed, n_threads=n_threads)
        assert result.dataset.sequences.shape == (95, 4)
        result.dataset.save(tmp_path / f"{run}.h5")
        hashes.add((seed, content_hash(tmp_path / f"{run}.h5")))
    assert len({seed for seed, _ in hashes}) == len(hashes) == 2
    assert len({value for _, value in hashes}) == 2


def test_chains_have_streams_of_their_own(tiny_model):
    # More sequences only prolong the chains; the first ones stay what they were.
    schedule = Schedule(n_chains=8)
    short, long = (
        sample(tiny_model, size, schedule=schedule, rng=1).dataset.sequences for size in (77, 160)
    )
    assert np.array_equal(short, long[:77])
    by_chain = long.reshape(20, 8, 4).transpose(1, 0, 2).reshape(8, -1)
    assert len({row.tobytes() for row in by_chain}) == 8


def test_diagnostics_are_those_of_the_energy(tiny_model):
    exact = enumerate_states(tiny_model)
    mean_energy = exact.probabilities @ tiny_model.energy(exact.states)
    result = sample(tiny_model, 6400, schedule=Schedule(thin_by=3), rng=2)
    energies = tiny_model.energy(result.dataset.sequences)
    assert abs(energies.mean() - mean_energy) < 5 * energies.std() / np.sqrt(result.ess)
    assert result.ess == pytest.approx(6400 / (result.autocorrelation_time / 3))
    assert result.ess <= 6400
    assert result.split_r_hat == pytest.approx(1.0, abs=0.02)
    assert result.dataset.model is tiny_model
    assert result.phase_zone is None


def test_few_sequences_leave_diagnostics_undefined(tiny_model):
    result = sample(tiny_model, 5, rng=0)
    assert result.dataset.n_sequences == 5
    assert np.isnan([result.ess, result.split_r_hat, result.autocorrelation_time]).all()


@pytest.mark.parametrize(("scale", "zone"), [(1.0, "safe"), (6.0, "invalid")])
def test_sk_potts_outside_the_safe_zone_warns(scale, zone):
    model = sk_potts(6, 3, scale, 0)
    if zone == "safe":
        result = sample(model, 8, rng=0)
    else:
        with pytest.warns(UserWarning, match="zone 'invalid'.*lower coupling_scale"):
            result = sample(model, 8, rng=0)
    assert result.phase_zone == zone


def test_progress_ends_at_its_total(tiny_model):
    calls = []
    schedule = Schedule(n_chains=6, n_warmup=7, thin_by=3)
    sample(
        tiny_model,
        24,
        schedule=schedule,
        rng=0,
        n_threads=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    total = 6 * (7 + 3 * 3)
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_ends_running_chains(n_threads):
    model = chain(100, 5, 1.0)
    calls = itertools.count()

    def press_ctrl_c(done: int, total: int) -> None:
        if next(calls) == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        sample(
            model,
            40_000,  # a minute of work
            schedule=Schedule(n_chains=8, thin_by=100),
            n_threads=n_threads,
            rng=0,
            progress=press_ctrl_c,
        )
    assert time.perf_counter() - started < 3.0


@pytest.mark.parametrize(
    ("facts", "text"),
    [({"n_chains": 0}, "chains"), ({"n_warmup": -1}, "warmup"), ({"thin_by": 0}, "thin")],
)
def test_impossible_schedules_are_refused(facts, text):
    with pytest.raises(InputError, match=text):
        Schedule(**facts)


def test_zero_sequences_are_refused(tiny_model):
    with pytest.raises(InputError, match="n_sequences must be at least 1"):
        sample(tiny_model, 0)
