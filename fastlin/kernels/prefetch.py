"""Asking for cache lines before they are needed; it changes no result, and its meaning is nothing.

An address may be past the end of an array: the processor ignores what it may not read.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlin.kernels.simd import (
    CACHE_LINE,
    Vector,
    call,
    element_pointer,
    flat_pointer,
    step_pointer,
    vector_op,
)

_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_ALL_CACHES, _FROM_THE_SECOND_ON = 3, 2


def _ask(builder, start, size, caches):
    """Ask for the cache lines of `size` bytes."""
    for distance in range(0, size, CACHE_LINE):
        pointer = step_pointer(builder, start, _I64(distance), _I8)
        arguments = [pointer, _I32(0), _I32(caches), _I32(1)]
        call(builder, "llvm.prefetch.p0", ir.VoidType(), arguments)


@vector_op(lambda A, rows, column: None)
def prefetch_rows(typingctx, A, rows, column):
    """Ask for the cache line of A[row, column] of each row."""

    def emit(context, builder, signature, arguments):
        array, row_values, column_value = arguments
        for row in cgutils.unpack_tuple(builder, row_values):
            start = element_pointer(context, builder, signature.args[0], array, row, column_value)
            _ask(builder, start, CACHE_LINE, _ALL_CACHES)
        return context.get_dummy_value()

    return types.void(A, rows, types.int64), emit


@vector_op(lambda A, row, column, shape, like: None)
def prefetch_columns(typingctx, A, row, column, shape, like):
    """Ask for what `simd.load_columns` will read, into the second-level cache: it is for later."""
    size = len(shape) * Vector(like.dtype).lanes * A.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        start = element_pointer(context, builder, signature.args[0], *arguments[:3])
        _ask(builder, start, size, _FROM_THE_SECOND_ON)
        return context.get_dummy_value()

    return types.void(A, types.int64, types.int64, shape, like), emit


@vector_op(lambda flat, offset, shape: None)
def prefetch_run(typingctx, flat, offset, shape):
    """Ask for what `simd.load_run` will read."""
    size = len(shape) * Vector(flat.dtype).lanes * flat.dtype.bitwidth // 8

    def emit(context, builder, signature, arguments):
        start = flat_pointer(context, builder, signature.args[0], *arguments[:2])
        _ask(builder, start, size, _ALL_CACHES)
        return context.get_dummy_value()

    return types.void(flat, types.int64, shape), emit
