"""Sums over the neighbors of a site, in registers: the inner loops of the sampler and the fits.

Each is one loop in LLVM code whose sums never leave the registers, over the types of `vectors`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from pottsattn._core.simd.vectors import (
    FLOAT,
    HALF_WORD,
    LANES,
    LLVM_TYPE,
    Floats,
    Mask,
    intrinsic,
    pointer_to,
    splat_value,
)


@intrinsic(prefer_literal=True)
def masked_sums(
    _context: Any,
    out: Any,
    at: Any,
    values: Any,
    neighbors: Any,
    first: Any,
    last: Any,
    masks: Any,
    masks_at: Any,
    n_vectors: Any,
) -> Any:
    """Write out[at + lane] = sum of values[k] over k in first..last whose mask bit is set.

    The masks of neighbor j are the uint16 words masks[masks_at + j n_vectors + v], v < n_vectors
    (a literal): lane 16 v + b is bit b of word v. The sums stay in registers.
    """
    size = n_vectors.literal_value
    kind = LLVM_TYPE[Floats]

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        out, at, values, neighbors, first, last, masks, masks_at, _ = arguments
        # Variables on the stack that LLVM turns into registers: they must be a fixed number.
        sums = [cgutils.alloca_once(builder, kind) for _ in range(size)]
        for cell in sums:
            builder.store(ir.Constant(kind, [0.0] * LANES), cell)
        one = ir.Constant(first.type, 1)
        data_values = context.make_array(sig.args[2])(context, builder, values).data
        data_neighbors = context.make_array(sig.args[3])(context, builder, neighbors).data
        with cgutils.for_range_slice(builder, first, last, one) as (k, _):
            value = splat_value(builder, builder.load(builder.gep(data_values, [k])), kind)
            neighbor = builder.load(builder.gep(data_neighbors, [k]))
            neighbor = builder.zext(neighbor, first.type)
            word = builder.add(masks_at, builder.mul(neighbor, ir.Constant(first.type, size)))
            for v, cell in enumerate(sums):
                here = builder.add(word, ir.Constant(first.type, v))
                pointer = pointer_to(context, builder, sig.args[6], masks, here, HALF_WORD)
                mask = builder.bitcast(builder.load(pointer), LLVM_TYPE[Mask])
                old = builder.load(cell)
                # One masked addition with AVX-512. Lanes do not mix: a chain gets the same bits in
                # any lane, next to any others.
                builder.store(builder.select(mask, builder.fadd(old, value), old), cell)
        for v, cell in enumerate(sums):
            here = builder.add(at, ir.Constant(first.type, LANES * v))
            pointer = pointer_to(context, builder, sig.args[0], out, here, kind)
            builder.store(builder.load(cell), pointer, align=4)
        return context.get_dummy_value()

    i8 = types.int64
    return signature(types.void, out, i8, values, neighbors, i8, i8, masks, i8, n_vectors), generate


def _pieces(width: int) -> list[tuple[ir.VectorType, int]]:
    """Return the vectors that a row of `width` numbers is cut into, and where they begin.

    Rows of 8, 24, ... numbers are cut into eights: from a row to the next, longer vectors would
    cross cache lines.
    """
    widest = LANES if width % LANES != 8 else 8
    sizes = [widest] * (width // widest)
    sizes += [part for part in (8, 4) if (width % widest) & part]
    return [(ir.VectorType(FLOAT, part), sum(sizes[:n])) for n, part in enumerate(sizes)]


@intrinsic(prefer_literal=True)
def add_rows(
    _context: Any,
    table: Any,
    table_at: Any,
    rows: Any,
    stride: Any,
    states: Any,
    states_at: Any,
    n_rows: Any,
    width: Any,
) -> Any:
    """Add rows[m stride + a] to table[table_at + states[states_at + m] width + a] for m < n_rows.

    a < width, a literal multiple of 4; the rows are added one after the other.
    """
    size = width.literal_value

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        table, table_at, rows, stride, states, states_at, n_rows, _ = arguments
        int64 = n_rows.type
        data_states = context.make_array(sig.args[4])(context, builder, states).data
        zero, one = ir.Constant(int64, 0), ir.Constant(int64, 1)
        # One after the other: two sequences in the same state add to the same row of the table.
        with cgutils.for_range_slice(builder, zero, n_rows, one) as (m, _):
            state = builder.load(builder.gep(data_states, [builder.add(states_at, m)]))
            to = builder.mul(builder.zext(state, int64), ir.Constant(int64, size))
            to, source = builder.add(table_at, to), builder.mul(m, stride)
            for kind, offset in _pieces(size):
                shift = ir.Constant(int64, offset)
                here = builder.add(to, shift)
                target = pointer_to(context, builder, sig.args[0], table, here, kind)
                here = builder.add(source, shift)
                origin = pointer_to(context, builder, sig.args[2], rows, here, kind)
                value = builder.load(origin, align=4)
                builder.store(builder.fadd(builder.load(target, align=4), value), target, align=4)
        return context.get_dummy_value()

    i8 = types.int64
    return signature(types.void, table, i8, rows, i8, states, i8, i8, width), generate


@intrinsic(prefer_literal=True)
def sum_rows(
    _context: Any,
    out: Any,
    start: Any,
    start_at: Any,
    table: Any,
    n_states: Any,
    neighbors: Any,
    first: Any,
    last: Any,
    states: Any,
    states_at: Any,
    width: Any,
) -> Any:
    """Write out[a] = start[start_at + a] + sum_k table[(k n_states + s_k) width + a], a < width.

    k runs over first..last, s_k = states[states_at + neighbors[k]]; `width` is a literal multiple
    of 4, and `out` beyond it is left as it was. Rows are added in four independent chains of
    register sums.
    """
    size = width.literal_value
    pieces = _pieces(size)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        out, start, start_at, table, n_states, neighbors, first, last, states, states_at, _ = (
            arguments
        )
        int64 = first.type
        data_neighbors = context.make_array(sig.args[5])(context, builder, neighbors).data
        data_states = context.make_array(sig.args[8])(context, builder, states).data

        def row_of(k: Any) -> Any:
            neighbor = builder.zext(builder.load(builder.gep(data_neighbors, [k])), int64)
            state = builder.load(builder.gep(data_states, [builder.add(states_at, neighbor)]))
            row = builder.add(builder.mul(k, n_states), builder.zext(state, int64))
            return builder.mul(row, ir.Constant(int64, size))

        def load(kind: Any, array: Any, array_kind: Any, at: Any, offset: int) -> Any:
            here = builder.add(at, ir.Constant(int64, offset))
            pointer = pointer_to(context, builder, array_kind, array, here, kind)
            return builder.load(pointer, align=4)

        # An addition takes three or four cycles before the next of its chain can start; four chains
        # fill them. Their number fixes the order of the sums, so it is part of every result's bits.
        n_chains = 4
        sums = []
        for chain in range(n_chains):
            for kind, offset in pieces:
                cell = cgutils.alloca_once(builder, kind)
                initial = (
                    load(kind, start, sig.args[1], start_at, offset)
                    if chain == 0
                    else ir.Constant(kind, [0.0] * kind.count)
                )
                builder.store(initial, cell)
                sums.append(cell)

        def add_row(k: Any, chain: int) -> None:
            row = row_of(k)
            for number, (kind, offset) in enumerate(pieces):
                cell = sums[chain * len(pieces) + number]
                value = load(kind, table, sig.args[3], row, offset)
                builder.store(builder.fadd(builder.load(cell), value), cell)

        n_rows = builder.sub(last, first)
        whole = builder.add(first, builder.and_(n_rows, ir.Constant(int64, -n_chains)))
        with cgutils.for_range_slice(builder, first, whole, ir.Constant(int64, n_chains)) as (k, _):
            for chain in range(n_chains):
                add_row(builder.add(k, ir.Constant(int64, chain)), chain)
        with cgutils.for_range_slice(builder, whole, last, ir.Constant(int64, 1)) as (k, _):
            add_row(k, 0)
        for number, (kind, offset) in enumerate(pieces):
            parts = [builder.load(sums[chain * len(pieces) + number]) for chain in range(n_chains)]
            value = builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))
            here = ir.Constant(int64, offset)
            pointer = pointer_to(context, builder, sig.args[0], out, here, kind)
            builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    i8 = types.int64
    return signature(
        types.void, out, start, i8, table, i8, neighbors, i8, i8, states, i8, width
    ), generate
