"""Figures of fits and data: couplings against the truth, scores, ridges tried, frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.figures.style import BLUE, GRAY, VERMILLION, new_figure

Array = NDArray[np.float64]


MANY_POINTS = 20_000


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
