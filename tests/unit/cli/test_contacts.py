"""Contacts from the command line: refits, figures, and the number of heads that is chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pottsattn import SequenceDataset, sample
from pottsattn.cli import main
from pottsattn.fitting.result import FitResult
from pottsattn.model.ensembles import chain

CONTACTS = "contacts plm.h5 --min-separation 1 --distances d.txt --out pairs.csv --threads 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chain of 8 sites, its data, fits, and distances by which neighbors are contacts."""
    folder = tmp_path_factory.mktemp("contacts")
    sample(chain(8, 3, 2.0), 300, rng=1).dataset.save(folder / "data.h5")
    for method, options in (("plm", ""), ("factored", "--heads 2"), ("mf", "")):
        out = f"--out {folder}/{method}.h5 --threads 1"
        command = f"fit {folder}/data.h5 --method {method} {options} {out}"
        assert main(command.split()) == 0
    rows = [f"{i} {j} {7.0 * (j - i)}\n" for i in range(1, 9) for j in range(i + 1, 9)]
    (folder / "d.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Run a command in the folder; return (exit status, stdout, stderr)."""
    monkeypatch.chdir(folder)

    def call(command: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(command.split())
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_refits_give_errors_and_a_null(run, folder):
    command = f"{CONTACTS} --data data.h5 --bootstrap 3 --null 2 --json"
    status, out, err = run(command)
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["precision"]["L/2"] == 1.0
    assert report["bootstrap"]["n_replicas"] == 3
    assert set(report["bootstrap"]["precision_error"]) == {"L/2", "L", "2L"}
    assert report["null"]["n_above"] == 7
    assert report["missing_columns"] == []
    header, first, *_ = (folder / "pairs.csv").read_text().splitlines()
    assert header == "rank,i,j,score,frobenius,null_pairs,distance"
    assert first.split(",")[5] == "0.0"
    assert run(command)[1] == out  # by the seed
    _, out, _ = run(command.removesuffix(" --json"))
    assert "7 pairs score above" in out
    assert "standard errors over clusters, 3 refits: L/2 " in out


def test_ranking_without_the_correction(run, folder):
    assert run(f"{CONTACTS} --no-apc --with-gap")[0] == 0
    rows = np.genfromtxt(folder / "pairs.csv", delimiter=",", names=True)
    assert (rows["score"] == rows["frobenius"]).all()


def test_columns_that_the_fit_lacks_are_named(run, folder):
    columns = np.array([1, 2, 3, 4, 5, 7, 8, 9], dtype=np.int32)
    data = SequenceDataset(SequenceDataset.load("data.h5").sequences, 3, columns=columns)
    data.save("filtered.h5")
    assert run("fit filtered.h5 --method mf --out filtered_fit.h5")[0] == 0
    _, out, _ = run("contacts filtered_fit.h5 --min-separation 1 --out pairs.csv")
    assert "none of the columns 6, which the fit lacks" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--bootstrap 3", "--bootstrap fits again: give the fitted data, --data DATA"),
        ("--null 3", "--null fits again"),
        ("--data data.h5", "--data is for --bootstrap and --null"),
        ("--data data.h5 --bootstrap 1", "bootstrap must be at least 2, got 1"),
        ("--data data.h5 --null 0", "null must be at least 1, got 0"),
    ],
)
def test_refits_that_cannot_be_are_refused(run, options, message):
    status, out, err = run(f"{CONTACTS} {options}")
    assert (status, out) == (1, "")
    assert message in err
    status, _, err = run("contacts plm.h5 --out x.csv --data data.h5 --bootstrap 3")
    assert (status, "it needs --distances" in err) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        "plot plm.h5 --distances d.txt --min-separation 1",
        "plot plm.h5 factored.h5 mf.h5 --distances d.txt --min-separation 1",
        "plot factored.h5 --head-maps",
    ],
)
def test_figures(run, folder, command):
    status, _, err = run(f"{command} --out figure.png")
    assert (status, err) == (0, "")
    assert (folder / "figure.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("plot data.h5 --distances d.txt", "are for fits that have couplings"),
        ("plot plm.h5 --head-maps", "full couplings have no heads"),
        ("plot plm.h5 factored.h5 --head-maps", "--head-maps takes one fit"),
        ("plot factored.h5 --head-maps --distances d.txt", "without --distances"),
    ],
)
def test_figures_that_cannot_be_are_refused(run, command, message):
    status, _, err = run(f"{command} --out none.png")
    assert (status, message in err) == (1, True)


def test_heads_auto_reports_what_it_tried(run, folder):
    status, out, err = run("fit data.h5 --method factored --heads auto --out auto.h5 --json")
    assert (status, err) == (0, "")
    path = json.loads(out)["heads_path"]
    assert path["heads"][:2] == [1, 2]
    assert len(path["held_out_losses"]) == len(path["difference_errors"]) == len(path["heads"])
    fit = FitResult.load(folder / "auto.h5")
    assert fit.couplings.n_heads == path["n_heads"]
    assert fit.config["heads_path"] == path
    _, out, _ = run("fit data.h5 --method factored --heads auto --out auto.h5")
    assert "the least loss on 60 held-out sequences" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--method attention --heads auto", "--heads auto is for factored"),
        ("--method factored --heads auto --color-similarity identity", "--heads auto is for"),
        ("--method factored --heads auto --init plm.h5", "leave out --init"),
        ("--method factored --heads two", "invalid int value: 'two'"),
    ],
)
def test_heads_that_cannot_be_chosen_are_refused(run, options, message):
    status, _, err = run(f"fit data.h5 {options} --out none.h5")
    assert (status, message in err) == (1, True)
