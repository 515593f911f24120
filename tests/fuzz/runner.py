"""Where cases run: one process after another, bounded in memory and time."""

from __future__ import annotations

import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz import check
from fuzz.lines import parsers

MEMORY = 4 << 30  # bytes of address space, of which torch takes one
FILE_SIZE = 1 << 28
PATIENCE = 12 * check.LIMIT  # seconds after which a case is taken to hang


def limit() -> None:
    """Bound what this process can take from the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def one(seed: str, known: Any, sources: Path, folder: Path) -> tuple[str, Any, list[str]]:
    """Run the case of a seed; return it in words, its status and its faults."""
    case = check.case_of(seed, known, sources, folder)
    before = check.held(folder)
    if seed.startswith("shell"):
        ending = check.run_in_shell(case, folder, limit)
    else:
        ending = check.run_here(case, folder)
    return str(case), ending.status, check.faults(case, ending, before, folder)


def serve(connection: Connection, sources: Path, folder: Path) -> None:
    """Run the cases whose seeds come through a pipe."""
    limit()
    known = parsers()
    while True:
        try:
            seed = connection.recv()
        except EOFError:
            return
        connection.send(one(seed, known, sources, folder))


class Runner:
    """Cases in one process, which is replaced if it hangs or dies."""

    def __init__(self, sources: Path, folder: Path) -> None:
        self._sources, self._folder = sources, folder
        self._context = multiprocessing.get_context("spawn")
        self.n_processes = 0
        self._start()

    def _start(self) -> None:
        self._connection, other = self._context.Pipe()
        self._process = self._context.Process(
            target=serve, args=(other, self._sources, self._folder)
        )
        self._process.start()
        other.close()
        self.n_processes += 1

    def run(self, seed: str) -> tuple[str, Any, list[str]]:
        self._connection.send(seed)
        try:
            if self._connection.poll(PATIENCE):
                found: tuple[str, Any, list[str]] = self._connection.recv()
                return found
            reason = "it hangs"
        except EOFError:
            self._process.join()
            reason = f"the process died: {self._process.exitcode}"
        self.close()
        self._start()
        return seed, reason, [reason]

    def close(self) -> None:
        self._connection.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()
