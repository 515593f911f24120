"""The generalized Potts model: energies and conditionals.

    P(s) = exp(-H(s)) / Z,    H(s) = -sum_{i<j} J_ij(s_i, s_j) - sum_i h_i(s_i),

energies in units of k_B T: an inverse temperature is a factor on fields and couplings
(`PottsModel.scaled`), and what a file holds is what was sampled. Couplings are dense, factored or
factored and sparse, see `pottsattn.model.couplings`; conventions are those of docs/conventions.md.

Reference: Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), eqs. 1-3.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.storage import create_hdf5, file_format, open_hdf5, provenance
from pottsattn._core.validate import (
    InputError,
    check_array,
    check_at_least,
    check_finite,
    check_n_states,
    check_positive,
    check_sequences,
)
from pottsattn.model.couplings import Couplings, inner_product, sequence_blocks
from pottsattn.model.graph import NeighborLists, check_edges

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float64]
SYMMETRY_TOLERANCE = 1e-6
WRITTEN_AS_ARRAY = 1024  # largest length of a sparse model whose file holds (L, L) interactions
READ_AS_ARRAY = 64  # largest length of a model that is never made sparse on reading
SPARSE_SHARE = 0.05  # of entries that are not zero, below which a longer one is


class PottsModel:
    """A Potts model on `length` sites with `n_states` states each.

    Build one with `PottsModel.factored`, `PottsModel.from_edges` or `PottsModel.dense`, or with an
    ensemble of `pottsattn.model.ensembles`.

    Attributes
    ----------
    fields : array, shape (length, n_states)
        h_i(a), in units of k_B T.
    couplings : Couplings
        J_ij(a, b), symmetric: J_ij(a, b) = J_ji(b, a), zero for i = j.
    ensemble : str
        Name of the random ensemble the model was drawn from, or "".
    coupling_scale : float or None
        J of that ensemble, in units of k_B T.

    Examples
    --------
    >>> import numpy as np
    >>> interactions = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> PottsModel.factored(interactions, n_states=3)
    PottsModel(length=2, n_states=3, factored, heads=1)
    """

    def __init__(
        self,
        fields: Array,
        couplings: Couplings,
        *,
        ensemble: str = "",
        coupling_scale: float | None = None,
    ) -> None:
        length, n_states = couplings.length, couplings.n_states
        check_at_least("length", length, 2)
        check_n_states(n_states)
        self.fields = check_array("fields", fields, (length, n_states))
        with np.errstate(over="ignore"):
            if not np.isfinite(np.vdot(self.fields, self.fields)):
                most = np.abs(self.fields).max()
                raise InputError(f"fields are so large that energies overflow, found {most:.1e}")
        self.couplings = couplings
        self.ensemble = ensemble
        self.coupling_scale = coupling_scale
        _check_symmetric(couplings)

    @classmethod
    def factored(
        cls,
        interactions: ArrayLike,
        color_similarity: ArrayLike | None = None,
        *,
        n_states: int | None = None,
        fields: ArrayLike | None = None,
    ) -> PottsModel:
        """Return the model J_ij(a, b) = sum_h A^h_ij U^h_ab.

        Parameters
        ----------
        interactions : shape (length, length) or (n_heads, length, length)
            A, with zero diagonal.
        color_similarity : shape (n_states, n_states) or (n_heads, n_states, n_states), optional
            U; the identity (standard Potts model) if left out, then `n_states` is needed.
        fields : shape (length, n_states), optional
            h; zero if left out.

        Raises
        ------
        InputError
            Wrong shapes, non-zero diagonal, or J_ij(a, b) != J_ji(b, a).
        """
        array = np.asarray(interactions, dtype=np.float64)
        array = array[None] if array.ndim == 2 else array
        a = check_array("interactions", array, (None, None, None))
        if a.shape[1] != a.shape[2]:
            raise InputError(f"interactions must be square per head, got {a.shape}")
        u = _color_similarity(color_similarity, n_states, a.shape[0])
        h = np.zeros((a.shape[1], u.shape[1])) if fields is None else np.asarray(fields)
        return cls(h, Couplings(a, u))

    @classmethod
    def from_edges(
        cls,
        edges: ArrayLike,
        *,
        n_states: int | None = None,
        strengths: ArrayLike = 1.0,
        color_similarity: ArrayLike | None = None,
        fields: ArrayLike | None = None,
        length: int | None = None,
    ) -> PottsModel:
        """Return the model J_ij(a, b) = A_ij U_ab with A given pair by pair, held sparse.

        Memory grows with the number of pairs, not with length^2.

        Parameters
        ----------
        edges : int, shape (n_edges, 2)
            Pairs of sites, counted from 0, each pair once and in either order.
        n_states
            C; may be left out if `color_similarity` implies it.
        strengths : scalar or shape (n_edges,)
            A_ij of each pair, in units of k_B T.
        color_similarity : shape (n_states, n_states), optional
            U, symmetric; the identity (standard Potts model) if left out.
        fields : shape (length, n_states), optional
            h; zero if left out.
        length
            Number of sites; the largest site + 1 if left out.

        Raises
        ------
        InputError
            A site out of range or joined with itself, a pair given twice, or wrong shapes.

        Examples
        --------
        >>> PottsModel.from_edges([(0, 1), (1, 2), (2, 0)], n_states=3, strengths=0.5)
        PottsModel(length=3, n_states=3, sparse, heads=1)
        """
        pairs, length = check_edges(edges, length)
        each = np.broadcast_to(strengths, len(pairs)) if np.ndim(strengths) == 0 else strengths
        a = check_array("strengths", each, (len(pairs),))[None]
        u = _color_similarity(color_similarity, n_states, 1)
        h = np.zeros((length, u.shape[1])) if fields is None else np.asarray(fields)
        return cls(h, Couplings(NeighborLists.from_pairs(length, pairs, a, a), u))

    @classmethod
    def dense(cls, couplings: ArrayLike, *, fields: ArrayLike | None = None) -> PottsModel:
        """Return the model with `couplings` of shape (length, length, n_states, n_states)."""
        array = check_array("couplings", couplings, (None, None, None, None))
        length, other, n_states, other_states = array.shape
        if length != other or n_states != other_states:
            raise InputError(f"couplings must have shape (L, L, C, C), got {array.shape}")
        h = np.zeros((length, n_states)) if fields is None else np.asarray(fields)
        return cls(h, Couplings(dense=array))

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.couplings.length

    @property
    def n_states(self) -> int:
        """Number of states (colors), C."""
        return self.couplings.n_states

    def scaled(self, inverse_temperature: float) -> PottsModel:
        """Return the model at another inverse temperature: fields and couplings times beta."""
        beta = check_positive("inverse_temperature", inverse_temperature)
        scale = None if self.coupling_scale is None else beta * self.coupling_scale
        return PottsModel(
            beta * self.fields,
            self.couplings.scaled(beta),
            ensemble=self.ensemble,
            coupling_scale=scale,
        )

    def zero_sum(self) -> PottsModel:
        """Return the same distribution in the zero-sum gauge (fields and couplings together)."""
        fields, couplings = self.couplings.zero_sum(self.fields)
        return PottsModel(
            fields, couplings, ensemble=self.ensemble, coupling_scale=self.coupling_scale
        )

    def to_dense(self) -> Array:
        """Return the couplings as one array (L, L, C, C)."""
        return self.couplings.to_dense()

    def energy(self, sequences: ArrayLike) -> Array:
        """Return H(s) in units of k_B T, shape (n_sequences,)."""
        states = self._check(sequences)
        energy = np.empty(len(states))
        for block in sequence_blocks(len(states), self.length * self.n_states):
            fields = self.fields[np.arange(self.length), states[block]]  # (M, L)
            energy[block] = -(self.couplings.pair_sums(states[block]) + fields.sum(axis=1))
        return energy

    def log_conditionals(self, sequences: ArrayLike) -> Array:
        """Return log P(s_i = a | s_-i) in nats, shape (n_sequences, length, n_states)."""
        states = self._check(sequences)
        logits = self.couplings.logits(states)
        for block in sequence_blocks(len(states), self.length * self.n_states):
            logits[block] = log_softmax(logits[block] + self.fields)
        return logits

    def _check(self, sequences: ArrayLike) -> NDArray[np.uint8]:
        states = check_sequences(sequences, self.n_states)
        if states.shape[1] != self.length:
            raise InputError(f"sequences have length {states.shape[1]}, the model {self.length}")
        return states

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the model (format `pottsattn.model/1`); `facts` go into the provenance."""
        with create_hdf5(path, "model", provenance(**facts)) as file:
            self.write(file)

    def write(self, file: h5py.File) -> None:
        """Write the model into the group `/model` of an open file."""
        group = file.create_group("model")
        group.attrs["ensemble"] = self.ensemble
        if self.coupling_scale is not None:
            group.attrs["coupling_scale"] = self.coupling_scale
        write_couplings(group, self.fields, self.couplings)

    @classmethod
    def read(cls, file: h5py.File) -> PottsModel:
        """Return the model in the group `/model` of an open file."""
        group = file["model"]
        fields, couplings = read_couplings(group)
        scale = group.attrs.get("coupling_scale")
        try:
            return cls(
                fields,
                couplings,
                ensemble=str(group.attrs.get("ensemble", "")),
                coupling_scale=None if scale is None else float(scale),
            )
        except InputError as error:
            raise InputError(f"{', '.join(group)} of {group.name}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PottsModel:
        """Return the model that a model file or a data set holds.

        Raises
        ------
        InputError
            The file cannot be read or holds no `/model`.
        """
        with open_hdf5(path) as file:
            if "model" not in file:
                raise InputError(f"{path} ({file_format(path)}) holds no model")
            return cls.read(file)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PottsModel):
            return NotImplemented
        return (
            (self.ensemble, self.coupling_scale) == (other.ensemble, other.coupling_scale)
            and np.array_equal(self.fields, other.fields)
            and self.couplings.equals(other.couplings)
        )

    def __hash__(self) -> int:
        return hash((self.length, self.n_states, self.ensemble, self.coupling_scale))

    def __repr__(self) -> str:
        form = "dense"
        if self.couplings.is_factored:
            form = "sparse" if self.couplings.is_sparse else "factored"
            form += f", heads={self.couplings.n_heads}"
        name = f"{self.ensemble}, " if self.ensemble else ""
        return f"PottsModel({name}length={self.length}, n_states={self.n_states}, {form})"


def log_softmax(logits: Array) -> Array:
    """Return logits - log sum exp(logits) over the last axis, safe for any size of logits."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def own_log_p(log_p: Array, sequences: NDArray[np.integer[Any]]) -> Array:
    """Return log P(s_i), shape (n_sequences, length), of log_p (n_sequences, length, n_states).

    Zero where a gap is ignored (the number `n_states`).
    """
    n_states = log_p.shape[2]
    states = np.minimum(sequences, n_states - 1)[:, :, None]
    own = np.take_along_axis(log_p, states, axis=2)[:, :, 0]
    return np.where(sequences < n_states, own, 0.0)


def write_couplings(group: h5py.Group, fields: Array, couplings: Couplings) -> None:
    """Write `fields`, and `couplings` or `interactions` + `color_similarity`.

    Sparse couplings of more than 1024 sites have `edges` and `strengths` instead of `interactions`,
    see docs/formats.md.
    """
    group.create_dataset("fields", data=fields)
    if not couplings.is_factored:
        group.create_dataset("couplings", data=couplings.to_dense())
        return
    group.create_dataset("color_similarity", data=couplings.color_similarity)
    if not couplings.is_sparse:
        group.create_dataset("interactions", data=couplings.interactions)
    elif couplings.length <= WRITTEN_AS_ARRAY:
        group.create_dataset("interactions", data=couplings.factors()[0], compression="gzip")
    else:
        edges, (forward, backward) = couplings.neighbor_lists().pairs()
        group.create_dataset("edges", data=edges)
        group.create_dataset("strengths", data=forward)
        if not np.array_equal(forward, backward):
            group.create_dataset("strengths_back", data=backward)


def read_couplings(group: h5py.Group) -> tuple[Array, Couplings]:
    """Return (fields, couplings) as written by `write_couplings`.

    Interactions of more than 64 sites come back sparse if less than 5 % of them are not zero.

    Raises
    ------
    InputError
        Wrong shapes, or numbers that are not finite.
    """

    def read(name: str, *shape: int) -> Array:
        array = np.asarray(group[name][()], dtype=np.float64)
        if array.shape != shape:
            raise InputError(f"{name} has shape {array.shape}, expected {shape}")
        check_finite(name, array)
        return array

    length, n_states = group["fields"].shape
    fields = read("fields", length, n_states)
    if "couplings" in group:
        return fields, Couplings(dense=read("couplings", length, length, n_states, n_states))
    if "edges" not in group and "interactions" not in group:
        raise InputError("couplings are missing, and so are interactions and edges")
    n_heads = len(group["strengths" if "edges" in group else "interactions"])
    color_similarity = read("color_similarity", n_heads, n_states, n_states)
    if "edges" in group:
        edges, _ = check_edges(group["edges"][()], length)
        forward = read("strengths", n_heads, len(edges))
        backward = forward
        if "strengths_back" in group:
            backward = read("strengths_back", n_heads, len(edges))
        lists = NeighborLists.from_pairs(length, edges, forward, backward)
        return fields, Couplings(lists, color_similarity)
    interactions = read("interactions", n_heads, length, length)
    if length > READ_AS_ARRAY and np.count_nonzero(interactions) < SPARSE_SHARE * interactions.size:
        return fields, Couplings(NeighborLists.from_dense(interactions), color_similarity)
    return fields, Couplings(interactions, color_similarity)


def _color_similarity(
    color_similarity: ArrayLike | None, n_states: int | None, n_heads: int
) -> Array:
    if color_similarity is None:
        if n_states is None:
            raise InputError("give n_states, or color_similarity, which implies it")
        identity = np.eye(check_at_least("n_states", n_states, 2))
        color_similarity = np.broadcast_to(identity, (n_heads, *identity.shape))
    similarity = np.asarray(color_similarity, dtype=np.float64)
    similarity = similarity[None] if similarity.ndim == 2 else similarity
    size = n_states or similarity.shape[-1]
    return check_array("color_similarity", similarity, (n_heads, size, size))


def _check_symmetric(couplings: Couplings) -> None:
    diagonal = float(np.abs(couplings.diagonal()).max())
    if diagonal != 0.0:
        raise InputError(
            f"couplings of a site with itself must be 0, found {diagonal:.3g}; clear the diagonal"
        )
    norm = inner_product(couplings, couplings)
    if not np.isfinite(norm):
        raise InputError("couplings must be finite, found NaN or infinity")
    difference = 2.0 * (norm - inner_product(couplings, couplings.transposed()))
    if difference > SYMMETRY_TOLERANCE**2 * norm:
        raise InputError(
            "couplings must be symmetric, J_ij(a, b) = J_ji(b, a); found a relative asymmetry of "
            f"{np.sqrt(difference / norm):.2g}; average the two first"
        )
