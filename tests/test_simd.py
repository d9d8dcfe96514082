import sys
from types import FunctionType, SimpleNamespace

import numba
import numpy as np
import pytest
from llvmlite import ir
from numpy.testing import assert_array_equal

from fastlin.kernels import (
    elementary,
    jit,
    prefetch,
    registers,
    simd,
    squares,
    stored,
    team,
    unrolled,
    views,
)
from fastlin.kernels import tiles as tiles_kernels

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="without the compiler a meaning is all there is"
)
U8, F32, F64 = np.uint8, np.float32, np.float64
U16, I16 = np.uint16, np.int16  # the bits of float16 and bfloat16
LOWEST = {F32: -87.0, F64: -708.0}  # of exp; what is below gives 0


def compiled_for_python(function):
    """A kernel's code as Python can call it, which an inner kernel is compiled without."""
    return numba.njit(**jit.FLAGS)(function)


def in_numpy(function):
    """The same function with every vector operation replaced by its meaning."""
    meanings = {name: meaning for name, (_, meaning) in simd.MEANINGS.items()}
    operations = SimpleNamespace(**meanings)
    modules = ("elementary", "prefetch", "simd", "squares", "unrolled", "views")
    return FunctionType(function.__code__, dict.fromkeys(modules, operations))


@compiled_for_python
def exp_of(x, out):
    for i in range(0, x.shape[1], simd.lanes(x)):
        simd.store(out, 0, i, elementary.exp(simd.load(x, 0, i)))


@compiled_for_python
def log_of(x, out):
    for i in range(0, x.shape[1], simd.lanes(x)):
        simd.store(out, 0, i, elementary.log(simd.load(x, 0, i)))


def run(function, values, dtype):
    """Every value through a function of vectors, in lanes of changing neighbours."""
    values = np.asarray(values, dtype)
    x = np.full((1, -(-len(values) // 64) * 64), values[0], dtype)
    x[0, : len(values)] = values
    out = np.full_like(x, -5)
    function(x, out)
    return out[0, : len(values)]


def ulps(actual, exact):
    """Distance from results of more precision, in units of the last place of the results."""
    return np.abs(actual - exact) / np.spacing(np.abs(exact).astype(actual.dtype))


def negative_values(dtype):
    rng = np.random.default_rng(0)
    spread = -np.exp(rng.uniform(-30, np.log(-LOWEST[dtype]), 20_000))
    # Where exp changes its power of two, and just beside.
    edges = -(np.arange(100) + 0.5) * np.log(2)
    values = np.concatenate([np.linspace(LOWEST[dtype], 0, 20_001), spread, edges]).astype(dtype)
    return values[values >= LOWEST[dtype]]


@pytest.mark.parametrize("dtype", [F32, F64])
def test_exp_is_within_two_ulps_down_to_its_lowest_argument(dtype):
    x = negative_values(dtype)
    exact = np.exp(x.astype(np.longdouble))
    assert ulps(run(exp_of, x, dtype), exact).max() <= 2


@pytest.mark.parametrize("dtype", [F32, F64])
def test_exp_at_the_ends_of_its_range(dtype):
    lowest, info = dtype(LOWEST[dtype]), np.finfo(dtype)
    below = np.nextafter(lowest, dtype(-np.inf))
    x = [0.0, -0.0, -info.tiny, -info.smallest_subnormal, below, -1e4, info.min, -np.inf]
    assert_array_equal(run(exp_of, x, dtype), [1, 1, 1, 1, 0, 0, 0, 0])
    at_lowest = run(exp_of, [lowest], dtype)[0]
    assert at_lowest == pytest.approx(np.exp(LOWEST[dtype]), rel=4 * float(info.eps))
    assert at_lowest >= info.tiny
    # A NaN stays one, beside numbers that do not mind.
    assert_array_equal(run(exp_of, [np.nan, 0, np.nan], dtype), [np.nan, 1, np.nan])


@pytest.mark.parametrize("dtype", [F32, F64])
def test_exp_never_grows_as_its_argument_falls(dtype):
    x = np.sort(negative_values(dtype))
    steps = np.diff(run(exp_of, x, dtype).astype(np.longdouble))
    assert (steps >= -2 * np.finfo(dtype).eps * np.exp(x[1:].astype(np.longdouble))).all()


@pytest.mark.parametrize("dtype", [F32, F64])
def test_log_is_within_one_and_a_half_ulps(dtype):
    info = np.finfo(dtype)
    exponents = np.random.default_rng(0).uniform(np.log(info.tiny), np.log(info.max), 5000)
    x = np.concatenate(
        [np.exp(exponents), np.linspace(0.5, 40, 50_001),
         [info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, info.max]]
    ).astype(dtype)  # fmt: skip
    x = x[x != 1]
    assert ulps(run(log_of, x, dtype), np.log(x.astype(np.longdouble))).max() <= 1.5
    assert_array_equal(run(log_of, [1, np.inf, np.nan], dtype), [0, np.inf, np.nan])


def arithmetic(a, b, out):
    for i in range(0, a.shape[1], simd.lanes(a)):
        x, y = simd.load(a, 0, i), simd.load(b, 0, i)
        simd.store(out, 0, i, x + y)
        simd.store(out, 1, i, x - y)
        simd.store(out, 2, i, x * y)
        simd.store(out, 3, i, x / y)
        simd.store(out, 4, i, simd.select_greater(x, y, x, y))
        simd.store(out, 5, i, simd.select_equal(x, y, simd.splat(7, a), x))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_arithmetic_and_choices_are_those_of_numpy(dtype):
    special = np.array([0, -0.0, 1, -2.5, 3e30, np.inf, -np.inf, np.nan], dtype)
    a, b = np.repeat(special, 8)[None], np.tile(special, 8)[None]
    out, expected = np.empty((6, 64), dtype), np.empty((6, 64), dtype)
    compiled_for_python(arithmetic)(a, b, out)
    with np.errstate(all="ignore"):
        in_numpy(arithmetic)(a, b, expected)
    assert_array_equal(out, expected)
    zeros = expected == 0
    assert_array_equal(np.signbit(out[zeros]), np.signbit(expected[zeros]))


def tiles(X, shift, flat, order, start, count, end, sums, indices, out):
    """Every operation on tuples, on a tile of 3 rows and 2 classes whose remainders are given."""
    rows = simd.take_indices(order, start, count, (0, 0, 0))
    for i in range(3):
        indices[i] = rows[i]
    indices[3] = simd.index_at(order, start)
    lanes = simd.lanes(flat)
    x, w = simd.load_rows(X, shift, rows, 0, flat), simd.load_run(flat, start, (0, 0))
    prefetch.prefetch_rows(X, rows, 10**6)
    prefetch.prefetch_columns(X, start, 10**6, (0, 0), flat)
    prefetch.prefetch_run(flat, 10**6, (0, 0))
    totals = simd.outer_fma(simd.zeros(rows, (0, 0), flat), x, w)
    x = simd.load_row_ends(X, shift, rows, lanes, flat, end)
    w = simd.load_run(flat, start + 2 * lanes, (0, 0))
    totals = simd.outer_fma(totals, x, w)
    totals = simd.add_vectors(totals, totals)
    # Block (1, start) of an array of blocks that are 5 vectors from one column to the next.
    place, stride = 5 * lanes + start * lanes, 5 * lanes
    simd.store_block(sums, place, stride, rows, (0, 0), totals)
    totals = simd.load_block(sums, place, stride, rows, (0, 0))
    simd.store_run(out, 1 + 3 * lanes, totals)
    simd.store_run(out, 1, simd.load_columns(X, shift, rows[0], end, (0,), flat))
    simd.store_run(out, 1 + lanes, simd.splat_run(flat, start, lanes - 1, (0, 0)))


def stored_as(dtype, values):
    """Return whole numbers as rows of a dtype hold them."""
    if dtype == U16:
        return values.astype(np.float16).view(U16)
    if dtype == I16:
        return (values.astype(F32).view(np.uint32) >> 16).astype(U16).view(I16)
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "is_shifted"),
    [(U8, F32, False), (F64, F32, False), (F32, F64, False), (F64, F64, False),
     (F64, F32, True), (F32, F64, True), (F32, F32, True),
     (U16, F32, False), (U16, F64, True), (I16, F32, True)],
)  # fmt: skip
def test_operations_on_tiles_mean_what_they_say(row_dtype, weight_dtype, is_shifted):
    # Small whole numbers: sums are exact, so fused and separate roundings agree to the bit.
    rng = np.random.default_rng(0)
    lanes = simd.VECTOR_BYTES // np.dtype(weight_dtype).itemsize
    compiled, order = compiled_for_python(tiles), np.array([5, 0, 3, 6, 2, 1])
    for start in (0, 1, 2):
        for count in (1, 2, 3):
            for end in {1, 2, lanes // 2, lanes - 1}:
                # As wide as what may be read, and not one value wider.
                X = stored_as(row_dtype, rng.integers(0, 20, (7, lanes + end)))
                flat = rng.integers(-9, 9, start + 4 * lanes).astype(weight_dtype)
                shift = (
                    rng.integers(-9, 9, lanes + end).astype(stored.as_numbers(X).dtype)
                    if is_shifted
                    else ()
                )
                results = []
                for function in (compiled, in_numpy(tiles)):
                    sums, out = (
                        np.zeros(20 * lanes, weight_dtype),
                        np.zeros(1 + 9 * lanes, flat.dtype),
                    )
                    indices = np.zeros(4, np.int64)
                    function(X, shift, flat, order, start, count, end, sums, indices, out)
                    results.append((sums, indices, out))
                for ours, meant in zip(*results, strict=True):
                    assert_array_equal(ours, meant)
                sums, indices, out = results[0]
                rows = indices[:3]
                assert_array_equal(rows[:count], order[start : start + count])
                assert indices[3] == order[start]
                weights = flat[start:].reshape(2, 2, lanes).transpose(1, 0, 2).reshape(2, -1)
                features = stored.as_numbers(X) - (shift if is_shifted else 0)
                features = features.astype(weight_dtype)
                products = features[rows] @ weights[:, : lanes + end].T
                by_class = sums.reshape(4, 5, lanes)[1:3, start : start + 3].sum(axis=2)
                assert_array_equal(by_class.T, 2 * products)
                assert_array_equal(
                    out[1 + 3 * lanes :].reshape(3, 2, lanes).sum(axis=2), by_class.T
                )
                assert_array_equal(out[1 : 1 + lanes], features[rows[0], end:])
                assert_array_equal(
                    out[1 + lanes : 1 + 3 * lanes],
                    np.repeat(flat[[start, start + lanes - 1]], lanes),
                )


def some_rows(X, shift, flat, order, start, out):
    """The products of 2 vectors of some rows, and 3 factors of each."""
    totals = simd.zeros((0, 0), (0, 0, 0), flat)
    totals = unrolled.outer_fma_of_rows(
        totals, X, shift, order, start, start, (0, 0), flat, start, (0, 0, 0)
    )
    simd.store_run(out, 0, totals)


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "is_shifted"),
    [(U8, F32, False), (F64, F32, True), (F32, F32, False), (F64, F64, True), (U16, F32, True),
     (I16, F64, False)],
)  # fmt: skip
def test_the_products_of_rows_are_those_of_each(row_dtype, weight_dtype, is_shifted):
    rng = np.random.default_rng(0)
    lanes, count = simd.VECTOR_BYTES // np.dtype(weight_dtype).itemsize, unrolled.ROWS
    for start in (0, 1):  # as wide, and as many, as what may be read
        order = rng.permutation(count + 3)[: start + count]
        X = stored_as(row_dtype, rng.integers(0, 20, (count + 3, start + 2 * lanes)))
        features = stored.as_numbers(X)
        flat = rng.integers(-9, 9, start + 3 * count).astype(weight_dtype)
        shift = rng.integers(-9, 9, X.shape[1]).astype(features.dtype) if is_shifted else ()
        out, meant = np.zeros((2, 2, 3, lanes), weight_dtype)
        compiled_for_python(some_rows)(X, shift, flat, order, start, out.reshape(-1))
        in_numpy(some_rows)(X, shift, flat, order, start, meant.reshape(-1))
        assert_array_equal(out, meant)
        features = (features - (shift if is_shifted else 0))[order[start:], start:]
        expected = flat[start:].reshape(count, 3).T @ features.astype(weight_dtype)
        assert_array_equal(out, expected.reshape(3, 2, lanes).swapaxes(0, 1))


def line(X, shift, flat, order, start, out):
    """The products of a cache line of 3 rows and 2 classes."""
    rows = simd.take_indices(order, 0, 3, (0, 0, 0))
    totals = simd.zeros(rows, (0, 0), flat)
    totals = unrolled.outer_fma_of_line(totals, X, shift, rows, start, flat, start, (0, 0))
    simd.store_run(out, 0, totals)


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "is_shifted"),
    [(U8, F32, False), (U8, F64, False), (F64, F32, True), (F32, F32, False), (F64, F64, True),
     (U16, F32, True), (I16, F64, False)],
)  # fmt: skip
def test_the_products_of_a_line_are_those_of_its_vectors(row_dtype, weight_dtype, is_shifted):
    rng, order = np.random.default_rng(0), np.array([5, 0, 3])
    lanes = simd.VECTOR_BYTES // np.dtype(weight_dtype).itemsize
    width = max(64 // np.dtype(row_dtype).itemsize, lanes)
    for start in (0, 1):  # as wide as what may be read, and not one value wider
        X = stored_as(row_dtype, rng.integers(0, 20, (6, start + width)))
        features = stored.as_numbers(X)
        flat = rng.integers(-9, 9, start + 2 * width).astype(weight_dtype)
        shift = rng.integers(-9, 9, start + width).astype(features.dtype) if is_shifted else ()
        out, meant = np.zeros((2, 3, 2, lanes), weight_dtype)
        compiled_for_python(line)(X, shift, flat, order, start, out.reshape(-1))
        in_numpy(line)(X, shift, flat, order, start, meant.reshape(-1))
        assert_array_equal(out, meant)
        features = (features - (shift if is_shifted else 0))[order, start:].astype(weight_dtype)
        weights = flat[start:].reshape(-1, 2, lanes).transpose(1, 0, 2).reshape(2, width)
        assert_array_equal(out.sum(axis=2), features @ weights.T)


def part_of_columns(A, out):
    part = views.columns(A, 2, 3)
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            out[i, j] = part[i, j]
            part[i, j] = -1
    out[0, 3] = part.size


def test_columns_are_a_part_of_their_array():
    for A in (np.arange(24.0).reshape(4, 6), np.arange(48.0).reshape(4, 12)[:, ::2]):
        expected, out, meant, copy = A[:, 2:5].copy(), *np.zeros((2, 4, 4)), A.copy()
        compiled_for_python(part_of_columns)(A, out)
        in_numpy(part_of_columns)(copy, meant)
        assert_array_equal(out[:, :3], expected)
        assert_array_equal(out, meant)
        assert_array_equal(A, copy)
        assert (A[:, 2:5] == -1).all()
        assert out[0, 3] == expected.size


def counts_of_vectors(count, like, out):
    out[0] = tiles_kernels.vector_count(count, like)
    out[1] = tiles_kernels.padded(count, like)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_counts_are_rounded_up_to_whole_vectors(dtype):
    lanes, out = simd.VECTOR_BYTES // np.dtype(dtype).itemsize, np.zeros(2, np.int64)
    compiled = compiled_for_python(counts_of_vectors)
    for count in (0, 1, lanes - 1, lanes, lanes + 1, 10 * lanes):
        compiled(count, np.zeros(1, dtype), out)
        assert_array_equal(out, [-(-count // lanes), -(-count // lanes) * lanes])


def sums_of_lanes(A, flat, out):
    simd.store(out, 0, 0, simd.sum_run(flat, A.shape[1]))
    for i in range(A.shape[1]):
        out[1, i] = simd.sum_lanes(simd.load(A, 1 + i, 0))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_lanes_are_summed_in_one_order(dtype):
    lanes = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    A = np.random.default_rng(0).normal(size=(lanes + 1, lanes)).astype(dtype)
    out, expected = np.zeros((2, lanes), dtype), np.zeros((2, lanes), dtype)
    compiled_for_python(sums_of_lanes)(A, A.reshape(-1), out)
    in_numpy(sums_of_lanes)(A, A.reshape(-1), expected)
    assert_array_equal(out, expected)
    assert_array_equal(out[0], out[1])
    np.testing.assert_allclose(out[0], A[1:].sum(axis=1), rtol=1e-4)


def transposition(A, order, out):
    rows = simd.take_indices(order, 0, order.size, squares.lane_tuple(A))
    simd.store_run(out, 0, squares.transposed(simd.load_rows(A, (), rows, 0, A)))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_square_of_lanes_is_transposed(dtype):
    lanes = simd.VECTOR_BYTES // np.dtype(dtype).itemsize
    A, order = np.arange(lanes**2, dtype=dtype).reshape(lanes, lanes), np.arange(lanes)
    for function in (compiled_for_python(transposition), in_numpy(transposition)):
        out = np.zeros(lanes**2, dtype)
        function(A, order, out)
        assert_array_equal(out.reshape(lanes, lanes), A.T)


def converted(X, like, out):
    simd.store_run(out, 0, simd.load_rows(X, (), (0,), 0, like))


def test_conversions_round_like_numpy():
    X = np.random.default_rng(0).normal(size=(1, 64)) * np.logspace(-30, 30, 64)
    out = np.zeros(64, F32)
    compiled_for_python(converted)(X, out, out)
    lanes = simd.VECTOR_BYTES // 4
    assert_array_equal(out[:lanes], X[0, :lanes].astype(F32))
    pixels = np.arange(256, dtype=U8)[None, ::-1][:, :lanes].copy()
    compiled_for_python(converted)(pixels, out, out)
    assert_array_equal(out[:lanes], pixels[0])


ALL_BITS = np.arange(2**16, dtype=U16)


@pytest.mark.parametrize("in_hardware", [True, False])
def test_every_float16_is_widened_exactly(in_hardware, monkeypatch):
    """As by NumPy, whether the machine has an instruction for it or not: zeros, subnormals, NaN."""
    if in_hardware and not registers.HAS_HALF_INSTRUCTIONS:
        pytest.skip("this machine has no instruction that widens float16")
    monkeypatch.setattr(stored, "HAS_HALF_INSTRUCTIONS", in_hardware)
    with np.errstate(invalid="ignore"):  # on arm64, NumPy warns of signalling NaN
        expected = ALL_BITS.view(np.float16).astype(F32)
    rows = np.zeros(ALL_BITS.size, F32)
    compiled_for_python(numbers)(ALL_BITS, rows)
    lanes = simd.VECTOR_BYTES // 4
    in_vectors, out = compiled_for_python(converted), np.zeros((ALL_BITS.size // lanes, lanes), F32)
    for block, values in zip(ALL_BITS.reshape(-1, 1, lanes), out, strict=True):
        in_vectors(block, values, values)
    for found in (rows, out.ravel()):
        assert_array_equal(found, expected)
        numbers_alone = ~np.isnan(expected)
        assert_array_equal(found.view(np.uint32)[numbers_alone],
                           expected.view(np.uint32)[numbers_alone])  # fmt: skip


def test_every_bfloat16_is_the_upper_half_of_its_float32():
    expected = (ALL_BITS.astype(np.uint32) << 16).view(F32)
    found = np.zeros(ALL_BITS.size, F32)
    compiled_for_python(numbers)(ALL_BITS.view(I16), found)
    assert_array_equal(found, expected)
    assert_array_equal(stored.as_numbers(ALL_BITS.view(I16)), expected)


@pytest.mark.skipif(not registers.HAS_HALF_INSTRUCTIONS, reason="no instruction for it")
@pytest.mark.skipif(not registers.IS_X86, reason="an instruction of x86")
def test_float16_is_widened_by_one_instruction():
    function = compiled_for_python(converted)
    flat = np.zeros(64, F32)
    function(np.zeros((1, 64), U16), flat, flat)
    (code,) = function.inspect_asm().values()
    assert "vcvtph2ps" in code
    assert "extendhf" not in code


def test_every_operation_has_a_meaning_and_a_name():
    for name, (operation, meaning) in simd.MEANINGS.items():
        homes = elementary, prefetch, simd, squares, team, tiles_kernels, unrolled, views
        assert operation in [getattr(home, name, None) for home in homes]
        assert callable(meaning)


def counters_and_lines(counters, X, like):
    team.write(counters, 0, 5)
    team.pause()
    team.offer_core()
    team.sleep(1)
    counters[1] = team.add(counters, 0, 2) + team.read(counters, 0)
    counters[2] = team.replace(counters, 0, 7, 9) and not team.replace(counters, 0, 7, 8)
    counters[3] = simd.values_of_line(X, like)
    counters[4] = simd.widening(X)


def numbers(stored, out):
    for i in range(stored.size):
        out[i] = simd.as_number(stored[i])


ALL_OPERATIONS = (
    exp_of.py_func if hasattr(exp_of, "py_func") else exp_of,
    log_of.py_func if hasattr(log_of, "py_func") else log_of,
    arithmetic, tiles, some_rows, line, part_of_columns, counts_of_vectors, sums_of_lanes,
    transposition, converted, counters_and_lines, numbers,
)  # fmt: skip


@pytest.fixture
def no_typed_pointers(monkeypatch):
    """Make llvmlite's builder refuse, to the emitters of fastlin, what typed pointers allowed.

    Numba still makes pointers that have a type: whenever an emitter hands one on, it has none.
    """
    untyped = ir.PointerType()

    def is_ours():
        return sys._getframe(2).f_globals["__name__"].startswith("fastlin.")

    def as_pointer(self, addrspace=0, original=ir.Type.as_pointer):
        assert not is_ours()
        return original(self, addrspace)

    monkeypatch.setattr(ir.Type, "as_pointer", as_pointer)

    def with_untyped_pointers(original):
        def emit(builder, *values, **options):
            ours = is_ours()
            typed = [
                (value, value.type)
                for value in values
                if ours and isinstance(value, ir.Value) and value.type.is_pointer
            ]
            for value, _ in typed:
                value.type = untyped
            try:
                return original(builder, *values, **options)
            finally:
                for value, kind in typed:
                    value.type = kind

        return emit

    for name in ("gep", "load", "load_atomic", "store", "atomic_rmw", "cmpxchg", "bitcast"):
        method = with_untyped_pointers(getattr(ir.IRBuilder, name))
        monkeypatch.setattr(ir.IRBuilder, name, method)

    def store_atomic(builder, value, pointer, *options, original=ir.IRBuilder.store_atomic):
        # Up to llvmlite 0.50 it looks at the type of every pointer: a fault of its own.
        pointer.type = value.type.as_pointer()
        return original(builder, value, pointer, *options)

    monkeypatch.setattr(ir.IRBuilder, "store_atomic", store_atomic)


def test_no_emitter_needs_pointers_that_have_a_type(no_typed_pointers):
    used = {name for function in ALL_OPERATIONS for name in function.__code__.co_names}
    assert used >= set(simd.MEANINGS) - {"row_tile", "column_tile"}  # of `tiles`: constants
    lanes, rng = simd.VECTOR_BYTES // 4, np.random.default_rng(0)
    x = -rng.uniform(size=(1, 4 * lanes)).astype(F32)
    for function, expected in zip(ALL_OPERATIONS[:2], (np.exp(x), np.log(-x)), strict=True):
        out = np.zeros_like(x)
        compiled_for_python(function)(x if function.__name__ == "exp_of" else -x, out)
        np.testing.assert_allclose(out, expected, rtol=1e-5)
    A = rng.integers(-9, 9, (lanes + 1, lanes)).astype(F32)
    X, flat = rng.integers(0, 20, (7, lanes + 2)).astype(U8), A.reshape(-1)[: 4 * lanes + 1]
    order, indices = np.arange(6), np.zeros(4, np.int64)
    for function, arguments in (
        (arithmetic, (x, x + 1, np.zeros((6, x.size), F32))),
        (sums_of_lanes, (A, A.reshape(-1), np.zeros((2, lanes), F32))),
        (part_of_columns, (np.zeros((4, 6), F32), np.zeros((4, 4), F32))),
        (line, (np.tile(X, 3).astype(F64), (), np.tile(flat, 3), order, 1,
                np.zeros(6 * lanes, F32))),
        (some_rows, (np.tile(X, 2), (), np.tile(flat, 2), np.arange(9) % 7, 1,
                     np.zeros(6 * lanes, F32))),
        (transposition, (A[1:], np.arange(lanes), np.zeros(lanes**2, F32))),
        (converted, (X, flat, np.zeros(lanes, F32))),
        (converted, (X.astype(U16), flat, np.zeros(lanes, F32))),
        (numbers, (X.astype(U16)[0], np.zeros(lanes + 2, F32))),
        (numbers, (X.astype(I16)[0], np.zeros(lanes + 2, F32))),
        (
            tiles,
            (X, (), flat, order, 1, 3, 2, np.zeros(20 * lanes, F32), indices,
             np.zeros(1 + 9 * lanes, F32)),
        ),
    ):  # fmt: skip
        meant = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        compiled_for_python(function)(*arguments)
        in_numpy(function)(*meant)
        for ours, theirs in zip(arguments, meant, strict=True):
            assert_array_equal(ours, theirs)
    counters = np.zeros(5, np.int64)
    compiled_for_python(counters_and_lines)(counters, X, flat)
    assert_array_equal(counters, [9, 14, 1, max(64, lanes), 1])
    compiled_for_python(counters_and_lines)(counters, X.astype(U16), flat)
    assert_array_equal(counters[3:], [max(32, lanes), 2])
