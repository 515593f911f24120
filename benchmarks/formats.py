"""Every alignment of a folder in every format: written, read again, compared.

    python benchmarks/formats.py FOLDER [--gz]

FOLDER is searched for .fasta, .a2m, .a3m and .sto files, also .gz. Each is read, written in the
seven formats, read again under a name without suffix, and compared: states, letters, columns, and
names where the format has them. Its own text, inserts and all, is written as A2M with dots, A3M,
Stockholm, Clustal and one sequence a line by other code than the package's: the match columns must
be the same. And single records of the file are read on the columns of the whole. Exit status 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pottsattn.data import read_dataset
from pottsattn.data.alignment.reading import read_alignment
from pottsattn.data.alignment.records import own_columns, read_text
from pottsattn.data.alignment.writing import write_alignment
from pottsattn.data.reading import read_like

SUFFIXES = (".fasta", ".a2m", ".a3m", ".sto", ".aln", ".clustal", ".phy")
FOUND = (".fasta", ".a2m", ".a3m", ".sto")


def differences(source: Path, folder: Path, packed: str) -> list[str]:
    """Return what is not the same after writing and reading."""
    whole, wrong = read_alignment(source), []
    for suffix in SUFFIXES:
        path = folder / f"a{suffix}{packed}"
        write_alignment(path, whole.sequences, whole.alphabet, names=whole.names)
        again = read_alignment(path.rename(folder / "a"))
        same = (
            np.array_equal(again.sequences, whole.sequences)
            and (again.alphabet, again.gap_index) == (whole.alphabet, whole.gap_index)
            and again.columns.tolist() == list(range(1, whole.sequences.shape[1] + 1))
            and (suffix == ".aln" or again.names == tuple(n.split()[0] for n in whole.names))
        )
        wrong += [] if same else [f"written as {suffix}"]
    for form, content in texts(source).items():
        (folder / form).write_bytes(content)
        again = read_alignment(folder / form)
        same = np.array_equal(again.sequences, whole.sequences)
        wrong += [] if same else [f"its text as {form}"]
    return wrong + parts(source, folder)


def texts(source: Path) -> dict[str, bytes]:
    """Return the file in other formats, its inserts too."""
    text = read_text(source)
    names = [name.split()[0].encode() for name in text.names]
    rows = text.rows
    if own_columns(text).is_match is None:  # A3M: rows of unequal length have one text only
        return {"x.a3m": b"".join(b">%s\n%s\n" % pair for pair in zip(names, rows, strict=True))}
    matched = own_columns(text).is_match
    padded = [
        bytes(
            code if is_match else ord(".") if chr(code) in ".-" else ord(chr(code).lower())
            for code, is_match in zip(row, matched.tolist(), strict=True)
        )
        for row in rows
    ]
    unmarked = [  # gaps of match columns as dashes, as A3M needs it
        bytes(
            ord("-") if is_match and code == ord(".") else ord(chr(code).upper()) if is_match
            else code
            for code, is_match in zip(row, matched.tolist(), strict=True)
        )
        for row in padded
    ]  # fmt: skip
    pairs = list(zip(names, padded, strict=True))
    lines = b"".join(b"%s %s\n" % pair for pair in pairs)
    stripped = [row.replace(b".", b"") for row in unmarked]
    return {
        "x.a2m": b"".join(b">%s\n%s\n" % pair for pair in pairs),
        "x.a3m": b"".join(b">%s\n%s\n" % pair for pair in zip(names, stripped, strict=True)),
        "x.sto": b"# STOCKHOLM 1.0\n" + lines + b"//\n",
        "x.clustal": b"CLUSTAL W\n\n" + lines,
        "x.aln": b"".join(row + b"\n" for row in padded),
    }


def parts(source: Path, folder: Path) -> list[str]:
    """Return what differs where single records are read on the columns of the whole."""
    text, wrong = read_text(source), []
    whole = read_dataset(source, unknown="gap", identity_threshold=None)
    for record in np.linspace(0, len(text.rows) - 1, 5, dtype=int):
        (folder / "one.fasta").write_bytes(b">one\n%s\n" % text.rows[record])
        one = read_like(folder / "one.fasta", whole, unknown="gap", identity_threshold=None)
        if not np.array_equal(one.sequences[0], whole.sequences[record]):
            wrong.append(f"record {record + 1} alone")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gz", action="store_true", help="write compressed files")
    arguments = parser.parse_args()
    sources = sorted(
        path
        for path in arguments.folder.rglob("*")
        if Path(path.name.removesuffix(".gz")).suffix in FOUND
    )
    n_wrong, n_sequences, started = 0, 0, time.perf_counter()
    for source in sources:
        with tempfile.TemporaryDirectory() as name:
            wrong = differences(source, Path(name), ".gz" if arguments.gz else "")
        n_wrong += bool(wrong)
        n_sequences += len(read_text(source).rows)
        print(f"{source.name:30} {'; '.join(wrong) or 'the same'}", flush=True)
    seconds = time.perf_counter() - started
    print(
        f"{len(sources)} alignments, {n_sequences} sequences, {len(SUFFIXES)} formats: "
        f"{n_wrong} differ ({seconds:.0f} s)"
    )
    return int(n_wrong > 0 or not sources)


if __name__ == "__main__":
    sys.exit(main())
