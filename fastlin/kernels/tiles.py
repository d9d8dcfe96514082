"""The two matrix products of a training step, `W x` and `W += dscores^T X`, in register tiles.

A tile is R rows of X by C rows of W (C classes). Its inner loop runs over features, contiguous in
both, so that R + C loads feed R * C independent multiply-adds. The shape is part of the types:
Numba compiles the loops below for the shape that the machine and the number of classes call for.
Past the end of a batch or of W a tile repeats its last row, so remainders run at full speed and
never read out of bounds.

Every score is summed over features in one order, and every weight takes its rows in batch order,
whatever the tile shape, the blocking or the thread: the bits depend on none of them.
"""

from __future__ import annotations

from numba import types

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel

# Rows of a batch are taken in blocks of about this size: they stay in a core's second-level cache
# while tile after tile of W passes over them.
ROW_BLOCK_BYTES = 256 * 1024


# Rows of a tile that keep R * C sums, C weights and a row in registers, by the number of vector
# registers and the classes of the tile.
_ROWS_FOR_CLASSES = {
    32: {5: 5, 4: 6, 3: 8, 2: 10},
    16: {4: 3, 3: 4, 2: 5},
}[simd.VECTOR_REGISTERS]


def class_tile(class_count: int) -> tuple[int, ...]:
    """Return the tile that kernels take for W with that many rows: a tuple as long as its classes.

    Only the length counts, and it is a type to Numba. Classes are split into as few tiles as fit
    the registers of the machine compiled for, as equal as possible: 10 as 5 + 5, 7 as 4 + 3.
    """
    tiles = -(-class_count // max(_ROWS_FOR_CLASSES))
    return (0,) * max(-(-class_count // tiles), min(_ROWS_FOR_CLASSES))


@simd.vector_op(lambda tile: (0,) * _ROWS_FOR_CLASSES[len(tile)])
def row_tile(typingctx, tile):
    """Return a tuple as long as the tile has rows."""
    result = types.UniTuple(types.int64, _ROWS_FOR_CLASSES[len(tile)])

    def emit(context, builder, signature, arguments):
        return context.get_constant_null(signature.return_type)

    return result(tile), emit


@inline_kernel
def _rows_per_block(X, tile_rows):
    row_bytes = X.shape[1] * X.itemsize
    return max(tile_rows, ROW_BLOCK_BYTES // row_bytes // tile_rows * tile_rows)


@inline_kernel
def _scores_tile(X, rows, W, classes):
    """Return X[row] . W[k] for each row and class, as a tuple flattened row by row."""
    sums = simd.zeros(rows, classes, W)
    step = simd.lanes(W)
    d = W.shape[1]
    whole = d - d % step
    for j in range(0, whole, step):
        x = simd.load_rows(X, rows, j, W)
        w = simd.load_rows(W, classes, j, W)
        sums = simd.outer_fma(sums, x, w)
    if whole < d:
        x = simd.load_row_ends(X, rows, whole, W, d - whole)
        w = simd.load_row_ends(W, classes, whole, W, d - whole)
        sums = simd.outer_fma(sums, x, w)
    return simd.sum_lanes(sums)


@inline_kernel
def batch_scores(X, order, start, stop, W, b, scale, tile, scores):
    """Write scores[k, i] = scale * X[order[start + i]] . W[k] + b[k] for start + i < stop.

    X (n, d) rows as stored; order (n,) int64; W (K, d); b (K,); scale 1/255 for pixels, else 1;
    scores (K, at least stop - start), of W's dtype, overwritten.
    """
    K = W.shape[0]
    R, C = len(row_tile(tile)), len(tile)
    block = _rows_per_block(X, R)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for k in range(0, K, C):
            class_count = min(C, K - k)
            classes = simd.range_indices(k, class_count, tile)
            for i in range(first, last, R):
                row_count = min(R, last - i)
                rows = simd.take_indices(order, i, row_count, row_tile(tile))
                sums = _scores_tile(X, rows, W, classes)
                for r in range(row_count):
                    for c in range(class_count):
                        total = sums[r * C + c]
                        scores[k + c, i - start + r] = total * scale + b[k + c]


@inline_kernel
def single_row_scores(X, W, tile, scores):
    """Write scores[k] = X[0] . W[k]; X (1, d) of W's dtype, W (K, d), scores (K,) overwritten."""
    K = W.shape[0]
    for k in range(0, K, len(tile)):
        class_count = min(len(tile), K - k)
        sums = _scores_tile(X, (0,), W, simd.range_indices(k, class_count, tile))
        for c in range(class_count):
            scores[k + c] = sums[c]


@inline_kernel
def _update_tile(X, rows, W, classes, first, last, factors, decay):
    """W[k, j] = decay * W[k, j] + sum over rows of factors[row, k] * X[row, j], first <= j < last.

    decay None is 1; first is a whole number of vectors.
    """
    step = simd.lanes(W)
    whole = last - (last - first) % step
    for j in range(first, whole, step):
        w = simd.load_rows(W, classes, j, W)
        if decay is not None:
            w = simd.scale_all(w, decay)
        x = simd.load_rows(X, rows, j, W)
        simd.store_rows(W, classes, j, simd.combination_fma(w, factors, x))
    if whole < last:
        w = simd.load_row_ends(W, classes, whole, W, last - whole)
        if decay is not None:
            w = simd.scale_all(w, decay)
        x = simd.load_row_ends(X, rows, whole, W, last - whole)
        simd.store_row_ends(W, classes, whole, simd.combination_fma(w, factors, x), last - whole)


@inline_kernel
def batch_update(X, order, start, stop, dscores, factor, decay, tile, W, first, last):
    """W[k, j] = decay * W[k, j] + factor * sum over i of dscores[k, i] * X[order[start+i], j].

    X (n, d) rows as stored; order (n,) int64; dscores (K, at least stop - start), factor and decay
    of W's dtype; W (K, d), of which columns first to last are overwritten, first being a whole
    number of vectors: threads may divide W between them by columns.
    """
    K = W.shape[0]
    R, C = len(row_tile(tile)), len(tile)
    block = _rows_per_block(X, R)
    for i_block in range(start, stop, block):
        i_stop = min(i_block + block, stop)
        for k in range(0, K, C):
            classes = simd.range_indices(k, min(C, K - k), tile)
            for i in range(i_block, i_stop, R):
                row_count = min(R, i_stop - i)
                rows = simd.take_indices(order, i, row_count, row_tile(tile))
                factors = simd.splat_block(
                    dscores, factor, k, i - start, row_tile(tile), tile, W, K, i_stop - start
                )
                if i == start:
                    _update_tile(X, rows, W, classes, first, last, factors, decay)
                else:
                    _update_tile(X, rows, W, classes, first, last, factors, None)
