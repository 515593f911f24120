"""Figures of the chains behind a data set: traces, autocorrelation, agreement of their halves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pottsattn._core.validate import check_choice
from pottsattn.figures.style import BLUE, GRAY, VERMILLION, new_figure
from pottsattn.sampling.agreement import DISAGREEMENT, split_r_hat
from pottsattn.sampling.traces import StoredTraces

Array = NDArray[np.float64]
OBSERVABLES = {"energy": "energy per site ($k_\\mathrm{B}T$)", "overlap": "overlap with a sequence"}
STYLES = {
    "energy": {"color": BLUE, "linestyle": "-"},
    "overlap": {"color": VERMILLION, "linestyle": "--"},
}
N_LINES, N_POINTS, N_WINDOWS = 6, 300, 60  # chains drawn, points of each, windows of the mean
N_LAGS = 400


def figure_chains(traces: StoredTraces) -> list[Axes]:
    """Return four panels: traces of energy and overlap, autocorrelation, halves of the chains.

    The halves are those of the energy, or of the overlap where they disagree more.
    """
    axes = new_figure(2, n_rows=2, width=4.3, height=3.1)
    plot_traces(traces, axes[0])
    plot_traces(traces, axes[1], observable="overlap")
    plot_autocorrelation(traces, axes[2])
    worst = {name: split_r_hat(trace) for name, (_, trace) in traces.by_name().items()}
    is_overlap = worst["overlap"] > max(DISAGREEMENT, worst["energy"])
    plot_halves(traces, axes[3], observable="overlap" if is_overlap else "energy")
    return axes


def plot_traces(
    traces: StoredTraces,
    ax: Axes | None = None,
    *,
    observable: str = "energy",
    n_lines: int = N_LINES,
) -> Axes:
    """Draw an observable of `n_lines` chains against sweeps, and the mean over all chains.

    The band is the mean of a window of time plus and minus two standard errors, from the spread
    between chains. Two kinds of starts are drawn apart.
    """
    ax = ax or new_figure()[0]
    chains, trace = _values(traces, observable)
    sweeps = traces.thin_by * np.arange(1.0, len(trace) + 1.0)
    shown = np.unique(np.linspace(0, len(trace) - 1, N_POINTS).astype(int))
    opacity = 0.3 if n_lines > 1 else 0.8
    for label, color, linestyle, is_member in _groups(traces, chains):
        members = trace[:, is_member]
        n_here = members.shape[1]
        for k in np.unique(np.linspace(0, n_here - 1, min(n_lines, n_here)).astype(int)):
            ax.plot(sweeps[shown], members[shown, k], color=color, linewidth=0.5, alpha=opacity)
        times, means, errors = _windows(sweeps, members)
        ax.fill_between(
            times, means - 2.0 * errors, means + 2.0 * errors, color=color, alpha=0.35, linewidth=0
        )
        ax.plot(times, means, color=color, linestyle=linestyle, linewidth=1.6, label=label)
    ax.set_xlim(left=0.0)
    warmup = f"after {traces.n_warmup} of warm-up" if traces.n_warmup else "without warm-up"
    ax.set_xlabel(f"sweeps, {warmup}")
    ax.set_ylabel(OBSERVABLES[observable])
    _legend_above(ax)
    return ax


def plot_autocorrelation(traces: StoredTraces, ax: Axes | None = None) -> Axes:
    """Draw the autocorrelation of energy and overlap; a mark ends the sum that gives tau."""
    ax = ax or new_figure()[0]
    found = traces.autocorrelations()
    longest = traces.thin_by
    for name, one in found.items():
        style = STYLES[name]
        sign = "=" if one.is_closed else r"\geq"
        if one.time <= traces.thin_by:  # nothing is seen between rounds
            sign = r"\leq"
        last = min(len(one.lags) - 1, round(3.0 * one.window / traces.thin_by) + 3)
        shown = np.unique(np.geomspace(1, last + 1, N_LAGS).astype(int)) - 1
        longest = max(longest, one.lags[last])
        ax.plot(
            one.lags[shown],
            one.rho[shown],
            linewidth=1.4,
            label=rf"{name}, $\tau {sign} {_number(one.time)}$",
            **style,  # type: ignore[arg-type]
        )
        at = round(one.window / traces.thin_by)
        ax.plot(
            one.window,
            one.rho[at],
            marker="o" if one.is_closed else "x",
            markersize=6,
            color=style["color"],
            linestyle="none",
        )
        ax.axvline(one.window, ymax=0.25, color=style["color"], linewidth=0.7, linestyle=":")
    ax.axhline(0.0, color=GRAY, linewidth=0.8, zorder=1)
    if found:
        ax.set_xscale("symlog", linthresh=float(traces.thin_by), linscale=0.4)
        ax.set_xlim(0.0, longest)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _legend_above(ax)
    else:
        _say(ax, "too few sequences per chain,\nor nothing varies")
    ax.set_xlabel("lag (sweeps)")
    ax.set_ylabel("autocorrelation")
    return ax


def plot_halves(
    traces: StoredTraces, ax: Axes | None = None, *, observable: str = "energy"
) -> Axes:
    """Draw the mean of an observable in either half of every chain: what split-R-hat compares.

    The band is the mean plus and minus one standard deviation within halves. At split-R-hat 1 the
    points lie in its middle, at 1.1 they spread over half of its width, and where they leave it
    the chains sample different things.
    """
    ax = ax or new_figure()[0]
    chains, trace = _values(traces, observable)
    half = len(trace) // 2
    ax.set_xlabel("chain")
    ax.set_ylabel(f"mean {OBSERVABLES[observable]}")
    if half < 2:
        _say(ax, "too few sequences per chain")
        return ax
    first, second = trace[:half], trace[-half:]
    within = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)).mean() / 2.0)
    middle = (first.mean() + second.mean()) / 2.0
    ax.axhspan(middle - within, middle + within, color=GRAY, alpha=0.15, linewidth=0)
    ax.axhline(middle, color=GRAY, linewidth=0.8)
    for label, part, color, marker in (
        ("first half", first, BLUE, "o"),
        ("second half", second, VERMILLION, "^"),
    ):
        ax.plot(
            chains, part.mean(axis=0), marker, color=color, markersize=4, alpha=0.8, label=label
        )
    if traces.start == "two":
        ax.axvline(traces.n_chains // 2 - 0.5, color=GRAY, linewidth=0.8, linestyle=":")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.text(
        1.0,
        1.02,
        f"split-R-hat {split_r_hat(trace):.3f}",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=8,
    )
    _legend_above(ax)
    return ax


def _values(traces: StoredTraces, observable: str) -> tuple[NDArray[np.int64], Array]:
    """Return chains and their trace, per site."""
    check_choice("observable", observable, list(OBSERVABLES))
    chains, trace = traces.by_name()[observable]
    return chains, trace.astype(np.float64) / (traces.length if observable == "energy" else 1)


def _groups(
    traces: StoredTraces, chains: NDArray[np.int64]
) -> Iterator[tuple[str, str, str, NDArray[np.bool_]]]:
    """Yield (label, color, line style, members) of the kinds of starts."""
    if traces.start != "two":
        many = f"mean of {len(chains)} chains $\\pm$ 2 errors"
        label = many if len(chains) > 1 else "the chain, averaged over windows"
        yield label, BLUE, "-", np.ones(len(chains), bool)
        return
    is_second = chains >= traces.n_chains // 2
    yield "random start", BLUE, "-", ~is_second
    yield "ordered or planted start", VERMILLION, "--", is_second


def _windows(sweeps: Array, trace: Array) -> tuple[Array, Array, Array]:
    """Return times, means over chains and standard errors of windows of the trace."""
    n_windows = min(N_WINDOWS, len(trace))
    edges = np.arange(n_windows + 1) * len(trace) // max(1, n_windows)
    windows = [slice(*pair) for pair in pairwise(edges.tolist())]
    means = np.array([trace[window].mean(axis=0) for window in windows])
    n_chains = trace.shape[1]
    spread = means.std(axis=1, ddof=1) if n_chains > 1 else np.zeros(len(means))
    times = np.array([sweeps[window].mean() for window in windows])
    return times, means.mean(axis=1), spread / np.sqrt(n_chains)


def _legend_above(ax: Axes) -> None:
    """Put the legend above the axes: traces leave no corner free."""
    ax.legend(
        fontsize=8,
        frameon=False,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        borderaxespad=0.0,
        columnspacing=1.2,
        handlelength=1.6,
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000.0 else f"{value:.0f}"


def _say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GRAY)
