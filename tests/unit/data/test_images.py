"""Images are read as numbers in [0, 1] and cut into patches without loss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from pottsattn import InputError
from pottsattn.data.images import digits, from_patches, read_images, to_patches


def test_digits_are_scaled_and_labeled():
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert labels.dtype == np.int64
    assert_array_equal(np.unique(labels), np.arange(10))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_patches_are_squares_row_by_row(shape, rng):
    images = rng.random((5, *shape))
    patches = to_patches(images, 2)
    assert patches.shape == (5, 6, 4 * (3 if len(shape) == 3 else 1))
    assert_array_equal(patches[1, 4], images[1, 2:4, 2:4].ravel())  # row 1, column 1 of 2 x 3
    assert_array_equal(from_patches(patches, shape, 2), images)


def test_folder_is_read_in_order_of_names(tmp_path, rng):
    pixels = rng.integers(256, size=(6, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    Image.fromarray(np.full((9, 7), 51, dtype=np.uint8)).save(tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("no image")
    images = read_images(tmp_path, (6, 4), color=True)
    assert images.shape == (2, 6, 4, 3)
    assert_array_equal(images[0], np.full((6, 4, 3), 0.2))
    assert_array_equal(images[1], pixels / 255.0)
    assert read_images(tmp_path, 8).shape == (2, 8, 8)


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        read_images(tmp_path / "absent", 8)
    with pytest.raises(InputError, match="no image in"):
        read_images(tmp_path, 8)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png has more than 8 bits"):
        read_images(tmp_path, 8)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"bad\.png cannot be read"):
        read_images(tmp_path, 8)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="multiples of patch_size = 3, got 8 x 8"):
        to_patches(np.zeros((2, 8, 8)), 3)
    with pytest.raises(InputError, match="images must have shape"):
        to_patches(np.zeros((8, 8)), 2)
    with pytest.raises(InputError, match=r"\(n_images, 16, 4\), got \(2, 16, 5\)"):
        from_patches(np.zeros((2, 16, 5)), (8, 8), 2)


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"bomb\.png cannot be read"):
        read_images(tmp_path, 4)
