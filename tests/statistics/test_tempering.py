"""Parallel tempering against enumeration and against heat bath, with the errors of its ladders."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import ConvergenceWarning
from pottsattn.model.ensembles import lattice_2d, sk_potts
from pottsattn.model.exact import enumerate_states, solve_torus
from pottsattn.sampling import tempering
from pottsattn.sampling.sampler import sample
from pottsattn.sampling.schedule import Schedule, Tempering
from pottsattn.sampling.tempering import tune_ladder

LADDER = Tempering(inverse_temperatures=(0.0, 0.25, 0.5, 0.75, 1.0), sweeps_per_swap=1)
SCHEDULE = Schedule(n_chains=64, n_warmup=40, thin_by=2)


def z_scores(model, options: Tempering, seed: int = 0) -> np.ndarray:
    """Return (measured - exact) / error of every pair marginal; errors between ladders."""
    drawn = sample(model, 64 * 150, tempering=options, schedule=SCHEDULE, rng=seed).dataset
    by_ladder = drawn.sequences.reshape(150, 64, model.length)
    one_hot = np.eye(model.n_states)[by_ladder].reshape(150, 64, -1)
    pairs = np.einsum("tmx,tmy->mxy", one_hot, one_hot) / 150.0
    error = pairs.std(axis=0, ddof=1) / np.sqrt(64)
    exact = enumerate_states(model).pair_marginals().transpose(0, 2, 1, 3).reshape(error.shape)
    is_random = error > 0.0
    return ((pairs.mean(axis=0) - exact) / np.where(is_random, error, 1.0))[is_random]


def test_tempering_matches_enumeration(model):
    assert np.abs(z_scores(model, LADDER)).max() < 5.0


@pytest.mark.parametrize("fault", ["sign", "no energy"])
def test_wrong_exchanges_are_found(tiny_model, monkeypatch, fault):
    swap = tempering._swap

    def wrong(rungs, betas, energies, *rest):
        swap(rungs, betas, -energies if fault == "sign" else 0.0 * energies, *rest)

    monkeypatch.setattr(tempering, "_swap", wrong)
    assert np.abs(z_scores(tiny_model, LADDER)).max() > 5.0


@pytest.mark.parametrize("move", ["heat-bath", "metropolis", "swendsen-wang"])
def test_tempering_and_plain_chains_agree_with_the_torus(move):
    model = lattice_2d(16, 3, 0.7)
    exact = solve_torus(4, 3, 0.7)
    for options in (None, Tempering(n_tuning=50)):
        schedule = Schedule(n_chains=64, n_warmup=200, thin_by=4, move=move)
        drawn = sample(model, 6400, tempering=options, schedule=schedule, rng=3).dataset
        means = model.energy(drawn.sequences).reshape(100, 64).mean(axis=0)
        error = means.std(ddof=1) / np.sqrt(64)
        assert abs(means.mean() - exact.mean_energy) < 5.0 * error


def test_the_ladder_rejects_evenly_and_replicas_travel():
    model = sk_potts(40, 3, 2.0, 1)
    ladder = tune_ladder(model, Schedule(), Tempering(), np.random.SeedSequence(0), 2)
    assert ladder[[0, -1]].tolist() == [0.0, 1.0]
    assert np.all(np.diff(ladder) > 0)
    schedule = Schedule(n_chains=16, n_warmup=100, thin_by=8)
    result = sample(
        model,
        1600,
        tempering=Tempering(inverse_temperatures=tuple(ladder)),
        schedule=schedule,
        rng=0,
    )
    rates = result.tempering.swap_rates
    assert 0.35 < rates.min() <= rates.max() < 0.75  # one half is aimed at
    assert rates.std() < 0.1
    # Even and odd pairs in turn: a round trip takes a few times the number of rungs, in swaps.
    n_swaps = 2 * result.tempering.n_swaps * 16 * len(ladder)
    assert result.tempering.n_round_trips > n_swaps / (10 * len(ladder) ** 2)


def test_tempering_mixes_where_heat_bath_does_not():
    """An ordered lattice: heat bath keeps the color it fell into, tempering visits all alike."""
    model = lattice_2d(36, 3, 1.6)
    schedule = Schedule(n_chains=16, n_warmup=200, thin_by=8, start="ordered")
    with pytest.warns(ConvergenceWarning, match="they share a phase"):
        plain = sample(model, 1600, schedule=schedule, rng=0).dataset.sequences
    drawn = sample(model, 1600, tempering=Tempering(), schedule=schedule, rng=0)
    tempered = drawn.dataset.sequences
    assert drawn.colors.is_met
    share = [(one == 0).mean() for one in (plain, tempered)]
    assert share[0] > 0.85
    colors = (tempered[:, :, None] == np.arange(3)).mean(axis=1).reshape(100, 16, 3).mean(axis=0)
    error = colors.std(axis=0, ddof=1) / 4.0
    assert np.all(np.abs(colors.mean(axis=0) - 1 / 3) < 5.0 * error)
    assert np.all(error < 0.1)
