"""The two matrix products of a training step, `W x` and `W += dscores^T X`, in register tiles.

These are the ones for few classes, and what they share with those for many (`panels`). Which of
both it is, and how W is packed, `class_tile` says.

While they are worked on, weights are packed: classes in tiles of C, and within a tile one vector
of features after another, each for all C classes. A kernel walks through them in one stream of
aligned vectors, whatever K and d are; what is missing to whole tiles and vectors is zero.

Scores: a tile is R rows of X by C classes. Its inner loop runs over features, so that R + C loads
feed R * C independent multiply-adds. Sums wait in `sums` while the features are taken in pieces
that keep the weights in the first-level cache, and are added up across lanes once, at the end.

Update: a tile is V vectors of features by C classes, kept in registers while the rows of the batch
pass by: V + C loads feed V * C multiply-adds, and weights are read and written once a pass.

In the names of BLIS, R is MR, C is NR; a block of rows is MC, of classes NC, and of features KC.
The shape is part of the types: Numba compiles the loops below for the shape that the machine and
the number of classes call for. Every score is summed over features in one order, and every weight
takes its rows in batch order, whatever the shape, the blocking or the thread: the bits depend on
none of them.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel, pasted_kernel, small_code
from fastlin.kernels.prefetch import prefetch_columns, prefetch_rows
from fastlin.kernels.registers import VECTOR_REGISTERS
from fastlin.kernels.unrolled import ROWS, outer_fma_of_line, outer_fma_of_rows

# By the number of vector registers, for the classes of a tile: the rows of a score tile (R * C
# sums, C weights and a row stay in registers), and the vectors of an update tile.
_ROWS_FOR_CLASSES = {32: {6: 1, 5: 4, 4: 5, 3: 7, 2: 8}, 16: {6: 1, 5: 2, 4: 2, 3: 4, 2: 5}}
_VECTORS_FOR_CLASSES = {32: {6: 4, 5: 4, 4: 4, 3: 4, 2: 8}, 16: {6: 2, 5: 2, 4: 2, 3: 4, 2: 4}}
_ROWS = _ROWS_FOR_CLASSES[VECTOR_REGISTERS]
_VECTORS = _VECTORS_FOR_CLASSES[VECTOR_REGISTERS]

# Weights of this many bytes share a first-level cache with the rows that pass by.
WEIGHT_BLOCK_BYTES = 20 * 1024
CLASS_BLOCK = 10  # classes scored together at most; a block is a whole number of tiles
ROW_BLOCK = 64  # rows scored together; a whole number of vectors

# From so many classes on they are many, and their tiles have a length that no others have: panels
# then cost less than they save. On Zen 3 with d 768, 1024 float32 rows take 1.9 ms either way with
# K 40, and 3.0 ms as few but 2.7 as many with K 64. Not measured with 32 registers, where rows that
# are converted once save more.
MANY_CLASSES = {32: 32, 16: 48}[VECTOR_REGISTERS]
MANY_TILE = 6

# A batch of no more bytes is asked for while the one before is added to the weights. It should have
# room in the second-level cache, or nearly: an epoch of 10,000 float32 rows of 3,072 features in
# batches of 100, 1.2 MB each, takes 16.8 ms so instead of 20.3 on a processor with AVX-512 and a
# cache of 1 MB, but 29.2 instead of 26.4 on a Zen 3 with half of that. Other sizes, and NEON, were
# not measured.
MOST_BYTES_AHEAD = {32: 2**21, 16: 2**19}[VECTOR_REGISTERS]

# A tile has so many classes at least. Padding would do the same: tests that are not about tiles set
# it to the largest tile of few classes, so that fewer kernels are compiled.
SMALLEST_TILE = min(_ROWS)


def class_tile(class_count: int) -> tuple[int, ...]:
    """Return the tile that kernels take for W with that many rows: a tuple as long as its classes.

    Only the length counts, and it is a type to Numba. Few classes are split into as few tiles as
    fit the registers, as equal as possible: 10 as 5 + 5, 7 as 4 + 3.
    """
    if class_count >= MANY_CLASSES:
        return (0,) * MANY_TILE
    tiles = -(-class_count // (MANY_TILE - 1))
    return (0,) * max(-(-class_count // tiles), SMALLEST_TILE)


def vectors_of_tile(tile: tuple[int, ...]) -> int:
    """Return how many vectors an update tile has: the length of its `column_tile`."""
    return _VECTORS[len(tile)]


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


@simd.vector_op(lambda d, like: -(-d // (simd.VECTOR_BYTES // like.itemsize)))
def vector_count(typingctx, d, like):
    """Return how many vectors of the dtype of `like` d values take, d not negative."""
    lanes = simd.Vector(like.dtype).lanes  # a power of two

    def emit(context, builder, signature, arguments):
        last = builder.add(arguments[0], ir.Constant(arguments[0].type, lanes - 1))
        return builder.lshr(last, ir.Constant(last.type, lanes.bit_length() - 1))

    return types.int64(types.int64, like), emit


@simd.vector_op(lambda count, like: vector_count(count, like) * simd.lanes(like))
def padded(typingctx, count, like):
    """Return count, not negative, rounded up to whole vectors of the dtype of `like`."""
    lanes = simd.Vector(like.dtype).lanes  # a power of two

    def emit(context, builder, signature, arguments):
        last = builder.add(arguments[0], ir.Constant(arguments[0].type, lanes - 1))
        return builder.and_(last, ir.Constant(last.type, -lanes))

    return types.int64(types.int64, like), emit


@pasted_kernel
def tile_count(K, tile):
    """Return how many tiles K classes take."""
    return (K + len(tile) - 1) // len(tile)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros that begin at a cache line."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.zeros(size + simd.CACHE_LINE, np.uint8)
    first = -buffer.ctypes.data % simd.CACHE_LINE
    return buffer[first : first + size].view(dtype).reshape(shape)


def pack(W: np.ndarray, tile: tuple[int, ...]) -> np.ndarray:
    """Return W (..., K, d) packed, (..., size), with zeros where nothing is."""
    *entries, K, d = W.shape
    C, step = len(tile), simd.VECTOR_BYTES // W.itemsize
    tiles, vectors = -(-K // C), -(-d // step)
    padded = np.zeros((*entries, tiles * C, vectors * step), W.dtype)
    padded[..., :K, :d] = W
    packed = aligned_zeros((*entries, tiles * vectors * C * step), W.dtype)
    by_tile = padded.reshape(*entries, tiles, C, vectors, step).swapaxes(-3, -2)
    packed.reshape(by_tile.shape)[...] = by_tile
    return packed


def unpack(
    packed: np.ndarray, tile: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype | None = None
) -> np.ndarray:
    """Return packed weights (..., size) as an array (..., K, d), of which shape is (K, d).

    dtype: for which they were packed; None for their own.
    """
    K, d = shape
    C, step = len(tile), simd.VECTOR_BYTES // (dtype or packed.dtype).itemsize
    *entries, _ = packed.shape
    by_tile = packed.reshape(*entries, -(-K // C), -(-d // step), C, step).swapaxes(-3, -2)
    return by_tile.reshape(*entries, by_tile.shape[-4] * C, -1)[..., :K, :d].copy()


@pasted_kernel
def _classes_per_block(tile):
    return CLASS_BLOCK // len(tile) * len(tile)


def size_of_sums(tile: tuple[int, ...], lanes: int) -> int:
    """Return the size of the scratch array of `scores_of_few`, whose padding is read, too."""
    return CLASS_BLOCK // len(tile) * len(tile) * (ROW_BLOCK + _ROWS[len(tile)]) * lanes


@pasted_kernel
def _scores_tile(X, shift, rows, next_rows, jump, packed, offset, first, last, tile, sums):
    """Add x[row, first:last] . W[k, first:last] to the sums of each row and class, lane by lane.

    x is X - shift. The rows that come next, from column first + jump, are asked for meanwhile.
    """
    step = simd.lanes(packed)
    line = simd.values_of_line(X, packed)
    whole = last - (last - first) % step
    lines_end = last - (last - first) % line
    for j in range(first, lines_end, line):
        prefetch_rows(X, next_rows, j + jump)
        sums = outer_fma_of_line(sums, X, shift, rows, j, packed, offset, tile)
        offset += len(tile) * line
    for j in range(lines_end, whole, step):
        x = simd.load_rows(X, shift, rows, j, packed)
        w = simd.load_run(packed, offset, tile)
        sums = simd.outer_fma(sums, x, w)
        offset += len(tile) * step
    if whole < last:
        x = simd.load_row_ends(X, shift, rows, whole, packed, last - whole)
        w = simd.load_run(packed, offset, tile)
        sums = simd.outer_fma(sums, x, w)
    return sums


@inline_kernel
def scores_of_few(X, shift, order, start, stop, packed, b, scale, tile, sums, scores):
    """Write scores[k, i] = scale * x[start + i] . W[k] + b[k] for start + i < stop.

    x[i] = X[order[i]] - shift; X (n, d) rows as stored; shift (d,) of X's numbers, or () for none;
    order (n,) int64; W (K, d) packed; b (K,); scale 1/255 for pixels, else 1; the size
    of sums is `size_of_sums`; scores (K, at least stop - start in whole vectors), of W's dtype,
    overwritten.
    """
    small_code()
    K, d = b.size, X.shape[1]
    R, C, step = len(row_tile(tile)), len(tile), simd.lanes(packed)
    stride = (ROW_BLOCK + R) * step
    vectors = vector_count(d, packed)
    class_block = _classes_per_block(tile)
    block_bytes = min(class_block, tile_count(K, tile) * C) * step * packed.itemsize
    feature_block = max(4, WEIGHT_BLOCK_BYTES // block_bytes) * step
    # Block of rows: the sums of all its lanes have room in `sums`.
    for first in range(start, stop, ROW_BLOCK):
        count = min(ROW_BLOCK, stop - first)
        # Block of classes: few enough for that room, many enough to use a row that was fetched.
        for k_first in range(0, K, class_block):
            k_last = min(k_first + class_block, K)
            # Block of features: the weights of the block stay in the first-level cache.
            for j_first in range(0, d, feature_block):
                j_last = min(j_first + feature_block, d)
                # R rows, which stay in the first-level cache for the tiles of classes below.
                for i in range(0, count, R):
                    rows = simd.take_indices(order, first + i, min(R, count - i), row_tile(tile))
                    if i + R < count:
                        following, jump = i + R, 0
                    else:
                        following, jump = 0, feature_block
                    next_rows = simd.take_indices(
                        order, first + following, min(R, count - following), row_tile(tile)
                    )
                    # Tile of R rows and C classes: its sums stay in registers for the block.
                    for k in range(k_first, k_last, C):
                        place = (k - k_first) * stride + i * step
                        offset = (k * vectors + j_first // step * C) * step
                        if j_first == 0:
                            totals = simd.zeros(row_tile(tile), tile, packed)
                        else:
                            totals = simd.load_block(sums, place, stride, row_tile(tile), tile)
                        totals = _scores_tile(
                            X, shift, rows, next_rows, jump, packed, offset, j_first, j_last, tile,
                            totals,
                        )  # fmt: skip
                        simd.store_block(sums, place, stride, row_tile(tile), tile, totals)
            # All features are in: add up the lanes of every sum.
            for k in range(k_first, k_last):
                factor, bias = simd.splat(scale, packed), simd.splat(b[k], packed)
                for i in range(0, count, step):
                    total = simd.sum_run(sums, (k - k_first) * stride + i * step)
                    simd.store(scores, k, first - start + i, total * factor + bias)


def size_of_factors(K: int, tile: tuple[int, ...], rows: int) -> int:
    """Return the size of the array of `pack_factors`, for K classes and so many rows at most."""
    return -(-K // len(tile)) * len(tile) * rows


@pasted_kernel
def pack_factors(dscores, begin, end, first, last, factor, tile, factors):
    """Write factor * dscores[:, i - first] for rows first to last of a batch, as updates read it.

    dscores (K, at least last - first); they are of a block of rows, begin to end of the batch (see
    `products.rows_of_block`); factor of their dtype; factors flat, for each block, tile and row of
    the block the C classes, overwritten; past K it is left.
    """
    K, C = dscores.shape[0], len(tile)
    of_block = begin * tile_count(K, tile)
    for k in range(K):
        row = dscores[k, : last - first]
        place = (of_block + k // C * (end - begin) + first - begin) * C + k % C
        for i in range(row.size):
            factors[place + i * C] = row[i] * factor


@pasted_kernel
def _sum_of_rows(X, shift, order, first, last, column, factors, place, tile, like):
    """Return the sum over the rows order[first:last] of factors times x[row, column:], by class.

    x is X - shift.
    """
    total = simd.zeros(column_tile(tile), tile, like)
    whole = last - (last - first) % ROWS
    for i in range(first, whole, ROWS):
        total = outer_fma_of_rows(
            total, X, shift, order, i, column, column_tile(tile), factors, place, tile
        )
        place += ROWS * len(tile)
    for i in range(whole, last):
        row = simd.index_at(order, i)
        x = simd.load_columns(X, shift, row, column, column_tile(tile), like)
        total = simd.outer_fma(total, x, simd.splat_run(factors, place, 1, tile))
        place += len(tile)
    return total


@pasted_kernel
def sum_of_row_ends(X, shift, order, first, last, column, factors, place, tile, like):
    """Do `_sum_of_rows` for one vector of X, or a part of one."""
    total = simd.zeros((0,), tile, like)
    for i in range(last - first):
        row = (simd.index_at(order, first + i),)
        x = simd.load_row_ends(X, shift, row, column, like, X.shape[1] - column)
        total = simd.outer_fma(total, x, simd.splat_run(factors, place + i * len(tile), 1, tile))
    return total


@pasted_kernel
def _ask_for_columns(X, order, first, last, column, tile, like):
    """Ask for the columns of a tile of the rows order[first:last], as far as there are such."""
    for i in range(first, min(last, order.size)):
        prefetch_columns(X, simd.index_at(order, i), column, column_tile(tile), like)


@pasted_kernel
def add_to_weights(packed, piece, tile, total):
    """Add sums to the weights of a piece: vectors of all classes of a tile, counted over all."""
    place = piece * len(tile) * simd.lanes(packed)
    simd.store_run(packed, place, simd.add_vectors(simd.load_run(packed, place, total), total))


@pasted_kernel
def _rows_per_pass(X):
    """Return how many rows are added up before the weights take their sum.

    Their pieces must stay in the first-level cache; those that begin at the same place of a page
    compete for the same eight lines of it. Halves are counted as the float32 numbers that they
    stand for, with which they share all bits.
    """
    row_bytes = X.shape[1] * X.itemsize * simd.widening(X)
    rows = 8 if row_bytes % 4096 == 0 else 16
    while rows < 64 and 2 * rows * row_bytes <= 16 * 1024:
        rows *= 2
    return rows


@inline_kernel
def update_of_few(
    X, shift, order, start, count, ahead, factors, tile, panel, packed, first_vector, last_vector
):
    """W += sum over rows i of a batch of factors[i] (X[order[start + i]] - shift), in part of W.

    X (n, d) rows as stored; shift (d,) of X's numbers, or () for none; order (n,) int64; the batch
    has count rows and begins at start; factors of `pack_factors`; panel is not used; W (K, d)
    packed, of which the vectors first_vector to last_vector of every class are overwritten: threads
    may divide W between them so, at multiples of an update tile.

    The rows of a pass are added up before W takes their sum: it is rounded once a pass. Few tiles
    of classes leave memory idle: rows that lie `ahead` places further on in `order` are asked for
    meanwhile, if it is not 0.
    """
    small_code()
    C, V, step, d = len(tile), len(column_tile(tile)), simd.lanes(packed), X.shape[1]
    vectors = vector_count(d, packed)
    tiles = packed.size // (vectors * C * step)
    whole = min(last_vector, d // step)
    whole -= max(0, whole - first_vector) % V
    rows = _rows_per_pass(X)
    # Block of rows: weights are read and written once for all of them.
    for first in range(start, start + count, rows):
        last = min(first + rows, start + count)
        # V vectors of features: rows are read where they lie.
        for vector in range(first_vector, whole, V):
            if ahead > 0 and vector * step * X.itemsize % simd.CACHE_LINE == 0:
                _ask_for_columns(X, order, first + ahead, last + ahead, vector * step, tile, packed)
            # Tile of V vectors and C classes: its sums stay in registers for all rows.
            for t in range(tiles):
                of_tile = (t * count + first - start) * C
                total = _sum_of_rows(
                    X, shift, order, first, last, vector * step, factors, of_tile, tile, packed
                )
                add_to_weights(packed, t * vectors + vector, tile, total)
        # The vectors that are left beside whole tiles, the last one perhaps a part.
        for vector in range(whole, last_vector):
            for t in range(tiles):
                of_tile = (t * count + first - start) * C
                total = sum_of_row_ends(
                    X, shift, order, first, last, vector * step, factors, of_tile, tile, packed
                )
                add_to_weights(packed, t * vectors + vector, tile, total)
