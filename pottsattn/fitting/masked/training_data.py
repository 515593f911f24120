"""The sequences of a training, from memory or streamed from a file, in the order of an epoch.

The order is a function of (seed, epoch), so that a training can go on from any step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr

from pottsattn._core.validate import check_kind
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.data.torch_data import ChunkShuffle, TorchSequences

COUNTED = 4096  # sequences at a time


class TrainingData:
    """Weighted sequences by their numbers.

    Parameters
    ----------
    source
        A data set in memory, or a file that is read as it is needed.

    Attributes
    ----------
    weights : float64 array, shape (n_sequences,)
        Of mean 1.
    gap_policy : str
        As in `SequenceDataset`; files have no gaps that are ignored.
    observed_share : float
        Of (sequence, site) pairs.
    """

    def __init__(self, source: SequenceDataset | SequenceFile) -> None:
        kinds = (SequenceDataset, SequenceFile)
        check_kind("dataset", source, kinds, "wrap an array: SequenceDataset(array, n_states)")
        self.source = source
        self.n_sequences, self.length, self.n_states = (
            source.n_sequences, source.length, source.n_states,
        )  # fmt: skip
        self.weights = source.normalized_weights * source.n_sequences
        self.gap_policy, self.observed_share = "state", 1.0
        if isinstance(source, SequenceDataset):
            self.gap_policy, self.observed_share = source.gap_policy, source.observed_share

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the sequences of these numbers, shape (n, length)."""
        if isinstance(self.source, SequenceFile):
            return self.source[numbers]
        return self.source.sequences[numbers]

    def blocks(self, n_rows: int, n_sequences: int | None = None) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of all or the first sequences, in order, at most `n_rows` at a time."""
        end = self.n_sequences if n_sequences is None else min(n_sequences, self.n_sequences)
        for start in range(0, end, n_rows):
            yield np.arange(start, min(start + n_rows, end))

    def frequencies(self) -> NDArray[np.float64]:
        """Return how often every state is seen at its site, shape (length, n_states)."""
        counts = np.zeros((self.length, self.n_states + 1))
        sites = np.arange(self.length)
        for numbers in self.blocks(COUNTED):
            rows, weights = self.rows(numbers), self.weights[numbers, None]
            np.add.at(counts, (sites[None, :], rows), np.broadcast_to(weights, rows.shape))
        return counts[:, : self.n_states] / self.n_sequences

    @cached_property
    def independent_loss(self) -> float:
        """The loss of the best model of independent sites, nats per site; gaps are a state."""
        return float(entr(self.frequencies()).sum(axis=1).mean())

    def loss_of_frequencies(self, other: TrainingData) -> float:
        """Return the loss of independent sites with the frequencies of `other`, each state seen
        half a time more, nats per site; gaps are a state.
        """
        counts = other.frequencies() * other.n_sequences + 0.5
        shares = counts / counts.sum(axis=1, keepdims=True)
        return float(-(self.frequencies() * np.log(shares)).sum(axis=1).mean())

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of all sequences in the order of an epoch.

        It is a random permutation; of a file that is larger than what is kept of it in memory, one
        in which every chunk is read once (`ChunkShuffle`).
        """
        entropy = np.random.SeedSequence((seed, epoch))
        if isinstance(self.source, SequenceDataset):
            return np.random.default_rng(entropy).permutation(self.n_sequences)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        shuffled = ChunkShuffle(TorchSequences(self.source), generator=generator)
        return np.fromiter(shuffled, np.int64, self.n_sequences)

    def fingerprint(self) -> str:
        """Return a hash by which a resumed training knows its data.

        Of everything in memory; of a file the sizes, the weights, its first and its last chunk,
        and how many chunks are kept, which decides the order.
        """
        digest = hashlib.sha256(str((self.n_sequences, self.length, self.n_states)).encode())
        digest.update(self.weights.tobytes())
        if isinstance(self.source, SequenceDataset):
            digest.update(self.source.sequences.tobytes())
        else:
            size = min(self.source.chunk_size, self.n_sequences)
            n_mixed = min(self.source.n_cached_chunks, -(-self.n_sequences // size))
            digest.update(f"chunks of {size}, {n_mixed} kept".encode())
            digest.update(self.source[:size].tobytes())
            digest.update(self.source[self.n_sequences - size :].tobytes())
        return digest.hexdigest()
