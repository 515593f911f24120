"""Images as arrays in [0, 1], and images as grids of patches.

An image of height H, width W and n_channels is cut into square patches of side s, row by row:
patch p = (H / s row) + column holds s * s * n_channels numbers, pixels row by row, channels last.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_at_least

Array = NDArray[np.float64]
SUFFIXES = (".png", ".jpg", ".jpeg")


def digits() -> tuple[Array, NDArray[np.int64]]:
    """Return the handwritten digits that come with scikit-learn, and their labels.

    Returns
    -------
    images : ndarray, shape (1797, 8, 8)
        In [0, 1], in steps of 1 / 16.
    labels : ndarray of int64, shape (1797,)
        0 to 9.

    References
    ----------
    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998).
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images / 16.0, data.target.astype(np.int64)


def read_images(
    folder: str | os.PathLike[str], size: int | tuple[int, int], *, color: bool = False
) -> Array:
    """Return the .png and .jpg images of a folder, in the order of their names.

    Parameters
    ----------
    folder
        Its own files only, not those of folders within.
    size
        Side, or height and width, that images are resized to, whatever their proportions.
    color
        Red, green and blue; gray if left out. Transparency is dropped.

    Returns
    -------
    ndarray, shape (n_images, height, width) or (n_images, height, width, 3)
        In [0, 1].

    Raises
    ------
    InputError
        No such folder, no image in it, or one that cannot be read or has more than 8 bits.
    """
    from PIL import Image, ImageOps

    height, width = size if isinstance(size, tuple) else (size, size)
    check_at_least("height of the images", height, 1)
    check_at_least("width of the images", width, 1)
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is not a folder; expected one with .png or .jpg images")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"no image in {folder}; expected files *{', *'.join(SUFFIXES)}")
    images = []
    for path in paths:
        try:
            with Image.open(path) as file:
                if file.mode[0] in "IF":
                    raise InputError(
                        f"{path} has more than 8 bits per pixel (mode {file.mode}); convert it "
                        "to 8 bits, gray or RGB"
                    )
                upright = ImageOps.exif_transpose(file).convert("RGB" if color else "L")
                resized = upright.resize((width, height), Image.Resampling.LANCZOS)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} cannot be read as an image: {error}; remove it") from error
        images.append(np.asarray(resized, dtype=np.float64) / 255.0)
    return np.stack(images)


def to_patches(images: Array, patch_size: int) -> Array:
    """Return images cut into patches, shape (n_images, n_patches, patch_dim).

    Parameters
    ----------
    images : ndarray, shape (n_images, height, width) or (n_images, height, width, n_channels)
    patch_size
        Side of the square patches in pixels; height and width are multiples of it.

    Raises
    ------
    InputError
        Another shape, or sides that are no multiples.
    """
    images = np.asarray(images, dtype=np.float64)
    if images.ndim not in (3, 4):
        raise InputError(
            "images must have shape (n_images, height, width) or (n_images, height, width, "
            f"n_channels), got {images.shape}"
        )
    n_rows, n_columns, n_channels = _grid(images.shape[1:], patch_size)
    cut = images.reshape(len(images), n_rows, patch_size, n_columns, patch_size, n_channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(len(images), n_rows * n_columns, -1)


def from_patches(patches: Array, shape: tuple[int, ...], patch_size: int) -> Array:
    """Return the images that `to_patches` has cut.

    Parameters
    ----------
    patches : ndarray, shape (n_images, n_patches, patch_dim)
    shape
        Of one image: (height, width) or (height, width, n_channels).
    patch_size
        Side of the patches in pixels.

    Returns
    -------
    ndarray, shape (n_images, *shape)

    Raises
    ------
    InputError
        The patches are not those of such images.
    """
    patches = np.asarray(patches, dtype=np.float64)
    if len(shape) not in (2, 3):
        raise InputError(f"shape must be (height, width) or with n_channels, got {shape}")
    n_rows, n_columns, n_channels = _grid(shape, patch_size)
    expected = (n_rows * n_columns, patch_size**2 * n_channels)
    if patches.ndim != 3 or patches.shape[1:] != expected:
        raise InputError(
            f"patches of side {patch_size} of images {shape} must have shape (n_images, "
            f"{expected[0]}, {expected[1]}), got {patches.shape}"
        )
    cut = patches.reshape(len(patches), n_rows, n_columns, patch_size, patch_size, n_channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(len(patches), *shape)


def _grid(shape: tuple[int, ...], patch_size: int) -> tuple[int, int, int]:
    """Return rows and columns of patches and the number of channels of an image."""
    check_at_least("patch_size", patch_size, 1)
    height, width = shape[:2]
    if height % patch_size or width % patch_size or min(height, width) < 1:
        raise InputError(
            f"height and width must be multiples of patch_size = {patch_size}, got "
            f"{height} x {width}; crop or resize the images"
        )
    return height // patch_size, width // patch_size, shape[2] if len(shape) == 3 else 1
