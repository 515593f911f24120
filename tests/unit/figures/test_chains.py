"""Traces in a file and their figure: right chains and sweeps, times as `sample` states them."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, Schedule
from pottsattn.cli.main import main
from pottsattn.figures.chains import figure_chains, plot_autocorrelation, plot_halves, plot_traces
from pottsattn.figures.style import new_figure
from pottsattn.model.ensembles import lattice_2d
from pottsattn.sampling import sample_to_file
from pottsattn.sampling import traces as module
from pottsattn.sampling.diagnostics import split_r_hat
from pottsattn.sampling.traces import read_traces

N_CHAINS, N_ROUNDS = 12, 50
MODEL = lattice_2d(16, 2, 0.5)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    schedule = Schedule(N_CHAINS, n_warmup=30, thin_by=3)
    path = tmp_path_factory.mktemp("data") / "data.h5"
    return sample_to_file(MODEL, N_CHAINS * N_ROUNDS, path, schedule=schedule, rng=0)


def test_traces_are_those_of_the_sequences(sampled):
    traces = read_traces(sampled.path)
    energies = MODEL.energy(sampled.dataset.sequences).reshape(N_ROUNDS, N_CHAINS)
    assert_allclose(traces.energy, energies, atol=1e-5)
    assert_array_equal(traces.chains, np.arange(N_CHAINS))
    assert (traces.thin_by, traces.n_warmup, traces.length) == (3, 30, 16)
    assert (traces.n_chains, traces.n_rounds, traces.start) == (N_CHAINS, N_ROUNDS, "random")


def test_doubled_thinning_is_the_spacing(tmp_path):
    schedule = Schedule(N_CHAINS, n_warmup=30, thin_by=1)
    result = sample_to_file(MODEL, 600, tmp_path / "a.h5", schedule=schedule, min_ess=400.0, rng=0)
    assert result.thin_by > 1
    assert read_traces(result.path).thin_by == result.thin_by


def test_times_are_those_that_sample_stated(sampled):
    found = read_traces(sampled.path).autocorrelations()
    for name, diagnosis in sampled.diagnoses.items():
        one = found[name]
        assert one.time == pytest.approx(diagnosis.autocorrelation_time)
        assert one.rho[0] == 1.0
        assert one.window in one.lags


@pytest.mark.parametrize(("most_chains", "most_values"), [(5, 1 << 20), (64, 4 * N_ROUNDS)])
def test_few_of_many_chains_are_evenly_chosen(sampled, monkeypatch, most_chains, most_values):
    whole = read_traces(sampled.path)
    monkeypatch.setattr(module, "MOST_CHAINS", most_chains)
    monkeypatch.setattr(module, "MOST_VALUES", most_values)
    part = read_traces(sampled.path)
    assert_array_equal(part.chains, [0, 3, 6, 9])
    assert_array_equal(part.overlap, whole.overlap[:, ::3])
    assert part.n_chains == N_CHAINS


def test_long_runs_keep_every_other_round(sampled, monkeypatch):
    whole = read_traces(sampled.path)
    monkeypatch.setattr(module, "MOST_VALUES", N_ROUNDS - 1)
    part = read_traces(sampled.path)
    assert_array_equal(part.energy, whole.energy[1::2, :1])
    assert part.thin_by == 2 * whole.thin_by


def test_figure_has_its_panels_and_draws_every_chain_half(sampled):
    traces = read_traces(sampled.path)
    energy, overlap, correlation, halves = axes = figure_chains(traces)
    assert len({ax.figure for ax in axes}) == 1
    assert energy.get_xlabel() == "sweeps, after 30 of warm-up"
    mean = energy.lines[-1]
    assert_allclose(mean.get_ydata(), traces.energy.mean(axis=1) / 16, rtol=1e-5)  # one a window
    assert_allclose(mean.get_xdata(), 3 * np.arange(1, N_ROUNDS + 1))
    assert "overlap" in overlap.get_ylabel()
    labels = [text.get_text() for text in correlation.get_legend().get_texts()]
    assert [label.split(",")[0] for label in labels] == ["energy", "overlap"]
    first = next(line for line in halves.lines if line.get_label() == "first half")
    assert_allclose(first.get_ydata(), traces.energy[:25].mean(axis=0) / 16, rtol=1e-5)
    assert halves.texts[0].get_text() == f"split-R-hat {split_r_hat(traces.energy):.3f}"
    for draw in (plot_traces, plot_autocorrelation, plot_halves):
        ax = new_figure()[0]
        assert draw(traces, ax) is ax
    with pytest.raises(InputError, match="observable must be one of"):
        plot_traces(traces, observable="magnetisation")


@pytest.mark.filterwarnings("ignore")
def test_two_starts_are_drawn_apart_and_the_worse_observable_by_halves(tmp_path):
    schedule = Schedule(8, n_warmup=5, thin_by=1, start="two")
    path = sample_to_file(
        lattice_2d(100, 3, 3.0), 320, tmp_path / "a.h5", schedule=schedule, rng=0
    ).path
    energy, *_, halves = figure_chains(read_traces(path))
    named = [line for line in energy.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in named] == ["random start", "ordered or planted start"]
    random, ordered = (line.get_ydata().mean() for line in named)
    assert random > ordered + 0.1  # domain walls that stay
    assert "overlap" in halves.get_ylabel()


@pytest.mark.parametrize("n_sequences", [1, 2, 9])
def test_short_runs_have_a_figure_too(tmp_path, n_sequences, recwarn):
    path = sample_to_file(MODEL, n_sequences, tmp_path / "a.h5", schedule=Schedule(4), rng=0).path
    axes = figure_chains(read_traces(path))
    axes[0].figure.canvas.draw()
    assert "too few sequences per chain" in axes[2].texts[0].get_text()
    assert len(recwarn) == 0


def test_plot_draws_chains_where_there_are_traces(sampled, tmp_path, capsys):
    figure, part = tmp_path / "a.png", tmp_path / "part.h5"
    assert main(["plot", sampled.path, "--out", str(figure)]) == 0
    large = figure.stat().st_size
    sampled.dataset.save(part)
    assert main(["plot", str(part), "--out", str(figure)]) == 0  # frequencies of states
    assert figure.stat().st_size != large
    with pytest.raises(InputError, match=r"part\.h5 holds no traces of chains.*sample_to_file"):
        read_traces(part)
    capsys.readouterr()


def test_damaged_traces_are_an_input_error(sampled, tmp_path, capsys):
    copy = tmp_path / "copy.h5"
    shutil.copy(sampled.path, copy)
    with h5py.File(copy, "a") as file:
        del file["trace/overlap"]
    assert main(["plot", str(copy), "--out", str(tmp_path / "a.png")]) == 1
    assert "damaged or incomplete" in capsys.readouterr().err
