"""Files for the fuzz tests of alignments: well formed, mutated and random; and what must hold."""

from __future__ import annotations

import gzip
from pathlib import Path

from hypothesis import strategies as st
from slow_reader import Unreadable, slow_read

from pottsattn import InputError
from pottsattn.data.alignment.reading import read_alignment

FORMS = ("fasta", "a2m", "a3m", "sto", "aln", "clustal", "phy")
PIECES = (b">", b"\n", b"\r", b" ", b".", b"-", b"//", b"\n\n", b"# STOCKHOLM 1.0\n", b"#=GC RF x",
          b"\t", b"a", b"x", b"X", b"*", b"1", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b",
          b">ss_pred\n", b"A", b"\x0b", b"\x85", b"2 3\n", b"CLUSTAL\n", b"* :.\n", b"U",
          b"T")  # fmt: skip


@st.composite
def contents(draw, form):
    """Bytes of a file of the format, most of them nearly right."""
    if draw(st.integers(0, 9)) == 0:
        return b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=20)))
    letters = draw(st.sampled_from(("ACDEFGHIKLMNPQRSTVWY-", "ACGT-", "ACGU-N", "ACX-", "AC-.")))
    length = draw(st.integers(1, 8).map(lambda length: max(length, 2)))
    n_rows = draw(st.integers(1, 5))
    rows = [
        draw(st.text(alphabet=letters, min_size=length, max_size=length)) for _ in range(n_rows)
    ]
    if draw(st.booleans()):
        rows = _with_inserts(draw, rows, form in ("a2m", "a3m") and draw(st.booleans()))
    end = draw(st.sampled_from(("\n", "\r\n", "\r")))
    width = draw(st.integers(1, 12))
    if form in ("sto", "clustal"):
        lines = ["# STOCKHOLM 1.0" if form == "sto" else "CLUSTAL W (1.83)"]
        longest = max(len(row) for row in rows)
        for start in range(0, longest, width):
            lines += ["", *(f"s{m} {row[start : start + width]}" for m, row in enumerate(rows))]
            lines += ["#=GC RF " + "x" * width] if form == "sto" else ["   " + "*:. "]
        lines += ["//", ""] if form == "sto" else []
    elif form == "aln":
        lines = [*rows, ""]
    elif form == "phy":
        lines = [f" {len(rows)} {len(rows[0])}"]
        layout = draw(st.sampled_from(("line", "sequential", "interleaved", "strict")))
        starts = range(0, len(rows[0]), width)
        if layout == "interleaved":
            for start in starts:
                lines += [
                    f"{f's{m} ' if start == 0 else ''}{row[start : start + width]}"
                    for m, row in enumerate(rows)
                ]
        else:
            for m, row in enumerate(rows):
                parts = [row[start : start + width] for start in starts]
                if layout != "sequential":
                    parts = [row]
                name = f"s {m}".ljust(10) if layout == "strict" else f"s{m} "
                lines += [name + parts[0], *parts[1:]]
    else:
        lines = []
        for m, row in enumerate(rows):
            lines += [f">s{m} x", *(row[at : at + width] for at in range(0, len(row), width))]
    content = bytearray(end.join(lines).encode())
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(PIECES))
    return bytes(content)


def _with_inserts(draw, rows, by_letter):
    at = draw(st.integers(0, len(rows[0])))
    inserts = [draw(st.text(alphabet="ac.", min_size=2, max_size=2)) for _ in rows]
    if by_letter:
        inserts = [insert.replace(".", "") for insert in inserts]
    return [row[:at] + insert + row[at:] for row, insert in zip(rows, inserts, strict=True)]


@st.composite
def cases(draw):
    """A format, a file of it and options."""
    form = draw(st.sampled_from(FORMS))
    share = st.sampled_from((1.0, 1.0, 1.0, 0.5, 0.25, 0.0))
    options = {
        "unknown": draw(st.sampled_from(("gap", "drop", "gap", "error"))),
        "kind": draw(st.sampled_from((None, None, None, "protein", "RNA"))),
        "max_gap_rows": draw(share),
        "max_gap_columns": draw(share),
    }
    return form, draw(contents(form)), options, draw(st.booleans())


def check(folder: Path, form: str, content: bytes, options: dict, compress: bool = False) -> bool:
    """Read with the package and with the slow reader; return whether it is an alignment.

    Raises AssertionError where they differ, and whatever the package raises but InputError.
    """
    path = folder / f"a.{form}{'.gz' if compress else ''}"
    path.write_bytes(gzip.compress(content, 1, mtime=0) if compress else content)
    try:
        expected = slow_read(content, form, **options)
    except Unreadable as error:
        expected = None
        reason = error
    try:
        found = read_alignment(
            path,
            unknown=options["unknown"],
            alphabet=options["kind"],
            max_gap_sequences=options["max_gap_rows"],
            max_gap_columns=options["max_gap_columns"],
        )
    except InputError as error:
        message = str(error)
        assert expected is None, f"refused: {message}"
        assert str(path) in message
        assert len(message.splitlines()) == 1, message
        return False
    assert expected is not None, f"read, but: {reason}"
    kind, rows, columns = expected
    assert found.kind == kind
    assert found.columns.tolist() == columns
    assert found.sequences.shape == (len(rows), len(columns))
    assert len(found.names) == len(rows)
    assert ["".join(found.alphabet[a] for a in row) for row in found.sequences] == rows
    return True
