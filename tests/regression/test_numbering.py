"""Files used with a fit are read on its columns, whatever their own would be, or refused.

Columns whose numbers coincide with those of a fit are not its columns: a fit numbered along a focus
was scored on the first columns of the alignment, and inserts decided per file moved all others.
"""

from __future__ import annotations

import csv
import gzip
import json

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, SequenceDataset, compare, load
from pottsattn.analysis import score_sequences
from pottsattn.analysis.moments import compare_moments
from pottsattn.cli.main import main
from pottsattn.data.alignment.numbering import Numbering
from pottsattn.data.reading import read_dataset, read_like
from pottsattn.exchange.plmc_file import read_plmc

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
FOCUS = ["--focus", "Q_HUMAN", "--numbering", "focus"]
QUICK = ["--method", "mf", "--threads", "1"]


def family(n_rows=24, length=14, seed=1):
    """Mutated copies of one sequence, without gaps."""
    rng = np.random.default_rng(seed)
    ancestor = rng.integers(20, size=length)
    rows = np.where(
        rng.uniform(size=(n_rows, length)) < 0.25, rng.integers(20, size=(n_rows, length)), ancestor
    )
    return ["".join(LETTERS[a] for a in row) for row in rows]


def with_gaps(rows, focus="Q_HUMAN/1-12"):
    """The same after a focus that lacks two columns."""
    return [(focus, rows[0][:4] + "--" + rows[0][6:])] + [(f"s{m}", row) for m, row in
                                                          enumerate(rows[1:], start=1)]  # fmt: skip


def fasta(path, records):
    path.write_text("".join(f">{name}\n{row}\n" for name, row in records))
    return str(path)


def run(capsys, *words):
    """Return the status, the JSON and the one line of stderr of a command."""
    status = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    assert status != 1 or captured.err.count("\n") == 1
    return status, json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture
def along_focus(tmp_path, capsys):
    """A family, a fit numbered along its focus, and its scores with the options given again."""
    data = fasta(tmp_path / "family.fasta", with_gaps(family()))
    fit = str(tmp_path / "fit.h5")
    assert run(capsys, "fit", data, *FOCUS, *QUICK, "--out", fit)[0] == 0
    status, report, _ = run(capsys, "energies", fit, data, *FOCUS)
    assert status == 0
    return data, fit, report["exponent"]


def test_energies_need_not_be_told_the_focus_again(along_focus, capsys):
    data, fit, expected = along_focus
    status, report, _ = run(capsys, "energies", fit, data)
    assert status == 0
    assert report["exponent"] == expected
    fitted = load(fit)
    assert fitted.columns.tolist() == list(range(1, 13))
    whole = read_dataset(data, focus="Q_HUMAN", numbering="focus", identity_threshold=None)
    assert_allclose(score_sequences(fitted, whole).exponent, expected)


@pytest.mark.parametrize("shown", ["--first-residue=7", ""])
def test_a_fit_knows_focus_residues_and_first_number(tmp_path, capsys, shown):
    data = fasta(tmp_path / "a.fasta", with_gaps(family(), "sp|P1|Q_HUMAN/24-35"))
    fit = str(tmp_path / "fit.h5")
    options = [*FOCUS, *filter(None, [shown])]
    assert run(capsys, "fit", data, *options, *QUICK, "--out", fit)[0] == 0
    numbering = load(fit).numbering
    row = with_gaps(family())[0][1]
    assert (numbering.focus, numbering.row) == ("sp|P1|Q_HUMAN/24-35", row)
    assert numbering.first == (7 if shown else 24)
    assert load(fit).columns[0] == numbering.first
    status, report, _ = run(capsys, "info", fit)
    assert status == 0
    assert report["numbering"]["row"] == row
    assert run(capsys, "energies", fit, data)[0] == 0


def test_a_focus_in_another_alignment_is_found_by_its_residues(along_focus, tmp_path, capsys):
    """Another alignment of the family: a column before, one inside, records in another order."""
    _, fit, expected = along_focus
    records = [(name, "A" + row[:9] + "K" + row[9:]) for name, row in with_gaps(family())]
    name, row = records[0]
    records[0] = (name, "-" + row[1:10] + "-" + row[11:])
    other = fasta(tmp_path / "other.fasta", records[::-1])
    status, report, _ = run(capsys, "energies", fit, other)
    assert status == 0
    assert_allclose(report["exponent"], expected[::-1])
    status, _, error = run(capsys, "energies", fit, fasta(tmp_path / "b.fasta", records[1:]))
    assert status == 1
    assert "16 columns; expected 14 or 12, or the focus Q_HUMAN/1-12" in error


def test_a_focus_in_a3m_and_with_inserts_of_its_own(tmp_path, capsys):
    records = with_gaps(family())
    name, row = records[0]
    records[0] = (name, f"{row[:2]}gg{row[2:]}")  # inserts of the focus are residues, too
    data = tmp_path / "a.a3m"
    fasta(data, records)
    fit = str(tmp_path / "fit.h5")
    assert run(capsys, "fit", data, *FOCUS, *QUICK, "--out", fit)[0] == 0
    assert load(fit).columns.tolist() == [1, 2, *range(5, 15)]
    _, expected, _ = run(capsys, "energies", fit, data)
    dotted = [(name, row if m == 0 else f"{row[:2]}..{row[2:]}") for m, (name, row) in
              enumerate(records)]  # fmt: skip
    plain = with_gaps(family())
    for path, variant in (("b.fasta", dotted), ("c.fasta", plain), ("d.aln", None)):
        if variant is None:
            (tmp_path / path).write_text("".join(f"{row}\n" for _, row in plain))
        else:
            fasta(tmp_path / path, variant)
        status, report, error = run(capsys, "energies", fit, tmp_path / path)
        assert status == 0, error
        assert_allclose(report["exponent"], expected["exponent"])


def test_new_sequences_of_the_right_length_are_scored(along_focus, tmp_path, capsys):
    _, fit, expected = along_focus
    rows = [row for _, row in with_gaps(family())][1:4]
    cut = [row[:4] + row[6:] for row in rows]  # to the columns of the fit
    for number, variant in enumerate((rows, cut)):
        path = fasta(tmp_path / f"new{number}.fasta", [(f"n{m}", r) for m, r in enumerate(variant)])
        status, report, _ = run(capsys, "energies", fit, path)
        assert status == 0
        assert_allclose(report["exponent"], expected[1:4])
    path = fasta(tmp_path / "short.fasta", [("n0", rows[0]), ("n1", rows[1][:-1])])
    status, _, error = run(capsys, "energies", fit, path)
    assert status == 1
    assert "record 2 (n1) has 13 columns, expected 14" in error


def test_a_focus_with_other_residues_is_refused(along_focus, tmp_path, capsys):
    data, fit, _ = along_focus
    records = with_gaps(family())
    records[0] = (records[0][0], "WW" + records[0][1][2:])
    status, _, error = run(capsys, "energies", fit, fasta(tmp_path / "a.fasta", records))
    assert status == 1
    assert "Q_HUMAN/1-12 has other residues than the focus of the fit" in error
    status, _, error = run(capsys, "energies", fit, data, "--focus", "s1")
    assert status == 1
    assert "s1 has other residues" in error
    renamed = [("other", with_gaps(family())[0][1]), *with_gaps(family())[1:]]
    path = fasta(tmp_path / "b.fasta", renamed)
    assert run(capsys, "energies", fit, path, "--focus", "other")[0] == 0
    for wrong in (["--first-residue", "5"], ["--focus", "nobody"]):
        assert run(capsys, "energies", fit, data, *wrong)[0] == 1


def test_another_domain_of_the_same_protein_is_no_focus(along_focus, tmp_path, capsys):
    _, fit, expected = along_focus
    records = [("Q_HUMAN/101-114", family(1, seed=9)[0]), *with_gaps(family())[1:]]
    status, report, _ = run(capsys, "energies", fit, fasta(tmp_path / "a.fasta", records))
    assert status == 0
    assert_allclose(report["exponent"][1:], expected[1:])


def test_every_command_reads_on_the_columns_of_the_fit(along_focus, tmp_path, capsys):
    data, fit, _ = along_focus
    status, report, _ = run(capsys, "compare", fit, "--test", data)
    assert status == 0
    assert report["fits"][0]["test_loss"] == pytest.approx(report["fits"][0]["train_loss"])
    assert report["fits"][0]["test_overlap"] == 1.0
    status, report, _ = run(capsys, "mutations", fit, "--data", data, "--sequence", "Q_HUMAN")
    assert status == 0
    assert "".join(report["wild_type"]) == with_gaps(family())[0][1].replace("-", "")
    out = str(tmp_path / "c.csv")
    null = ["--null", "1", "--min-separation", "1"]
    assert run(capsys, "contacts", fit, "--data", data, "--out", out, *null)[0] == 0
    plmc = ["export", fit, "--format", "plmc", "--out", str(tmp_path / "p.bin")]
    assert run(capsys, *plmc, "--data", data)[0] == 0
    assert read_plmc(tmp_path / "p.bin").focus == with_gaps(family())[0][1].replace("-", "")
    short = fasta(tmp_path / "short.fasta", with_gaps(family())[:-1])
    status, _, error = run(capsys, *plmc, "--data", short)
    assert status == 1
    assert "number of sequences" in error
    status, _, error = run(capsys, *plmc, "--data", data, "--identity-threshold", "0.3")
    assert status == 1
    assert "with the --identity-threshold of the fit, 0.8, not 0.3" in error


def test_what_is_split_sampled_and_validated_keeps_the_numbering(along_focus, tmp_path, capsys):
    data, fit, _ = along_focus
    parts = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    split = ["split", data, "--fraction", "0.3", "--identity-threshold", "1", "--out", *parts]
    assert run(capsys, *split)[0] == 0  # on all 14 columns
    whole = load(parts[0])
    assert whole.numbering.n_match == 14
    status, report, _ = run(capsys, "energies", fit, parts[0])
    assert status == 0
    chosen = [score for name, score in zip(*(run(capsys, "energies", fit, data)[1][key]
              for key in ("names", "exponent")), strict=True) if name in whole.names]  # fmt: skip
    assert_allclose(report["exponent"], chosen)
    sampled = str(tmp_path / "s.h5")
    sample = ["sample", "--model", fit, "--sequences", "8", "--chains", "2", "--out", sampled]
    assert run(capsys, *sample, "--initial", data, "--threads", "1")[0] in (0, 3)
    assert load(sampled).numbering == load(fit).numbering
    assert run(capsys, "statistics", data, sampled, "--identity-threshold", "1")[0] == 0
    valid = ["fit", data, *FOCUS, "--method", "attention", "--max-steps", "2", "--out"]
    validation = fasta(tmp_path / "v.fasta", with_gaps(family())[1:9])  # without the focus
    status, _, error = run(capsys, *valid, str(tmp_path / "f.h5"), "--validation", validation)
    assert status in (0, 3), error


def test_fits_of_different_columns_are_not_compared(tmp_path, capsys):
    data = fasta(tmp_path / "a.fasta", with_gaps(family()))
    fits = []
    for name, options in (("one", FOCUS), ("two", ["--max-gap-columns", "0"])):
        fits.append(str(tmp_path / f"{name}.h5"))
        assert run(capsys, "fit", data, *options, *QUICK, "--out", fits[-1])[0] == 0
    assert run(capsys, "compare", *fits, "--test", data)[0] == 0  # the same ones, in two numberings
    third = str(tmp_path / "three.h5")
    rows = with_gaps(family())
    rows = [(name, row[:4] + row[4:6] + "--" + row[8:] if m < 20 else row) for m, (name, row) in
            enumerate(rows)]  # fmt: skip
    rows[0] = (rows[0][0], rows[1][1])
    other = fasta(tmp_path / "b.fasta", rows)
    command = ["fit", other, "--max-gap-columns", "0.3", *QUICK, "--out", third]
    assert run(capsys, *command)[0] == 0
    status, _, error = run(capsys, "compare", fits[1], third, "--test", data)
    assert status == 1
    assert "three.h5" in error


def test_a_truth_of_other_columns_is_refused(along_focus, tmp_path, capsys):
    data, fit, _ = along_focus
    others = []
    for name, options in (("same", ["--max-gap-columns", "0"]), ("other", ["--focus", "s2"])):
        others.append(str(tmp_path / f"{name}.h5"))
        source = data
        if name == "other":
            rows = [(name, row[:1] + "-" + row[2:-1] + "-" if name == "s2" else row) for name, row
                    in with_gaps(family())]  # fmt: skip
            source = fasta(tmp_path / "other.fasta", rows)
        assert run(capsys, "fit", source, *options, *QUICK, "--out", others[-1])[0] == 0
    compare = ["compare", fit, "--test", data, "--truth"]
    assert run(capsys, *compare, others[0])[0] == 0
    status, report, error = run(capsys, *compare, others[1])
    assert (status, report) == (1, None)
    assert "other.h5 holds a model of other columns than the fit has" in error


def test_sequences_that_are_not_scored_are_said(along_focus, tmp_path, capsys):
    """Their numbers are missing, and those after them move up."""
    _, fit, expected = along_focus
    records = with_gaps(family())
    records[2] = (records[2][0], "X" + records[2][1][1:])
    path = fasta(tmp_path / "x.fasta", records)
    status, report, error = run(capsys, "energies", fit, path)
    assert status == 0
    assert_allclose(report["exponent"], expected[:2] + expected[3:])
    assert "warning: sequences without a score" in error
    assert "1 sequences dropped for letters X x 1" in error


def test_gaps_that_a_fit_ignores_have_no_columns_of_their_own(along_focus, tmp_path, capsys):
    data, _, _ = along_focus
    fit = str(tmp_path / "ignored.h5")
    assert run(capsys, "fit", data, *FOCUS, *QUICK, "--gaps", "ignored", "--out", fit)[0] == 0
    given = run(capsys, "energies", fit, data, *FOCUS)[1]
    assert given["exponent"] == run(capsys, "energies", fit, data)[1]["exponent"]
    assert run(capsys, "compare", fit, "--test", data)[0] == 0


INSERTS = [
    "LDA..QPTNFHDRA", "FDAWLQPTAFHT..", "LDAWEPLTNFHK..", "NDA..MRINFHK..", "LSAWLQPHNFHK..",
    "LAWWLQPTNFYK..", "LDA..QPINFHK..", "LYGWPQPTNFHKRA", "LDAWLQPTDLRIRA", "LDD..ANTNFGK..",
]  # fmt: skip


@pytest.mark.parametrize("row", ["LDA..QPTNFHDRA", "LDA--QPTNFHDRA", "lda..QPTNFHDra"])
def test_a_few_records_with_dots_are_read_on_the_columns_of_the_fit(tmp_path, capsys, row):
    data = fasta(tmp_path / "a.fasta", [(f"r{m}", row) for m, row in enumerate(INSERTS)])
    fit = str(tmp_path / "fit.h5")
    command = ["fit", data, "--max-gap-columns", "0.5", *QUICK, "--out", fit]
    assert run(capsys, *command)[0] == 0
    assert load(fit).length == 12
    expected = run(capsys, "energies", fit, data)[1]["exponent"][0]
    status, report, _ = run(capsys, "energies", fit, fasta(tmp_path / "1.fasta", [("r0", row)]))
    assert status == 0
    assert report["exponent"] == [expected]


@pytest.fixture
def dotted(tmp_path, capsys):
    """A fit to an alignment of 16 columns, 2 of them inserts."""
    rows = family(20, 14, seed=4)
    rows = [f"{row[:5]}{'.a' if m % 3 else '..'}{row[5:]}" for m, row in enumerate(rows)]
    data = fasta(tmp_path / "a.fasta", [(f"r{m}", row) for m, row in enumerate(rows)])
    fit = str(tmp_path / "fit.h5")
    assert run(capsys, "fit", data, *QUICK, "--out", fit)[0] == 0
    return rows, fit, run(capsys, "energies", fit, data)[1]["exponent"]


def test_parts_of_a_file_with_inserts_have_the_columns_of_the_whole(dotted, tmp_path, capsys):
    rows, fit, expected = dotted
    gappy = rows[2][:9] + ".." + rows[2][11:]  # alone, these would be inserts
    variants = {
        "part.fasta": rows[3:5],
        "dashes.fasta": [row.replace(".", "-") for row in rows[3:5]],
        "a3m.fasta": [row.replace(".", "") for row in rows[3:5]],
        "matches.fasta": [row[:5] + row[7:] for row in rows[3:5]],
    }
    for name, variant in variants.items():
        path = fasta(tmp_path / name, [(f"r{m}", row) for m, row in enumerate(variant)])
        status, report, error = run(capsys, "energies", fit, path)
        assert status == 0, error
        assert_allclose(report["exponent"], expected[3:5], err_msg=name)
    one = fasta(tmp_path / "one.fasta", [("r2", gappy)])
    same = fasta(tmp_path / "same.fasta", [("r2", gappy.replace(".", "-"))])
    found = [run(capsys, "energies", fit, path)[1]["exponent"] for path in (one, same)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row[:6] + "K" + row[7:], "record 2 (x) has 'K' in column 7, an insert"),
        (lambda row: row + "K", "record 2 (x) has 17 columns, expected 16"),
        (lambda row: row[:-1], "record 2 (x) has 15 columns, expected 16"),
    ],
)
def test_what_is_not_on_the_columns_is_refused_by_record(dotted, tmp_path, capsys, change, words):
    rows, fit, _ = dotted
    records = [("r0", rows[0]), ("x", change(rows[1])), ("r2", rows[2])]
    status, report, error = run(capsys, "energies", fit, fasta(tmp_path / "b.fasta", records))
    assert (status, report) == (1, None)
    assert words in error


def test_lower_case_that_is_kept_is_said(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">1\nMkL-aW\n>2\nM-LKaW\n>3\nMkLK.W\n")
    summary = read_dataset(path).origin["source"]["summary"]
    assert "1 insert columns dropped" in summary
    assert "2 letters of lower case read as upper case" in summary
    assert "1 columns of lower case and '-' kept as match columns" in summary


def test_an_alignment_in_lower_case_is_not_cut_to_the_columns_that_have_gaps(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">1\nacg-acgt\n>2\nacgtac-t\n>3\nacgtacgt\n")  # as MAFFT writes nucleotides
    with pytest.raises(InputError, match="lower case, convert it to upper case"):
        read_dataset(path)
    path.write_text(path.read_text().upper())
    assert read_dataset(path).length == 8


def test_lower_case_that_can_be_meant_in_two_ways_is_refused(tmp_path):
    text = ">1\nMKaL-W\n>2\nM-LcKW\n"
    for name in ("a.fasta", "a.txt"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="lower-case letters may be inserts, as in A3M"):
            read_dataset(tmp_path / name)
    (tmp_path / "a.a3m").write_text(text)
    assert read_dataset(tmp_path / "a.a3m").length == 5


def test_the_first_sequence_of_a_file_is_the_first_or_refused(along_focus, tmp_path, capsys):
    """Not the second, where the first was dropped for an ambiguity code."""
    _, fit, _ = along_focus
    first, *others = with_gaps(family())
    path = fasta(tmp_path / "x.fasta", [("x1", "X" + others[0][1][1:]), first, *others])
    status, report, error = run(capsys, "mutations", fit, "--sequence", path)
    assert (status, report) == (1, None)
    assert "x1 was dropped for letters X x 1" in error


def test_files_from_before_numberings_were_stored(along_focus, tmp_path, capsys):
    """They say only in words that their numbers go along a focus: it must be given again."""
    data, fit, expected = along_focus
    with h5py.File(fit, "a") as file:
        del file.attrs["numbering"]
    assert load(fit).numbering is None
    status, report, _ = run(capsys, "energies", fit, data, *FOCUS)
    assert (status, report["exponent"]) == (0, expected)
    status, _, error = run(capsys, "energies", fit, data)
    assert status == 1
    assert "read them with its --focus and --numbering" in error


@pytest.mark.parametrize(
    "change",
    [
        {"n_match": 0}, {"n_match": 13}, {"match": "1-3, x"}, {"match": "3-1"}, {"width": -1},
        {"row": "LDAW"}, {"first": 1 << 40}, {"first": "1"}, {"focus": ""}, {"more": 1},
    ],
)  # fmt: skip
def test_a_numbering_that_cannot_be_is_refused(along_focus, change):
    _, fit, _ = along_focus
    with h5py.File(fit, "a") as file:
        values = {**json.loads(file.attrs["numbering"]), **change}
        file.attrs["numbering"] = json.dumps(values)
    with pytest.raises(InputError, match=r"fit\.h5: numbering"):
        load(fit)


@pytest.mark.parametrize("kind", ["fit", "data"])
def test_columns_without_a_number_are_refused(along_focus, tmp_path, kind):
    data, fit, _ = along_focus
    path = fit
    if kind == "data":
        path = str(tmp_path / "data.h5")
        read_dataset(data, identity_threshold=None).save(path)
    with h5py.File(path, "a") as file:
        file.attrs["columns"] = file.attrs["columns"] + 5
    with pytest.raises(InputError, match="numbering: no column has the number 1"):
        load(path)


def test_data_sets_translate_between_numberings(tmp_path):
    path = fasta(tmp_path / "a.fasta", with_gaps(family()))
    along = read_dataset(path, focus="Q_HUMAN", numbering="focus", identity_threshold=None)
    plain = read_dataset(path, identity_threshold=None)
    shifted = read_dataset(
        path, focus="Q_HUMAN", numbering="focus", first_residue=101, identity_threshold=None
    )
    for other in (plain, shifted, SequenceDataset(along.sequences, 21, alphabet=along.alphabet)):
        moments = compare_moments(along, other) if other.length == 12 else None
        assert moments is None or moments.site.pearson == pytest.approx(1.0)
    along.save(tmp_path / "along.h5")
    plain.save(tmp_path / "plain.h5")
    assert load(tmp_path / "along.h5").numbering == along.numbering
    found = read_like(tmp_path / "plain.h5", along)
    assert_array_equal(found.sequences, along.sequences)
    assert_array_equal(found.columns, along.columns)
    with pytest.raises(InputError, match=r"14 columns, 1 to 14, but the fit 12, 1 to 12 \(along"):
        read_like(tmp_path / "plain.h5", SequenceDataset(
            along.sequences, 21, alphabet=along.alphabet, columns=along.columns,
            numbering=Numbering(20, focus="Z", row="A" * 20, first=1)))  # fmt: skip


def test_python_functions_align_what_they_are_given(along_focus):
    data, fit, expected = along_focus
    fitted = load(fit)
    plain = read_dataset(data, identity_threshold=None)
    assert_allclose(score_sequences(fitted, plain).exponent, expected)
    assert compare({"fit": fitted}, plain).fits[0].test_overlap == 1.0


def test_compressed_data_and_tables(along_focus, tmp_path, capsys):
    data, fit, expected = along_focus
    with open(data, "rb") as stream:
        (tmp_path / "b.fasta.gz").write_bytes(gzip.compress(stream.read()))
    out = str(tmp_path / "e.csv")
    assert run(capsys, "energies", fit, tmp_path / "b.fasta.gz", "--out", out)[0] == 0
    with open(out, encoding="utf-8") as stream:
        found = [float(row["exponent"]) for row in csv.DictReader(stream)]
    assert found == expected


def render(rng, rows, kinds, view):
    """Write rows of cells, letters or '-' or '' in inserts, as a view of them."""
    lines = []
    for row in rows:
        text = ""
        for cell, kind in zip(row, kinds, strict=True):
            if kind == "insert":
                text += {"a3m": cell.lower(), "dashes": cell.lower() or "-"}.get(
                    view, "" if view == "matches" else cell.lower() or "."
                )
            elif view == "dots":
                text += "." if cell == "-" and rng.integers(2) else cell
            else:
                text += cell
        lines.append(text)
    return lines


@pytest.mark.parametrize("seed", range(60))
def test_a_random_view_of_an_alignment_is_read_right_or_refused(tmp_path, seed):
    """As it is, A3M, without inserts, with dots as gaps, cut to the fit; parts in any order."""
    rng = np.random.default_rng(seed)
    n_rows, width = int(rng.integers(3, 9)), int(rng.integers(6, 20))
    kinds = rng.choice(["match", "insert"], size=width, p=[0.8, 0.2])
    kinds[:4] = "match"
    cells = np.array(list(LETTERS))[rng.integers(20, size=(n_rows, width))].astype(object)
    cells[(rng.uniform(size=cells.shape) < 0.25) & (kinds == "match")] = "-"
    cells[(rng.uniform(size=cells.shape) < 0.6) & (kinds == "insert")] = ""
    cells[0, :3] = list("ACD")  # the focus has three columns at least
    for column in np.flatnonzero(kinds == "match"):
        cells[1, column] = "K"  # so that no column is of gaps alone
    names = [f"n{m}/1-9" for m in range(n_rows)]
    first = render(rng, cells, kinds, "plain")
    source = tmp_path / "source.fasta"
    fasta(source, list(zip(names, first, strict=True)))
    options = {}
    if rng.integers(2):
        options = {"focus": names[0], "numbering": rng.choice(["focus", "alignment"])}
    if rng.integers(2):
        options["max_gap_columns"] = 0.5
    try:
        like = read_dataset(source, alphabet="protein", identity_threshold=None, **options)
    except InputError:  # no column left
        return
    expected = {
        name: "".join(like.alphabet[a] for a in row)
        for name, row in zip(like.names, like.sequences, strict=True)
    }
    n_read = 0
    for view in ("plain", "a3m", "dashes", "matches", "dots", "cut"):
        chosen = rng.permutation(n_rows)[: rng.integers(1, n_rows + 1)]
        lines = render(rng, cells[chosen], kinds, view)
        if view == "cut":
            lines = [expected[names[m]] for m in chosen]
        path = tmp_path / f"{view}.fasta"
        fasta(path, [(names[m], line) for m, line in zip(chosen, lines, strict=True)])
        try:
            found = read_like(path, like, identity_threshold=None)
        except InputError:
            continue
        n_read += 1
        assert found.columns.tolist() == like.columns.tolist()
        rows = ["".join(found.alphabet[a] for a in row) for row in found.sequences]
        assert rows == [expected[name] for name in found.names], (view, options)
    assert n_read >= 3
