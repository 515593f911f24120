"""Formats, alphabets, filters and the focus sequence; what is written reads back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pottsattn import InputError
from pottsattn.cli.main import main
from pottsattn.data.alignment.alphabets import parse_alphabet
from pottsattn.data.alignment.filters import find_record, residue_range
from pottsattn.data.alignment.reading import read_alignment
from pottsattn.data.alignment.writing import write_alignment
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.reading import read_dataset

SUFFIXES = (".fasta", ".fa", ".a2m", ".a3m", ".sto", ".stockholm")
STOCKHOLM = """# STOCKHOLM 1.0
#=GF ID test

one/5-8  MKa.
#=GR one/5-8 SS HHHH
two      M-.c

one/5-8  L-
two      RW
#=GC RF  xx
//
"""


@pytest.fixture
def write(tmp_path):
    def _write(content, name):
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return _write


def letters(alignment):
    return ["".join(alignment.alphabet[a] for a in row) for row in alignment.sequences]


@pytest.mark.parametrize(
    ("name", "content", "dropped"),
    [
        ("a.sto", STOCKHOLM, (2, 0, 0)),
        ("a.a2m", ">one/5-8\nMKa.L-\n>two\nM-.cRW\n", (2, 0, 0)),
        ("a.a2m", ">one/5-8\nMKaaL-\n>two\nM-RW\n", (0, 2, 0)),  # dots left out
        ("a.a2m", ">one/5-8\nMKaL-\n>two\nM-RcW\n", (0, 2, 0)),  # of equal length by chance
        ("a.a3m", "#4 1\n>ss_pred\nHHC\n>one/5-8\nMKaL-\n>two\nM\n-RW\n", (0, 1, 1)),
        ("a.a3m", ">one/5-8\nMKa.L-\n>two\nM-.cRW\n", (0, 2, 0)),
    ],
)
def test_every_format_leaves_inserts_out(write, name, content, dropped):
    alignment = read_alignment(write(content, name))
    assert letters(alignment) == ["MKL-", "M-RW"]
    assert alignment.names == ("one/5-8", "two")
    counts = (alignment.n_insert_columns, alignment.n_insert_letters, alignment.n_annotations)
    assert counts == dropped


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.sto", STOCKHOLM[:-4], "does not end with '//'"),
        ("a.sto", STOCKHOLM + STOCKHOLM, "line 12 has another alignment after the end"),
        ("a.sto", STOCKHOLM.replace("two      RW", "one/5-8 RW"), r"line 9 .* once more"),
        ("a.sto", STOCKHOLM.replace("RW", "RWK"), r"line 9 \(two\) has 3 columns.* have 2"),
        ("a.sto", STOCKHOLM.replace("RW", "R W"), r"line 9 \(two\) has 3 words"),
        ("a.sto", "# STOCKHOLM 1.0\n//\n", "holds no sequence"),
        ("a.sto", "x y\n>1\nMK\n", "cannot tell the format .* line 1 starts with 'x y'"),
        ("a.a3m", ">1\nMKa\n>2\nMKL\n", r"record 2 \(2\) has 3 match columns.* record has 2"),
        ("a.a3m", ">ss_pred\nHHH\n", "holds no sequence"),
        (
            "a.fasta",
            ">1\nMKaL\n>2\nMKLc\n",
            "may be inserts, as in A3M, or not",
        ),
    ],
)
def test_what_is_wrong_with_a_format_is_named(write, name, content, text):
    path = write(content, name)
    with pytest.raises(InputError, match=text) as caught:
        read_alignment(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("alphabet", ["protein", "DNA", "RNA", "HP-", "01"])
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".sto.gz", ".fasta.gz"])
def test_what_is_written_reads_back(tmp_path, rng, suffix, alphabet):
    chosen = parse_alphabet(alphabet)
    sequences = rng.integers(len(chosen.letters), size=(20, 70), dtype=np.uint8)
    names = [f"n{m}/1-70" for m in range(20)]
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    write_alignment(paths[0], sequences, alphabet, names=names)
    first = read_alignment(paths[0], alphabet=alphabet)
    assert_array_equal(first.sequences, sequences)
    assert (first.alphabet, first.gap_index) == (chosen.letters, chosen.gap_index)
    assert first.names == tuple(names)
    write_alignment(paths[1], first.sequences, first.alphabet, names=first.names)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("a.txt", None, "cannot tell the format"),
        ("a.fa", ["one"], "names must be 2"),
        ("a.fa", ["one", "t\nwo"], "name 2 is .* one line"),
        ("a.sto", ["one a", "one b"], "name 2 begins with 'one'"),
        ("a.a3m", ["one", "ss_pred"], "marks annotation"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, names, text):
    with pytest.raises(InputError, match=text):
        write_alignment(tmp_path / name, [[0, 1], [1, 0]], "HP", names=names)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("alphabet", "text"),
    [
        ("protien", "none of protein, dna, rna .did you mean protein"),
        ("-AA", "'A' twice"),
        ("A", "at least 2"),
        ("A.", r"has '\.'"),
        ("A B", "blank"),
        ("AÄ", "cannot be a letter"),
    ],
)
def test_impossible_alphabets_are_refused(alphabet, text):
    with pytest.raises(InputError, match=text):
        parse_alphabet(alphabet)


def test_a_given_alphabet_is_taken_at_its_word(write):
    path = write(">1\nACGT-\n>2\nACGTA\n", "a.fasta")
    assert read_alignment(path).kind == "DNA"
    assert read_alignment(path, alphabet="protein").kind == "protein"
    with pytest.raises(InputError, match=r"'T' in record 1 \(1\), column 4, is not in the given"):
        read_alignment(path, alphabet="ACGU-")


GAPPY = ">f/11-15\nMKL-WV\n>2\nMKLRWV\n>3\nM----V\n>4\nM-L-WV\n>5\nMKL--X\n>5b\nMKL--X\n"


def test_filters_keep_column_numbers_and_count_what_they_drop(write):
    path = write(GAPPY, "a.fasta")
    alignment = read_alignment(path, max_gap_sequences=0.5, max_gap_columns=0.4, unknown="gap")
    # Record 3 has 4 of 6 gaps; of the rest (X is a gap) column 4 has 4 of 5, column 5 2 of 5.
    assert alignment.columns.tolist() == [1, 2, 3, 5, 6]
    assert (alignment.n_gap_sequences, alignment.n_gap_columns) == (1, 1)
    assert alignment.n_duplicates == 2
    assert alignment.names == ("f/11-15", "2", "4", "5", "5b")
    assert alignment.summary == (
        "5 sequences of 5 protein columns, 1 sequences dropped for gaps, 1 columns dropped for "
        "gaps, letters X x 2 read as gaps, 2 of them duplicates"
    )


def test_a_letter_in_a_dropped_column_drops_no_sequence(write):
    path = write(">1\nMKX\n>2\nMK-\n>3\nMK-\n", "a.fasta")
    assert read_alignment(path).n_unknown_sequences == 1
    alignment = read_alignment(path, max_gap_columns=0.5)
    assert letters(alignment) == ["MK", "MK", "MK"]
    assert alignment.unknown == {}


@pytest.mark.parametrize("name", ["f/11-15", "f"])
@pytest.mark.parametrize(("numbering", "columns"), [("alignment", [1, 2, 3, 5, 6]),
                                                    ("focus", [11, 12, 13, 14, 15])])  # fmt: skip
def test_the_focus_gives_columns_and_numbers(write, name, numbering, columns):
    path = write(GAPPY, "a.fasta")
    alignment = read_alignment(path, focus=name, numbering=numbering)
    assert letters(alignment)[0] == "MKLWV"
    assert alignment.columns.tolist() == columns
    assert "columns of f/11-15" in alignment.summary


@pytest.mark.parametrize(("name", "text"), [
    ("a.a3m", ">f/3-7\nMaK-Lc\n>2\nMKRL\n"),
    ("a.fasta", ">f/3-7\nMaK-Lc\n>2\nM.KRL.\n"),
])  # fmt: skip
def test_numbers_along_the_focus_count_its_inserts(write, name, text):
    alignment = read_alignment(write(text, name), focus="f", numbering="focus")
    assert letters(alignment) == ["MKL", "MKL"]
    assert alignment.columns.tolist() == [3, 5, 6]


def test_ranges_of_names():
    names = ("a/3-7", "a/3-7 x", "a/b", "a", "sp|P1|A_B/24-286")
    assert [residue_range(name) for name in names] == [(3, 7), (3, 7), None, None, (24, 286)]


def test_focus_names_are_found_or_explained():
    names = ["a/1-5 x", "b/1-5", "b/7-9"]
    assert [find_record(names, name) for name in ("a", "a/1-5", "a/1-5 x", "b/7-9")] == [0, 0, 0, 2]
    with pytest.raises(InputError, match="2 sequences are named 'b', records 2 and 3"):
        find_record(names, "b")
    with pytest.raises(InputError, match=r"no sequence is named 'b/7-8' \(did you mean b/7-9"):
        find_record(names, "b/7-8")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_gap_columns": 1.1}, "max_gap_columns must be at most 1"),
        ({"max_gap_sequences": -0.1}, "max_gap_sequences must not be negative"),
        ({"focus": "nobody"}, "a.fasta: no sequence is named 'nobody'"),
        ({"numbering": "focus"}, "needs a focus"),
        ({"numbering": "residues"}, "numbering must be one of"),
    ],
)
def test_options_out_of_range_are_refused(write, options, text):
    with pytest.raises(InputError, match=text):
        read_alignment(write(GAPPY, "a.fasta"), **options)


def test_nothing_left_says_what_to_raise(write):
    path = write(">1\nM-K\n>2\nMK-\n", "a.fasta")
    with pytest.raises(InputError, match=r"the least is 0.333; raise max_gap_sequences"):
        read_alignment(path, max_gap_sequences=0.1)


def test_filtered_columns_reach_the_contacts_of_a_fit(tmp_path, rng, capsys):
    rows = rng.integers(1, 5, size=(60, 12), dtype=np.uint8)
    rows[1:, 4] = 0
    path, fit = tmp_path / "a.sto", str(tmp_path / "fit.h5")
    write_alignment(path, rows, "DNA")
    options = ["--max-gap-columns", "0.5", "--alphabet", "dna"]
    command = ["fit", str(path), "--method", "plm", "--out", fit, "--json", *options]
    assert main(command) == 0
    assert "1 columns dropped for gaps" in json.loads(capsys.readouterr().out)["summary"]
    ranking = tmp_path / "c.csv"
    assert main(["contacts", fit, "--min-separation", "1", "--out", str(ranking)]) == 0
    pairs = np.loadtxt(ranking, delimiter=",", skiprows=1)
    assert sorted(set(pairs[:, 1:3].astype(int).ravel())) == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    capsys.readouterr()
    assert main(["info", str(path), "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["columns"] == "1-4, 6-12"


def test_test_data_are_read_on_the_columns_of_the_fit(tmp_path, rng, capsys):
    rows = rng.integers(1, 5, size=(60, 12), dtype=np.uint8)
    test = rows.copy()
    rows[1:, 4] = 0
    train, other, fit = str(tmp_path / "a.fa"), str(tmp_path / "b.fa"), str(tmp_path / "fit.h5")
    write_alignment(train, rows, "RNA")
    write_alignment(other, test, "RNA")
    options = ["--method", "plm", "--max-gap-columns", "0.5", "--alphabet", "RNA"]
    assert main(["fit", train, "--out", fit, "--json", *options]) == 0
    capsys.readouterr()
    losses = []
    for path in (train, other):  # the fifth column does not count
        assert main(["compare", fit, "--test", path, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["fits"][0]["test_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
    assert main(["compare", fit, "--test", train, "--alphabet", "HP-"]) == 1
    assert "not in the given alphabet" in capsys.readouterr().err
    gappy = test.copy()
    gappy[1:, 7] = 0
    write_alignment(other, gappy, "RNA")
    losses = []
    for filtered in ([], ["--max-gap-columns", "0.5"]):  # columns are those of the fit
        assert main(["compare", fit, "--test", other, "--json", *filtered]) == 0
        losses.append(json.loads(capsys.readouterr().out)["fits"][0]["test_loss"])
    assert losses[0] == losses[1]


def test_options_of_alignments_are_refused_for_other_data(tmp_path):
    path = tmp_path / "a.h5"
    SequenceDataset([[0, 1], [1, 0]], 2).save(path)
    for options in ({"focus": "x"}, {"max_gap_columns": 0.5}, {"numbering": "focus"}):
        with pytest.raises(InputError, match="applies to alignments"):
            read_dataset(path, **options)


def test_a_file_larger_than_memory_is_refused(write, monkeypatch):
    path = write(">1\nMK\n", "a.fasta")
    monkeypatch.setattr("pottsattn.data.alignment.records.available_memory", lambda: 50)
    with pytest.raises(InputError, match="takes 54 B of memory, 50 B are available; split"):
        read_alignment(path)


def test_a_real_family_in_every_format(data_dir, tmp_path):
    source = read_alignment(data_dir / "PF00014.fasta.gz")
    for suffix in SUFFIXES:
        path = tmp_path / f"family{suffix}"
        write_alignment(path, source.sequences, source.alphabet, names=source.names)
        again = read_alignment(path)
        assert_array_equal(again.sequences, source.sequences)
        assert again.alphabet == source.alphabet
