"""Instances for a run: unlabeled ones to train on, labeled ones for the probes, from any source."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.foreign import read_npz
from pottsattn._core.validate import InputError, check_at_least, check_choice, check_generator
from pottsattn.data.images import digits, read_images, to_patches
from pottsattn.instances.mixtures import PottsMixture, field_mixture, gauge_mixture

MIXTURES = {"fields": field_mixture, "gauge": gauge_mixture}
PROBE_TRAIN, PROBE_TEST = 3000, 1000  # labeled instances, where there are so many
ARRAYS = ("sequences", "images", "patches")
Rng = np.random.Generator | int | None


@one_line
@dataclass(frozen=True, eq=False)
class InstanceData:
    """What an encoder is trained on and judged by.

    Attributes
    ----------
    name : str
        Of the source.
    train : uint8 (M, L) or float64 (M, n_tokens, patch_dim)
        Training instances: states, or patches with mean 0 and standard deviation 1 over all.
    train_labels : int64 (M,) or None
        Their classes, which only a supervised encoder is told.
    probed : as `train`
        Labeled instances: the first `n_probe_train` train the probes, the others judge.
    labels : int64 or None
        Their classes from 0.
    n_states : int or None
        C of sequences.
    grid : tuple of int or None
        Rows and columns of the patches, where they are not a square.
    mixture : PottsMixture or None
        The truth, if known.
    """

    name: str
    train: NDArray[Any]
    train_labels: NDArray[np.int64] | None
    probed: NDArray[Any]
    labels: NDArray[np.int64] | None
    n_probe_train: int
    n_states: int | None = None
    grid: tuple[int, int] | None = None
    mixture: PottsMixture | None = None

    @property
    def n_tokens(self) -> int:
        """Sites or patches of an instance."""
        return int(self.train.shape[1])

    @property
    def patch_dim(self) -> int | None:
        """Numbers in a patch; None for sequences."""
        return int(self.train.shape[2]) if self.train.ndim == 3 else None

    @property
    def n_classes(self) -> int:
        """Number of classes, K; 0 where labels are unknown."""
        return 0 if self.labels is None else int(self.labels.max()) + 1


def mixture_data(
    kind: str,
    n_classes: int,
    length: int,
    n_states: int,
    *,
    n_sequences: int = 10000,
    rng: Rng = None,
    n_threads: int | None = None,
    **parameters: Any,
) -> InstanceData:
    """Return sequences of a new mixture of Potts models.

    Parameters
    ----------
    kind
        "fields" or "gauge": `pottsattn.instances.mixtures.field_mixture` or `gauge_mixture`.
    n_classes, length, n_states, parameters
        Of the mixture.
    n_sequences
        To train on; 4000 more are drawn for the probes.
    rng
        Generator or seed.
    """
    make = MIXTURES[check_choice("mixture", kind, tuple(MIXTURES))]
    check_at_least("sequences", n_sequences, 2)
    generator = check_generator(rng)
    mixture = make(n_classes, length, n_states, rng=generator, n_threads=n_threads, **parameters)
    train = mixture.draw(n_sequences, generator, n_threads=n_threads)
    probed = mixture.draw(PROBE_TRAIN + PROBE_TEST, generator, n_threads=n_threads)
    return InstanceData(
        f"{kind} mixture",
        train.sequences,
        train.labels,
        probed.sequences,
        probed.labels,
        PROBE_TRAIN,
        n_states,
        mixture=mixture,
    )


def digit_data(patch_size: int = 2, rng: Rng = None) -> InstanceData:
    """Return scikit-learn's 1797 handwritten digits cut into square patches."""
    images, labels = digits()
    return _split("digits", *_cut(images, patch_size), labels, None, rng)


def read_data(
    path: str | os.PathLike[str], *, patch_size: int = 2, image_size: int = 16, rng: Rng = None
) -> InstanceData:
    """Return the instances in a .npz file or in a folder of images.

    Parameters
    ----------
    path
        A .npz file with `sequences` (M, L) of integers, `images` (M, height, width[, channels]) or
        `patches` (M, n_tokens, patch_dim), and optionally `labels` (M,) of integers. Or a folder
        with .png or .jpg files; folders within are its classes, if it has any.
    patch_size
        Side of the patches that images are cut into.
    image_size
        Side that the images of a folder are resized to.
    rng
        Chooses the quarter of the instances, 1000 at most, that judges the probes.

    Raises
    ------
    InputError
        The source cannot be read, holds something else, or fewer than 8 instances.
    """
    source = Path(path)
    if source.is_dir():
        images, labels = _read_folder(source, image_size)
        return _split(source.name, *_cut(images, patch_size), labels, None, rng)
    arrays = read_npz(source)
    given = [name for name in ARRAYS if name in arrays]
    if len(given) != 1:
        raise InputError(f"{path} must hold one of {', '.join(ARRAYS)}, found {sorted(arrays)}")
    values, labels = arrays[given[0]], arrays.get("labels")
    if given[0] == "images":
        return _split(source.name, *_cut(values, patch_size), labels, None, rng)
    if given[0] == "patches":
        return _split(source.name, _numbers(values, 3), None, labels, None, rng)
    if values.ndim != 2 or values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0:
        raise InputError(
            f"sequences in {path} must be integers from 0 of shape (M, L), got shape "
            f"{values.shape}, dtype {values.dtype}"
        )
    return _split(source.name, values, None, labels, max(2, int(values.max()) + 1), rng)


def _read_folder(source: Path, size: int) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    folders = sorted(one for one in source.iterdir() if one.is_dir())
    if not folders:
        return read_images(source, size), None
    parts = [read_images(one, size) for one in folders]
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts), labels


def _cut(images: NDArray[Any], patch_size: int) -> tuple[NDArray[Any], tuple[int, int]]:
    patches = to_patches(images, patch_size)
    return _numbers(patches, 3), (images.shape[1] // patch_size, images.shape[2] // patch_size)


def _numbers(values: NDArray[Any], ndim: int) -> NDArray[np.float64]:
    if values.ndim != ndim or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(
            f"patches must be finite numbers of shape (M, n_tokens, patch_dim), got shape "
            f"{values.shape}, dtype {values.dtype}"
        )
    return values.astype(np.float64)


def _split(
    name: str,
    values: NDArray[Any],
    grid: tuple[int, int] | None,
    labels: NDArray[Any] | None,
    n_states: int | None,
    rng: Rng,
) -> InstanceData:
    """Keep a quarter for judging; the others train the encoder, and the probes by their labels."""
    n = len(values)
    if n < 8:
        raise InputError(f"{name} holds {n} instances, expected at least 8")
    if labels is not None:
        if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0:
            raise InputError(
                f"labels must be integers from 0 of shape ({n},), got shape {labels.shape}, "
                f"dtype {labels.dtype}"
            )
        labels = labels.astype(np.int64)
    order = check_generator(rng).permutation(n)
    n_test = min(PROBE_TEST, n // 4)
    test, train = order[:n_test], order[n_test:]
    if n_states is None:
        values = (values - values[train].mean()) / max(values[train].std(), 1e-12)
    probed = np.concatenate([train[:PROBE_TRAIN], test])
    return InstanceData(
        name,
        values[train],
        None if labels is None else labels[train],
        values[probed],
        None if labels is None else labels[probed],
        len(probed) - n_test,
        n_states,
        grid,
    )
