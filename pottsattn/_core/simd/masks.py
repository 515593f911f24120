"""Sums of what masks select, many at once in registers: the inner loops of kernels with few states.

Lanes are sequences, sixteen to a group. A mask is a uint16, one bit per lane; the masks of the
groups of one block lie side by side, so that a value loaded once is added to all of them. Each
function is one loop in LLVM code whose sums never leave the registers, if the machine has enough.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from pottsattn._core.simd.vectors import (
    HALF_WORD,
    LANES,
    LLVM_TYPE,
    Floats,
    Mask,
    intrinsic,
    pointer_to,
    splat_value,
)

KIND = LLVM_TYPE[Floats]


@intrinsic
def divide(_context: Any, first: Any, second: Any) -> Any:
    """Return the quotients of two vectors of floats."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fdiv(*arguments)

    return signature(Floats, Floats, Floats), generate


def _load_mask(context: Any, builder: Any, kind: Any, masks: Any, at: Any) -> Any:
    pointer = pointer_to(context, builder, kind, masks, at, HALF_WORD)
    return builder.bitcast(builder.load(pointer), LLVM_TYPE[Mask])  # a mask register, with AVX-512


def _add_where(builder: Any, mask: Any, value: Any, cell: Any) -> None:
    # LLVM makes one masked addition of this (AVX-512 vaddps under a mask), a blend elsewhere.
    # `cell` is a variable on the stack that it turns into a register.
    old = builder.load(cell)
    builder.store(builder.select(mask, builder.fadd(old, value), old), cell)


@intrinsic(prefer_literal=True)
def sum_masked_values(
    _context: Any,
    out: Any,
    at: Any,
    stride: Any,
    values: Any,
    masks: Any,
    masks_at: Any,
    n_masks: Any,
    n_sums: Any,
    n_groups: Any,
) -> Any:
    """Write out[at + a stride + 16 v + lane] = sum of values[k n_sums + a] over the masks k set.

    Mask k of group v is masks[masks_at + k n_groups + v]; k < n_masks. The numbers of sums a and
    of groups v are literals.
    """
    per_mask, groups = n_sums.literal_value, n_groups.literal_value

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        out, at, stride, values, masks, masks_at, n_masks, *_ = arguments
        int64 = at.type
        sums = [
            [cgutils.alloca_once(builder, KIND) for _ in range(groups)] for _ in range(per_mask)
        ]
        for row in sums:
            for cell in row:
                builder.store(ir.Constant(KIND, [0.0] * LANES), cell)
        data = context.make_array(sig.args[3])(context, builder, values).data
        zero, one = ir.Constant(int64, 0), ir.Constant(int64, 1)
        with cgutils.for_range_slice(builder, zero, n_masks, one) as (k, _):
            first = builder.mul(k, ir.Constant(int64, per_mask))
            word = builder.add(masks_at, builder.mul(k, ir.Constant(int64, groups)))
            # Loaded once and used for all groups of the block: that is what a block is for.
            splats = []
            for a in range(per_mask):
                here = builder.add(first, ir.Constant(int64, a))
                splats.append(splat_value(builder, builder.load(builder.gep(data, [here])), KIND))
            for v in range(groups):
                here = builder.add(word, ir.Constant(int64, v))
                mask = _load_mask(context, builder, sig.args[4], masks, here)
                for a, value in enumerate(splats):
                    _add_where(builder, mask, value, sums[a][v])
        for a, row in enumerate(sums):
            start = builder.add(at, builder.mul(stride, ir.Constant(int64, a)))
            for v, cell in enumerate(row):
                here = builder.add(start, ir.Constant(int64, LANES * v))
                pointer = pointer_to(context, builder, sig.args[0], out, here, KIND)
                builder.store(builder.load(cell), pointer, align=4)
        return context.get_dummy_value()

    i8 = types.int64
    return signature(
        types.void, out, i8, i8, values, masks, i8, i8, n_sums, n_groups
    ), generate  # fmt: skip


@intrinsic(prefer_literal=True)
def add_masked_vectors(
    _context: Any,
    out: Any,
    at: Any,
    vectors: Any,
    stride: Any,
    masks: Any,
    masks_at: Any,
    masks_stride: Any,
    n_blocks: Any,
    n_masks: Any,
    n_rows: Any,
    n_groups: Any,
) -> Any:
    """Add to out[at + 16 (k n_rows + a) + lane] the numbers of row a where mask k is set.

    Row a is made of n_blocks blocks of n_groups vectors, from vectors[a stride] on; mask k of
    block n and group v is masks[masks_at + n masks_stride + k n_groups + v]. The numbers of masks
    k, rows a and groups v are literals.
    """
    size, per_mask, groups = (n.literal_value for n in (n_masks, n_rows, n_groups))

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        out, at, vectors, stride, masks, masks_at, masks_stride, n_blocks, *_ = arguments
        int64 = at.type

        def target(number: int) -> Any:
            here = builder.add(at, ir.Constant(int64, LANES * number))
            return pointer_to(context, builder, sig.args[0], out, here, KIND)

        # The caller keeps their number to eight, a quarter of the AVX-512 registers and all of
        # AVX2's.
        sums = [cgutils.alloca_once(builder, KIND) for _ in range(size * per_mask)]
        for number, cell in enumerate(sums):
            builder.store(builder.load(target(number), align=4), cell)
        zero, one = ir.Constant(int64, 0), ir.Constant(int64, 1)
        with cgutils.for_range_slice(builder, zero, n_blocks, one) as (block, _):
            start = builder.mul(block, ir.Constant(int64, LANES * groups))
            word = builder.add(masks_at, builder.mul(block, masks_stride))
            for v in range(groups):
                # The vectors of a group are loaded once for all masks.
                row = []
                for a in range(per_mask):
                    here = builder.add(start, builder.mul(stride, ir.Constant(int64, a)))
                    here = builder.add(here, ir.Constant(int64, LANES * v))
                    pointer = pointer_to(context, builder, sig.args[2], vectors, here, KIND)
                    row.append(builder.load(pointer, align=4))
                for k in range(size):
                    here = builder.add(word, ir.Constant(int64, k * groups + v))
                    mask = _load_mask(context, builder, sig.args[4], masks, here)
                    for a, vector in enumerate(row):
                        _add_where(builder, mask, vector, sums[k * per_mask + a])
        for number, cell in enumerate(sums):
            builder.store(builder.load(cell), target(number), align=4)
        return context.get_dummy_value()

    i8 = types.int64
    return signature(
        types.void, out, i8, vectors, i8, masks, i8, i8, i8, n_masks, n_rows, n_groups
    ), generate
