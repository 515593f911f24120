"""One attention layer on real images: local by masked autoencoding, not by contrastive learning."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn._core.checkpoint import CheckpointFile
from pottsattn.data.images import digits
from pottsattn.figures.images import figure_image_attention, plot_image_attention
from pottsattn.figures.style import save_figure
from pottsattn.spatial.image_training import train_on_images
from pottsattn.spatial.layer import contrastive_loss
from pottsattn.spatial.recipe import ImageRecipe

SHORT = ImageRecipe(max_steps=80, learning_rate=6.4, batch_size=32)


@pytest.fixture(scope="module")
def images():
    return digits()[0]


@pytest.fixture(scope="module")
def masked(images):
    return train_on_images(images, SHORT, rng=1)


def test_masked_autoencoding_looks_at_neighbors(masked):
    """Far from converged, it beats the mean image; the same layer at the start does not."""
    assert masked.attention.shape == (64, 64)
    assert_allclose(masked.attention.sum(axis=1), 1.0)
    assert masked.reconstruction_error < 0.9
    assert masked.visible_mean_error > 1.0
    assert masked.attention_distance < 0.9 * masked.uniform_distance
    assert masked.neighbor_attention > 0.2  # 0.103 if uniform
    assert masked.diversity > 0.5
    assert masked.map_diversity > 0.5
    assert not masked.converged
    assert masked.message.startswith("the loss fell by ")
    assert masked.message.endswith("; raise the steps")


def test_neighbors_are_of_pixels_not_of_their_order(images, masked):
    """The same images with shuffled pixels: nothing is near any more."""
    order = np.random.default_rng(0).permutation(64)
    shuffled = images.reshape(-1, 64)[:, order].reshape(-1, 8, 8)
    found = train_on_images(shuffled, SHORT, rng=1)
    assert found.reconstruction_error < 0.9
    assert found.neighbor_attention < 0.15
    assert masked.neighbor_attention > found.neighbor_attention + 0.1


def test_contrastive_queries_stay_alike_from_zero_only(images):
    """The loss is the same for all queries: it is the start that breaks the symmetry."""
    recipe = ImageRecipe("contrastive", patch_size=2, max_steps=200)
    zero = train_on_images(images, recipe, rng=2)
    assert np.abs(zero.attention - zero.attention[0]).max() < 1e-9
    assert np.abs(zero.attention[0] - 1.0 / 16.0).max() > 1e-3
    assert abs(zero.diversity) < 1e-9
    random = train_on_images(images, replace(recipe, start_scale=0.03), rng=2)
    assert random.diversity > 0.05


def test_runs_repeat(images):
    recipe = ImageRecipe(patch_size=2, max_steps=5)
    first, second = (train_on_images(images, recipe, rng=3) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert first.diversity == second.diversity


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_a_killed_training_goes_on_to_the_same_bits(images, objective, tmp_path, monkeypatch):
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", math.inf)
    recipe = ImageRecipe(objective, patch_size=2, max_steps=6, start_scale=0.1)
    whole, path = train_on_images(images, recipe, rng=3), tmp_path / "run.h5"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 4:
            raise KilledError

    every = CheckpointFile(path, seconds=0.0)
    with pytest.raises(KilledError):
        train_on_images(images, recipe, rng=3, checkpoint=every, progress=kill)
    with pytest.raises(InputError, match=r"seed: .* there, .* here"):
        train_on_images(images, recipe, rng=4, checkpoint=path)
    seen = []
    again = train_on_images(
        images, recipe, rng=3, checkpoint=path, progress=lambda *at: seen.append(at)
    )
    assert seen == [(4, 6), (5, 6), (6, 6)]
    assert np.array_equal(again.weights, whole.weights)
    assert np.array_equal(again.losses, whole.losses)
    assert again.reconstruction_error == whole.reconstruction_error
    assert list(tmp_path.iterdir()) == []


def test_bad_ends_are_told(images):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    recipe = ImageRecipe(patch_size=2, max_steps=9)
    stopped = train_on_images(images, recipe, rng=0, progress=stop)
    assert len(stopped.losses) == 3
    assert stopped.message == "interrupted at step 3 of 9"
    diverged = train_on_images(images, replace(recipe, learning_rate=1e308), rng=0)
    assert not diverged.converged
    assert "lower the learning rate" in diverged.message
    assert np.isnan(diverged.reconstruction_error)


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_a_training_that_did_not_move_has_not_converged(images, objective):
    """Its losses were flat to a part in a hundred, which had been enough."""
    recipe = ImageRecipe(objective, patch_size=2, max_steps=200, learning_rate=1e-8)
    found = train_on_images(images, recipe, rng=0)
    assert not found.converged
    assert "is not below that of the start" in found.message


def test_a_second_ctrl_c_does_not_return_half_a_step(images, monkeypatch):
    recipe, calls = ImageRecipe("contrastive", patch_size=2, max_steps=9), []

    def press_twice(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return contrastive_loss(*arguments)

    monkeypatch.setattr("pottsattn.spatial.image_training.contrastive_loss", press_twice)
    stopped = train_on_images(images, recipe, rng=0)
    assert stopped.message == "interrupted at step 3 of 9"
    assert len(stopped.losses) == 3


def test_wrong_input_is_refused(images):
    with pytest.raises(InputError, match="differ from one another"):
        train_on_images(np.ones((9, 4, 4)))
    with pytest.raises(InputError, match="at least 4 images"):
        train_on_images(images[:3])
    with pytest.raises(InputError, match="at least 2 patches"):
        train_on_images(images, ImageRecipe(patch_size=8))
    with pytest.raises(InputError, match="did you mean contrastive"):
        ImageRecipe("contrast")
    with pytest.raises(InputError, match="batch_size must be at least 2"):
        ImageRecipe(batch_size=1)


def test_maps_are_drawn_in_one_scale(masked, tmp_path):
    axes = figure_image_attention({"one": masked, "other": masked}, queries=[0, 27])
    assert len(axes) == 4
    assert axes[2].get_ylabel() == "other"
    assert {ax.images[0].norm.vmax for ax in axes} == {axes[0].images[0].norm.vmax}
    assert_allclose(axes[1].images[0].get_array(), 64 * masked.attention[27].reshape(8, 8))
    save_figure(axes[0], tmp_path / "maps.png")
    with pytest.raises(InputError, match="query must be 0 to 63, got 64"):
        plot_image_attention(masked, 64)
    with pytest.raises(InputError, match="of one grid"):
        figure_image_attention({})
