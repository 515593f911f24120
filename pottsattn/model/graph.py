"""Interactions held as neighbor lists, for models whose sites have few neighbors each.

A_ij is kept for the ordered pairs (i, j) where some head is not zero, row by row, so that memory
grows with the number of pairs instead of L^2: a 256 x 256 lattice takes a few megabytes. Pairs are
also read from text files, one `i j [strength]` a line.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import one_line
from pottsattn._core.foreign import text_lines
from pottsattn._core.validate import InputError, check_at_least

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
PAIRS_BLOCK = 1 << 20  # pairs times sequences looked up at once: 8 MB of indices
MAX_SITE = 2**31 - 1  # of a file: a slip of the pen must not ask for all memory there is


@one_line
@dataclass(frozen=True, eq=False)
class NeighborLists:
    """The interactions of every site with its neighbors, for all heads together.

    Entries starts[i] .. starts[i + 1] - 1 belong to site i: `neighbors` holds the sites j, in
    ascending order, and `interactions` A^h_ij. A pair has two entries, (i, j) and (j, i), which
    may differ. Pairs that are zero in every head are left out.

    Attributes
    ----------
    starts : int64 array, shape (length + 1,)
    neighbors : int64 array, shape (n_entries,)
    interactions : float64 array, shape (n_heads, n_entries)
    """

    starts: Indices
    neighbors: Indices
    interactions: Array

    @classmethod
    def from_dense(cls, interactions: Array) -> NeighborLists:
        """Return the lists of interactions (H, L, L)."""
        sites, neighbors = np.nonzero((interactions != 0.0).any(axis=0))
        starts = _starts(interactions.shape[1], sites)
        return cls(starts, neighbors.astype(np.int64), interactions[:, sites, neighbors])

    @classmethod
    def from_entries(
        cls, length: int, sites: Indices, neighbors: Indices, interactions: Array
    ) -> NeighborLists:
        """Return the lists of A^h_ij given entry by entry, in any order; repeated ones add up.

        Parameters
        ----------
        length
            L; `sites` and `neighbors` are 0..L-1.
        sites, neighbors : shape (n_entries,)
            i and j.
        interactions : shape (n_heads, n_entries)
        """
        keys = sites * length + neighbors
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        totals = np.add.reduceat(interactions[:, order], first, axis=1)
        kept = totals.any(axis=0)
        keys = keys[first][kept]
        return cls(_starts(length, keys // length), keys % length, totals[:, kept])

    @classmethod
    def from_pairs(
        cls, length: int, edges: Indices, forward: Array, backward: Array
    ) -> NeighborLists:
        """Return the lists of pairs (i, j) given once each; repeated ones add up.

        Parameters
        ----------
        length
            L.
        edges : shape (n_pairs, 2)
            i and j.
        forward, backward : shape (n_heads, n_pairs)
            A^h_ij and A^h_ji.
        """
        sites, neighbors = np.concatenate([edges, edges[:, ::-1]]).T
        both = np.concatenate([forward, backward], axis=1)
        return cls.from_entries(length, sites, neighbors, both)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return len(self.starts) - 1

    @property
    def n_heads(self) -> int:
        """Number of heads, H."""
        return len(self.interactions)

    def sites(self) -> Indices:
        """Return the site i of every entry, shape (n_entries,), ascending."""
        return np.repeat(np.arange(self.length), np.diff(self.starts))

    def pairs(self) -> tuple[Indices, Array]:
        """Return the pairs i < j, shape (n_pairs, 2), and (A_ij, A_ji), (2, n_heads, n_pairs)."""
        both = self.stacked(self.transposed())
        sites = both.sites()
        upper = sites < both.neighbors
        edges = np.stack([sites[upper], both.neighbors[upper]], axis=1)
        return edges, both.interactions[:, upper].reshape(2, self.n_heads, len(edges))

    def to_dense(self) -> Array:
        """Return the interactions as one array (H, L, L)."""
        dense = np.zeros((self.n_heads, self.length, self.length))
        dense[:, self.sites(), self.neighbors] = self.interactions
        return dense

    def row(self, site: int) -> Array:
        """Return A^h_ij of one site i, shape (H, L)."""
        row = np.zeros((self.n_heads, self.length))
        entries = slice(self.starts[site], self.starts[site + 1])
        row[:, self.neighbors[entries]] = self.interactions[:, entries]
        return row

    def row_sums(self) -> Array:
        """Return sum_j A^h_ij, shape (H, L)."""
        sites = self.sites()
        return np.stack([np.bincount(sites, head, self.length) for head in self.interactions])

    def diagonal(self) -> Array:
        """Return A^h_ii, shape (H, L); zero in a model."""
        sites = self.sites()
        own = sites == self.neighbors
        diagonal = np.zeros((self.n_heads, self.length))
        diagonal[:, sites[own]] = self.interactions[:, own]
        return diagonal

    def matrices(self) -> list[Any]:
        """Return one scipy.sparse.csr_array (L, L) per head, which share memory with the lists."""
        from scipy.sparse import csr_array

        shape = (self.length, self.length)
        return [csr_array((head, self.neighbors, self.starts), shape) for head in self.interactions]

    def scaled(self, factor: float) -> NeighborLists:
        """Return the lists of factor * A."""
        interactions = factor * self.interactions
        return NeighborLists.from_entries(self.length, self.sites(), self.neighbors, interactions)

    def transposed(self) -> NeighborLists:
        """Return the lists of A^h_ji."""
        return NeighborLists.from_entries(
            self.length, self.neighbors, self.sites(), self.interactions
        )

    def symmetrized(self) -> NeighborLists:
        """Return the lists of (A^h_ij + A^h_ji) / 2."""
        both = self.stacked(self.transposed())
        half = both.interactions.reshape(2, self.n_heads, -1).sum(axis=0) / 2.0
        return NeighborLists.from_entries(self.length, both.sites(), both.neighbors, half)

    def stacked(self, other: NeighborLists) -> NeighborLists:
        """Return the lists of the heads of `self`, then those of `other`."""
        own, more = self.interactions, other.interactions
        blocks = [
            [own, np.zeros((len(own), more.shape[1]))],
            [np.zeros((len(more), own.shape[1])), more],
        ]
        return NeighborLists.from_entries(
            self.length,
            np.concatenate([self.sites(), other.sites()]),
            np.concatenate([self.neighbors, other.neighbors]),
            np.block(blocks),
        )

    def pair_sums(self, color_similarity: Array, sequences: NDArray[np.uint8]) -> Array:
        """Return sum_{i<j} sum_h A^h_ij U^h(s_i, s_j), shape (n_sequences,); U is (H, C, C)."""
        sites = self.sites()
        upper = sites < self.neighbors
        first, second, weights = sites[upper], self.neighbors[upper], self.interactions[:, upper]
        sums = np.zeros(len(sequences))
        step = max(1, PAIRS_BLOCK // max(1, len(first)))
        for start in range(0, len(sequences), step):
            states = sequences[start : start + step].astype(np.intp)
            index = states[:, first] * color_similarity.shape[1] + states[:, second]  # (M, pairs)
            for head, similarity in zip(weights, color_similarity, strict=True):
                sums[start : start + step] += np.take(similarity, index) @ head
        return sums

    def gram(self, other: NeighborLists | Array) -> Array:
        """Return sum_ij A^h_ij B^g_ij with other lists or an array, shape (H, heads of B)."""
        if not isinstance(other, NeighborLists):
            return self.interactions @ other[:, self.sites(), self.neighbors].T
        keys = [lists.sites() * self.length + lists.neighbors for lists in (self, other)]
        _, own, others = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
        return self.interactions[:, own] @ other.interactions[:, others].T


def _starts(length: int, sites: Indices) -> Indices:
    counts = np.bincount(sites, minlength=length)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def check_edges(edges: ArrayLike, length: int | None = None) -> tuple[Indices, int]:
    """Return pairs of sites as int64 (n_edges, 2), and the length: largest site + 1 if not given.

    Raises
    ------
    InputError
        Wrong shape, a site out of range, a site joined with itself, a pair given twice, or no
        length and sites that count from 1.
    """
    array = np.asarray(edges)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise InputError(
            "edges must be an array of integers of shape (n_edges, 2), "
            f"got shape {array.shape}, dtype {array.dtype}"
        )
    if length is None:
        if len(array) == 0:
            raise InputError("edges is empty: give length, the number of sites")
        if array.min() > 0:
            raise InputError(
                f"edges join sites {array.min()}..{array.max()}, but sites count from 0; subtract "
                f"{array.min()} from all, or give `length` if site 0 has no edge"
            )
        length = int(array.max()) + 1
    check_at_least("length", length, 2)
    outside = ((array < 0) | (array >= length)).any(axis=1)
    if outside.any():
        raise InputError(
            f"edges must join sites 0..{length - 1}, found {_name(array, outside.argmax())}"
        )
    array = array.astype(np.int64)
    loops = array[:, 0] == array[:, 1]
    if loops.any():
        raise InputError(
            f"edges must join two sites, found {_name(array, loops.argmax())}; leave it out"
        )
    keys = array.min(axis=1) * length + array.max(axis=1)
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(again):
        first, second = order[again[0]], order[again[0] + 1]
        raise InputError(
            "edges must name every pair once, in either order; found "
            f"{_name(array, first)} and {_name(array, second)}"
        )
    return array, length


def _name(edges: NDArray[Any], index: Any) -> str:
    first, second = edges[index].tolist()
    return f"edge {index}: ({first}, {second})"


def read_edges(path: str | os.PathLike[str]) -> tuple[Indices, Array]:
    """Return the pairs of a text file, int64 (n_edges, 2), and their strengths, (n_edges,).

    A line is `i j` or `i j strength`, separated by blanks, tabs or commas. Sites count from 0,
    a missing strength is 1, and what follows a # is a comment. The file may be gzip-compressed.

    Raises
    ------
    InputError
        The file cannot be read, or a line of it, which is named.
    """
    edges, strengths = [], []
    lines: dict[tuple[int, int], int] = {}  # of every pair seen
    for number, line in enumerate(text_lines(path), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        where = f"{path}, line {number}"
        first, second, strength = _parse(words, where)
        if first == second:
            raise InputError(f"{where}: site {first} is joined with itself; leave the line out")
        pair = (min(first, second), max(first, second))
        if pair in lines:
            raise InputError(
                f"{where}: the pair {pair[0]} {pair[1]} is already in line {lines[pair]}; "
                "give every pair once, in either order"
            )
        lines[pair] = number
        edges.append((first, second))
        strengths.append(strength)
    if not edges:
        raise InputError(f"{path} holds no pair of sites, expected lines `i j [strength]`")
    return np.array(edges, dtype=np.int64), np.array(strengths)


def _parse(words: list[str], where: str) -> tuple[int, int, float]:
    try:
        first, second, strength = int(words[0]), int(words[1]), float((words[2:] or ["1"])[0])
    except (IndexError, ValueError):
        strength = math.nan
    if len(words) > 3 or not math.isfinite(strength):
        raise InputError(
            f"{where}: expected two sites and possibly a strength, `i j [strength]`, "
            f"got {' '.join(words)[:60]!r}"
        )
    if not 0 <= min(first, second) <= max(first, second) <= MAX_SITE:
        raise InputError(f"{where}: sites count from 0 to at most {MAX_SITE}, got {first} {second}")
    return first, second, strength
