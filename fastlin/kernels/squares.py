"""Operations on squares of lanes, as many vectors as each has lanes, like those of `simd`."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils

from fastlin.kernels import simd


def _exchanged(builder, a, b, block):
    """Return (a, b) with the second of every two blocks of lanes of a exchanged for b's first."""
    lanes = range(a.type.count)
    low = [i if i // block % 2 == 0 else i + a.type.count - block for i in lanes]
    return simd.choose(builder, a, b, low), simd.choose(builder, a, b, [i + block for i in low])


@simd.vector_op(lambda vectors: tuple(np.stack(vectors).T.copy()))
def transposed(typingctx, vectors):
    """Return as many vectors as each has lanes: the i-th has lane i of every one of them.

    The square of lanes is transposed in quarters, each quarter in quarters, and so on: a round
    exchanges the two that are not on the diagonal, in one or two instructions a vector.
    """

    def emit(context, builder, signature, arguments):
        square = cgutils.unpack_tuple(builder, arguments[0])
        block = len(square) // 2
        while block > 0:
            for i in range(len(square)):
                if i // block % 2 == 0:
                    pair = _exchanged(builder, square[i], square[i + block], block)
                    square[i], square[i + block] = pair
            block //= 2
        return cgutils.pack_array(builder, square)

    return vectors(vectors), emit


@simd.vector_op(lambda like: (0,) * (simd.VECTOR_BYTES // like.itemsize))
def lane_tuple(typingctx, like):
    """Return a tuple, of which the length counts: the lanes of a vector of the dtype of `like`."""
    result = types.UniTuple(types.int64, simd.Vector(like.dtype).lanes)
    return result(like), lambda context, builder, signature, arguments: context.get_constant_null(
        signature.return_type
    )
