"""The one `njit` of the package, and threads that run its kernels.

Kernels release the GIL, so plain Python threads run them in parallel; work belongs to chains or
sites, never to threads, and results are the same for any number of threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

import numba
from threadpoolctl import threadpool_limits

from pottsattn._core.validate import MOST_THREADS, check_at_least

Task = TypeVar("Task")
Result = TypeVar("Result")


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a kernel: GIL released, cached on disk where a disk cache can be written."""
    if function is None:
        return lambda decorated: njit(decorated, **options)
    try:
        return numba.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:  # no writable place for the cache (read-only install, no home)
        return numba.njit(function, nogil=True, **options)


def n_threads_or_default(n_threads: int | None) -> int:
    """Return `n_threads`, or the number of cores this process may use."""
    if n_threads is not None:
        return check_at_least("threads", n_threads, 1, MOST_THREADS)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_in_threads(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    n_threads: int,
    stop: threading.Event | None = None,
    *,
    blas_is_limited: bool = False,
) -> Iterable[Result]:
    """Yield `function(task)` in the order of `tasks`, computed by `n_threads` threads.

    Meanwhile BLAS keeps to one thread: its own threads would fight ours for the cores (L-BFGS on
    vectors of 2e4 was four times slower). That takes a millisecond or two, which a caller who sees
    to it himself saves by `blas_is_limited`. When one task fails or the caller is interrupted,
    tasks that have not started are dropped and `stop` is set, by which running ones may end early.
    """
    limited = nullcontext() if blas_is_limited else threadpool_limits(limits=1, user_api="blas")
    with limited:
        if n_threads == 1:
            yield from map(function, tasks)
            return
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield from pool.map(function, tasks)
        finally:
            if stop is not None:
                stop.set()
            pool.shutdown(cancel_futures=True)
