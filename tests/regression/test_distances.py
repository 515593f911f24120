"""Distances that are not of the columns of a fit are refused; files of other layouts are read."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from fit_factory import make_fit

from pottsattn._core.validate import InputError
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.analysis.distances import read_distances
from pottsattn.cli import main
from pottsattn.model.couplings import Couplings

WANTED = {(1, 2): 3.0, (1, 7): 9.5, (2, 7): 4.0}


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A fit of 8 columns."""
    interactions = rng.normal(size=(1, 8, 8)) * (1.0 - np.eye(8))
    make_fit(Couplings(interactions, np.eye(3)[None])).save(tmp_path / "fit.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0 1 3.0\n0 2 4.2\n", "line 1 has column 0, columns count from 1"),
        ("1 2 3.0\n2 0 4.2\n", "line 2 has column 0, columns count from 1"),
        ("1 2 3.0\n-1 2 4.2\n", "line 2 has column -1, columns count from 1"),
        ("0 1 1\n1 0 0\n1 0 0\n", "line 1 has column 0, columns count from 1; a matrix"),
        ("1 1 0\n1 1 1\n0 1 1\n", "line 3 has column 0, columns count from 1; a matrix"),
        ("i,j,distance\n0,1,3.0\n", "line 2 has column 0, columns count from 1"),
        (
            "201 202 3.0\n203 209 4\n",
            "(columns 1-8) is among the known distances (columns 201-209)",
        ),
        ("1 90 3.0\n", "(columns 1-8) is among the known distances (columns 1-90)"),
        (
            "residue other distance\n1 2 3\n",
            "line 1: expected numbers 'i j ... distance', or a hea",
        ),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        "contacts fit.h5 --min-separation 1 --out new.csv",
        "plot fit.h5 --min-separation 1 --out new.png",
        "report fit.h5 --min-separation 1 --out new.html",
    ],
)
def test_distances_of_other_columns_are_refused(folder, capsys, command, text, fault):
    (folder / "d.txt").write_text(text)
    assert main([*command.split(), "--distances", "d.txt"]) == 1
    captured = capsys.readouterr()
    assert fault in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert not list(folder.glob("new.*"))


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3.0\n7 1 9.5\n2 7 4.0\n",
        "i j distance\n1 2 3.0\n1 7 9.5\n2 7 4.0\n",
        "# made by hand\ni,A_i,j,A_j,distance\n1,A,2,C,3.0\n1,A,7,F,9.5\n2,C,7,F,4.0\n1,A,3,D,\n",
        '"i","A_i","j","A_j","segment","dist"\n1,A,2,C,x,3.0\n1,A,7,F,x,9.5\n2,C,7,F,x,4.0\n',
        "dist\tj\ti\n3.0\t2\t1\n9.5\t7\t1\n4.0\t7\t2\n",
        "1 A 2 C 3.0\n1 A 7 F 9.5\n2 C 7 F 4.0\n",
        "\ufeff1, 2, 0, 3.0\r\n1, 7, 1, 9.5\r\n2, 7, 1, 4.0\r\n",
        "rank,i,j,score,frobenius,distance\n1,1,2,0.5,0.6,3.0\n2,1,7,0.4,0.5,9.5\n3,2,7,0,0,4.0\n",
    ],
)
def test_layouts_of_other_programs_are_read(tmp_path, text):
    (tmp_path / "d.txt").write_text(text, newline="")
    assert read_distances(tmp_path / "d.txt") == WANTED
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(text.encode()))
    assert read_distances(tmp_path / "d.txt.gz") == WANTED


def test_a_ranking_with_distances_is_read_again(folder):
    fit = make_fit(Couplings(np.ones((1, 8, 8)) - np.eye(8), np.eye(3)[None]))
    rank_contacts(fit, min_separation=1).to_csv(folder / "pairs.csv", WANTED)
    assert read_distances(folder / "pairs.csv") == WANTED


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path):
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(InputError, match="line 1 has more than 1048576 characters"):
        read_distances(tmp_path / "d.txt.gz")
