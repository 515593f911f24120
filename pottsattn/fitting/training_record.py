"""What a fit was trained on: a hash of the data, and one of every sequence, to know them again.

A sequence is hashed by adding up one number per site and state, so that order and number of
sequences play no part. What goes into the file is attributes, outside the content hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sequence_file import SequenceFile

if TYPE_CHECKING:
    import h5py

MOST_KEPT = 1 << 20  # hashes in a file, 8 MB; of more different sequences the smallest are kept
BLOCK_ROWS = 1 << 14
GROUP = "training"


@one_line
@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """The training data of a fit, as hashes.

    Attributes
    ----------
    data_hash : str
        SHA-256 of sizes, of the hashes of all encoded sequences, ascending, and of their weights
        unless all are 1.
    hashes : uint64 array, ascending
        Of the different sequences, or the smallest ones of many.
    n_distinct : int
        Different sequences.
    repeat_share : float
        Share of the training sequences that occur more than once: about that of new sequences that
        have been seen before by chance (Good and Turing's estimate).
    """

    data_hash: str
    hashes: NDArray[np.uint64]
    n_distinct: int
    repeat_share: float

    @classmethod
    def of(cls, data: SequenceDataset | SequenceFile) -> TrainingRecord:
        """Return the record of data."""
        digest = hashlib.sha256(str((data.n_sequences, data.length, data.n_states)).encode())
        hashes, weights = hashed(data), data.weights
        if weights is None or (weights == 1.0).all():
            hashes.sort()
            digest.update(hashes.data)
        else:
            order = np.lexsort((weights, hashes))
            hashes = hashes[order]
            digest.update(hashes.data)
            digest.update(weights[order].data)
        is_first = np.append(True, hashes[1:] != hashes[:-1])
        is_last = np.append(is_first[1:], True)
        distinct = hashes[is_first]
        repeated = 1.0 - np.count_nonzero(is_first & is_last) / data.n_sequences
        return cls(digest.hexdigest(), distinct[:MOST_KEPT], len(distinct), repeated)

    def is_of(self, data: SequenceDataset) -> bool:
        """Return whether these are the training data, weights and all, in any order."""
        return TrainingRecord.of(data).data_hash == self.data_hash

    def overlap(self, test: SequenceDataset) -> float:
        """Return the share of test sequences that are among the training data.

        With more training sequences than are kept it is that of the test sequences whose hash is
        not above all of them; NaN if there are none.
        """
        found = hashed(test)
        if self.n_distinct > len(self.hashes):
            found = found[found <= self.hashes[-1]]
        return float(np.isin(found, self.hashes).mean()) if len(found) else np.nan

    def write(self, file: h5py.File) -> None:
        """Write it into the file of a fit."""
        attrs = file.create_group(GROUP).attrs
        attrs["data_hash"], attrs["sequence_hashes"] = self.data_hash, self.hashes
        attrs["n_distinct"], attrs["repeat_share"] = self.n_distinct, self.repeat_share

    @classmethod
    def read(cls, file: h5py.File) -> TrainingRecord | None:
        """Return that of the file of a fit; None if it has none: one of version 0.1.0."""
        if GROUP not in file:
            return None
        attrs = file[GROUP].attrs
        return cls(
            str(attrs["data_hash"]),
            np.asarray(attrs["sequence_hashes"], np.uint64),
            int(attrs["n_distinct"]),
            float(attrs["repeat_share"]),
        )


def hashed(data: SequenceDataset | SequenceFile) -> NDArray[np.uint64]:
    """Return a hash of every sequence, shape (n_sequences,); gaps that are ignored count."""
    numbers = _numbers(data.length, data.n_states + 1)
    found = []
    for block in _blocks(data):
        total = np.zeros(len(block), np.uint64)
        for column, of_states in zip(block.T, numbers, strict=True):
            total += of_states[column]
        found.append(total)
    return np.concatenate(found)


def _blocks(data: SequenceDataset | SequenceFile) -> Iterator[NDArray[np.uint8]]:
    if isinstance(data, SequenceFile):
        yield from data.chunks(BLOCK_ROWS)
        return
    for start in range(0, data.n_sequences, BLOCK_ROWS):
        yield data.sequences[start : start + BLOCK_ROWS]


def _numbers(length: int, n_symbols: int) -> NDArray[np.uint64]:
    """Return a number for every site and symbol, always the same (splitmix64)."""
    x = np.arange(1, length * n_symbols + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).reshape(length, n_symbols)
