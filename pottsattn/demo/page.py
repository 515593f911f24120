"""The report of the demo: figures, tables and text from what the job left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from pottsattn._core.storage import provenance, write_csv
from pottsattn.analysis.comparison import compare, coupling_pairs
from pottsattn.demo.job import (
    CURVE_ALPHAS,
    METHODS,
    RANDOM,
    DemoResult,
    Example,
    random_training,
)
from pottsattn.figures.curves import figure_learning_curves
from pottsattn.figures.fits import plot_couplings
from pottsattn.figures.style import (
    METHOD_LABELS,
    METHOD_MARKERS,
    new_figure,
    save_figure,
    share_limits,
)
from pottsattn.figures.training import plot_history
from pottsattn.pages.page import Section, Table, write_page
from pottsattn.studies.sweep.against_theory import Deviation
from pottsattn.studies.sweep.table import SweepTable
from pottsattn.theory.result import LearningCurve


def write_demo_page(out: Path, result: DemoResult) -> None:
    """Write report.html, and every figure as .png with a .csv beside it, into the folder `out`.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    deviations = tuple(result.deviations())
    write_page(
        out / "report.html",
        "Factored attention learns the Potts model as pseudo-likelihood does, and as theory says",
        _lead(result, deviations),
        [
            *_curve_sections(out, result.curves, result.table, deviations),
            *_example_sections(out, result.example),
            _how_section(result),
        ],
    )


def _lead(result: DemoResult, deviations: Sequence[Deviation]) -> str:
    settings = result.settings
    worst = {
        method: max(abs(entry.relative) for entry in deviations if entry.point.method == method)
        for method in METHODS
    }
    attention = {
        (d.point.ridge_kind, d.point.alpha): d.simulated
        for d in deviations
        if d.point.method == "attention"
    }
    apart = max(
        abs(entry.simulated - attention[entry.point.ridge_kind, entry.point.alpha])
        for entry in deviations
        if entry.point.method == "factored"
    )
    state = result.table.message[0].upper() + result.table.message[1:]
    return (
        f"Sequences of {settings.length} sites with {settings.n_states} states were sampled from "
        f"{settings.n_instances} random Potts models (coupling scale {settings.coupling_scale:g} "
        "k_B T). Mean test losses differ from the replica theory by at most "
        f"{100 * worst['factored']:.2f} % (factored pseudo-likelihood), "
        f"{100 * worst['attention']:.2f} % (attention) and {100 * worst['plm']:.2f} % (plm); "
        f"attention and factored pseudo-likelihood differ by at most {apart:.1e} nats per masked "
        f"site. {state}."
    )


def _curve_sections(
    out: Path,
    curves: Sequence[LearningCurve],
    table: SweepTable,
    deviations: Sequence[Deviation],
) -> Iterator[Section]:
    panels = {}
    for name, observable in (("learning_curve", "test_loss"), ("coupling_error", "coupling_error")):
        both = figure_learning_curves(curves, [table], observable=observable)[0]
        save_figure(both, out / f"{name}.png")
        _write_curve_csv(out / f"{name}.csv", curves, table)
        panels[name] = figure_learning_curves(curves, [table], observable=observable, separate=True)
    yield Section(
        "Learning curve: test loss",
        figures=panels["learning_curve"],
        caption="Lines: replica theory for infinite systems. Points: mean over instances with its "
        "standard error. First the same ridge everywhere, then at each alpha the ridge that "
        "minimizes the predicted test loss of that estimator. plm lies above its line at small "
        "alpha: without fields its raw one-hot inputs still act like one (docs/theory.md).",
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
                    entry.point.method,
                    "given" if entry.point.ridge_kind == "fixed" else "best",
                    f"{entry.point.alpha:g}",
                    f"{entry.point.ridge:.3g}",
                    _with_error(entry.simulated, entry.error),
                    f"{entry.predicted:.4f}",
                    f"{100 * entry.relative:+.2f}",
                )
                for entry in sorted(
                    deviations, key=lambda d: (d.point.ridge_kind, d.point.method, d.point.alpha)
                )
            ],
        ),
    )
    yield Section(
        "Learning curve: error of the couplings",
        figures=panels["coupling_error"],
        caption="Squared distance of fitted and true couplings in the zero-sum gauge, relative to "
        "the true norm (dimensionless; 1 is the error of learning nothing).",
    )


def _with_error(value: float, error: float) -> str:
    return f"{value:.4f}" if math.isnan(error) else f"{value:.4f} ± {error:.4f}"


def _write_curve_csv(path: Path, curves: Sequence[LearningCurve], table: SweepTable) -> None:
    header = ["source", "name", "ridge_kind", "alpha", "ridge", "n_instances"]
    header += ["test_loss_nats", "test_loss_error", "train_loss_nats", "train_loss_error"]
    header += ["coupling_error", "coupling_error_error", "bayes_loss_nats", "converged"]
    rows: list[list[object]] = []
    for curve in curves:
        names = ("alpha", "ridge", "test_loss", "train_loss", "coupling_error", "bayes_loss")
        columns = (getattr(curve, name) for name in (*names, "converged"))
        for alpha, ridge, test, train, error, bayes, solved in zip(*columns, strict=True):
            row = ["theory", curve.estimator, curve.ridge_kind, alpha, ridge, ""]
            rows.append([*row, test, "", train, "", error, "", bayes, solved])
    fits = table.groups()
    for mean in table.means():
        point = mean.point
        row = ["simulation", point.method, point.ridge_kind, point.alpha, point.ridge]
        done = all(fit.is_sound for fit in fits[point])
        rows.append([*row, *list(asdict(mean).values())[1:], "", done])
    write_csv(path, header, rows)


def _example_sections(out: Path, example: Example) -> Iterator[Section]:
    truth = example.train.model
    assert truth is not None
    together = new_figure(len(METHODS), width=3.7, height=3.9)
    single = [new_figure(width=3.7, height=3.9)[0] for _ in METHODS]
    rows: list[tuple[str, float, float]] = []
    for panels, method in zip(zip(together, single, strict=True), METHODS, strict=True):
        true, fitted = coupling_pairs(example.fits[method], truth)
        color = str(METHOD_MARKERS[method]["color"])
        for ax in panels:
            plot_couplings(true, fitted, ax, label=METHOD_LABELS[method], color=color)
        rows += [(method, *pair) for pair in zip(true, fitted, strict=True)]
    share_limits(together)
    share_limits(single)
    save_figure(together[0], out / "couplings.png")
    write_csv(
        out / "couplings.csv",
        ("method", "true_kT", "learned_kT"),
        ((method, f"{true:.6g}", f"{fitted:.6g}") for method, true, fitted in rows),
    )
    setting = (
        f"Instance {example.seed}, {example.train.n_sequences} sequences "
        f"(alpha = {example.train.alpha:g}), ridge {example.fits['plm'].ridge:g}."
    )
    yield Section(
        "True against learned couplings",
        figures=single,
        caption=f"{setting} Zero-sum gauge, symmetrized. Factored models: one interaction A_ij per "
        "pair; plm: every entry of every block.",
    )
    history, (masking, recipe) = example.random.history, random_training(example.train)
    assert history is not None
    reference = compare(example.fits | {RANDOM: example.random}, example.test)
    losses = {fit.file: fit.test_loss for fit in reference.fits}
    above = (example.random.objective - example.fits["attention"].objective) / example.train.length
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
        "Training with random masks",
        figures=[ax],
        caption=f"{setting} Masked modeling as it is done: Adam on batches of "
        f"{recipe.batch_size} sequences, {masking.masks} random one-site masks of each. Lines are "
        "of the mean of the weights; the masks drawn were met by the weights themselves. Its "
        f"objective ends {above:.1e} nats per site above the optimum, its test loss "
        f"{losses[RANDOM] - losses['attention']:+.1e} nats from that of the optimum; "
        f"{example.random.message}.",
    )


def _how_section(result: DemoResult) -> Section:
    settings, samples, curves = result.settings, result.samples, result.curves
    made_by = provenance()
    versions = ", ".join(f"{name} {number}" for name, number in made_by["versions"].items())
    first = samples[0]
    worst_r_hat = max(drawn.split_r_hat for drawn in samples)
    common = f"--states {settings.n_states} --coupling-scale {settings.coupling_scale:g}"
    alphas = " ".join(f"{alpha:.6g}" for alpha in CURVE_ALPHAS)
    size = f"--seed {settings.seed} --instances {settings.n_instances}"
    lines = [f"pottsattn demo --out . {size}   # everything on this page", ""]
    lines.append("# the figures alone, from the files of this folder (without reference lines)")
    for curve in curves:
        ridge = "--optimum ridge" if curve.ridge_kind == "optimal" else f"--ridge {settings.ridge}"
        lines.append(
            f"pottsattn theory {common} --estimator {curve.estimator} {ridge} --alpha {alphas} "
            f"--out theory_{curve.estimator}_{curve.ridge_kind}.h5"
        )
    fit = f"--fields none --ridge {settings.ridge:g} --seed {settings.seed}"
    masking, recipe = random_training(result.example.train)
    random = f"{fit} --masks {masking.masks} --optimizer adam --batch-size {recipe.batch_size}"
    lines += [
        "pottsattn plot theory_*.h5 points.h5 --out learning_curve.png",
        "pottsattn plot theory_*.h5 points.h5 --observable coupling_error --out coupling_error.png",
        "pottsattn plot factored.h5 attention.h5 plm.h5 train.h5 --out couplings.png",
        f"pottsattn plot {RANDOM}.h5 --out training.png",
        "",
        "# the fits of these figures once more, and their losses",
        *(f"pottsattn fit train.h5 --method {m} {fit} --out again_{m}.h5" for m in METHODS),
        f"pottsattn fit train.h5 --method attention {random} --out again_{RANDOM}.h5",
        "pottsattn compare again_*.h5 --test test.h5",
    ]
    schedule = first.dataset.origin["schedule"]
    return Section(
        "How this was made",
        [
            f"{versions}; {made_by['platform']}. {result.seconds:.0f} s of wall time.",
            f"Seeds {settings.seed} to {settings.seed + settings.n_instances - 1}, one per "
            f"instance: model, chains, {settings.n_test} test sequences. Training sets are nested. "
            "Fits have no fields, as the theory has none.",
            f"Sampling: kernel {first.kernel}, {schedule['n_chains']} chains, warm-up "
            f"{schedule['n_warmup']} sweeps, thinned by {schedule['thin_by']} sweeps; effective "
            f"sample size at least {min(drawn.ess for drawn in samples):.0f} of "
            f"{first.dataset.n_sequences} sequences, split-R-hat at most {worst_r_hat:.3f}; "
            f"phase zone {first.phase_zone}.",
            "Ridge: couplings_l2 = ridge / (2 alpha) per sequence; see docs/conventions.md. A CSV "
            "with the numbers lies beside each figure.",
        ],
        code="\n".join(lines),
    )
