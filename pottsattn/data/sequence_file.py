"""Sequences larger than memory: rows of a `pottsattn.sequences/1` file, read when asked for.

HDF5 stores sequences in chunks, which are decompressed whole. So every read goes chunk by chunk,
and the chunks read last are kept, up to a bound in bytes.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from pottsattn._core.storage import open_hdf5, read_only
from pottsattn._core.validate import InputError, check_at_least, check_weights
from pottsattn.data.alignment.numbering import Numbering
from pottsattn.data.dataset import SequenceDataset, read_names
from pottsattn.data.weights import WeightedSequences
from pottsattn.model.potts import PottsModel

if TYPE_CHECKING:
    import h5py

CACHE_BYTES = 1 << 26
CONTIGUOUS_BYTES = 1 << 20  # read at once from a file without chunks
NOT_PICKLED = ("_handle", "weights", "model")  # read again where they are needed: may be large


@dataclass(frozen=True)
class _Handle:
    """An open file and its kept chunks, in one process."""

    process: int
    file: h5py.File
    chunk: Callable[[int], NDArray[np.uint8]]


class SequenceFile(WeightedSequences):
    """Sequences of a file, indexed like the array of shape (n_sequences, length) that they are.

    `file[3]` is a sequence; `file[a:b:step]`, `file[[5, 2, 5]]` and `file[mask]` are copies of
    several, in the order asked for. A request decompresses each chunk at most once, and the chunks
    read last are kept for the next request.

    The file is opened at the first read, once in every process: a `SequenceFile` can be pickled,
    and used after a fork. `close`, or the end of a `with` block, frees the handle and the kept
    chunks; a later read opens the file again.

    Parameters
    ----------
    path
        HDF5 file of format `pottsattn.sequences/1`.
    cache_bytes
        Bound on the kept chunks, per process; one chunk is always kept.

    Attributes
    ----------
    n_sequences, length, n_states, alphabet, gap_index, columns, numbering, origin
        As in `SequenceDataset`.
    chunk_size
        Sequences stored, and decompressed, together.
    n_cached_chunks
        Chunks that are kept.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else. Reads raise it too: of damaged chunks, of
        states outside 0..n_states-1, and when another file has taken the place of this one.

    Examples
    --------
    >>> with SequenceFile("data.h5") as file:
    ...     some = file[:1000]
    ...     largest = max(chunk.max() for chunk in file.chunks())
    """

    gap_policy = "state"  # gaps are ignored in memory (`SequenceDataset.ignoring_gaps`)

    def __init__(self, path: str | os.PathLike[str], *, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(os.path.abspath(path))  # still right when the working directory changes
        with open_hdf5(path, "sequences") as file:
            stored: h5py.Dataset = file["sequences"]
            if stored.ndim != 2 or stored.dtype != np.uint8:
                raise InputError(
                    "sequences must be uint8 of shape (n_sequences, length), "
                    f"got {stored.dtype} of shape {stored.shape}"
                )
            self._stamp = _stamp(file)
            self.n_sequences, self.length = stored.shape
            self.n_states = int(file.attrs["n_states"])
            self.alphabet = str(file.attrs["alphabet"])
            gap_index = int(file.attrs["gap_index"])
            self.gap_index = None if gap_index < 0 else gap_index
            self.columns: NDArray[np.int32] = np.asarray(file.attrs["columns"], dtype=np.int32)
            self.numbering = Numbering.from_attributes(file.attrs)
            made_by = json.loads(file.attrs["provenance"])
            self.origin: dict[str, Any] = {"source": {"file": str(path), "made_by": made_by}}
            if "phase_zone" in file.attrs:
                self.origin["phase_zone"] = str(file.attrs["phase_zone"])
            self._has_weights = "weights" in file
            self._has_model = "model" in file
            contiguous = max(1, CONTIGUOUS_BYTES // max(1, self.length))
            self.chunk_size = contiguous if stored.chunks is None else int(stored.chunks[0])
        chunk_bytes = max(1, self.chunk_size * self.length)
        self.n_cached_chunks = max(1, check_at_least("cache_bytes", cache_bytes, 0) // chunk_bytes)
        self._handle: _Handle | None = None

    def __len__(self) -> int:
        return self.n_sequences

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("sequences of a file cannot be an array without a copy")
        return self[:].astype(np.uint8 if dtype is None else dtype, copy=False)

    def __getitem__(self, index: int | slice | ArrayLike) -> NDArray[np.uint8]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.n_sequences)
            if step == 1:
                return self._span(start, max(start, stop))
            return self._take(np.arange(start, stop, step))
        rows = self._check_rows(index)
        taken = self._take(np.atleast_1d(rows))
        return taken if rows.ndim else taken[0]

    def chunks(self, n_sequences: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Yield all sequences in order, as arrays of shape (m, length).

        Parameters
        ----------
        n_sequences
            The largest m; one chunk of the file if left out. Arrays begin and end with chunks, or
            are parts of one, so no chunk is decompressed twice.
        """
        size = self.chunk_size
        most = size if n_sequences is None else check_at_least("n_sequences", n_sequences, 1)
        step = max(1, most // size) * size
        for low in range(0, self.n_sequences, step):
            for start in range(low, min(low + step, self.n_sequences), most):
                yield self[start : min(start + most, low + step)]

    def dataset(self, index: slice | ArrayLike = slice(None)) -> SequenceDataset:
        """Return the chosen sequences in memory, with their weights, the model and all labels.

        Raises
        ------
        InputError
            No sequence is chosen, or only such of weight 0.
        """
        weights = self.weights
        if not isinstance(index, slice):
            index = np.atleast_1d(self._check_rows(index))
        with open_hdf5(self.path, "sequences") as file:
            self._check_unchanged(file)
            names = np.array(read_names(file), dtype=object)
        return SequenceDataset(
            self[index],
            self.n_states,
            weights=None if weights is None else weights[index],
            alphabet=self.alphabet,
            gap_index=self.gap_index,
            columns=self.columns,
            names=tuple(names[index]) if len(names) else (),
            model=self.model,
            origin=self.origin,
            numbering=self.numbering,
        )

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """Weights of all sequences, shape (n_sequences,), read once; None if all count 1."""
        if not self._has_weights:
            return None
        with open_hdf5(self.path, "sequences") as file:
            self._check_unchanged(file)
            return check_weights(file["weights"][()], self.n_sequences)

    @cached_property
    def model(self) -> PottsModel | None:
        """The true model, read once, if it is known."""
        if not self._has_model:
            return None
        with open_hdf5(self.path, "sequences") as file:
            self._check_unchanged(file)
            return PottsModel.read(file)

    def close(self) -> None:
        """Close the file in this process and free the kept chunks; a later read opens it again."""
        if self._handle is not None:
            self._handle.file.close()
            self._handle = None

    def __enter__(self) -> SequenceFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in NOT_PICKLED}
        return {**state, "_handle": None}

    def __repr__(self) -> str:
        size = f"n_sequences={self.n_sequences}, length={self.length}, n_states={self.n_states}"
        return f"SequenceFile({str(self.path)!r}, {size}, chunk_size={self.chunk_size})"

    def _check_rows(self, index: ArrayLike) -> NDArray[np.int64]:
        """Return row numbers from 0 on: a scalar array for an integer, else one-dimensional."""
        size = self.n_sequences
        if isinstance(index, tuple):
            raise TypeError(f"index must choose sequences only, got {index!r}; write file[i][site]")
        rows = np.asarray(index)
        if rows.size == 0 and rows.dtype.kind == "f":  # an empty list
            rows = rows.astype(np.int64)
        kinds = "iu" if rows.ndim == 0 else "iub"
        if rows.ndim > 1 or rows.dtype.kind not in kinds:
            raise TypeError(
                "index must be an integer, a slice, or a one-dimensional array of integers or of "
                f"booleans; got shape {rows.shape}, dtype {rows.dtype}"
            )
        if rows.dtype.kind == "b":
            if len(rows) != size:
                raise IndexError(
                    f"a mask must have {size} entries, one per sequence; got {len(rows)}"
                )
            return np.flatnonzero(rows)
        outside = rows[(rows < -size) | (rows >= size)]
        if outside.size:
            raise IndexError(
                f"index {outside[0]} is out of range: {self.path} has {size} sequences"
            )
        rows = rows.astype(np.int64)
        return np.where(rows < 0, rows + size, rows)

    def _span(self, start: int, stop: int) -> NDArray[np.uint8]:
        rows = np.empty((stop - start, self.length), dtype=np.uint8)
        size = self.chunk_size
        for number in range(start // size, -(-stop // size) if len(rows) else 0):
            low = number * size
            first, last = max(start, low), min(stop, low + size)
            rows[first - start : last - start] = self._chunk(number)[first - low : last - low]
        return rows

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        rows = np.empty((len(wanted), self.length), dtype=np.uint8)
        if not len(wanted):
            return rows
        numbers, within = np.divmod(wanted, self.chunk_size)
        order = np.argsort(numbers, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        # In the order of first appearance: at the border of two groups of a shuffled epoch the
        # chunks of the old group are used before those of the new one push them out.
        for group in sorted(groups, key=operator.itemgetter(0)):
            rows[group] = self._chunk(int(numbers[group[0]]))[within[group]]
        return rows

    def _chunk(self, number: int) -> NDArray[np.uint8]:
        """Return a chunk, shape (at most chunk_size, length); it is shared, so copy what leaves."""
        if self._handle is not None and self._handle.process != os.getpid():
            self.close()  # HDF5 would share the file descriptor with the parent process
        if self._handle is None:
            self._handle = self._open()
        return self._handle.chunk(number)

    def _open(self) -> _Handle:
        file = read_only(self.path)
        try:
            self._check_unchanged(file)
        except BaseException:
            file.close()
            raise
        # Not a method: a cycle of `self` and the cache would keep the file open.
        read = partial(_read_chunk, file["sequences"], self.path, self.chunk_size, self.n_states)
        return _Handle(os.getpid(), file, lru_cache(self.n_cached_chunks)(read))

    def _check_unchanged(self, file: h5py.File) -> None:
        if _stamp(file) != self._stamp:
            raise InputError(f"{self.path} is not the file it was; make a new SequenceFile of it")


def _stamp(file: h5py.File) -> tuple[object, ...]:
    stored = file.get("sequences")
    return getattr(stored, "shape", None), str(file.attrs.get("provenance"))


def _read_chunk(
    stored: h5py.Dataset, path: Path, chunk_size: int, n_states: int, number: int
) -> NDArray[np.uint8]:
    low = number * chunk_size
    try:
        rows: NDArray[np.uint8] = stored[low : low + chunk_size]
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot read {path}: damaged from sequence {low} on ({error})") from error
    if rows.size and rows.max() >= n_states:
        raise InputError(
            f"{path}: sequences must hold states 0..{n_states - 1}, "
            f"found {rows.max()} in sequences {low}..{low + len(rows) - 1}"
        )
    return rows
