"""Figures from result objects; nothing is computed here that a result does not hold.

Every function draws into an axes and returns it (a new figure's, if none is given). Figures are
made without pyplot, so no global state or backend is touched. Colors are those of Okabe and Ito,
safe for color-blind readers; every method also has its own marker and line style.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pottsattn._core.storage import write_whole
from pottsattn._core.validate import InputError
from pottsattn.data.dataset import SequenceDataset

__all__ = [
    "check_figure_path",
    "new_figure",
    "plot_couplings",
    "plot_ridge_path",
    "plot_scores",
    "plot_site_frequencies",
    "reference_line",
    "save_figure",
    "share_limits",
]

Array = NDArray[np.float64]
MANY_POINTS = 20_000
FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GRAY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#666666",
)
METHOD_MARKERS = {
    "factored": {"color": BLUE, "marker": "o", "markersize": 5, "zorder": 4},
    "attention": {
        "color": ORANGE,
        "marker": "s",
        "markersize": 10,
        "markerfacecolor": "none",
        "markeredgewidth": 1.6,
        "zorder": 3,
    },
    "plm": {"color": VERMILLION, "marker": "^", "markersize": 6, "zorder": 4},
}
METHOD_LABELS = {
    "factored": "factored pseudo-likelihood",
    "attention": "factored attention, masked modeling",
    "plm": "plm, full couplings",
}


def new_figure(
    n_columns: int = 1, *, n_rows: int = 1, width: float = 5.2, height: float = 4.0
) -> list[Axes]:
    """Return the axes, row by row, of a new figure; sizes of one axes in inches."""
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    return list(axes)


def save_figure(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Write the figure of `ax` as .png, .pdf or .svg, by the name of the file.

    Raises
    ------
    InputError
        Another ending, or the file cannot be written.
    """
    suffix = check_figure_path(path)
    figure = ax.get_figure(root=True)
    assert figure is not None
    with write_whole(path) as temporary:
        figure.savefig(temporary, format=suffix[1:], dpi=160)


def check_figure_path(path: str | os.PathLike[str]) -> str:
    """Return how the name of a figure ends; InputError if figures are not written as that."""
    suffix = Path(path).suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise InputError(f"a figure is written as {', '.join(FIGURE_SUFFIXES)}; got {path}")
    return suffix


def plot_couplings(
    true: Array, fitted: Array, ax: Axes | None = None, *, label: str = "", color: str = BLUE
) -> Axes:
    """Draw fitted against true couplings (as `comparison.coupling_pairs` returns them)."""
    ax = ax or new_figure()[0]
    limit = 1.05 * float(max(np.abs(true).max(), np.abs(fitted).max(), 1e-12))
    ax.axline((0.0, 0.0), slope=1.0, color=GRAY, linewidth=0.8, zorder=1)
    size, opacity = (5, 0.35) if len(true) < MANY_POINTS else (2, 0.1)
    ax.scatter(true, fitted, s=size, alpha=opacity, color=color, linewidths=0, zorder=2)
    ax.set_xlim(-limit, limit)
    ax.set_ylim(-limit, limit)
    ax.set_aspect("equal")
    ax.set_xlabel(r"true couplings ($k_\mathrm{B}T$)")
    ax.set_ylabel(r"learned couplings ($k_\mathrm{B}T$)")
    if label:
        ax.set_title(label, fontsize=10)
    return ax


def plot_ridge_path(path: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw the losses along the ridges that were tried; `path` is `RidgeChoice.to_dict()`.

    The band is the standard error over sequences, which all ridges share.
    """
    ax = ax or new_figure()[0]
    ridges, losses = np.array(path["ridges"]), np.array(path["leave_one_out_losses"])
    errors = np.array(path["errors"])
    ax.fill_between(
        ridges, losses - errors, losses + errors, color=VERMILLION, alpha=0.2, linewidth=0
    )
    ax.plot(ridges, losses, color=VERMILLION, marker="o", markersize=4, label="leave-one-out")
    ax.plot(ridges, path["train_losses"], color=BLUE, marker=".", label="training")
    ax.axvline(path["ridge"], color=GRAY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    ax.annotate(
        f"chosen: {path['ridge']:.3g}",
        (path["ridge"], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=GRAY,
    )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel(r"ridge, $2 \alpha$ couplings_l2")
    ax.set_ylabel("loss (nats per masked site)")
    ax.legend(fontsize=8, frameon=False)
    return ax


def plot_scores(score: Array, columns: Sequence[int], ax: Axes | None = None) -> Axes:
    """Draw a (length, length) matrix of pair scores, rows and columns numbered by `columns`."""
    ax = ax or new_figure()[0]
    first, last = columns[0] - 0.5, columns[-1] + 0.5
    image = ax.imshow(
        score, origin="lower", extent=(first, last, first, last), cmap="cividis", vmin=0.0
    )
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(image, ax=ax, shrink=0.8, label=r"coupling score ($k_\mathrm{B}T$, after APC)")
    ax.set_xlabel("column i")
    ax.set_ylabel("column j")
    return ax


def plot_site_frequencies(dataset: SequenceDataset, ax: Axes | None = None) -> Axes:
    """Draw the weighted frequency of every state at every site."""
    ax = ax or new_figure(width=7.0)[0]
    assert dataset.columns is not None
    edges = (dataset.columns[0] - 0.5, dataset.columns[-1] + 0.5, -0.5, dataset.n_states - 0.5)
    image = ax.imshow(
        dataset.site_frequencies().T,
        aspect="auto",
        origin="lower",
        extent=edges,
        cmap="cividis",
        vmin=0.0,
    )
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(image, ax=ax, shrink=0.8, label="frequency")
    ax.set_xlabel("site (column, from 1)")
    ax.set_ylabel("state")
    states = range(dataset.n_states)
    ax.set_yticks(states, list(dataset.alphabet) if dataset.alphabet else list(map(str, states)))
    return ax


def share_limits(axes: Sequence[Axes]) -> None:
    """Give square panels that are compared the largest limits among them."""
    limit = max(ax.get_xlim()[1] for ax in axes)
    for ax in axes:
        ax.set_xlim(-limit, limit)
        ax.set_ylim(-limit, limit)


def reference_line(ax: Axes, value: float, text: str, side: str = "right") -> None:
    ax.axhline(value, color=GRAY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    ax.annotate(
        text,
        (1.0 if side == "right" else 0.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2 if side == "right" else 2, 2),
        textcoords="offset points",
        ha=side,
        fontsize=7.5,
        color=GRAY,
    )
