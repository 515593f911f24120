"""Names of files: with $, not in UTF-8, with the commands of a terminal."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from fit_factory import make_fit, make_history

from pottsattn._core.display import shown
from pottsattn.cli import main
from pottsattn.figures.style import plain
from pottsattn.model.couplings import Couplings

NAMES = (
    "a$\\frac$.h5",
    "a$.h5",
    "_hidden.h5",
    "a\x1b[31m.h5",
    os.fsdecode(b"a\xff.h5"),
    "a b&<c>.h5",
)
COMMANDS = (
    "plot {} fit.h5 --out new.png",
    "plot {} fit.h5 --out new.svg",
    "plot {} fit.h5 --distances d.txt --min-separation 1 --out new.pdf",
    "report {} fit.h5 --out new.html",
    "report {} fit.h5 --distances d.txt --min-separation 1 --out new.html",
    "info {}",
    "contacts {} --min-separation 1 --out new.csv",
    "energies {} data.npy --out new.csv",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    couplings = Couplings(np.ones((1, 4, 4)) - np.eye(4), np.eye(3)[None])
    fit = make_fit(couplings, method="attention", history=make_history())
    for name in ("fit.h5", *NAMES):
        fit.save(folder / name)
    (folder / "d.txt").write_text("1 2 3.0\n1 3 9.0\n")
    np.save(folder / "data.npy", np.array([[0, 1, 2, 0], [2, 1, 0, 1]]))
    return folder


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names must be UTF-8")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_any_name_is_taken(folder, monkeypatch, capsys, command, name):
    monkeypatch.chdir(folder)
    status = main([*(word.format(name) for word in command.split()), "--threads", "1"])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    assert "\x1b" not in captured.out
    captured.out.encode()


def test_a_page_shows_names_with_escapes(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["report", NAMES[4], NAMES[3], "--out", "page.html"]) == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert r"a\xff.h5" in page
    assert r"a\x1b[31m.h5" in page


@pytest.mark.parametrize(
    "name", ["\x1b[2J.h5", "a\r\x07.npy", "b\x9b31m.fasta", os.fsdecode(b"\xfe")]
)
def test_a_missing_file_does_not_command_the_terminal(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["info", name]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.rstrip("\n").isprintable()


def test_shown_and_plain():
    assert shown("a\tb\nc é 漢") == "a\tb\nc é 漢"
    assert shown("\x1b\x00\x7f\udcff") == r"\x1b\x00\x7f\xff"
    assert plain("_a$b$") == r" _a\$b\$"
