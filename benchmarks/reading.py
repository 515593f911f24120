"""Time and peak memory of reading a large protein alignment, ours beside Biopython's.

    pip install biopython
    python benchmarks/reading.py [--sequences M] [--length L]

The file is FASTA wrapped at 60 letters and Stockholm, sequences of a few thousand ancestors with
mutations. Every reading is a process of its own; the answers are compared before a time is printed.
Exit status 1 if answers differ, if reading takes 10 s or weighting 60 s on two threads, or if the
memory taken is more than `pottsattn info` tells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"-ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
READ_LIMIT, WEIGHT_LIMIT = 10.0, 60.0


def make(folder: Path, n_sequences: int, length: int) -> str:
    """Write the files; return the digest of the states. In a process of its own: see `peak`."""
    rng = np.random.default_rng(0)
    ancestors = rng.integers(21, size=(n_sequences // 20, length), dtype=np.uint8)
    states = ancestors[rng.integers(len(ancestors), size=n_sequences)]
    rate = rng.choice([0.1, 0.2, 0.4, 0.6], size=(n_sequences, 1))
    mutated = rng.random(states.shape, dtype=np.float32) < rate
    states = np.where(mutated, rng.integers(21, size=states.shape, dtype=np.uint8), states)
    with (folder / "a.fasta").open("wb") as fasta, (folder / "a.sto").open("wb") as stockholm:
        stockholm.write(b"# STOCKHOLM 1.0\n")
        for m, row in enumerate(states):
            text = LETTERS[row].tobytes()
            lines = b"\n".join(text[at : at + 60] for at in range(0, length, 60))
            fasta.write(b">sequence_%d/1-%d\n%s\n" % (m, length, lines))
            stockholm.write(b"sequence_%d/1-%d %s\n" % (m, length, text))
        stockholm.write(b"//\n")
    return digest(states)


def digest(states: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(states).tobytes()).hexdigest()


def peak() -> int:
    """Return the peak memory; on Linux a process starts with that of the process that began it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def task(name: str, path: str, *sizes: str) -> dict[str, object]:
    """One reading, in this process: seconds, digest and the memory taken beyond the libraries."""
    if name == "make":
        return {"digest": make(Path(path), *map(int, sizes))}
    if name == "ours":
        from pottsattn.data.alignment.reading import read_alignment

        before, started = peak(), time.perf_counter()
        states = read_alignment(path).sequences
    elif name == "weights":
        from pottsattn.data.alignment.identity import sequence_weights
        from pottsattn.data.alignment.reading import read_alignment

        states = read_alignment(path).sequences
        sequence_weights(states[:50], 0.8)
        before, started = peak(), time.perf_counter()
        weights = sequence_weights(states, 0.8, n_threads=2)
        print(f"M_eff {weights.sum():.1f}", file=sys.stderr)
    else:
        from Bio import AlignIO

        table = np.full(256, 255, dtype=np.uint8)
        table[LETTERS] = np.arange(21)
        before, started = peak(), time.perf_counter()
        with open(path) as file:
            records = AlignIO.read(file, "fasta" if path.endswith("fasta") else "stockholm")
        rows = [np.frombuffer(bytes(record.seq), dtype=np.uint8) for record in records]
        states = table[np.stack(rows)]
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "digest": digest(states), "bytes": peak() - before}


def run(name: str, path: Path, *sizes: int) -> dict[str, object]:
    argv = [sys.executable, __file__, "--task", name, str(path), *map(str, sizes)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=50_000, metavar="M")
    parser.add_argument("--length", type=int, default=300, metavar="L")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(task(*arguments.task)))
        return 0
    from pottsattn.cost.memory import PlannedFit

    sizes = (arguments.length, 21, arguments.sequences, 2)
    stages = PlannedFit("mf", *sizes).memory().stages
    told = {stage.stage: stage.kept_bytes + stage.working_bytes for stage in stages}
    is_wrong = False
    print("what                    seconds     memory       told")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = run("make", folder, arguments.sequences, arguments.length)["digest"]
        for suffix, who in (
            *((suffix, who) for suffix in ("fasta", "sto") for who in ("ours", "Biopython")),
            ("fasta", "weights"),
        ):
            result = run(who, folder / f"a.{suffix}")
            if result["digest"] != expected:
                print(f"{who} reads another alignment from .{suffix}")
                return 1
            stage = "sequence weights" if who == "weights" else "reading the data"
            limit = WEIGHT_LIMIT if who == "weights" else READ_LIMIT
            promised = "" if who == "Biopython" else f"{told[stage] / 2**20:6.0f} MiB"
            print(
                f"{who + ' ' + suffix:20} {result['seconds']:10.2f} "
                f"{result['bytes'] / 2**20:6.0f} MiB {promised}",
                flush=True,
            )
            if who != "Biopython":
                is_wrong |= result["seconds"] > limit or result["bytes"] > told[stage]
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
