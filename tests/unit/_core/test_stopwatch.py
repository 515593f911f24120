"""Compiling is told apart from the work itself."""

from __future__ import annotations

import time

import numba

from pottsattn._core.stopwatch import Stopwatch


def test_compiling_is_apart_from_seconds():
    outer, started = Stopwatch(), time.perf_counter()
    assert outer.compile_seconds == 0.0
    doubled = numba.njit(lambda x: 2 * x)
    assert doubled(1) == 2
    inner = Stopwatch()
    assert doubled(2) == 4  # compiled already
    time.sleep(0.02)
    wall = time.perf_counter() - started
    assert inner.compile_seconds == 0.0
    assert 0.02 <= inner.seconds <= wall
    assert 0.0 < outer.compile_seconds < wall
    assert 0.02 <= outer.seconds <= wall - outer.compile_seconds + 0.1
