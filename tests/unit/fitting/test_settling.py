"""When steps have come to their end: the distance estimated and the fall that goes on."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn.fitting.settling import Settling

LENGTH = 4


def settled(values, decrements=0.0) -> Settling:
    settling = Settling(LENGTH)
    settling.restart(LENGTH * values[0])
    of_steps = np.broadcast_to(decrements, len(values) - 1)
    for value, decrement in zip(values[1:], of_steps, strict=True):
        settling.add(LENGTH * value, LENGTH * decrement)
    return settling


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_what_falls_like_a_power_gains_less_than_is_told(power):
    """The true gain of as many steps again is told with a margin, of a factor of four at most."""
    n_steps = np.arange(1, 2001.0)
    values = 1e-3 * n_steps**-power
    settling = settled(values[:1000])
    gain = values[999] - values[-1]
    assert gain < settling.falls_on() < 4.0 * gain


def test_a_long_flat_valley_is_not_its_end():
    """Each step tells that the minimum is near; together they still fall by 1e-7 each."""
    falling = 1.0 - 1e-7 * np.arange(200)
    assert not settled(falling, 1e-12).is_met
    assert settled(np.full(200, 1.0), 1e-12).is_met


def test_one_estimate_is_not_enough():
    still = np.full(30, 1.0)
    decrements = np.full(29, 1e-7)
    decrements[-2:] = 1e-12
    assert not settled(still, decrements).is_met
    decrements[-3:] = 1e-12
    assert settled(still, decrements).is_met
    decrements[-1] = np.nan
    assert not settled(still, decrements).is_met


def test_a_few_steps_tell_nothing():
    settling = settled(np.full(9, 1.0), 0.0)
    assert settling.falls_on() == np.inf
    assert not settling.is_met


def test_another_precision_is_no_fall():
    settling = settled(np.linspace(1.1, 1.0, 40))
    expected = settling.falls_on()
    settling.restart(LENGTH * 1.001)
    assert np.isclose(settling.falls_on(), expected)
    again = Settling(LENGTH)
    again.restore(settling.state())
    assert again.state() == settling.state()
