"""Sequence files for the data loaders of PyTorch, in random order without random reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pottsattn._core.validate import InputError, check_at_least, check_kind
from pottsattn.data.sequence_file import SequenceFile

INDICES_AT_ONCE = 1 << 16  # as Python integers, which take more memory than the sequences


class TorchSequences(Dataset[Any]):
    """Map-style dataset of the sequences in a file.

    An item is the tensor of states, shape (length,); of a weighted file it is the pair (states,
    weight), with the weight as stored, float32 of shape (). An index that chooses several sequences
    (a slice, a list) gives them stacked: (m, length) and (m,).

    Parameters
    ----------
    file
        A file, or its path.
    dtype
        Of the states. int64 is what `torch.nn.functional.one_hot` and embeddings take; uint8 is an
        eighth of it, to be widened on the device.
    """

    def __init__(
        self, file: SequenceFile | str | os.PathLike[str], *, dtype: torch.dtype = torch.int64
    ) -> None:
        self.file = file if isinstance(file, SequenceFile) else SequenceFile(file)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(
        self, index: int | slice | ArrayLike | Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        if isinstance(index, Tensor):
            index = index.numpy()
        states = torch.from_numpy(self.file[index]).to(self.dtype)
        if self.file.weights is None:
            return states
        weights = self.file.weights[index]  # type: ignore[index]  # the file took this index
        return states, torch.from_numpy(np.array(weights, dtype=np.float32, order="C"))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the items of a batch: the loader calls this, so a chunk is read once for all."""
        batch = self[indices]
        return list(batch) if isinstance(batch, Tensor) else list(zip(*batch, strict=True))

    def __repr__(self) -> str:
        return f"TorchSequences({self.file!r}, dtype={self.dtype})"


class ChunkShuffle(Sampler[int]):
    """Random order of all sequences in which an epoch reads every chunk of the file once.

    Chunks are shuffled, then the sequences of `n_buffer_chunks` successive chunks together. The
    order is a uniform permutation only if all chunks fit the buffer. Otherwise batches are random
    within a random group of chunks: enough for stochastic gradients if the file itself is in no
    particular order across chunks, or if a group holds many chunks.

    Every epoch takes one number from the generator, so an epoch that was left early does not change
    the next one. With workers, each worker process reads and keeps chunks of its own.

    Parameters
    ----------
    dataset
        What the sequences are drawn from.
    generator
        Source of the order; freshly seeded if left out.
    n_buffer_chunks
        Chunks that are mixed; as many as the file keeps in memory if left out.

    Raises
    ------
    InputError
        The file does not keep `n_buffer_chunks` chunks.
    """

    def __init__(
        self,
        dataset: TorchSequences,
        *,
        generator: torch.Generator | None = None,
        n_buffer_chunks: int | None = None,
    ) -> None:
        check_kind("dataset", dataset, TorchSequences, "wrap the file: TorchSequences(file)")
        self.file = dataset.file
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        self.generator = generator
        kept = self.file.n_cached_chunks
        wanted = kept if n_buffer_chunks is None else n_buffer_chunks
        self.n_buffer_chunks = check_at_least("n_buffer_chunks", wanted, 1)
        if self.n_buffer_chunks > kept:
            chunk_bytes = self.file.chunk_size * self.file.length
            raise InputError(
                f"n_buffer_chunks must be at most the {kept} chunks that the file keeps, got "
                f"{wanted}; use SequenceFile(path, cache_bytes={wanted * chunk_bytes})"
            )

    def __len__(self) -> int:
        return len(self.file)

    def __iter__(self) -> Iterator[int]:
        seed = int(torch.randint(2**63 - 1, (), generator=self.generator))
        return self._order(torch.Generator().manual_seed(seed))

    def _order(self, generator: torch.Generator) -> Iterator[int]:
        size = self.file.chunk_size
        starts = torch.arange(0, len(self.file), size)
        starts = starts[torch.randperm(len(starts), generator=generator)]
        for group in torch.split(starts, self.n_buffer_chunks):
            rows = (group[:, None] + torch.arange(size)).flatten()
            rows = rows[rows < len(self.file)]  # the last chunk may be shorter
            rows = rows[torch.randperm(len(rows), generator=generator)]
            for part in torch.split(rows, INDICES_AT_ONCE):
                yield from part.tolist()
