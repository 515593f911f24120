"""Vectors of sixteen 64-bit lanes, for kernels that count differing bits.

They have the lanes of the types of `vectors`, so comparisons give its masks. LLVM lowers the bit
count to one instruction where the machine has it (AVX-512 VPOPCNTDQ, NEON), else to table look-ups.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from pottsattn._core.simd.vectors import HALF_WORD, LANES, LLVM_TYPE, Mask, Vector, intrinsic

LONG = ir.IntType(64)
# Two registers of AVX-512; the masks of comparisons are joined to sixteen bits.
Longs = Vector("uint64")
LLVM_TYPE[Longs] = ir.VectorType(LONG, LANES)


@intrinsic
def load_longs(_context: Any, array: Any, at: Any) -> Any:
    """Return sixteen uint64 of a C-ordered array, from flat index `at` on."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, at = arguments
        data = context.make_array(sig.args[0])(context, builder, array).data
        pointer = builder.bitcast(builder.gep(data, [at]), LLVM_TYPE[Longs].as_pointer())
        return builder.load(pointer, align=8)

    return Longs(array, types.intp), generate


@intrinsic
def splat_long(_context: Any, value: Any) -> Any:
    """Return a vector that holds `value` in every lane."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        empty = ir.Constant(LLVM_TYPE[Longs], ir.Undefined)
        vector = builder.insert_element(empty, arguments[0], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(vector, empty, zeros)

    return Longs(types.uint64), generate


@intrinsic
def collect_differences(_context: Any, bits: Any, first: Any, second: Any) -> Any:
    """Return `bits`, with the bits set in which `first` and `second` differ."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits, first, second = arguments
        return builder.or_(bits, builder.xor(first, second))  # one vpternlogq with AVX-512

    return Longs(Longs, Longs, Longs), generate


@intrinsic
def add_bit_counts(_context: Any, counts: Any, bits: Any) -> Any:
    """Return `counts` plus the number of set bits of every lane."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        counts, bits = arguments
        kind = LLVM_TYPE[Longs]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.ctpop.v{LANES}i64"
        )
        return builder.add(counts, builder.call(function, [bits]))

    return Longs(Longs, Longs), generate


@intrinsic
def at_most(_context: Any, counts: Any, limit: Any) -> Any:
    """Return the mask of the lanes of `counts` that are at most those of `limit`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned("<=", *arguments)

    return Mask(Longs, Longs), generate


@intrinsic
def mask_bits(_context: Any, mask: Any) -> Any:
    """Return the sixteen bits of a mask as a uint16, lowest lane first."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], HALF_WORD)

    return types.uint16(Mask), generate
