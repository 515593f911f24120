"""The row kernel of few states against the plain kernel in float64, and its sums against NumPy.

The sums are compiled anew here: Numba's disk cache would not see changes in `_simd_masks`.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from pottsattn._core.simd import masks as simd_masks
from pottsattn._core.simd.vectors import LANES, PADDING, load_floats, store_floats
from pottsattn.fitting.pseudolikelihood.kernels_few_states import (
    MOST_STATES,
    few_states_row_loss,
    state_masks,
)
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import row_loss_full

LENGTH = 7  # times C - 1 masks: no multiple of those taken in one pass
SITES = (0, 3, LENGTH - 1)
LARGEST_ERROR = 1e-5  # of the gradient, relative to its largest entry
STATES = range(2, MOST_STATES + 2)  # one more works, and is only slower


def random_row(site, n_sequences, n_states, rng, scale=0.5):
    """Return sequences, weights, fields and couplings [j, b, a] of one row."""
    sequences = rng.integers(n_states, size=(n_sequences, LENGTH), dtype=np.uint8)
    weights = rng.uniform(0.2, 2.0, size=n_sequences)
    couplings = scale * rng.normal(size=(LENGTH, n_states, n_states))
    couplings[site] = 0.0
    fields = rng.normal(size=n_states)
    return sequences, weights / weights.sum(), fields, couplings.ravel()


def exact_row(site, sequences, weights, fields, couplings):
    """Return the loss and the gradients by the plain kernel."""
    gradients = np.empty_like(fields), np.empty_like(couplings)
    return row_loss_full(site, sequences, weights, fields, couplings, *gradients), *gradients


def few_states_row(site, sequences, weights, fields, couplings, masks=None):
    """Return the same by the kernel of few states."""
    n_states = len(fields)
    masks = state_masks(sequences, n_states) if masks is None else masks
    padded = np.full(n_states + 3, PADDING, np.float32)
    padded[:n_states] = fields
    fields_gradient = np.full_like(padded, np.nan)
    gradient = np.full(len(couplings), np.nan, np.float32)
    loss = few_states_row_loss(n_states)(
        site, masks, weights.astype(np.float32), padded, couplings.astype(np.float32),
        fields_gradient, gradient,
    )  # fmt: skip
    assert not fields_gradient[n_states:].any()
    return loss, fields_gradient[:n_states], gradient


def error(found, expected):
    """Return the largest error of loss and gradients, relative to the largest entry of each.

    A loss below 0.1 nats counts as 0.1: float32 rounds every sequence's to 1e-7 or so.
    """
    largest = max(np.abs(expected[n]).max() for n in (1, 2))
    errors = [np.abs(found[n] - expected[n]).max() / largest for n in (1, 2)]
    return np.max([*errors, abs(found[0] - expected[0]) / max(expected[0], 0.1)])  # or nan


@pytest.mark.parametrize("n_states", STATES)
@pytest.mark.parametrize("n_sequences", [1, 16, 45, 1024, 2077])  # short, whole and odd blocks
def test_loss_and_gradient_are_those_of_the_plain_kernel(n_states, n_sequences, rng):
    for site in SITES:
        row = random_row(site, n_sequences, n_states, rng)
        found = few_states_row(site, *row)
        assert error(found, exact_row(site, *row)) < LARGEST_ERROR
        own = found[2].reshape(LENGTH, -1)[site]
        assert not own.any()


@pytest.mark.parametrize("n_states", STATES)
def test_gradient_of_absent_and_conserved_states(n_states, rng):
    for present in (0, n_states - 1):
        sequences, weights, fields, couplings = random_row(3, 90, n_states, rng)
        sequences[:, 2:4] = present
        row = sequences, weights, fields, couplings
        found = few_states_row(3, *row)
        assert error(found, exact_row(3, *row)) < LARGEST_ERROR
        absent = np.arange(n_states) != present
        blocks = found[2].reshape(LENGTH, n_states, n_states)
        assert np.abs(blocks[2, absent]).max() < 1e-6


@pytest.mark.parametrize("n_states", STATES)
def test_sure_predictions_lose_nothing(n_states, rng):
    """The logarithm is exact at 1; the exponential of 0 is one unit in the last place above it."""
    sequences, weights, fields, couplings = random_row(3, 90, n_states, rng, scale=0.0)
    sequences[:, 3] = n_states - 1
    fields[:] = 0.0
    fields[-1] = 40.0
    assert abs(few_states_row(3, sequences, weights, fields, couplings)[0]) < 1.3e-7


def test_large_logits_are_safe(rng):
    sequences, weights, fields, couplings = random_row(0, 50, 3, rng, scale=0.0)
    couplings[9:] = 1e4 * np.tile([1.0, -1.0, 0.5], 3 * (LENGTH - 1))
    row = sequences, weights, fields, couplings
    found, expected = few_states_row(0, *row), exact_row(0, *row)
    assert np.isfinite(found[2]).all()
    assert abs(found[0] / expected[0] - 1.0) < LARGEST_ERROR


@pytest.mark.parametrize("n_states", STATES)
@pytest.mark.parametrize("fault", ["mask", "weight", "coupling", "tail"])
def test_one_wrong_number_is_found(n_states, fault, rng):
    row = random_row(3, 200, n_states, rng)
    expected = exact_row(3, *row)
    sequences, weights, fields, couplings = (part.copy() for part in row)
    masks = state_masks(sequences, n_states)
    if fault == "mask":
        masks[1, 5, n_states - 2, 1] ^= 1 << 7
    elif fault == "weight":
        weights[199] *= 1.1
    elif fault == "coupling":
        couplings[-1] += 0.01
    else:  # the last sequence is taken for one that fills the block
        weights[199] = 0.0
    found = few_states_row(3, sequences, weights, fields, couplings, masks)
    assert error(found, expected) > 10 * LARGEST_ERROR


@pytest.mark.parametrize("n_sequences", [1, 8, 31, 32, 33, 100])
def test_state_masks(n_sequences, rng):
    sequences = rng.integers(4, size=(n_sequences, 5), dtype=np.uint8)
    masks = state_masks(sequences, 4)
    bits = (masks[..., None] >> np.arange(LANES)) & 1  # [block, j, b - 1, group, lane]
    bits = bits.transpose(0, 3, 4, 1, 2).reshape(-1, 5, 3)
    expected = sequences[:, :, None] == np.arange(1, 4)
    assert masks.dtype == np.uint16
    assert np.array_equal(bits[:n_sequences], expected)
    assert not bits[n_sequences:].any()
    assert len(bits) == -(-n_sequences // 32) * 32


@pytest.mark.parametrize("n_groups", [1, 2, 3])
@pytest.mark.parametrize("n_sums", [1, 2, 5])
def test_sum_masked_values(n_groups, n_sums, rng):
    @numba.njit
    def run(out, at, stride, values, masks, masks_at, n_masks):
        simd_masks.sum_masked_values(
            out, at, stride, values, masks, masks_at, n_masks, n_sums, n_groups
        )

    n_lanes = n_groups * LANES
    values = rng.normal(size=(9, n_sums)).astype(np.float32)
    masks = rng.integers(1 << 16, size=(2, 9, n_groups), dtype=np.uint16)
    holds = ((masks[..., None] >> np.arange(LANES)) & 1).reshape(2, 9, n_lanes)
    for n_masks in (0, 1, 9):
        for plane in range(2):
            out = np.full((n_sums, n_lanes + 5), 7.0, np.float32)
            masks_at = plane * 9 * n_groups
            run(out.reshape(-1), 3, n_lanes + 5, values, masks, masks_at, n_masks)
            exact = values[:n_masks].astype(np.float64).T @ holds[plane, :n_masks]
            assert np.allclose(out[:, 3 : 3 + n_lanes], exact, rtol=0.0, atol=1e-5)
            assert np.all(np.delete(out, np.arange(3, 3 + n_lanes), axis=1) == 7.0)


@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize(("n_masks", "n_rows"), [(1, 1), (1, 5), (2, 4), (4, 2)])
def test_add_masked_vectors(n_groups, n_masks, n_rows, rng):
    @numba.njit
    def run(out, at, vectors, stride, masks, masks_at, masks_stride, n_blocks):
        simd_masks.add_masked_vectors(
            out, at, vectors, stride, masks, masks_at, masks_stride, n_blocks, n_masks, n_rows,
            n_groups,
        )  # fmt: skip

    vectors = rng.normal(size=(n_rows, 5, n_groups, LANES)).astype(np.float32)
    masks = rng.integers(1 << 16, size=(5, 6, n_groups), dtype=np.uint16)
    holds = (masks[..., None] >> np.arange(LANES)) & 1  # (5, 6, n_groups, LANES)
    for first in (0, 6 - n_masks):
        for n_blocks in (0, 1, 5):
            out = np.full((n_masks * n_rows + 2) * LANES, 7.0, np.float32)
            run(
                out, LANES, vectors, 5 * n_groups * LANES, masks, first * n_groups, 6 * n_groups,
                n_blocks,
            )  # fmt: skip
            used = holds[:n_blocks, first : first + n_masks]
            exact = np.einsum("nkvl,anvl->kal", used, vectors[:, :n_blocks].astype(np.float64))
            found = out[LANES:-LANES].reshape(exact.shape)
            assert np.allclose(found, 7.0 + exact, rtol=0.0, atol=1e-5)
            assert np.all(out[:LANES] == 7.0)
            assert np.all(out[-LANES:] == 7.0)


def test_divide(rng):
    @numba.njit
    def run(out, a, b):
        store_floats(out, 0, simd_masks.divide(load_floats(a, 0), load_floats(b, 0)))

    a, b = rng.normal(size=(2, LANES)).astype(np.float32)
    out = np.empty_like(a)
    run(out, a, b)
    assert np.array_equal(out, a / b)
