"""Formats and alphabets are told by what a file holds; names and ranges as users have them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pottsattn import InputError, SequenceDataset
from pottsattn.cli.main import main
from pottsattn.data.alignment.reading import read_alignment
from pottsattn.data.alignment.writing import write_alignment
from pottsattn.data.reading import read_dataset

ROWS = ["LDAWLQ-TNFHKRA", "FDAWVQPTGNHGRA", "DD--LDITNFHPKL"]
NAMES = ("one/1-13", "two", "three_x")
BLOCKED = [(0, 6), (6, 14)]

FASTA = "".join(f">{name}\n{row[:9]}\n{row[9:]}\n" for name, row in zip(NAMES, ROWS, strict=True))
STOCKHOLM = "# STOCKHOLM 1.0\n#=GF ID x\n\n" + "\n".join(
    "".join(f"{name:12}{row[low:high]}\n" for name, row in zip(NAMES, ROWS, strict=True))
    for low, high in BLOCKED
) + "//\n"  # fmt: skip
CLUSTAL = "CLUSTAL O(1.2.4) multiple sequence alignment\n\n\n" + "\n".join(
    "".join(f"{name:12}{row[low:high]}\t{high}\n" for name, row in zip(NAMES, ROWS, strict=True))
    + " " * 12 + "*: . \n"
    for low, high in BLOCKED
)  # fmt: skip
SEQUENTIAL = " 3 14\n" + "".join(
    f"{name:11}{row[:6]}\n  {row[6:]}\n" for name, row in zip(NAMES, ROWS, strict=True)
)
INTERLEAVED = "3 14 I\n" + "".join(
    f"{name:11}{row[:3]} {row[3:6]}\n" for name, row in zip(NAMES, ROWS, strict=True)
) + "\n" + "".join(f"{row[6:]}\n" for row in ROWS)  # fmt: skip
STRICT = " 3 14\n" + "".join(f"{name[:8]:10}{row}\n" for name, row in zip(NAMES, ROWS, strict=True))
BLANKS = " 3 14\n" + "".join(
    f"sp {name[:4]:7}{row}\n" for name, row in zip(NAMES, ROWS, strict=True)
)
ONE_A_LINE = "\n".join(ROWS)
COLABFOLD = "#14\t1\n>101\n" + FASTA.partition("\n")[2] + "\0"
TEXTS = {
    "FASTA": FASTA, "A3M": COLABFOLD, "Stockholm": STOCKHOLM, "Clustal": CLUSTAL,
    "PHYLIP": SEQUENTIAL, "interleaved": INTERLEAVED, "strict": STRICT, "blanks": BLANKS,
    "ALN": ONE_A_LINE,
}  # fmt: skip


def letters(alignment):
    return ["".join(alignment.alphabet[a] for a in row) for row in alignment.sequences]


def info(capsys, *words):
    status = main(["info", *map(str, words), "--json"])
    captured = capsys.readouterr()
    assert captured.err.count("\n") == (status == 1)
    return status, json.loads(captured.out) if captured.out else None, captured.err


@pytest.mark.parametrize("name", ["a.fasta", "a.faa", "a.stk", "a.aln", "family"])
@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("compress", [False, True])
def test_a_format_is_told_by_content(tmp_path, capsys, form, name, compress):
    content = TEXTS[form].encode()
    path = tmp_path / (f"{name}.gz" if compress else name)
    path.write_bytes(gzip.compress(content) if compress else content)
    alignment = read_alignment(path)
    assert letters(alignment) == ROWS
    assert alignment.form == (form if form in ("FASTA", "A3M", "Stockholm", "Clustal", "ALN")
                              else "PHYLIP")  # fmt: skip
    if form not in ("A3M", "ALN", "strict", "blanks"):
        assert alignment.names == NAMES
    if form == "blanks":
        assert alignment.names[0] == "sp one/"
    status, report, _ = info(capsys, path)
    assert status == 0
    assert (report["format"], report["text_format"]) == ("alignment", alignment.form)
    assert read_dataset(path, identity_threshold=None).length == 14


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.bz2", bz2.compress(FASTA.encode()), "compressed by bzip2; unpack it, or use gzip"),
        ("a.fasta", lzma.compress(FASTA.encode()), "compressed by xz"),
        ("a.faa", b"name,score\nx,1\n", "cannot tell the format of"),
        ("a.txt", b"\x00\x01\x02\x03", "is a binary file, expected an alignment"),
        ("a.a3m", (COLABFOLD + COLABFOLD).encode(), "has 2 alignments with NUL characters between"),
        ("a.phy", b"2 4\none ACDE\ntwo A..E\n", "record 2 (two) has '.', which in PHYLIP is"),
        ("a.phy", b"2 4\none ACDE\ntwo ACDEF\n", "are not 2 names with 4 columns each"),
        ("a.phy", b"999999999 4\none ACDE\n", "are not 999999999 names"),
        ("a.aln", b"ACDE\nAC DE\n", "line 2 is 'AC DE', expected a sequence"),
        ("a.aln", b"ACDE\nACD\n", "record 2 (#2) has 3 columns, the first record has 4"),
        ("a.aln", b"CLUSTAL W\n\na ACDE\na ACDE\n", "line 4 has a once more in one block"),
        ("a.aln", b"CLUSTAL W\n\n", "holds no sequence"),
        ("a.h5", FASTA.encode(), None),
    ],
)
def test_what_cannot_be_read_is_named_as_it_is(tmp_path, capsys, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    status, report, error = info(capsys, path)
    if words is None:  # the suffix of a data set, the content of an alignment
        assert status == 1
        return
    assert (status, report) == (1, None)
    assert words in error
    assert "HDF5" not in error


def test_arrays_and_data_sets_are_told_by_content_too(tmp_path):
    with (tmp_path / "array.dat").open("wb") as stream:
        np.save(stream, np.array([[0, 1], [1, 0]]))
    assert read_dataset(tmp_path / "array.dat").n_states == 2
    SequenceDataset([[0, 1], [1, 0]], 2).save(tmp_path / "data.fasta")
    assert read_dataset(tmp_path / "data.fasta").n_sequences == 2


RNA = ["CGUUACUGGC", "UUAUAUUAGA", "CUUUACCGUC", "CAGCUCUGGA", "CGGUACUGUC", "CGGUACAGGC"]


@pytest.mark.parametrize(
    ("odd", "alphabet", "n_read", "words"),
    [
        ("CGGTACTGGC", None, 7, "T x 2 read as U"),
        ("CGGTACTGGC", "rna", 7, "T x 2 read as U"),
        ("CGGUXCUGGC", None, 6, "1 sequences dropped for letters X x 1"),
        ("CGGUXCUGGC", "rna", 6, "1 sequences dropped for letters X x 1"),
        ("CGGUICUGGC", None, 6, "1 sequences dropped for letters I x 1"),
        ("CGGUNCTGGC", None, 6, "1 sequences dropped for letters N x 1"),
    ],
)
def test_rna_with_one_other_sequence_is_rna(tmp_path, odd, alphabet, n_read, words):
    path = tmp_path / "a.fasta"
    path.write_text("".join(f">{m}\n{row}\n" for m, row in enumerate([*RNA, odd])))
    found = read_alignment(path, alphabet=alphabet)
    assert found.kind == "RNA"
    assert len(found.sequences) == n_read
    assert words in found.summary
    if "read as" in words:
        assert letters(found)[-1] == odd.replace("T", "U")


def test_dna_with_one_rna_is_dna_and_proteins_stay_proteins(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text("".join(f">{m}\n{row.replace('U', 'T')}\n" for m, row in enumerate(RNA))
                    + ">r\nCGGUACUGGC\n")  # fmt: skip
    found = read_alignment(path)
    assert (found.kind, letters(found)[-1]) == ("DNA", "CGGTACTGGC")
    assert "U x 2 read as T" in found.summary
    path.write_text(">1\nGATTACAK\n>2\nMKTAYIAK\n")
    assert read_alignment(path).kind == "protein"
    path.write_text("".join(f">{m}\n{row}\n" for m, row in enumerate(RNA)) + ">e\nCGGUECUGGC\n")
    with pytest.raises(InputError, match=r"'E' in record 7 \(e\), column 5.*RNA letters"):
        read_alignment(path)


def test_masked_dna_is_dna(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">1\nACGTNNNNAC\n>2\nNNNTACGTAC\n>3\nACGTACGTAC\n")
    assert read_alignment(path, unknown="gap").kind == "DNA"


def test_a_pipe_is_read_once(tmp_path):
    """Telling its kind must not take away its first bytes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(path.write_text, FASTA)
        found = read_dataset(path, identity_threshold=None)
        writing.result()
    assert found.n_sequences == 3


UNIPROT = ("sp|P62593|BLAT_ECOLX/24-30 x", "tr|Q1|B_OTHER/3-9", "UniRef90_A1")


@pytest.mark.parametrize(
    "name",
    [UNIPROT[0], "sp|P62593|BLAT_ECOLX/24-30", "sp|P62593|BLAT_ECOLX", "BLAT_ECOLX", "P62593"],
)
def test_focus_and_sequence_take_the_same_names(tmp_path, capsys, name):
    path, fit = tmp_path / "a.fasta", str(tmp_path / "fit.h5")
    rows = ["MKLWVAA", "MKIWVAC", "MRLWVAD"]
    path.write_text("".join(f">{n}\n{r}\n" for n, r in zip(UNIPROT, rows, strict=True)))
    command = ["fit", str(path), "--focus", name, "--numbering", "focus", "--method", "mf"]
    assert main([*command, "--out", fit]) == 0
    for data in (path, tmp_path / "a.h5"):
        scan = ["mutations", fit, "--data", str(data), "--sequence", name, "--json"]
        read_dataset(path).save(tmp_path / "a.h5")
        capsys.readouterr()
        assert main(scan) == 0
        report = json.loads(capsys.readouterr().out)
        assert "".join(report["wild_type"]) == rows[0]
        assert report["columns"] == list(range(24, 31))
    assert main(["mutations", fit, "--data", str(path), "--sequence", "sp"]) == 1
    assert "no sequence is named 'sp'" in capsys.readouterr().err


def test_a_focus_that_was_dropped_is_said_to_be(tmp_path, capsys):
    path, fit = tmp_path / "a.fasta", str(tmp_path / "fit.h5")
    rows = {"GPX_HUMAN/1-7": "MKLWUAA", "b": "MKIWVAC", "c": "MRLWVAD", "d": "MRLWIAD"}
    path.write_text("".join(f">{name}\n{row}\n" for name, row in rows.items()))
    options = ["--focus", "GPX_HUMAN", "--numbering", "focus"]
    assert main(["fit", str(path), *options, "--method", "mf", "--out", fit]) == 0
    summary = capsys.readouterr().out
    assert "dropped for letters U x 1, the focus GPX_HUMAN/1-7 itself among the dropped" in summary
    scan = ["mutations", fit, "--data", str(path), "--sequence", "GPX_HUMAN/1-7"]
    assert main(scan) == 1
    assert "GPX_HUMAN/1-7 was dropped for letters U x 1" in capsys.readouterr().err
    path.write_text(path.read_text().replace("MRLWIAD", "M----AD"))
    assert main([*scan[:-1], "d", "--max-gap-sequences", "0.3"]) == 1
    assert "d was dropped for its gaps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "first", "words"),
    [
        ("Q/24-30", [], 24, None),
        ("Q/24-286", [], 1, "range 24-286 in that name is not used: it has 263 residues"),
        ("Q/24-286", ["--first-residue", "24"], 24, None),
        ("Q", ["--first-residue", "101"], 101, None),
    ],
)  # fmt: skip
def test_the_first_number_is_that_of_the_name_or_given(
    tmp_path, capsys, name, options, first, words
):
    path = tmp_path / "a.fasta"
    path.write_text(f">{name}\nMKLWVAA\n>b\nMKIWVAC\n")
    status, report, _ = info(capsys, path, "--focus", "Q", "--numbering", "focus", *options)
    assert status == 0
    assert report["columns"] == f"{first}-{first + 6}"
    assert f"its first residue is {first}" in report["summary"]
    assert ("not used" in report["summary"]) == (words is not None)
    assert words is None or words in report["summary"]


ALONG = ["--focus", "Q", "--numbering", "focus"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--first-residue", "5"], "--first-residue needs --numbering focus"),
        (["--focus", "Q", "--numbering", "focus", "--first-residue", "0"], "must be at least 1"),
        (
            ["--focus", "Q", "--numbering", "focus", "--first-residue", str(1 << 70)],
            "must be at most",
        ),
    ],
)
def test_a_first_residue_without_meaning_is_refused(tmp_path, capsys, options, words):
    path = tmp_path / "a.fasta"
    path.write_text(">Q\nMKLWVAA\n>b\nMKIWVAC\n")
    status, _, error = info(capsys, path, *options)
    assert status == 1
    assert words in error


SUFFIXES = (".fasta", ".a2m", ".a3m", ".sto", ".aln", ".clustal", ".phy")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".phy.gz", ".clustal.gz"])
@pytest.mark.parametrize("alphabet", ["protein", "RNA", "01", "AB*-"])
def test_every_format_is_written_and_read_again(tmp_path, capsys, rng, suffix, alphabet):
    n_states = {"protein": 21, "RNA": 5, "01": 2, "AB*-": 4}[alphabet]
    states = rng.integers(n_states, size=(9, 131), dtype=np.uint8)
    names = [f"name|{m}/1-131" for m in range(9)]
    source, path = tmp_path / "source.fasta", tmp_path / f"a{suffix}"
    write_alignment(source, states, alphabet, names=names)
    export = ["export", str(source), "--format", "sequences", "--alphabet", alphabet]
    assert main([*export, "--out", str(path)]) == 0
    assert "9 sequences" in capsys.readouterr().out
    other = tmp_path / "without a suffix"
    path.rename(other)
    found = read_alignment(other, alphabet=alphabet)
    assert_array_equal(found.sequences, states)
    if suffix != ".aln":
        assert list(found.names) == names


@pytest.mark.parametrize(
    ("suffix", "names", "alphabet", "words"),
    [
        (".aln", None, "A/", "one sequence a line cannot hold all letters of 'A/'; write FASTA"),
        (".clustal", ["a b", "a c"], "AC", "Clustal names must be unique first words"),
        (".clustal", ["a", "*"], "AC", "Clustal names must be unique first words"),
        (".fasta", ["a", "ss_pred x"], "AC", "marks annotation in A3M"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, suffix, names, alphabet, words):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match=words):
        write_alignment(path, [[0, 1], [1, 0]], alphabet, names=names)
    assert not path.exists()


def test_real_families_in_every_format(data_dir, tmp_path):
    """All of them: benchmarks/formats.py."""
    paths = sorted((data_dir / "families").glob("*.fasta.gz"), key=lambda path: path.stat().st_size)
    for source in (data_dir / "PF00014.fasta.gz", *paths[:2]):
        whole = read_alignment(source)
        for suffix in SUFFIXES:
            path = tmp_path / f"a{suffix}"
            write_alignment(path, whole.sequences, whole.alphabet, names=whole.names)
            again = read_alignment(path)
            assert_array_equal(again.sequences, whole.sequences)
            assert (again.alphabet, again.gap_index) == (whole.alphabet, whole.gap_index)
            if suffix != ".aln":
                assert again.names == whole.names
