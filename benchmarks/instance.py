"""Check instance mode and the matched ensemble against simulated fits; then a mean coupling.

    python benchmarks/instance.py

One fit for each model, 100 sites, 4 sequences per site, ridge 0.1, no fields, judged on 10 000
sequences. Instance mode measures (chi_i, c_i) from 1000 sequences per site, and for the first model
from fewer. SK-Potts must agree within 1 %; sparse models show what few neighbors cost.
"""

from __future__ import annotations

import sys

import numpy as np

from pottsattn import PottsModel, fit_pseudolikelihood, learning_curve, sample
from pottsattn._core.validate import InputError
from pottsattn.analysis.comparison import compare
from pottsattn.analysis.coupling_scale import (
    coupling_scale_of_pairs,
    debiased_coupling_scale,
    matched_ensemble,
    realized_coupling_scale,
)
from pottsattn.analysis.sites import measured_sites
from pottsattn.model.ensembles import ENSEMBLES, chain, lattice_2d, sk_potts
from pottsattn.theory.equations.solver import StudentSolver
from pottsattn.theory.mean_coupling import (
    largest_mean_coupling,
    mean_coupling_student,
    uniform_susceptibility,
)
from pottsattn.theory.measured import InstanceCurve, MeasuredSite, instance_curve
from pottsattn.theory.readout import mean_loss

LENGTH, N_STATES, SCALE, ALPHA, RIDGE, N_TEST = 100, 3, 1.5, 4, 0.1, 10_000
LARGEST_ERROR = 0.01
SCALE_CASES = [  # ensemble, C, J, M / L
    ("sk-potts", 3, 1.5, 1),
    ("sk-potts", 3, 1.5, 4),
    ("sk-potts", 3, 1.5, 16),
    ("sk-potts", 10, 3.0, 8),
    ("chain", 3, 1.0, 4),
]
MEAN_COUPLINGS = (0.0, -1.0, 1.0, 2.0)
N_INSTANCES = 4


def show(*cells: object) -> None:
    """Print a row of a table."""
    words = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(" ".join(f"{word:>14}" for word in words), flush=True)


def mark(converged: bool) -> str:
    """Return the cell of the column `converged`."""
    return "yes" if converged else "NO"


def regular_graph(degree: int, strength: float, seed: int) -> PottsModel:
    """Return a random regular graph of even degree with couplings of random sign: edge swaps."""
    rng = np.random.default_rng(seed)
    edges = [(i, (i + k) % LENGTH) for i in range(LENGTH) for k in range(1, degree // 2 + 1)]
    known = {frozenset(edge) for edge in edges}
    for _ in range(20 * len(edges)):
        one, other = rng.integers(len(edges), size=2)
        (a, b), (c, d) = edges[one], edges[other]
        swapped = {frozenset((a, d)), frozenset((c, b))}
        if len({a, b, c, d}) == 4 and not swapped & known:
            known = known - {frozenset((a, b)), frozenset((c, d))} | swapped
            edges[one], edges[other] = (a, d), (c, b)
    strengths = strength * rng.choice([-1.0, 1.0], len(edges))
    return PottsModel.from_edges(edges, n_states=N_STATES, strengths=strengths, length=LENGTH)


def fitted(model: PottsModel, seed: int) -> tuple[float, float, float, float, bool]:
    """Return test, Bayes and training loss, coupling error and verdict of one fit."""
    size = ALPHA * model.length
    data = sample(model, size + N_TEST, rng=seed, n_threads=1).dataset
    train = data.take(slice(0, size))
    fit = fit_pseudolikelihood(train, "factored", ridge=RIDGE, fields="none", n_threads=1)
    found = compare({"fit": fit}, data.take(slice(size, None)))
    judged = found.fits[0]
    losses = judged.test_loss, found.bayes_loss, judged.train_loss
    return (*losses, judged.coupling_error, fit.converged)


def by_instance(model: PottsModel, per_site: int, seed: int, *, corrected: bool) -> InstanceCurve:
    """Return the curve of a model, measured from `per_site` sequences per site."""
    data = sample(model, per_site * LENGTH, rng=seed, n_threads=1).dataset
    sites = measured_sites(data, model)
    if not corrected:
        sites = (MeasuredSite(one.covariance, one.signal, one.teacher) for one in sites)
    return instance_curve(sites, N_STATES, [ALPHA], RIDGE)


def models() -> float:
    """Print simulation, instance mode and matched ensemble; return the error of SK-Potts."""
    show("model", "", "test", "Bayes", "training", "coupling error", "converged")
    cases = {
        "sk-potts": sk_potts(LENGTH, N_STATES, SCALE, 0),
        "regular 20": regular_graph(20, SCALE / 20**0.5, 0),
        "regular 8": regular_graph(8, SCALE / 8**0.5, 0),
        "regular 4": regular_graph(4, SCALE / 4**0.5, 0),
        "lattice-2d": lattice_2d(LENGTH, N_STATES, 0.6),
        "chain": chain(LENGTH, N_STATES, 1.0),
    }
    errors = {}
    for seed, (name, model) in enumerate(cases.items()):
        simulated = fitted(model, 100 + seed)
        curve = by_instance(model, 1000, 200 + seed, corrected=True)
        ensemble = matched_ensemble(model, alpha=ALPHA, ridge=RIDGE)
        matched = learning_curve(
            N_STATES, ensemble.coupling_scale, [ensemble.alpha], ensemble.ridge
        )
        show(name, "simulation", *simulated[:-1], mark(simulated[-1]))
        for label, theory in (("instance", curve), ("matched", matched)):
            columns = (theory.test_loss, theory.bayes_loss, theory.train_loss)
            numbers = (float(c[0]) for c in (*columns, theory.coupling_error))
            show("", label, *numbers, mark(np.all(theory.converged)))
            errors[name, label] = abs(float(theory.test_loss[0]) / simulated[0] - 1.0)
    return max(errors["sk-potts", "instance"], errors["sk-potts", "matched"])


def noise() -> None:
    """Print what few sequences per site do to instance mode."""
    print("\ntest loss of instance mode by sequences measured, sk-potts")
    show("N / L", "corrected", "as measured", "converged")
    model = sk_potts(LENGTH, N_STATES, SCALE, 0)
    for per_site in (2, 10, 30, 100, 1000):
        pair = [
            by_instance(model, per_site, 300, corrected=corrected) for corrected in (True, False)
        ]
        losses = (float(curve.test_loss[0]) for curve in pair)
        show(per_site, *losses, mark(all(curve.converged for curve in pair)))


def scales() -> None:
    """Print both estimates of J_inst from data against the truth, in five instances each."""
    print("\nestimates of J_inst less the realized one: least and largest of five")
    show("model", "C", "J", "M / L", "pairs", "", "fit", "", "fits refused", "converged")
    for name, n_states, scale, alpha in SCALE_CASES:
        errors, done = [], True
        for seed in range(5):
            model = ENSEMBLES[name](LENGTH, n_states, scale, seed)
            data = sample(model, alpha * LENGTH, rng=seed + 50, n_threads=1).dataset
            truth = realized_coupling_scale(model.couplings)
            fit = fit_pseudolikelihood(data, "factored", ridge=0.2, fields="none", n_threads=1)
            done = done and fit.converged
            try:
                of_fit = debiased_coupling_scale(fit)
            except InputError:
                of_fit = np.nan
            errors.append((coupling_scale_of_pairs(data).value - truth, of_fit - truth))
        pairs, fits = np.transpose(errors)
        n_refused = int(np.isnan(fits).sum())
        fits = fits[np.isfinite(fits)]
        ends = [float(end) for part in (pairs, fits) for end in (part.min(), part.max())]
        show(name, n_states, scale, alpha, *ends, n_refused, mark(done))


def with_mean_coupling() -> None:
    """Print losses of SK-Potts with J0 / L on every coupling; the same random part for all."""
    limit = largest_mean_coupling(N_STATES, SCALE)
    print(
        f"\nmean coupling (order at J0 = {limit:g}): change of the test loss, {N_INSTANCES} pairs"
    )
    show("L", "J0", "test", "change", "error of it", "theory", "uniform chi", "theory", "converged")
    for length in (LENGTH, 3 * LENGTH):
        plain: list[float] = []
        for mean in MEAN_COUPLINGS:
            instances = [shifted(length, mean, seed) for seed in range(N_INSTANCES)]
            fits = [fitted(model, 400 + seed) for seed, model in enumerate(instances)]
            found = [fit[0] for fit in fits]
            plain = plain or found
            change = np.subtract(found, plain)
            error = float(change.std(ddof=1) / N_INSTANCES**0.5)
            theory = predicted(length, mean) - predicted(length, 0.0)
            chi = [uniform_variance(model, 500 + seed) for seed, model in enumerate(instances)]
            expected = uniform_susceptibility(N_STATES, SCALE, mean)
            columns = (float(np.mean(found)), float(change.mean()), error, theory)
            done = mark(all(fit[-1] for fit in fits))
            show(length, mean, *columns, float(np.mean(chi)), expected, done)


def shifted(length: int, mean: float, seed: int) -> PottsModel:
    """Return SK-Potts with a mean coupling."""
    interactions = sk_potts(length, N_STATES, SCALE, seed).couplings.factors()[0][0]
    interactions = interactions + mean / length * (1.0 - np.eye(length))
    return PottsModel.factored(interactions, n_states=N_STATES)


def uniform_variance(model: PottsModel, seed: int) -> float:
    """Return the variance of sum_i x_i / sqrt(L) per color channel."""
    states = sample(model, 3000, rng=seed, n_threads=1).dataset.sequences
    counts = np.stack([(states == color).sum(axis=1) for color in range(N_STATES)])
    return float(counts.var(axis=1).sum() / model.length / (N_STATES - 1))


def predicted(length: int, mean: float) -> float:
    """Return the test loss of theory with the outlier of a mean coupling."""
    student = mean_coupling_student(N_STATES, SCALE, mean, length, ALPHA, RIDGE)
    point = StudentSolver(student).solve(ALPHA, RIDGE)
    if point.problem:
        raise SystemExit(f"theory: {point.problem}")
    return mean_loss(N_STATES, *point.test_overlaps)


def main() -> int:
    """Run; 1 when SK-Potts is off by more than 1 %."""
    error = models()
    noise()
    scales()
    with_mean_coupling()
    print(f"sk-potts: largest error {100 * error:.2f} %, allowed {100 * LARGEST_ERROR:g} %")
    return int(error > LARGEST_ERROR)


if __name__ == "__main__":
    sys.exit(main())
