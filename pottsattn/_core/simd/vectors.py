"""Vectors of sixteen 32-bit lanes for Numba kernels.

Numba has no vector type, and what its loops compile to depends on alias checks that often fail.
Here are three types (floats, unsigned integers, masks) that live in registers, and operations that
are one LLVM instruction each. LLVM lowers them for the machine at hand: one AVX-512 register, two
of AVX2, four of SSE or NEON. No operation may be reassociated, so a lane gives the same bits
whatever its neighbors hold.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as _numba_intrinsic
from numba.extending import lower_builtin, models, register_model
from numpy.typing import NDArray

from pottsattn._core.threads import njit

intrinsic: Any = _numba_intrinsic  # its own type hides what the compiled function takes

# The same on every machine, however wide its registers: sums over lanes then have one order.
LANES = 16
CACHE_LINE = 64
# Finite, so that no product or difference of logits is NaN.
PADDING = -1e30  # the logit of states that only fill a vector
FLOAT, WORD, HALF_WORD, BIT = ir.FloatType(), ir.IntType(32), ir.IntType(16), ir.IntType(1)


class Vector(types.Type):
    """Sixteen lanes of one LLVM type."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"{name}x{LANES}")


Floats, Words, Mask = Vector("float32"), Vector("uint32"), Vector("bool")
LLVM_TYPE = {
    Floats: ir.VectorType(FLOAT, LANES),
    Words: ir.VectorType(WORD, LANES),
    Mask: ir.VectorType(BIT, LANES),
}


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, LLVM_TYPE[kind])


def _define_operators() -> None:
    def both(builder_method: str, *extra: str) -> Callable[..., Any]:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, builder_method)(*extra, *arguments)

        return generate

    table = {
        operator.add: {(Floats, Floats): both("fadd"), (Words, Words): both("add")},
        operator.sub: {(Floats, Floats): both("fsub")},
        operator.mul: {(Floats, Floats): both("fmul")},
        operator.xor: {(Words, Words): both("xor"), (Mask, Mask): both("xor")},
        operator.and_: {(Mask, Mask): both("and_")},
        operator.lt: {(Floats, Floats): both("fcmp_ordered", "<")},
        operator.le: {(Floats, Floats): both("fcmp_ordered", "<=")},
        operator.eq: {(Words, Words): both("icmp_unsigned", "==")},
    }
    for function, cases in table.items():
        is_comparison = function in (operator.lt, operator.le, operator.eq)
        signatures = [signature(Mask if is_comparison else a, a, b) for a, b in cases]
        infer_global(function)(type("_Vectors", (ConcreteTemplate,), {"cases": signatures}))
        for kinds, generate in cases.items():
            lower_builtin(function, *kinds)(generate)


_define_operators()


def splat_value(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    # LLVM knows this as a broadcast, part of the instruction that uses a number from memory.
    vector = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, WORD(0))
    zeros = ir.Constant(ir.VectorType(WORD, LANES), [0] * LANES)
    return builder.shuffle_vector(vector, ir.Constant(kind, ir.Undefined), zeros)


def pointer_to(context: Any, builder: Any, kind: Any, array: Any, at: Any, to: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), to.as_pointer())


def _call(builder: Any, name: str, kind: ir.VectorType, arguments: Any) -> Any:
    """Call an LLVM intrinsic whose arguments and result are all of one vector type."""
    letter = "f" if kind.element == FLOAT else "i"
    function_type = ir.FunctionType(kind, [kind] * len(arguments))
    function = cgutils.get_or_insert_function(
        builder.module, function_type, f"{name}.v{LANES}{letter}32"
    )
    return builder.call(function, arguments)


def _loader(vector: Vector) -> Any:
    @intrinsic
    def load(_context: Any, array: Any, at: Any) -> Any:
        """Return sixteen numbers of a C-ordered array, from flat index `at` on."""

        def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            kind = LLVM_TYPE[vector]
            array, at = arguments
            pointer = pointer_to(context, builder, sig.args[0], array, at, kind)
            # A row begins anywhere: a larger promise would become moves that fault.
            return builder.load(pointer, align=4)

        return signature(vector, array, types.intp), generate

    return load


def _storer(vector: Vector) -> Any:
    @intrinsic
    def store(_context: Any, array: Any, at: Any, value: Any) -> Any:
        """Write sixteen numbers into a C-ordered array, from flat index `at` on."""

        def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            kind = LLVM_TYPE[vector]
            array, at, value = arguments
            pointer = pointer_to(context, builder, sig.args[0], array, at, kind)
            builder.store(value, pointer, align=4)
            return context.get_dummy_value()

        return signature(types.void, array, types.intp, vector), generate

    return store


load_floats, load_words = _loader(Floats), _loader(Words)
store_floats, store_words = _storer(Floats), _storer(Words)


@intrinsic
def load_column(_context: Any, array: Any, at: Any, stride: Any) -> Any:
    """Return the sixteen floats of a C-ordered array at flat indices at, at + stride, ..."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, at, stride = arguments
        # Sixteen scalar loads, also with AVX-512: LLVM makes no gather of them.
        vector = ir.Constant(LLVM_TYPE[Floats], ir.Undefined)
        for lane in range(LANES):
            pointer = pointer_to(context, builder, sig.args[0], array, at, FLOAT)
            vector = builder.insert_element(vector, builder.load(pointer), WORD(lane))
            at = builder.add(at, stride)
        return vector

    return signature(Floats, array, types.intp, types.intp), generate


@intrinsic
def load_mask(_context: Any, array: Any, at: Any) -> Any:
    """Return the sixteen bits of `array[at]`, a uint16, lowest bit first."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, at = arguments
        # Sixteen bits are a mask register of AVX-512 as they stand; elsewhere LLVM spreads them.
        pointer = pointer_to(context, builder, sig.args[0], array, at, HALF_WORD)
        return builder.bitcast(builder.load(pointer), LLVM_TYPE[Mask])

    return signature(Mask, array, types.intp), generate


@intrinsic
def store_mask(_context: Any, array: Any, at: Any, mask: Any) -> Any:
    """Write sixteen bits into `array[at]`, a uint16."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, at, mask = arguments
        pointer = pointer_to(context, builder, sig.args[0], array, at, HALF_WORD)
        builder.store(builder.bitcast(mask, HALF_WORD), pointer)
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, Mask), generate


def _splatter(vector: Vector, scalar: Any) -> Any:
    @intrinsic
    def splat(_context: Any, value: Any) -> Any:
        """Return a vector that holds `value` in every lane."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return splat_value(builder, arguments[0], LLVM_TYPE[vector])

        return signature(vector, scalar), generate

    return splat


splat, splat_word = _splatter(Floats, types.float32), _splatter(Words, types.uint32)


@intrinsic
def select(_context: Any, mask: Any, first: Any, second: Any) -> Any:
    """Return `first` where `mask` holds, else `second`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return signature(first, mask, first, second), generate


def aligned_zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return float32 zeros that begin at a cache line."""
    size = math.prod(shape)
    raw = np.zeros(size + LANES, np.float32)
    skip = -raw.ctypes.data % CACHE_LINE // 4
    return raw[skip : skip + size].reshape(shape)


@njit
def aligned_floats(size: int) -> NDArray[np.float32]:
    """Return an empty float32 array that begins at a cache line: vectors then cross none."""
    raw = np.empty(size + LANES, np.float32)
    skip = (CACHE_LINE - raw.ctypes.data % CACHE_LINE) % CACHE_LINE // 4
    return raw[skip : skip + size]


@njit(inline="always")
def maximum(first: Any, second: Any) -> Any:
    """Return the larger float of each lane."""
    return select(first < second, second, first)  # one instruction: vmaxps


@intrinsic
def fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a b + c, rounded once where the machine can."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        # Not llvm.fma, which calls a library function lane by lane where there is no instruction.
        return _call(builder, "llvm.fmuladd", LLVM_TYPE[Floats], arguments)

    return signature(Floats, Floats, Floats, Floats), generate


def _shifter(build: Callable[[Any, Any, Any], Any]) -> Any:
    @intrinsic(prefer_literal=True)
    def shift(_context: Any, words: Any, by: Any) -> Any:
        """Shift or rotate every word by a literal number of bits."""
        # Known to the compiler, so that a rotation is one instruction (vprold) with AVX-512.
        amount = by.literal_value

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            kind = LLVM_TYPE[Words]
            return build(builder, arguments[0], ir.Constant(kind, [amount] * LANES))

        return signature(Words, Words, by), generate

    return shift


shift_left = _shifter(lambda builder, words, by: builder.shl(words, by))
rotate_left = _shifter(
    lambda builder, words, by: _call(builder, "llvm.fshl", LLVM_TYPE[Words], [words, words, by])
)


@intrinsic
def multiply_high(_context: Any, words: Any, factors: Any) -> Any:
    """Return the upper 32 bits of the 64-bit products."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        # LLVM sees that the upper halves are zero: two vpmuludq, no product of 64-bit numbers.
        wide = ir.VectorType(ir.IntType(64), LANES)
        first, second = (builder.zext(value, wide) for value in arguments)
        shift = ir.Constant(wide, [32] * LANES)
        return builder.trunc(builder.lshr(builder.mul(first, second), shift), LLVM_TYPE[Words])

    return signature(Words, Words, Words), generate


def _converter(to: Vector, source: Vector, method: str) -> Any:
    @intrinsic
    def convert(_context: Any, value: Any) -> Any:
        """Return every lane in the other type."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, method)(arguments[0], LLVM_TYPE[to])

        return signature(to, source), generate

    return convert


to_floats = _converter(Floats, Words, "uitofp")
_as_words = _converter(Words, Floats, "bitcast")
_as_floats = _converter(Floats, Words, "bitcast")


def _shuffle(builder: Any, vector: Any, other: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(vector, other, ir.Constant(ir.VectorType(WORD, LANES), lanes))


@intrinsic
def total(_context: Any, vector: Any) -> Any:
    """Return the sum of the sixteen floats, added in a fixed tree."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        for step in (8, 4, 2, 1):
            lanes = [(lane + step) % LANES for lane in range(LANES)]
            vector = builder.fadd(vector, _shuffle(builder, vector, vector, lanes))
        return builder.extract_element(vector, WORD(0))

    return signature(types.float32, Floats), generate


@intrinsic
def largest(_context: Any, vector: Any) -> Any:
    """Return the largest of the sixteen floats."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        for step in (8, 4, 2, 1):
            lanes = [(lane + step) % LANES for lane in range(LANES)]
            other = _shuffle(builder, vector, vector, lanes)
            vector = builder.select(builder.fcmp_ordered("<", vector, other), other, vector)
        return builder.extract_element(vector, WORD(0))

    return signature(types.float32, Floats), generate


@intrinsic
def prefix_sums(_context: Any, vector: Any) -> Any:
    """Return v_0, v_0 + v_1, ... of the sixteen floats."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        zero = ir.Constant(LLVM_TYPE[Floats], [0.0] * LANES)
        # Four shifts and additions instead of fifteen additions in a row (Hillis, Steele 1986).
        for step in (1, 2, 4, 8):
            lanes = [LANES + lane if lane < step else lane - step for lane in range(LANES)]
            vector = builder.fadd(vector, _shuffle(builder, vector, zero, lanes))
        return vector

    return signature(Floats, Floats), generate


@intrinsic
def last(_context: Any, vector: Any) -> Any:
    """Return the float of the last lane."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], WORD(LANES - 1))

    return signature(types.float32, Floats), generate


@intrinsic
def lane_numbers(_context: Any) -> Any:
    """Return the words 0, 1, ..., 15."""

    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        return ir.Constant(LLVM_TYPE[Words], list(range(LANES)))

    return signature(Words), generate


@intrinsic
def count(_context: Any, mask: Any) -> Any:
    """Return how many lanes of the mask hold."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], HALF_WORD)
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return signature(types.int64, Mask), generate


# 2^f on [-1/2, 1/2] with relative error at most 7.5e-8: fitted for the smallest largest error.
POWERS_OF_TWO = (1.00000007, 0.69314697, 0.2402212, 0.05550713, 0.00967554, 0.00132765)
_P0, _P1, _P2, _P3, _P4, _P5 = (np.float32(p) for p in POWERS_OF_TWO)
_LOG2_E = np.float32(1.4426950408889634)
_SMALLEST = np.float32(-126.0)
_TO_WHOLE = np.float32(1.5 * 2.0**23)  # adding it rounds to whole numbers, kept in the low bits
_BIAS = np.uint32(127)


@njit(inline="always")
def exp(x: Any) -> Any:
    """Return exp(x) for floats x < 87, and 2^-126 in place of anything smaller.

    The relative error is 2e-7, and |x| times 8e-8 from rounding x / ln 2.
    """
    # Below -126 the exponent would leave its eight bits and reach the sign.
    powers = maximum(x * splat(_LOG2_E), splat(_SMALLEST))
    shifted = powers + splat(_TO_WHOLE)
    # The constant, added and taken away again, leaves the nearest whole number. With fastmath LLVM
    # would cancel the two: kernels that call this must do without.
    f = powers - (shifted - splat(_TO_WHOLE))
    series = fma(splat(_P5), f, splat(_P4))
    series = fma(series, f, splat(_P3))
    series = fma(series, f, splat(_P2))
    series = fma(series, f, splat(_P1))
    series = fma(series, f, splat(_P0))
    # The low bits of `shifted` are the whole number; those of the constant fall out on the left.
    return series * _as_floats(shift_left(_as_words(shifted) + splat_word(_BIAS), 23))
