"""The figure of `pottsattn bridge`: one optimum, and what masking more than one site changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pottsattn._core.validate import InputError
from pottsattn.figures.style import BLUE, GRAY, GREEN, ORANGE, VERMILLION, new_figure
from pottsattn.studies.bridge.result import Bridge, MaskedFit

STYLES = {
    "fresh": {"color": BLUE, "marker": "o", "label": "fresh masks"},
    "static": {
        "color": VERMILLION,
        "marker": "^",
        "linestyle": "--",
        "label": "static masks, one per sequence",
    },
}


def plot_bridge(result: Bridge, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw couplings of both optima, and losses and distances against the masked fraction.

    Parameters
    ----------
    axes
        Four: couplings, full-context loss, distance of the couplings, loss of the hidden sites. A
        new figure if left out.

    Raises
    ------
    InputError
        Another number of axes.
    """
    axes = list(new_figure(2, n_rows=2, width=4.9, height=3.9) if axes is None else axes)
    if len(axes) != 4:
        raise InputError(f"plot_bridge draws into four axes, got {len(axes)}")
    _couplings(result, axes[0])
    _losses(result, axes[1])
    _distances(result, axes[2])
    _contexts(result, axes[3])
    for ax in axes[1:]:
        ax.set_xlabel("fraction of sites masked, r")
        ax.set_xlim(-0.03, 1.0)
    return axes


def _couplings(result: Bridge, ax: Axes) -> None:
    one, other = result.pairs
    limit = 1.08 * max(float(np.abs(np.concatenate(result.pairs)).max(initial=0.0)), 1e-12)
    ax.axline((0.0, 0.0), slope=1.0, color=GRAY, linewidth=0.8, zorder=1)
    ax.scatter(one, other, s=9, alpha=0.4, color=BLUE, linewidths=0, rasterized=True)
    ax.set_xlim(-limit, limit)
    ax.set_ylim(-limit, limit)
    ax.set_aspect("equal")
    ax.set_xlabel(r"couplings by pseudo-likelihood ($k_\mathrm{B}T$)")
    ax.set_ylabel("couplings by masked modeling")
    ax.set_title("One site at a time: the same optimum", fontsize=10.5)
    gradient = max(check.gradient_difference for check in result.identity)
    lines = [f"gradients at {len(result.identity)} points\nequal to {gradient:.0e}"]
    for fit in result.fits[1:]:
        lines.append(
            f"{fit.name}: correlation {fit.correlation:.6f}\n"
            f"held-out loss {fit.held_out_difference:+.0e} nats"
        )
    place = {"transform": ax.transAxes, "fontsize": 8, "color": "#333333"}
    ax.text(0.03, 0.97, "\n\n".join(lines[:1]), va="top", **place)  # type: ignore[arg-type]
    ax.text(0.97, 0.03, "\n\n".join(lines[1:]), ha="right", **place)  # type: ignore[arg-type]


def _losses(result: Bridge, ax: Axes) -> None:
    best = result.fits[0].held_out_loss
    for rows, style in _by_mode(result):
        ax.errorbar(
            [fit.fraction for fit in rows],
            [fit.held_out_loss for fit in rows],
            yerr=[fit.difference_error for fit in rows],
            capsize=2.5,
            markersize=6,
            **style,  # type: ignore[arg-type]
        )
    ax.axhline(best, color=GREEN, linewidth=1.4, zorder=1, label="pseudo-likelihood")
    if np.isfinite(result.bayes_loss):
        ax.axhline(result.bayes_loss, color=GRAY, linestyle=":", zorder=1, label="true model")
    _one_site(result, ax, [fit.held_out_loss for fit in result.fits[2:3]])
    ax.set_ylabel("held-out loss, full context (nats per site)")
    ax.set_title("More than one: another optimum", fontsize=10.5)
    ax.legend(fontsize=8, frameon=False)


def _distances(result: Bridge, ax: Axes) -> None:
    for rows, style in _by_mode(result):
        values = [fit.distance for fit in rows]
        ax.plot([fit.fraction for fit in rows], values, markersize=6, **style)  # type: ignore[arg-type]
    ax.axhline(0.0, color=GREEN, linewidth=1.4, zorder=1)
    _one_site(result, ax, [fit.distance for fit in result.fits[2:3]])
    ax.set_ylabel(r"$|J - J_\mathrm{PL}|\,/\,|J_\mathrm{PL}|$")
    ax.set_title("How far the couplings go", fontsize=10.5)


def _contexts(result: Bridge, ax: Axes) -> None:
    rows = [fit for fit in result.masked if fit.mode == "fresh"]
    fractions = [fit.fraction for fit in rows]
    ax.plot(
        [0.0, *fractions],
        [result.fits[0].held_out_loss, *(fit.masked_loss_at_optimum for fit in rows)],
        color=GREEN,
        marker="D",
        markersize=5,
        label="couplings of pseudo-likelihood",
    )
    style = {**STYLES["fresh"], "label": "couplings trained at this r"}
    ax.plot(fractions, [fit.masked_loss for fit in rows], markersize=6, **style)  # type: ignore[arg-type]
    ax.set_ylabel("held-out loss of the hidden sites (nats)")
    ax.set_title("The context that is lost", fontsize=10.5)
    ax.legend(fontsize=8, frameon=False)


def _by_mode(result: Bridge) -> list[tuple[list[MaskedFit], dict[str, str]]]:
    found = [([fit for fit in result.masked if fit.mode == mode], STYLES[mode]) for mode in STYLES]
    return [(rows, style) for rows, style in found if rows]


def _one_site(result: Bridge, ax: Axes, values: Sequence[float]) -> None:
    """Mark the training by one-site masks on mini-batches: its scatter is that of the points."""
    ax.plot(
        [1.0 / result.settings["length"]] * len(values),
        values,
        color=ORANGE,
        marker="s",
        markersize=7,
        markerfacecolor="none",
        markeredgewidth=1.6,
        linestyle="none",
        label="masked modeling, one site",
        zorder=4,
    )
