"""A graph whose sites count from 1 is no graph with an isolated site 0."""

from __future__ import annotations

import gzip

import pytest

from pottsattn import PottsModel
from pottsattn._core.validate import InputError
from pottsattn.cli import main
from pottsattn.files import build_model


@pytest.mark.parametrize(
    ("text", "said"),
    [("1 2\n2 3\n3 1\n", "sites 1..3"), ("5 6 0.5\n9,6,-1\n", "sites 5..9")],
)
def test_sites_that_do_not_count_from_0_are_refused(tmp_path, monkeypatch, capsys, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.txt").write_text(text)
    command = "sample --edges g.txt --states 2 --sequences 5 --chains 2 --out s.h5 --threads 1"
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert f"edges join {said}, but sites count from 0; subtract" in captured.err
    assert "or give --length if site 0 has no edge" in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert not (tmp_path / "s.h5").exists()


def test_a_length_keeps_site_0_with_a_warning(tmp_path):
    (tmp_path / "g.txt").write_text("1 2\n2 3\n")
    with pytest.warns(UserWarning, match="has site 0; sites count from 0, subtract 1"):
        assert build_model(edges=tmp_path / "g.txt", n_states=2, length=4).length == 4
    (tmp_path / "g.txt").write_text("0 2\n2 3\n")
    assert build_model(edges=tmp_path / "g.txt", n_states=2).length == 4


def test_arrays_of_edges_count_from_0_too():
    with pytest.raises(InputError, match=r"sites 1\.\.2, but sites count from 0"):
        PottsModel.from_edges([(1, 2)], n_states=2)
    assert PottsModel.from_edges([(1, 2)], n_states=2, length=3).length == 3


def test_a_bomb_ends_at_its_first_wrong_line(tmp_path):
    with gzip.open(tmp_path / "g.txt.gz", "wb", 1) as stream:
        for _ in range(8):
            stream.write(b"0 1\n" * (1 << 20))
    with pytest.raises(InputError, match="line 2: the pair 0 1 is already in line 1"):
        build_model(edges=tmp_path / "g.txt.gz", n_states=2)
