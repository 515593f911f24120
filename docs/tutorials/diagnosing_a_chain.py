"""The runs and figures of docs/tutorials/diagnosing_a_chain.md.

    python docs/tutorials/diagnosing_a_chain.py    # about a minute on two cores

Figures are written beside this file, numbers are printed.
"""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from pottsattn import PottsModel, Schedule
from pottsattn.figures.chains import figure_chains, plot_halves, plot_traces
from pottsattn.figures.style import BLUE, VERMILLION, new_figure
from pottsattn.model import lattice_2d, sk_potts
from pottsattn.model.exact import solve_torus
from pottsattn.sampling import SampleResult, Tempering, sample_to_file
from pottsattn.sampling.traces import StoredTraces, read_traces

HERE = Path(__file__).parent
CRITICAL = math.log(1.0 + math.sqrt(2.0))  # J of the square lattice with two states
SIDES = (6, 8, 12, 16, 24)


def main() -> None:
    warnings.simplefilter("ignore")  # what is wrong with the chains is the subject
    mixing()
    critical()
    ordered()
    rugged()


def run(
    title: str, model: PottsModel, n_sequences: int, schedule: Schedule, **options: object
) -> tuple[SampleResult, StoredTraces]:
    """Sample into a file, as the command line does; print what it prints, and <H> / L."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        options = {"rng": 1, **options}
        result = sample_to_file(model, n_sequences, path, schedule=schedule, **options)
        energies = model.energy(result.dataset.sequences) / model.length
        traces = read_traces(path)
    error = energies.std() / math.sqrt(result.diagnoses["energy"].ess)
    print(f"{title}: {result!r}, {result.seconds:.1f} s")
    print(f"    energy per site {energies.mean():.4f} ± {error:.4f}")
    print(f"    {result.diagnoses}; {result.warmup.message}")
    for report in (result.two_start, result.tempering):
        if report is not None:
            print(f"    {report!r}")
    return result, traces


def mixing() -> None:
    """A model that mixes: SK-Potts, three states, J = 1."""
    generator = np.random.default_rng(1)  # one for model and chains, as on the command line
    model = sk_potts(100, 3, 1.0, generator)
    _, traces = run("SK-Potts, J = 1", model, 6400, Schedule(), rng=generator)
    write(figure_chains(traces)[0], "mixing")


def critical() -> None:
    """The square lattice at its transition: times of heat bath and Swendsen-Wang."""
    times, seconds = new_figure(2, width=4.3, height=3.4)
    moves = {"heat-bath": "heat bath", "swendsen-wang": "Swendsen-Wang"}
    for move, color, marker in zip(moves, (VERMILLION, BLUE), "os", strict=True):
        tau, cost = [], []
        for n in SIDES:
            if move == "heat-bath":
                expected = 4.5 * n**2.17
                schedule = Schedule(64, round(5 * expected), max(1, round(expected / 50)), move)
                n_kept = 64 * 1000
            else:
                schedule, n_kept = Schedule(64, 100, 1, move), 64 * 500
            result, _ = run(f"{n} x {n}, {move}", lattice_2d(n * n, 2, CRITICAL), n_kept, schedule)
            tau.append(result.autocorrelation_time)
            cost.append(tau[-1] * n * n / result.updates_per_second * 1e3)
        exponent = np.polyfit(np.log(SIDES), np.log(tau), 1)[0]
        print(f"{move}: tau ~ n^{exponent:.2f}; ms per independent sequence {np.round(cost, 3)}")
        style = {"color": color, "marker": marker, "markersize": 5}
        times.plot(SIDES, tau, label=rf"{moves[move]}, $\propto n^{{{exponent:.1f}}}$", **style)
        seconds.plot(SIDES, cost, label=moves[move], **style)
    times.set_ylabel(r"autocorrelation time $\tau$ (sweeps)")
    seconds.set_ylabel("time per independent sequence (ms)")
    for ax in (times, seconds):
        ax.set(xscale="log", yscale="log", xlabel="side n of the lattice", xticks=SIDES)
        ax.set_xticks([], minor=True)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.legend(fontsize=8, frameon=False)
    write(times, "critical")


def ordered() -> None:
    """The same lattice below its transition: two starts that do not meet, and tempering."""
    model = lattice_2d(144, 2, 1.1)
    print(f"exact energy per site {solve_torus(12, 2, 1.1).mean_energy / 144:.4f}")
    _, plain = run("12 x 12, J = 1.1", model, 6400, Schedule(start="two"))
    _, tempered = run("tempered", model, 1600, Schedule(16, 1000, 100), tempering=Tempering())
    axes = new_figure(2, width=4.3, height=3.1)
    plot_traces(plain, axes[0], observable="overlap")
    plot_traces(tempered, axes[1], observable="overlap", n_lines=1)
    for ax, title in zip(axes, ("heat bath", "heat bath and tempering"), strict=True):
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title, fontsize=10, pad=18)
    write(axes[0], "ordered")


def rugged() -> None:
    """SK-Potts far beyond its glass transition: two starts that meet, chains that do not mix."""
    found = []
    for title, n_sequences, schedule, tempering in (
        ("SK-Potts, J = 5", 6400, Schedule(64, 2000, 20, start="two"), None),
        ("tempered", 3200, Schedule(16, 2000, 100), Tempering()),
    ):
        generator = np.random.default_rng(1)
        model = sk_potts(100, 3, 5.0, generator)
        options = {"tempering": tempering, "rng": generator}
        found.append(run(title, model, n_sequences, schedule, **options)[1])
    plain, tempered = found
    axes = new_figure(3, width=3.6, height=3.1)
    plot_halves(plain, axes[0])
    plot_halves(plain, axes[1], observable="overlap")
    plot_halves(tempered, axes[2], observable="overlap")
    for ax, title in zip(axes, ("heat bath", "heat bath", "with tempering"), strict=True):
        ax.set_title(title, fontsize=10, pad=18)
    for ax in axes[1:]:
        ax.set_ylim(0.0, 1.0)
    axes[2].set_xlabel("ladder of chains")
    write(axes[0], "rugged")


def write(ax: Axes, name: str) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    small = Image.open(buffer).convert("RGB").quantize(128)  # a palette: a third of the bytes
    small.save(HERE / f"diagnosing_a_chain_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
