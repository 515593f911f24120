"""Figures of trainings: losses against epochs, of one or of several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from pottsattn.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    new_figure,
    plain,
    reference_line,
)
from pottsattn.fitting.record import History

CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, GRAY)


def plot_history(
    history: History,
    ax: Axes | None = None,
    *,
    references: dict[str, float] | None = None,
) -> Axes:
    """Draw the losses of a training against epochs; `references` are named horizontal lines."""
    ax = ax or new_figure()[0]
    known = np.isfinite(history.train_loss)  # of a transformer at a few steps only
    ax.plot(
        history.epochs[known],
        history.train_loss[known],
        color=BLUE,
        marker=None if known.all() else "o",
        markersize=4,
        label="training, all sites",
    )
    if np.isfinite(history.masked_loss).any():
        ax.plot(
            history.epochs,
            history.masked_loss,
            color=SKY,
            marker=".",
            markersize=3,
            linewidth=0.7,
            label="training, the masks drawn",
        )
    if np.isfinite(history.validation_loss).any():
        ax.plot(
            history.epochs, history.validation_loss, color=VERMILLION, linestyle="--", label="test"
        )
    for name, value in (references or {}).items():
        reference_line(ax, value, plain(name), side="left")  # where the curves are still far above
    ax.set_xscale("symlog", linthresh=1.0, subs=range(2, 10))
    ax.set_xlim(left=0.0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("epochs (visits of every sequence)")
    ax.set_ylabel("loss (nats per masked site)")
    ax.legend(fontsize=8, frameon=False)
    return ax


def plot_histories(
    histories: Mapping[str, History],
    ax: Axes | None = None,
    *,
    references: dict[str, float] | None = None,
) -> Axes:
    """Draw several trainings against epochs: held-out losses where there are any, else training.

    `references` are named horizontal lines.
    """
    ax = ax or new_figure()[0]
    kinds = set()
    for (name, history), color in zip(histories.items(), itertools.cycle(CYCLE), strict=False):
        is_held_out = bool(np.isfinite(history.validation_loss).any())
        kinds.add("held-out" if is_held_out else "training")
        losses = history.validation_loss if is_held_out else history.train_loss
        known = np.isfinite(losses)
        ax.plot(
            history.epochs[known],
            losses[known],
            color=color,
            linestyle="-" if is_held_out else "--",
            marker=".",
            markersize=4,
            label=plain(name),
        )
    for name, value in (references or {}).items():
        reference_line(ax, value, plain(name), side="left")
    ax.set_xscale("symlog", linthresh=1.0, subs=range(2, 10))
    ax.set_xlim(left=0.0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("epochs (visits of every sequence)")
    ax.set_ylabel(f"{' or '.join(sorted(kinds))} loss (nats per masked site)")
    ax.legend(fontsize=8, frameon=False)
    return ax
