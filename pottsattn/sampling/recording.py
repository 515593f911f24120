"""Where kept sequences go: memory, or a file that grows beside its target until it is whole.

Both also keep two numbers per sequence for the diagnostics: the energy, and the overlap with one
fixed sequence r, (1 / L) sum_i [s_i = r_i]: the first kept sequence of chain 0, so that states far
apart have different overlaps, and the same r for every chain, so that all have one mean.
"""

from __future__ import annotations

import math
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.partial import PartialFile
from pottsattn._core.storage import create_hdf5
from pottsattn._core.threads import run_in_threads
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import check_writable
from pottsattn.sampling.runs import Rounds

CHUNK_BYTES = 1 << 20
TRACE_VALUES = 1 << 22  # per observable, read back for the diagnostics
PATIENCE = 1.0  # seconds between records, at least
Arrays = dict[str, NDArray[Any]]


@one_line
@dataclass(frozen=True, eq=False)
class Traces:
    """Observables of some chains after every round.

    Attributes
    ----------
    chains : int64, shape (n_chains,)
        Which chains.
    energy, overlap : float32, shape (n_rounds, n_chains)
    """

    chains: NDArray[np.int64]
    energy: NDArray[np.float32]
    overlap: NDArray[np.float32]

    def by_name(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return (chains, trace) by name; the overlap of chain 0 with itself is left out."""
        others = self.chains > 0 if len(self.chains) > 1 else np.ones(1, bool)
        return {
            "energy": (self.chains, self.energy),
            "overlap": (self.chains[others], self.overlap[:, others]),
        }


class Recorder(Protocol):
    """Takes the rounds of a run; see `MemoryRecorder` and `FileRecorder`."""

    n_rounds: int
    resumed_from: int  # sequences
    is_resumed: bool

    def resume(self) -> Arrays | None:
        """Return the last stored state of the run, if there is one."""

    def append(self, rounds: Rounds, state: Arrays) -> None:
        """Keep some rounds and the state of the run after them."""

    def append_warmup(self, energies: NDArray[np.float64], state: Arrays) -> None:
        """Keep the energies at the ends of pieces of the warm-up, and the state after them."""

    def flush(self, state: Arrays) -> None:
        """Store all that waits to be stored."""

    def warmup_energies(self) -> NDArray[np.float64]:
        """Return the energies of the warm-up, shape (n_pieces, n_chains)."""

    def traces(self) -> Traces:
        """Return the observables of all rounds, of at most as many chains as memory allows."""

    def halve(self, state: Arrays) -> None:
        """Drop every second round, the last one stays; `state` is that of the run from now on."""


def _overlaps(sequences: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([(one == reference).mean(axis=1, dtype=np.float32) for one in sequences])


def _first_reference(rounds: Rounds, rng: np.random.Generator, n_states: int) -> Any:
    first = rounds.sequences[0]
    if len(first) > 1:
        return first[0].copy()
    return rng.integers(n_states, size=first.shape[1], dtype=np.uint8)  # not its own beginning


class MemoryRecorder:
    """Keeps everything in memory."""

    resumed_from = 0
    is_resumed = False

    def __init__(self, n_states: int, rng: np.random.Generator) -> None:
        self._n_states, self._rng = n_states, rng
        self._reference: NDArray[np.uint8] | None = None
        self._rounds: list[Rounds] = []
        self._overlaps: list[NDArray[np.float32]] = []
        self._warmup: list[NDArray[np.float64]] = []
        self.n_rounds = 0

    def resume(self) -> Arrays | None:
        """Return None: memory does not outlive a run."""
        return None

    def append(self, rounds: Rounds, state: Arrays) -> None:
        """Keep some rounds."""
        if self._reference is None:
            self._reference = _first_reference(rounds, self._rng, self._n_states)
        self._rounds.append(rounds)
        self._overlaps.append(_overlaps(rounds.sequences, self._reference))
        self.n_rounds += len(rounds.sequences)

    def append_warmup(self, energies: NDArray[np.float64], state: Arrays) -> None:
        """Keep the energies at the ends of pieces of the warm-up."""
        self._warmup.append(energies)

    def flush(self, state: Arrays) -> None:
        """Do nothing: rounds are kept as they come."""

    def warmup_energies(self) -> NDArray[np.float64]:
        """Return the energies of the warm-up, shape (n_pieces, n_chains)."""
        return np.concatenate(self._warmup) if self._warmup else np.empty((0, 1))

    def traces(self) -> Traces:
        """Return energy and overlap of all rounds."""
        energies = np.concatenate([rounds.energies for rounds in self._rounds])
        overlaps = np.concatenate(self._overlaps)
        return Traces(np.arange(energies.shape[1]), energies.astype(np.float32), overlaps)

    def halve(self, state: Arrays) -> None:
        """Drop every second round, the last one stays."""
        kept = slice((self.n_rounds - 1) % 2, None, 2)
        sequences = np.concatenate([rounds.sequences for rounds in self._rounds])[kept]
        energies = np.concatenate([rounds.energies for rounds in self._rounds])[kept]
        self._rounds = [Rounds(sequences, energies)]
        self._overlaps = [np.concatenate(self._overlaps)[kept]]
        self.n_rounds = len(sequences)

    def sequences(self) -> NDArray[np.uint8]:
        """Return all sequences, ordered by time, then chain."""
        kept = np.concatenate([rounds.sequences for rounds in self._rounds])
        return kept.reshape(-1, kept.shape[2])


class FileRecorder:
    """Appends to FILE.partial in bounded memory, and turns it into FILE when all is there.

    Rows are compressed as they come, by the chunks of the final HDF5 file, which then are copied.
    A record is written for every whole chunk, and after a while even without one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: dict[str, Any],
        *,
        n_sequences: int,
        n_kept: int,
        length: int,
        n_states: int,
        rng: np.random.Generator,
        n_threads: int,
    ) -> None:
        self._n_threads = n_threads
        self.path = check_writable(path)
        self._n_kept, self._length, self._n_states, self._rng = n_kept, length, n_states, rng
        self._chunk_rows = max(1, CHUNK_BYTES // length)
        _check_room(self.path, n_sequences, length, n_states)
        self._partial = PartialFile(Path(f"{self.path}.partial"), config)
        self._reference: NDArray[np.uint8] | None = None
        self._tail = np.empty((0, length), np.uint8)  # rows that fill no chunk yet
        self._warmup: list[NDArray[np.float64]] = []
        self._waiting: list[Arrays] = []  # energies and overlaps not yet in a record
        self._chunks: list[bytes] = []
        self._started = self._recorded = time.monotonic()
        self.n_rounds = self.resumed_from = 0
        self.is_resumed = False

    @property
    def partial(self) -> PartialFile:
        """The file that is written to."""
        return self._partial

    def resume(self) -> Arrays | None:
        """Return the last stored state of the run, if there is one."""
        last: Arrays | None = None
        for last in self._partial.records():
            self.n_rounds += len(last["energy"])
            if len(last["warmup"]):
                self._warmup.append(last["warmup"])
        if last is None:
            return None
        if "reference" in last:
            self._reference = last["reference"]
        self._tail = _inflate(last["tail"], self._length)
        self.is_resumed = True
        self.resumed_from = self.n_rounds * self._n_kept
        return {name[6:]: array for name, array in last.items() if name.startswith("state/")}

    def append_warmup(self, energies: NDArray[np.float64], state: Arrays) -> None:
        """Keep the energies at the ends of pieces of the warm-up, and the state after them."""
        self._warmup.append(energies)
        self._record(state, warmup=energies)

    def append(self, rounds: Rounds, state: Arrays) -> None:
        """Keep some rounds and the state of the run after them."""
        if self._reference is None:
            self._reference = _first_reference(rounds, self._rng, self._n_states)
        energies = rounds.energies.astype(np.float32)
        overlaps = _overlaps(rounds.sequences, self._reference)
        self._waiting.append({"energy": energies, "overlap": overlaps})
        self.n_rounds += len(energies)
        rows = np.concatenate([self._tail, rounds.sequences.reshape(-1, self._length)])
        n_whole = len(rows) // self._chunk_rows * self._chunk_rows
        blocks = [rows[at : at + self._chunk_rows] for at in range(0, n_whole, self._chunk_rows)]
        self._chunks += run_in_threads(_deflate, blocks, self._n_threads)
        self._tail = rows[n_whole:].copy()
        now = time.monotonic()
        late = now - self._recorded > max(PATIENCE, (now - self._started) / 20.0)
        if self._chunks or late:
            self._record(state)

    def flush(self, state: Arrays) -> None:
        """Write a record of all that waits for one."""
        if self._waiting:
            self._record(state)

    def _record(self, state: Arrays, warmup: NDArray[np.float64] | None = None) -> None:
        nothing = np.empty((0, self._n_kept), np.float32)
        arrays: Arrays = {
            "energy": np.concatenate([nothing, *(one["energy"] for one in self._waiting)]),
            "overlap": np.concatenate([nothing, *(one["overlap"] for one in self._waiting)]),
            "warmup": np.empty((0, self._n_kept)) if warmup is None else warmup,
        }
        for number, chunk in enumerate(self._chunks):
            arrays[f"chunk/{number}"] = np.frombuffer(chunk, np.uint8)
        arrays["tail"] = np.frombuffer(_deflate(self._tail), np.uint8)
        if self._reference is not None:
            arrays["reference"] = self._reference
        arrays |= {f"state/{name}": array for name, array in state.items()}
        self._partial.append(arrays)
        self._waiting, self._chunks = [], []
        self._recorded = time.monotonic()

    def warmup_energies(self) -> NDArray[np.float64]:
        """Return the energies of the warm-up, shape (n_pieces, n_chains)."""
        return np.concatenate(self._warmup) if self._warmup else np.empty((0, 1))

    def traces(self) -> Traces:
        """Return energy and overlap of all rounds, of as many chains as fit."""
        n_chains = min(self._n_kept, max(2, TRACE_VALUES // max(1, self.n_rounds)))
        chains = np.linspace(0, self._n_kept - 1, n_chains).astype(np.int64)
        energy, overlap = [], []
        for record in self._partial.records():
            energy.append(record["energy"][:, chains])
            overlap.append(record["overlap"][:, chains])
        return Traces(chains, np.concatenate(energy), np.concatenate(overlap))

    def halve(self, state: Arrays) -> None:
        """Drop every second round, the last one stays; FILE.partial is replaced by a smaller one.

        `state` is that of the run from now on. A kill on the way leaves the old file.
        """
        is_kept = np.arange(self.n_rounds) % 2 == (self.n_rounds - 1) % 2
        spare = Path(f"{self.path}.partial.halved")
        spare.unlink(missing_ok=True)
        other = object.__new__(FileRecorder)
        other.__dict__.update(self.__dict__)
        other._partial = PartialFile(spare, self._partial.config)
        other._tail = np.empty((0, self._length), np.uint8)
        other._waiting, other._chunks, other.n_rounds = [], [], 0
        other._record(state, warmup=self.warmup_energies())
        for first, rounds, overlaps in self._stored_rounds():
            kept = is_kept[first : first + len(overlaps)]
            chosen = Rounds(rounds.sequences[kept], rounds.energies[kept])
            if kept.any():
                other.append(chosen, state)
        other.flush(state)
        self._partial.replace_by(other._partial)
        self._tail, self.n_rounds = other._tail, other.n_rounds

    def _stored_rounds(self) -> Iterator[tuple[int, Rounds, NDArray[np.float32]]]:
        """Yield (number of the first round, rounds, overlaps) of what is stored."""
        first, rows, waiting = 0, np.empty((0, self._length), np.uint8), []
        n_records = len(self._partial)
        for number, record in enumerate(self._partial.records(), start=1):
            waiting.append((record["energy"], record["overlap"]))
            names = [name for name in record if name.startswith("chunk/")]
            blobs = [record[name] for name in names]
            if number == n_records:
                blobs.append(record["tail"])
            rows = np.concatenate([rows, *(_inflate(blob, self._length) for blob in blobs)])
            n_here = len(rows) // self._n_kept
            energies = np.concatenate([one for one, _ in waiting])
            overlaps = np.concatenate([one for _, one in waiting])
            sequences = rows[: n_here * self._n_kept].reshape(n_here, self._n_kept, self._length)
            if n_here:
                yield first, Rounds(sequences, energies[:n_here].astype(float)), overlaps[:n_here]
            waiting = [(energies[n_here:], overlaps[n_here:])]
            rows = rows[n_here * self._n_kept :].copy()
            first += n_here

    def finish(
        self, n_sequences: int, provenance: dict[str, Any], attributes: dict[str, Any], model: Any
    ) -> None:
        """Write FILE from the records, whole or not at all, and remove FILE.partial."""
        try:
            with create_hdf5(self.path, "sequences", provenance) as file:
                for name, value in attributes.items():
                    file.attrs[name] = value
                self._copy(file, n_sequences)
                if model is not None:
                    model.write(file)
        except InputError as error:
            raise InputError(
                f"{error}; {self._partial.path} holds all sequences: repeat the command to go on"
            ) from error
        self._partial.close(remove=True)

    def _copy(self, file: Any, n_sequences: int) -> None:
        """Write sequences and traces, record by record; whole chunks stay as they are."""
        rows = min(self._chunk_rows, n_sequences)
        sequences = file.create_dataset(
            "sequences",
            shape=(n_sequences, self._length),
            dtype=np.uint8,
            chunks=(rows, self._length),
            compression="gzip",
        )
        trace_shape = (self.n_rounds, self._n_kept)
        traces = {
            name: file.create_dataset(f"trace/{name}", trace_shape, np.float32, chunks=True)
            for name in ("energy", "overlap")
        }
        row, first, tail = 0, 0, np.empty(0, np.uint8)
        for record in self._partial.records():
            n_here = len(record["energy"])
            for name, trace in traces.items():
                trace[first : first + n_here] = record[name]
            first += n_here
            for name in record:
                if name.startswith("chunk/") and row < n_sequences:
                    if rows == self._chunk_rows:
                        sequences.id.write_direct_chunk((row, 0), record[name].tobytes())
                    else:
                        sequences[:] = _inflate(record[name], self._length)[:n_sequences]
                    row += self._chunk_rows
            tail = record["tail"]
        if row < n_sequences:
            sequences[row:] = _inflate(tail, self._length)[: n_sequences - row]

    def close(self) -> None:
        """Leave FILE.partial as it is, unless there is nothing in it."""
        self._partial.close(remove=len(self._partial) == 0)


def _check_room(path: Path, n_sequences: int, length: int, n_states: int) -> None:
    """Raise InputError if the file, and FILE.partial while it is made, cannot fit on the disk."""
    per_sequence = length * math.log2(n_states) / 8.0 + 8.0  # at least: entropy and traces
    needed = 2.0 * per_sequence * n_sequences
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"cannot write {path}: {n_sequences} sequences need up to {needed / 1e9:.3g} GB with "
            f"FILE.partial, {free / 1e9:.3g} GB are free; use fewer sequences or another disk"
        )


def _deflate(rows: NDArray[np.uint8]) -> bytes:
    """Compress by Huffman codes alone: equilibrium sequences repeat too little to search for."""
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(np.ascontiguousarray(rows).tobytes()) + packer.flush()


def _inflate(blob: Any, length: int) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(bytes(blob)), np.uint8).reshape(-1, length)
