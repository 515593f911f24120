"""Figures: every point and line that the results hold, labels with units, whole files only."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fit_factory import make_history
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.figures.curves import figure_learning_curves, plot_learning_curves
from pottsattn.figures.fits import (
    plot_couplings,
    plot_ridge_path,
    plot_scores,
    plot_site_frequencies,
)
from pottsattn.figures.style import new_figure, save_figure
from pottsattn.figures.training import plot_histories, plot_history
from pottsattn.studies.sweep.table import SweepRow, SweepTable
from pottsattn.theory.curve import learning_curve


@pytest.fixture(scope="module")
def curves():
    """Two estimators at a given ridge; alphas out of order on purpose."""
    return [
        learning_curve(3, 1.5, [4.0, 1.0], 0.1, estimator=name) for name in ("factored", "full")
    ]


@pytest.fixture
def table() -> SweepTable:
    row = SweepRow("plm", "fixed", 1.0, 0.1, 0, 1.1, 0.5, 0.9, 0.9, 1.0, True, 30, 3, 1.5)
    rows = [
        replace(row, alpha=alpha, method=method, seed=seed, test_loss=1.0 + 0.1 * seed)
        for alpha in (1.0, 4.0)
        for method in ("plm", "attention")
        for seed in (0, 1)
    ]
    return SweepTable((*rows, replace(row, ridge_kind="optimal")))


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_learning_curves_draw_theory_points_and_references(curves, table):
    ax = plot_learning_curves(curves, [table], ridge_kind="fixed")
    drawn = {line.get_label(): line for line in ax.lines}
    for curve, label in zip(
        curves, ("theory, factored couplings", "theory, full couplings (plmDCA)"), strict=True
    ):
        assert_allclose(drawn[label].get_xdata(), [1.0, 4.0])
        assert_allclose(drawn[label].get_ydata(), curve.test_loss[::-1])
    assert len(ax.containers) == 4  # two methods at two alphas; the best ridge is left out
    for container in ax.containers:
        point, _, (bar,) = container
        assert float(point.get_ydata()[0]) == pytest.approx(1.05)
        low, high = bar.get_segments()[0][:, 1]
        assert (high - low) / 2.0 == pytest.approx(0.05)  # std 0.0707 / sqrt(2)
    assert {text.get_text() for text in ax.texts} == {"ln 3 (guessing)", "Bayes loss (true model)"}
    heights = [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) > 1]
    assert np.log(3) in heights
    assert curves[0].bayes_loss[0] in heights
    assert ax.get_xlabel() == r"sequences per site, $\alpha = M / L$"
    assert ax.get_ylabel() == "test loss (nats per masked site)"
    assert len(texts(ax)) == len(set(texts(ax))) == 4  # each named once


def test_given_and_best_ridge_have_panels_of_their_own(curves, table):
    axes = figure_learning_curves(curves, [table], observable="coupling_error")
    assert [ax.get_title() for ax in axes] == ["ridge 0.1", r"best ridge at each $\alpha$"]
    assert [len(ax.containers) for ax in axes] == [4, 1]
    assert not axes[0].texts  # no Bayes loss among coupling errors
    assert "coupling error" in axes[0].get_ylabel()
    assert len(figure_learning_curves(curves)) == 1


def test_unsolved_points_are_gaps_not_values(curves):
    curve = replace(curves[0], test_loss=np.array([np.nan, 1.0]))
    line = plot_learning_curves([curve]).lines[0]
    assert_allclose(line.get_ydata(), [1.0, np.nan])
    curve = replace(curves[0], converged=np.array([False, True]))  # a value that is not solved
    line = plot_learning_curves([curve]).lines[0]
    assert_allclose(line.get_ydata(), [curve.test_loss[1], np.nan])
    curve = replace(curves[0], test_loss=np.array([np.nan, 1.0]))
    ax = figure_learning_curves([replace(curve, test_loss=np.full(2, np.nan))])[0]
    ax.figure.draw_without_rendering()  # the logarithmic axis of a panel without any value
    assert ax.get_xlim()[0] < 1.0 < 4.0 < ax.get_xlim()[1]


def test_couplings_are_drawn_around_the_diagonal():
    true, fitted = np.array([0.0, 1.0, -2.0]), np.array([0.1, 3.0, -1.0])
    ax = plot_couplings(true, fitted, label="plm")
    assert_allclose(ax.collections[0].get_offsets(), np.column_stack([true, fitted]))
    assert_allclose(ax.lines[0].get_xdata(), ax.lines[0].get_ydata())
    assert ax.get_xlim() == ax.get_ylim() == pytest.approx((-3.15, 3.15))
    assert "k_\\mathrm{B}T" in ax.get_xlabel()
    assert "k_\\mathrm{B}T" in ax.get_ylabel()
    assert ax.get_title() == "plm"


def test_history_draws_what_was_measured():
    history = make_history()
    ax = plot_history(history, references={"Bayes loss": 0.8})
    assert len(ax.lines) == 3  # training, masks, the reference; no test data
    assert_allclose(ax.lines[0].get_ydata(), history.train_loss)
    assert "nats" in ax.get_ylabel()
    assert [text.get_text() for text in ax.texts] == ["Bayes loss"]
    with_test = replace(history, validation_loss=history.train_loss + 0.2)
    assert "test" in texts(plot_history(with_test))


def test_trainings_side_by_side():
    history = make_history()
    held_out = replace(history, validation_loss=history.train_loss + 0.2)
    sparse = replace(history, train_loss=np.array([np.nan, 2.0, np.nan, np.nan, 1.5]))
    ax = plot_histories({"a": history, "b": held_out, "c": sparse}, references={"Bayes loss": 0.8})
    drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_allclose(drawn["b"], history.train_loss + 0.2)
    np.testing.assert_allclose(drawn["c"], [2.0, 1.5])
    assert "held-out or training loss" in ax.get_ylabel()
    assert [note.get_text() for note in ax.texts] == ["Bayes loss"]


def test_a_ridge_path_has_both_losses_and_the_choice():
    path = {
        "ridge": 0.4,
        "ridges": [0.25, 1.0, 4.0],
        "leave_one_out_losses": [1.1, 1.0, 1.2],
        "errors": [0.01, 0.01, 0.02],
        "train_losses": [0.7, 0.8, 1.0],
    }
    ax = plot_ridge_path(path)
    left_out, train, choice = ax.lines
    assert_allclose(left_out.get_xydata(), np.c_[path["ridges"], path["leave_one_out_losses"]])
    assert_allclose(train.get_ydata(), path["train_losses"])
    assert_allclose(choice.get_xdata(), 0.4)
    assert ax.get_xscale() == "log"


def test_scores_are_at_their_columns():
    score = np.arange(9.0).reshape(3, 3)
    ax = plot_scores(score, [4, 5, 6])
    (image,) = ax.images
    assert image.get_extent() == (3.5, 6.5, 3.5, 6.5) or image.get_extent() == [3.5, 6.5, 3.5, 6.5]
    assert_allclose(image.get_array(), score)
    assert "APC" in ax.figure.axes[1].get_ylabel()


@pytest.mark.parametrize("alphabet", ["", "-AB"])
def test_site_frequencies_name_the_states(alphabet, rng):
    dataset = SequenceDataset(rng.integers(3, size=(20, 4)), 3, alphabet=alphabet)
    ax = plot_site_frequencies(dataset)
    assert_allclose(ax.images[0].get_array(), dataset.site_frequencies().T)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(alphabet or "012")


def test_every_function_draws_into_the_axes_given(curves, rng):
    dataset = SequenceDataset(rng.integers(3, size=(20, 4)), 3)
    for draw in (
        lambda ax: plot_learning_curves(curves, ax=ax),
        lambda ax: plot_couplings(np.ones(2), np.ones(2), ax),
        lambda ax: plot_history(make_history(), ax),
        lambda ax: plot_scores(np.ones((2, 2)), [1, 2], ax),
        lambda ax: plot_site_frequencies(dataset, ax),
    ):
        ax = new_figure()[0]
        assert draw(ax) is ax


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG\r\n"), ("a.pdf", b"%PDF-"), ("a.SVG", b"<?xml")],
)
def test_figures_are_saved_by_their_ending(tmp_path, name, start):
    save_figure(new_figure()[0], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("error", "expected"), [(OSError(28, "full"), InputError), (KeyError("font"), KeyError)]
)
def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch, error, expected):
    ax = new_figure()[0]

    def fail(drawn, **_):
        drawn.write(b"half")
        raise error

    monkeypatch.setattr(ax.figure, "savefig", fail)
    with pytest.raises(expected):
        save_figure(ax, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg; got .*a\.gif"):
        save_figure(ax, tmp_path / "a.gif")


def test_figures_need_no_pyplot():
    code = "import sys, pottsattn.figures.style; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
