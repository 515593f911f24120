"""The main job, end to end: sample, fit three ways, overlay the replica theory, write a report.

Instances k = 0, 1, ... have seeds `seed + k`; each is one SK-Potts model and one long sample, whose
first alpha L sequences are training data and whose last `n_test` are test data. Fits are without
fields, as the theory is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pottsattn._storage import provenance, write_csv
from pottsattn._validate import InputError, check_at_least
from pottsattn.comparison import compare, coupling_pairs
from pottsattn.dataset import SequenceDataset
from pottsattn.ensembles import sk_potts
from pottsattn.fitting.pseudolikelihood import fit_pseudolikelihood
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.training import train_masked
from pottsattn.plotting import (
    METHOD_LABELS,
    METHOD_MARKERS,
    figure_learning_curves,
    new_figure,
    plot_couplings,
    plot_history,
    save_figure,
)
from pottsattn.report import Section, Table, write_page
from pottsattn.sampling.sampler import SampleResult, sample
from pottsattn.sweep import SweepRow, SweepTable
from pottsattn.theory.learning_curve import LearningCurve, learning_curve, optimal_ridge

__all__ = ["Deviation", "Settings", "run_demo"]

METHODS = ("factored", "attention", "plm")
ESTIMATOR_OF = {"factored": "factored", "attention": "factored", "plm": "full"}
RIDGE_KINDS = ("fixed", "optimal")
CURVE_ALPHAS = tuple(2.0 ** (k / 4) for k in range(-4, 17))  # 0.5 ... 16, holds 1, 2, 4, 8
Progress = Callable[[str, int, int], None]  # (what, done, total)


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
        check_at_least("instances", self.n_instances, 1)
        if not set(self.alphas) <= set(CURVE_ALPHAS):
            raise InputError(f"alphas must be among {CURVE_ALPHAS}")


@dataclass(frozen=True)
class Deviation:
    """Mean test loss over instances against theory, nats per masked site."""

    method: str
    ridge_kind: str
    alpha: float
    ridge: float
    simulated: float
    error: float
    predicted: float

    @property
    def relative(self) -> float:
        """(simulated - predicted) / predicted."""
        return self.simulated / self.predicted - 1.0


def run_demo(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Deviation, ...]:
    """Run the demo, write report.html, figures, tables and data sets into `folder`.

    Returns
    -------
    tuple of Deviation
        Simulation against theory, one entry per method, kind of ridge and alpha.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    settings = settings or Settings()
    out = _make_folder(folder)
    started = time.perf_counter()
    report = progress or (lambda what, done, total: None)

    report("theory", 0, 1)
    curves = _theory(settings)
    for curve in curves:
        curve.save(out / f"theory_{curve.estimator}_{curve.ridge_kind}.h5")

    rows: list[SweepRow] = []
    samples: list[SampleResult] = []
    n_fits = settings.n_instances * len(settings.alphas) * len(RIDGE_KINDS) * len(METHODS)
    example: _Example | None = None
    for instance in range(settings.n_instances):
        seed = settings.seed + instance
        report(f"sampling instance {seed}", len(rows), n_fits)
        result = _sample(settings, seed, n_threads)
        samples.append(result)
        test = result.dataset.take(slice(-settings.n_test, None))
        if example is None:
            n_train = max(settings.alphas) * settings.length
            example = _Example(result.dataset.take(slice(0, n_train)), test, {})
        for alpha, kind, method, ridge in _plan(settings, curves):
            report(f"instance {seed}, alpha {alpha:g}, {method}", len(rows), n_fits)
            train = result.dataset.take(slice(0, alpha * settings.length))
            # Only the example draws its test loss against epochs; recording it costs time.
            is_example = instance == 0 and kind == "fixed" and alpha == max(settings.alphas)
            fit = _fit(method, train, ridge, seed, n_threads, test if is_example else None)
            rows.append(_row(fit, test, kind, alpha, ridge, seed))
            if is_example:
                example.fits[method] = fit
    assert example is not None
    table = SweepTable(
        tuple(rows),
        settings.length,
        settings.n_states,
        settings.coupling_scale,
        origin={"settings": asdict(settings)},
    )
    table.save(out / "points.h5")
    example.save(out)
    deviations = tuple(_deviations(table, curves))

    report("figures", n_fits, n_fits)
    sections = [
        *_curve_sections(out, curves, table, deviations),
        *_example_sections(out, example, settings),
    ]
    seconds = time.perf_counter() - started
    sections.append(_how_section(settings, samples, curves, seconds))
    write_page(
        out / "report.html",
        "Factored attention learns the Potts model as pseudo-likelihood does, and as theory says",
        _lead(settings, table, deviations),
        sections,
    )
    return deviations


@dataclass(frozen=True, eq=False)
class _Example:
    """The largest training set of the first instance, at the fixed ridge, with its three fits."""

    train: SequenceDataset
    test: SequenceDataset
    fits: dict[str, FitResult]

    def save(self, out: Path) -> None:
        self.train.save(out / "train.h5")
        self.test.save(out / "test.h5")
        for method, fit in self.fits.items():
            fit.save(out / f"{method}.h5")


def _make_folder(folder: str | Path) -> Path:
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.exists() else (error.strerror or "not possible")
        raise InputError(f"cannot make the folder {out}: {reason}") from error
    return out


def _theory(settings: Settings) -> list[LearningCurve]:
    size = (settings.n_states, settings.coupling_scale, CURVE_ALPHAS)
    curves = []
    for estimator in ("factored", "full"):
        curves.append(learning_curve(*size, settings.ridge, estimator=estimator))
        curves.append(optimal_ridge(*size, estimator=estimator))
    return curves


def _sample(settings: Settings, seed: int, n_threads: int | None) -> SampleResult:
    generator = np.random.default_rng(seed)
    model = sk_potts(settings.length, settings.n_states, settings.coupling_scale, generator)
    n_sequences = max(settings.alphas) * settings.length + settings.n_test
    return sample(model, n_sequences, rng=generator, n_threads=n_threads)


def _plan(settings: Settings, curves: list[LearningCurve]) -> Iterator[tuple[int, str, str, float]]:
    """Yield (alpha, kind of ridge, method, ridge) for one instance."""
    for alpha in settings.alphas:
        for kind in RIDGE_KINDS:
            for method in METHODS:
                curve = _curve_for(curves, method, kind)
                yield alpha, kind, method, float(curve.ridge[CURVE_ALPHAS.index(alpha)])


def _curve_for(curves: list[LearningCurve], method: str, kind: str) -> LearningCurve:
    wanted = (ESTIMATOR_OF[method], kind)
    return next(curve for curve in curves if (curve.estimator, curve.ridge_kind) == wanted)


def _fit(
    method: str,
    train: SequenceDataset,
    ridge: float,
    seed: int,
    n_threads: int | None,
    validation: SequenceDataset | None,
) -> FitResult:
    if method == "attention":
        return train_masked(train, ridge=ridge, fields="none", rng=seed, validation=validation)
    return fit_pseudolikelihood(train, method, ridge=ridge, fields="none", n_threads=n_threads)


def _row(
    fit: FitResult, test: SequenceDataset, kind: str, alpha: float, ridge: float, seed: int
) -> SweepRow:
    judged = compare({fit.method: fit}, test)
    return SweepRow(
        method=fit.method,
        ridge_kind=kind,
        alpha=float(alpha),
        ridge=ridge,
        seed=seed,
        test_loss=judged.fits[0].test_loss,
        train_loss=fit.train_loss,
        coupling_error=judged.fits[0].coupling_error,
        bayes_loss=judged.bayes_loss,
        seconds=fit.seconds,
        converged=fit.converged,
    )


def _deviations(table: SweepTable, curves: list[LearningCurve]) -> Iterator[Deviation]:
    for mean in table.means():
        curve = _curve_for(curves, mean.method, mean.ridge_kind)
        index = CURVE_ALPHAS.index(mean.alpha)
        yield Deviation(
            mean.method,
            mean.ridge_kind,
            mean.alpha,
            float(curve.ridge[index]),
            mean.test_loss,
            mean.test_loss_error,
            float(curve.test_loss[index]),
        )


def _lead(settings: Settings, table: SweepTable, deviations: tuple[Deviation, ...]) -> str:
    worst = {
        method: max(abs(entry.relative) for entry in deviations if entry.method == method)
        for method in METHODS
    }
    attention = {
        (d.ridge_kind, d.alpha): d.simulated for d in deviations if d.method == "attention"
    }
    apart = max(
        abs(entry.simulated - attention[entry.ridge_kind, entry.alpha])
        for entry in deviations
        if entry.method == "factored"
    )
    n_failed = sum(not row.converged for row in table.rows)
    state = "All fits converged." if n_failed == 0 else f"{n_failed} fits did NOT converge."
    return (
        f"Sequences of {settings.length} sites with {settings.n_states} states were sampled from "
        f"{settings.n_instances} random Potts models (coupling scale {settings.coupling_scale:g} "
        "k_B T). Mean test losses differ from the replica theory by at most "
        f"{100 * worst['factored']:.2f} % (factored pseudo-likelihood), "
        f"{100 * worst['attention']:.2f} % (attention) and {100 * worst['plm']:.2f} % (plm); "
        f"attention and factored pseudo-likelihood differ by at most {apart:.1e} nats per masked "
        f"site. {state}"
    )


def _curve_sections(
    out: Path,
    curves: list[LearningCurve],
    table: SweepTable,
    deviations: tuple[Deviation, ...],
) -> Iterator[Section]:
    losses = figure_learning_curves(curves, [table])[0]
    errors = figure_learning_curves(curves, [table], observable="coupling_error")[0]
    for name, ax in (("learning_curve", losses), ("coupling_error", errors)):
        save_figure(ax, out / f"{name}.png")
        _write_curve_csv(out / f"{name}.csv", curves, table)
    yield Section(
        "Learning curve: test loss",
        figure=losses,
        caption="Lines: replica theory for infinite systems. Points: mean over instances with its "
        "standard error. Left: the same ridge everywhere. Right: at each alpha the ridge that "
        "minimises the predicted test loss of that estimator.",
        table=Table(
            (
                "method",
                "ridge",
                "alpha (sequences per site)",
                "ridge value",
                "simulated test loss (nats)",
                "theory (nats)",
                "deviation (%)",
            ),
            [
                (
                    METHOD_LABELS[entry.method],
                    "given" if entry.ridge_kind == "fixed" else "best",
                    f"{entry.alpha:g}",
                    f"{entry.ridge:.3g}",
                    f"{entry.simulated:.4f} ± {entry.error:.4f}",
                    f"{entry.predicted:.4f}",
                    f"{100 * entry.relative:+.2f}",
                )
                for entry in deviations
            ],
        ),
    )
    yield Section(
        "Learning curve: error of the couplings",
        figure=errors,
        caption="Squared distance of fitted and true couplings in the zero-sum gauge, relative to "
        "the true norm (dimensionless; 1 is the error of learning nothing).",
    )


def _write_curve_csv(path: Path, curves: list[LearningCurve], table: SweepTable) -> None:
    header = ["source", "name", "ridge_kind", "alpha", "n_instances"]
    header += ["test_loss_nats", "test_loss_error", "train_loss_nats", "train_loss_error"]
    header += ["coupling_error", "coupling_error_error", "bayes_loss_nats"]
    rows: list[list[object]] = []
    for curve in curves:
        columns = (curve.alpha, curve.test_loss, curve.train_loss, curve.coupling_error)
        for alpha, test, train, error in zip(*columns, strict=True):
            bayes = curve.bayes_loss[0]
            row = ["theory", curve.estimator, curve.ridge_kind, alpha, "", test, "", train, ""]
            rows.append([*row, error, "", bayes])
    for mean in table.means():
        values = list(asdict(mean).values())
        rows.append(["simulation", *values[:3], *values[3:], ""])
    write_csv(path, header, rows)


def _example_sections(out: Path, example: _Example, settings: Settings) -> Iterator[Section]:
    truth = example.train.model
    assert truth is not None
    axes = new_figure(len(METHODS), width=3.7, height=3.9)
    rows: list[tuple[str, float, float]] = []
    for ax, method in zip(axes, METHODS, strict=True):
        true, fitted = coupling_pairs(example.fits[method], truth)
        color = str(METHOD_MARKERS[method]["color"])
        plot_couplings(true, fitted, ax, label=METHOD_LABELS[method], color=color)
        rows += [(method, *pair) for pair in zip(true, fitted, strict=True)]
    save_figure(axes[0], out / "couplings.png")
    write_csv(
        out / "couplings.csv",
        ("method", "true_kT", "learned_kT"),
        ((method, f"{true:.6g}", f"{fitted:.6g}") for method, true, fitted in rows),
    )
    setting = (
        f"Instance {settings.seed}, {example.train.n_sequences} sequences "
        f"(alpha = {max(settings.alphas)}), ridge {settings.ridge:g}."
    )
    yield Section(
        "True against learned couplings",
        figure=axes[0],
        caption=f"{setting} Zero-sum gauge, symmetrized. Factored models: one interaction A_ij per "
        "pair; plm: every entry of every block.",
    )
    history = example.fits["attention"].history
    assert history is not None
    reference = compare(example.fits, example.test)
    losses = {fit.method: fit.test_loss for fit in reference.fits}
    ax = plot_history(
        history,
        references={
            "test, factored pseudo-likelihood": losses["factored"],
            "Bayes loss (true model)": reference.bayes_loss,
        },
    )
    save_figure(ax, out / "training.png")
    write_csv(
        out / "training.csv",
        list(asdict(history)),
        zip(*asdict(history).values(), strict=True),
    )
    yield Section(
        "Training of the attention layer",
        figure=ax,
        caption=f"{setting} One-site masked modelling with Adam; at every visit a sequence shows "
        f"{example.fits['attention'].config['masks']} one-site masks.",
    )


def _how_section(
    settings: Settings, samples: list[SampleResult], curves: list[LearningCurve], seconds: float
) -> Section:
    made_by = provenance()
    versions = ", ".join(f"{name} {number}" for name, number in made_by["versions"].items())
    first = samples[0]
    worst_r_hat = max(result.split_r_hat for result in samples)
    common = f"--states {settings.n_states} --coupling-scale {settings.coupling_scale:g}"
    alphas = " ".join(f"{alpha:.6g}" for alpha in CURVE_ALPHAS)
    lines = [f"pottsattn demo --out . --seed {settings.seed}   # everything on this page", ""]
    lines.append("# the figures alone, from the files of this folder")
    for curve in curves:
        ridge = "--optimum ridge" if curve.ridge_kind == "optimal" else f"--ridge {settings.ridge}"
        lines.append(
            f"pottsattn theory {common} --estimator {curve.estimator} {ridge} --alpha {alphas} "
            f"--out theory_{curve.estimator}_{curve.ridge_kind}.h5"
        )
    fit = f"--fields none --ridge {settings.ridge:g} --seed {settings.seed}"
    lines += [
        "pottsattn plot theory_*.h5 points.h5 --out learning_curve.png",
        "pottsattn plot theory_*.h5 points.h5 --observable coupling_error --out coupling_error.png",
        *(f"pottsattn fit train.h5 --method {m} {fit} --out {m}.h5" for m in METHODS),
        "pottsattn compare factored.h5 attention.h5 plm.h5 --test test.h5",
        "pottsattn plot factored.h5 attention.h5 plm.h5 train.h5 --out couplings.png",
        "pottsattn plot attention.h5 --out training.png",
    ]
    schedule = first.dataset.origin["schedule"]
    return Section(
        "How this was made",
        [
            f"{versions}; {made_by['platform']}. {seconds:.0f} s of wall time.",
            f"Seeds {settings.seed} to {settings.seed + settings.n_instances - 1}, one per "
            f"instance: model, chains, {settings.n_test} test sequences. Training sets are nested. "
            "Fits have no fields, as the theory has none.",
            f"Sampling: kernel {first.kernel}, {schedule['n_chains']} chains, warm-up "
            f"{schedule['n_warmup']} sweeps, thinned by {schedule['thin_by']} sweeps; effective "
            f"sample size {min(result.ess for result in samples):.0f} of "
            f"{first.dataset.n_sequences} or more, split-R-hat at most {worst_r_hat:.3f}; "
            f"phase zone {first.phase_zone}.",
            "Ridge: couplings_l2 = ridge / (2 alpha) per sequence; see docs/conventions.md. A CSV "
            "with the numbers lies beside each figure.",
        ],
        code="\n".join(lines),
    )
