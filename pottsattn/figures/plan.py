"""The figure of `pottsattn plan`: predicted test loss against the number of sequences."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pottsattn.figures.style import BLUE, GRAY, GREEN, VERMILLION, new_figure, reference_line
from pottsattn.studies.plan.result import Plan

COLORS = {"factored": BLUE, "heads": GREEN, "plm": VERMILLION}
MARKERS = {"factored": "o", "heads": "s", "plm": "^"}


def plot_plan(result: Plan, ax: Axes | None = None) -> Axes:
    """Draw losses against the number of sequences; markers are measured, shading extrapolates.

    Lines are at the ridge of the plan, thin dashed ones at the best ridge.
    """
    ax = new_figure(width=6.2, height=4.2)[0] if ax is None else ax
    ratio = result.n_sequences / result.effective_size
    for method in result.methods:
        name = method.method.partition(" ")[0]
        color = COLORS[name]
        sizes = [point.n_sequences for point in method.points]
        ax.plot(
            sizes,
            [point.test_loss for point in method.points],
            color=color,
            linewidth=1.8,
            label=f"{method.method}, ridge {result.ridge:g}",
        )
        best = [point.best_loss for point in method.points]
        ax.plot(sizes, best, color=color, linewidth=1.0, linestyle="--")
        for fit in method.measured:
            is_given = fit.ridge == result.ridge
            ax.errorbar(
                fit.effective_size * ratio,
                fit.test_loss,
                yerr=fit.test_loss_error,
                color=color,
                marker=MARKERS[name],
                markersize=5.5,
                markerfacecolor=color if is_given else "white",
                capsize=2,
                zorder=4,
            )
    reference_line(ax, result.baseline_loss, "no couplings")
    reference_line(
        ax,
        result.bayes_loss,
        "unlimited sequences" if result.form == "matched" else "unlimited sequences, plm",
        "left",
    )
    if result.target_loss is not None:
        ax.axhline(result.target_loss, color=GRAY, linewidth=1.0, label="target")
    largest = max(point.n_sequences for method in result.methods for point in method.points)
    ax.axvspan(
        result.n_sequences, largest, color=GRAY, alpha=0.08, linewidth=0, label="not yet seen"
    )
    ax.set_xscale("log")
    ax.set_xlabel("number of sequences")
    ax.set_ylabel("test loss (nats per masked site)")
    ax.set_title(
        "Full markers and lines at the given ridge, open and dashed at the best", fontsize=9
    )
    ax.legend(fontsize=8, frameon=False)
    losses = [point.best_loss for method in result.methods for point in method.points]
    highest = max(
        result.baseline_loss,
        *(fit.test_loss for method in result.methods for fit in method.measured),
    )
    lowest = min(result.bayes_loss, float(np.nanmin(losses)))
    margin = 0.06 * (highest - lowest) + 1e-6
    ax.set_ylim(lowest - margin, highest + 2.0 * margin)
    return ax
