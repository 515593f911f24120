"""Figures and page of instance runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn.cli import main
from pottsattn.figures.instances import (
    figure_attention_by_class,
    figure_instance_runs,
    plot_class_attention,
    plot_embeddings,
    plot_mask_fractions,
    plot_training_lengths,
)
from pottsattn.instances import data as sources
from pottsattn.instances.data import InstanceData, mixture_data
from pottsattn.instances.run import encoder_config_for, run_instances
from pottsattn.instances.settings import PretrainConfig

# Short trainings, not converged.
pytestmark = pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")

N_PROBED, N_TRAIN = 150, 90


def trained(data, seed=0, steps=4, **settings):
    encoder = encoder_config_for(data, width=8, n_layers=1)
    config = PretrainConfig(max_steps=steps, batch_size=16, **settings)
    return run_instances(
        data, encoder, config=config, references=("random",), rng=seed, n_threads=1
    )


@pytest.fixture(scope="module")
def sequences():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PROBE_TRAIN", N_TRAIN)
        patch.setattr(sources, "PROBE_TEST", N_PROBED - N_TRAIN)
        return mixture_data("fields", 3, 8, 3, n_sequences=160, degree=2, rng=0, n_threads=1)


@pytest.fixture(scope="module")
def runs(sequences):
    settings = [(ratio, n) for ratio in (0.25, 0.5) for n in (1, 2)]
    found = [trained(sequences, mask_fraction=ratio, masks=n) for ratio, n in settings]
    return [*found, trained(sequences, seed=1, mask_fraction=0.5, masks=2)]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=N_PROBED)
    patches = rng.normal(size=(N_PROBED, 6, 4)) + labels[:, None, None]
    data = InstanceData(
        "images", patches, labels, patches, labels, n_probe_train=N_TRAIN, grid=(2, 3)
    )
    return trained(data, mask_fraction=0.5, masks=2)


def curves(ax):
    """Return x, y and half the length of the error bar of every point, by label."""
    found = {}
    for bars in ax.containers:
        x, y = bars.lines[0].get_data()
        lengths = [np.ptp(bar[:, 1]) / 2 for bar in bars.lines[2][0].get_segments()]
        found[bars.get_label()] = (np.array(x), np.array(y), np.array(lengths))
    return found


def test_accuracy_against_mask_fraction(runs):
    found = curves(plot_mask_fractions(runs))
    assert list(found) == ["BYOL, 1 mask", "BYOL, 2 masks"]
    x, y, errors = found["BYOL, 2 masks"]
    pair = [runs[3].scores.linear_probe, runs[4].scores.linear_probe]
    np.testing.assert_allclose(x, [0.25, 0.5])
    np.testing.assert_allclose(y, [runs[1].scores.linear_probe, np.mean(pair)])
    # One run has the error of its probe, two have their standard error.
    expected = [runs[1].scores.linear_probe_error, abs(pair[0] - pair[1]) / 2]
    np.testing.assert_allclose(errors, expected, atol=1e-12)
    texts = {text.get_text() for text in plot_mask_fractions(runs).texts}
    assert texts == {"random encoder", "raw input", "Bayes"}


def test_training_lengths(runs, sequences):
    longer = trained(sequences, steps=8, mask_fraction=0.5, masks=2)
    axes = figure_instance_runs([runs[3], runs[4], longer])
    x, _, _ = curves(axes[0])["BYOL, 50 % x 2"]
    pair = [one.scores.knn for one in (runs[3], runs[4])]
    np.testing.assert_allclose(x, [0.4, 0.8])  # 160 sequences, batches of 16
    ax = plot_training_lengths([runs[3], runs[4], longer], score="knn")
    np.testing.assert_allclose(curves(ax)["BYOL, 50 % x 2"][1], [np.mean(pair), longer.scores.knn])
    assert axes[1].get_xlabel().startswith("wall time")


def test_vectors_and_class_attention(runs, images):
    ax = plot_embeddings(runs[0])
    drawn = np.concatenate([points.get_offsets() for points in ax.collections])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, runs[0].embeddings))
    shown = plot_class_attention(runs[0]).images[0].get_array()
    of_class = runs[0].class_attention[runs[0].labels == 1].mean(axis=0)
    np.testing.assert_allclose(shown[1], 8 * of_class, rtol=1e-6)
    maps = figure_attention_by_class(images)
    of_class = images.class_attention[images.labels == 2].mean(axis=0)
    np.testing.assert_allclose(maps[2].images[0].get_array(), 6 * of_class.reshape(2, 3), rtol=1e-6)
    unknown = replace(runs[0], labels=np.full_like(runs[0].labels, -1))
    assert plot_embeddings(unknown).get_legend().get_texts()[0].get_text() == "unknown"


def test_what_cannot_be_drawn(runs, images):
    with pytest.raises(InputError, match="share their source, got fields mixture, images"):
        plot_mask_fractions([runs[0], images])
    with pytest.raises(InputError, match="no test instance has the label 7"):
        plot_class_attention(images, label=7)
    with pytest.raises(InputError, match="give one file"):
        figure_instance_runs(runs, maps=True)
    with pytest.raises(InputError, match="one of linear_probe, knn"):
        plot_mask_fractions(runs, score="loss")


def test_commands(runs, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, one in (("a", runs[0]), ("b", runs[1]), ("c", images)):
        one.save(f"{name}.h5")
    for number, files in enumerate(("a.h5", "a.h5 b.h5", "c.h5 --maps")):
        assert main(f"plot {files} --out {number}.png".split()) == 0
        assert (tmp_path / f"{number}.png").stat().st_size > 5000
    assert main(["report", "a.h5", "b.h5", "c.h5", "--out", "page.html"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 4
    assert "a.h5: random" in page
    assert main(["cite", "a.h5"]) == 0
    assert "2206.04667" in capsys.readouterr().out
