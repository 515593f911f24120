"""Figures from result objects; nothing is computed here that a result does not hold.

Every function draws into an axes and returns it (a new figure's, if none is given). Figures are
made without pyplot, so no global state or backend is touched. Colors are those of Okabe and Ito,
safe for color-blind readers; every method also has its own marker and line style.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pottsattn._core.display import shown
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import write_whole

Array = NDArray[np.float64]
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
    drawn = io.BytesIO()  # on a full disk Matplotlib's own files raise more than OSError
    with write_whole(path) as temporary:
        figure.savefig(drawn, format=suffix[1:], dpi=160)
        temporary.write_bytes(drawn.getbuffer())


def plain(name: str) -> str:
    r"""Return a name as text of a figure: $ would begin a formula, a first _ hide it in legends."""
    return (" " if name.startswith("_") else "") + shown(name).replace("$", r"\$")


def check_figure_path(path: str | os.PathLike[str]) -> str:
    """Return how the name of a figure ends; InputError if figures are not written as that."""
    suffix = Path(path).suffix.lower()
    if suffix not in FIGURE_SUFFIXES:
        raise InputError(f"a figure is written as {', '.join(FIGURE_SUFFIXES)}; got {path}")
    return suffix


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
