"""Every vector operation against NumPy, through wrappers that are compiled anew.

Numba's disk cache looks at the file of a function only: a cached wrapper would not see changes in
`_simd`.
"""

from __future__ import annotations

import operator

import numba
import numpy as np
import pytest

from pottsattn._core.simd import rows as simd_rows
from pottsattn._core.simd import vectors as simd

LANES = simd.LANES
SINGLE = 2.0**-24  # relative rounding of float32
LENGTH = 11  # sites that sums over neighbors choose from

KINDS = {  # element type, load, store
    "floats": (np.float32, simd.load_floats, simd.store_floats),
    "words": (np.uint32, simd.load_words, simd.store_words),
    "masks": (np.uint16, simd.load_mask, simd.store_mask),
}


def compiled(operation, result, *kinds):
    """Return a function of one vector of every kind that gives `operation` of them as an array."""
    n_arguments = len(kinds)
    load, load_second, load_third = ([KINDS[kind][1] for kind in kinds] * 3)[:3]
    dtype, _, store = KINDS[result]

    @numba.njit
    def run(out, a, b, c):
        if n_arguments == 1:
            store(out, 0, operation(load(a, 0)))
        elif n_arguments == 2:
            store(out, 0, operation(load(a, 0), load_second(b, 0)))
        else:
            store(out, 0, operation(load(a, 0), load_second(b, 0), load_third(c, 0)))

    def call(*arguments):
        out = np.zeros(1 if result == "masks" else LANES, dtype)
        run(out, *(arguments * 3)[:3])
        return out

    return call


def bits(mask: np.ndarray) -> np.ndarray:
    """Return the sixteen truth values of a stored mask, lane 0 first."""
    return (int(mask[0]) >> np.arange(LANES)) & 1 == 1


@pytest.fixture
def floats(rng) -> np.ndarray:
    """Vectors of both signs and many sizes, some lanes equal in neighboring vectors."""
    sizes = 10.0 ** rng.integers(-6, 6, size=(20, 1))
    vectors = (rng.normal(size=(20, LANES)) * sizes).astype(np.float32)
    vectors[1::2, ::5] = vectors[::2, ::5]
    return vectors


@pytest.fixture
def words(rng) -> np.ndarray:
    vectors = rng.integers(1 << 32, size=(20, LANES), dtype=np.uint32)
    vectors[1::2, ::5] = vectors[::2, ::5]
    vectors[0, 1:3] = 0, 2**32 - 1
    return vectors


@pytest.fixture
def masks(rng) -> np.ndarray:
    return rng.integers(1 << 16, size=(20, 1), dtype=np.uint16)


@pytest.mark.parametrize("kind", KINDS)
def test_loads_and_stores_touch_their_lanes_only(kind, floats, words, masks):
    dtype, load, store = KINDS[kind]

    @numba.njit
    def copy(target, to, source, at):
        store(target, to, load(source, at))

    source = {"floats": floats, "words": words, "masks": masks}[kind]
    n_numbers = 1 if kind == "masks" else LANES
    for at, to in ((0, 0), (5, 3), (3, 0)):  # flat indices: rows of sixteen, and across them
        target = np.zeros(40, dtype)
        copy(target, to, source, at)
        expected = np.zeros(40, dtype)
        expected[to : to + n_numbers] = source.ravel()[at : at + n_numbers]
        assert np.array_equal(target, expected)


@pytest.mark.parametrize("size", [1, 16, 100, 4096])
def test_aligned_floats_begin_at_a_cache_line(size):
    arrays = [simd.aligned_floats(size) for _ in range(20)]
    for number, array in enumerate(arrays):
        assert array.ctypes.data % simd.CACHE_LINE == 0
        assert array.shape == (size,)
        array[:] = number
    assert all(np.all(array == number) for number, array in enumerate(arrays))


@pytest.mark.parametrize(
    ("operation", "reference", "result", "kind"),
    [
        (operator.add, np.add, "floats", "floats"),
        (operator.sub, np.subtract, "floats", "floats"),
        (operator.mul, np.multiply, "floats", "floats"),
        (simd.maximum, np.maximum, "floats", "floats"),
        (operator.add, np.add, "words", "words"),
        (operator.xor, np.bitwise_xor, "words", "words"),
        (operator.xor, np.bitwise_xor, "masks", "masks"),
        (operator.and_, np.bitwise_and, "masks", "masks"),
        (operator.lt, np.less, "masks", "floats"),
        (operator.le, np.less_equal, "masks", "floats"),
        (operator.eq, np.equal, "masks", "words"),
    ],
)
def test_operations_of_two_vectors(operation, reference, result, kind, request):
    run = compiled(operation, result, kind, kind)
    vectors = request.getfixturevalue(kind)
    for a, b in zip(vectors[::2], vectors[1::2], strict=True):
        found, expected = run(a, b), reference(a, b)
        assert np.array_equal(bits(found) if expected.dtype == bool else found, expected)


def test_select_takes_the_first_where_the_mask_holds(floats, words, masks):
    for kind, vectors in (("floats", floats), ("words", words)):
        run = compiled(simd.select, kind, "masks", kind, kind)
        for mask, a, b in zip(masks[1:], vectors[1:], vectors[:-1], strict=True):
            assert np.array_equal(run(mask, a, b), np.where(bits(mask), a, b))


def test_fma_rounds_at_most_twice(rng):
    run = compiled(simd.fma, "floats", "floats", "floats", "floats")
    for a, b, c in rng.normal(size=(50, 3, LANES)).astype(np.float32):
        exact = a.astype(np.float64) * b + c
        assert np.all(np.abs(run(a, b, c) - exact) <= SINGLE * (np.abs(a * b) + np.abs(exact)))


@pytest.mark.parametrize("by", [1, 7, 9, 23, 31])
def test_shifts_and_rotations(by, words):
    shift = compiled(numba.njit(lambda x: simd.shift_left(x, by)), "words", "words")
    rotate = compiled(numba.njit(lambda x: simd.rotate_left(x, by)), "words", "words")
    for x in words:
        assert np.array_equal(shift(x), x << np.uint32(by))
        assert np.array_equal(rotate(x), (x << np.uint32(by)) | (x >> np.uint32(32 - by)))


def test_multiply_high_keeps_the_upper_half(words):
    run = compiled(simd.multiply_high, "words", "words", "words")
    for a, b in zip(words[::2], words[1::2], strict=True):
        assert np.array_equal(run(a, b), (a.astype(np.uint64) * b) >> np.uint64(32))


def test_to_floats_is_unsigned(words):
    run = compiled(simd.to_floats, "floats", "words")
    assert (words > 2**31).any()
    for x in words:
        assert np.array_equal(run(x), x.astype(np.float32))


def test_splats_and_lane_numbers():
    @numba.njit
    def run(floats, words, numbers, value, word):
        simd.store_floats(floats, 0, simd.splat(value))
        simd.store_words(words, 0, simd.splat_word(word))
        simd.store_words(numbers, 0, simd.lane_numbers())

    floats = np.zeros(LANES, np.float32)
    words, numbers = np.zeros((2, LANES), np.uint32)
    run(floats, words, numbers, np.float32(-1.5), np.uint32(2**32 - 3))
    assert np.all(floats == -1.5)
    assert np.all(words == 2**32 - 3)
    assert np.array_equal(numbers, np.arange(LANES))


def test_reductions_of_one_vector(floats, masks):
    @numba.njit
    def run(vector, mask):
        x = simd.load_floats(vector, 0)
        return simd.total(x), simd.largest(x), simd.last(x), simd.count(simd.load_mask(mask, 0))

    prefix_sums = compiled(simd.prefix_sums, "floats", "floats")
    for vector, mask in zip(floats, masks, strict=True):
        total, largest, last, count = run(vector, mask)
        exact = np.cumsum(vector, dtype=np.float64)
        rounding = 4 * SINGLE * np.abs(vector).cumsum(dtype=np.float64)  # four additions deep
        assert abs(total - exact[-1]) <= rounding[-1]
        assert np.all(np.abs(prefix_sums(vector) - exact) <= rounding)
        assert (largest, last, count) == (vector.max(), vector[-1], bits(mask).sum())
    for lane in range(LANES):  # wherever the largest is
        assert run(np.roll(floats[0], lane), masks[0])[1] == floats[0].max()
    assert run(floats[0], np.uint16([0xFFFF]))[3] == LANES


def test_exp_is_accurate_down_to_its_floor(rng):
    run = compiled(simd.exp, "floats", "floats")
    x = -rng.uniform(0.0, 130.0, size=4096)
    x[:32] = np.linspace(-1e-3, 0.0, 32)
    x[32:64] = -np.arange(32) * np.log(2.0) / 2.0  # where the polynomials of two powers meet
    x[64:80] = -(10.0 ** np.linspace(2, 30, 16))
    x = x.astype(np.float32).reshape(-1, LANES)
    found = np.stack([run(vector) for vector in x]).astype(np.float64)
    exact = np.maximum(np.exp(x.astype(np.float64)), 2.0**-126)
    bound = 2e-7 - 8e-8 * np.maximum(x.astype(np.float64), -126.0 * np.log(2.0))
    assert np.all(np.abs(found - exact) <= bound * exact)
    assert np.all(found[x < -87.5] == pytest.approx(2.0**-126, rel=2e-7))
    assert found[1, -1] == pytest.approx(1.0, abs=1.5e-7)  # exp(0)


@pytest.mark.parametrize("n_vectors", [1, 2, 4])
def test_masked_sums(n_vectors, rng):
    @numba.njit
    def run(out, at, values, neighbors, first, last, masks, masks_at):
        simd_rows.masked_sums(
            out, at, values, neighbors, first, last, masks, masks_at, n_vectors
        )  # fmt: skip

    n_lanes = LANES * n_vectors
    neighbors = rng.integers(LENGTH, size=30, dtype=np.uint32)
    values = rng.normal(size=30).astype(np.float32)
    masks = rng.integers(1 << 16, size=(3, LENGTH, n_vectors), dtype=np.uint16)
    holds = (masks[..., None] >> np.arange(LANES)) & 1  # (3, LENGTH, n_vectors, LANES)
    holds = holds.reshape(3, LENGTH, n_lanes)
    for first, last in ((0, 0), (7, 7), (4, 5), (29, 30), (0, 7), (3, 30), (0, 30)):
        for plane in range(3):
            out = np.full(n_lanes + 5, 7.0, np.float32)
            at = plane + 1
            masks_at = plane * LENGTH * n_vectors
            run(out, at, values, neighbors, first, last, masks, masks_at)
            exact = values[first:last].astype(np.float64) @ holds[plane, neighbors[first:last]]
            assert np.allclose(out[at : at + n_lanes], exact, rtol=0.0, atol=1e-5)
            assert np.all(np.delete(out, np.arange(at, at + n_lanes)) == 7.0)


@pytest.mark.parametrize("width", [4, 8, 12, 16, 20, 24, 28, 32, 48])
def test_sum_rows(width, rng):
    @numba.njit
    def run(out, start, at, table, n_states, neighbors, first, last, states, states_at):
        simd_rows.sum_rows(
            out, start, at, table, n_states, neighbors, first, last, states, states_at, width
        )

    n_states = width - 1
    padded = -(-width // LANES) * LANES
    start = rng.normal(size=(3, width)).astype(np.float32)
    table = rng.normal(size=(20, n_states, width)).astype(np.float32)
    neighbors = rng.integers(LENGTH, size=20, dtype=np.uint32)
    states = rng.integers(n_states, size=(2, LENGTH), dtype=np.uint8)
    for n_neighbors in range(10):
        first = n_neighbors
        last = first + n_neighbors
        k = np.arange(first, last)
        for chain in range(2):
            out = np.full(padded + 1, 7.0, np.float32)
            run(
                out, start, 2 * width, table, n_states, neighbors, first, last, states,
                chain * LENGTH,
            )  # fmt: skip
            rows = table[k, states[chain, neighbors[k]]].astype(np.float64)
            assert np.allclose(out[:width], start[2] + rows.sum(0), rtol=0.0, atol=1e-5)
            assert np.all(out[width:] == 7.0)  # the padding is the caller's


@pytest.mark.parametrize("width", [4, 8, 12, 16, 20, 24, 28, 32, 48])
@pytest.mark.parametrize("n_rows", [0, 1, 9])
def test_add_rows(width, n_rows, rng):
    stride, n_states = 64, 3

    @numba.njit
    def run(table, table_at, rows, stride, states, states_at, n_rows):
        simd_rows.add_rows(table, table_at, rows, stride, states, states_at, n_rows, width)

    table = rng.normal(size=8 + n_states * width + 8).astype(np.float32)
    rows = rng.normal(size=9 * stride).astype(np.float32)
    states = rng.integers(n_states, size=12).astype(np.uint8)
    expected = table.copy()
    for m in range(n_rows):
        at = 8 + states[2 + m] * width
        expected[at : at + width] += rows[m * stride : m * stride + width]
    run(table, 8, rows, stride, states, 2, n_rows)
    assert np.array_equal(table, expected)
