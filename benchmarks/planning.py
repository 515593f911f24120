"""Check `plan`: from M sequences it predicts the held-out loss at 2 M; then 2 M are fitted.

    python benchmarks/planning.py [--seed N]
    python benchmarks/planning.py --alignment FILE [--ridges X ...]

Synthetic sets have 100 sites; 2 M new sequences of the same model are fitted at the ridge of the
plan and judged on 4000 others. From 4 sequences per site on every prediction of a matched form must
be within 3 %. The effective form promises no number: it must say that it extrapolates.
An alignment (not part of this repository) is split in whole clusters: a fifth is held out, half of
the rest makes the plan, all of the rest is fitted. Its sequences are not alike, so how hard the
held-out part is for fields alone is printed too.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from pottsattn import fit_pseudolikelihood, sample
from pottsattn.analysis.comparison import compare
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.reading import read_dataset
from pottsattn.data.resampling import split
from pottsattn.model.ensembles import ENSEMBLES
from pottsattn.studies.plan.result import Plan
from pottsattn.studies.plan.run import METHODS, plan

LENGTH, N_TEST, LARGEST_ERROR = 100, 4000, 0.03
MOST = f"{100 * LARGEST_ERROR:g} %"
ENOUGH = 4.0  # sequences per site
COLUMNS = ("method", "predicted", "measured", "error", "converged")
HEAD = ("ensemble", "C", "J", "M / L", "ridge", "fields", "form", *COLUMNS)
ALIGNMENT_HEAD = ("seed", "ridge", "M_eff", "factor", *COLUMNS, "test set", "rest")
CASES = [  # ensemble, C, J, M / L, ridge, fields
    ("sk-potts", 2, 1.0, 1.0, 0.2, "none"),
    ("sk-potts", 2, 1.0, 4.0, 0.2, "none"),
    ("sk-potts", 3, 1.5, 1.0, 0.2, "none"),
    ("sk-potts", 3, 1.5, 4.0, 0.2, "none"),
    ("sk-potts", 3, 1.5, 4.0, 0.2, "learned"),
    ("sk-potts", 3, 1.5, 16.0, 0.2, "none"),
    ("sk-potts", 3, 1.0, 4.0, 1.0, "none"),
    ("sk-potts", 4, 2.0, 4.0, 0.5, "none"),
    ("sk-potts", 5, 2.5, 8.0, 0.5, "learned"),
    ("sk-potts", 10, 3.0, 8.0, 1.0, "none"),
    ("chain", 3, 1.0, 4.0, 0.2, "none"),
    ("lattice-2d", 3, 0.6, 4.0, 0.2, "none"),
    ("generalized", 4, 2.0, 4.0, 0.5, "none"),
]


def predicted(found: Plan, method: str, factor: float) -> tuple[float, float]:
    """Return test loss and best loss at `factor` times the sequences, interpolated."""
    points = found.method(method).points
    logs = np.log([point.effective_size / found.effective_size for point in points])
    losses = [[point.test_loss for point in points], [point.best_loss for point in points]]
    test, best = (float(np.interp(np.log(factor), logs, column)) for column in losses)
    return test, best


def show(cells: tuple[object, ...]) -> None:
    """Print a row of a table; losses with four digits, errors as percentages."""
    words = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(" ".join(f"{word:>11}" for word in words), flush=True)


def percent(value: float) -> str:
    """Return a relative error as text."""
    return f"{100.0 * value:+.2f} %"


def synthetic(seed: int) -> bool:
    """Print one row per case and method; return whether all is as promised."""
    show(HEAD)
    largest = {"matched": 0.0, "effective": 0.0}
    warned = True
    for ensemble, n_states, scale, alpha, ridge, fields in CASES:
        model = ENSEMBLES[ensemble](LENGTH, n_states, scale, seed)
        size = round(alpha * LENGTH)
        data = sample(model, 3 * size + N_TEST, rng=seed + 1000, n_threads=1).dataset
        found = plan(data.take(slice(0, size)), ridge=ridge, fields=fields, n_threads=1)
        warned &= found.form == "matched" or any("extrapolations" in w for w in found.cautions())
        train, test = data.take(slice(size, 3 * size)), data.take(slice(3 * size, None))
        for method in METHODS:
            fit = fit_pseudolikelihood(train, method, ridge=ridge, fields=fields, n_threads=1)
            measured = compare({method: fit}, test).fits[0].test_loss
            expected = predicted(found, method, 2.0)[0]
            error = expected / measured - 1.0
            largest[found.form] = max(largest[found.form], abs(error) * (alpha >= ENOUGH))
            setting = (ensemble, n_states, f"{scale:g}", f"{alpha:g}", f"{ridge:g}", fields)
            done = "yes" if fit.converged else "NO"
            show((*setting, found.form, method, expected, measured, percent(error), done))
    print(f"matched: largest error {100 * largest['matched']:.2f} %, allowed {MOST}")
    told = "called extrapolations" if warned else "NOT called extrapolations"
    print(f"effective: largest error {100 * largest['effective']:.2f} %, {told}")
    return largest["matched"] <= LARGEST_ERROR and warned


def hardness(data: SequenceDataset, reference: SequenceDataset) -> float:
    """Return how much harder data are for fields alone that have the frequencies of others."""
    frequencies = reference.site_frequencies()
    logs = np.log(np.maximum(frequencies, 1e-4))

    def loss(of: SequenceDataset) -> float:
        return -float(of.normalized_weights @ logs[np.arange(of.length), of.sequences].mean(axis=1))

    return loss(data) - loss(reference)


def alignment(path: str, ridges: tuple[float, ...], seeds: range) -> None:
    """Print predictions from half of the data against fits to all of it."""
    data = read_dataset(path, n_threads=1)
    print(f"\n{data}")
    show(ALIGNMENT_HEAD)
    rows = []
    for seed in seeds:
        whole, test = split(data, 0.2, rng=seed)
        part = split(whole, 0.5, rng=seed)[1]
        harder = hardness(test, part)
        for ridge in ridges:
            found = plan(part, ridge=ridge, rng=seed, n_threads=1)
            factor = whole.effective_size / part.effective_size
            for method in METHODS:
                fit = fit_pseudolikelihood(whole, method, ridge=ridge, n_threads=1)
                measured = compare({method: fit}, test).fits[0].test_loss
                expected = predicted(found, method, factor)[0]
                error, share = expected / measured - 1.0, -harder / measured
                rows.append((ridge, method, error, error - share))
                setting = (seed, f"{ridge:g}", round(part.effective_size), f"{factor:.2f}", method)
                done = "yes" if fit.converged else "NO"
                errors = (percent(error), done, percent(share), percent(error - share))
                show((*setting, expected, measured, *errors))
    for ridge in ridges:
        for method in METHODS:
            errors = np.array([row[2:] for row in rows if row[:2] == (ridge, method)])
            mean, size = errors.mean(axis=0), np.sqrt((errors**2).mean(axis=0))
            words = f"mean error {percent(mean[0])}, rms {percent(size[0])}"
            rest = f"without the test set's own {percent(mean[1])}, {percent(size[1])}"
            print(f"ridge {ridge:g} {method}: {words}; {rest}")


def main() -> int:
    """Run; 1 when a synthetic prediction is off by more than 3 %, or by more without a word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alignment", help="an alignment to try")
    parser.add_argument("--ridges", type=float, nargs="+", default=[0.2])
    parser.add_argument("--splits", type=int, default=4, help="splits of the alignment")
    arguments = parser.parse_args()
    if arguments.alignment is not None:
        alignment(arguments.alignment, tuple(arguments.ridges), range(arguments.splits))
        return 0
    return 0 if synthetic(arguments.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
