"""Ctrl-C that waits for the end of a step, which would leave things half done if it were cut."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C wait for the end of a step; give a function that raises if there was one.

    A step that is cut in two would leave parameters and optimizer apart. A second Ctrl-C does not
    wait. Only the main thread hears signals, and not where they are ignored (`nohup`, `&`).
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: None
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            before(number, frame)

    def check() -> None:
        if arrived:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
