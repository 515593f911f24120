"""Figures of encoders trained by masking: probes against masks and training, vectors, attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_choice
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
from pottsattn.instances.result import InstanceRun

SCORES = {
    "linear_probe": "linear probe",
    "knn": "nearest neighbors",
    "token_linear_probe": "class from one token",
    "field_r2": r"local fields from tokens, $R^2$",
}
CLASS_COLORS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, "#000000", "#F0E442")
MARKERS = "osD^vPX*"
STYLES = {  # line and face of the marker, by loss and norm of the heads
    ("byol", "batch"): ("-", None),
    ("infonce", "batch"): ("--", "white"),
    ("byol", "layer"): (":", "#bbbbbb"),
    ("infonce", "layer"): ("-.", "#dddddd"),
}
LOSS_NAMES = {"byol": "BYOL", "infonce": "InfoNCE"}
REFERENCES = {"random": "random encoder", "supervised": "supervised", "masked": "masked modeling"}
Settings = tuple[Any, ...]
Point = tuple[float, float, float]  # x, mean, error


def plot_embeddings(run: InstanceRun, ax: Axes | None = None) -> Axes:
    """Draw the first two principal components of the test vectors, colored by class."""
    ax = ax or new_figure()[0]
    classes = np.unique(run.labels)
    colors = _class_colors(len(classes))
    for label, color in zip(classes, colors, strict=True):
        points = run.embeddings[run.labels == label]
        known = label >= 0
        ax.scatter(
            points[:, 0],
            points[:, 1],
            s=7,
            color=color if known else GRAY,
            linewidths=0,
            alpha=0.75,
            label=str(label) if known else "unknown",
        )
    first, second = 100.0 * run.explained_variance
    ax.set_xlabel(f"first component ({first:.0f} % of the variance)")
    ax.set_ylabel(f"second component ({second:.0f} %)")
    ax.set_title(_title(run), fontsize=10)
    if len(classes) <= 20:
        ax.legend(
            title="class",
            title_fontsize=7,
            fontsize=7,
            frameon=False,
            markerscale=1.6,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
    return ax


def plot_class_attention(
    run: InstanceRun, ax: Axes | None = None, *, label: int | None = None
) -> Axes:
    """Draw where the class token looks, as a multiple of uniform attention.

    Sequences: mean of every class (rows) by site. Images: mean of all test instances, or of those
    of the class `label`, on the grid of patches.

    Raises
    ------
    InputError
        No test instance is of that class; a class is asked of a run on sequences.
    """
    ax = ax or new_figure()[0]
    attention = run.class_attention * run.class_attention.shape[1]
    grid = run.config["encoder"]["grid"]
    if grid is None:
        if label is not None:
            raise InputError("label is for images; sequences are drawn with all their classes")
        classes = np.unique(run.labels)
        rows = np.stack([attention[run.labels == one].mean(axis=0) for one in classes])
        image = ax.imshow(rows, cmap="viridis", vmin=0.0, aspect="auto", interpolation="nearest")
        ax.set_xlabel("site")
        ax.set_ylabel("class")
        ax.set_yticks(range(len(classes)), [str(one) if one >= 0 else "?" for one in classes])
    else:
        if label is not None and label not in run.labels:
            raise InputError(f"no test instance has the label {label}")
        chosen = attention if label is None else attention[run.labels == label]
        image = _draw_map(chosen.mean(axis=0).reshape(grid), ax)
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("attention / uniform", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    ax.set_title("attention of the class token", fontsize=10)
    return ax


def figure_attention_by_class(run: InstanceRun) -> list[Axes]:
    """Return the axes of a new figure: class attention by class; of images a map for each class."""
    grid = run.config["encoder"]["grid"]
    if grid is None:
        return [plot_class_attention(run, new_figure(width=7.0, height=3.2)[0])]
    classes = np.unique(run.labels)
    means = [run.class_attention[run.labels == one].mean(axis=0) for one in classes]
    maps = np.stack(means).reshape(-1, *grid) * run.class_attention.shape[1]
    n_columns = min(len(classes), 5)
    n_rows = -(-len(classes) // n_columns)
    axes = new_figure(n_columns, n_rows=n_rows, width=1.5, height=1.6)
    image: Any = None
    for ax, label, one in zip(axes, classes, maps, strict=False):
        image = _draw_map(one, ax, float(maps.max()))
        ax.set_title(f"class {label}" if label >= 0 else "unknown class", fontsize=8)
    for ax in axes[len(classes) :]:
        ax.set_visible(False)
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("attention / uniform", fontsize=8)
    return axes


def plot_loss(run: InstanceRun, ax: Axes | None = None) -> Axes:
    """Draw the training loss against steps, each the mean since the entry before."""
    ax = ax or new_figure()[0]
    ax.plot(run.history.steps, run.history.loss, color=BLUE, marker=".")
    ax.set_xlabel("steps")
    ax.set_ylabel(f"loss ({LOSS_NAMES[run.config['training']['loss']]})")
    return ax


def plot_feature_spread(run: InstanceRun, ax: Axes | None = None) -> Axes:
    """Draw the feature spread of the teacher against steps: 1 evenly spread, 0 collapsed."""
    ax = ax or new_figure()[0]
    ax.plot(run.history.steps, run.history.feature_std, color=GREEN, marker=".")
    reference_line(ax, 0.0, "collapsed")
    ax.set_ylim(-0.03, max(1.05, 1.05 * float(np.nanmax(run.history.feature_std))))
    ax.set_xlabel("steps")
    ax.set_ylabel("feature spread of the teacher")
    return ax


def figure_run(run: InstanceRun) -> list[Axes]:
    """Return the axes of a new figure: vectors, class attention, loss, feature spread."""
    axes = new_figure(2, n_rows=2, width=4.9, height=3.5)
    plot_embeddings(run, axes[0])
    plot_class_attention(run, axes[1])
    plot_loss(run, axes[2])
    plot_feature_spread(run, axes[3])
    return axes


def plot_mask_fractions(
    runs: Sequence[InstanceRun], ax: Axes | None = None, *, score: str = "linear_probe"
) -> Axes:
    """Draw a score against the share of hidden tokens, a line for every loss and number of masks.

    Points are means over runs of the same settings with their standard errors; a single run has
    the error of its probe. Scores of references, the raw input and the Bayes classifier are dotted
    lines, where the runs know them.

    Raises
    ------
    InputError
        Runs on different sources, or an unknown score.
    """
    check_choice("score", score, tuple(SCORES))
    _check_same_source(runs)
    ax = ax or new_figure()[0]
    styles = _line_styles(runs)
    for (loss, norm, masks), group in _grouped(runs, _line_of).items():
        points = [
            (ratio, *_mean(same, score))
            for (ratio,), same in _grouped(
                group, lambda run: (run.config["training"]["mask_fraction"],)
            ).items()
        ]
        _draw_line(ax, sorted(points), **styles[loss, norm, masks])
    _draw_references(runs, score, ax)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xlabel("share of hidden tokens, mask fraction")
    ax.set_ylabel(SCORES[score])
    _legend_below(ax)
    return ax


def plot_training_lengths(
    runs: Sequence[InstanceRun],
    ax: Axes | None = None,
    *,
    score: str = "linear_probe",
    seconds: bool = False,
) -> Axes:
    """Draw a score against the length of the training, a line for every setting of loss and masks.

    Every point is a training of its own, with its own schedule of the learning rate: mean and
    standard error over runs of the same settings and length.

    Parameters
    ----------
    runs
        Trained for different numbers of steps.
    score
        A field of `ProbeScores`.
    seconds
        Against the wall time of the steps, mean over runs, in place of epochs. Compare times of
        runs on one machine with nothing else to do.

    Raises
    ------
    InputError
        Runs on different sources, or an unknown score.
    """
    check_choice("score", score, tuple(SCORES))
    _check_same_source(runs)
    ax = ax or new_figure()[0]
    styles = _line_styles(runs, _curve_of)
    for key, group in _grouped(runs, _curve_of).items():
        points = []
        for same in _grouped(group, lambda run: (int(run.history.steps[-1]),)).values():
            places = [run.history.seconds[-1] if seconds else _epochs(run) for run in same]
            points.append((float(np.mean(places)), *_mean(same, score)))
        _draw_line(ax, sorted(points), **styles[key])
    ax.set_xlabel("wall time of the training (s)" if seconds else "epochs")
    ax.set_xlim(left=0.0)
    ax.set_ylabel(SCORES[score])
    _legend_below(ax)
    return ax


def figure_training_lengths(
    runs: Sequence[InstanceRun], *, score: str = "linear_probe"
) -> list[Axes]:
    """Return the axes of a new figure: a score against epochs and against seconds."""
    axes = new_figure(2, width=4.6, height=4.0)
    plot_training_lengths(runs, axes[0], score=score)
    plot_training_lengths(runs, axes[1], score=score, seconds=True)
    return axes


def figure_instance_runs(runs: Sequence[InstanceRun], *, maps: bool = False) -> list[Axes]:
    """Return the axes of the figure that fits the runs.

    One run: vectors, class attention, loss and feature spread, or with `maps` class attention by
    class. Several: learning curves if the same settings were trained for different numbers of
    steps, else linear probe and nearest neighbors against the mask fraction.

    Raises
    ------
    InputError
        Several runs on different sources, or with `maps`.
    """
    if len(runs) == 1:
        return figure_attention_by_class(runs[0]) if maps else figure_run(runs[0])
    if maps:
        raise InputError("class attention is drawn of one run; give one file")
    lengths = [
        {int(run.history.steps[-1]) for run in group}
        for group in _grouped(runs, _curve_of).values()
    ]
    if max(map(len, lengths)) > 1:
        return figure_training_lengths(runs)
    axes = new_figure(2, width=4.6, height=4.0)
    plot_mask_fractions(runs, axes[0])
    plot_mask_fractions(runs, axes[1], score="knn")
    return axes


def _line_of(run: InstanceRun) -> Settings:
    """Return (loss, norm of the heads, number of masks); no mask at all is one."""
    training = run.config["training"]
    return training["loss"], run.config["heads"]["norm"], training["masks"]


def _curve_of(run: InstanceRun) -> Settings:
    return (*_line_of(run), run.config["training"]["mask_fraction"])


def _grouped(
    runs: Sequence[InstanceRun], key: Callable[[InstanceRun], Settings]
) -> dict[Settings, list[InstanceRun]]:
    groups: dict[Settings, list[InstanceRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return dict(sorted(groups.items()))


def _line_styles(
    runs: Sequence[InstanceRun], key: Callable[[InstanceRun], Settings] = _line_of
) -> dict[Settings, dict[str, Any]]:
    """Return how the lines look: dashes by loss and norm, color and marker by masks."""
    keys = list(_grouped(runs, key))
    masks = sorted({one[2:] for one in keys})
    styles: dict[Settings, dict[str, Any]] = {}
    for loss, norm, *rest in keys:
        at = masks.index(tuple(rest))
        line, face = STYLES[loss, norm]
        color = CLASS_COLORS[at % len(CLASS_COLORS)]
        name = f"{LOSS_NAMES[loss]}{', layer norms' if norm == 'layer' else ''}, {_masks(*rest)}"
        styles[(loss, norm, *rest)] = {
            "color": color,
            "marker": MARKERS[at % len(MARKERS)],
            "linestyle": line,
            "markerfacecolor": face or color,
            "label": name,
        }
    return styles


def _masks(masks: int, ratio: float | None = None) -> str:
    count = "1 mask" if masks == 1 else f"{masks} masks"
    return count if ratio is None else f"{100 * ratio:.0f} % x {masks}"


def _mean(runs: Sequence[InstanceRun], score: str) -> tuple[float, float]:
    """Return the mean over runs and its standard error; of one run the error of its probe."""
    values = [getattr(run.scores, score) for run in runs]
    if len(runs) == 1:
        return values[0], getattr(runs[0].scores, f"{score}_error")
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def _draw_line(ax: Axes, points: Sequence[Point], **style: Any) -> None:
    places, values, errors = np.array(points).T
    ax.errorbar(
        places, values, np.nan_to_num(errors), markersize=5, linewidth=1.2, capsize=2, **style
    )


def _draw_references(runs: Sequence[InstanceRun], score: str, ax: Axes) -> None:
    known = {
        text: [getattr(run.references[name], score) for run in runs if name in run.references]
        for name, text in REFERENCES.items()
    }
    if score == "linear_probe":
        known |= {
            "raw input": [run.raw_linear_probe for run in runs],
            "Bayes": [run.bayes for run in runs],
        }
    lines = sorted(
        (float(np.mean(values)), text)
        for text, values in known.items()
        if values and np.isfinite(values).all()
    )
    for at, (value, text) in enumerate(reversed(lines)):  # in turns, as some lie close
        reference_line(ax, value, text, side="left" if at % 2 else "right")


def _legend_below(ax: Axes) -> None:
    ax.legend(fontsize=7, frameon=False, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _epochs(run: InstanceRun) -> float:
    """Return how often every training instance was seen."""
    n = run.config["n_instances"]
    per_epoch = n // min(run.config["training"]["batch_size"], n)
    return float(run.history.steps[-1]) / per_epoch


def _check_same_source(runs: Sequence[InstanceRun]) -> None:
    sources = sorted({run.source for run in runs})
    if len(sources) > 1:
        raise InputError(f"runs in one figure must share their source, got {', '.join(sources)}")


def _title(run: InstanceRun) -> str:
    loss, _, masks, ratio = _curve_of(run)
    return f"{plain(run.source)}: {LOSS_NAMES[loss]}, {_masks(masks, ratio)}"


def _class_colors(number: int) -> list[Any]:
    if number <= len(CLASS_COLORS):
        return list(CLASS_COLORS[:number])
    return list(colormaps["turbo"](np.linspace(0.03, 0.97, number)))


def _draw_map(image: NDArray[Any], ax: Axes, highest: float | None = None) -> Any:
    drawn = ax.imshow(image, cmap="viridis", vmin=0.0, vmax=highest, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return drawn
