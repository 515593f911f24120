"""Patches, clusters and areas: the support of the spatial data.

Every cluster k divides the P patches into disjoint areas, P = union_j P_{k,j} (Huang, Wen, Chi,
Liang, arXiv:2403.02233). Area 0 is the global one; the others are local. All patches of an area
show the same feature with the same strength. Which of the two learns first is told by the
information gap, ln(C_1^2 / (P C_s)) / ln P for a global area of C_1 patches and local ones of C_s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import InputError, check_at_least, check_generator

GLOBAL = 0  # the label of the global area


@dataclass(frozen=True, eq=False)
class PatchAreas:
    """How each cluster divides the patches into areas.

    Parameters
    ----------
    labels
        Area of every patch, integers of shape (n_clusters, n_patches): 0 is the global area, and
        every cluster uses 0..N_k - 1 without a hole, N_k >= 2. Sizes are free.
    grid
        Rows and columns of the image that the patches tile, or None if they lie nowhere.

    Raises
    ------
    InputError
        Labels of another shape, with holes, of a single area, or a grid of another size.
    """

    labels: NDArray[np.int64]
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
            raise InputError(
                "areas must be a 2-d array of integers (n_clusters, n_patches), got shape "
                f"{labels.shape}, dtype {labels.dtype}"
            )
        for cluster, row in enumerate(labels):
            used = np.unique(row)
            if len(used) < 2 or not np.array_equal(used, np.arange(len(used))):
                raise InputError(
                    f"the areas of cluster {cluster} must be numbered 0, 1, ... without a hole, "
                    f"two at least, got {used.tolist()}"
                )
        if self.grid is not None and math.prod(self.grid) != labels.shape[1]:
            raise InputError(
                f"a grid of {self.grid[0]} x {self.grid[1]} has no {labels.shape[1]} patches"
            )
        object.__setattr__(self, "labels", np.ascontiguousarray(labels, dtype=np.int64))

    @classmethod
    def from_images(cls, images: ArrayLike) -> PatchAreas:
        """Return the areas of labeled images (n_clusters, rows, columns), one per cluster.

        Labels are any integers; they are numbered anew, the most frequent one of a cluster first:
        it is the global area.
        """
        array = np.asarray(images)
        if array.ndim != 3 or array.dtype.kind not in "iu":
            raise InputError(
                "labeled images must be integers (n_clusters, rows, columns), got shape "
                f"{array.shape}, dtype {array.dtype}"
            )
        labels = []
        for image in array:
            _, inverse, counts = np.unique(image.ravel(), return_inverse=True, return_counts=True)
            labels.append(np.argsort(np.argsort(-counts, kind="stable"))[inverse])
        return cls(np.array(labels), grid=(array.shape[1], array.shape[2]))

    @property
    def n_clusters(self) -> int:
        """Number of clusters K."""
        return self.labels.shape[0]

    @property
    def n_patches(self) -> int:
        """Number of patches P."""
        return self.labels.shape[1]

    @property
    def n_areas(self) -> int:
        """Largest number of areas of a cluster, N."""
        return int(self.labels.max()) + 1

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Patches of every area, shape (n_clusters, n_areas); 0 where a cluster has fewer."""
        return np.stack([np.bincount(row, minlength=self.n_areas) for row in self.labels])

    @cached_property
    def own_sizes(self) -> NDArray[np.int64]:
        """Size of the area that a patch lies in, shape (n_clusters, n_patches)."""
        return np.take_along_axis(self.sizes, self.labels, axis=1)

    @cached_property
    def is_global(self) -> NDArray[np.bool_]:
        """Whether a patch lies in the global area, shape (n_clusters, n_patches)."""
        return self.labels == GLOBAL

    @property
    def information_gap(self) -> float:
        """Information gap (1 - kappa_s) - 2 (1 - kappa_c), of the mean sizes.

        With C = P^kappa it is ln(C_1^2 / (P C_s)) / ln P.
        """
        local = self.sizes[:, 1:]
        c1, cs = self.sizes[:, GLOBAL].mean(), local[local > 0].mean()
        return float(np.log(c1**2 / (self.n_patches * cs)) / np.log(self.n_patches))

    def __repr__(self) -> str:
        local = self.sizes[:, 1:][self.sizes[:, 1:] > 0]
        sizes = f"{local.min()}" if local.min() == local.max() else f"{local.min()}..{local.max()}"
        return (
            f"PatchAreas(n_clusters={self.n_clusters}, n_patches={self.n_patches}, "
            f"global of {int(self.sizes[:, GLOBAL].mean())}, local of {sizes}, "
            f"gap={self.information_gap:+.2f})"
        )


def random_areas(
    n_patches: int,
    global_area: int,
    local_area: int,
    *,
    n_clusters: int = 2,
    rng: np.random.Generator | int | None = None,
) -> PatchAreas:
    """Return random areas, drawn anew for every cluster.

    Parameters
    ----------
    n_patches
        Number of patches P.
    global_area, local_area
        Patches of the global area and of every local one; P - global_area must be a multiple of
        local_area.
    n_clusters
        Number of clusters K.
    rng
        Seed or generator.

    Raises
    ------
    InputError
        Sizes that do not divide the patches.

    Examples
    --------
    >>> random_areas(36, 18, 3, rng=0)
    PatchAreas(n_clusters=2, n_patches=36, global of 18, local of 3, gap=+0.31)
    """
    generator = check_generator(rng)
    ordered = _ordered_labels(n_patches, global_area, local_area)
    n = check_at_least("clusters", n_clusters, 1)
    return PatchAreas(np.stack([generator.permutation(ordered) for _ in range(n)]))


def grid_areas(
    rows: int,
    columns: int,
    global_area: int,
    local_area: int,
    *,
    n_clusters: int = 2,
    rng: np.random.Generator | int | None = None,
) -> PatchAreas:
    """Return areas that are connected pieces of an image of `rows` x `columns` patches.

    Every cluster walks over the image like an ox that plows, from a random corner, by rows or by
    columns, and cuts the way into areas in a random order.

    Parameters and errors are those of `random_areas`.
    """
    generator = check_generator(rng)
    _ordered_labels(rows * columns, global_area, local_area)
    n_local = (rows * columns - global_area) // local_area
    labels = []
    for _ in range(check_at_least("clusters", n_clusters, 1)):
        pieces = [np.full(global_area, GLOBAL)]
        pieces += [np.full(local_area, j) for j in range(1, n_local + 1)]
        way = np.concatenate([pieces[j] for j in generator.permutation(len(pieces))])
        by_columns = generator.random() < 0.5
        image = way.reshape((columns, rows) if by_columns else (rows, columns)).copy()
        image[1::2] = image[1::2, ::-1]
        image = image.T if by_columns else image
        flips = tuple(axis for axis in (0, 1) if generator.random() < 0.5)
        labels.append(np.flip(image, flips).ravel())
    return PatchAreas(np.stack(labels), grid=(rows, columns))


def _ordered_labels(n_patches: int, global_area: int, local_area: int) -> NDArray[np.int64]:
    check_at_least("patches", n_patches, 2)
    check_at_least("global_area", global_area, 1)
    check_at_least("local_area", local_area, 1)
    rest = n_patches - global_area
    if rest < local_area:
        raise InputError(
            f"a global area of {global_area} and local ones of {local_area} do not fit into "
            f"{n_patches} patches"
        )
    if rest % local_area:
        fitting = [size for size in range(1, rest + 1) if rest % size == 0]
        close = min(fitting, key=lambda size: abs(size - local_area))
        raise InputError(
            f"{n_patches} patches less a global area of {global_area} leave {rest}, which local "
            f"areas of {local_area} do not divide; the closest size that does is {close}"
        )
    local = 1 + np.repeat(np.arange(rest // local_area), local_area)
    return np.concatenate([np.full(global_area, GLOBAL), local])
