"""Figures of attention between the patches of images: where a query looks, on the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from pottsattn._core.validate import InputError
from pottsattn.figures.style import VERMILLION, new_figure, plain
from pottsattn.spatial.image_training import ImageAttention

COLOR_TICKS = (0, 1, 2, 5, 10, 20, 50, 100)


def plot_image_attention(
    result: ImageAttention, query: int, ax: Axes | None = None, *, highest: float | None = None
) -> Axes:
    """Draw where a patch looks, as a map on the grid of patches.

    Parameters
    ----------
    result
        Of which the attention, a mean over test images, is drawn as a multiple of the uniform one.
    query
        The patch, counted from 0 row by row; a frame marks it.
    highest
        End of the color scale; the largest value drawn if left out.

    Raises
    ------
    InputError
        There is no such patch.
    """
    n_rows, n_columns = result.grid
    n_patches = n_rows * n_columns
    if not 0 <= query < n_patches:
        raise InputError(f"query must be 0 to {n_patches - 1}, got {query}")
    ax = ax or new_figure(width=2.6, height=2.4)[0]
    attention = n_patches * result.attention[query].reshape(result.grid)
    # The square root shows what is a few times uniform beside what is near one patch alone.
    scale = PowerNorm(0.5, vmin=0.0, vmax=highest or attention.max())
    ax.imshow(attention, cmap="cividis", norm=scale)
    row, column = divmod(query, n_columns)
    frame = Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2
    )
    ax.add_patch(frame)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def figure_image_attention(
    results: Mapping[str, ImageAttention], queries: Sequence[int] | None = None
) -> list[Axes]:
    """Draw where some patches look, one row for each result, in one scale; return the axes.

    Parameters
    ----------
    results
        By the name that stands beside their row; all of one grid.
    queries
        Patches, counted from 0 row by row; five of them, spread over the grid, if left out.

    Raises
    ------
    InputError
        No result, several grids, or no such patch.
    """
    grids = {result.grid for result in results.values()}
    if len(grids) != 1:
        raise InputError(f"results must be of one grid of patches, got {sorted(grids)}")
    queries = _spread(grids.pop()) if queries is None else queries
    axes = new_figure(len(queries), n_rows=len(results), width=1.55, height=1.5)
    chosen = [result.attention[list(queries)] for result in results.values()]
    highest = float(np.quantile(np.stack(chosen), 0.998)) * chosen[0].shape[1]
    for place, ax in enumerate(axes):
        line, column = divmod(place, len(queries))
        name, result = list(results.items())[line]
        plot_image_attention(result, queries[column], ax, highest=highest)
        if column == 0:
            ax.set_ylabel(plain(name), fontsize=9)
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    image = axes[0].images[0]
    assert isinstance(image, AxesImage)
    ticks = [tick for tick in COLOR_TICKS if tick <= highest]
    label = "attention over uniform"
    figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, label=label, ticks=ticks)
    return axes


def _spread(grid: tuple[int, int]) -> list[int]:
    """Return the patch in the middle and those half way to the corners."""
    rows, columns = ((size // 4, size // 2, (3 * size) // 4) for size in grid)
    places = [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)]
    return list(dict.fromkeys(rows[i] * grid[1] + columns[j] for i, j in places))
