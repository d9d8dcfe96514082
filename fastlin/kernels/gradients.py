"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers.

Rows are summed in chunks in the dtype of the weights, and chunks in float64: the error does not
grow with the number of rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.evaluate import BLOCK_ROWS, number_rows
from fastlin.kernels.jit import inline_kernel, kernel, pasted_kernel, small_code
from fastlin.kernels.losses import loss_gradient, sum_of_row, weigh_rows, weights_of_set
from fastlin.kernels.products import batch_scores, batch_update
from fastlin.kernels.team import finish_piece, is_last, next_piece, open_phase, wait_for
from fastlin.kernels.tiles import aligned_zeros, pack_factors, padded, size_of_factors, vector_count
from fastlin.kernels.views import columns

# Rows of a chunk, a whole number of blocks: a gradient of many classes is added to the sum once a
# chunk. Of fewer rows chunks are smaller, so that there are enough for all members.
_CHUNK_ROWS, _CHUNK_ROWS_OF_MANY_CLASSES, _MANY_CLASSES = 512, 2048, 256
_CHUNKS = 16

# Chunks whose gradients wait for their sum: so many for each member, if they take no more bytes. Of
# 1000 classes and 768 features 1, 2 and 4 take the same time, within 5 %.
_CHUNKS_OF_MEMBER, _BYTES_OF_CHUNKS = 4, 10_000_000
BLOCK_VECTORS = 8  # a whole number of update tiles


class ChunkSums(NamedTuple):
    """What members leave of the chunks of a round, until it is added up in their order.

    gradients (chunks, size), packed like the weights and of their dtype, and db (chunks, K)
    float64: zero between rounds.
    """

    gradients: np.ndarray
    db: np.ndarray


def new_factors(members: int, K: int, tile: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array for the factors of a block of rows, for each of so many members."""
    return np.zeros((members, size_of_factors(K, tile, BLOCK_ROWS)), dtype)


def rows_of_chunk(rows: int, K: int) -> int:
    """Return how many of some rows a chunk has."""
    most = _CHUNK_ROWS if K < _MANY_CLASSES else _CHUNK_ROWS_OF_MANY_CLASSES
    blocks = -(-rows // (_CHUNKS * BLOCK_ROWS))
    return min(most, max(1, blocks) * BLOCK_ROWS)


def new_sums(K: int, packed: np.ndarray, members: int) -> ChunkSums:
    """Return the arrays of a round for weights of K classes, packed."""
    of_member = min(_CHUNKS_OF_MEMBER, _BYTES_OF_CHUNKS // (members * packed.nbytes))
    chunks = max(1, of_member) * members
    return ChunkSums(aligned_zeros((chunks, packed.size), packed.dtype), np.zeros((chunks, K)))


@inline_kernel
def add_chunk(chunk, total, tile, vectors, first, last):
    """Add the vectors first to last of every class of chunk (packed) to total, and clear them."""
    size = len(tile) * simd.lanes(chunk)
    for start in range(0, chunk.size, vectors * size):
        # Slices, whose indices cannot be negative: these loops are vectorised.
        part = chunk[start + first * size : start + last * size]
        sums = total[start + first * size : start + last * size]
        for i in range(part.size):
            sums[i] += part[i]
            part[i] = 0


@pasted_kernel
def add_biases(chunks, total):
    """Add the rows of chunks (chunks, K) to total (K,), in their order, and clear them."""
    for chunk in range(len(chunks)):
        for k in range(total.size):
            total[k] += chunks[chunk, k]
            chunks[chunk, k] = 0


@pasted_kernel
def block_losses(
    X, features, y, sample_weights, order, first, count, weights, b, loss, tile, sums, scores,
    labels, row_losses, losses,
):  # fmt: skip
    """Write losses and dscores of the rows first to first + count, whose numbers go to `order`."""
    number_rows(order, first, first + count)
    scale = b.dtype.type(features.scale)
    batch_scores(X, features.shift, order, 0, count, weights, b, scale, tile, sums, scores)
    for i in range(count):
        labels[0, i] = y[first + i]
    K = b.size // len(losses)
    # Set of classes: a classifier of its own, whose rows have weights of their own.
    for s in range(len(losses)):
        own = scores[s * K : (s + 1) * K]
        loss_gradient(loss, own, labels, row_losses)
        of_set = weights_of_set(sample_weights, s, X.shape[0])
        weigh_rows(of_set, order, 0, count, own, labels, row_losses)
        for i in range(count):
            losses[s, first + i] = row_losses[0, i]
            labels[0, i] = y[first + i]
    for k in range(b.size):
        for i in range(count, scores.shape[1]):
            scores[k, i] = 0


@pasted_kernel
def add_rows(
    X, features, y, sample_weights, order, first, last, weights, b, loss, tile, sums, panel, scores,
    labels, row_losses, factors, losses, gradient, db,
):  # fmt: skip
    """Add the gradients of the rows first to last, packed, and by the biases (K,), to sums."""
    zero, vectors = np.int64(0), vector_count(X.shape[1], b)
    # Block of rows: they stay in the second-level cache.
    for start in range(first, last, BLOCK_ROWS):
        count = min(BLOCK_ROWS, last - start)
        width = padded(count, b)
        dscores = columns(scores, 0, width)
        block_losses(
            X, features, y, sample_weights, order, start, count, weights, b, loss, tile, sums,
            dscores, columns(labels, 0, width), columns(row_losses, 0, width), losses,
        )  # fmt: skip
        for k in range(b.size):
            db[k] += sum_of_row(dscores, k, count)
        pack_factors(dscores, zero, count, zero, count, b.dtype.type(1), tile, factors)
        batch_update(
            X, features.shift, order, zero, count, zero, factors, tile, panel, gradient, zero,
            vectors,
        )  # fmt: skip


@kernel
def loss_and_gradient(
    member, team, pieces, X, features, y, sample_weights, first_row, last_row, chunk_rows,
    weights, b, loss, tile, products, scratch, factors, chunks, losses, gradient, db,
):  # fmt: skip
    """Write rows' losses, and add up the gradients by scores and by features over the rows.

    As a member of a team, of the rows first_row to last_row: X (n, d) rows as stored; y (n,) int64;
    features a named tuple of `fastlin.kernels.features`; weights, packed, and b (K,): the scores of
    a row u are scale * W (u - shift) + b, with the scale and shift of features; sample_weights and
    loss named tuples of `fastlin.kernels.losses`; tile a `class_tile`; products of
    `products.new_scratch`, scratch of `evaluate.new_block_scratch`, factors of `new_factors`, and
    chunks of `new_sums`, one for each of `pieces`; losses (sets, n) of the dtype of b, overwritten;
    gradient, packed like weights, float64, and db (K,) float64, to which sums are added:

    gradient += dscores^T (u - shift),  db += sum dscores.

    The classes are those of one classifier or more, `sets` of K / sets classes each, one after
    another; sample weights are then those of all rows for the first set, for the second, and so on.

    A chunk is one member's: it reads a block of its rows from memory once, for the scores, and from
    the caches for the gradient. Then members divide the features, and add chunks in their order.
    """
    small_code()
    vectors = vector_count(X.shape[1], b)
    feature_blocks = (vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS
    phase = np.int64(0)
    for round_row in range(first_row, last_row, pieces * chunk_rows):
        # Chunk of rows: what it adds to the gradients.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first = round_row + piece * chunk_rows
            last = min(first + chunk_rows, last_row)
            add_rows(
                X, features, y, sample_weights, scratch.order[member], first, last, weights, b,
                loss, tile, products.sums[member], products.panels[member], scratch.scores[member],
                scratch.labels[member], scratch.losses[member], factors[member], losses,
                chunks.gradients[piece], chunks.db[piece],
            )  # fmt: skip
            finish_piece(team, phase, pieces)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
        # Block of features: the sum of all chunks, in their order, in float64.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first = min(feature_blocks * piece // pieces * BLOCK_VECTORS, vectors)
            last = min(feature_blocks * (piece + 1) // pieces * BLOCK_VECTORS, vectors)
            for chunk in range(pieces):
                if first < last:
                    add_chunk(chunks.gradients[chunk], gradient, tile, vectors, first, last)
            if is_last(team, phase, pieces):
                add_biases(chunks.db, db)
                open_phase(team, phase + 1)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
    wait_for(team, phase)
