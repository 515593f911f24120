"""Do printed standard errors cover: nominal 68 and 95 % against what is measured.

    python benchmarks/error_bars.py                     # all tables, some minutes on one core
    python benchmarks/error_bars.py losses couplings    # some of them
    python benchmarks/error_bars.py --quick             # a fifth of the runs

Every row is independent runs, with seeds from 0, of a model whose answer is known exactly: by
enumeration of its states or by a transfer matrix. z is the distance from that answer in standard
errors. Coverages have the binomial error of the nominal one. Rows must be within 3 binomial errors
of nominal, and where an error is itself an estimate, of what one that is wrong by a tenth explains.
Rows that are low, by nature or by a planted fault, must be below by more; wide ones may be above.
Exit status 1 if a row is not as stated; the first rows check the count itself.

- losses: leave-one-out against the loss of the same fit on all states; test loss, excess over the
  Bayes loss and difference of two fits, as `compare` prints them. Relatives that share a weight
  count as one: wide, for they know more than one. Planted: variances of losses and of rises, added
  as if they were independent.
- couplings: one of a fit, and one field, in a run. "sandwich" against the optimum on all states
  with their exact weights, at the same penalty; "laplace" against the truth, drawn from the prior
  that the penalty is. Low by nature: "sandwich" against the largest true coupling: the penalty
  pulls at it.
- means: std / sqrt(ess), `ess` of `sample`, chains from mixing to slow, and the overlap of models
  that prefer no color. Runs are counted whose effective size can be believed (`is_long_enough`).
  Planted: all sequences as independent.
- log-Z: thermodynamic integration.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pottsattn import PottsModel, Schedule, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn.analysis import compare
from pottsattn.fitting import FitResult, leave_one_out
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.selection.standard_errors import standard_errors
from pottsattn.likelihood.partition_function import integrate_log_partition
from pottsattn.model.ensembles import lattice_2d, sk_potts
from pottsattn.model.exact import Enumeration, enumerate_states, solve_torus

Array = NDArray[np.float64]
LEVELS = {68: 1.0, 95: 1.959964}  # half widths, in standard errors
FAULT = "planted fault"
RELATIVES = "relatives count as one, and know more"
NOMINAL = {68: 0.682689, 95: 0.95}
# Of an error that is wrong by a tenth: an effective size from 1000 has a relative error of 0.14,
# half of which goes into the standard error; the curvature of full blocks is approximate.
SLACK = {68: 0.05, 95: 0.02}


@dataclass(frozen=True)
class Row:
    """What was measured of one kind of error.

    Attributes
    ----------
    name, z
        Of what; distances from the truth in standard errors.
    expected
        "nominal", "low" or "wide", which is at least nominal.
    note
        Why.
    is_estimate
        Whether the error is known to about a tenth only.
    """

    name: str
    z: Array
    expected: str = "nominal"
    note: str = ""
    is_estimate: bool = False

    def __str__(self) -> str:
        shares = " | ".join(
            f"{100 * self.share(level):.1f} ± {100 * self.error(level):.1f}" for level in LEVELS
        )
        width = np.sqrt(np.mean(self.z**2))
        return f"| {self.name} | {len(self.z)} | {shares} | {width:.2f} | {self.note} |"

    def share(self, level: int) -> float:
        """Return the share of |z| within a level."""
        return float(np.mean(np.abs(self.z) <= LEVELS[level]))

    def error(self, level: int) -> float:
        """Return its binomial error at the nominal value."""
        return float(np.sqrt(NOMINAL[level] * (1.0 - NOMINAL[level]) / len(self.z)))

    @property
    def is_as_stated(self) -> bool:
        """Whether all levels are within their bounds, at least nominal, or one is below."""
        slack = {k: SLACK[k] * self.is_estimate for k in LEVELS}
        off = [(self.share(k) - NOMINAL[k]) / (3.0 * self.error(k) + slack[k]) for k in LEVELS]
        if self.expected == "low":
            return min(off) < -1.0
        return min(off) >= -1.0 and (self.expected == "wide" or max(off) <= 1.0)


def of_counting(scale: float) -> Iterator[Row]:
    """Yield normal numbers: the count is right, and wider ones do not pass."""
    z = np.random.default_rng(0).normal(size=4000)
    yield Row("normal numbers", z)
    yield Row("1.5 times as wide", 1.5 * z, "low", FAULT)


# Losses

MODEL = sk_potts(8, 3, 1.5, 0)
EXACT = enumerate_states(MODEL)
EVERY = SequenceDataset(EXACT.states, 3)
LEFT_OUT = [("factored", 0.2, 60), ("plm", 0.2, 60), ("plm", 1.0, 60), ("plm", 0.2, 200)]
Draw = Callable[[np.random.Generator], SequenceDataset]
FAMILY = 5  # the most relatives that share a weight


def drawn(exact: Enumeration, n_sequences: int, rng: np.random.Generator) -> SequenceDataset:
    """Return independent sequences of an enumerated model."""
    chosen = rng.choice(len(exact.states), n_sequences, p=exact.probabilities)
    return SequenceDataset(exact.states[chosen], exact.n_states)


def relatives(n_families: int, rng: np.random.Generator) -> SequenceDataset:
    """Return families: copies with one site drawn again, by its conditional, of weight 1 / size."""
    roots = drawn(EXACT, n_families, rng).sequences
    sizes = rng.integers(1, FAMILY + 1, size=n_families)
    sequences = np.repeat(roots, sizes, axis=0)
    rows, sites = np.arange(len(sequences)), rng.integers(MODEL.length, size=len(sequences))
    p = np.exp(MODEL.log_conditionals(sequences)[rows, sites])
    above = p.cumsum(axis=1) < rng.uniform(size=(len(p), 1))
    sequences[rows, sites] = np.minimum(above.sum(axis=1), MODEL.n_states - 1)
    return SequenceDataset(sequences, MODEL.n_states, weights=np.repeat(1.0 / sizes, sizes))


def exact_loss(predictor: FitResult | PottsModel) -> float:
    """Return the mean loss on new sequences."""
    return float(EXACT.probabilities @ sequence_losses(predictor, EVERY))


def of_losses(scale: float) -> Iterator[Row]:
    """Yield leave-one-out losses, and what `compare` prints."""
    faults: list[float] = []
    seeds = range(round(250 * scale))
    for method, ridge, size in LEFT_OUT:
        z = np.array([left_out(partial(drawn, EXACT, size), method, ridge, seed) for seed in seeds])
        name = f"leave-one-out, {method}, ridge {ridge:g}, M = {size}"
        yield Row(name, z[:, 0], is_estimate=method == "plm")
        faults.extend(z[:, 1])
    yield Row("the same, variances of losses and rises added", np.array(faults), "low", FAULT)
    z = np.array([left_out(partial(relatives, 60), "plm", 1.0, seed) for seed in seeds])
    yield Row("leave-one-out, plm, ridge 1, 60 families share weights", z[:, 0], "wide", RELATIVES)
    names = "test loss", "excess over the Bayes loss", "difference of two fits"
    seeds = range(round(500 * scale))
    scores = np.array([compared(partial(drawn, EXACT, 300), seed) for seed in seeds])
    yield from (Row(name, z) for name, z in zip(names, scores.T, strict=True))
    scores = np.array([compared(partial(relatives, 150), seed) for seed in seeds])
    for name, z in zip(names, scores.T, strict=True):
        yield Row(f"{name}, relatives share weights", z, "wide", RELATIVES)


def left_out(draw: Draw, method: str, ridge: float, seed: int) -> tuple[float, float]:
    """Return z of the leave-one-out loss of a fit to data, and with the planted error."""
    data = draw(np.random.default_rng(seed))
    fit = fit_pseudolikelihood(data, method, ridge=ridge, n_threads=1)
    found = leave_one_out(fit, data, n_threads=1)
    off = found.loss - exact_loss(fit)
    rise = found.loss / found.train_loss - 1.0  # rises are as wide as losses, times this
    losses = sequence_losses(fit, data)
    return off / found.error, off / np.sqrt(losses.var() * (1.0 + rise**2) / len(losses))


def compared(draw: Draw, seed: int) -> list[float]:
    """Return z of the test loss, the excess and the difference of fits to 100 sequences."""
    rng = np.random.default_rng(seed)
    data = drawn(EXACT, 100, rng)
    options = {"ridge": 0.5, "n_threads": 1}
    fits = {name: fit_pseudolikelihood(data, name, **options) for name in ("factored", "plm")}
    first, second = compare(fits, draw(rng), MODEL).fits
    assert first.difference == 0.0
    truths = [exact_loss(fit) for fit in (*fits.values(), MODEL)]
    return [
        (second.test_loss - truths[1]) / second.test_loss_error,
        (second.excess - (truths[1] - truths[2])) / second.excess_error,
        (second.difference - (truths[1] - truths[0])) / second.difference_error,
    ]


# Couplings

N_DATA = 200  # sequences
L2 = 0.02  # the penalty on couplings: a prior of variance 1 / (2 M L2) = 0.125
SIZE = (6, 3)  # length, states


def of_couplings(scale: float) -> Iterator[Row]:
    """Yield errors of one coupling and of one field a run, factored and full blocks."""
    n_sets = round(1000 * scale)
    for method in ("factored", "plm"):
        model = drawn_model(method, np.random.default_rng(10**6))
        exact = enumerate_states(model)
        weighted = SequenceDataset(exact.states, SIZE[1], weights=N_DATA * exact.probabilities)
        options = {"penalty": Penalty(L2, 0.01), "n_threads": 1}
        optimum = fit_pseudolikelihood(weighted, method, **options)
        truth = of_model(model, method)
        largest = np.unravel_index(np.abs(truth).argmax(), truth.shape)
        scores = []
        for seed in range(n_sets):
            rng = np.random.default_rng(seed)
            data = drawn(exact, N_DATA, rng)
            fit = fit_pseudolikelihood(data, method, **options)
            errors = standard_errors(fit, data, "sandwich", n_threads=1)
            at = chosen(method, rng)
            own, best = parameters(fit, data), parameters(optimum, data)
            field = at[0], 0
            scores.append(
                [
                    (own[1][at] - best[1][at]) / errors.couplings[at],
                    (own[0][field] - best[0][field]) / errors.fields[field],
                    (own[1][largest] - truth[largest]) / errors.couplings[largest],
                ]
            )
        z = np.array(scores).T
        rough = method == "plm"
        name = f"sandwich, {method}: %s, optimum at this penalty"
        yield Row(name % "coupling", z[0], is_estimate=rough)
        yield Row(name % "field", z[1], is_estimate=rough)
        note = "leaves out the pull of the penalty"
        yield Row(f"sandwich, {method}: largest coupling, truth", z[2], "low", note)
        z = np.array([laplace(method, seed) for seed in range(n_sets)])
        name = f"laplace, {method}: coupling, truth drawn from the prior"
        yield Row(name, z, is_estimate=rough)


def laplace(method: str, seed: int) -> float:
    """Return z of a coupling of a model drawn from the prior, fitted without fields."""
    rng = np.random.default_rng(seed)
    model = drawn_model(method, rng)
    data = drawn(enumerate_states(model), N_DATA, rng)
    fit = fit_pseudolikelihood(data, method, penalty=Penalty(L2), fields="none", n_threads=1)
    errors = standard_errors(fit, data, "laplace", n_threads=1)
    at = chosen(method, rng)
    return float(
        (parameters(fit, data)[1][at] - of_model(model, method)[at]) / errors.couplings[at]
    )


def drawn_model(method: str, rng: np.random.Generator) -> PottsModel:
    """Return a model whose couplings are drawn from the prior that the penalty is."""
    length, n_states = SIZE
    width = np.sqrt(1.0 / (2.0 * N_DATA * L2))
    if method == "factored":
        upper = np.triu(rng.normal(scale=width, size=(length, length)), 1)
        return PottsModel.factored(upper + upper.T, n_states=n_states)
    projector = np.eye(n_states) - 1.0 / n_states
    blocks = (
        projector @ rng.normal(scale=width, size=(length, length, *2 * (n_states,))) @ projector
    )
    blocks[np.tril_indices(length)] = 0.0
    return PottsModel.dense(blocks + blocks.transpose(1, 0, 3, 2))


def chosen(method: str, rng: np.random.Generator) -> tuple[int, ...]:
    """Return the index of a coupling: i, j, and for full blocks a, b."""
    i, j = rng.choice(SIZE[0], 2, replace=False)
    return (i, j) if method == "factored" else (i, j, *rng.integers(SIZE[1], size=2))


def parameters(fit: FitResult, data: SequenceDataset) -> tuple[Array, Array]:
    """Return fields and couplings as `standard_errors` means them."""
    if fit.method == "factored":
        fields, couplings = fit.fields, fit.couplings.factors()[0][0]
    else:
        dense = fit.couplings.to_dense()
        fields = fit.fields + np.einsum("jb,ijab->ia", data.site_frequencies(), dense)
        couplings = centered(dense)
    return fields - fields.mean(axis=1, keepdims=True), couplings


def of_model(model: PottsModel, method: str) -> Array:
    """Return the couplings of a model in the same way."""
    return model.couplings.factors()[0][0] if method == "factored" else centered(model.to_dense())


def centered(blocks: Array) -> Array:
    """Return blocks in the zero-sum gauge."""
    blocks = blocks - blocks.mean(axis=2, keepdims=True)
    return blocks - blocks.mean(axis=3, keepdims=True)


# Means of samples


@dataclass(frozen=True)
class Case:
    """A model whose mean energy is known, how it is sampled, and how often."""

    name: str
    model: PottsModel
    mean_energy: float
    schedule: Schedule
    n_sequences: int


def cases() -> list[Case]:
    """Return the models."""
    small = sk_potts(6, 3, 1.5, 1)
    exact = enumerate_states(small)
    energy = float(exact.probabilities @ small.energy(exact.states))
    lattice, torus = lattice_2d(36, 2, 0.75), solve_torus(6, 2, 0.75).mean_energy
    return [
        Case("enumerated, every 10 sweeps", small, energy, Schedule(), 1280),
        Case("enumerated, every sweep", small, energy, Schedule(16, 50, 1), 3200),
        Case("lattice 6 x 6, every 10", lattice, torus, Schedule(64, 500, 10), 2560),
        Case("lattice 6 x 6, every sweep", lattice, torus, Schedule(16, 500, 1), 8000),
        Case("lattice 6 x 6, one chain", lattice, torus, Schedule(1, 500, 5), 3000),
    ]


def of_means(scale: float) -> Iterator[Row]:
    """Yield mean energies and overlaps."""
    faults = []
    for case in cases():
        energies, overlaps, independent, left_out = z_scores(case, round(400 * scale))
        note = f"{left_out} left out as too short" if left_out else ""
        yield Row(f"energy, {case.name}", energies, note=note, is_estimate=True)
        yield Row(f"overlap, {case.name}", overlaps, is_estimate=True)
        faults.append(Row(f"energy, {case.name}, as independent", independent, "low", FAULT))
    yield min(faults, key=lambda row: row.share(68))


def z_scores(case: Case, n_runs: int) -> tuple[Array, Array, Array, int]:
    """Return z of the mean energy, of the overlap, of the planted fault; and runs left out."""
    energies, overlaps, independent = [], [], []
    for seed in range(n_runs):
        found = sample(case.model, case.n_sequences, schedule=case.schedule, rng=seed, n_threads=1)
        values = case.model.energy(found.dataset.sequences)
        off = values.mean() - case.mean_energy
        one = found.diagnoses["energy"]
        if one.is_long_enough:
            energies.append(off / (values.std() / np.sqrt(one.ess)))
            independent.append(off / (values.std() / np.sqrt(len(values))))
        if found.colors is not None:
            overlaps.append(found.colors.z)
    left_out = n_runs - len(energies)
    return np.array(energies), np.array(overlaps), np.array(independent), left_out


# log Z


def of_log_partition(scale: float) -> Iterator[Row]:
    """Yield log Z by thermodynamic integration."""
    cold = sk_potts(8, 3, 3.0, 0)
    models = {
        "enumerated, J = 1.5": (MODEL, EXACT.log_partition),
        "enumerated, J = 3": (cold, enumerate_states(cold).log_partition),
        "lattice 6 x 6, J = 0.75": (lattice_2d(36, 2, 0.75), solve_torus(6, 2, 0.75).log_partition),
    }
    for name, (model, exact) in models.items():
        z = []
        for seed in range(round(250 * scale)):
            found = integrate_log_partition(model, seed, n_rounds=50, n_threads=1)
            z.append((found.value - exact) / found.error)
        yield Row(f"log Z, {name}", np.array(z))


TABLES: dict[str, Callable[[float], Iterator[Row]]] = {
    "counting": of_counting,
    "losses": of_losses,
    "couplings": of_couplings,
    "means": of_means,
    "log-Z": of_log_partition,
}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="all if left out")
    parser.add_argument("--quick", action="store_true", help="a fifth of the runs")
    arguments = parser.parse_args()
    scale = 0.2 if arguments.quick else 1.0
    warnings.simplefilter("ignore")  # a slow chain is the subject, and is counted
    wrong = []
    print("| error of | runs | 68 % | 95 % | rms z | |\n|---|---|---|---|---|---|")
    for title in ("counting", *(arguments.tables or [*TABLES][1:])):
        for row in TABLES[title](scale):
            print(row if row.is_as_stated else f"{row} <- NOT as stated", flush=True)
            wrong += [] if row.is_as_stated else [row]
    print("all as stated" if not wrong else f"{len(wrong)} rows are NOT as stated")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
