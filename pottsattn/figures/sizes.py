"""How deviations from the theory shrink with the length: points against 1 / L, and fitted lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pottsattn.figures.curves import mask_colors, point_style
from pottsattn.figures.style import GRAY, new_figure
from pottsattn.studies.sweep.against_theory import FiniteSizeFit
from pottsattn.studies.sweep.table import SweepPoint


def figure_finite_size(fits: Sequence[FiniteSizeFit], *, separate: bool = False) -> list[Axes]:
    """Return the panels of deviations from theory against 1 / L, with the fitted slope / L.

    One panel for each number of states, coupling scale, and kind of deviation (from the ensemble,
    or from the matched one); one line for each method, masks, alpha and ridge. They are the panels
    of one figure, or, if `separate`, each is a figure of its own.
    """
    panels: dict[tuple[int, float, bool], list[FiniteSizeFit]] = {}
    for fit in fits:
        point = fit.deviations[0].point
        panels.setdefault((point.n_states, point.coupling_scale, fit.is_matched), []).append(fit)
    if separate:
        axes = [new_figure(width=4.8, height=3.8)[0] for _ in panels]
    else:
        n_columns = min(len(panels), 2 if len({key[2] for key in panels}) == 2 else 3)
        axes = new_figure(n_columns, n_rows=-(-len(panels) // n_columns), width=4.8, height=3.8)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, key in zip(axes, sorted(panels), strict=False):
        _draw_finite_size(ax, panels[key])
        n_states, scale, is_matched = key
        kind = "the matched ensemble" if is_matched else "the ensemble"
        ax.set_title(f"C = {n_states}, J = {scale:g}: deviation from {kind}", fontsize=9.5)
    return axes[: len(panels)]


def _draw_finite_size(ax: Axes, fits: Sequence[FiniteSizeFit]) -> None:
    points = [fit.deviations[0].point for fit in fits]
    colors = mask_colors(points)
    lengths = sorted({entry.point.length for fit in fits for entry in fit.deviations})
    top = 1.08 / lengths[0]
    for fit, point in zip(fits, points, strict=True):
        style = point_style(point, colors)
        # The smallest alpha of a student is dashed, and colors get stronger as alpha grows.
        alphas = sorted({other.alpha for other in points if _student(other) == _student(point)})
        faint = 0.4 + 0.6 * (alphas.index(point.alpha) + 1) / len(alphas)
        shift = 1.0 + 0.012 * (fits.index(fit) - len(fits) / 2)  # so that error bars can be told
        at = np.array([1.0 / entry.point.length for entry in fit.deviations])
        pairs = [
            (entry.matched, entry.matched_error)
            if fit.is_matched
            else (entry.difference, entry.error)
            for entry in fit.deviations
        ]
        values, errors = np.array(pairs).T
        style |= {"markersize": 5, "alpha": faint}
        ridge = "" if point.ridge_kind == "fixed" else ", best ridge"
        label = f"{_short_label(point)}, $\\alpha$ {point.alpha:g}{ridge}"
        ax.errorbar(shift * at, values, yerr=errors, linestyle="none", capsize=2, **style)
        line = "--" if point.alpha == alphas[0] and len(alphas) > 1 else "-"
        ax.plot(
            [0.0, top], [0.0, fit.slope * top], linestyle=line, color=style["color"],
            linewidth=1.0, alpha=faint, label=label,
        )  # fmt: skip
    ax.axhline(0.0, color=GRAY, linewidth=0.8)
    ax.set_xlim(0.0, top)
    ax.set_xticks([1.0 / length for length in lengths], [f"1/{length}" for length in lengths])
    ax.set_xlabel("1 / L")
    ax.set_ylabel("simulated − theory")
    ax.legend(fontsize=7, frameon=False)


def _student(point: SweepPoint) -> tuple[str, float | None, str | None]:
    return point.method, point.mask_fraction, point.mask_mode


def _short_label(point: SweepPoint) -> str:
    return point.method if point.mask_fraction is None else f"r = {point.mask_fraction:g}"
