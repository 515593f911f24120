"""Where the tasks of a sweep run: processes of this machine, or the workers of a Dask cluster.

Both are a `concurrent.futures.Executor`, and `run_tasks` knows nothing else of them. A worker that
dies breaks the future of its task alone, which is given to another one.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from pottsattn._core.interrupts import SIGNALS, signals_blocked
from pottsattn._core.validate import InputError, check_at_least

LEAST_BOUND = 64  # of the number of processes on any machine; four a core on large ones
MOST_LOSSES = 3  # workers that one task may take with it
CONNECT_SECONDS = 10

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class LocalProcesses(Executor):
    """Processes of this machine, started afresh (spawn) as they are needed, one thread each.

    Unlike in `concurrent.futures.ProcessPoolExecutor` a process that dies costs its own task only,
    and none outlives this one, however it ends.

    Parameters
    ----------
    n_workers
        Number of processes, at most 64 or four a core; the cores that this process may use if left
        out.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        most = max(LEAST_BOUND, 4 * (count or 1))  # every one takes memory of its own
        n_workers = count if n_workers is None else n_workers
        self.n_workers = check_at_least("n_workers", n_workers, 1, most)
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        for _ in range(self.n_workers):
            self._idle.put(None)  # a worker that is still to be started
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self._is_stopped = False
        self._dispatchers = ThreadPoolExecutor(self.n_workers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run fn(*args, **kwargs) in a process; what it raises, or BrokenExecutor, is raised."""
        return self._dispatchers.submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = self._start()
            succeeded, value = worker.ask(fn, args, kwargs)
        except (EOFError, OSError) as error:
            if worker is not None:
                self._discard(worker)
                worker = None
            raise BrokenExecutor("a worker process ended before its task") from error
        finally:
            self._idle.put(worker)
        if not succeeded:
            raise value
        return value

    def _start(self) -> _Worker:
        with self._lock:
            if self._is_stopped:
                raise EOFError
            worker = _Worker()
            self._workers.add(worker)
            return worker

    def _discard(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
        worker.kill()

    def process_ids(self) -> list[int]:
        """Return the process ids of the workers that run."""
        with self._lock:
            return [worker.process_id for worker in self._workers]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after what was submitted, or now if `wait` is False."""
        if wait:
            self._dispatchers.shutdown(wait=True, cancel_futures=cancel_futures)
        with self._lock:
            self._is_stopped = True
            workers = set(self._workers)
            self._workers.clear()
        for worker in workers:
            worker.kill()
        self._dispatchers.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """One process at the other end of a pipe; it ends with the one that has started it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        resource_tracker.ensure_running()  # it would unblock what is blocked here
        with signals_blocked():
            self._process.start()
        other.close()  # so that the death of the process closes the pipe

    @property
    def process_id(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> tuple[bool, Any]:
        self._connection.send((fn, args, kwargs))
        succeeded, value = self._connection.recv()
        return bool(succeeded), value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(connection: Connection) -> None:
    """Run what comes through the pipe, until it is closed."""
    for number in SIGNALS:  # they are for the process that decides, and come to its group
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by NumPy and torch, which the first task imports
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - handed on to the process that asked
            answer = False, error
        try:
            connection.send(answer)
        except OSError:
            return


def _end_with_parent() -> None:
    """Leave no orphan: a task may be long, and the process that wants it may be killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Give the executor of a Dask cluster.

    Parameters
    ----------
    address
        Of the scheduler, such as tcp://127.0.0.1:8786.

    Raises
    ------
    InputError
        The package `distributed` is missing, or no scheduler answers.
    """
    try:
        distributed: Any = import_module("distributed")
        comm: Any = import_module("distributed.comm")
    except ImportError as error:
        raise InputError(
            "a Dask cluster needs the package distributed: pip install 'pottsattn[dask]'"
        ) from error
    try:
        comm.get_address_host(address)  # a client that fails on its address prints a traceback
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} within {CONNECT_SECONDS} s; expected the "
            "address that dask scheduler prints, such as tcp://HOST:8786"
        ) from error
    with client:
        yield client.get_executor(pure=False)


@contextmanager
def open_executor(n_workers: int | None = None, dask: str | None = None) -> Iterator[Executor]:
    """Give processes of this machine, or the workers of the Dask cluster at an address.

    Raises
    ------
    InputError
        Both are given, or the cluster cannot be reached.
    """
    if n_workers is not None and dask is not None:
        raise InputError("give either `n_workers` or `dask`, not both")
    with LocalProcesses(n_workers) if dask is None else dask_executor(dask) as executor:
        yield executor


def run_tasks(
    executor: Executor,
    function: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    done: Callable[[int, Outcome], None],
) -> None:
    """Run `function` on all tasks, and call `done` (number of the task, outcome) as they end.

    A task whose worker is lost is submitted again, three times at most. If it cannot be finished,
    or anything is raised, what has not begun is cancelled.

    Raises
    ------
    InputError
        A task has lost too many workers, or the cluster is gone.
    """
    running = {executor.submit(function, task): at for at, task in enumerate(tasks)}
    n_lost = dict.fromkeys(range(len(tasks)), 0)
    try:
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(ended, key=_has_failed):  # what is done is kept first
                at = running.pop(future)
                try:
                    outcome = future.result()
                except CancelledError as error:
                    raise InputError("the cluster was lost; start it and repeat") from error
                except Exception as error:
                    if not _is_lost_worker(error):
                        raise
                    n_lost[at] += 1
                    if n_lost[at] >= MOST_LOSSES:
                        raise InputError(
                            f"{n_lost[at]} workers in a row ended during one task ({tasks[at]}); "
                            "if memory was short, use fewer workers or smaller sizes"
                        ) from error
                    running[executor.submit(function, tasks[at])] = at
                    continue
                done(at, outcome)
    except BaseException:
        for future in running:
            future.cancel()
        executor.shutdown(wait=False)  # that of Dask knows no other option
        raise


def _has_failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None


def _is_lost_worker(error: Exception) -> bool:
    """Whether a worker died; Dask, which has tried several by then, says KilledWorker."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"
