"""What the kernels read, made from a model: float32 tables in the gauge and padding of each.

Every maker shifts the fields of a site by their largest value, so that single precision is spent
on differences, and returns what that and the gauge add to the energy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.simd.vectors import LANES, PADDING, aligned_zeros
from pottsattn.model.potts import PottsModel

Floats = NDArray[np.float32]
BANK = 4 * LANES  # rows a multiple of this apart would share cache sets


class LaneTables(NamedTuple):
    """Arguments of `kernels_lanes.sweep_lanes`."""

    starts: NDArray[np.int64]  # (L + 1,)
    neighbors: NDArray[np.uint32]  # (E,)
    values: Floats  # (H, E)
    fields: Floats  # (L, C)
    term_heads: NDArray[np.int64]  # (T,)
    term_states: NDArray[np.int64]  # (T,)
    mixing: Floats  # (T, C - 1)
    is_identity: bool


class BinTables(NamedTuple):
    """Arguments of `kernels_chains.sweep_bins`."""

    by_source: Floats  # (H, L, P)
    fields: Floats  # (L, Q)
    color_similarity: Floats  # (H, C, Q)
    is_identity: bool


class RowTables(NamedTuple):
    """Arguments of `kernels_chains.row_kernel`."""

    starts: NDArray[np.int64]  # (L + 1,)
    neighbors: NDArray[np.uint32]  # (E,)
    rows: Floats  # (E, C, width)
    fields: Floats  # (L, width)
    n_states: int


def lane_tables(model: PottsModel) -> tuple[LaneTables, float]:
    """Return the tables of a model in the lattice-gas gauge, and its energy offset.

    There state 0 couples to nothing, J_ij(a, b) - J_ij(0, b) - J_ij(a, 0) + J_ij(0, 0), and the
    rest acts as fields: h_i(a) - h_i(0) + sum_j [J_ij(a, 0) - J_ij(0, 0)].
    """
    if model.couplings.is_factored:
        return _factored_lane_tables(model)
    n_others = model.n_states - 1
    neighbors, values, to_zero, zero_zero = [], [], [], 0.0
    for row in model.couplings.rows():  # (L, C, C), [j, a, b]
        linked = np.flatnonzero(row.any(axis=(1, 2)))
        blocks = row[linked]
        gas = blocks - blocks[:, :1] - blocks[:, :, :1] + blocks[:, :1, :1]
        neighbors.append(linked)
        values.append(gas[:, 1:, 1:].reshape(len(linked), n_others**2).T)
        to_zero.append((blocks[:, :, 0] - blocks[:, :1, 0]).sum(axis=0))
        zero_zero += blocks[:, 0, 0].sum()
    fields, offset = _lattice_gas(model, np.array(to_zero), zero_zero)
    terms = np.arange(n_others**2)
    mixing = np.eye(n_others)[terms // n_others]
    tables = LaneTables(
        _starts(neighbors),
        np.concatenate(neighbors).astype(np.uint32),
        _single(np.concatenate(values, axis=1)),
        fields,
        terms,
        terms % n_others,
        _single(mixing),
        False,
    )
    return tables, offset


def _factored_lane_tables(model: PottsModel) -> tuple[LaneTables, float]:
    """Return the same of factored couplings; two states need one term, whatever the heads."""
    lists = model.couplings.neighbor_lists()
    u = _color_similarity(model)
    row_sums = lists.row_sums()  # (H, L)
    to_zero = row_sums.T @ (u[:, :, 0] - u[:, :1, 0])
    fields, offset = _lattice_gas(model, to_zero, float(row_sums.sum(axis=1) @ u[:, 0, 0]))
    gas = (u - u[:, :1] - u[:, :, :1] + u[:, :1, :1])[:, 1:, 1:]
    values = lists.interactions
    is_identity = False
    if model.n_states == 2:
        values, gas = (gas[:, 0, 0] @ values)[None], np.ones((1, 1, 1))
    elif len(gas) == 1:
        scale = gas[0, 0, 0] / 2.0
        pattern = np.eye(model.n_states - 1) + 1.0
        is_identity = scale != 0.0 and bool(np.allclose(gas[0], scale * pattern, rtol=1e-12))
        if is_identity:
            values, gas = scale * values, pattern[None]
    n_heads, n_others = len(gas), model.n_states - 1
    terms = np.arange(n_heads * n_others)
    tables = LaneTables(
        lists.starts,
        lists.neighbors.astype(np.uint32),
        _single(values),
        fields,
        terms // n_others,
        terms % n_others,
        _single(gas.transpose(0, 2, 1).reshape(n_heads * n_others, n_others)),
        is_identity,
    )
    return tables, offset


def _lattice_gas(
    model: PottsModel, to_zero: NDArray[np.float64], zero_zero: float
) -> tuple[Floats, float]:
    """Return (fields, energy offset); to_zero (L, C) is sum_j [J_ij(a, 0) - J_ij(0, 0)]."""
    shifted, shift = _shifted(model.fields - model.fields[:, :1] + to_zero)
    offset = -shift - model.fields[:, 0].sum() - 0.5 * zero_zero
    return _single(shifted), float(offset)


def bin_tables(model: PottsModel) -> tuple[BinTables, float]:
    """Return the tables of a factored model whose interactions fit as (L, L), and its offset."""
    interactions, _ = model.couplings.factors()
    color_similarity = _color_similarity(model)
    shifted, shift = _shifted(model.fields)
    n_heads, length, _ = interactions.shape
    padded = _whole_vectors(length)
    padded += LANES * (padded % BANK == 0)
    width = _whole_vectors(model.n_states)
    by_source = np.zeros((n_heads, length, padded), np.float32)
    by_source[:, :, :length] = interactions.transpose(0, 2, 1)
    fields = np.full((length, width), PADDING, np.float32)
    fields[:, : model.n_states] = shifted
    similarity = np.zeros((n_heads, model.n_states, width), np.float32)
    similarity[:, :, : model.n_states] = color_similarity.transpose(0, 2, 1)
    is_identity = bool(np.array_equal(color_similarity, np.eye(model.n_states)[None]))
    return BinTables(by_source, fields, similarity, is_identity), -shift


def row_tables(model: PottsModel) -> tuple[RowTables, float]:
    """Return the tables of a dense model, and its energy offset."""
    length, n_states = model.length, model.n_states
    width = -(-n_states // 4) * 4
    shifted, shift = _shifted(model.fields)
    fields = np.full((length, width), PADDING, np.float32)
    fields[:, :n_states] = shifted
    neighbors, rows = [], []
    for row in model.couplings.rows():  # (L, C, C), [j, a, b]
        linked = np.flatnonzero(row.any(axis=(1, 2)))
        table = np.zeros((len(linked), n_states, width), np.float32)
        table[:, :, :n_states] = row[linked].transpose(0, 2, 1)
        neighbors.append(linked)
        rows.append(table)
    return (
        RowTables(
            _starts(neighbors),
            np.concatenate(neighbors).astype(np.uint32),
            _aligned(np.concatenate(rows)),
            fields,
            n_states,
        ),
        -shift,
    )


def _starts(neighbors: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.cumsum([0, *map(len, neighbors)], dtype=np.int64)


def _color_similarity(model: PottsModel) -> NDArray[np.float64]:
    color_similarity = model.couplings.color_similarity
    if color_similarity is None:
        raise TypeError("dense couplings have no color similarity")
    return color_similarity


def _shifted(fields: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    top = fields.max(axis=1, keepdims=True)
    return fields - top, float(top.sum())


def _single(values: Any) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)


def _aligned(values: Floats) -> Floats:
    table = aligned_zeros(values.shape)
    table[:] = values
    return table


def _whole_vectors(size: int) -> int:
    return -(-size // LANES) * LANES
