"""The work of the demo: theory curves, sampled instances, three fits at every point.

Instances k = 0, 1, ... have seeds `seed + k`; each is one SK-Potts model and one long sample, whose
first alpha L sequences are training data and whose last `n_test` are test data. Fits are without
fields, as the theory is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pottsattn._core.display import Progress, one_line
from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn._core.validate import InputError, check_at_least
from pottsattn._core.whole_files import write_together
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.result import FitResult
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.result import SampleResult
from pottsattn.sampling.sampler import sample
from pottsattn.studies.sweep.against_theory import Deviation, deviations
from pottsattn.studies.sweep.one_fit import sweep_row
from pottsattn.studies.sweep.table import SweepRow, SweepTable
from pottsattn.studies.sweep.tasks import ESTIMATOR_OF
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.optimum import optimal_ridge
from pottsattn.theory.result import LearningCurve
from pottsattn.training.recipe import Recipe

METHODS = ("factored", "attention", "plm")
RIDGE_KINDS = ("fixed", "optimal")
# Of the training as it is done for large data: a quarter of the sites and of the sequences a step.
RANDOM = "random"
MASKED_SHARE, BATCH_SHARE = 0.25, 0.25
CURVE_ALPHAS = tuple(2.0 ** (k / 6) for k in range(-6, 25))  # 0.5 ... 16, holds 1, 2, 4, 8


@dataclass(frozen=True)
class Settings:
    """Sizes of the demo."""

    length: int = 120
    n_states: int = 3
    coupling_scale: float = 1.5
    alphas: tuple[int, ...] = (1, 2, 4, 8)
    ridge: float = 0.1
    n_instances: int = 4
    n_test: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("n_instances", self.n_instances, 1)
        if not set(self.alphas) <= set(CURVE_ALPHAS):
            raise InputError(f"alphas must be among {CURVE_ALPHAS}")


@one_line
@dataclass(frozen=True, eq=False)
class Example:
    """The largest training set of the first instance, at the given ridge, with its three fits.

    Attributes
    ----------
    fits : dict of str to FitResult
        By method; attention is minimized to its optimum.
    random : FitResult
        Attention trained with random masks on mini-batches.
    """

    seed: int
    train: SequenceDataset
    test: SequenceDataset
    fits: dict[str, FitResult]
    random: FitResult


@one_line
@dataclass(frozen=True, eq=False)
class DemoResult:
    """Everything the demo computed."""

    settings: Settings
    curves: tuple[LearningCurve, ...]
    samples: tuple[SampleResult, ...]
    table: SweepTable
    example: Example
    seconds: float

    def deviations(self) -> list[Deviation]:
        """Return mean test losses against theory for every method, kind of ridge and alpha."""
        return deviations(self.table)

    @property
    def converged(self) -> bool:
        """Whether every sample, every fit and every point of the theory converged."""
        fits = self.table.converged and self.example.random.converged
        return fits and all(bool(curve.converged.all()) for curve in self.curves)

    @property
    def message(self) -> str:
        """What did not converge, in plain words; "" if all of it did."""
        n_unsolved = sum(int((~curve.converged).sum()) for curve in self.curves)
        reasons = [] if self.table.converged else [self.table.message]
        reasons += [] if n_unsolved == 0 else [f"{n_unsolved} points of the theory are not solved"]
        if not self.example.random.converged:
            reasons.append(f"training with random masks: {self.example.random.message}")
        return "; ".join(reasons)

    def save(self, out: Path) -> None:
        """Write curves, points, the example's data sets and fits into the folder `out`."""
        with write_together():
            for curve in self.curves:
                curve.save(out / f"theory_{curve.estimator}_{curve.ridge_kind}.h5")
            self.table.save(out / "points.h5")
            self.example.train.save(out / "train.h5")
            self.example.test.save(out / "test.h5")
            for method, fit in self.example.fits.items():
                fit.save(out / f"{method}.h5")
            self.example.random.save(out / f"{RANDOM}.h5")


def run_job(
    settings: Settings, *, n_threads: int | None = None, progress: Progress | None = None
) -> Iterator[DemoResult]:
    """Yield what has been computed after each instance; the last is the whole.

    Parameters
    ----------
    settings
        Sizes.
    n_threads
        Fits made side by side; all cores if left out.
    progress
        Called with (fits done, fits).
    """
    started = time.perf_counter()
    report = progress or (lambda done, total: None)
    n_workers = n_threads_or_default(n_threads)
    n_fits = settings.n_instances * len(settings.alphas) * len(RIDGE_KINDS) * len(METHODS) + 1
    report(0, n_fits)
    curves = _theory(settings)

    rows: list[SweepRow] = []
    samples: list[SampleResult] = []
    fits: dict[str, FitResult] = {}
    for seed in range(settings.seed, settings.seed + settings.n_instances):
        drawn = _sample(settings, seed, n_threads)
        samples.append(drawn)
        test = drawn.dataset.take(slice(-settings.n_test, None))
        tasks = list(_plan(settings, curves, drawn.dataset, seed))
        with _one_torch_thread():
            for task, fit in zip(tasks, run_in_threads(_fit, tasks, n_workers), strict=True):
                if task.is_drawn:
                    fits[task.method] = fit
                if task.method == RANDOM:
                    continue
                rows.append(
                    sweep_row(
                        fit,
                        test,
                        ridge_kind=task.ridge_kind,
                        ridge=task.ridge,
                        alpha=float(task.alpha),
                        seed=seed,
                        coupling_scale=settings.coupling_scale,
                        sample_converged=drawn.converged,
                    )
                )
                report(len(rows) + (RANDOM in fits), n_fits)
        seconds = time.perf_counter() - started
        yield DemoResult(
            settings,
            curves,
            tuple(samples),
            SweepTable(tuple(rows), origin={"settings": asdict(settings)}),
            _example(settings, samples[0].dataset, fits),
            seconds,
        )


def random_training(train: SequenceDataset) -> tuple[Masking, Recipe]:
    """Return the masks and batches of a training as it is done for large data."""
    batch_size = max(1, round(BATCH_SHARE * train.n_sequences))
    return Masking(max(1, round(MASKED_SHARE * train.length))), Recipe(
        "adam", batch_size=batch_size
    )


def _example(settings: Settings, dataset: SequenceDataset, fits: dict[str, FitResult]) -> Example:
    train = dataset.take(slice(0, max(settings.alphas) * settings.length))
    test = dataset.take(slice(-settings.n_test, None))
    by_method = {method: fits[method] for method in METHODS}
    return Example(settings.seed, train, test, by_method, fits[RANDOM])


def _theory(settings: Settings) -> tuple[LearningCurve, ...]:
    size = (settings.n_states, settings.coupling_scale, CURVE_ALPHAS)
    curves = []
    for estimator in ("factored", "full"):
        curves.append(learning_curve(*size, settings.ridge, estimator=estimator))
        curves.append(optimal_ridge(*size, estimator=estimator))
    return tuple(curves)


def _sample(settings: Settings, seed: int, n_threads: int | None) -> SampleResult:
    generator = np.random.default_rng(seed)
    model = sk_potts(settings.length, settings.n_states, settings.coupling_scale, generator)
    n_sequences = max(settings.alphas) * settings.length + settings.n_test
    drawn = sample(model, n_sequences, rng=generator, n_threads=n_threads)
    if drawn.interrupted:
        raise KeyboardInterrupt
    return drawn


@dataclass(frozen=True, eq=False)
class _Task:
    """One fit to make; the method RANDOM is attention with random masks on mini-batches."""

    method: str
    ridge_kind: str
    ridge: float
    alpha: int
    seed: int
    train: SequenceDataset
    is_drawn: bool  # shown as the example
    validation: SequenceDataset | None  # only for what is drawn against epochs


def _plan(
    settings: Settings, curves: Sequence[LearningCurve], dataset: SequenceDataset, seed: int
) -> Iterator[_Task]:
    """Yield the fits of one instance."""
    for alpha in settings.alphas:
        train = dataset.take(slice(0, alpha * settings.length))
        is_example = alpha == max(settings.alphas) and seed == settings.seed
        for kind in RIDGE_KINDS:
            is_drawn = is_example and kind == "fixed"
            for method in METHODS:
                ridge = float(_curve_for(curves, method, kind).ridge[CURVE_ALPHAS.index(alpha)])
                yield _Task(method, kind, ridge, alpha, seed, train, is_drawn, None)
            if is_drawn:
                ridge, test = settings.ridge, dataset.take(slice(-settings.n_test, None))
                yield _Task(RANDOM, kind, ridge, alpha, seed, train, is_drawn, test)


def _curve_for(curves: Sequence[LearningCurve], method: str, kind: str) -> LearningCurve:
    wanted = (ESTIMATOR_OF[method], kind)
    return next(curve for curve in curves if (curve.estimator, curve.ridge_kind) == wanted)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Whole fits run side by side: at these sizes that is faster than threads within each."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(task: _Task) -> FitResult:
    if task.method in ("attention", RANDOM):
        masking, recipe = Masking(), Recipe()
        if task.method == RANDOM:
            masking, recipe = random_training(task.train)
        fit = train_masked(
            task.train,
            AttentionConfig(fields="none"),
            ridge=task.ridge,
            masking=masking,
            recipe=recipe,
            validation=task.validation,
            rng=task.seed,
        )
    else:
        fit = fit_pseudolikelihood(
            task.train, task.method, ridge=task.ridge, fields="none", n_threads=1
        )
    if fit.interrupted:  # with one thread Ctrl-C reaches the fit, which returns what it has
        raise KeyboardInterrupt
    return fit
