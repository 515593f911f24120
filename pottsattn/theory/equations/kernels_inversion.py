"""Compiled part of `inversion`: smoothed transforms of single colors, and their products."""

from __future__ import annotations

import cmath
import math

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

OBSERVED = 8  # functions of W that are smoothed: 1, g, W^2, g W^2, W, g W, log W, g log W
OTHERS = 4  # of them for the colors other than y
NEWTON_STEP = 1e-9


@njit
def invert(
    n_states: int,
    V: float,
    lowest: float,
    spacing: float,
    stride: int,
    n_places: int,
    signal: float,
    kernel: Array,
    start: float,
    frequency: float,
    window: Array,
    sums: Array,
) -> None:
    """Write the norm and the averages of `InversionRule` over the place x of the solution.

    `kernel` holds Gaussian weights of an odd number of steps of `spacing`, places lie `stride`
    steps apart, and `signal` = m + V is what the fields of y have beyond those of the others. s
    runs over start + i frequency n.
    """
    n_taps = kernel.shape[0]
    n_fine = (n_places - 1) * stride + n_taps
    values = np.empty((2, n_fine, OBSERVED))
    decay = np.empty((2, n_fine), dtype=np.complex128)
    turn = np.empty((2, n_fine), dtype=np.complex128)
    for side in range(2):
        for i in range(n_fine):
            x = lowest + spacing * (i - n_taps // 2) + (signal if side == 1 else 0.0)
            # log W solves W + log W = x: a convex equation, met from the right of its root, where
            # Newton's method does not overshoot.
            log_share = math.log(x) if x > 1.0 else x
            for _ in range(100):
                share = math.exp(log_share)
                step = (share + log_share - x) / (1.0 + share)
                log_share -= step
                if not abs(step) > NEWTON_STEP:
                    break
            share = math.exp(log_share)
            pull = share / (1.0 + share)
            values[side, i, 0] = 1.0
            values[side, i, 1] = pull
            values[side, i, 2] = share * share
            values[side, i, 3] = pull * share * share
            values[side, i, 4] = share
            values[side, i, 5] = pull * share
            values[side, i, 6] = log_share
            values[side, i, 7] = pull * log_share
            # Turned by one factor per frequency below instead of a new exponential: rounding grows
            # with the number of frequencies, some hundreds, times 1e-16.
            decay[side, i] = math.exp(-start * share)
            turn[side, i] = cmath.exp(-1j * frequency * share)

    n = n_states - 1
    other = np.empty((n_places, OTHERS), dtype=np.complex128)
    own = np.empty((n_places, OBSERVED), dtype=np.complex128)
    others_parts = np.empty((n_fine, 2 * OTHERS))
    own_parts = np.empty((n_fine, 2 * OBSERVED))
    sums[:] = 0.0
    for k in range(window.shape[0]):
        _smooth(values[0], decay[0], kernel, stride, others_parts, other)
        _smooth(values[1], decay[1], kernel, stride, own_parts, own)
        phase = window[k] * cmath.exp((start + 1j * frequency * k) * V)
        for i in range(n_places):
            one, g, ww, gww = other[i]
            y, gy, wwy, gwwy, wy, gwy, ly, gly = own[i]
            rest = phase
            for _ in range(n - 2):
                rest *= one
            # Derivative of sum W in x, times an observable, times the transforms of the rest.
            all_others = rest * one * one
            n_one = n * rest * one
            sums[0] += (gy * all_others + y * g * n_one).real
            sums[1] += (gwy * all_others + wy * g * n_one).real
            sums[2] += (gwwy * all_others + wwy * g * n_one).real
            sums[3] += (n_one * (gy * ww + y * gww) + n * (n - 1) * rest * y * ww * g).real
            sums[4] += (2.0 * n_one * gy * g + n * (n - 1) * rest * y * g * g).real
            sums[5] += (gly * all_others + ly * g * n_one).real
        for side in range(2):
            for i in range(n_fine):
                decay[side, i] *= turn[side, i]
    sums *= spacing * stride


@njit
def _smooth(
    values: Array, decay: Complex, kernel: Array, stride: int, parts: Array, smoothed: Complex
) -> None:
    """Write E values decay over Gaussian steps, shape (n_places, n_functions).

    `parts` is scratch, shape (n_fine, 2 n_functions): real and imaginary parts side by side, so
    that the innermost loop runs over all of them.
    """
    n_functions = smoothed.shape[1]
    n_parts = 2 * n_functions
    for i in range(decay.shape[0]):
        real = decay[i].real
        imaginary = decay[i].imag
        for f in range(n_functions):
            parts[i, f] = values[i, f] * real
            parts[i, n_functions + f] = values[i, f] * imaginary
    total = np.empty(n_parts)
    for i in range(smoothed.shape[0]):
        total[:] = 0.0
        for j in range(kernel.shape[0]):
            weight = kernel[j]
            for f in range(n_parts):
                total[f] += weight * parts[i * stride + j, f]
        for f in range(n_functions):
            smoothed[i, f] = complex(total[f], total[n_functions + f])
