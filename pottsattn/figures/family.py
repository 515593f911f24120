"""Figures of what a fitted model says: a scan of mutations, generated against natural sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pottsattn.analysis.moments import Agreement, MomentComparison
from pottsattn.analysis.scoring import MutationScan
from pottsattn.figures.style import BLUE, GRAY, VERMILLION, new_figure

Array = NDArray[np.float64]
LABELED_SITES = 60  # more columns than that are numbered every tenth


def figure_mutations(scan: MutationScan) -> list[Axes]:
    """Draw both changes of a scan, one heat map above the other."""
    width = float(np.clip(0.16 * len(scan.columns) + 1.5, 5.0, 16.0))
    height = max(1.8, 0.16 * scan.n_states + 0.9)
    axes = new_figure(n_rows=2, width=width, height=height)
    plot_mutations(scan, scan.exponent_change, axes[0], label=r"change of $-H$ ($k_\mathrm{B}T$)")
    label = "change of pseudo-log-likelihood (nats)"
    plot_mutations(scan, scan.pseudo_log_likelihood_change, axes[1], label=label)
    return axes


def plot_mutations(
    scan: MutationScan, change: Array, ax: Axes | None = None, *, label: str = ""
) -> Axes:
    """Draw changes of shape (L, C) by site and state; dots mark the wild type."""
    ax = ax or new_figure(width=9.0)[0]
    length, n_states = change.shape
    limit = float(np.abs(change).max()) or 1.0
    image = ax.imshow(change.T, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    ax.scatter(range(length), scan.wild_type, s=6, color="black", linewidths=0)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(image, ax=ax, label=label)
    step = 1 if length <= LABELED_SITES else 10
    letters = scan.letters
    marks = [
        f"{letters[own]}\n{column}" if step > 1 or place % 5 == 0 else letters[own]
        for place, (own, column) in enumerate(zip(scan.wild_type, scan.columns, strict=True))
    ]
    ax.set_xticks(range(0, length, step), marks[::step], fontsize=6.5)
    ax.set_yticks(range(n_states), letters, fontsize=6.5)
    ax.set_xlabel("wild type, original column")
    ax.set_ylabel("mutant")
    return ax


def figure_moments(comparison: MomentComparison) -> list[Axes]:
    """Draw frequencies and connected correlations of the second data set against the first."""
    axes = new_figure(2, width=4.6, height=4.4)
    first, second = comparison.site_values
    plot_agreement(first.ravel(), second.ravel(), comparison.site, axes[0])
    axes[0].set_title(r"site frequencies $f_i(a)$", fontsize=10)
    plot_agreement(*comparison.pair_values, comparison.pair, axes[1])
    axes[1].set_title(r"connected correlations $c_{ij}(a, b)$", fontsize=10)
    return axes


def plot_agreement(first: Array, second: Array, found: Agreement, ax: Axes | None = None) -> Axes:
    """Draw values of the second data set against the first, with what was found of them."""
    ax = ax or new_figure()[0]
    low = float(min(first.min(), second.min()))
    high = float(max(first.max(), second.max()))
    margin = 0.04 * (high - low) or 0.1
    options: dict[str, Any] = {"color": BLUE, "linewidths": 0, "rasterized": True}
    size, opacity = (8, 0.5) if len(first) < 5_000 else (3, 0.3)
    ax.scatter(first, second, s=size, alpha=opacity, zorder=2, **options)
    ax.axline((0.0, 0.0), slope=1.0, color=GRAY, linewidth=0.8, zorder=3)
    if np.isfinite(found.slope):
        # The least-squares line goes through both means.
        point = float(first.mean()), float(second.mean())
        ax.axline(point, slope=found.slope, color=VERMILLION, linewidth=0.9, zorder=3)
    ax.annotate(
        f"Pearson {found.pearson:.4f}\nslope {found.slope:.3f}\n"
        f"rms difference {found.rms_difference:.2g}\n"
        f"by sampling alone {found.expected_difference:.2g}",
        (0.03, 0.97),
        xycoords="axes fraction",
        va="top",
        fontsize=8,
    )
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(low - margin, high + margin)
    ax.set_aspect("equal")
    ax.set_xlabel("data")
    ax.set_ylabel("sampled")
    return ax
