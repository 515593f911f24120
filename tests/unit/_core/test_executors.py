"""Local worker processes, and what happens when they or their tasks fail."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from pottsattn import InputError
from pottsattn._core.executors import LocalProcesses, run_tasks


def die_unless(path: str) -> int:
    """End this process abruptly, once or until a file is there."""
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_lost_process_costs_its_task_only_and_errors_come_back(tmp_path):
    with LocalProcesses(1) as processes:
        first = processes.submit(os.getpid).result(60)
        assert first in processes.process_ids()
        with pytest.raises(FileNotFoundError):
            processes.submit(os.stat, str(tmp_path / "none")).result(60)
        assert processes.submit(os.getpid).result(60) == first  # it survives its errors
        with pytest.raises(BrokenExecutor):
            processes.submit(os.kill, first, signal.SIGKILL).result(60)
        found = {}
        run_tasks(processes, die_unless, [str(tmp_path / "flag")], found.__setitem__)
        assert found[0] in processes.process_ids()
    assert not is_alive(found[0])


def test_shutting_down_at_once_ends_running_work():
    processes = LocalProcesses(1)
    running = processes.submit(time.sleep, 600)
    waiting = processes.submit(os.getpid)
    while not processes.process_ids():
        time.sleep(0.01)
    (process_id,) = processes.process_ids()
    processes.shutdown(wait=False, cancel_futures=True)
    assert isinstance(running.exception(60), BrokenExecutor)
    assert waiting.cancelled() or isinstance(waiting.exception(60), BrokenExecutor)
    assert not is_alive(process_id)
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        LocalProcesses(0)


class LosingExecutor(ThreadPoolExecutor):
    """Loses the worker of every task so many times, as Dask or a local process would."""

    def __init__(self, n_losses: int, error: Exception) -> None:
        super().__init__(1)
        self.n_left, self.error = n_losses, error

    def submit(self, fn, /, *args, **kwargs):
        if self.n_left == 0:
            return super().submit(fn, *args, **kwargs)
        self.n_left -= 1
        future: Future[object] = Future()
        future.set_exception(self.error)
        return future


class KilledWorker(Exception):
    """Of the name that Dask gives it."""


def test_lost_workers_are_replaced_a_bounded_number_of_times():
    for error in (BrokenExecutor(), KilledWorker()):
        found = {}
        with LosingExecutor(2, error) as executor:
            run_tasks(executor, abs, [-3], found.__setitem__)
        assert found == {0: 3}
        with LosingExecutor(3, error) as executor:
            with pytest.raises(
                InputError, match=r"3 workers in a row ended during one task \(-3\)"
            ):
                run_tasks(executor, abs, [-3], found.__setitem__)


def test_the_error_of_a_task_ends_the_run():
    found = {}
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(ZeroDivisionError):
            run_tasks(executor, lambda x: 1 / x, [1, 0, *[2] * 50], found.__setitem__)
    assert found[0] == 1.0
    assert len(found) < 52
