"""Gaps ignored or as a state: couplings of a known model, and contacts of a real family.

    python benchmarks/gaps.py      # about half a minute on one core

An equilibrium sample of SK-Potts, L = 20, C = 4, J = 1, M = 3000, loses 30 % of its entries:
anywhere, or six neighboring sites of every sequence. Fits with the gap as a state and fits that
ignore gaps are compared by the couplings between states and by the loss on complete sequences,
which have no gap: of a fit with the gap as a state what it says of the others. The real family
PF00014 is read where POTTSATTN_TEST_DATA is set. Exit status 1 if ignoring gaps finds the couplings
of factored fits or of mean field worse, or those of full blocks worse by more than 2 %.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pottsattn import SequenceDataset, fit_pseudolikelihood, sample
from pottsattn.analysis.comparison import coupling_error
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.analysis.distances import read_distances
from pottsattn.data.reading import read_dataset
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import sk_potts

LENGTH, N_STATES, N_SEQUENCES, N_TEST = 20, 4, 3000, 1000
MOST_RATIO = {"plm": 1.02, "factored": 1.0, "mf": 1.0}  # of coupling errors, ignored to state


def fitted(method: str, data: SequenceDataset) -> FitResult:
    """Return the fit of one method at a ridge that suits it."""
    if method == "mf":
        return fit_mean_field(data, pseudocount=0.01)
    return fit_pseudolikelihood(data, method, ridge=2.0 if method == "plm" else 0.2, n_threads=1)


def without_gap(fit: FitResult) -> FitResult:
    """Return what a fit with the gap as state 0 says of the other states."""
    states = fit.couplings.to_dense()[:, :, 1:, 1:]
    return replace(fit, fields=fit.fields[:, 1:], couplings=Couplings(dense=states))


def synthetic() -> bool:
    """Print errors and losses; return whether they are as stated."""
    model = sk_potts(LENGTH, N_STATES, 1.0, rng=1)
    complete = sample(model, N_SEQUENCES + N_TEST, rng=2, n_threads=1).dataset
    train, test = complete.take(slice(N_SEQUENCES)), complete.take(slice(N_SEQUENCES, None))
    rng = np.random.default_rng(3)
    first = rng.integers(LENGTH, size=(N_SEQUENCES, 1))
    patterns = {
        "anywhere": rng.random(train.sequences.shape) < 0.3,
        "runs of six": (np.arange(LENGTH) - first) % LENGTH < 6,
    }
    print(f"Bayes loss {sequence_losses(model, test).mean():.4f} nats per masked site")
    print(
        f"{'gaps':12} {'method':9} {'':9} {'coupling error':>14} {'test loss':>10} {'converged':>9}"
    )
    good = True
    for pattern, is_gap in patterns.items():
        letters = np.where(is_gap, 0, train.sequences + 1)
        alignment = SequenceDataset(letters, N_STATES + 1, gap_index=0)
        for method, most in MOST_RATIO.items():
            fits = {
                "ignored": fitted(method, alignment.ignoring_gaps()),
                "state": without_gap(fitted(method, alignment)),
                "no gaps": fitted(method, train),
            }
            errors = {name: coupling_error(fit, model) for name, fit in fits.items()}
            good &= errors["ignored"] <= most * errors["state"]
            for name, fit in fits.items():
                loss = sequence_losses(fit, test).mean()
                mark = "yes" if fit.converged else "NO"
                print(
                    f"{pattern:12} {method:9} {name:9} {errors[name]:14.4f} {loss:10.4f} {mark:>9}"
                )
    return good


def family(folder: Path) -> None:
    """Print the contact precision of PF00014 with both policies."""
    data = read_dataset(folder / "PF00014.fasta.gz", n_threads=1)
    known = read_distances(folder / "PF00014_struct.dat")
    print(f"PF00014, {1.0 - data.ignoring_gaps().observed_share:.1%} gaps (weighted)")
    for method in ("plm", "factored", "mf"):
        for name, chosen in (("ignored", data.ignoring_gaps()), ("state", data)):
            if method == "mf":
                fit = fit_mean_field(chosen)
            else:
                fit = fit_pseudolikelihood(chosen, method, n_threads=1)
            precision = rank_contacts(fit).precision(known)
            at = ", ".join(f"{rank} {value:.3f}" for rank, value in precision.at.items())
            mark = "converged" if fit.converged else "NOT converged"
            print(f"{method:9} {name:9} precision at {at}, area {precision.area:.3f}, {mark}")


if __name__ == "__main__":
    is_good = synthetic()
    if "POTTSATTN_TEST_DATA" in os.environ:
        family(Path(os.environ["POTTSATTN_TEST_DATA"]))
    sys.exit(0 if is_good else 1)
