"""Parts of arrays, for kernels that know that they are there.

A slice of Numba's looks at each of its bounds: negative, beyond the end, or in the wrong order. It
is compiled to some hundred instructions and a dozen branches, which a kernel does not need.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils

from fastlin.kernels import simd


@simd.vector_op(lambda A, first, count: A[:, first : first + count])
def columns(typingctx, A, first, count):
    """Return A[:, first : first + count] of an array of two dimensions that has these columns."""
    result = types.Array(A.dtype, 2, "A", readonly=not A.mutable, aligned=A.aligned)

    def emit(context, builder, signature, arguments):
        array, first_value, count_value = arguments
        whole = context.make_array(signature.args[0])(context, builder, array)
        part = context.make_array(result)(context, builder)
        row_count = cgutils.unpack_tuple(builder, whole.shape)[0]
        offset = builder.mul(first_value, cgutils.unpack_tuple(builder, whole.strides)[1])
        part.data = cgutils.pointer_add(builder, whole.data, offset, whole.data.type)
        part.shape = cgutils.pack_array(builder, [row_count, count_value])
        part.nitems = builder.mul(row_count, count_value)
        part.strides, part.itemsize = whole.strides, whole.itemsize
        part.meminfo = cgutils.get_null_value(part.meminfo.type)
        part.parent = cgutils.get_null_value(part.parent.type)
        return part._getvalue()

    return result(A, types.int64, types.int64), emit
