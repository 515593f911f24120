"""What `sample` promises besides the distribution: seeds, threads, schedules, diagnostics."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import numpy as np
import pytest

from pottsattn import ConvergenceWarning, InputError
from pottsattn._core.storage import content_hash
from pottsattn.model.ensembles import chain, generalized, lattice_2d, sk_potts
from pottsattn.model.exact import enumerate_states
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.job import Job
from pottsattn.sampling.recording import MemoryRecorder
from pottsattn.sampling.sampler import sample
from pottsattn.sampling.schedule import Schedule, Tempering
from pottsattn.sampling.symmetry import check_colors, prefers_no_color


@pytest.mark.parametrize("move", ["heat-bath", "metropolis"])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_fields_choose_the_most_probable_state(model, size, move):
    fields = np.zeros((4, 3))
    fields[:, 1] = size
    schedule = Schedule(move=move)
    drawn = sample(PottsModel(fields, model.couplings), 300, schedule=schedule, rng=0)
    assert np.all((drawn.dataset.sequences == 1) == (size > 0))


def test_same_seed_same_file_for_any_number_of_threads(model, tmp_path):
    hashes = set()
    schedule = Schedule(n_chains=70, n_warmup=3, thin_by=2)
    for run, (seed, n_threads) in enumerate([(5, 1), (5, 2), (5, 3), (6, 1)]):
        result = sample(model, 195, schedule=schedule, rng=seed, n_threads=n_threads)
        assert result.dataset.sequences.shape == (195, 4)
        result.dataset.save(tmp_path / f"{run}.h5")
        hashes.add((seed, content_hash(tmp_path / f"{run}.h5")))
    assert len({seed for seed, _ in hashes}) == len(hashes) == 2
    assert len({value for _, value in hashes}) == 2


def test_one_generator_gives_new_sequences_at_every_call(tiny_model, rng):
    first, second = (sample(tiny_model, 200, rng=rng).dataset.sequences for _ in range(2))
    assert not np.array_equal(first, second)


def test_chains_have_streams_of_their_own(tiny_model):
    # More sequences only prolong the chains; the first ones stay what they were.
    schedule = Schedule(n_chains=8)
    short, long = (
        sample(tiny_model, size, schedule=schedule, rng=1).dataset.sequences for size in (77, 160)
    )
    assert np.array_equal(short, long[:77])
    by_chain = long.reshape(20, 8, 4).transpose(1, 0, 2).reshape(8, -1)
    assert len({row.tobytes() for row in by_chain}) == 8


def test_diagnostics_are_those_of_energy_and_overlap(tiny_model):
    exact = enumerate_states(tiny_model)
    mean_energy = exact.probabilities @ tiny_model.energy(exact.states)
    result = sample(tiny_model, 6400, schedule=Schedule(thin_by=3), rng=2)
    energies = tiny_model.energy(result.dataset.sequences)
    assert abs(energies.mean() - mean_energy) < 5 * energies.std() / np.sqrt(result.ess)
    assert set(result.diagnoses) == {"energy", "overlap"}
    assert result.ess == min(one.ess for one in result.diagnoses.values())
    assert result.ess == pytest.approx(6400 / (result.autocorrelation_time / 3))
    assert result.ess <= 6400
    assert result.split_r_hat == pytest.approx(1.0, abs=0.02)
    assert result.dataset.model is tiny_model
    assert result.phase_zone is None
    assert result.converged
    assert result.warmup.is_sufficient
    assert result.to_dict()["diagnostics"]["energy"]["ess"] >= result.ess


def test_few_sequences_leave_diagnostics_undefined(tiny_model):
    result = sample(tiny_model, 5, rng=0)
    assert result.dataset.n_sequences == 5
    assert np.isnan([result.ess, result.split_r_hat, result.autocorrelation_time]).all()
    assert "not judged, as chains of 1 sequences are too short" in result.message


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
    total = 6 * (7 + 4 * 3)
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_calls", [0, 60])
def test_interrupt_returns_what_is_done(n_threads, n_calls):
    model = chain(100, 5, 1.0)
    calls = itertools.count()

    def press_ctrl_c(done: int, total: int) -> None:
        if next(calls) == n_calls:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    schedule = Schedule(n_chains=8, n_warmup=10, thin_by=400)

    def run():
        return sample(
            model, 400_000, schedule=schedule, n_threads=n_threads, rng=0, progress=press_ctrl_c
        )

    started = time.perf_counter()
    if n_calls == 0:  # during the warm-up there is nothing to return
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        result = run()
        assert result.interrupted
        assert not result.converged
        assert "interrupted after" in result.message
        assert 0 < result.dataset.n_sequences == result.n_sequences < 400_000
        whole = sample(model, result.n_sequences, schedule=schedule, rng=0)
        assert np.array_equal(whole.dataset.sequences, result.dataset.sequences)
    assert time.perf_counter() - started < 10.0


def test_thinning_is_doubled_until_enough_sequences_are_independent():
    model = lattice_2d(64, 2, 0.6)
    schedule = Schedule(n_chains=16, thin_by=1)
    assert sample(model, 1600, schedule=schedule, rng=0).ess < 600
    result = sample(model, 1600, schedule=schedule, min_ess=1000, rng=0)
    assert result.converged
    assert result.ess >= 1000
    assert result.dataset.n_sequences == 1600
    # The same chains, looked at more rarely: what is kept lies on the coarser grid of times.
    factor = result.thin_by
    assert factor in (4, 8, 16, 32)
    fine = sample(model, 1600 * factor, schedule=schedule, rng=0).dataset.sequences
    coarse = fine.reshape(-1, 16, 64)[factor - 1 :: factor][:100]
    assert np.array_equal(result.dataset.sequences, coarse.reshape(-1, 64))


def test_what_cannot_be_reached_is_said(tiny_model):
    frozen = PottsModel.factored(np.array([[0.0, 30.0], [30.0, 0.0]]), n_states=3)
    schedule = Schedule(n_chains=8, n_warmup=10, thin_by=1)
    with pytest.warns(ConvergenceWarning, match="not converged.*effective sample size"):
        result = sample(frozen, 160, schedule=schedule, min_ess=100, rng=0)
    assert not result.converged
    assert "the chains are frozen: none of 8 changed" in result.message
    assert result.message.endswith(
        "use tempering, or cluster moves for a ferromagnet without fields"
    )
    assert result.dataset.n_sequences == 160
    assert result.dataset.origin["converged"] is False


def test_chains_frozen_in_an_ordered_start_are_called_frozen():
    # All chains alike: split-R-hat is 1, and there is no effective size.
    schedule = Schedule(start="ordered")
    with pytest.warns(ConvergenceWarning, match="the chains are frozen: none of 64 changed"):
        result = sample(lattice_2d(64, 2, 50.0), 2560, schedule=schedule, rng=0)
    assert not result.converged
    assert result.split_r_hat == 1.0
    assert np.isnan(result.ess)
    # Chains that start apart and stay there are frozen, too.
    with pytest.warns(ConvergenceWarning, match="frozen"):
        sample(lattice_2d(64, 2, 50.0), 640, rng=0)
    with pytest.warns(ConvergenceWarning, match="frozen.*effective sample size unknown of 300"):
        sample(lattice_2d(64, 2, 50.0), 2560, schedule=schedule, min_ess=300, rng=0)


def test_random_starts_that_end_at_one_sequence_found_it(tiny_model):
    fields = np.zeros((4, 3))
    fields[:, 1] = 1e4
    model = PottsModel(fields, tiny_model.couplings)
    result = sample(model, 320, rng=0)
    assert result.converged
    assert "from random starts, ended at one sequence" in result.message
    with pytest.warns(ConvergenceWarning, match="frozen"):  # planted there: it proves nothing
        sample(model, 320, initial=np.ones((1, 4), dtype=np.uint8), rng=0)


def test_chains_stuck_in_domains_disagree_with_few_sequences_each():
    with pytest.warns(
        ConvergenceWarning, match="the chains disagree: split-R-hat .* of the energy"
    ):
        result = sample(lattice_2d(1024, 2, 2.0), 1000, rng=0)
    assert not result.converged
    assert result.split_r_hat > 10.0
    assert result.is_lower_bound
    assert "tau>=" in repr(result)


def test_one_phase_is_seen_where_no_color_is_preferred():
    model = lattice_2d(64, 2, 1.5)
    schedule = Schedule(start="ordered")
    for n_sequences in (64, 1000):  # from one sequence of each chain on
        with pytest.warns(ConvergenceWarning, match=r"the overlap .* is 0\.5000, .*share a phase"):
            result = sample(model, n_sequences, schedule=schedule, rng=0)
        assert not result.colors.is_met
    assert result.split_r_hat < 1.01  # the chains agree with each other
    assert result.to_dict()["diagnostics"]["colors"]["expected"] == 0.5
    moving = Schedule(move="swendsen-wang", start="ordered", n_warmup=50)
    assert sample(model, 1000, schedule=moving, rng=0).colors.is_met


def test_overlap_of_mixing_chains_is_one_in_c():
    scores = []
    for seed in range(40):
        result = sample(sk_potts(20, 3, 1.0, 0), 640, rng=seed)
        assert result.colors.is_met
        assert result.colors.expected == 1.0 / 3.0
        scores.append(result.colors.z)
    assert abs(np.mean(scores)) < 4 / np.sqrt(40)
    assert np.std(scores) < 1 + 4 / np.sqrt(80)


def test_colors_are_only_checked_where_none_is_preferred(tiny_model):
    couplings = sk_potts(6, 3, 1.0, 0).couplings
    assert prefers_no_color(PottsModel(np.full((6, 3), 0.7), couplings))
    assert prefers_no_color(PottsModel.dense(couplings.to_dense()))
    assert prefers_no_color(generalized(6, 2, 1.0, 0))  # a zero-sum U of two states
    assert not prefers_no_color(generalized(6, 3, 1.0, 0))
    assert not prefers_no_color(PottsModel.dense(generalized(6, 3, 1.0, 0).couplings.to_dense()))
    fields = np.zeros((6, 3))
    fields[2, 1] = 1e-3
    assert not prefers_no_color(PottsModel(fields, couplings))
    assert sample(PottsModel(fields, couplings), 64, rng=0).colors is None
    # Too few sequences of too few chains have no error.
    assert sample(PottsModel.dense(couplings.to_dense()), 8, rng=0).colors is None


def test_few_equal_samples_are_not_exact():
    found = check_colors(np.zeros((4, 8), np.float32), 2, 20)  # by chance one in twenty-five
    assert found.is_met
    assert not check_colors(np.ones((4, 8), np.float32), 2, 20).is_met


def test_two_starts_that_do_not_meet_are_seen():
    # Far below its critical temperature a random lattice freezes in domains.
    schedule = Schedule(n_chains=16, n_warmup=5, thin_by=1, start="two")
    with pytest.warns(ConvergenceWarning, match="starts"):
        result = sample(lattice_2d(400, 3, 3.0), 320, schedule=schedule, rng=0)
    assert not result.two_start.is_met
    assert not result.converged
    hot = sample(lattice_2d(400, 3, 0.3), 320, schedule=schedule, rng=0)
    assert hot.two_start.is_met
    assert hot.converged


def test_planted_starts_are_where_chains_begin(rng):
    model = lattice_2d(64, 3, 8.0)  # nothing moves in an ordered lattice this cold
    planted = np.full((2, 64), [[1], [2]], dtype=np.uint8)
    schedule = Schedule(n_chains=4, n_warmup=0, thin_by=1)
    drawn = sample(model, 4, schedule=schedule, initial=planted, rng=rng).dataset.sequences
    assert drawn[:, 0].tolist() == [1, 2, 1, 2]
    with pytest.raises(InputError, match="initial sequences have shape"):
        sample(model, 4, initial=planted[:, :5])


def test_annealed_starts_begin_hot():
    model = lattice_2d(400, 2, 2.0)
    warmed = {}
    for start in ("random", "annealed"):
        schedule = Schedule(n_chains=64, n_warmup=64, thin_by=1, start=start)
        recorder = MemoryRecorder(2, np.random.default_rng(0))
        Job(model, 64, schedule, None, None, None, 0, None, None).run_until_enough(recorder)
        warmed[start] = recorder.warmup_energies().mean(axis=1)
    # After two of 64 sweeps: a sixteenth of the couplings has ordered nothing, all of them a lot.
    assert warmed["annealed"][0] > -1.2 * 800  # -2 (1 / C) L J = -800 at infinite temperature
    assert warmed["random"][0] < -1.5 * 800
    assert abs(warmed["annealed"][-1] / warmed["random"][-1] - 1.0) < 0.05


def test_tempering_reports_its_ladder_and_refuses_starts():
    model = sk_potts(20, 3, 2.0, 0)
    result = sample(model, 64, tempering=Tempering(), schedule=Schedule(n_chains=4), rng=0)
    report = result.tempering
    assert report.inverse_temperatures[[0, -1]].tolist() == [0.0, 1.0]
    assert np.all(np.diff(report.inverse_temperatures) > 0)
    assert np.all((report.swap_rates > 0.2) & (report.swap_rates < 0.9))
    assert report.n_round_trips > 0
    with pytest.raises(InputError, match="does not go with tempering"):
        sample(model, 8, tempering=Tempering(), schedule=Schedule(start="annealed"))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"n_chains": 0}, "chains"),
        ({"n_warmup": -1}, "warmup"),
        ({"thin_by": 0}, "thin"),
        ({"move": "heatbath"}, "did you mean heat-bath"),
        ({"start": "hot"}, "start must be one of"),
        ({"start": "two", "n_chains": 3}, "at least 4 chains"),
    ],
)
def test_impossible_schedules_are_refused(facts, text):
    with pytest.raises(InputError, match=text):
        Schedule(**facts)


@pytest.mark.parametrize("ladder", [(1.0,), (0.0, 0.5), (0.5, 0.2, 1.0), (-0.1, 1.0)])
def test_impossible_ladders_are_refused(ladder):
    with pytest.raises(InputError, match="inverse_temperatures must"):
        Tempering(inverse_temperatures=ladder)


@pytest.mark.parametrize(
    ("size", "min_ess", "text"),
    [(0, None, "n_sequences must be at least 1"), (99, 100, "at most the number of sequences")],
)
def test_impossible_sizes_are_refused(tiny_model, size, min_ess, text):
    with pytest.raises(InputError, match=text):
        sample(tiny_model, size, min_ess=min_ess)


def test_too_few_sequences_per_chain_for_a_criterion_are_refused(tiny_model):
    with pytest.raises(InputError, match="use at most 25 chains"):
        sample(tiny_model, 100, min_ess=50)
