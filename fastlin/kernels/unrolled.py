"""Loops that are written out: LLVM would have to unroll them, and Numba to compile every round.

Where something else uses the other hardware thread of a core, each takes half as many instructions
a cycle, and every one beside the multiply-adds counts. On a Zen 3 with such a neighbour 100 rows of
3,072 features are added to the weights of 10 classes, eight rows written out, in 110 us instead of
145 of uint8, and in 124 instead of 167 of float32.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlin.kernels.simd import (
    CACHE_LINE,
    VECTOR_BYTES,
    columns_of,
    emit_load_columns,
    emit_load_rows,
    emit_loads,
    emit_products,
    emit_splats,
    flat_pointer,
    row_vector,
    step_pointer,
    vector_op,
    vectors_of,
    with_products,
)

_I64 = ir.IntType(64)
ROWS = 8  # that are written out, one after another


def _sums_with_line(sums, A, shift, rows, column, flat, offset, shape):
    lanes = VECTOR_BYTES // flat.itemsize
    for j in range(0, max(CACHE_LINE // A.itemsize, lanes), lanes):
        x = [row_vector(A, shift, row, column + j, flat, None) for row in rows]
        sums = with_products(sums, x, vectors_of(flat, offset + j * len(shape), len(shape)))
    return sums


@vector_op(_sums_with_line)
def outer_fma_of_line(typingctx, sums, A, shift, rows, column, flat, offset, shape):
    """Do `outer_fma` for every vector of a cache line of rows, and a run of `flat` for each.

    It is `load_rows`, `load_run` and `outer_fma` as often as a line has vectors.
    """
    lanes = sums.dtype.lanes
    vectors = max(CACHE_LINE * 8 // A.dtype.bitwidth, lanes) // lanes
    of_rows = types.UniTuple(sums.dtype, len(rows))(A, shift, rows, types.int64, flat)

    def emit(context, builder, signature, arguments):
        totals, *row_arguments, column_value, flat_value, offset_value, _ = arguments
        totals = cgutils.unpack_tuple(builder, totals)
        start = flat_pointer(context, builder, flat, flat_value, offset_value)
        for v in range(vectors):
            place = builder.add(column_value, _I64(v * lanes))
            x = emit_load_rows(context, builder, of_rows, (*row_arguments, place, flat_value))
            places = ((v * len(shape) + c) * lanes for c in range(len(shape)))
            ws = emit_loads(builder, flat.dtype, start, places)
            xs = cgutils.unpack_tuple(builder, x)
            totals = emit_products(builder, flat.dtype, totals, xs, ws)
        return cgutils.pack_array(builder, totals)

    return sums(sums, A, shift, rows, types.int64, flat, types.int64, shape), emit


def _sums_with_rows(sums, A, shift, order, first, column, columns, flat, offset, shape):
    for r in range(ROWS):
        x = columns_of(A, shift, order[first + r], column, columns, flat)
        w = flat[offset + r * len(shape) :][: len(shape)]
        sums = with_products(sums, x, w)
    return sums


@vector_op(_sums_with_rows)
def outer_fma_of_rows(
    typingctx, sums, A, shift, order, first, column, columns, flat, offset, shape
):
    """Do `outer_fma` for the columns of each of the `ROWS` rows order[first:], and runs of `flat`.

    It is `index_at`, `load_columns`, `splat_run` with a stride of 1, and `outer_fma`, row by row.
    """
    of_columns = types.UniTuple(sums.dtype, len(columns))(
        A, shift, types.int64, types.int64, columns, flat
    )

    def emit(context, builder, signature, arguments):
        totals, array, shift_value, order_value, first_value, column_value, *rest = arguments
        _, flat_value, offset_value, _ = rest
        totals = cgutils.unpack_tuple(builder, totals)
        indices = flat_pointer(context, builder, order, order_value, first_value)
        start = flat_pointer(context, builder, flat, flat_value, offset_value)
        for r in range(ROWS):
            row = builder.load(step_pointer(builder, indices, _I64(r), _I64), typ=_I64)
            x = emit_load_columns(
                context, builder, of_columns, (array, shift_value, row, column_value)
            )
            places = (_I64(r * len(shape) + c) for c in range(len(shape)))
            ws = emit_splats(builder, flat.dtype, start, places)
            xs = cgutils.unpack_tuple(builder, x)
            totals = emit_products(builder, flat.dtype, totals, xs, ws)
        return cgutils.pack_array(builder, totals)

    return (
        sums(
            sums, A, shift, order, types.int64, types.int64, columns, flat, types.int64, shape
        ),
        emit,
    )  # fmt: skip
