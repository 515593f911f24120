"""Kills of every command that writes: nothing is lost, nothing is half, nothing is left over.

A command is run once in peace. Then it is killed at random moments by SIGKILL, SIGTERM or SIGINT,
the last two also twice, in a folder that holds older outputs. What must hold after each kill:

- status 130 by SIGTERM and SIGINT (or of the signal itself, while Python starts), at most one line
  on standard error and no traceback;
- every output is the older file, the whole new one, or what an interrupted command has kept;
- the same command, repeated, ends with the files of the run in peace, and no other file is there.

    python tests/fuzz/kills.py --kills 100 --seed 1
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pottsattn._core.storage import content_hash
from pottsattn.cli import main as run_here

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
START = 0.5  # seconds that Python may take to start, before it can hear signals
INPUTS = (
    "sample --length 12 --states 3 --coupling-scale 1 --sequences 400 --chains 20 --warmup 20 "
    "--out data.h5",
    "sample --model data.h5 --sequences 300 --chains 20 --warmup 20 --seed 1 --out other.h5",
    "fit data.h5 --method plm --out fit.h5",
    "theory --states 3 --coupling-scale 1 --ridge 0.2 --alpha 4 8 --out curve.h5",
    "example --out family.fasta",
)
SWEEP = """
n_states = 3
coupling_scales = [1.0]
lengths = [8]
instances = 2
alphas = [2, 4]
ridges = [0.2]
methods = ["factored"]
n_test = 100
"""
COMMANDS = (
    "sample --length 20 --states 3 --coupling-scale 1 --sequences 20000 --chains 20 --warmup 50 "
    "--thin 20 --out out.h5",
    "sample --model fit.h5 --sequences 500 --chains 20 --warmup 20 --out out.h5",
    "split data.h5 --fraction 0.7 --out out.h5 rest.h5",
    "fit data.h5 --method plm --out out.h5",
    "fit data.h5 --method factored --heads 2 --out out.h5",
    "fit data.h5 --method mf --out out.h5",
    "fit data.h5 --method attention --optimizer adam --max-steps 300 --out out.h5",
    "fit data.h5 --method transformer --width 8 --max-steps 60 --out out.h5",
    "theory --states 3 --coupling-scale 1 --ridge 0.2 --alpha 2 4 8 16 --out out.h5",
    "theory --states 3 --coupling-scale 1 --ridge 0.2 --alpha 2 4 8 16 --out out.csv",
    "contacts fit.h5 --data data.h5 --null 3 --min-separation 1 --out out.csv",
    "plan data.h5 --out out.csv",
    "plot curve.h5 --out out.png",
    "report curve.h5 --out out.html",
    "example --out out.fasta",
    "weights family.fasta --out out.csv",
    "energies fit.h5 other.h5 --out out.csv",
    "mutations fit.h5 --sequence 0,1,2,0,1,2,0,1,2,0,1,2 --out out.png --csv out.csv",
    "statistics data.h5 other.h5 --out out.png --csv out.csv",
    "export fit.h5 --format npz --out out.npz",
    "export fit.h5 --format plmc --data data.h5 --out out.params",
    "bridge data.h5 --max-sequences 60 --mask-fraction 0.5 --out out.png --csv out.csv",
    "sweep sweep.toml --workers 1 --out out.h5",
    "spatial --patches 12 --global-area 6 --local-area 3 --clusters 20 --steps 300 --out out.h5",
    "instances --steps 10 --sequences 60 --length 6 --states 3 --classes 2 --references none "
    "--out out.h5",
)

KEEP_SOME = ("contacts", "bridge")  # tables and figures of what was done before an interrupt


@dataclass
class Outcome:
    """How one run ended."""

    status: int
    out: str
    err: str
    seconds: float


def environment() -> dict[str, str]:
    """Return that of the runs: this package, one thread."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def hear_ctrl_c() -> None:
    """Undo what a shell does to processes that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(
    command: str, folder: Path, number: int = 0, delay: float = 0.0, again: float | None = None
) -> Outcome:
    """Run a command; kill it after `delay` seconds, perhaps `again` so many later."""
    argv = [sys.executable, "-m", "pottsattn", *command.split(), "--threads", "1"]
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    try:
        for pause in (delay, again) if number else ():
            if pause is None:
                break
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(number)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return Outcome(process.returncode, out, err, time.monotonic() - started)


def prepare(folder: Path, commands: tuple[str, ...] = INPUTS) -> None:
    """Make the inputs of all commands."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        for command in commands:
            with redirect_stdout(io.StringIO()):
                status = run_here([*command.split(), "--threads", "1"])
            assert status in (0, 3), command
        Path("sweep.toml").write_text(SWEEP)
    finally:
        os.chdir(here)


def contents(folder: Path, names: set[str]) -> dict[str, str]:
    """Return a hash of what each of some files holds."""
    return {name: content(folder / name) for name in sorted(names)}


def content(path: Path) -> str:
    """Return a hash of the numbers in a file, seconds apart, or of its bytes."""
    if path.suffix == ".h5":
        return content_hash(path)
    if path.suffix == ".npz":
        arrays = np.load(path)
        return str({name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays})
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return str([{**row, "seconds": None} for row in rows])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def is_interrupted(path: Path) -> bool:
    if path.suffix != ".h5":
        return False
    with h5py.File(path) as file:
        return bool(file.attrs.get("interrupted", False))


class Case:
    """One command, its files from a run in peace, and kills of it."""

    def __init__(self, command: str, inputs: Path, folder: Path) -> None:
        self.command, self.inputs, self.folder = command, inputs, folder
        self.whole = self._fresh("whole")
        self.peace = run(command, self.whole)
        assert self.peace.status in (0, 3), (command, self.peace)
        self.outputs = names_in(self.whole) - names_in(inputs)
        assert self.outputs, command
        self.expected = contents(self.whole, self.outputs)
        self.keeps_some = command.startswith(KEEP_SOME)
        self.is_old = {name: b"old " + name.encode() for name in self.outputs}

    def _fresh(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.inputs, folder)
        return folder

    def kill(self, number: int, delay: float, again: float | None) -> str:
        """Kill one run, repeat it, and check; return when it was killed."""
        folder = self._fresh("killed")
        for name, old in self.is_old.items():
            (folder / name).write_bytes(old)
        killed = run(self.command, folder, number, delay, again)
        at = (self.command, signal.Signals(number).name, delay, again, killed)
        was_killed = killed.status not in (0, 3)
        if was_killed and number != signal.SIGKILL:
            early = delay < START and f"{os.sep}pottsattn{os.sep}" not in killed.err
            assert killed.status == 130 or early, at
            assert early or ("Traceback" not in killed.err and killed.err.count("\n") <= 1), at
        n_new = 0
        for name, old in self.is_old.items():
            path = folder / name
            assert path.exists() or (number == signal.SIGKILL and len(self.outputs) > 1), at
            if path.exists() and path.read_bytes() != old:
                kept = is_interrupted(path) or (killed.status == 130 and self.keeps_some)
                assert kept or content(path) == self.expected[name], (name, at)
                n_new += 1
        assert n_new in (0, len(self.outputs)) or number == signal.SIGKILL, at
        again_run = run(self.command, folder)
        assert again_run.status == self.peace.status, (at, again_run)
        found = names_in(folder)
        assert found == names_in(self.whole), (at, found ^ names_in(self.whole))
        assert contents(folder, self.outputs) == self.expected, at
        if not was_killed:
            return "had ended"
        return "new files" if n_new else "old files"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands that begin so")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts: Counter[tuple[str, str]] = Counter()
    n_failed = n_done = 0
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        prepare(inputs)
        chosen = [command for command in COMMANDS if command.startswith(arguments.only)]
        share, rest = divmod(arguments.kills, len(chosen))
        for at, command in enumerate(chosen):
            case = Case(command, inputs, Path(name))
            for _ in range(share + (at < rest)):
                number = SIGNALS[n_done % 3]
                delay = rng.uniform(0.0, 1.05 * case.peace.seconds)
                twice = number != signal.SIGKILL and rng.random() < 0.5
                n_done += 1
                try:
                    when = case.kill(number, delay, rng.uniform(0.0, 0.2) if twice else None)
                except AssertionError as error:
                    n_failed += 1
                    sys.stdout.write(f"FAILED {error}\n")
                else:
                    counts[signal.Signals(number).name, when] += 1
            sys.stdout.write(f"{n_done:4d} kills, {n_failed} failed; {command}\n")
            sys.stdout.flush()
    for (signal_name, when), count in sorted(counts.items()):
        sys.stdout.write(f"{signal_name}: {when}: {count}\n")
    return min(n_failed, 1)


if __name__ == "__main__":
    sys.exit(main())
