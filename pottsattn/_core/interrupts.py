"""Ctrl-C and SIGTERM: what is done is kept, at whatever moment they come.

A command hears both as one (`hear_signals`). The first is raised as KeyboardInterrupt where it can
do no harm: after the step or the file that is being written (`interrupts_wait`), and not in the
middle of an import or a compilation, which would make something else of it or swallow it. Those
that follow must not cut what the first has set going (`understood`).
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pottsattn._core.validate import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME = 10.0  # seconds in which further signals are taken for the first one, pressed again
PAUSE = 0.02  # seconds between two looks whether an import has ended
LONGEST = 30.0  # seconds that an import or a compilation is waited for
DELICATE = {"importlib", "llvmlite", "numba"}


class _Hearing:
    """The handler of both signals while a command runs."""

    def __init__(self) -> None:
        self.hook = sys.unraisablehook
        self.raised_at: float | None = None
        self.is_understood = False
        self._first_heard: float | None = None
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.raised_at is not None and (self.is_understood or now - self.raised_at < SAME):
            return
        if self._first_heard is None:
            self._first_heard = now
        if _is_delicate(frame) and now - self._first_heard < LONGEST:
            self.repeat(number)
            return
        self.raised_at = now
        raise KeyboardInterrupt

    def repeat(self, number: int) -> None:
        """Hear the signal again in a moment."""
        self._timer = threading.Timer(PAUSE, _send, [number])
        self._timer.daemon = True
        self._timer.start()

    def swallowed(self, unraisable: Any) -> None:
        """Raise again what a destructor or a callback of C was interrupted by and cannot raise."""
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self.hook(unraisable)
            return
        self.start_again()

    def start_again(self) -> None:
        """Raise once more what has ended nothing."""
        self.raised_at, self.is_understood = None, False
        self.repeat(signal.SIGINT)

    def end(self) -> None:
        """Hear nothing any more."""
        if self._timer is not None:
            self._timer.cancel()


def _send(number: int) -> None:
    """Send the main thread a signal, which wakes it where it waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        _thread.interrupt_main(signal.Signals(number))


_hearing: _Hearing | None = None  # of the command that runs


@contextmanager
def hear_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C and for SIGTERM, and for whatever that has become.

    Only the main thread hears signals, and none that is ignored (`nohup`, `&`).
    """
    global _hearing
    hearing, outer = _Hearing(), _hearing
    try:
        with _handled(hearing, default=True):
            _hearing, sys.unraisablehook = hearing, hearing.swallowed
            yield
    except Exception as error:
        if hearing.raised_at is None:
            raise
        words = [str(error)] if isinstance(error, InputError) else []
        raise KeyboardInterrupt(*words) from error
    finally:
        _hearing, sys.unraisablehook = outer, hearing.hook
        hearing.end()


def understood() -> None:
    """Say that an interrupt has been caught and what is done is being kept.

    Whoever catches a KeyboardInterrupt to return what there is says so first. From then on a
    command hears no further signal: its way to the disk may be long.
    """
    if _hearing is not None:
        _hearing.is_understood = True


def came_too_late() -> None:
    """Say that an interrupt found nothing left to end: what follows in the command is ended."""
    if _hearing is not None:
        _hearing.start_again()


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Let signals wait for the end of a step; give a function that raises if there was one.

    A step that is cut in two would leave parameters and optimizer apart, a file that is cut would
    be lost. Where several of these are inside each other, signals wait for the outermost. Nothing
    is changed in other threads than the main one, and for signals that are ignored or kill.
    """
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    with _handled(note) as before:

        def check() -> None:
            if arrived:
                number = arrived[0]
                arrived.clear()
                before[number](number, None)

        yield check
    check()


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Keep signals from processes that are started meanwhile, until they unblock them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def _handled(handler: Handler, *, default: bool = False) -> Iterator[dict[int, Any]]:
    """Handle signals by `handler`, and give what did so before.

    That were Python functions; or, if `default`, the system, which kills.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            old = signal.getsignal(number)
            if callable(old) or (default and old is signal.SIG_DFL):
                before[number] = old
    try:
        for each in before:
            signal.signal(each, handler)
        yield before
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether an import or a compilation is going on."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in DELICATE:
            return True
        frame = frame.f_back
    return False
