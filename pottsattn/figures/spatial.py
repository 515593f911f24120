"""Figures of the spatial system: attention maps, time courses, attention against the gap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from pottsattn._core.validate import InputError
from pottsattn.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    new_figure,
    reference_line,
)
from pottsattn.spatial.areas import GLOBAL, PatchAreas
from pottsattn.spatial.run import SpatialRun

NAMES = {"mae": "masked reconstruction", "contrastive": "contrastive"}
CORRELATIONS = {
    "phi_own_global": ("own area, global query", BLUE, "-"),
    "phi_own_local": ("own area, local query", GREEN, "-"),
    "phi_local_to_global": ("global area, local query", VERMILLION, "--"),
    "phi_local_to_local": ("other local areas, local query", ORANGE, ":"),
    "upsilon_same_local": (r"$\Upsilon$, same local area", SKY, "-."),
}
ATTENTIONS = {
    "own_global": ("own area, global query", BLUE, "-"),
    "own_local": ("own area, local query", GREEN, "-"),
    "to_global": ("global area, local query", VERMILLION, "--"),
}
GAP_STYLES = {
    ("mae", "own_global"): (BLUE, "s", "reconstruction, global query"),
    ("mae", "own_local"): (GREEN, "o", "reconstruction, local query"),
    ("contrastive", "own_global"): (ORANGE, "D", "contrastive, global query"),
    ("contrastive", "own_local"): (VERMILLION, "v", "contrastive, local query"),
}


def plot_correlations(run: SpatialRun, ax: Axes | None = None) -> Axes:
    """Draw mean Phi (and Upsilon) against steps, with the phases of local queries marked.

    Reference: the phases are those of Huang et al., arXiv:2403.02233.
    """
    ax = ax or new_figure()[0]
    for name, (label, color, style) in CORRELATIONS.items():
        values = getattr(run.history, name)
        ax.plot(run.history.step, values, color=color, linestyle=style, label=label)
    ax.axhline(0.0, color=GRAY, linewidth=0.6, zorder=0)
    times = run.phase_times
    marks = {"leaves the global area": times.decoupled, "finds its own area": times.grown}
    for text, step in marks.items():
        if np.isfinite(step):
            ax.axvline(step, color=GRAY, linewidth=0.8, linestyle=":", zorder=0)
            ax.annotate(
                text,
                (step, 0.99),
                xycoords=("data", "axes fraction"),
                xytext=(-2, 0),
                textcoords="offset points",
                fontsize=7,
                color=GRAY,
                rotation=90,
                ha="right",
                va="top",
            )
    ax.set_xlabel("gradient steps")
    ax.set_ylabel(r"mean correlation $\Phi$ ($e_p^T Q v$)")
    ax.set_title(_title(run), fontsize=10)
    _legend_below(ax)
    return ax


def plot_attention_courses(run: SpatialRun, ax: Axes | None = None) -> Axes:
    """Draw the attention to the own and to the global area, and the diversity, against steps."""
    ax = ax or new_figure()[0]
    for name, (label, color, style) in ATTENTIONS.items():
        values = getattr(run.history, name)
        ax.plot(run.history.step, values, color=color, linestyle=style, label=label)
    ax.plot(run.history.step, run.history.diversity, color=GRAY, linewidth=1.0, label="diversity")
    ax.set_ylim(-0.02, 1.05)
    ax.set_xlabel("gradient steps")
    ax.set_ylabel("attention to visible patches")
    ax.set_title(_title(run), fontsize=10)
    _legend_below(ax)
    return ax


def figure_run(run: SpatialRun) -> list[Axes]:
    """Return the axes of a new figure with both time courses of a run."""
    axes = new_figure(2, width=4.8, height=4.0)
    plot_attention_courses(run, axes[0])
    plot_correlations(run, axes[1])
    return axes


def figure_attention_maps(run: SpatialRun) -> list[Axes]:
    """Return the axes of a new figure: maps of chosen queries, a row each, over training.

    The first column shows the areas of cluster 0, the query marked by a cross. Patches that lie on
    no grid are sorted by area and fill the square row by row.
    """
    maps = run.maps
    order, shape = _layout(run.areas)
    n_rows, n_columns = len(maps.queries), len(maps.steps) + 1
    axes = new_figure(n_columns, n_rows=n_rows, width=1.35, height=1.45)
    for row, query in enumerate(maps.queries):
        strip = axes[row * n_columns : (row + 1) * n_columns]
        _draw_areas(run.areas, int(query), strip[0])
        kind = "global" if run.areas.labels[0, query] == GLOBAL else "local"
        strip[0].set_ylabel(f"{kind} query", fontsize=8)
        highest = maps.maps[:, row].max()
        for ax, step, attention in zip(strip[1:], maps.steps, maps.maps[:, row], strict=True):
            _draw_map(attention[order].reshape(shape), ax, highest)
            if row == 0:
                ax.set_title(f"t = {step}", fontsize=8)
    axes[0].set_title("areas", fontsize=8)
    return axes


def figure_objectives(runs: Sequence[SpatialRun]) -> list[Axes]:
    """Return the axes of a new figure: a strip of final attention maps for each run, same queries.

    The first column holds the areas; the runs must share them.

    Raises
    ------
    InputError
        Runs on other areas.
    """
    first = runs[0]
    for run in runs[1:]:
        if not np.array_equal(run.areas.labels, first.areas.labels):
            raise InputError("runs side by side must share their areas (same sizes and seed)")
    order, shape = _layout(first.areas)
    queries = first.maps.queries
    axes = new_figure(len(queries), n_rows=1 + len(runs), width=1.6, height=1.7)
    for column, query in enumerate(queries):
        _draw_areas(first.areas, int(query), axes[column])
        kind = "global" if first.areas.labels[0, query] == GLOBAL else "local"
        axes[column].set_title(f"{kind} query", fontsize=8)
    axes[0].set_ylabel("areas", fontsize=8)
    for row, run in enumerate(runs, start=1):
        strip = axes[row * len(queries) : (row + 1) * len(queries)]
        final = run.maps.maps[-1]
        for ax, attention in zip(strip, final, strict=True):
            _draw_map(attention[order].reshape(shape), ax, attention.max())
        label = f"{NAMES[run.objective]}\ndiversity {run.history.diversity[-1]:.2f}"
        strip[0].set_ylabel(label, fontsize=8)
    return axes


def figure_spatial_runs(runs: Sequence[SpatialRun], *, maps: bool = False) -> list[Axes]:
    """Return the axes of the figure that fits the runs.

    One run: its time courses, or its attention maps over training. Several: with `maps` or on the
    same areas the maps side by side, otherwise attention against the information gap.
    """
    if len(runs) == 1:
        return figure_attention_maps(runs[0]) if maps else figure_run(runs[0])
    shared = all(np.array_equal(run.areas.labels, runs[0].areas.labels) for run in runs)
    return figure_objectives(runs) if maps or shared else [plot_gaps(runs)]


def plot_gaps(runs: Sequence[SpatialRun], ax: Axes | None = None) -> Axes:
    """Draw own-area attention at the end against the information gap; means where gaps agree."""
    ax = ax or new_figure()[0]
    for (objective, name), (color, marker, label) in GAP_STYLES.items():
        groups: dict[float, list[float]] = {}
        for run in runs:
            if run.objective == objective:
                gap = round(run.areas.information_gap, 6)
                groups.setdefault(gap, []).append(float(getattr(run.history, name)[-1]))
        if not groups:
            continue
        gaps = sorted(groups)
        means = [float(np.mean(groups[gap])) for gap in gaps]
        spread = [[m - min(groups[g]) for g, m in zip(gaps, means, strict=True)]]
        spread += [[max(groups[g]) - m for g, m in zip(gaps, means, strict=True)]]
        ax.errorbar(
            gaps,
            means,
            yerr=np.clip(spread, 0.0, None),
            color=color,
            marker=marker,
            markersize=5,
            linewidth=0.8,
            capsize=2,
            label=label,
        )
    ax.axvline(0.0, color=GRAY, linewidth=0.6, linestyle=":", zorder=0)
    reference_line(ax, 1.0, "", side="left")
    ax.set_ylim(-0.04, 1.08)
    ax.set_xlabel(r"information gap  $\ln(C_1^2 / P C_s)\, /\, \ln P$")
    ax.set_ylabel("attention to the own area")
    ax.legend(fontsize=7, frameon=False, loc="center left")
    return ax


def _title(run: SpatialRun) -> str:
    return f"{NAMES[run.objective]}, gap {run.areas.information_gap:+.2f}"


def _legend_below(ax: Axes) -> None:
    ax.legend(fontsize=7, frameon=False, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))


def _layout(areas: PatchAreas) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Return the order in which patches fill an image, and its shape."""
    if areas.grid is not None:
        return np.arange(areas.n_patches), areas.grid
    rows = max(n for n in range(1, int(areas.n_patches**0.5) + 1) if areas.n_patches % n == 0)
    return np.argsort(areas.labels[0], kind="stable"), (rows, areas.n_patches // rows)


def _draw_areas(areas: PatchAreas, query: int, ax: Axes) -> None:
    order, shape = _layout(areas)
    labels = areas.labels[0][order].reshape(shape)
    # The global area gray, local ones in two alternating tints, which is enough to tell borders.
    tints = ["#bdbdbd", *(("#c6dbef", "#6baed6", "#9ecae1")[j % 3] for j in range(areas.n_areas))]
    ax.imshow(
        labels,
        cmap=ListedColormap(tints[: areas.n_areas]),
        vmin=-0.5,  # cluster 0 may have fewer areas than others
        vmax=areas.n_areas - 0.5,
        interpolation="nearest",
    )
    row, column = np.unravel_index(int(np.flatnonzero(order == query)[0]), shape)
    ax.plot(column, row, marker="x", color=VERMILLION, markersize=6, markeredgewidth=2)
    _bare(ax)


def _draw_map(image: NDArray[np.float64], ax: Axes, highest: float) -> None:
    ax.imshow(image, cmap="viridis", vmin=0.0, vmax=highest, interpolation="nearest")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
