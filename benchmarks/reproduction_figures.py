"""Figures and tables of benchmarks/reproduction.py, from the results of its fits."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import reproduction_tasks as tasks
import torch
from numpy.typing import NDArray

from pottsattn import __version__, learning_curve
from pottsattn._core.storage import write_csv
from pottsattn._core.whole_files import write_whole
from pottsattn.figures.fits import plot_couplings
from pottsattn.figures.style import BLUE, GRAY, GREEN, ORANGE, VERMILLION, new_figure, save_figure

__all__ = ["draw"]

Array = NDArray[np.float64]
Results = list[dict[str, Any]]
NETWORKS = (  # layers, heads, variant, label, color
    (1, 1, "vanilla", "transformer, 1 layer", VERMILLION),
    (2, 1, "vanilla", "transformer, 2 layers", ORANGE),
    (3, 1, "vanilla", "transformer, 3 layers", GREEN),
)
INGREDIENTS = (  # layers, heads, variant, label
    (1, 1, "content", "no positions"),
    (1, 1, "positional", "Q, K see positions only"),
    (1, 1, "vanilla", "1 layer"),
    (1, 4, "vanilla", "1 layer, 4 heads"),
    (2, 1, "vanilla", "2 layers"),
    (3, 1, "vanilla", "3 layers"),
    (1, 1, "linear", "1 layer, no softmax"),
)
EXCESS = "excess test loss over the Bayes loss (nats per site)"


def draw(results: Results, out: Path) -> None:
    """Write all figures, the numbers behind each, and tables.md."""
    large = max(found["sizes"]["n_sequences"] for found in _of(results, "attention"))
    text = [
        f"pottsattn {__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
        f"{len({found['seed'] for found in results})} seeds; mean ± standard error over seeds."
    ]
    text += _draw_training(results, large, out)
    text += _draw_recovered(results, large, out)
    text += _draw_ingredients(results, large, out)
    text += _table_trends(results, large, out)
    text += _draw_sizes(results, out)
    text += _table_objectives(results, out)
    text += _draw_masks(results, out)
    with write_whole(out / "tables.md") as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")


def _of(results: Results, task: str, **sizes: Any) -> Results:
    return [
        found
        for found in results
        if found["task"] == task and all(found["sizes"][key] == sizes[key] for key in sizes)
    ]


def _mean(values: Iterable[float | None]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN error of one value."""
    array = np.array([math.nan if value is None else value for value in values])
    error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return float(array.mean()), float(error)


def _column(found: Results, name: str) -> tuple[float, float]:
    return _mean(one["result"][name] for one in found)


def _verdicts(found: Results) -> str:
    """Return how many of the fits converged."""
    return f"{sum(one['result']['converged'] for one in found)} of {len(found)}"


def _draw_training(results: Results, large: int, out: Path) -> list[str]:
    """Draw the loss against epochs."""
    (ax,) = new_figure(width=6.4, height=4.2)
    rows = []
    series = [("factored attention, 1 layer", BLUE, _of(results, "attention", n_sequences=large))]
    for layers, heads, variant, label, color in NETWORKS:
        sizes = {"layers": layers, "heads": heads, "variant": variant}
        series.append((label, color, _of(results, "network", n_sequences=large, **sizes)))
    for label, color, found in series:
        for number, one in enumerate(found):
            curve = one["result"]["curve"]
            points = zip(curve["epochs"], curve["excess"], strict=True)
            rows += [(label, one["seed"], *point) for point in points]
            style = {"color": color, "linewidth": 1.2, "marker": ".", "markersize": 3}
            name = label if number == 0 else None
            ax.plot(curve["epochs"], curve["excess"], alpha=0.8, label=name, **style)
    ax.set_yscale("log")
    ax.set_xscale("log")
    ax.set_xlim(left=0.02)
    ax.set_xlabel("epochs (visits of every sequence)")
    ax.set_ylabel("excess held-out loss over the Bayes loss (nats)")
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    save_figure(ax, out / "training.png")
    write_csv(out / "training.csv", ("network", "seed", "epochs", "excess"), rows)
    return []


def _draw_recovered(results: Results, large: int, out: Path) -> list[str]:
    """Draw learned against true interactions."""
    sizes = sorted({found["sizes"]["n_sequences"] for found in _of(results, "attention")})
    axes = new_figure(len(sizes), width=3.6, height=3.7)
    rows = []
    lines = ["", "| sequences | excess loss | coupling error | correlation | converged |"]
    lines.append("|---|---|---|---|---|")
    for ax, size in zip(axes, sizes, strict=True):
        found = _of(results, "attention", n_sequences=size)
        true = np.concatenate([one["result"]["true"] for one in found])
        fitted = np.concatenate([one["result"]["fitted"] for one in found])
        plot_couplings(true, fitted, ax, label=f"{size:,} sequences")
        ax.set_xlabel("true interactions $A_{ij}$")
        ax.set_ylabel("learned interactions $A_{ij}$")
        rows += [(size, *pair) for pair in zip(true, fitted, strict=True)]
        columns = [_column(found, name) for name in ("excess", "coupling_error", "pearson")]
        excess, error, pearson = (_text(*column) for column in columns)
        lines.append(f"| {size} | {excess} | {error} | {pearson} | {_verdicts(found)} |")
    save_figure(axes[0], out / "interactions.png")
    write_csv(out / "interactions.csv", ("n_sequences", "true", "learned"), rows)
    return ["", "## Factored attention", *lines]


def _draw_ingredients(results: Results, large: int, out: Path) -> list[str]:
    """Draw the final excess of every network."""
    (ax,) = new_figure(width=6.4, height=3.6)
    rows, names = [], []
    lines = ["", "| network | parameters | excess loss | converged |", "|---|---|---|---|"]
    entries = []
    for layers, heads, variant, label in INGREDIENTS:
        sizes = {"layers": layers, "heads": heads, "variant": variant, "n_sequences": large}
        entries.append((label, _of(results, "network", **sizes)))
    entries.append(("factored attention", _of(results, "attention", n_sequences=large)))
    for at, (label, found) in enumerate(entries):
        excess, error = _column(found, "excess")
        color = BLUE if label.startswith("factored") else VERMILLION
        ax.errorbar(excess, -at, xerr=error, fmt="o", color=color, markersize=5, capsize=2)
        for one in found:
            ax.plot(one["result"]["excess"], -at, ".", color=GRAY, markersize=3, zorder=1)
        names.append(label)
        n_parameters, done = found[0]["result"]["n_parameters"], _verdicts(found)
        rows.append((label, len(found), excess, error, n_parameters, done))
        lines.append(f"| {label} | {n_parameters} | {_text(excess, error)} | {done} |")
    ax.set_yticks([-at for at in range(len(names))], names, fontsize=9)
    ax.set_xscale("log")
    ax.set_xlabel(EXCESS)
    ax.grid(axis="y", linewidth=0.3)
    save_figure(ax, out / "ingredients.png")
    header = ("network", "seeds", "excess", "error", "n_parameters", "converged")
    write_csv(out / "ingredients.csv", header, rows)
    return ["", f"## Networks on {large} sequences", *lines]


def _table_trends(results: Results, large: int, out: Path) -> list[str]:
    """Tabulate the excess of transformers against the steps that they were given."""
    standard = {1: tasks.FEW_STEPS, 2: tasks.STEPS, 3: tasks.STEPS}
    vanilla = {"heads": 1, "variant": "vanilla", "n_sequences": large}
    rows = []
    lines = ["", "| layers | steps | excess loss | converged |", "|---|---|---|---|"]
    for layers, steps in standard.items():
        groups = {steps: _of(results, "network", layers=layers, **vanilla)}
        for one in _of(results, "trend", layers=layers):
            groups.setdefault(one["sizes"]["steps"], []).append(one)
        for number, found in sorted(groups.items()):
            rows.append((layers, number, *_column(found, "excess"), _verdicts(found)))
            lines.append(f"| {layers} | {number} | {_text(*rows[-1][2:4])} | {rows[-1][4]} |")
    write_csv(out / "trends.csv", ("layers", "steps", "excess", "error", "converged"), rows)
    return ["", "## Steps of transformers", *lines]


def _draw_sizes(results: Results, out: Path) -> list[str]:
    """Draw the excess against the number of sequences."""
    (ax,) = new_figure()
    rows = []
    lines = ["", "| network | sequences | excess loss | converged |", "|---|---|---|---|"]
    series = [("factored attention, 1 layer", BLUE, "attention", {})]
    for layers, heads, variant, label, color in NETWORKS:
        sizes = {"layers": layers, "heads": heads, "variant": variant}
        series.append((label, color, "network", sizes))
    for label, color, task, sizes in series:
        found = _of(results, task, **sizes)
        numbers = sorted({one["sizes"]["n_sequences"] for one in found})
        groups = [_of(found, task, n_sequences=size) for size in numbers]
        points = [_column(group, "excess") for group in groups]
        mean, error = np.array(points).T
        style = {"fmt": "o-", "color": color, "markersize": 5, "capsize": 2, "linewidth": 1.2}
        ax.errorbar(numbers, mean, yerr=error, label=label, **style)
        for size, point, group in zip(numbers, points, groups, strict=True):
            rows.append((label, size, *point, _verdicts(group)))
            lines.append(f"| {label} | {size} | {_text(*point)} | {rows[-1][-1]} |")
    ax.set_xscale("log")
    ax.set_yscale("log")
    sizes = sorted({row[1] for row in rows})
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("training sequences")
    ax.set_ylabel(EXCESS)
    ax.legend(fontsize=8, frameon=False)
    save_figure(ax, out / "sequences.png")
    header = ("network", "n_sequences", "excess", "error", "converged")
    write_csv(out / "sequences.csv", header, rows)
    return ["", "## Number of sequences", *lines]


def _table_objectives(results: Results, out: Path) -> list[str]:
    """Tabulate attention against pseudo-likelihood."""
    found = _of(results, "same_objective")
    labels = {
        "factored": "factored pseudo-likelihood",
        "lbfgs": "attention, full batch (L-BFGS)",
        "adam": "attention, mini-batches (Adam)",
        "plm": "plmDCA, its best ridge by leave-one-out",
    }
    names = ("excess", "coupling_error", "above", "correlation", "seconds_to_close", "seconds")
    rows = []
    lines = [
        "",
        "| fit | excess loss | coupling error | above the best objective | correlation with "
        "pseudo-likelihood | s to within 1e-3 nats | s in all | converged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, label in labels.items():
        cells = []
        for key in names:
            values = [one["result"][name].get(key, math.nan) for one in found]
            mean, error = _mean(values)
            cells.append((mean, error))
        done = _verdicts([{"result": one["result"][name]} for one in found])
        rows.append((label, *(number for cell in cells for number in cell), done))
        texts = [_text(*cells[0]), _text(*cells[1]), f"{cells[2][0]:.1e}", f"{cells[3][0]:.6f}"]
        texts += [_text(*cells[4], digits=2), _text(*cells[5], digits=1)]
        if name == "plm":
            texts[2] = texts[3] = "-"
        lines.append(f"| {label} | {' | '.join([*texts, done])} |")
    header = ["fit"]
    for key in names:
        header += [key, f"{key}_error"]
    write_csv(out / "objectives.csv", [*header, "converged"], rows)
    size = found[0]["sizes"]["n_sequences"]
    return ["", f"## Attention against pseudo-likelihood, {size} sequences", *lines]


def _draw_masks(results: Results, out: Path) -> list[str]:
    """Draw loss and coupling error against the mask fraction, theory over experiment."""
    loss, error = new_figure(2)
    found = _of(results, "masks")
    alpha, scale, ridge = _matched(found)
    fractions = np.linspace(0.02, 0.95, 60)
    kinds = (  # mode, patterns, label, color, marker
        ("static", 1, "static masks, one a sequence", VERMILLION, "o"),
        ("static", 4, "static masks, four a sequence", ORANGE, "s"),
        ("fresh", tasks.FRESH_PATTERNS, "fresh masks", BLUE, "^"),
    )
    rows = []
    lines = ["", "| masks | r | test loss | theory | coupling error | theory | converged |"]
    lines.append("|---|---|---|---|---|---|---|")
    states = tasks.MASKED_STATES
    plain = learning_curve(states, scale, [alpha], ridge)
    known = [(plain.test_loss[0], plain.coupling_error[0])]
    none = _of(found, "masks", mode="none")
    _add_row(rows, lines, "pseudo-likelihood", 0.0, none, known[0])
    for ax, name, value in zip(
        (loss, error), ("test_loss", "coupling_error"), known[0], strict=True
    ):
        mean, spread = _column(none, name)
        ax.axhspan(mean - spread, mean + spread, color=GRAY, alpha=0.25, linewidth=0)
        ax.axhline(mean, color=GRAY, linewidth=1.0, label="pseudo-likelihood, simulated")
        ax.axhline(value, color=GRAY, linewidth=1.0, linestyle=":", label="its theory")
    for mode, patterns, label, color, marker in kinds:
        points = _of(found, "masks", mode=mode, n_patterns=patterns)
        at = sorted({one["sizes"]["fraction"] for one in points})
        where = np.union1d(fractions, at)
        curve = learning_curve(
            states, scale, np.full(len(where), alpha), ridge,
            mask_fraction=where, mask_mode=mode, masks=patterns if mode == "static" else None,
        )  # fmt: skip
        for ax, values in ((loss, curve.test_loss), (error, curve.coupling_error)):
            known_values = np.where(curve.converged, values, math.nan)
            ax.plot(where, known_values, color=color, linewidth=1.3, label=f"theory, {label}")
        for fraction in at:
            here = _of(points, "masks", fraction=fraction)
            index = int(np.searchsorted(where, fraction))
            theory = (math.nan, math.nan)
            if curve.converged[index]:
                theory = curve.test_loss[index], curve.coupling_error[index]
            _add_row(rows, lines, label, fraction, here, theory)
        for ax, name in ((loss, "test_loss"), (error, "coupling_error")):
            means = np.array([_column(_of(points, "masks", fraction=r), name) for r in at])
            ax.errorbar(
                at, means[:, 0], yerr=means[:, 1], fmt=marker, color=color, markersize=5,
                capsize=2, label=label,
            )  # fmt: skip
    for ax, text in ((loss, "test loss (nats per site)"), (error, r"coupling error $\epsilon$")):
        ax.set_xlabel("mask fraction $r$")
        ax.set_ylabel(text)
        ax.set_xlim(0.0, 1.0)
    error.set_yscale("log")
    error.set_yticks([0.3, 0.5, 1.0], ["0.3", "0.5", "1"])
    error.set_yticks([], minor=True)
    loss.legend(fontsize=8, frameon=False)
    save_figure(loss, out / "masks.png")
    header = ("masks", "r", "test_loss", "error", "theory", "coupling_error", "error", "theory")
    write_csv(out / "masks.csv", (*header, "converged"), rows)
    sizes = f"L = {tasks.MASKED_LENGTH}, C = {states}, alpha = {tasks.MASKED_ALPHA}"
    return ["", f"## Mask fraction ({sizes}, ridge {tasks.MASKED_RIDGE})", *lines]


def _matched(found: Results) -> tuple[float, float, float]:
    """Return alpha, J and ridge of the theory that fit these instances (docs/theory.md)."""
    length = tasks.MASKED_LENGTH
    power = np.mean([one["result"]["realized_scale"] ** 2 for one in found])
    alpha = tasks.MASKED_ALPHA * length / (length - 1)
    return alpha, math.sqrt(power), tasks.MASKED_RIDGE * length / (length - 1)


def _add_row(
    rows: list[Any],
    lines: list[str],
    label: str,
    fraction: float,
    found: Results,
    theory: Sequence[float],
) -> None:
    loss, error = _column(found, "test_loss"), _column(found, "coupling_error")
    rows.append((label, fraction, *loss, theory[0], *error, theory[1], _verdicts(found)))
    texts = [_text(*loss), f"{theory[0]:.4f}", _text(*error), f"{theory[1]:.4f}"]
    texts = [text.replace("nan", "-") for text in texts]
    lines.append(f"| {label} | {fraction:g} | {' | '.join([*texts, _verdicts(found)])} |")


def _text(mean: float, error: float, digits: int = 4) -> str:
    if math.isnan(mean):
        return "not reached"
    text = f"{mean:.{digits}f}"
    return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text
