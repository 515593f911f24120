"""Temporary files: none outlives the next run, none is taken from a run that writes.

A killed run left its temporary file for ever, its name was that of every process with the same
number (in another container), and it was renamed before it was on the disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pottsattn._core.interrupts import SIGNALS, hear_signals
from pottsattn._core.partial import PartialFile
from pottsattn._core.whole_files import check_writable, write_whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")
KILLED = """
import os, signal, sys
from pottsattn._core.whole_files import write_whole
with write_whole(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
    temporary.write_text("whole")
"""


def start(target, what: str) -> subprocess.Popen:
    command = [sys.executable, "-c", KILLED, str(target), what]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    assert process.stdout.readline() == "\n"
    return process


@pytest.mark.parametrize("name", ["a.h5", "a.[b]*.h5", ".x", "\udcff.h5"])
def test_the_next_run_removes_what_a_killed_one_left(name, tmp_path):
    target = tmp_path / name
    with start(target, "die") as process:
        process.wait()
    assert len(os.listdir(tmp_path)) == 1
    others = {f".other{name}.{'0' * 12}.tmp", f".{name}.of_the_user.tmp", f"{name}.tmp"}
    for other in others:
        (tmp_path / other).write_text("not ours")
    check_writable(target)
    assert {*os.listdir(tmp_path)} == others
    with write_whole(target) as temporary:
        temporary.write_text("new")
    assert {*os.listdir(tmp_path)} == {*others, name}


def test_the_file_of_a_run_that_writes_is_no_leftover(tmp_path):
    target = tmp_path / "a.txt"
    with start(target, "wait") as process:
        with write_whole(target) as temporary:
            temporary.write_text("mine")
        assert len(os.listdir(tmp_path)) == 2
        process.communicate("go on\n")
        assert process.returncode == 0
    assert target.read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_names_do_not_depend_on_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in two containers
    with write_whole(tmp_path / "a") as first, write_whole(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)

        def noted(*arguments, name=name, function=function):
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(os, name, noted)
    with write_whole(tmp_path / "a") as temporary:
        temporary.write_text("1")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_wait_until_a_file_is_whole(number, tmp_path):
    def write():
        with hear_signals(), write_whole(tmp_path / "a") as temporary:
            temporary.write_text("half")
            signal.raise_signal(number)
            signal.raise_signal(number)
            temporary.write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert (tmp_path / "a").read_text() == "whole"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_wait_until_a_record_is_whole(number, tmp_path, monkeypatch):
    path, sync = tmp_path / "a.partial", os.fsync
    partial = PartialFile(path, {})

    def pressed(handle):
        signal.raise_signal(number)
        return sync(handle)

    monkeypatch.setattr(os, "fsync", pressed)
    with pytest.raises(KeyboardInterrupt), hear_signals():
        partial.append({})
    assert len(partial) == 1
    partial.close()
    monkeypatch.setattr(os, "fsync", sync)
    again = PartialFile(path, {})
    assert (len(again), again.n_dropped_bytes) == (1, 0)
    again.close()
