"""Figures of contacts: predicted against measured pairs, precision by rank, heads as maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_at_least
from pottsattn.analysis.contacts import ContactRanking, Precision
from pottsattn.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    new_figure,
    plain,
    reference_line,
)
from pottsattn.model.couplings import Couplings, zero_sum_projector

Array = NDArray[np.float64]
STYLES = tuple(
    (color, line)
    for line in ("-", (0, (4, 1.5)), (0, (1, 1)))
    for color in (VERMILLION, BLUE, ORANGE, GREEN, PURPLE, SKY)
)
MOST_MAPS = 64
MAPS_A_ROW = 8


def plot_contact_map(
    ranking: ContactRanking,
    known: Mapping[tuple[int, int], float],
    ax: Axes | None = None,
    *,
    n_pairs: int | None = None,
    cutoff: float = 8.0,
    label: str = "",
) -> Axes:
    """Draw the best pairs above the diagonal and the contacts below it.

    Parameters
    ----------
    ranking
        Of which the first `n_pairs` are drawn (L if left out): a contact, no contact, or unknown.
    known, cutoff
        Distances by (i, j), i < j; nearer pairs are contacts. All of them are shown, also those
        between columns too close to be ranked.
    """
    ax = ax or new_figure(width=4.8, height=4.6)[0]
    n_pairs = ranking.length if n_pairs is None else check_at_least("n_pairs", n_pairs, 1)
    first, second = ranking.first[:n_pairs], ranking.second[:n_pairs]
    contacts = np.array([pair for pair, distance in known.items() if distance < cutoff])
    last = int(max(ranking.second.max(), max(pair[1] for pair in known)))
    size = (150.0 / last) ** 2
    if len(contacts):
        ax.scatter(
            contacts[:, 1],
            contacts[:, 0],
            s=size,
            marker="s",
            color="#b0b0b0",
            linewidths=0,
            label=f"measured, below {cutoff:g}",
        )
    distance = ranking.distances(dict(known))[:n_pairs]
    kinds = (
        ("predicted, a contact", distance < cutoff, BLUE, "o"),
        ("predicted, no contact", distance >= cutoff, VERMILLION, "X"),
        ("predicted, distance unknown", np.isnan(distance), GRAY, "d"),
    )
    for name, chosen, color, marker in kinds:
        if chosen.any():
            ax.scatter(
                first[chosen],
                second[chosen],
                s=2.0 * size,
                marker=marker,
                color=color,
                linewidths=0,
                label=name,
            )
    ax.axline((1.0, 1.0), slope=1.0, color=GRAY, linewidth=0.7)
    ax.set_xlim(0.0, last + 1.0)
    ax.set_ylim(0.0, last + 1.0)
    ax.set_aspect("equal")
    ax.set_xlabel("column i")
    ax.set_ylabel("column j")
    ax.set_title(f"{plain(label) + ': ' if label else ''}the best {len(first)} pairs", fontsize=10)
    ax.legend(fontsize=7.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return ax


def plot_precision(
    precisions: Mapping[str, Precision],
    ax: Axes | None = None,
    *,
    length: int,
    errors: Mapping[str, Array] | None = None,
) -> Axes:
    """Draw the precision of the first 1, 2, ... pairs, one line for each name.

    Parameters
    ----------
    precisions
        By name.
    length
        L, where the ranks L/2, L and 2L are marked; ranks up to 4L are drawn.
    errors
        Standard errors at every rank by name (`PrecisionErrors.curve`), drawn as bands.
    """
    ax = ax or new_figure(width=5.6)[0]
    last = 1
    for (name, precision), (color, style) in zip(
        precisions.items(), _styles(len(precisions)), strict=True
    ):
        n_drawn = min(len(precision.curve), 4 * length)
        last = max(last, n_drawn)
        ranks, curve = np.arange(1, n_drawn + 1), precision.curve[:n_drawn]
        ax.plot(ranks, curve, color=color, linestyle=style, linewidth=1.4, label=plain(name))
        if errors is not None and name in errors:
            width = errors[name][:n_drawn]
            low, high = (curve - width).clip(0.0), (curve + width).clip(max=1.0)
            ax.fill_between(ranks, low, high, color=color, alpha=0.15, linewidth=0)
    ax.set_xscale("log")
    ax.set_xlim(1.0, last)
    ax.set_ylim(0.0, 1.03)
    for text, rank in (("L/2", length // 2), ("L", length), ("2L", 2 * length)):
        if 1 < rank <= last:
            ax.axvline(rank, color=GRAY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
            ax.annotate(text, (rank, 0.02), xytext=(2, 0), textcoords="offset points", fontsize=7.5)
    some = next(iter(precisions.values()))
    if some.n_pairs:
        reference_line(ax, some.n_contacts / some.n_pairs, "share of contacts among all pairs")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("rank")
    ax.set_ylabel("precision of the pairs up to this rank")
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.06))
    return ax


def figure_heads(
    couplings: Couplings, columns: Sequence[int], *, most: int = MOST_MAPS
) -> list[Axes]:
    """Draw the strength of every head, |A^h_ij| |P U^h P|_F, as a map; return the axes.

    The strongest heads come first; rows are sites i, columns the sites j they look at. All maps
    have one scale.

    Raises
    ------
    InputError
        The couplings are full blocks, which have no heads.
    """
    if not couplings.is_factored:
        raise InputError("full couplings have no heads to draw; expected factored or attention")
    interactions, similarity = couplings.factors()
    projector = zero_sum_projector(couplings.n_states)
    norms = np.linalg.norm(projector @ similarity @ projector, axis=(1, 2))
    maps = np.abs(interactions) * norms[:, None, None]
    strengths = np.linalg.norm(maps, axis=(1, 2))
    order = np.argsort(-strengths, kind="stable")[:most]
    n_columns = min(len(order), MAPS_A_ROW if len(order) > 4 else len(order))
    n_rows = math.ceil(len(order) / n_columns)
    width = 1.5 if len(order) > 4 else 3.0
    axes = new_figure(n_columns, n_rows=n_rows, width=width, height=width)
    highest = float(np.quantile(maps[order], 0.999))
    edges = (columns[0] - 0.5, columns[-1] + 0.5)
    image = None
    for ax, head in zip(axes, order, strict=False):
        image = ax.imshow(
            maps[head],
            origin="lower",
            extent=(*edges, *edges),
            cmap="Greys",
            vmin=0.0,
            vmax=highest or 1.0,
        )
        share = strengths[head] ** 2 / max(float((strengths**2).sum()), np.finfo(float).tiny)
        ax.set_title(f"head {head + 1}: {100 * share:.1f} %", fontsize=8)
        ax.tick_params(labelsize=6)
    for ax in axes[len(order) :]:
        ax.set_axis_off()
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    assert image is not None
    figure.supxlabel("site j", fontsize=9)
    figure.supylabel("site i", fontsize=9)
    figure.colorbar(
        image, ax=axes, shrink=0.6, label=r"$|A^h_{ij}|\,|U^h|_F$ ($k_\mathrm{B}T$)", pad=0.01
    )
    return axes


def _styles(number: int) -> list[tuple[str, object]]:
    return [STYLES[index % len(STYLES)] for index in range(number)]
