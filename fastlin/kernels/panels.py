"""The two matrix products of a training step where classes are many; see `tiles` for few.

Rows are copied to panels once, converted and side by side, and every tile of classes reads them
there. Both products are sums of outer products: one operand is a vector, the other one number in
all lanes, so that V + C loads feed V * C multiply-adds and nothing is summed across lanes.

Scores: a panel has V vectors of rows, feature after feature. A tile adds to the scores of these
rows and C classes. Update: a panel has V vectors of features, row after row. A tile adds to the
weights of these features and C classes.

In the names of BLIS, vectors are MR, C is NR, and a panel's depth is KC. A panel stays in the
first-level cache while tiles of classes pass by, for which the processor fetches 4 bytes a cycle.
While they do, the rows of the next panel are asked for, a few at every tile, and so is what a tile
is added to: on Zen 3 the scores of 1,024 float32 rows, d 768 and K 1000, took 0.8 times the time by
that, their update 0.9 times.
"""

from __future__ import annotations

from fastlin.kernels import simd, squares
from fastlin.kernels.jit import inline_kernel, pasted_kernel
from fastlin.kernels.prefetch import prefetch_columns, prefetch_run
from fastlin.kernels.registers import VECTOR_BYTES
from fastlin.kernels.tiles import (
    add_to_weights,
    column_tile,
    sum_of_row_ends,
    tile_count,
    vector_count,
    vectors_of_tile,
)

# Measured on Zen 3 (first-level cache 32 KiB, second 512 KiB) with float32 rows and d 768, as share
# of sgemm. Scores: a panel is half a first-level cache, and the panels of a block of rows, like the
# weights that they meet in turn, are a quarter of the second: 94 % with K 100, 90-96 % with K 1000.
SCORE_PANEL_BYTES = 16 * 1024
SCORE_PANELS = 8
WEIGHT_BLOCK_BYTES = 128 * 1024
# Update: a panel of 8 KiB with vectors of 32 bytes, four side by side: 90 % with K 100, 97-104 %
# with K 1000. One at a time, which is one cache line of a row: 87 % with K 100.
PANEL_ROWS = 128
PANELS = 4


@pasted_kernel
def _panel_rows(tile, like):
    """Return how many rows a panel of scores has: V vectors of them."""
    return len(column_tile(tile)) * simd.lanes(like)


@pasted_kernel
def _panel_features(tile, like):
    """Return how many features a panel of scores has, a whole number of vectors."""
    step = simd.lanes(like)
    return SCORE_PANEL_BYTES // (_panel_rows(tile, like) * like.itemsize) // step * step


def size_of_score_panels(tile: tuple[int, ...], lanes: int) -> int:
    """Return the size of the scratch array of `scores_of_many`: panels, and a tile."""
    V = vectors_of_tile(tile)
    features = SCORE_PANEL_BYTES // (V * VECTOR_BYTES) // lanes * lanes
    return (SCORE_PANELS * features + len(tile)) * V * lanes


@pasted_kernel
def _pack_rows(X, shift, order, first, last, j_first, j_last, tile, panel, place):
    """Copy (X - shift)[row, j_first:j_last] of the rows order[first:last] to a panel at `place`.

    It has V vectors of rows, feature after feature; past the last row it repeats it, and to a whole
    vector of features it is filled with zeros.
    """
    step, V = simd.lanes(panel), len(column_tile(tile))
    whole = j_last - (j_last - j_first) % step
    for v in range(V):
        start = min(first + v * step, last - 1)
        rows = simd.take_indices(order, start, last - start, squares.lane_tuple(panel))
        to = place + v * step
        for j in range(j_first, whole, step):
            x = squares.transposed(simd.load_rows(X, shift, rows, j, panel))
            simd.store_block(panel, to, V * step, (0,), squares.lane_tuple(panel), x)
            to += V * step * step
        if whole < j_last:
            x = simd.load_row_ends(X, shift, rows, whole, panel, j_last - whole)
            x = squares.transposed(x)
            simd.store_block(panel, to, V * step, (0,), squares.lane_tuple(panel), x)


@pasted_kernel
def _scores_of_panel(panel, place, packed, offset, vectors, tile):
    """Return the sums over features of a panel's rows times the weights of a tile of classes."""
    step, V = simd.lanes(packed), len(column_tile(tile))
    totals = simd.zeros(tile, column_tile(tile), packed)
    # Vector of features: of each class the packed weights have it whole.
    for _ in range(vectors):
        # Feature: V vectors of rows by the weights of C classes.
        for lane in range(step):
            x = simd.load_run(panel, place + lane * V * step, column_tile(tile))
            w = simd.splat_run(packed, offset + lane, step, tile)
            totals = simd.outer_fma(totals, w, x)
        place += V * step * step
        offset += len(tile) * step
    return totals


@inline_kernel
def _next_panel(first, i, last, j_first, j_last, d):
    """Return (row, feature) at which the panel begins that follows the one of rows up to i."""
    if i < last:
        return i, j_first
    return (first, j_last) if j_last < d else (last, 0)


@pasted_kernel
def _ask_for_part(X, order, first, last, j_first, j_last, part, parts, tile, like):
    """Ask for one of some parts of X[row, j_first:j_last] of the rows order[first:last]."""
    count = last - first
    for i in range(count * part // parts, count * (part + 1) // parts):
        row = simd.index_at(order, first + i)
        for j in range(j_first, j_last, len(column_tile(tile)) * simd.lanes(like)):
            prefetch_columns(X, row, j, column_tile(tile), like)


@pasted_kernel
def _ask_for_scores(scores, k, i, tile):
    """Ask for the scores to which a tile is added once it is computed."""
    for c in range(min(len(tile), scores.shape[0] - k)):
        prefetch_columns(scores, k + c, i, column_tile(tile), scores)


@pasted_kernel
def _ask_for_weights(packed, place, tile):
    """Ask for the weights to which a tile is added once it is computed."""
    for v in range(len(column_tile(tile))):
        prefetch_run(packed, place + v * len(tile) * simd.lanes(packed), tile)


@pasted_kernel
def _add_to_scores(scores, k, i, count, tile, sums, place, is_first, is_last, scale, b):
    """Add a tile's sums, stored in `sums`, to scores[k:, i:count], to the end of a vector.

    The first of all tiles overwrites them; after the last they are multiplied, and b is added.
    """
    step, size = simd.lanes(sums), _panel_rows(tile, sums)
    for c in range(min(len(tile), scores.shape[0] - k)):
        factor, bias = simd.splat(scale, sums), simd.splat(b[k + c], sums)
        for column in range(i, min(i + size, count), step):
            total = simd.load_run(sums, place + c * size + column - i, (0,))[0]
            if not is_first:
                total = simd.load(scores, k + c, column) + total
            if is_last:
                total = total * factor + bias
            simd.store(scores, k + c, column, total)


@inline_kernel
def scores_of_many(X, shift, order, start, stop, packed, b, scale, tile, sums, scores):
    """Do `scores_of_few` where classes are many; the size of sums is `size_of_score_panels`."""
    K, d = b.size, X.shape[1]
    C, step = len(tile), simd.lanes(packed)
    rows, depth = _panel_rows(tile, packed), _panel_features(tile, packed)
    vectors, in_scratch = vector_count(d, packed), SCORE_PANELS * rows * depth
    class_block = max(1, WEIGHT_BLOCK_BYTES // (C * depth * packed.itemsize)) * C
    # Block of rows: their panels stay in the second-level cache.
    for first in range(start, stop, SCORE_PANELS * rows):
        last = min(first + SCORE_PANELS * rows, stop)
        # Block of features: as many as a panel has.
        for j_first in range(0, d, depth):
            j_last = min(j_first + depth, d)
            # Block of classes: their weights stay in the second-level cache, too.
            for k_first in range(0, K, class_block):
                k_last = min(k_first + class_block, K)
                # Panel of rows, which stays in the first-level cache for the tiles of classes.
                for i in range(first, last, rows):
                    panel = (i - first) * depth
                    if k_first == 0:
                        _pack_rows(
                            X, shift, order, i, min(i + rows, last), j_first, j_last, tile, sums,
                            panel,
                        )  # fmt: skip
                    next_row, next_j = _next_panel(first, i + rows, last, j_first, j_last, d)
                    # Tile of V vectors of rows and C classes: its sums stay in registers.
                    for k in range(k_first, k_last, C):
                        if k_first == 0:
                            _ask_for_part(
                                X, order, next_row, min(next_row + rows, stop), next_j,
                                min(next_j + depth, d), k // C, tile_count(k_last, tile), tile,
                                packed,
                            )  # fmt: skip
                        _ask_for_scores(scores, k, i - start, tile)
                        offset = (k * vectors + j_first // step * C) * step
                        totals = _scores_of_panel(
                            sums, panel, packed, offset, vector_count(j_last - j_first, packed),
                            tile,
                        )  # fmt: skip
                        simd.store_run(sums, in_scratch, totals)
                        _add_to_scores(
                            scores, k, i - start, stop - start, tile, sums, in_scratch,
                            j_first == 0, j_last == d, scale, b,
                        )  # fmt: skip


def size_of_update_panels(tile: tuple[int, ...], lanes: int) -> int:
    """Return the size of the scratch array of `update_of_many`: its panels."""
    return PANEL_ROWS * PANELS * vectors_of_tile(tile) * lanes


@pasted_kernel
def _pack_columns(X, shift, order, first, last, first_column, last_column, tile, panel):
    """Copy (X - shift)[row, first_column:last_column] of the rows order[first:last] to panels.

    Each has V vectors of columns, row after row.
    """
    size = len(column_tile(tile)) * simd.lanes(panel)
    for i in range(last - first):
        row, place = simd.index_at(order, first + i), i * size
        for column in range(first_column, last_column, size):
            x = simd.load_columns(X, shift, row, column, column_tile(tile), panel)
            simd.store_run(panel, place, x)
            place += PANEL_ROWS * size


@pasted_kernel
def _sum_of_panel(panel, offset, count, factors, place, tile):
    """Return the sum over rows of factors times the rows' pieces in a panel, by class."""
    total = simd.zeros(tile, column_tile(tile), panel)
    size = len(column_tile(tile)) * simd.lanes(panel)
    for i in range(count):
        x = simd.load_run(panel, offset + i * size, column_tile(tile))
        w = simd.splat_run(factors, place + i * len(tile), 1, tile)
        total = simd.outer_fma(total, w, x)
    return total


@inline_kernel
def update_of_many(
    X, shift, order, start, count, ahead, factors, tile, panel, packed, first_vector, last_vector
):
    """Do `update_of_few` where classes are many; ahead is not used.

    The size of panel is `size_of_update_panels`.
    """
    C, V, step, d = len(tile), len(column_tile(tile)), simd.lanes(packed), X.shape[1]
    vectors = vector_count(d, packed)
    tiles = packed.size // (vectors * C * step)
    whole = min(last_vector, d // step)
    whole -= max(0, whole - first_vector) % V
    # Block of rows: weights are read and written once for all of them.
    for first in range(start, start + count, PANEL_ROWS):
        last = min(first + PANEL_ROWS, start + count)
        of_block = (first - start) * tiles
        # Block of features: some panels, so that more than a cache line of a row is read at once.
        for block in range(first_vector, whole, PANELS * V):
            block_end = min(block + PANELS * V, whole)
            next_end = min(block_end + PANELS * V, whole)
            _pack_columns(X, shift, order, first, last, block * step, block_end * step, tile, panel)
            # Panel of V vectors of features, which stays in the first-level cache for all classes.
            for vector in range(block, block_end, V):
                in_panel = (vector - block) * step * PANEL_ROWS
                # Tile of V vectors and C classes: its sums stay in registers for all rows.
                for t in range(tiles):
                    _ask_for_part(
                        X, order, first, last, block_end * step, next_end * step,
                        (vector - block) // V * tiles + t, (block_end - block) // V * tiles, tile,
                        packed,
                    )  # fmt: skip
                    place = (t * vectors + vector) * C * step
                    _ask_for_weights(packed, place, tile)
                    of_tile = (of_block + t * (last - first)) * C
                    total = _sum_of_panel(panel, in_panel, last - first, factors, of_tile, tile)
                    w = simd.load_block(packed, place, C * step, tile, column_tile(tile))
                    w = simd.add_vectors(w, total)
                    simd.store_block(packed, place, C * step, tile, column_tile(tile), w)
        # The vectors that are left beside whole panels, the last one perhaps a part.
        for vector in range(whole, last_vector):
            for t in range(tiles):
                of_tile = (of_block + t * (last - first)) * C
                total = sum_of_row_ends(
                    X, shift, order, first, last, vector * step, factors, of_tile, tile, packed
                )
                add_to_weights(packed, t * vectors + vector, tile, total)
