"""Mixtures of Potts models: labeled sequences, the true class probabilities and local fields.

Class k relabels the states of every site by a permutation g^k_i and is a standard Potts model of
the relabeled states, on one sparse graph G shared by all classes:

    p_k(x) = exp( sum_i h^k_i(x_i) + beta sum_{(ij) in G} [g^k_i(x_i) = g^k_j(x_j)] ) / Z_k.

Without fields (the gauge mixture) every site is uniform in every class: the class is in the
correlations alone, and all Z_k are equal. The Bayes classifier of equally likely classes is
argmax_k log p_k(x).

The mixtures are this package's own setting for instance representations; relabeling the states of
a ferromagnet is the Mattis model: Mattis, Phys. Lett. A 56, 421 (1976).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from pottsattn._core.display import one_line
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_generator,
    check_n_states,
    check_nonnegative,
    check_positive,
    check_sequences,
)
from pottsattn.instances.accuracy import Accuracy, accuracy
from pottsattn.likelihood.partition_function import LogPartition, log_partition
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.sampler import sample
from pottsattn.sampling.schedule import Schedule

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float64]
Rng = np.random.Generator | int | None
MOST_CHAINS = 4096  # per class at once; more sequences are kept 20 sweeps apart
THIN_BY = 20


@one_line
@dataclass(frozen=True, eq=False)
class LabeledSequences:
    """Sequences with the class each was drawn from, in random order."""

    sequences: NDArray[np.uint8]  # (n_sequences, length)
    labels: NDArray[np.int64]  # (n_sequences,), classes 0..n_classes-1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PottsMixture:
    """Equally likely classes, each a Potts model of relabeled states.

    Attributes
    ----------
    models : tuple of PottsModel
        One per class, of the relabeled states g^k_i(x_i).
    relabelings : uint8, shape (n_classes, length, n_states)
        g^k_i(a), a permutation for every class and site.
    log_partition, log_partition_error : shape (n_classes,)
        log Z_k in nats and its standard error; 0 where exact.
    kind : str
        "field", "gauge", or "" for any other.
    """

    models: tuple[PottsModel, ...]
    relabelings: NDArray[np.uint8]
    log_partition: Array
    log_partition_error: Array
    kind: str = ""

    @property
    def n_classes(self) -> int:
        """Number of classes, K."""
        return len(self.models)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self.models[0].length

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self.models[0].n_states

    def model(self, label: int) -> PottsModel:
        """Return p_k of the states as they are in the sequences, couplings dense (L, L, C, C)."""
        if not 0 <= label < self.n_classes:
            raise InputError(f"label must be 0..{self.n_classes - 1}, got {label}")
        relabeling = self.relabelings[label].astype(np.intp)
        sites = np.arange(self.length)
        couplings = self.models[label].to_dense()[
            sites[:, None, None, None], sites[:, None, None],
            relabeling[:, None, :, None], relabeling[None, :, None, :],
        ]  # fmt: skip
        return PottsModel.dense(
            couplings, fields=self.models[label].fields[sites[:, None], relabeling]
        )

    def draw(
        self,
        n_sequences: int,
        rng: Rng = None,
        *,
        n_warmup: int = 200,
        n_threads: int | None = None,
    ) -> LabeledSequences:
        """Return independent sequences of random classes, each the end of its own heat-bath chain.

        Parameters
        ----------
        n_sequences
            At least 1. Beyond 4096 of one class, chains are used again 20 sweeps later.
        rng
            Generator or seed; the same seed gives the same sequences for any `n_threads`.
        n_warmup
            Sweeps of every chain from a random sequence on.
        """
        generator = check_generator(rng)
        check_at_least("n_sequences", n_sequences, 1)
        labels = generator.integers(self.n_classes, size=n_sequences)
        sequences = np.empty((n_sequences, self.length), np.uint8)
        for label, stream in enumerate(generator.spawn(self.n_classes)):
            rows = np.flatnonzero(labels == label)
            if len(rows) == 0:
                continue
            schedule = Schedule(
                n_chains=min(len(rows), MOST_CHAINS), n_warmup=n_warmup, thin_by=THIN_BY
            )
            drawn = sample(
                self.models[label], len(rows), schedule=schedule, rng=stream, n_threads=n_threads
            )
            if drawn.interrupted:
                raise KeyboardInterrupt
            back = np.argsort(self.relabelings[label], axis=1).astype(np.uint8)
            sequences[rows] = back[np.arange(self.length), drawn.dataset.sequences]
        return LabeledSequences(sequences, labels)

    def log_likelihoods(self, sequences: ArrayLike) -> Array:
        """Return log p_k(x) in nats, shape (n_sequences, n_classes)."""
        states = self._check(sequences)
        log_p = np.empty((len(states), self.n_classes))
        for label, model in enumerate(self.models):
            log_p[:, label] = -model.energy(self._relabel(states, label))
        return log_p - self.log_partition

    def posterior(self, sequences: ArrayLike) -> Array:
        """Return P(k | x) of equally likely classes, shape (n_sequences, n_classes)."""
        log_p = self.log_likelihoods(sequences)
        return np.exp(log_p - logsumexp(log_p, axis=1, keepdims=True))

    def classify(self, sequences: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable class of every sequence, shape (n_sequences,)."""
        return self.log_likelihoods(sequences).argmax(axis=1)

    def bayes_accuracy(self, data: LabeledSequences) -> Accuracy:
        """Return the accuracy of `classify` on labeled sequences: no classifier does better."""
        return accuracy(self.classify(data.sequences), data.labels)

    def local_fields(self, sequences: ArrayLike, labels: ArrayLike) -> Array:
        """Return the true local fields H_i(a), shape (n_sequences, length, n_states).

        H_i(a) = h^y_i(a) + beta #{neighbors of i that agree with a}, the logits of
        p_y(x_i = a | x_-i), in units of k_B T.

        Parameters
        ----------
        sequences : integers, shape (n_sequences, length)
        labels : integers, shape (n_sequences,)
            The class y of every sequence.
        """
        states = self._check(sequences)
        classes = np.asarray(labels)
        if classes.shape != (len(states),) or classes.dtype.kind not in "iu":
            raise InputError(
                f"labels must be integers of shape ({len(states)},), "
                f"got shape {classes.shape}, dtype {classes.dtype}"
            )
        if classes.min() < 0 or classes.max() >= self.n_classes:
            raise InputError(
                f"labels must be 0..{self.n_classes - 1}, found {classes.min()}..{classes.max()}"
            )
        fields = np.empty((len(states), self.length, self.n_states))
        for label, model in enumerate(self.models):
            rows = np.flatnonzero(classes == label)
            if len(rows) == 0:
                continue
            relabeled = model.couplings.logits(self._relabel(states[rows], label)) + model.fields
            columns = self.relabelings[label].astype(np.intp)[None]
            fields[rows] = np.take_along_axis(relabeled, columns, axis=2)
        return fields

    def to_group(self, group: h5py.Group) -> None:
        """Write the mixture into an HDF5 group; `from_group` reads it."""
        group.attrs["kind"] = self.kind
        group.create_dataset("relabelings", data=self.relabelings)
        group.create_dataset("log_partition", data=self.log_partition)
        group.create_dataset("log_partition_error", data=self.log_partition_error)
        for label, model in enumerate(self.models):
            model.write(group.create_group(f"classes/{label}"))

    @classmethod
    def from_group(cls, group: h5py.Group) -> PottsMixture:
        """Return the mixture that `to_group` wrote."""
        classes = group["classes"]
        return cls(
            models=tuple(PottsModel.read(classes[str(label)]) for label in range(len(classes))),
            relabelings=group["relabelings"][()],
            log_partition=group["log_partition"][()],
            log_partition_error=group["log_partition_error"][()],
            kind=str(group.attrs["kind"]),
        )

    def _relabel(self, states: NDArray[np.uint8], label: int) -> NDArray[np.uint8]:
        return self.relabelings[label][np.arange(self.length), states]

    def _check(self, sequences: ArrayLike) -> NDArray[np.uint8]:
        states = check_sequences(sequences, self.n_states)
        if states.shape[1] != self.length:
            raise InputError(f"sequences have length {states.shape[1]}, the mixture {self.length}")
        return states

    def __repr__(self) -> str:
        name = f"{self.kind}, " if self.kind else ""
        return (
            f"PottsMixture({name}n_classes={self.n_classes}, length={self.length}, "
            f"n_states={self.n_states})"
        )


def field_mixture(
    n_classes: int,
    length: int,
    n_states: int,
    *,
    degree: int = 4,
    inverse_temperature: float = 0.9,
    field_scale: float = 0.8,
    rng: Rng = None,
    n_threads: int | None = None,
) -> PottsMixture:
    """Return a mixture whose classes have fields h ~ Normal(0, field_scale^2) of their own.

    log Z of every class is exact up to 10^6 states and integrated beyond, see
    `pottsattn.likelihood.partition_function`.

    Parameters
    ----------
    n_classes, length, n_states
        K >= 2, L >= 3 and C >= 2.
    degree
        Even; the graph is the union of degree / 2 random Hamiltonian cycles.
    inverse_temperature
        beta > 0, the gain of every edge that agrees, in k_B T.
    field_scale
        Standard deviation of the fields, in k_B T.
    rng
        Generator or seed.
    """
    generator = check_generator(rng)
    check_nonnegative("field_scale", field_scale)
    edges, relabelings = _draw(n_classes, length, n_states, degree, generator)
    beta = check_positive("inverse_temperature", inverse_temperature)
    fields = generator.normal(scale=field_scale, size=(n_classes, length, n_states))
    models = tuple(
        PottsModel.from_edges(edges, n_states=n_states, strengths=beta, fields=one, length=length)
        for one in fields
    )
    streams = generator.spawn(n_classes)
    parts = [
        log_partition(model, stream, n_threads=n_threads)
        for model, stream in zip(models, streams, strict=True)
    ]
    return _mixture(models, relabelings, parts, "field")


def gauge_mixture(
    n_classes: int,
    length: int,
    n_states: int,
    *,
    degree: int = 12,
    inverse_temperature: float = 0.4,
    rng: Rng = None,
    n_threads: int | None = None,
) -> PottsMixture:
    """Return a mixture whose classes differ in their relabelings alone.

    All log Z_k are one number, so that its error moves no posterior. See `field_mixture` for the
    parameters.
    """
    generator = check_generator(rng)
    edges, relabelings = _draw(n_classes, length, n_states, degree, generator)
    beta = check_positive("inverse_temperature", inverse_temperature)
    model = PottsModel.from_edges(edges, n_states=n_states, strengths=beta, length=length)
    part = log_partition(model, generator.spawn(1)[0], n_threads=n_threads)
    return _mixture((model,) * n_classes, relabelings, [part] * n_classes, "gauge")


def union_of_cycles(length: int, degree: int, rng: Rng = None) -> NDArray[np.int64]:
    """Return the edges (n_edges, 2), i < j, of degree / 2 random Hamiltonian cycles together.

    An edge of two cycles is kept once: the mean degree is at most `degree`.
    """
    generator = check_generator(rng)
    check_at_least("length", length, 3)
    check_at_least("degree", degree, 2)
    if degree % 2 or degree >= length:
        raise InputError(f"degree must be even and below the length {length}, got {degree}")
    tours = np.stack([generator.permutation(length) for _ in range(degree // 2)])
    pairs = np.stack([tours, np.roll(tours, 1, axis=1)], axis=-1).reshape(-1, 2)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _draw(
    n_classes: int, length: int, n_states: int, degree: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return (edges, relabelings)."""
    check_at_least("n_classes", n_classes, 2)
    check_n_states(n_states)
    edges = union_of_cycles(length, degree, generator)
    keys = generator.random((n_classes, length, n_states))
    return edges, keys.argsort(axis=2).astype(np.uint8)


def _mixture(
    models: tuple[PottsModel, ...],
    relabelings: NDArray[np.uint8],
    parts: list[LogPartition],
    kind: str,
) -> PottsMixture:
    values = np.array([part.value for part in parts])
    errors = np.array([part.error for part in parts])
    return PottsMixture(models, relabelings, values, errors, kind)
