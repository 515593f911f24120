"""Checks at the edge: what passes is converted, what does not is named."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn._core import validate


def test_check_array_returns_contiguous_float64():
    array = validate.check_array("x", np.arange(6, dtype=np.int8).reshape(2, 3).T, (None, 2))
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    assert array.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: validate.check_array("x", [[1.0]], (2, None)),
            InputError,
            r"x .*\(2, any\).*1, 1",
        ),
        (lambda: validate.check_array("x", [np.nan], (1,)), InputError, "x must be finite"),
        (lambda: validate.check_array("x", ["a"], (1,)), TypeError, "x must be an array"),
        (lambda: validate.check_at_least("n", 1, 2), InputError, "n must be at least 2, got 1"),
        (lambda: validate.check_at_least("n", True, 1), TypeError, "whole number"),
        (lambda: validate.check_at_least("n", 2.0, 1), TypeError, "whole number"),
        (lambda: validate.check_positive("x", 0), InputError, "x must be above 0, got 0"),
        (lambda: validate.check_positive("x", np.inf), InputError, "x must be finite"),
        (lambda: validate.check_positive("x", "1"), TypeError, "x must be a number"),
        (lambda: validate.check_nonnegative("x", -1e-9), InputError, "must not be negative"),
        (lambda: validate.check_choice("m", "fsctor", ["factored", "plm"]), InputError, "did you"),
        (lambda: validate.check_generator(-1), InputError, "rng must be at least 0"),
        (lambda: validate.check_generator(1.5), TypeError, "rng"),
        (lambda: validate.check_sequences([[0.0, 1.0]], 2), InputError, "float64"),
        (lambda: validate.check_sequences([0, 1], 2), InputError, "one sequence of length 2"),
        (lambda: validate.check_sequences([[0, 3]], 3), InputError, r"states 0\.\.2.*found 0\.\.3"),
        (lambda: validate.check_sequences([[-1, 1]], 3), InputError, r"found -1\.\.1"),
        (lambda: validate.check_sequences([[0, 256]], 257), InputError, "at most 256"),
        (lambda: validate.check_sequences(np.empty((0, 3), int), 3), InputError, "empty"),
        (lambda: validate.check_sequences([[0]], 3), InputError, "length must be at least 2"),
        (lambda: validate.check_weights([1.0, -1.0], 2), InputError, "weights"),
        (lambda: validate.check_weights([0.0, 0.0], 2), InputError, "weights"),
        (lambda: validate.check_weights([1.0], 2), InputError, r"weights .*\(2\)"),
    ],
)
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_check_sequences_keeps_the_largest_state():
    states = validate.check_sequences(np.array([[0, 255]], dtype=np.int64), 256)
    assert states.dtype == np.uint8
    assert states.tolist() == [[0, 255]]


def test_check_generator_passes_generators_and_repeats_seeds():
    generator = np.random.default_rng(1)
    assert validate.check_generator(generator) is generator
    first, second = (validate.check_generator(7).integers(1 << 60) for _ in range(2))
    assert first == second
