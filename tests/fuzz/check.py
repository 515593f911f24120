"""One command line in a folder of its own, and whether it ended as a command must.

- Its status is 0, 1 or 3; or 130, if it ran for longer than its limit and was interrupted.
- Status 1: one line on standard error after warnings, nothing on standard output, no file new,
  changed or left over.
- Otherwise: only warnings on standard error, no file but those that were asked for, and JSON that
  is JSON if that was asked for.
- No control characters on either stream, and no traceback at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz import lines
from fuzz.damage import damage
from fuzz.seeds import KINDS

from pottsattn.cli import main

LIMIT = 10.0  # seconds of a processor in which a command on these small files ends
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SHARE_DAMAGED = 0.6
FILES = {name for names in KINDS.values() for name in names}


@dataclass
class Case:
    """A command line, a folder with its files, and what the folder held before."""

    words: list[str]
    damaged: str | None

    def __str__(self) -> str:
        note = f" (damaged: {self.damaged})" if self.damaged else ""
        return f"{self.words}{note}"


@dataclass
class Ending:
    """How a command ended."""

    status: Any
    out: str
    err: str
    was_stopped: bool = False
    by_the_clock: bool = False  # of the wall, which a busy machine drives


def case_of(seed: str, known: Any, sources: Path, folder: Path) -> Case:
    """Return the case that a seed stands for, with its files in an empty folder."""
    rng = Random(seed)
    damaged = None
    if rng.random() < SHARE_DAMAGED:
        words, damaged = lines.damaged_line(rng)
    else:
        words = lines.wild_line(rng, known)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in FILES.intersection(part for word in words for part in (word, word.split("=")[-1])):
        shutil.copyfile(sources / name, folder / name)
    if damaged is not None:
        damage(folder / damaged, rng)
    if "--threads" not in words:
        words += ["--threads", "1"]
    return Case(words, damaged)


def held(folder: Path) -> dict[str, str]:
    """Return a hash of every file in a folder, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[list[float]]:
    """Press Ctrl-C if what is done inside takes longer; give a list that then is not empty.

    Seconds are those of a processor, so that a busy machine makes no faults.
    """
    stopped: list[float] = []

    def press(number: int, frame: object) -> None:
        stopped.append(seconds)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGPROF, press)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield stopped
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def run_here(case: Case, folder: Path) -> Ending:
    """Run the command in this process."""
    here = os.getcwd()
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
    status: Any = None
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            with interrupted_after(LIMIT) as stopped:
                try:
                    status = main(case.words)
                except SystemExit as ending:  # of --help
                    status = ending.code
                except BaseException:  # noqa: BLE001 - it is what is looked for
                    status = traceback.format_exc()
    finally:
        os.chdir(here)
    said = []
    for stream in streams:
        stream.flush()
        said.append(stream.buffer.getvalue().decode(errors="replace"))  # type: ignore[attr-defined]
    return Ending(status, said[0], said[1], bool(stopped))


def run_in_shell(case: Case, folder: Path, prepare: Any = None) -> Ending:
    """Run the command in a process of its own; what is not text in its words is not passed."""
    argv = [sys.executable, "-m", "pottsattn", *(word.replace("\0", "") for word in case.words)]
    process = subprocess.Popen(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=prepare,
        start_new_session=True,
    )
    was_stopped = False
    try:
        out, err = process.communicate(timeout=6 * LIMIT)
    except subprocess.TimeoutExpired:
        was_stopped = True
        process.send_signal(signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=3 * LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return Ending("it hangs", out.decode(errors="replace"), err.decode(errors="replace"))
    texts = (out.decode(errors="replace"), err.decode(errors="replace"))
    return Ending(process.returncode, *texts, was_stopped, by_the_clock=True)


def faults(case: Case, ending: Ending, before: dict[str, str], folder: Path) -> list[str]:
    """Return what is wrong with how a command ended, in words."""
    found = []
    after = held(folder)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    told = [line for line in ending.err.splitlines() if not line.startswith(WARNING)]
    if ending.status == 130:
        if not ending.was_stopped:
            found.append("status 130 although nobody interrupted it")
        return found
    if ending.status not in (0, 1, 3):
        return [f"status {ending.status}"]
    if "Traceback" in ending.err:
        found.append(f"a traceback: {ending.err[-500:]}")
    if ending.status == 1:
        if len(told) != 1 or not told[0].startswith("pottsattn: "):
            found.append(f"not one line on standard error: {ending.err[-500:]!r}")
        if ending.out:
            found.append(f"status 1, and on standard output {ending.out[:200]!r}")
        if changed:
            found.append(f"status 1, and changed or left {sorted(changed)}")
    else:
        if told:
            found.append(f"status {ending.status}, and on standard error {told}")
        asked = " ".join(case.words)
        unasked = {name for name in changed if name.split(os.sep)[0] not in asked}
        if unasked or any(name.endswith((".tmp", ".partial")) for name in changed):
            found.append(f"files that nobody asked for: {sorted(changed)}")
        if "--json" in case.words and "--help" not in case.words and "-h" not in case.words:
            found += _not_json(ending.out)
    if CONTROL.search(ending.err):
        found.append(f"control characters on standard error: {ending.err[-300:]!r}")
    if CONTROL.search(ending.out):
        found.append(f"control characters on standard output: {ending.out[-300:]!r}")
    if case.damaged and ending.was_stopped and not ending.by_the_clock:
        found.append("it took longer than its limit on a damaged file")
    return found


WARNING = "pottsattn: warning: "


def _not_json(text: str) -> list[str]:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        return [f"no JSON ({error}): {text[:200]!r}"]
    return []
