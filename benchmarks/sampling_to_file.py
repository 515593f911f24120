"""Data sets larger than memory: resident memory, size, rate, and what a kill costs.

Writes 10^7 sequences of 100 sites (1 GB as bytes) by the command line and prints the peak resident
memory of the process; then repeats the run, kills it when a random share of its partial file is
there, restarts it, and checks that the content hash is the same. A restart should take the share
that was left, and no more than a fifth of the whole on top.

    python benchmarks/sampling_to_file.py                  # takes some minutes and 1 GB of disk
    python benchmarks/sampling_to_file.py --sequences 1000000 --kills 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pottsattn._core.storage import content_hash

LARGEST_MEMORY = 1 << 30


def start(path: Path, n_sequences: int) -> subprocess.Popen[str]:
    model = "--length 100 --states 3 --coupling-scale 1"
    options = f"sample {model} --chains 1024 --warmup 100 --thin 5 --json --sequences"
    arguments = [sys.executable, "-m", "pottsattn", *options.split()]
    arguments += [str(n_sequences), "--out", str(path)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    out = process.communicate()[0]
    if process.returncode != 0:
        raise SystemExit(f"WRONG: exit status {process.returncode}")
    return json.loads(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sequences", type=int, default=10_000_000)
    parser.add_argument("--kills", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole.h5"), Path(folder, "killed.h5")
        started = time.perf_counter()
        result = finish(start(whole, arguments.sequences))
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        size = whole.stat().st_size
        if peak > LARGEST_MEMORY:
            raise SystemExit(f"WRONG: {peak / 1e6:.0f} MB of resident memory")
        print(
            f"{arguments.sequences} sequences of 100 sites: {seconds:.1f} s, peak resident memory "
            f"{peak / 1e6:.0f} MB, file {size / 1e6:.0f} MB "
            f"({8 * size / arguments.sequences / 100:.2f} bits a site, log2 3 = 1.58), "
            f"{float(str(result['updates_per_second'])) / 1e6:.0f} million updates per second"
        )
        expected = content_hash(whole)
        whole.unlink()
        partial = Path(f"{killed}.partial")
        for _ in range(arguments.kills):
            share = rng.uniform(0.1, 0.9)
            process = start(killed, arguments.sequences)
            while not (partial.exists() and partial.stat().st_size > share * size):
                time.sleep(0.001)
                if process.poll() is not None:
                    raise SystemExit("WRONG: the run ended before it could be killed")
            process.send_signal(signal.SIGKILL)
            process.communicate()
            started = time.perf_counter()
            resumed = finish(start(killed, arguments.sequences))
            again = time.perf_counter() - started
            done = int(str(resumed["resumed_from"])) / arguments.sequences
            if done == 0.0 or content_hash(killed) != expected:
                raise SystemExit("WRONG: nothing was resumed, or the content differs")
            print(
                f"killed with {done:.2f} of the sequences there: the restart took {again:.1f} s, "
                f"{again / seconds:.2f} of the whole run, {again / seconds - (1 - done):+.2f} "
                "above the share that was left (at most +0.20 is wanted); same content hash"
            )
            os.unlink(killed)


if __name__ == "__main__":
    main()
