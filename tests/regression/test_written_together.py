"""Files of one command appear together or not at all, and only once the command has succeeded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import pottsattn._core.storage as storage
from pottsattn import SequenceDataset
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import write_together, write_whole
from pottsattn.cli import main
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood

NAMES = ("a", "b", "c")


def put(text: str, names: tuple[str, ...] = NAMES) -> None:
    """Write the files together."""
    with write_together():
        for name in names:
            with write_whole(name) as temporary:
                temporary.write_text(text)


def held() -> dict[str, str]:
    return {name: open(name).read() for name in sorted(os.listdir())}


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Older files "a" and "c"; "b" is new."""
    monkeypatch.chdir(tmp_path)
    for name in "ac":
        (tmp_path / name).write_text("old")
    return held()


def test_all_are_written(old):
    put("new")
    assert held() == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("step", range(5))  # two older files step aside, three new ones come
@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("?")])
def test_an_error_at_any_rename_changes_nothing(old, monkeypatch, step, error):
    rename, calls = os.replace, []

    def fail(*paths):
        calls.append(paths)
        if len(calls) == step + 1:
            raise error
        rename(*paths)

    monkeypatch.setattr(storage.os, "replace", fail)
    with pytest.raises((InputError, RuntimeError)):
        put("new")
    assert held() == old


def test_an_error_before_the_last_file_changes_nothing(old):
    with pytest.raises(InputError, match="there is no folder"):
        put("new", ("a", "b", "nowhere/c"))
    assert held() == old


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("step", range(5))
def test_killed_between_renames_new_and_old_never_stand_together(old, step):
    code = f"""
import os, signal
from pottsattn._core.whole_files import write_together, write_whole
rename, calls = os.replace, []
def replace(*paths):
    if len(calls) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(paths)
    rename(*paths)
os.replace = replace
with write_together():
    for name in "abc":
        with write_whole(name) as temporary:
            temporary.write_text("new")
"""
    run = subprocess.run([sys.executable, "-c", code], check=False)
    assert run.returncode == -signal.SIGKILL
    found = {text for name, text in held().items() if name in NAMES}
    assert len(found) < 2


def test_split_on_a_full_disk_leaves_both_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sequences = np.random.default_rng(3).integers(3, size=(400, 20))
    np.save("data.npy", sequences)
    command = "split data.npy --fraction 0.9 --out a.h5 b.h5 --threads 1 --seed"
    assert main([*command.split(), "1"]) == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("a.h5", "b.h5")}
    save = SequenceDataset.save

    def fail(self, path, **facts):
        if path == "b.h5":
            raise InputError("cannot write b.h5: No space left on device; nothing was changed")
        save(self, path, **facts)

    monkeypatch.setattr(SequenceDataset, "save", fail)
    capsys.readouterr()
    assert main([*command.split(), "2"]) == 1
    assert capsys.readouterr().out == ""
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert sorted(os.listdir()) == ["a.h5", "b.h5", "data.npy"]


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = SequenceDataset(np.random.default_rng(1).integers(3, size=(60, 10)), 3)
    data.save("data.h5")
    data.take(slice(30)).save("other.h5")
    fit_pseudolikelihood(data, n_threads=1).save("fit.h5")
    SequenceDataset(data.sequences[:, :6], 3).save("short.h5")
    (tmp_path / "pairs.csv").write_text("old")
    return tmp_path


@pytest.mark.parametrize("data", ["short.h5", "missing.h5", "pairs.csv"])
def test_contacts_keeps_its_old_table_where_it_fails(fitted, capsys, data):
    command = f"contacts fit.h5 --data {data} --null 1 --out pairs.csv --threads 1"
    assert main(command.split()) == 1
    assert capsys.readouterr().out == ""
    assert (fitted / "pairs.csv").read_text() == "old"


def test_contacts_writes_the_ranking_where_it_is_interrupted(fitted, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pottsattn.analysis.contact_errors.null_scores", interrupted)
    command = "contacts fit.h5 --data data.h5 --null 1 --out pairs.csv --threads 1"
    assert main(command.split()) == 130
    assert (fitted / "pairs.csv").read_text().startswith("rank,i,j,score,frobenius\n")


def test_a_figure_without_its_table_is_not_written(fitted, monkeypatch, capsys):
    def fail(self, path):
        raise InputError(f"cannot write {path}: No space left on device; nothing was changed")

    monkeypatch.setattr("pottsattn.analysis.moments.MomentComparison.to_csv", fail)
    (fitted / "f.svg").write_text("old")
    command = "statistics data.h5 other.h5 --out f.svg --csv f.csv --threads 1"
    assert main(command.split()) == 1
    assert capsys.readouterr().out == ""
    assert (fitted / "f.svg").read_text() == "old"
    assert not (fitted / "f.csv").exists()
