"""Figures of interactions learned on sites with areas: a map sorted by area, shares by the step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike, NDArray

from pottsattn.figures.style import BLUE, GRAY, ORANGE, new_figure, plain
from pottsattn.spatial.potts_training import PottsAreaTraining

Array = NDArray[np.float64]
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def plot_area_map(
    interactions: ArrayLike, areas: ArrayLike, ax: Axes | None = None, *, lowest: float = 1e-3
) -> Axes:
    """Draw |A_ij| / sum_j |A_ij| with the sites sorted by area, the global one first.

    Parameters
    ----------
    interactions : shape (length, length)
    areas : integers, shape (length,)
    lowest
        Shares at most this are drawn in the lightest color.
    """
    ax = ax or new_figure()[0]
    labels = np.asarray(areas)
    order = np.argsort(labels, kind="stable")
    sizes = np.abs(np.asarray(interactions, dtype=np.float64))[np.ix_(order, order)]
    rows = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    norm = LogNorm(lowest, max(float(rows.max()), 2.0 * lowest))
    image = ax.imshow(
        np.maximum(rows, lowest), norm=norm, cmap="Blues", aspect="equal", interpolation="nearest"
    )
    borders = np.flatnonzero(np.diff(labels[order])) + 0.5
    ends = np.concatenate([[-0.5], borders, [len(labels) - 0.5]])
    for start, end in pairwise(ends):
        ax.plot(
            [start, end, end, start, start],
            [start, start, end, end, start],
            color=ORANGE,
            linewidth=0.8,
        )
    ax.set_xlabel("site j, sorted by area")
    ax.set_ylabel("site i, sorted by area")
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, shrink=0.85)
    bar.set_label(r"$|A_{ij}| / \sum_j |A_{ij}|$", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return ax


def plot_area_shares(
    trainings: Mapping[str, PottsAreaTraining],
    ax: Axes | None = None,
    *,
    others: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]] | None = None,
) -> Axes:
    """Draw the own-area shares of global and of local sites against steps.

    Parameters
    ----------
    trainings
        By name, all with the same areas.
    others
        Such as the attention of a masked autoencoder: (steps, global shares, local shares) by
        name, drawn thin.
    """
    ax = ax or new_figure()[0]
    curves: list[tuple[str, NDArray[Any], Array, Array, float]] = [
        (name, each.steps, each.global_shares, each.local_shares, 1.8)
        for name, each in trainings.items()
    ]
    for name, (steps, *pair) in (others or {}).items():
        global_shares, local_shares = (np.asarray(values, dtype=np.float64) for values in pair)
        curves.append((name, np.asarray(steps), global_shares, local_shares, 1.0))
    for number, (name, steps, of_global, of_local, width) in enumerate(curves):
        for values, color in zip((of_global, of_local), (BLUE, ORANGE), strict=True):
            ax.plot(steps, values, color=color, linestyle=STYLES[number % 4], linewidth=width)
        ax.plot(
            [], [], color=GRAY, linestyle=STYLES[number % 4], linewidth=width, label=plain(name)
        )
    share = next(iter(trainings.values())).share
    for name, chance, color in (
        ("global sites", share.global_chance, BLUE),
        ("local sites", share.local_chance, ORANGE),
    ):
        ax.axhline(chance, color=color, linewidth=0.8, alpha=0.5, zorder=1)
        ax.plot([], [], color=color, linewidth=1.8, label=name)
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.3, subs=range(2, 10))
    ax.set_xlim(left=0.0)
    ax.set_ylim(0.0, 1.02)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("training steps")
    ax.set_ylabel("share in the own area")
    ax.legend(fontsize=7.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return ax
