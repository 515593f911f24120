"""Alignments: FASTA and A2M files to integer states, and sequence weights.

Columns whose symbols are all lower case or `.` are inserts and dropped; columns are numbered from 1
over those that remain (the match columns), as structure tables do. The gap is state 0.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pottsattn._numba import n_threads_or_default, run_in_threads
from pottsattn._simd import LANES
from pottsattn._validate import (
    UNKNOWN_POLICIES,
    InputError,
    check_choice,
    check_identity_threshold,
)
from pottsattn.kernels_identity import WORD_SITES, count_neighbors, grow_cluster, pack_states

__all__ = [
    "ALPHABETS",
    "Alignment",
    "identity_clusters",
    "read_alignment",
    "sequence_weights",
]

ALPHABETS = {"protein": "-ACDEFGHIKLMNPQRSTVWY", "DNA": "-ACGT", "RNA": "-ACGU"}
AMBIGUITY_CODES = {"protein": "BJOUXZ", "DNA": "RYSWKMBDHVN", "RNA": "RYSWKMBDHVN"}
GAP = ord("-")
DOT = ord(".")
BLOCKS_PER_TASK = 16


@dataclass(frozen=True, eq=False)
class Alignment:
    """Sequences read from a file, with what was done to them."""

    sequences: NDArray[np.uint8]  # (M, L), states 0..C-1
    names: tuple[str, ...]  # (M,), what follows `>`
    alphabet: str  # state a is the letter alphabet[a]
    gap_index: int
    columns: NDArray[np.int32]  # (L,), match columns from 1
    n_read: int  # records in the file
    n_insert_columns: int
    unknown: dict[str, int]  # ambiguity codes found, with counts
    unknown_policy: str
    kind: str  # key of ALPHABETS

    @property
    def summary(self) -> str:
        """One line: what was read and what was left out."""
        n_sequences, length = self.sequences.shape
        text = f"{n_sequences} sequences of {length} {self.kind} columns"
        if self.n_insert_columns:
            text += f", {self.n_insert_columns} insert columns dropped"
        if self.unknown:
            codes = ", ".join(f"{code} x {count}" for code, count in sorted(self.unknown.items()))
            if self.unknown_policy == "drop":
                text += f", {self.n_read - n_sequences} sequences dropped for letters {codes}"
            else:
                text += f", letters {codes} read as gaps"
        return text


def read_alignment(path: str | os.PathLike[str], *, unknown: str = "drop") -> Alignment:
    """Return the aligned sequences of a FASTA or A2M file, plain or gzip-compressed.

    Parameters
    ----------
    path
        Records start with `>`; sequences may be wrapped over lines.
    unknown
        What to do with ambiguity codes (BJOUXZ in proteins, IUPAC codes in nucleotides): "drop" the
        sequence, read the letter as "gap", or raise an "error".

    Raises
    ------
    InputError
        Unreadable, empty or binary file, records of unequal length (named), a character that no
        alphabet has, or nothing left.
    """
    check_choice("unknown", unknown, UNKNOWN_POLICIES)
    names, records = _read_records(Path(path))
    raw = _equal_lengths(Path(path), names, records)  # (M, L_file), bytes
    is_lower = (raw >= ord("a")) & (raw <= ord("z"))
    is_insert = (is_lower | (raw == DOT)).all(axis=0)
    if is_insert.all():
        raise InputError(
            f"{path}: every column is an insert (all lower case or '.'); "
            "if this is an ordinary alignment in lower case, convert it to upper case"
        )
    letters = raw[:, ~is_insert]
    letters = np.where(is_lower[:, ~is_insert], letters - 32, letters)
    letters[letters == DOT] = GAP
    kind = _detect_alphabet(letters)
    alphabet = ALPHABETS[kind]
    table = np.full(256, 255, dtype=np.uint8)
    table[np.frombuffer(alphabet.encode(), dtype=np.uint8)] = np.arange(len(alphabet))
    states = table[letters]
    is_unknown = states == 255
    found = _check_unknown(Path(path), names, letters, is_unknown, kind, unknown)
    n_read = len(names)
    if unknown == "drop":
        kept = ~is_unknown.any(axis=1)
        states, names = states[kept], list(compress(names, kept))
    else:
        states[is_unknown] = 0
    if len(states) == 0:
        raise InputError(
            f"{path}: all {n_read} sequences hold ambiguity codes and were dropped; "
            "keep them with the policy 'gap'"
        )
    if states.shape[1] < 2:
        raise InputError(f"{path}: length must be at least 2, got {states.shape[1]} column")
    return Alignment(
        sequences=np.ascontiguousarray(states),
        names=tuple(names),
        alphabet=alphabet,
        gap_index=0,
        columns=np.arange(1, states.shape[1] + 1, dtype=np.int32),
        n_read=n_read,
        n_insert_columns=int(is_insert.sum()),
        unknown=found,
        unknown_policy=unknown,
        kind=kind,
    )


def _read_records(path: Path) -> tuple[list[str], list[bytes]]:
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise InputError(f"cannot read {path}: it is a directory, expected an alignment")
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged gzip file"
        raise InputError(f"cannot read {path}: {reason}") from error
    if not content.strip():
        raise InputError(f"{path} is empty, expected sequences in FASTA format")
    if b"\0" in content:
        raise InputError(f"{path} is a binary file, expected sequences in FASTA format")
    names: list[str] = []
    records: list[list[bytes]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip()
        if text.startswith(b">"):
            names.append(text[1:].decode("utf-8", errors="replace").strip() or f"#{len(names) + 1}")
            records.append([])
        elif text and not records:
            shown = text[:20].decode("ascii", errors="replace")
            raise InputError(
                f"{path} is not FASTA: line {number} starts with {shown!r}, expected '>'"
            )
        elif text:
            records[-1].append(text.replace(b" ", b""))
    return names, [b"".join(lines) for lines in records]


def _equal_lengths(path: Path, names: list[str], records: list[bytes]) -> NDArray[np.uint8]:
    length = len(records[0])
    for index, record in enumerate(records):
        if len(record) != length:
            raise InputError(
                f"{path}: record {index + 1} ({names[index]}) has {len(record)} columns, "
                f"the first record has {length}; the sequences must be aligned"
            )
    if length == 0:
        raise InputError(f"{path}: the sequences are empty")
    return np.frombuffer(b"".join(records), dtype=np.uint8).reshape(len(records), length)


def _detect_alphabet(letters: NDArray[np.uint8]) -> str:
    counts = np.bincount(letters.ravel(), minlength=256)
    present = {chr(code) for code in np.flatnonzero(counts)} - {"-"}
    for kind in ("DNA", "RNA"):
        plain = set(ALPHABETS[kind][1:])
        n_plain = sum(int(counts[ord(letter)]) for letter in plain)
        n_letters = int(counts.sum() - counts[GAP])
        # Ambiguity codes are also amino acids: a nucleotide file is mostly plain bases.
        if present <= plain | set(AMBIGUITY_CODES[kind]) and n_plain > 0.8 * n_letters:
            return kind
    return "protein"


def _check_unknown(
    path: Path,
    names: list[str],
    letters: NDArray[np.uint8],
    is_unknown: NDArray[np.bool_],
    kind: str,
    policy: str,
) -> dict[str, int]:
    found = Counter(chr(code) for code in letters[is_unknown])
    invalid = sorted(set(found) - set(AMBIGUITY_CODES[kind]))
    reported = invalid or (sorted(found) if policy == "error" else [])
    if reported:
        codes = [ord(letter) for letter in reported]
        record, column = np.argwhere(is_unknown & np.isin(letters, codes))[0]
        letter = chr(letters[record, column])
        what = "is in no alphabet" if invalid else "is an ambiguity code (policy 'error')"
        raise InputError(
            f"{path}: character {letter!r} in record {record + 1} ({names[record]}), "
            f"column {column + 1}, {what}; expected {kind} letters {ALPHABETS[kind]}"
        )
    return dict(found)


def sequence_weights(
    sequences: NDArray[np.uint8], identity_threshold: float, *, n_threads: int | None = None
) -> NDArray[np.float64]:
    """Return 1 / (number of sequences at least that identical, self included), shape (M,).

    Identity is the share of equal columns, gaps counted as a state (as plmc does). The sum of the
    weights is the effective size M_eff.

    Parameters
    ----------
    sequences : uint8, shape (n_sequences, length)
    identity_threshold
        Above 0, at most 1; 0.8 is customary.
    """
    limit = _max_mismatches(sequences.shape[1], identity_threshold)
    words, is_sequence = _packed(sequences)
    n_threads = n_threads_or_default(n_threads)
    # A task takes one of as many counters as there are threads: sums of integers have no order.
    counters = np.zeros((n_threads, words.shape[2]), dtype=np.uint32)
    unused = list(counters)

    def count(first: int) -> None:
        counts = unused.pop()
        last = min(first + BLOCKS_PER_TASK, len(is_sequence))
        count_neighbors(words, is_sequence, first, last, limit, counts)
        unused.append(counts)

    for _ in run_in_threads(count, range(0, len(is_sequence), BLOCKS_PER_TASK), n_threads):
        pass
    return 1.0 / counters.sum(axis=0)[: len(sequences)]


def identity_clusters(sequences: NDArray[np.uint8], identity_threshold: float) -> NDArray[np.int64]:
    """Return single-linkage cluster numbers, shape (M,): linked if at least that identical."""
    limit = _max_mismatches(sequences.shape[1], identity_threshold)
    words, is_open = _packed(sequences)
    labels = np.full(len(sequences), -1, dtype=np.int64)
    n_clusters = 0
    for seed in range(len(sequences)):  # one call a cluster, so that Ctrl-C is heard in between
        if labels[seed] < 0:
            grow_cluster(words, is_open, seed, limit, n_clusters, labels)
            n_clusters += 1
    return labels


def _packed(sequences: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return the bits of the states, and of which places of the blocks hold a sequence."""
    n_sequences, length = sequences.shape
    n_blocks = -(-n_sequences // LANES)
    n_steps = -(-length // WORD_SITES)
    n_bits = max(1, int(sequences.max()).bit_length())
    words = np.zeros((n_steps, n_bits, n_blocks * LANES), dtype=np.uint64)
    pack_states(sequences, words)
    is_sequence = np.full(n_blocks, 0xFFFF, dtype=np.uint16)
    is_sequence[-1] >>= n_blocks * LANES - n_sequences
    return words, is_sequence


def _max_mismatches(length: int, identity_threshold: float) -> int:
    return int(np.floor((1.0 - check_identity_threshold(identity_threshold)) * length + 1e-9))
