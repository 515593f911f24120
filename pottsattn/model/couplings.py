"""Plain-array operations on fields and couplings: logits, gauges, norms, scores.

Two forms of one object, J_ij(a, b) for ordered pairs of sites (i, j):

- dense: `couplings` (L, L, C, C), indexed [i, j, a, b];
- factored: `interactions` A (H, L, L) and `color_similarity` U (H, C, C) with
  J_ij(a, b) = sum_h A^h_ij U^h_ab (Rende et al., Phys. Rev. Research 6, 023057, 2024); A is an
  array, or neighbor lists where sites have few neighbors each (`pottsattn.model.graph`).

Row i belongs to site i: logit_i(a) = h_i(a) + sum_{j != i} J_ij(a, s_j). Rows of a fitted model
need not be symmetric, J_ij(a, b) != J_ji(b, a); every function here allows that. Diagonal blocks
are zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn.model.graph import NeighborLists

Array = NDArray[np.float64]
LOGITS_BLOCK = 1 << 22  # numbers per block of sequences: 32 MB of float64 work space


@one_line
@dataclass(frozen=True, eq=False)
class Couplings:
    """J_ij(a, b) in whichever form it is held: `dense`, or `interactions` and `color_similarity`.

    The factored form never builds the (L, L, C, C) tensor unless `to_dense` is called, the sparse
    one no (L, L) array unless `factors` or `to_dense` is.
    """

    interactions: Array | NeighborLists | None = None  # (H, L, L)
    color_similarity: Array | None = None  # (H, C, C)
    dense: Array | None = None  # (L, L, C, C)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        if self.dense is not None:
            return self.dense.shape[1]
        interactions, _ = self._held()
        if isinstance(interactions, NeighborLists):
            return interactions.length
        return interactions.shape[1]

    @property
    def n_states(self) -> int:
        """Number of states (colors), C."""
        array = self.color_similarity if self.dense is None else self.dense
        assert array is not None
        return array.shape[-1]

    @property
    def is_factored(self) -> bool:
        """Whether J is held as `interactions` and `color_similarity`."""
        return self.dense is None

    @property
    def is_sparse(self) -> bool:
        """Whether J is factored and its `interactions` are held as neighbor lists."""
        return self.dense is None and isinstance(self.interactions, NeighborLists)

    @property
    def n_heads(self) -> int:
        """Number of heads of a factored J, H."""
        return len(self._held()[1])

    def factors(self) -> tuple[Array, Array]:
        """Return (`interactions`, `color_similarity`) of a factored J, as arrays."""
        interactions, color_similarity = self._held()
        if isinstance(interactions, NeighborLists):
            interactions = interactions.to_dense()
        return interactions, color_similarity

    def neighbor_lists(self) -> NeighborLists:
        """Return the interactions of a factored J as lists of neighbors, all heads together."""
        interactions, _ = self._held()
        if isinstance(interactions, NeighborLists):
            return interactions
        return NeighborLists.from_dense(interactions)

    def equals(self, other: Couplings) -> bool:
        """Return whether others are of the same form, dense or factored, and hold the same numbers.

        Interactions may be an array here and neighbor lists there.
        """
        if self.dense is not None or other.dense is not None:
            both = self.dense is not None and other.dense is not None
            return both and np.array_equal(self.dense, other.dense)  # type: ignore[arg-type]
        (_, own_colors), (_, other_colors) = self._held(), other._held()
        if self.length != other.length or not np.array_equal(own_colors, other_colors):
            return False
        own, others = self.neighbor_lists(), other.neighbor_lists()
        return (
            np.array_equal(own.starts, others.starts)
            and np.array_equal(own.neighbors, others.neighbors)
            and np.array_equal(own.interactions, others.interactions)
        )

    def _held(self) -> tuple[Array | NeighborLists, Array]:
        if self.interactions is None or self.color_similarity is None:
            raise TypeError("these couplings are dense: they have no interactions")
        return self.interactions, self.color_similarity

    def row(self, site: int) -> Array:
        """Return J_ij(a, b) of one site i, shape (L, C, C)."""
        if self.dense is not None:
            return self.dense[site]
        a, color_similarity = self._held()
        row = a.row(site) if isinstance(a, NeighborLists) else a[:, site]  # (H, L)
        return np.einsum("hj,hab->jab", row, color_similarity)

    def diagonal(self) -> Array:
        """Return J_ii(a, b), shape (L, C, C), which is zero in a model and in a fit."""
        if self.dense is not None:
            sites = np.arange(self.length)
            return self.dense[sites, sites]
        a, color_similarity = self._held()
        own = a.diagonal() if isinstance(a, NeighborLists) else np.einsum("hii->hi", a)
        return np.einsum("hi,hab->iab", own, color_similarity)

    def symmetrized_row(self, site: int) -> Array:
        """Return (J_ij(a, b) + J_ji(b, a)) / 2 of one site i, shape (L, C, C)."""
        return (self.row(site) + self.transposed().row(site)) / 2.0

    def rows(self) -> Iterator[Array]:
        """Yield the rows of sites 0..L-1, each (L, C, C), so that memory stays L C^2."""
        return (self.row(site) for site in range(self.length))

    def to_dense(self) -> Array:
        """Return J as one array (L, L, C, C)."""
        return self.dense if self.dense is not None else np.stack(list(self.rows()))

    def logits(self, sequences: NDArray[np.uint8]) -> Array:
        """Return sum_{j != i} J_ij(a, s_j), shape (n_sequences, L, C).

        The number C in a sequence is an ignored gap, which adds mean_b J_ij(a, b): nothing in the
        zero-sum gauge, so that conditionals are the same in every gauge.
        """
        n_sequences, length = sequences.shape
        n_states = self.n_states
        logits = np.empty((n_sequences, length, n_states))
        for block in sequence_blocks(n_sequences, length * n_states):
            states = sequences[block]
            if self.dense is not None:
                one_hot = _symbols(n_states)[states].reshape(len(states), length * n_states)
                for site, row in enumerate(self.dense):  # by site: no copy of the whole tensor
                    by_neighbor = row.transpose(0, 2, 1).reshape(length * n_states, n_states)
                    logits[block, site] = one_hot @ by_neighbor
                continue
            total = np.zeros((length, len(states) * n_states))
            a, color_similarity = self._held()
            matrices = a.matrices() if isinstance(a, NeighborLists) else list(a)
            for interaction, similarity in zip(matrices, color_similarity, strict=True):
                table = _symbols(n_states) @ similarity.T
                values = table[states.T]  # (L, M, C): U(a, s_j)
                total += interaction @ values.reshape(length, len(states) * n_states)
            logits[block] = total.reshape(length, len(states), n_states).transpose(1, 0, 2)
        return logits

    def pair_sums(self, sequences: NDArray[np.uint8]) -> Array:
        """Return sum_{i<j} J_ij(s_i, s_j) of a symmetric J, shape (n_sequences,)."""
        a, color_similarity = self.interactions, self.color_similarity
        if isinstance(a, NeighborLists) and color_similarity is not None:
            return a.pair_sums(color_similarity, sequences)
        sums = np.empty(len(sequences))
        for block in sequence_blocks(len(sequences), self.length * self.n_states):
            states = sequences[block]
            pairs = np.take_along_axis(self.logits(states), states[:, :, None], axis=2)
            sums[block] = 0.5 * pairs[:, :, 0].sum(axis=1)
        return sums

    def scaled(self, factor: float) -> Couplings:
        """Return factor * J."""
        if self.dense is not None:
            return Couplings(dense=factor * self.dense)
        interactions, color_similarity = self._held()
        if isinstance(interactions, NeighborLists):
            return Couplings(interactions.scaled(factor), color_similarity)
        return Couplings(factor * interactions, color_similarity)

    def transposed(self) -> Couplings:
        """Return the couplings seen from the other site, K_ij(a, b) = J_ji(b, a)."""
        if self.dense is not None:
            return Couplings(dense=self.dense.transpose(1, 0, 3, 2))
        a, color_similarity = self._held()
        other = a.transposed() if isinstance(a, NeighborLists) else a.transpose(0, 2, 1)
        return Couplings(other, color_similarity.transpose(0, 2, 1))

    def symmetrized(self) -> Couplings:
        """Return (J_ij(a, b) + J_ji(b, a)) / 2; a factored J stays factored.

        Heads whose color similarity is symmetric keep their number; others are doubled.
        """
        other = self.transposed()
        if self.dense is not None and other.dense is not None:
            return Couplings(dense=(self.dense + other.dense) / 2.0)
        interactions, color_similarity = self._held()
        others = color_similarity.transpose(0, 2, 1)
        keeps_heads = np.array_equal(color_similarity, others)
        total: Array | NeighborLists
        if isinstance(interactions, NeighborLists):
            if keeps_heads:
                return Couplings(interactions.symmetrized(), color_similarity)
            total = interactions.stacked(interactions.transposed()).scaled(0.5)
        else:
            transposed = interactions.transpose(0, 2, 1)
            if keeps_heads:
                return Couplings((interactions + transposed) / 2.0, color_similarity)
            total = np.concatenate([interactions, transposed]) / 2.0
        return Couplings(total, np.concatenate([color_similarity, others]))

    def with_scale_of(self, reference: Couplings) -> Couplings:
        """Return the same J of one head, (c A, U / c), with |U|_F of `reference` and <U, U*> >= 0.

        A and U share a scale and a sign; this fixes both, so that interactions can be compared.
        Both couplings are taken as they are: bring them to the zero-sum gauge first.
        """
        _, color_similarity = self._held()
        _, wanted = reference._held()
        if len(color_similarity) != 1 or len(wanted) != 1:
            raise TypeError("the scale between A and U is fixed for one head only")
        norm = np.linalg.norm(color_similarity)
        scale = norm / np.linalg.norm(wanted) if norm > 0.0 else 1.0
        if np.vdot(color_similarity, wanted) < 0.0:
            scale = -scale
        return Couplings(self.scaled(float(scale)).interactions, color_similarity / scale)

    def zero_sum(self, fields: Array) -> tuple[Array, Couplings]:
        """Return (fields, couplings) in the zero-sum gauge: every conditional stays the same.

        Each block becomes P J_ij P with P = I - 11^T / C; what the block loses acts on the target
        state alone, sum_j [mean_b J_ij(a, b) - mean_ab J_ij], and moves into h_i. Fields are
        returned with zero mean over states.
        """
        projector = zero_sum_projector(self.n_states)
        if self.dense is not None:
            state_means = self.dense.mean(axis=3).sum(axis=1)  # (L, C)
            couplings = Couplings(dense=projector @ self.dense @ projector)
        else:
            a, color_similarity = self._held()
            sums = a.row_sums() if isinstance(a, NeighborLists) else a.sum(axis=2)  # (H, L)
            state_means = sums.T @ color_similarity.mean(axis=2)  # (L, C)
            couplings = Couplings(a, projector @ color_similarity @ projector)
        return (fields + state_means) @ projector, couplings


def _symbols(n_states: int) -> Array:
    """Return what a symbol shows of its site, (C + 1, C): its state, or every state alike."""
    return np.vstack([np.eye(n_states), np.full(n_states, 1.0 / n_states)])


def sequence_blocks(n_sequences: int, numbers_per_sequence: int) -> Iterator[slice]:
    """Yield slices over the sequences that keep the work space of each near 32 MB."""
    step = max(1, LOGITS_BLOCK // numbers_per_sequence)
    return (slice(start, start + step) for start in range(0, n_sequences, step))


def zero_sum_projector(n_states: int) -> Array:
    """Return P = I - 11^T / C, shape (C, C)."""
    return np.eye(n_states) - 1.0 / n_states


def inner_product(first: Couplings, second: Couplings) -> float:
    """Return sum_{ijab} J_ij(a, b) K_ij(a, b), without the tensor if both are factored."""
    if first.is_factored and second.is_factored:
        first_a, first_u = first._held()
        second_a, second_u = second._held()
        if isinstance(first_a, NeighborLists):
            gram = first_a.gram(second_a)
        elif isinstance(second_a, NeighborLists):
            gram = second_a.gram(first_a).T
        else:
            gram = np.einsum("hij,gij->hg", first_a, second_a)
        return float((gram * np.einsum("hab,gab->hg", first_u, second_u)).sum())
    pairs = zip(first.rows(), second.rows(), strict=True)
    return float(sum(np.vdot(row, other) for row, other in pairs))


def frobenius_score(couplings: Couplings, *, gap_index: int | None = None) -> Array:
    """Return |J_ij|_F of the symmetrized couplings in the zero-sum gauge, shape (L, L).

    Parameters
    ----------
    couplings
        In any gauge, symmetric or not.
    gap_index
        State left out of the norm (the alignment gap), or None to keep every state.

    References
    ----------
    Ekeberg et al., Phys. Rev. E 87, 012707 (2013), eq. 24.
    """
    projector = zero_sum_projector(couplings.n_states)
    kept = [state for state in range(couplings.n_states) if state != gap_index]
    score = np.empty((couplings.length, couplings.length))
    other = couplings.transposed()
    for site in range(couplings.length):
        row = projector @ ((couplings.row(site) + other.row(site)) / 2.0) @ projector
        score[site] = np.sqrt((row[:, kept][:, :, kept] ** 2).sum(axis=(1, 2)))
    np.fill_diagonal(score, 0.0)
    return score


def average_product_correction(score: Array) -> Array:
    """Return score_ij - mean_i mean_j / mean, means over the L - 1 other sites; zero diagonal.

    References
    ----------
    Dunn, Wahl, Gloor, Bioinformatics 24, 333 (2008).
    """
    length = score.shape[0]
    site_means = score.sum(axis=1) / (length - 1)
    mean = score.sum() / (length * (length - 1))
    corrected = score - np.outer(site_means, site_means) / mean if mean > 0.0 else score.copy()
    np.fill_diagonal(corrected, 0.0)
    return corrected
