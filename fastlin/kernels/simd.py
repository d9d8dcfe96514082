"""SIMD vectors as Numba values: what the register tiles and the loss loops are written in.

LLVM vectorises a plain reduction only when it may reorder the sum, and then the order, hence the
bits, depends on the shape of the loop around it. Here the lanes are explicit: a score is summed
in the same order whatever tile, thread or grid entry computes it, and nothing is left to the
vectoriser's cost model.

A `Vector` fills one register of the machine compiled for (`VECTOR_BYTES`). Operations come in
two forms: on one vector (`load`, `a + b`), and on a tuple of vectors whose length is part of its
type (`load_rows`, `outer_fma`). The tuple forms are how one micro-kernel serves every tile shape:
LLVM sees straight-line code and keeps each element in a register.

Each operation is an LLVM emitter paired with its meaning in NumPy. `NUMBA_DISABLE_JIT=1` runs
the meaning, and the tests hold the emitter against it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from fastlin.kernels.registers import VECTOR_BYTES
from fastlin.kernels.stored import (
    IR_TYPES,
    SUFFIXES,
    as_numbers,
    emit_converted,
    emit_widened,
    is_half,
)

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_POINTER = ir.PointerType()
CACHE_LINE = 64  # bytes


class Vector(types.Type):
    """The Numba type of one register of float32 or float64 lanes."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _vector_ir(vector.dtype, vector.lanes))


def _vector_ir(dtype: types.Type, lanes: int) -> ir.VectorType:
    return ir.VectorType(IR_TYPES[dtype], lanes)


def vector_op(meaning: Callable) -> Callable:
    """Pair an intrinsic with its meaning in NumPy, which stands in for it without the compiler."""

    def pair(typing_function: Callable) -> Callable:
        if config.DISABLE_JIT:
            return meaning
        operation = intrinsic(typing_function)
        MEANINGS[typing_function.__name__] = (operation, meaning)
        return operation

    return pair


MEANINGS: dict[str, tuple[Callable, Callable]] = {}


# --- emitting LLVM ------------------------------------------------------------------------------


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """Return a vector with one value in all lanes."""
    return ir.Constant(vector, [value] * vector.count)


def emit_splat(builder, scalar, lanes):
    """Emit a vector with one value in all lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    )


def call(builder, name, result, arguments):
    """Emit a call of a function by its name: one of LLVM's, or of the process."""
    kinds = (argument.type for argument in arguments)
    function_type = ir.FunctionType(result, [_POINTER if t.is_pointer else t for t in kinds])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function_type, name), arguments
    )


def emit_fma(builder, dtype, a, b, c):
    """Emit a * b + c of vectors."""
    return call(builder, f"llvm.fmuladd.v{a.type.count}{SUFFIXES[dtype]}", a.type, [a, b, c])


def step_pointer(builder, pointer, count, element):
    """Emit the address that is `count` elements further on, at which anything may be stored."""
    address = builder.gep(pointer, [count], source_etype=element)
    # LLVM's pointers have no type of what is there. Numba still gives them one, which llvmlite
    # hands on, and then stores nothing else.
    address.type = _POINTER
    return address


def element_pointer(context, builder, array_type, array, row, column):
    """Emit the address of array[row, column], of two dimensions."""
    view = context.make_array(array_type)(context, builder, array)
    row_stride = cgutils.unpack_tuple(builder, view.strides)[0]
    row_start = step_pointer(builder, view.data, builder.mul(row, row_stride), _I8)
    itemsize = _I64(array_type.dtype.bitwidth // 8)
    return step_pointer(builder, row_start, builder.mul(column, itemsize), _I8)


def flat_pointer(context, builder, array_type, array, offset):
    """Emit the address of array[offset], of one dimension."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset], source_etype=context.get_data_type(array_type.dtype))


def _first_lanes(builder, count, lanes):
    numbers = ir.Constant(ir.VectorType(_I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, emit_splat(builder, count, lanes))


def emit_load(builder, dtype, lanes, pointer, count=None):
    """Load `lanes` values, or the first `count` of them and zeros: never past the end of a row."""
    vector = _vector_ir(dtype, lanes)
    itemsize = dtype.bitwidth // 8
    if count is None:
        return builder.load(pointer, align=itemsize, typ=vector)
    mask = _first_lanes(builder, count, lanes)
    arguments = [pointer, _I32(itemsize), mask, ir.Constant(vector, None)]
    return call(builder, f"llvm.masked.load.v{lanes}{SUFFIXES[dtype]}.p0", vector, arguments)


def _store(builder, dtype, vector, pointer, count=None):
    lanes, itemsize = vector.type.count, dtype.bitwidth // 8
    if count is None:
        builder.store(vector, pointer, align=itemsize)
        return
    arguments = [vector, pointer, _I32(itemsize), _first_lanes(builder, count, lanes)]
    call(builder, f"llvm.masked.store.v{lanes}{SUFFIXES[dtype]}.p0", ir.VoidType(), arguments)


def _clamped(builder, offset, count):
    """Return min(offset, count - 1): tiles past the end repeat their last row."""
    last = builder.sub(count, _I64(1))
    return builder.select(builder.icmp_signed("<", _I64(offset), last), _I64(offset), last)


# --- tuples of indices: the rows or classes of a tile -------------------------------------------


def _repeat_last(indices, count, length):
    return tuple(int(indices[min(i, count - 1)]) for i in range(length))


@vector_op(lambda order, start, count, shape: _repeat_last(order[start:], count, len(shape)))
def take_indices(typingctx, order, start, count, shape):
    """Return order[start : start + count] as a tuple of len(shape), repeating the last one."""

    def emit(context, builder, signature, arguments):
        order_value, start_value, count_value, _ = arguments
        offsets = (_clamped(builder, i, count_value) for i in range(len(shape)))
        places = (builder.add(start_value, offset) for offset in offsets)
        pointers = (
            flat_pointer(context, builder, signature.args[0], order_value, place)
            for place in places
        )
        return cgutils.pack_array(
            builder, [builder.load(pointer, typ=_I64) for pointer in pointers]
        )

    return types.UniTuple(types.int64, len(shape))(order, types.int64, types.int64, shape), emit


@vector_op(lambda order, i: int(order[i]))
def index_at(typingctx, order, i):
    """Return order[i], i not negative: without the code for an index from the end."""

    def emit(context, builder, signature, arguments):
        return builder.load(flat_pointer(context, builder, signature.args[0], *arguments), typ=_I64)

    return types.int64(order, types.int64), emit


# --- tuples of vectors: what a tile holds in registers ------------------------------------------


def row_vector(A, shift, row, column, like, count):
    """Return, in NumPy, a vector of (A - shift)[row, column:], zero past `count` if not None."""
    lanes = VECTOR_BYTES // like.itemsize
    vector = np.zeros(lanes, like.dtype)
    values = as_numbers(A[row, column : column + lanes][:count])
    if len(shift) > 0:
        values = values - shift[column : column + lanes][:count]
    vector[:count] = values
    return vector


def _emit_shift(context, builder, shift_type, shift, column, lanes, count=None):
    """Load what is subtracted from `lanes` values of a row; None if nothing is."""
    if isinstance(shift_type, types.BaseTuple):
        return None
    pointer = flat_pointer(context, builder, shift_type, shift, column)
    return emit_load(builder, shift_type.dtype, lanes, pointer, count)


def _shifted(builder, vector, shift, source, target):
    """Subtract a shift in the dtype of the rows, of halves widened to float32; then convert."""
    vector = emit_widened(builder, vector, source)
    if shift is not None:
        vector = builder.fsub(vector, shift)
    return emit_converted(builder, vector, source, target)


def emit_load_rows(context, builder, signature, arguments):
    """Emit what `load_rows` or `load_row_ends` returns, of arguments with its signature."""
    array_type, shift_type, _, _, like, *_ = signature.args
    array, shift, rows, column, _, *count = arguments
    lanes = signature.return_type.dtype.lanes
    subtracted = _emit_shift(context, builder, shift_type, shift, column, lanes, *count)
    vectors = []
    for row in cgutils.unpack_tuple(builder, rows):
        pointer = element_pointer(context, builder, array_type, array, row, column)
        vector = emit_load(builder, array_type.dtype, lanes, pointer, *count)
        vectors.append(_shifted(builder, vector, subtracted, array_type.dtype, like.dtype))
    return cgutils.pack_array(builder, vectors)


@vector_op(
    lambda A, shift, rows, column, like: tuple(
        row_vector(A, shift, i, column, like, None) for i in rows
    )
)
def load_rows(typingctx, A, shift, rows, column, like):
    """Return one vector of (A - shift)[row, column:] for each row, converted to `like`'s dtype.

    shift (d,) of the dtype in which it is subtracted, A's or float32 for halves, or () for none.
    """
    result = types.UniTuple(Vector(like.dtype), len(rows))
    return result(A, shift, rows, types.int64, like), emit_load_rows


@vector_op(
    lambda A, shift, rows, column, like, count: tuple(
        row_vector(A, shift, i, column, like, count) for i in rows
    )
)
def load_row_ends(typingctx, A, shift, rows, column, like, count):
    """Like `load_rows` with only the first `count` lanes read; the others are zero."""
    result = types.UniTuple(Vector(like.dtype), len(rows))
    return result(A, shift, rows, types.int64, like, types.int64), emit_load_rows


def _write_rows(A, rows, column, vectors):
    for row, vector in zip(rows, vectors, strict=True):
        A[row, column : column + len(vector)] = vector


def emit_loads(builder, dtype, start, places):
    """Emit a vector of the values at each place, a whole number of values after a pointer."""
    element, lanes = IR_TYPES[dtype], Vector(dtype).lanes
    pointers = (step_pointer(builder, start, _I64(place), element) for place in places)
    return [emit_load(builder, dtype, lanes, pointer) for pointer in pointers]


def emit_splats(builder, dtype, start, places):
    """Emit a vector for each place after a pointer, with the value there in all lanes."""
    element, lanes = IR_TYPES[dtype], Vector(dtype).lanes
    pointers = (step_pointer(builder, start, place, element) for place in places)
    values = [builder.load(pointer, typ=element) for pointer in pointers]
    return [emit_splat(builder, value, lanes) for value in values]


def vectors_of(flat, offset, count):
    """Return, in NumPy, `count` vectors of flat[offset:]."""
    lanes = VECTOR_BYTES // flat.itemsize
    return tuple(flat[offset + i * lanes : offset + (i + 1) * lanes].copy() for i in range(count))


@vector_op(lambda flat, offset, shape: vectors_of(flat, offset, len(shape)))
def load_run(typingctx, flat, offset, shape):
    """Return len(shape) vectors that follow one another in a one-dimensional array."""
    result = types.UniTuple(Vector(flat.dtype), len(shape))

    def emit(context, builder, signature, arguments):
        start = flat_pointer(context, builder, signature.args[0], *arguments[:2])
        places = range(0, len(shape) * result.dtype.lanes, result.dtype.lanes)
        return cgutils.pack_array(builder, emit_loads(builder, flat.dtype, start, places))

    return result(flat, types.int64, shape), emit


def _write_run(flat, offset, vectors):
    run = np.concatenate(vectors)
    flat[offset : offset + len(run)] = run


@vector_op(_write_run)
def store_run(typingctx, flat, offset, vectors):
    """Write vectors one after another into a one-dimensional array."""

    def emit(context, builder, signature, arguments):
        start = flat_pointer(context, builder, signature.args[0], *arguments[:2])
        for i, vector in enumerate(cgutils.unpack_tuple(builder, arguments[2])):
            pointer = step_pointer(builder, start, _I64(i * vector.type.count), vector.type.element)
            _store(builder, flat.dtype, vector, pointer)
        return context.get_dummy_value()

    return types.void(flat, types.int64, vectors), emit


def _block_of(flat, offset, stride, rows, columns):
    lanes = VECTOR_BYTES // flat.itemsize
    return tuple(
        flat[place : place + lanes].copy()
        for place in _block_places(offset, stride, lanes, rows, columns)
    )


def _block_places(offset, stride, lanes, rows, columns):
    return [offset + c * stride + r * lanes for r in range(len(rows)) for c in range(len(columns))]


def _write_block(flat, offset, stride, rows, columns, vectors):
    lanes = VECTOR_BYTES // flat.itemsize
    places = _block_places(offset, stride, lanes, rows, columns)
    for place, vector in zip(places, vectors, strict=True):
        flat[place : place + lanes] = vector


def _block_pointers(context, builder, signature, arguments, lanes):
    """Return where the vectors of a block are: at constants from one place, if stride is one."""
    array_type, _, _, rows, columns, *_ = signature.args
    flat, offset, stride, *_ = arguments
    start = flat_pointer(context, builder, array_type, flat, offset)
    of_columns = [builder.mul(_I64(c), stride) for c in range(len(columns))]
    return [
        step_pointer(
            builder, start, builder.add(column, _I64(r * lanes)), IR_TYPES[array_type.dtype]
        )
        for r in range(len(rows))
        for column in of_columns
    ]


@vector_op(_block_of)
def load_block(typingctx, flat, offset, stride, rows, columns):
    """Return the vectors flat[offset + c * stride + r * lanes :] for r, c, flattened row by row.

    rows and columns are tuples, of which the lengths count.
    """
    vector = Vector(flat.dtype)

    def emit(context, builder, signature, arguments):
        pointers = _block_pointers(context, builder, signature, arguments, vector.lanes)
        return cgutils.pack_array(
            builder, [emit_load(builder, flat.dtype, vector.lanes, pointer) for pointer in pointers]
        )

    result = types.UniTuple(vector, len(rows) * len(columns))
    return result(flat, types.int64, types.int64, rows, columns), emit


@vector_op(_write_block)
def store_block(typingctx, flat, offset, stride, rows, columns, vectors):
    """Write vectors to where `load_block` reads them."""

    def emit(context, builder, signature, arguments):
        pointers = _block_pointers(context, builder, signature, arguments, vectors.dtype.lanes)
        values = cgutils.unpack_tuple(builder, arguments[5])
        for pointer, value in zip(pointers, values, strict=True):
            _store(builder, flat.dtype, value, pointer)
        return context.get_dummy_value()

    return types.void(flat, types.int64, types.int64, rows, columns, vectors), emit


@vector_op(
    lambda flat, offset, stride, shape: tuple(
        np.full(VECTOR_BYTES // flat.itemsize, flat[offset + i * stride], flat.dtype)
        for i in range(len(shape))
    )
)
def splat_run(typingctx, flat, offset, stride, shape):
    """Return len(shape) vectors, each with one of flat[offset::stride] in all lanes."""
    result = types.UniTuple(Vector(flat.dtype), len(shape))

    def emit(context, builder, signature, arguments):
        flat_value, offset_value, stride_value, _ = arguments
        start = flat_pointer(context, builder, signature.args[0], flat_value, offset_value)
        places = [builder.mul(_I64(i), stride_value) for i in range(len(shape))]
        return cgutils.pack_array(builder, emit_splats(builder, flat.dtype, start, places))

    return result(flat, types.int64, types.int64, shape), emit


def emit_load_columns(context, builder, signature, arguments):
    """Emit what `load_columns` returns, of arguments with its signature."""
    array_type, shift_type, lanes = *signature.args[:2], signature.return_type.dtype.lanes
    array, shift, row, column, *_ = arguments
    like = signature.return_type.dtype.dtype
    start = element_pointer(context, builder, array_type, array, row, column)
    step = lanes * (array_type.dtype.bitwidth // 8)
    vectors = []
    for i in range(signature.return_type.count):
        pointer = step_pointer(builder, start, _I64(i * step), _I8)
        vector = emit_load(builder, array_type.dtype, lanes, pointer)
        place = builder.add(column, _I64(i * lanes))
        subtracted = _emit_shift(context, builder, shift_type, shift, place, lanes)
        vectors.append(_shifted(builder, vector, subtracted, array_type.dtype, like))
    return cgutils.pack_array(builder, vectors)


def columns_of(A, shift, row, column, shape, like):
    """Return what `load_columns` does, in NumPy."""
    lanes = VECTOR_BYTES // like.itemsize
    return tuple(
        row_vector(A, shift, row, column + i * lanes, like, None) for i in range(len(shape))
    )


@vector_op(columns_of)
def load_columns(typingctx, A, shift, row, column, shape, like):
    """Return len(shape) vectors of (A - shift)[row, column:], converted to the dtype of `like`."""
    result = types.UniTuple(Vector(like.dtype), len(shape))

    return result(A, shift, types.int64, types.int64, shape, like), emit_load_columns


@vector_op(
    lambda rows, columns, like: (
        (np.zeros(VECTOR_BYTES // like.itemsize, like.dtype),) * (len(rows) * len(columns))
    )
)
def zeros(typingctx, rows, columns, like):
    """Return len(rows) * len(columns) zero vectors of the dtype of `like`."""

    def emit(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return types.UniTuple(Vector(like.dtype), len(rows) * len(columns))(rows, columns, like), emit


def with_products(sums, x, w):
    """Return, in NumPy, sums[r, c] + x[r] * w[c] for every pair, flattened row by row."""
    return tuple(total + x[i // len(w)] * w[i % len(w)] for i, total in enumerate(sums))


def emit_products(builder, dtype, totals, xs, ws):
    """Emit totals[r, c] + xs[r] * ws[c] for every pair, flattened row by row."""
    return [
        emit_fma(builder, dtype, xs[i // len(ws)], ws[i % len(ws)], total)
        for i, total in enumerate(totals)
    ]


@vector_op(with_products)
def outer_fma(typingctx, sums, x, w):
    """Return sums[r, c] + x[r] * w[c] for every pair, sums being flattened row by row."""

    def emit(context, builder, signature, arguments):
        values = (cgutils.unpack_tuple(builder, value) for value in arguments)
        return cgutils.pack_array(builder, emit_products(builder, x.dtype.dtype, *values))

    return sums(sums, x, w), emit


@vector_op(lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)))
def add_vectors(typingctx, a, b):
    """Return the sums of the vectors of two tuples, one by one."""

    def emit(context, builder, signature, arguments):
        pairs = zip(*(cgutils.unpack_tuple(builder, value) for value in arguments), strict=True)
        return cgutils.pack_array(builder, [builder.fadd(x, y) for x, y in pairs])

    return a(a, a), emit


def _halving_sum(vector):
    while len(vector) > 1:
        vector = vector[: len(vector) // 2] + vector[len(vector) // 2 :]
    return vector[0]


def choose(builder, a, b, indices):
    """Emit a vector of the lanes of a, then b, that have these indices."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(indices)), indices))


@vector_op(_halving_sum)
def sum_lanes(typingctx, vector):
    """Return the sum of the lanes: halves added to halves until one lane is left."""

    def emit(context, builder, signature, arguments):
        (value,) = arguments
        while value.type.count > 1:
            half = value.type.count // 2
            low, high = list(range(half)), list(range(half, 2 * half))
            value = builder.fadd(
                choose(builder, value, value, low), choose(builder, value, value, high)
            )
        return builder.extract_element(value, _I32(0))

    return vector.dtype(vector), emit


def _lane_sums(flat, offset):
    lanes = VECTOR_BYTES // flat.itemsize
    run = flat[offset : offset + lanes**2].reshape(lanes, lanes)
    return np.array([_halving_sum(vector) for vector in run], flat.dtype)


@vector_op(_lane_sums)
def sum_run(typingctx, flat, offset):
    """Return in lane i the sum of the lanes of the i-th vector of a run, added as by `sum_lanes`.

    Each round halves the number of vectors: of every block of lanes the halves are added, and the
    results of two vectors go side by side into one.
    """
    vector = Vector(flat.dtype)
    lanes = vector.lanes

    def emit(context, builder, signature, arguments):
        start = flat_pointer(context, builder, signature.args[0], *arguments)
        element = IR_TYPES[flat.dtype]
        pointers = (step_pointer(builder, start, _I64(i * lanes), element) for i in range(lanes))
        vectors = [emit_load(builder, flat.dtype, lanes, pointer) for pointer in pointers]
        while len(vectors) > 1:
            half = len(vectors) // 2
            low = [
                source + block + i
                for block in range(0, lanes, 2 * half)
                for source in (0, lanes)
                for i in range(half)
            ]
            high = [i + half for i in low]
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [
                builder.fadd(choose(builder, a, b, low), choose(builder, a, b, high))
                for a, b in pairs
            ]
        return vectors[0]

    return vector(flat, types.int64), emit


# --- single vectors: the loss loops, lanes over samples -----------------------------------------


@vector_op(lambda like: VECTOR_BYTES // like.itemsize)
def lanes(typingctx, like):
    """Return how many values of the dtype of `like` a vector holds."""
    count = Vector(like.dtype).lanes
    return types.int64(like), lambda context, builder, signature, arguments: _I64(count)


@vector_op(lambda X, like: max(CACHE_LINE // X.itemsize, VECTOR_BYTES // like.itemsize))
def values_of_line(typingctx, X, like):
    """Return how many values of X a cache line holds, or a vector like `like` if that is more.

    It is a constant while compiling, so that a loop over a line is unrolled.
    """
    count = max(CACHE_LINE * 8 // X.dtype.bitwidth, Vector(like.dtype).lanes)
    return types.int64(X, like), lambda context, builder, signature, arguments: _I64(count)


@vector_op(lambda X: 2 if X.dtype in (np.uint16, np.int16) else 1)
def widening(typingctx, X):
    """Return how many times larger than a stored value the number is that it stands for."""
    factor = 2 if is_half(X.dtype) else 1
    return types.int64(X), lambda context, builder, signature, arguments: _I64(factor)


@vector_op(as_numbers)
def as_number(typingctx, stored):
    """Return the number that a stored value stands for."""

    def emit(context, builder, signature, arguments):
        return emit_widened(builder, arguments[0], stored)

    return (types.float32 if is_half(stored) else stored)(stored), emit


@vector_op(lambda A, row, column: row_vector(A, (), row, column, A, None))
def load(typingctx, A, row, column):
    """Return A[row, column : column + lanes]."""

    def emit(context, builder, signature, arguments):
        pointer = element_pointer(context, builder, signature.args[0], *arguments)
        return emit_load(builder, A.dtype, signature.return_type.lanes, pointer)

    return Vector(A.dtype)(A, types.int64, types.int64), emit


@vector_op(lambda A, row, column, vector: _write_rows(A, (row,), column, (vector,)))
def store(typingctx, A, row, column, vector):
    """Write A[row, column : column + lanes]."""

    def emit(context, builder, signature, arguments):
        array, row_value, column_value, value = arguments
        pointer = element_pointer(
            context, builder, signature.args[0], array, row_value, column_value
        )
        _store(builder, A.dtype, value, pointer)
        return context.get_dummy_value()

    return types.void(A, types.int64, types.int64, vector), emit


@vector_op(lambda value, like: np.full(VECTOR_BYTES // like.itemsize, value, like.dtype))
def splat(typingctx, value, like):
    """Return a vector of the dtype of `like` with one value in all lanes."""
    result = Vector(like.dtype)

    def emit(context, builder, signature, arguments):
        return emit_splat(builder, arguments[0], result.lanes)

    return result(like.dtype, like), emit


def _compare_select(predicate):
    def typing_function(typingctx, a, b, if_true, if_false):
        def emit(context, builder, signature, arguments):
            left, right, true_value, false_value = arguments
            return builder.select(
                builder.fcmp_ordered(predicate, left, right), true_value, false_value
            )

        return a(a, a, a, a), emit

    return typing_function


def select_greater(typingctx, a, b, if_true, if_false):
    """Return, lane by lane, if_true where a > b, else if_false."""
    return _compare_select(">")(typingctx, a, b, if_true, if_false)


def select_equal(typingctx, a, b, if_true, if_false):
    """Return, lane by lane, if_true where a == b, else if_false."""
    return _compare_select("==")(typingctx, a, b, if_true, if_false)


select_greater = vector_op(lambda a, b, x, y: np.where(a > b, x, y))(select_greater)
select_equal = vector_op(lambda a, b, x, y: np.where(a == b, x, y))(select_equal)


def _register_operator(function, instruction):
    @type_callable(function)
    def _type(context):
        def typer(a, b):
            return a if isinstance(a, Vector) and a == b else None

        return typer

    @lower_builtin(function, Vector, Vector)
    def _lower(context, builder, signature, arguments):
        return getattr(builder, instruction)(*arguments)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register_operator(_function, _instruction)
