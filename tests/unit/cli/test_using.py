"""The commands energies, mutations, statistics and example: files, JSON, refusals."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError, SequenceDataset, load
from pottsattn.analysis.scoring import scan_mutations, score_sequences
from pottsattn.cli import main
from pottsattn.data import example_alignment
from pottsattn.data.reading import read_dataset
from pottsattn.exchange.formats import write_sequences


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The first 60 sequences and 12 columns of the example, a fit, and sequences sampled of it."""
    folder = tmp_path_factory.mktemp("using")
    whole = read_dataset(example_alignment(), identity_threshold=None)
    part = SequenceDataset(
        whole.sequences[:60, 20:32],
        21,
        alphabet=whole.alphabet,
        gap_index=0,
        names=tuple(f"{name} of the example" for name in whole.names[:60]),
    )
    part.save(folder / "data.h5")
    run(folder, "fit data.h5 --method plm --out fit.h5")
    run(folder, "sample --model fit.h5 --sequences 200 --chains 8 --out sampled.h5")
    run(folder, "export data.h5 --format sequences --out data.fasta")
    return folder


def run(folder, command: str) -> int:
    """Run a command whose files are in a folder."""
    files = (".h5", ".fasta", ".csv", ".png", ".svg", ".txt")
    words = [str(folder / word) if word.endswith(files) else word for word in command.split()]
    return main(words)


def test_example_is_a_few_hundred_artificial_proteins(tmp_path, capsys):
    assert main(["example", "--out", str(tmp_path / "family.fasta")]) == 0
    assert "500 artificial sequences of 53 columns" in capsys.readouterr().out
    written = (tmp_path / "family.fasta").read_bytes()
    assert written == gzip.decompress(example_alignment().read_bytes())
    data = read_dataset(tmp_path / "family.fasta")
    assert (data.n_sequences, data.length, data.alphabet[0]) == (500, 53, "-")
    assert data.names[0] == "sampled_1"
    note = (example_alignment().parent / "README.txt").read_text()
    assert "None of them is natural" in note


def test_energies(files, capsys):
    expected = score_sequences(load(files / "fit.h5"), load(files / "data.h5"))
    assert run(files, "energies fit.h5 data.fasta --out e.csv") == 0
    assert "60 sequences, mean -H" in capsys.readouterr().out
    with (files / "e.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["exponent"]) for row in rows] == expected.exponent.tolist()
    found = [float(row["pseudo_log_likelihood"]) for row in rows]
    assert found == expected.pseudo_log_likelihood.tolist()
    assert (rows[1]["number"], rows[1]["name"]) == ("2", "sampled_2 of the example")
    assert run(files, "energies fit.h5 data.h5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 61
    assert lines[1].split("\t")[3] == "sampled_1 of the example"
    assert run(files, "energies fit.h5 data.h5 --json") == 0
    report = json.loads(capsys.readouterr().out)
    assert_allclose(report["exponent"], expected.exponent)
    assert report["n_sequences"] == len(report["names"]) == 60


def test_mutations_of_letters_a_name_and_a_file(files, capsys):
    fit, data = load(files / "fit.h5"), load(files / "data.h5")
    letters = "".join(fit.alphabet[state] for state in data.sequences[0])
    assert letters[0] == "-"  # which the command line would take for an option
    expected = scan_mutations(fit, data.sequences[0])
    for wild in (f"={letters}", f" .{letters[1:]}", " data.fasta", " sampled_1 --data data.h5"):
        assert run(files, f"mutations fit.h5 --sequence{wild} --json") == 0
        report = json.loads(capsys.readouterr().out)
        assert "".join(report["wild_type"]) == letters
        assert_allclose(report["exponent_change"], expected.exponent_change)
    assert run(files, f"mutations fit.h5 --sequence={letters} --out m.png --csv m.csv") == 0
    text = capsys.readouterr().out
    change = expected.exponent_change.copy()
    change[np.arange(12), data.sequences[0]] = np.nan
    site, state = np.unravel_index(np.nanargmin(change), change.shape)
    mutation = f"{letters[site]}{site + 1}{fit.alphabet[state]}"
    assert f"smallest  {mutation} {change[site, state]:+.2f}" in text
    assert (files / "m.png").read_bytes().startswith(b"\x89PNG")
    assert len((files / "m.csv").read_text().splitlines()) == 1 + 12 * 21


def test_statistics(files, capsys):
    command = "statistics data.fasta sampled.h5 --identity-threshold 1"
    assert run(files, f"{command} --out s.svg --csv s.csv --json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["site"]["n_values"] == 12 * 21
    assert report["pair"]["n_values"] == 66 * 21**2
    assert 0.5 < report["site"]["pearson"] <= 1.0
    assert (files / "s.svg").read_bytes().startswith(b"<?xml")
    assert len((files / "s.csv").read_text().splitlines()) == 1 + 12 * 21
    assert run(files, command) == 0
    assert "connected pair correlations: Pearson" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("energies fit.h5 data.h5 --out fit.h5", "it is an input"),
        ("energies data.h5 data.h5", "expected pottsattn.fit/1"),
        ("energies fit.h5 data.h5 --identity-threshold 0.8", "unknown option"),
        ("mutations fit.h5 --sequence -CD", "is written --option=VALUE"),
        ("mutations fit.h5 --sequence ACD", "has 3 letters, the fit 12 columns"),
        ("mutations fit.h5 --sequence nobody --data data.h5", "no sequence is named 'nobody'"),
        ("mutations fit.h5 --sequence data.h5 --out m.txt", "a figure is written as"),
        ("mutations fit.h5 --sequence data.h5 --csv data.h5", "it is an input"),
        ("statistics data.h5 sampled.h5 --out a.svg --csv a.svg", "give two names"),
        ("statistics data.h5 fit.h5", "expected pottsattn.sequences/1"),
        ("export fit.h5 --format sequences --out a.fasta", "expected pottsattn.sequences/1"),
        ("export data.h5 --format sequences --out a.fasta --data data.h5", "does not apply"),
        ("example --out absent.folder/a.fasta", "no folder"),
    ],
)
def test_refusals(files, command, message, capsys):
    assert run(files, command) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_what_fasta_cannot_hold(tmp_path, capsys):
    np.save(tmp_path / "data.npy", np.eye(4, dtype=int))
    out = str(tmp_path / "a.fasta")
    assert main(["export", str(tmp_path / "data.npy"), "--format", "sequences", "--out", out]) == 1
    assert "plain integers" in capsys.readouterr().err
    data = SequenceDataset(np.eye(2, dtype=int), 2, alphabet="AC", names=("a", "b\n>c"))
    with pytest.raises(InputError, match="expected text on one line"):
        write_sequences(out, data)
