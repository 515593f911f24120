"""Which tokens a student sees: disjoint random subsets of every instance.

One random permutation per instance; mask i takes its places n_visible * i to n_visible * (i + 1),
so that the subsets of the masks are disjoint, n_visible = int(n_tokens * (1 - mask_fraction)).
Where the tokens do not suffice for that, every mask has a permutation of its own.

Reference: Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import InputError, check_at_least, check_nonnegative

ROUNDING = 1e-9  # 10 * (1 - 0.9) is 0.9999... in floating point


def n_visible(n_tokens: int, mask_fraction: float, masks: int = 1) -> int:
    """Return how many of `n_tokens` tokens each mask leaves visible.

    Raises
    ------
    InputError
        `mask_fraction` is not in [0, 1), leaves no token, or is 0 with several masks, which would
        all be the same.
    """
    check_at_least("n_tokens", n_tokens, 1)
    check_at_least("masks", masks, 1)
    if check_nonnegative("mask_fraction", mask_fraction) >= 1.0:
        raise InputError(f"mask_fraction must be below 1, got {mask_fraction}")
    if mask_fraction == 0.0 and masks > 1:
        raise InputError(f"`mask_fraction=0` hides nothing, so {masks} masks are the same; use one")
    visible = int(n_tokens * (1.0 - mask_fraction) + ROUNDING)
    if visible < 1:
        raise InputError(
            f"`mask_fraction={mask_fraction}` leaves none of {n_tokens} tokens visible; "
            f"use at most {1.0 - 1.0 / n_tokens:.6g}"
        )
    return visible


def visible_tokens(
    n_instances: int, n_tokens: int, mask_fraction: float, masks: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the visible tokens of every mask and instance.

    Parameters
    ----------
    n_instances, n_tokens, mask_fraction, masks
        Sizes as checked by `n_visible`.
    rng
        Source of the permutations. A generator made from a seed and the number of the step gives a
        resumed training the same masks.

    Returns
    -------
    ndarray, int64, shape (masks, n_instances, n_visible)
        Token numbers; disjoint over masks if masks * n_visible <= n_tokens. All tokens in their
        order if `mask_fraction` is 0.
    """
    visible = n_visible(n_tokens, mask_fraction, masks)
    if visible == n_tokens:
        return np.broadcast_to(np.arange(n_tokens), (masks, n_instances, n_tokens)).copy()
    n_orders = 1 if masks * visible <= n_tokens else masks
    orders = rng.random((n_orders, n_instances, n_tokens)).argsort(axis=-1)
    if n_orders == masks:
        return np.ascontiguousarray(orders[..., :visible])
    parts = orders[0, :, : masks * visible].reshape(n_instances, masks, visible)
    return np.ascontiguousarray(parts.transpose(1, 0, 2))
