"""Learning curves: lines of theory, simulated points over them, and residuals.

Lines are named by estimator, points by method; what was trained on masked sequences has colors of
its own, one per mask fraction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pottsattn.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    METHOD_LABELS,
    METHOD_MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    new_figure,
    reference_line,
)
from pottsattn.studies.sweep.table import SweepMean, SweepPoint, SweepTable
from pottsattn.studies.sweep.tasks import ESTIMATOR_OF
from pottsattn.theory.result import LearningCurve

ESTIMATOR_LINES = {
    "factored": {"color": BLUE, "linestyle": "-"},
    "full": {"color": VERMILLION, "linestyle": "--"},
}
ESTIMATOR_LABELS = {
    "factored": "theory, factored couplings",
    "full": "theory, full couplings (plmDCA)",
}
HEADS_LINES: tuple[Any, ...] = ((0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))
MASK_COLORS = (GREEN, PURPLE, SKY, ORANGE)
OBSERVABLE_LABELS = {
    "test_loss": "test loss (nats per masked site)",
    "train_loss": "training loss (nats per masked site)",
    "coupling_error": r"coupling error $|J-J^*|^2/|J^*|^2$",
}
MOST_ERRORS = 4  # the band of residuals
Masks = tuple[float, str]  # mask fraction and mode


def plot_learning_curves(
    curves: Iterable[LearningCurve],
    tables: Iterable[SweepTable] = (),
    ax: Axes | None = None,
    *,
    observable: str = "test_loss",
    ridge_kind: str | None = None,
    legend: bool = True,
) -> Axes:
    """Draw theory lines and simulated points with standard errors over instances.

    Parameters
    ----------
    observable
        "test_loss", "train_loss" or "coupling_error".
    ridge_kind
        Draw only what has a "fixed" or an "optimal" ridge; all if left out.
    """
    ax = ax or new_figure()[0]
    means = [mean for table in tables for mean in table.means()]
    _draw(
        ax,
        [curve for curve in curves if ridge_kind in (None, curve.ridge_kind)],
        [mean for mean in means if ridge_kind in (None, mean.point.ridge_kind)],
        observable,
        marks_optimal=ridge_kind is None,
    )
    if legend:
        ax.legend(fontsize=8, frameon=False)
    return ax


def figure_learning_curves(
    curves: Sequence[LearningCurve],
    tables: Sequence[SweepTable] = (),
    *,
    observable: str = "test_loss",
    length: int | None = None,
    residuals: bool = True,
    separate: bool = False,
) -> list[Axes]:
    """Return one axes for each number of states, coupling scale and ridge that occurs.

    They are the panels of one figure, or, if `separate`, each is a figure of its own.

    Parameters
    ----------
    observable
        "test_loss", "train_loss" or "coupling_error".
    length
        Draw the points of this length only; the longest if left out.
    residuals
        Draw below each panel, in standard errors, how far the points are from lines that have a
        value at their alpha.
    """
    means = [mean for table in tables for mean in table.means()]
    longest = max((mean.point.length for mean in means), default=0)
    means = [mean for mean in means if mean.point.length == (length or longest)]
    panels: dict[_Panel, tuple[list[LearningCurve], list[SweepMean]]] = {}
    for curve in curves:
        panels.setdefault(_Panel.of_curve(curve), ([], []))[0].append(curve)
    for mean in means:
        panels.setdefault(_Panel.of_point(mean.point), ([], []))[1].append(mean)
    ordered = sorted(panels)
    with_residuals = residuals and any(_residuals(*panels[panel], observable) for panel in ordered)
    axes = _panel_axes(len(ordered), with_residuals, separate)
    for (ax, below), panel in zip(axes, ordered, strict=True):
        _draw(ax, *panels[panel], observable)
        ax.set_title(panel.title(ordered), fontsize=10)
        if below is not None:
            _draw_residuals(below, *panels[panel], observable)
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
    for ax, _ in axes if separate else axes[:1]:
        every = [ax] if separate else [ax for ax, _ in axes]
        _legend_below(ax, every, n_columns=2 if separate or len(axes) == 1 else 3)
    return [ax for ax, _ in axes]


@dataclass(frozen=True, order=True)
class _Panel:
    """What the lines and points of one panel share; a ridge below 0 stands for several."""

    n_states: int
    coupling_scale: float
    ridge_kind: str
    ridge: float

    @classmethod
    def of_curve(cls, curve: LearningCurve) -> _Panel:
        ridges = set(curve.ridge.tolist()) if curve.ridge_kind == "fixed" else set()
        ridge = ridges.pop() if len(ridges) == 1 else -1.0
        return cls(curve.n_states, curve.coupling_scale, curve.ridge_kind, ridge)

    @classmethod
    def of_point(cls, point: SweepPoint) -> _Panel:
        ridge = point.ridge if point.ridge_kind == "fixed" else -1.0
        return cls(point.n_states, point.coupling_scale, point.ridge_kind, ridge)

    def title(self, panels: Sequence[_Panel]) -> str:
        """Return the title that tells it from the others."""
        if self.ridge_kind == "optimal":
            ridge = r"best ridge at each $\alpha$"
        else:
            ridge = f"ridge {self.ridge:g}" if self.ridge >= 0.0 else "given ridge"
        if len({(panel.n_states, panel.coupling_scale) for panel in panels}) == 1:
            return ridge
        return f"C = {self.n_states}, J = {self.coupling_scale:g}, {ridge}"


def _panel_axes(
    n_panels: int, with_residuals: bool, separate: bool
) -> list[tuple[Axes, Axes | None]]:
    """Return (panel, axes of its residuals or None), in figures of one or all panels."""
    n_columns = 1 if separate else min(n_panels, 3 if n_panels != 4 else 2)
    n_rows = 1 if separate else -(-n_panels // max(n_columns, 1))
    pairs: list[tuple[Axes, Axes | None]] = []
    for _ in range(n_panels if separate else 1):
        if not with_residuals:
            axes = new_figure(n_columns, n_rows=n_rows, width=5.4, height=4.8)
            pairs += [(ax, None) for ax in axes]
            continue
        figure = Figure(figsize=(5.4 * n_columns, 5.4 * n_rows), layout="constrained")
        grid = figure.subplots(
            2 * n_rows, n_columns, squeeze=False,
            gridspec_kw={"height_ratios": [3, 1] * n_rows},
        )  # fmt: skip
        for ax in grid.ravel():
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=9)
        for above, below in zip(grid[::2], grid[1::2], strict=True):
            for ax, residual in zip(above, below, strict=True):
                residual.sharex(ax)
                pairs.append((ax, residual))
    for pair in pairs[n_panels:]:
        for ax in pair:
            if ax is not None:
                ax.set_axis_off()
    return pairs[:n_panels]


def _draw(
    ax: Axes,
    curves: Sequence[LearningCurve],
    means: Sequence[SweepMean],
    observable: str,
    *,
    marks_optimal: bool = False,
) -> None:
    colors = mask_colors([*curves, *(mean.point for mean in means)])
    labels: set[str] = set()
    for curve in curves:
        order = np.argsort(curve.alpha)
        style: dict[str, Any] = dict(ESTIMATOR_LINES[curve.estimator])
        label = ESTIMATOR_LABELS[curve.estimator]
        if curve.n_heads > 1:
            label = f"theory, {curve.n_heads} heads"
            style["linestyle"] = HEADS_LINES[curve.n_heads % len(HEADS_LINES)]
        if curve.mask_mode is not None:
            key = masks_of(curve)
            assert key is not None
            style, label = {"color": colors[key], "linestyle": "-."}, f"theory, {_mask_text(key)}"
        if marks_optimal and curve.ridge_kind == "optimal":
            style["linestyle"] = ":"
            label += ", best ridge"
        values = np.where(curve.converged, getattr(curve, observable), np.nan)[order]
        # A curve without a value draws nothing, and a logarithmic axis needs a range.
        ax.update_datalim(np.stack([curve.alpha, np.ones_like(curve.alpha)], axis=1), updatey=False)
        ax.plot(curve.alpha[order], values, label=_once(label, labels), **style)
    for mean in means:
        ax.errorbar(
            mean.point.alpha,
            getattr(mean, observable),
            yerr=getattr(mean, f"{observable}_error"),
            linestyle="none",
            capsize=2,
            label=_once(_point_label(mean.point), labels),
            **point_style(mean.point, colors),
        )
    if observable.endswith("loss") and curves:
        reference_line(ax, float(np.log(curves[0].n_states)), f"ln {curves[0].n_states} (guessing)")
        reference_line(ax, float(curves[0].bayes_loss[0]), "Bayes loss (true model)")
    _label_alpha(ax)
    ax.set_ylabel(OBSERVABLE_LABELS[observable])


def _draw_residuals(
    ax: Axes, curves: Sequence[LearningCurve], means: Sequence[SweepMean], observable: str
) -> None:
    colors = mask_colors([*curves, *(mean.point for mean in means)])
    ax.axhspan(-MOST_ERRORS, MOST_ERRORS, color=GRAY, alpha=0.12, linewidth=0)
    ax.axhline(0.0, color=GRAY, linewidth=0.8)
    for point, residual in _residuals(curves, means, observable):
        ax.plot(point.alpha, residual, linestyle="none", **point_style(point, colors))
    _label_alpha(ax)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -1.5 * MOST_ERRORS), max(high, 1.5 * MOST_ERRORS))
    ax.set_ylabel("(points − theory)\n/ standard error", fontsize=8)


def _residuals(
    curves: Sequence[LearningCurve], means: Sequence[SweepMean], observable: str
) -> list[tuple[SweepPoint, float]]:
    """Return (point, (mean - theory) / standard error) where a line has the point's alpha."""
    found = []
    for mean in means:
        error = getattr(mean, f"{observable}_error")
        if not error > 0.0 or (observable == "train_loss" and mean.point.mask_mode is not None):
            continue
        for curve in curves:
            if curve.n_heads > 1:  # fits of a sweep have one
                continue
            same = ESTIMATOR_OF.get(mean.point.method) == curve.estimator
            at = np.flatnonzero(curve.converged & (curve.alpha == mean.point.alpha))
            if same and len(at) and masks_of(curve) == masks_of(mean.point):
                difference = getattr(mean, observable) - getattr(curve, observable)[at[0]]
                found.append((mean.point, float(difference / error)))
                break
    return found


def masks_of(item: LearningCurve | SweepPoint) -> Masks | None:
    """Return (fraction, mode), or None for one masked site at a time."""
    if item.mask_mode is None:
        return None
    if isinstance(item, SweepPoint):
        assert item.mask_fraction is not None
        return item.mask_fraction, item.mask_mode
    return float(item.mask_fraction[0]), item.mask_mode


def mask_colors(items: Iterable[LearningCurve | SweepPoint]) -> dict[Masks, str]:
    """Return a color for every mask fraction and mode that occurs."""
    masks = sorted({masks for item in items if (masks := masks_of(item)) is not None})
    return {key: MASK_COLORS[k % len(MASK_COLORS)] for k, key in enumerate(masks)}


def _mask_text(masks: Masks) -> str:
    return f"{masks[1]} masks, r = {masks[0]:g}"


def _point_label(point: SweepPoint) -> str:
    masks = masks_of(point)
    if masks is None:
        return METHOD_LABELS.get(point.method, point.method)
    return f"attention, {_mask_text(masks)}"


def point_style(point: SweepPoint, colors: dict[Masks, str]) -> dict[str, Any]:
    """Return color and marker of a point; `colors` of masks from `mask_colors`."""
    masks = masks_of(point)
    if masks is not None:
        return {"color": colors[masks], "marker": "D", "markersize": 5, "zorder": 4}
    return dict(METHOD_MARKERS.get(point.method, {"marker": "x", "color": GRAY}))


def _legend_below(ax: Axes, axes: Sequence[Axes], n_columns: int) -> None:
    """Put one legend of several panels below them."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    found: dict[str, Artist] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=n_columns,
        fontsize=8.5,
        frameon=False,
    )


def _once(label: str, seen: set[str]) -> str:
    if label in seen:
        return "_nolegend_"
    seen.add(label)
    return label


def _label_alpha(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel(r"sequences per site, $\alpha = M / L$")
