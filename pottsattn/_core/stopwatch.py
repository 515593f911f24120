"""Wall time of a piece of work, apart from that of compiling its kernels.

Kernels are compiled once and read from a cache later, so that the first run on a machine would look
slow beside all others.
"""

from __future__ import annotations

import time
from typing import Any

from numba.core import event

# Listens as long as the process lives: listeners that come and go are not safe among threads.
_compiling: Any = event.TimingListener()  # type: ignore[no-untyped-call]
event.register("numba:compile", _compiling)  # type: ignore[no-untyped-call]


class Stopwatch:
    """Runs from where it is made."""

    def __init__(self) -> None:
        self._started, self._compiled = time.perf_counter(), _compiled()

    @property
    def compile_seconds(self) -> float:
        """Time that kernels were compiled meanwhile; those read from the cache take none."""
        return _compiled() - self._compiled

    @property
    def seconds(self) -> float:
        """Wall time less that."""
        return time.perf_counter() - self._started - self.compile_seconds


def _compiled() -> float:
    return float(_compiling.duration) if _compiling.done else 0.0
