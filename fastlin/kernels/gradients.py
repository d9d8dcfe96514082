"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers.

Rows are summed in chunks in the dtype of the weights, and chunks in float64: the error does not
grow with the number of rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.evaluate import BLOCK_ROWS, blocks_of_piece, number_rows
from fastlin.kernels.features import row_scale
from fastlin.kernels.jit import inline_kernel, kernel, pasted_kernel
from fastlin.kernels.losses import (
    loss_gradient,
    padded,
    padded_length,
    sum_of_row,
    weigh_rows,
)
from fastlin.kernels.team import finish_piece, is_last, next_piece, open_phase, wait_for
from fastlin.kernels.tiles import (
    aligned_zeros,
    batch_scores,
    batch_update,
    pack_factors,
    scratch_panels,
    scratch_sums,
    vector_count,
)

# Rows of a chunk, a whole number of blocks: they are scored, and then read again for the gradient,
# so they should still be near; and a gradient of many classes is added to its sum once a chunk. Of
# 50,000 x 768 float32 rows in 10 classes a pass took 23 to 28 ms with 512 rows and 34 to 41 ms with
# 2048, on two cores of a Zen 3; in 100 classes 160 to 185 and 170 ms.
_CHUNK_ROWS, _CHUNK_ROWS_OF_MANY_CLASSES, _MANY_CLASSES = 512, 2048, 256
BLOCK_VECTORS = 8  # a whole number of update tiles


class ChunkScratch(NamedTuple):
    """What a team shares while it works on a chunk of rows.

    dscores (K, width), labels and losses (1, width) and factors (flat; see `pack_factors`), of the
    dtype of the weights; gradient, packed like them, zero between chunks; numbers (chunk,)
    int64, the rows of the chunk.
    """

    dscores: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    factors: np.ndarray
    gradient: np.ndarray
    numbers: np.ndarray


def new_scratch(K: int, packed: np.ndarray, tile: tuple[int, ...]) -> ChunkScratch:
    """Return the scratch arrays for weights of K classes, packed."""
    rows = _CHUNK_ROWS if K < _MANY_CLASSES else _CHUNK_ROWS_OF_MANY_CLASSES
    width, tiles = padded_length(rows, packed.dtype), -(-K // len(tile))
    return ChunkScratch(
        np.zeros((K, width), packed.dtype),
        np.zeros((1, width), packed.dtype),
        np.zeros((1, width), packed.dtype),
        np.zeros(tiles * len(tile) * rows, packed.dtype),
        aligned_zeros(packed.shape, packed.dtype),
        np.zeros(rows, np.int64),
    )


@inline_kernel
def add_chunk(chunk, total, tile, vectors, first, last):
    """Add the vectors first to last of every class of chunk (packed) to total, and clear them."""
    size = len(tile) * simd.lanes(chunk)
    for start in range(0, chunk.size, vectors * size):
        for place in range(start + first * size, start + last * size):
            total[place] += chunk[place]
            chunk[place] = 0


@pasted_kernel
def block_losses(
    X, features, y, sample_weights, chunk, start, stop, count, weights, b, loss, tile, sums,
    scratch, losses,
):  # fmt: skip
    """Write losses and dscores of the rows start to stop of the chunk of count rows at `chunk`."""
    K, end = b.size, start + padded(stop - start, b)
    number_rows(scratch.numbers[start:], chunk + start, chunk + stop)
    scores, labels = scratch.dscores[:, start:end], scratch.labels[:, start:end]
    row_losses, scale = scratch.losses[:, start:end], b.dtype.type(row_scale(features))
    batch_scores(
        X, features.shift, scratch.numbers, start, stop, weights, b, scale, tile, sums, scores
    )
    for i in range(stop - start):
        labels[0, i] = y[chunk + start + i]
    loss_gradient(loss, scores, labels, row_losses)
    weigh_rows(sample_weights, scratch.numbers, start, stop - start, scores, labels, row_losses)
    for i in range(stop - start):
        losses[chunk + start + i] = row_losses[0, i]
    for k in range(K):
        for i in range(stop - start, end - start):
            scores[k, i] = 0
    pack_factors(scores, start, stop, b.dtype.type(1), count, tile, scratch.factors)


@kernel
def loss_and_gradient(
    member, team, pieces, X, features, y, sample_weights, first_row, last_row, weights, b, loss,
    tile, scratch, losses, gradient, db,
):  # fmt: skip
    """Write rows' losses, and add up the gradients by scores and by features over the rows.

    As a member of a team, of the rows first_row to last_row: X (n, d) rows as stored; y (n,) int64;
    features a named tuple of `fastlin.kernels.features`; weights, packed, and b (K,): the scores of
    a row u are scale * W (u - shift) + b, with the scale and shift of features; sample_weights and
    loss named tuples of `fastlin.kernels.losses`; tile a `class_tile`; scratch of `new_scratch`;
    losses (n,) of the dtype of b, overwritten; gradient, packed like weights, float64, and db (K,)
    float64, to which sums are added:

    gradient += dscores^T (u - shift),  db += sum dscores.

    Members divide rows while scoring and features while summing, so every sum has one order.
    """
    vectors = vector_count(X.shape[1], b)
    feature_blocks = (vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS
    sums, panel = scratch_sums(1, tile, b)[0], scratch_panels(1, tile, b)[0]
    phase, zero = np.int64(0), np.int64(0)
    chunk_rows = scratch.numbers.size
    for chunk in range(first_row, last_row, chunk_rows):
        count = min(chunk_rows, last_row - chunk)
        # The scores of the chunk's rows, their losses, and the gradient by them.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first_block, last_block = blocks_of_piece(piece, pieces, count)
            for block in range(first_block, last_block):
                start = block * BLOCK_ROWS
                stop = min(start + BLOCK_ROWS, count)
                block_losses(
                    X, features, y, sample_weights, chunk, start, stop, count, weights, b, loss,
                    tile, sums, scratch, losses,
                )  # fmt: skip
            if is_last(team, phase, pieces):
                for k in range(b.size):
                    db[k] += sum_of_row(scratch.dscores, k, count)
                open_phase(team, phase + 1)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
        # The gradient by the features, in the dtype of the weights, and its sum in float64.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first = min(feature_blocks * piece // pieces * BLOCK_VECTORS, vectors)
            last = min(feature_blocks * (piece + 1) // pieces * BLOCK_VECTORS, vectors)
            if first < last:
                batch_update(
                    X, features.shift, scratch.numbers, zero, count, zero, scratch.factors, tile,
                    panel, scratch.gradient, first, last,
                )  # fmt: skip
                add_chunk(scratch.gradient, gradient, tile, vectors, first, last)
            finish_piece(team, phase, pieces)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
    wait_for(team, phase)
