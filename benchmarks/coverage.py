"""Do printed standard errors cover: nominal 68 and 95 % against what is measured.

    python benchmarks/coverage.py            # about a minute on one core
    python benchmarks/coverage.py --quick    # a fifth of the runs

Means of sampled sequences with the error std / sqrt(ess), `ess` of `sample`: models whose mean
energy or overlap is known exactly, chains from mixing to slow. Of every case all runs with their
seeds are counted in which the effective size can be believed (`is_long_enough`); how many that
are is told. The script first checks itself: normal means with a known error cover as they should,
and a planted fault, errors that take all sequences as independent, does not. Exit status 1 if a
check fails, or a coverage is away from nominal by more than 3 binomial errors and what the error
of the size explains.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pottsattn import PottsModel, Schedule, sample
from pottsattn.model.ensembles import lattice_2d, sk_potts
from pottsattn.model.exact import enumerate_states, solve_torus

LEVELS = {68: 1.0, 95: 1.959964}  # half widths, in standard errors
NOMINAL = {68: 0.682689, 95: 0.95}


@dataclass(frozen=True)
class Case:
    """A model whose mean energy is known, how it is sampled, and how often."""

    name: str
    model: PottsModel
    mean_energy: float
    schedule: Schedule
    n_sequences: int
    n_runs: int


def coverage(z: np.ndarray) -> dict[int, tuple[float, float]]:
    """Return the share of |z| within each level, and its binomial error at the nominal value."""
    return {
        level: (
            float(np.mean(np.abs(z) <= width)),
            float(np.sqrt(NOMINAL[level] * (1.0 - NOMINAL[level]) / len(z))),
        )
        for level, width in LEVELS.items()
    }


def row(name: str, seeds: str, z: np.ndarray, note: str = "") -> bool:
    """Print a row; return whether each coverage is within 3 binomial errors, and slack, of nominal.

    The slack is that of a z whose error is wrong by a tenth: an effective size from 1000 has a
    relative error of 0.14, and half of that goes into the standard error.
    """
    found = coverage(z)
    print(
        f"{name:34} {seeds:>9} {len(z):5d} "
        + " ".join(f"{100 * share:5.1f} +- {100 * error:3.1f}" for share, error in found.values())
        + f"  {note}"
    )
    slack = {68: 0.05, 95: 0.02}
    return all(
        abs(share - NOMINAL[level]) <= 3.0 * error + slack[level]
        for level, (share, error) in found.items()
    )


def cases(scale: float) -> list[Case]:
    """Return the models."""
    small = sk_potts(6, 3, 1.5, 1)
    exact = enumerate_states(small)
    energy = float(exact.probabilities @ small.energy(exact.states))
    lattice, torus = lattice_2d(36, 2, 0.75), solve_torus(6, 2, 0.75).mean_energy
    n_runs = round(200 * scale)
    return [
        Case("enumerated, every 10 sweeps", small, energy, Schedule(), 1280, n_runs),
        Case("enumerated, every sweep", small, energy, Schedule(16, 50, 1), 3200, n_runs),
        Case("lattice 6 x 6, every 10", lattice, torus, Schedule(64, 500, 10), 2560, n_runs),
        Case("lattice 6 x 6, every sweep", lattice, torus, Schedule(16, 500, 1), 8000, n_runs),
        Case("one chain", lattice, torus, Schedule(1, 500, 5), 3000, n_runs),
    ]


def z_scores(case: Case) -> tuple[dict[str, np.ndarray], int]:
    """Return z of the mean energy, of the overlap, and of the planted fault; and runs left out."""
    scores: dict[str, list[float]] = {"energy": [], "overlap": [], "independent": []}
    left_out = 0
    for seed in range(case.n_runs):
        drawn = sample(case.model, case.n_sequences, schedule=case.schedule, rng=seed, n_threads=1)
        energies = case.model.energy(drawn.dataset.sequences)
        off = energies.mean() - case.mean_energy
        one = drawn.diagnoses["energy"]
        left_out += not one.is_long_enough
        if one.is_long_enough:
            scores["energy"].append(off / (energies.std() / np.sqrt(one.ess)))
            scores["independent"].append(off / (energies.std() / np.sqrt(len(energies))))
        if drawn.colors is not None:
            scores["overlap"].append(drawn.colors.z)
    return {name: np.array(values) for name, values in scores.items()}, left_out


def means_of_samples(scale: float) -> bool:
    """Print the table of means; return whether all rows are right and the fault is seen."""
    good, widest = True, 1.0
    for case in cases(scale):
        scores, left_out = z_scores(case)
        note = f"{left_out} left out as too short" if left_out else ""
        seeds = f"0-{case.n_runs - 1}"
        good &= row(f"energy, {case.name}", seeds, scores["energy"], note)
        good &= row(f"overlap, {case.name}", seeds, scores["overlap"])
        widest = min(widest, coverage(scores["independent"])[68][0])
    print(f"planted fault, sequences as independent: 68 % covers {100 * widest:.1f} % at worst")
    return good and widest < 0.5


def checks_itself() -> bool:
    """Return whether the count of normal numbers is right, and that of too wide ones is wrong."""
    z = np.random.default_rng(0).normal(size=4000)
    print("check of the count: normal numbers, and normal numbers 1.5 times as wide")
    return row("normal", "0", z) and not row("1.5 times as wide", "0", 1.5 * z)


TABLES: dict[str, Callable[[float], bool]] = {"means of samples": means_of_samples}


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the runs")
    scale = 0.2 if parser.parse_args().quick else 1.0
    warnings.simplefilter("ignore")  # a slow chain is the subject, and is counted
    print(f"{'':34} {'seeds':>9} {'runs':>5} {'68 %':>12} {'95 %':>12}")
    if not checks_itself():
        print("the count is wrong")
        return 1
    good = True
    for title, table in TABLES.items():
        print(f"\n{title}")
        good &= table(scale)
    print("\nall as stated" if good else "\nNOT as stated")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
