"""Fuzz the command line: damaged files and wild options, in one process and through the shell.

    PYTHONPATH=tests python -m fuzz [--seconds 600] [--seed N] [--cases 10000] [--shell 500]
    PYTHONPATH=tests python -m fuzz --case here:7:123        # one case again, told in full

What must hold is said in `check.py`. Each case is made from the seed that is printed with its
fault. A process that hangs or dies is ended, counted and replaced. Status 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz import seeds
from fuzz.lines import parsers
from fuzz.runner import Runner, one


def fuzz(kind: str, n_cases: int, ends_at: float, seed: int, run: Any, counts: Any) -> None:
    """Run the cases of one kind until all are done or the time is over."""
    for at in range(n_cases):
        if time.monotonic() > ends_at:
            break
        name = f"{kind}:{seed}:{at}"
        told, status, found = run(name)
        counts[kind, status if isinstance(status, int) else "fault"] += 1
        for fault in found:
            counts[kind, "faults"] += 1
            sys.stdout.write(f"\n{name} {told}\n    {fault}\n")
            sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--cases", type=int, default=10_000, help="in one process")
    parser.add_argument("--shell", type=int, default=500, help="through the shell")
    parser.add_argument("--case", help="the one case of this seed")
    arguments = parser.parse_args()
    counts: Counter[Any] = Counter()
    with tempfile.TemporaryDirectory() as name:
        sources = Path(name) / "sources"
        sources.mkdir()
        seeds.make(sources)
        if arguments.case:
            told, status, found = one(arguments.case, parsers(), sources, Path(name) / "case")
            sys.stdout.write("\n".join([told, f"status {status}", *found, ""]))
            return int(bool(found))
        sys.stdout.write(f"seed {arguments.seed}\n")
        ends_at = time.monotonic() + arguments.seconds
        runner = Runner(sources, Path(name) / "here")
        known = parsers()
        shell = threading.Thread(
            target=fuzz,
            args=("shell", arguments.shell, ends_at, arguments.seed,
                  lambda seed: one(seed, known, sources, Path(name) / "shell"), counts),
        )  # fmt: skip
        shell.start()
        fuzz("here", arguments.cases, ends_at, arguments.seed, runner.run, counts)
        shell.join()
        runner.close()
    for kind in ("here", "shell"):
        statuses = {key: n for (where, key), n in counts.items() if where == kind}
        n_faults = statuses.pop("faults", 0)
        told = ", ".join(f"{n} x status {key}" for key, n in sorted(statuses.items(), key=str))
        sys.stdout.write(f"{kind}: {sum(statuses.values())} cases, {n_faults} faults; {told}\n")
    sys.stdout.write(f"processes for the first kind: {runner.n_processes}; seed {arguments.seed}\n")
    return int(any(key == "faults" for _, key in counts))


if __name__ == "__main__":
    sys.exit(main())
