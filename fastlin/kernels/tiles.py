"""The two matrix products of a training step, `W x` and `W += dscores^T X`, in register tiles.

While they are worked on, weights are packed: classes in tiles of C, and within a tile one vector
of features after another, each for all C classes. A kernel walks through them in one stream of
aligned vectors, whatever K and d are; what is missing to whole tiles and vectors is zero.

Scores: a tile is R rows of X by C classes. Its inner loop runs over features, so that R + C loads
feed R * C independent multiply-adds. Sums wait in `sums` while the features are taken in pieces
that keep the weights in the first-level cache, and are added up across lanes once, at the end.

Update: a tile is V vectors of features by C classes, kept in registers while the rows of the batch
pass by: V + C loads feed V * C multiply-adds, and weights are read and written once a pass.

The shape is part of the types: Numba compiles the loops below for the shape that the machine and
the number of classes call for. Every score is summed over features in one order, and every weight
takes its rows in batch order, whatever the shape, the blocking or the thread: the bits depend on
none of them.
"""

from __future__ import annotations

import numpy as np
from numba import types

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel

# By the number of vector registers, for the classes of a tile: the rows of a score tile (R * C
# sums, C weights and a row stay in registers), and the vectors of an update tile.
_ROWS_FOR_CLASSES = {32: {5: 4, 4: 5, 3: 7, 2: 8}, 16: {5: 2, 4: 3, 3: 4, 2: 5}}
_VECTORS_FOR_CLASSES = {32: {5: 4, 4: 4, 3: 4, 2: 8}, 16: {5: 2, 4: 2, 3: 4, 2: 4}}
_ROWS = _ROWS_FOR_CLASSES[simd.VECTOR_REGISTERS]
_VECTORS = _VECTORS_FOR_CLASSES[simd.VECTOR_REGISTERS]

# Weights of this many bytes share a first-level cache with the rows that pass by.
WEIGHT_BLOCK_BYTES = 20 * 1024
CLASS_BLOCK = 15  # classes scored together at most; a block is a whole number of tiles
ROW_BLOCK = 64  # rows scored together; a whole number of vectors
CACHE_LINE = 64


def class_tile(class_count: int) -> tuple[int, ...]:
    """Return the tile that kernels take for W with that many rows: a tuple as long as its classes.

    Only the length counts, and it is a type to Numba. Classes are split into as few tiles as fit
    the registers, as equal as possible: 10 as 5 + 5, 7 as 4 + 3.
    """
    tiles = -(-class_count // max(_ROWS))
    return (0,) * max(-(-class_count // tiles), min(_ROWS))


def _length_by_classes(lengths, description):
    def typing_function(typingctx, tile):
        result = types.UniTuple(types.int64, lengths[len(tile)])

        def emit(context, builder, signature, arguments):
            return context.get_constant_null(signature.return_type)

        return result(tile), emit

    typing_function.__name__, typing_function.__doc__ = description.split()[0], description
    return simd.vector_op(lambda tile: (0,) * lengths[len(tile)])(typing_function)


row_tile = _length_by_classes(_ROWS, "row_tile has one element for each row of a score tile.")
column_tile = _length_by_classes(
    _VECTORS, "column_tile has one element for each vector of an update tile."
)
sums_tile = _length_by_classes(
    {C: V * C for C, V in _VECTORS.items()},
    "sums_tile has one element for each vector of weights in an update tile.",
)


@inline_kernel
def vector_count(d, like):
    """Return how many vectors of the dtype of `like` d values take."""
    step = simd.lanes(like)
    return (d + step - 1) // step


@inline_kernel
def tile_count(K, tile):
    """Return how many tiles K classes take."""
    return (K + len(tile) - 1) // len(tile)


@inline_kernel
def packed_size(K, d, tile, like):
    """Return the length of packed weights of K classes and d features."""
    return tile_count(K, tile) * len(tile) * vector_count(d, like) * simd.lanes(like)


@inline_kernel
def aligned_zeros(count, like):
    """Return zeros (count,) of the dtype of `like` that begin at a cache line."""
    buffer = np.zeros(count + CACHE_LINE // like.itemsize, like.dtype)
    skipped = (CACHE_LINE - buffer.ctypes.data % CACHE_LINE) % CACHE_LINE // like.itemsize
    return buffer[skipped : skipped + count]


@inline_kernel
def pack(W, tile, packed):
    """Write W (K, d) into packed weights, flat; what pads them is left as it is."""
    K, d = W.shape
    C, step = len(tile), simd.lanes(W)
    vectors = vector_count(d, W)
    for k in range(K):
        row = W[k]
        start = (k // C * vectors * C + k % C) * step
        for j in range(d):
            packed[start + j // step * (C * step) + j % step] = row[j]


@inline_kernel
def unpack(packed, tile, W):
    """Write packed weights, flat, into W (K, d)."""
    K, d = W.shape
    C, step = len(tile), simd.lanes(W)
    vectors = vector_count(d, W)
    for k in range(K):
        row = W[k]
        start = (k // C * vectors * C + k % C) * step
        for j in range(d):
            row[j] = packed[start + j // step * (C * step) + j % step]


@inline_kernel
def packed_weights(W, tile):
    """Return W (K, d) packed, flat, with zeros where nothing is."""
    packed = aligned_zeros(packed_size(W.shape[0], W.shape[1], tile, W), W)
    pack(W, tile, packed)
    return packed


@inline_kernel
def _classes_per_block(tile):
    return CLASS_BLOCK // len(tile) * len(tile)


@inline_kernel
def sums_of_block(tile, like):
    """Return the scratch array that `batch_scores` needs."""
    rows = _classes_per_block(tile) * (ROW_BLOCK + len(row_tile(tile)))
    flat = aligned_zeros(rows * simd.lanes(like), like)
    return flat.reshape(rows, simd.lanes(like))


@inline_kernel
def _scores_tile(X, rows, next_rows, jump, packed, offset, first, last, tile, sums):
    """Add X[row, first:last] . W[k, first:last] to the sums of each row and class, lane by lane.

    The rows that come next, from column first + jump, are asked for meanwhile.
    """
    step = simd.lanes(packed)
    whole = last - (last - first) % step
    for j in range(first, whole, step):
        x = simd.load_rows(X, rows, j, packed)
        w = simd.load_run(packed, offset, tile)
        simd.prefetch_rows(X, next_rows, j + jump)
        sums = simd.outer_fma(sums, x, w)
        offset += len(tile) * step
    if whole < last:
        x = simd.load_row_ends(X, rows, whole, packed, last - whole)
        w = simd.load_run(packed, offset, tile)
        sums = simd.outer_fma(sums, x, w)
    return sums


@inline_kernel
def batch_scores(X, order, start, stop, packed, b, scale, tile, sums, scores):
    """Write scores[k, i] = scale * X[order[start + i]] . W[k] + b[k] for start + i < stop.

    X (n, d) rows as stored; order (n,) int64; W (K, d) packed; b (K,); scale 1/255 for pixels,
    else 1; sums of `sums_of_block`, scratch; scores (K, at least stop - start in whole vectors),
    of W's dtype, overwritten.
    """
    K, d = b.size, X.shape[1]
    R, C, step = len(row_tile(tile)), len(tile), simd.lanes(packed)
    stride = ROW_BLOCK + R
    vectors = vector_count(d, packed)
    class_block = _classes_per_block(tile)
    block_bytes = min(class_block, tile_count(K, tile) * C) * step * packed.itemsize
    feature_block = max(4, WEIGHT_BLOCK_BYTES // block_bytes) * step
    for first in range(start, stop, ROW_BLOCK):
        count = min(ROW_BLOCK, stop - first)
        for k_first in range(0, K, class_block):
            k_last = min(k_first + class_block, K)
            for j_first in range(0, d, feature_block):
                j_last = min(j_first + feature_block, d)
                for i in range(0, count, R):
                    rows = simd.take_indices(order, first + i, min(R, count - i), row_tile(tile))
                    if i + R < count:
                        following, jump = i + R, 0
                    else:
                        following, jump = 0, feature_block
                    next_rows = simd.take_indices(
                        order, first + following, min(R, count - following), row_tile(tile)
                    )
                    for k in range(k_first, k_last, C):
                        places = simd.tile_places(k - k_first, i, stride, row_tile(tile), tile)
                        offset = (k * vectors + j_first // step * C) * step
                        if j_first == 0:
                            totals = simd.zeros(row_tile(tile), tile, packed)
                        else:
                            totals = simd.load_rows(sums, places, 0, packed)
                        totals = _scores_tile(
                            X, rows, next_rows, jump, packed, offset, j_first, j_last, tile, totals
                        )
                        simd.store_rows(sums, places, 0, totals)
            for k in range(k_first, k_last):
                factor, bias = simd.splat(scale, packed), simd.splat(b[k], packed)
                for i in range(0, count, step):
                    total = simd.sum_rows(sums, (k - k_first) * stride + i)
                    simd.store(scores, k, first - start + i, total * factor + bias)


@inline_kernel
def pack_factors(dscores, first, last, factor, count, tile, factors):
    """Write factor * dscores[:, i - first] for rows first to last of a batch, as updates read it.

    dscores (K, at least last - first); factor of their dtype; count: rows of the batch; factors
    flat, for each tile and each row of the batch the C classes, overwritten; past K it is left.
    """
    K, C = dscores.shape[0], len(tile)
    for k in range(K):
        row = dscores[k, : last - first]
        place = (k // C * count + first) * C + k % C
        for i in range(row.size):
            factors[place + i * C] = row[i] * factor


@inline_kernel
def _rows_per_pass(X):
    """Return how many rows pass by an update tile: their pieces stay in the first-level cache.

    Rows that begin at the same place of a page compete for the same eight lines of it.
    """
    row_bytes = X.shape[1] * X.itemsize
    least = 8 if row_bytes % 4096 == 0 else 16
    return max(least, 16 * 1024 // row_bytes)


@inline_kernel
def batch_update(
    X, order, start, first, last, count, factors, decay, tile, packed, first_vector, last_vector
):
    """W = decay * W + sum over rows i of factors[i] X[order[start + i]], for some of i and of W.

    X (n, d) rows as stored; order (n,) int64; count: rows of the batch, which begins at start, of
    which first to last are added now, with the decay if first is 0; factors of `pack_factors`;
    W (K, d) packed, of which the vectors first_vector to last_vector of every class are
    overwritten: threads may divide W between them so.
    """
    C, step = len(tile), simd.lanes(packed)
    V = len(column_tile(tile))
    d = X.shape[1]
    vectors = vector_count(d, packed)
    tiles = packed.size // (vectors * C * step)
    whole = min(last_vector, d // step)
    whole -= max(0, whole - first_vector) % V
    rows_per_pass = _rows_per_pass(X)
    for i_first in range(first, last, rows_per_pass):
        i_last = min(i_first + rows_per_pass, last)
        for vector in range(first_vector, whole, V):
            for t in range(tiles):
                place = (t * vectors + vector) * C * step
                w = simd.load_run(packed, place, sums_tile(tile))
                if i_first == 0:
                    w = simd.scale_all(w, decay)
                next_factors = (t * count + i_first) * C
                for i in range(i_first, i_last):
                    row = simd.index_at(order, start + i)
                    x = simd.load_columns(X, row, vector * step, column_tile(tile), packed)
                    w = simd.outer_fma(w, x, simd.splat_run(factors, next_factors, tile))
                    next_factors += C
                simd.store_run(packed, place, w)
        for vector in range(whole, last_vector):
            for t in range(tiles):
                place = (t * vectors + vector) * C * step
                w = simd.load_run(packed, place, tile)
                if i_first == 0:
                    w = simd.scale_all(w, decay)
                next_factors = (t * count + i_first) * C
                for i in range(i_first, i_last):
                    row = (simd.index_at(order, start + i),)
                    x = simd.load_row_ends(X, row, vector * step, packed, d - vector * step)
                    w = simd.outer_fma(w, x, simd.splat_run(factors, next_factors, tile))
                    next_factors += C
                simd.store_run(packed, place, w)
