"""Figures from result objects; nothing is computed here that a result does not hold.

Every function draws into an axes and returns it (a new figure's, if none is given). Figures are
made without pyplot, so no global state or backend is touched. Colors are those of Okabe and Ito,
safe for color-blind readers; every method also has its own marker and line style.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pottsattn._storage import write_whole
from pottsattn._validate import InputError
from pottsattn.dataset import SequenceDataset
from pottsattn.fitting.record import History
from pottsattn.sweep import SweepTable
from pottsattn.theory.learning_curve import LearningCurve

__all__ = [
    "check_figure_path",
    "figure_learning_curves",
    "new_figure",
    "plot_couplings",
    "plot_history",
    "plot_learning_curves",
    "plot_ridge_path",
    "plot_scores",
    "plot_site_frequencies",
    "save_figure",
    "share_limits",
]

Array = NDArray[np.float64]
MANY_POINTS = 20_000
FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
BLUE, ORANGE, GREEN, VERMILLION, SKY, GRAY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#666666",
)
ESTIMATOR_LINES = {
    "factored": {"color": BLUE, "linestyle": "-"},
    "full": {"color": VERMILLION, "linestyle": "--"},
}
ESTIMATOR_LABELS = {
    "factored": "theory, factored couplings",
    "full": "theory, full couplings (plmDCA)",
}
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
    "attention": "factored attention, masked modelling",
    "plm": "plm, full couplings",
}
OBSERVABLE_LABELS = {
    "test_loss": "test loss (nats per masked site)",
    "train_loss": "training loss (nats per masked site)",
    "coupling_error": r"coupling error $|J-J^*|^2/|J^*|^2$",
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
    curves = [curve for curve in curves if ridge_kind in (None, curve.ridge_kind)]
    labels: set[str] = set()
    for curve in curves:
        order = np.argsort(curve.alpha)
        style = dict(ESTIMATOR_LINES[curve.estimator])
        label = ESTIMATOR_LABELS[curve.estimator]
        if ridge_kind is None and curve.ridge_kind == "optimal":
            style["linestyle"] = ":"
            label += ", best ridge"
        ax.plot(
            curve.alpha[order],
            getattr(curve, observable)[order],
            label=_once(label, labels),
            **style,  # type: ignore[arg-type]
        )
    for table in tables:
        for mean in table.means():
            if ridge_kind not in (None, mean.ridge_kind):
                continue
            ax.errorbar(
                mean.alpha,
                getattr(mean, observable),
                yerr=getattr(mean, f"{observable}_error"),
                linestyle="none",
                capsize=2,
                label=_once(METHOD_LABELS.get(mean.method, mean.method), labels),
                **METHOD_MARKERS.get(mean.method, {"marker": "x", "color": GRAY}),  # type: ignore[arg-type]
            )
    if observable.endswith("loss") and curves:
        _reference(ax, float(np.log(curves[0].n_states)), f"ln {curves[0].n_states} (guessing)")
        _reference(ax, float(curves[0].bayes_loss[0]), "Bayes loss (true model)")
    _label_alpha(ax)
    ax.set_ylabel(OBSERVABLE_LABELS[observable])
    if legend:
        ax.legend(fontsize=8, frameon=False)
    return ax


def figure_learning_curves(
    curves: Sequence[LearningCurve],
    tables: Sequence[SweepTable] = (),
    *,
    observable: str = "test_loss",
    separate: bool = False,
) -> list[Axes]:
    """Return one axes for each kind of ridge that occurs: the ridge used, the best ridge.

    They are the panels of one figure, or, if `separate`, each is a figure of its own.
    """
    kinds = {curve.ridge_kind for curve in curves}
    kinds |= {mean.ridge_kind for table in tables for mean in table.means()}
    if separate:
        axes = [new_figure(width=5.4, height=4.8)[0] for _ in kinds]
    else:
        axes = new_figure(len(kinds), width=5.4, height=4.8)
    for ax, kind in zip(axes, sorted(kinds), strict=True):
        plot_learning_curves(
            curves, tables, ax, observable=observable, ridge_kind=kind, legend=False
        )
        ax.set_title(_ridge_title(kind, curves, tables), fontsize=10)
    for ax in axes if separate else axes[:1]:
        figure = ax.get_figure(root=True)
        assert figure is not None
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2 if separate else 3,
            fontsize=8.5,
            frameon=False,
        )
    return axes


def _ridge_title(kind: str, curves: Sequence[LearningCurve], tables: Sequence[SweepTable]) -> str:
    if kind == "optimal":
        return r"best ridge at each $\alpha$"
    ridges = {float(ridge) for curve in curves if curve.ridge_kind == kind for ridge in curve.ridge}
    ridges |= {row.ridge for table in tables for row in table.rows if row.ridge_kind == kind}
    return f"ridge {ridges.pop():g}" if len(ridges) == 1 else "given ridge"


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


def plot_history(
    history: History,
    ax: Axes | None = None,
    *,
    references: dict[str, float] | None = None,
) -> Axes:
    """Draw the losses of a training against epochs; `references` are named horizontal lines."""
    ax = ax or new_figure()[0]
    ax.plot(history.epochs, history.train_loss, color=BLUE, label="training, all sites")
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
        _reference(ax, value, name, side="left")  # where the curves are still far above
    ax.set_xscale("symlog", linthresh=1.0, subs=range(2, 10))
    ax.set_xlim(left=0.0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("epochs (visits of every sequence)")
    ax.set_ylabel("loss (nats per masked site)")
    ax.legend(fontsize=8, frameon=False)
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


def _once(label: str, seen: set[str]) -> str:
    if label in seen:
        return "_nolegend_"
    seen.add(label)
    return label


def share_limits(axes: Sequence[Axes]) -> None:
    """Give square panels that are compared the largest limits among them."""
    limit = max(ax.get_xlim()[1] for ax in axes)
    for ax in axes:
        ax.set_xlim(-limit, limit)
        ax.set_ylim(-limit, limit)


def _reference(ax: Axes, value: float, text: str, side: str = "right") -> None:
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


def _label_alpha(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel(r"sequences per site, $\alpha = M / L$")
