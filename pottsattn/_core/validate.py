"""Checks at the edge of the package, and the messages they give.

Public functions call these once; kernels assume. Every message says what is wrong, what was
expected, what was found and, where there is one, the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GAP_POLICIES = ("state", "ignored")
UNKNOWN_POLICIES = ("drop", "gap", "error")  # for ambiguity codes in alignments
MAX_STATES = 256  # states are stored as uint8
MOST_THREADS = 1024


class InputError(ValueError):
    """Wrong value from the user. The command line shows its text as one line and exits with 1."""


class ConvergenceWarning(UserWarning):
    """A result exists but has not converged; the text says by how much and what to do."""


def check_array(name: str, value: ArrayLike, shape: Sequence[int | None]) -> NDArray[np.float64]:
    """Return `value` as a finite float64 array of the given shape (None: any size)."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers: {error}") from error
    wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
    if array.ndim != len(shape) or any(
        size is not None and size != found for size, found in zip(shape, array.shape, strict=True)
    ):
        raise InputError(f"{name} must have shape {wanted}, got {array.shape}")
    check_finite(name, array)
    return np.ascontiguousarray(array)


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Raise InputError if a number is NaN or infinite."""
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, found NaN or infinity")


def check_at_least(name: str, value: Any, minimum: int, most: int | None = None) -> int:
    """Return `value` as an int that is at least `minimum`, and at most `most` if that is given."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < minimum:
        raise InputError(f"{name} must be at least {minimum}, got {value}")
    if most is not None and value > most:
        raise InputError(f"{name} must be at most {most}, got {value}")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above zero."""
    number = _check_number(name, value)
    if number <= 0.0:
        raise InputError(f"{name} must be above 0, got {value}")
    return number


def check_nonnegative(name: str, value: Any) -> float:
    """Return `value` as a finite float of at least zero."""
    number = _check_number(name, value)
    if number < 0.0:
        raise InputError(f"{name} must not be negative, got {value}")
    return number


def _check_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise InputError(f"{name} must be finite, got {value}")
    return float(value)


def check_kind(name: str, value: Any, kind: type | tuple[type, ...], remedy: str) -> None:
    """Raise TypeError unless `value` is a `kind`, or one of them."""
    if not isinstance(value, kind):
        kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{name} must be a {kinds}, got {type(value).__name__}; {remedy}")


def check_identity_threshold(value: Any) -> float:
    """Return `value` as a float above 0 and at most 1."""
    number = check_positive("identity_threshold", value)
    if number > 1.0:
        raise InputError(f"identity_threshold must be at most 1, got {value}")
    return number


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}{hint}")
    return value


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """Return ' (did you mean ...?)' for the closest of `choices`, or nothing."""
    import difflib

    close = difflib.get_close_matches(str(word).lower(), choices, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def check_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """Return a NumPy generator: `rng` itself, one seeded by an integer, or a fresh one."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    return np.random.default_rng(check_at_least("rng", rng, 0))


def check_seed(rng: np.random.Generator | int | None) -> int:
    """Return the seed that `rng` stands for: an integer itself, or one that is drawn."""
    generator = check_generator(rng)
    return int(rng) if isinstance(rng, (int, np.integer)) else int(generator.integers(2**63))


def check_n_states(n_states: Any) -> int:
    """Return `n_states` as an int that sequences can be stored with, 2 to 256."""
    if check_at_least("n_states", n_states, 2) > MAX_STATES:
        raise InputError(f"n_states must be at most {MAX_STATES}, got {n_states}")
    return int(n_states)


def check_sequences(sequences: ArrayLike, n_states: int) -> NDArray[np.uint8]:
    """Return sequences as a contiguous uint8 array (n_sequences, length), states 0..n_states-1."""
    array = np.asarray(sequences)
    if array.ndim == 1 and array.dtype.kind in "iu":
        raise InputError(
            "sequences must be a 2-d array of integers (n_sequences, length), got one sequence of "
            f"length {len(array)}: give [sequence]"
        )
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise InputError(
            "sequences must be a 2-d array of integers (n_sequences, length), "
            f"got shape {array.shape}, dtype {array.dtype}"
        )
    check_n_states(n_states)
    if array.shape[0] < 1:
        raise InputError("sequences is empty: at least one sequence is needed")
    if array.shape[1] < 2:
        raise InputError(f"length must be at least 2, got {array.shape[1]}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n_states:
        raise InputError(
            f"sequences must hold states 0..{n_states - 1} (n_states = {n_states}), "
            f"found {low}..{high}"
        )
    return np.ascontiguousarray(array, dtype=np.uint8)


def check_weights(weights: ArrayLike | None, n_sequences: int) -> NDArray[np.float64] | None:
    """Return weights as float64 (n_sequences,), all >= 0 with a positive sum, or None."""
    if weights is None:
        return None
    array = check_array("weights", weights, (n_sequences,))
    with np.errstate(over="ignore"):
        total = array.sum()
    if array.min() < 0.0 or total <= 0.0:
        raise InputError("weights must not be negative and their sum must be above 0")
    if not math.isfinite(total):
        raise InputError("weights are too large: their sum is not finite; scale them down")
    return array
