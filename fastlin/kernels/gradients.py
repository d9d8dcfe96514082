"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers.

Rows are summed in chunks in the dtype of the weights, and chunks in float64: the error does not
grow with the number of rows. Scratch is allocated before threads start: an exception in one of them
would be lost, and with it its part of the sums.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels import simd
from fastlin.kernels.evaluate import BLOCK_ROWS
from fastlin.kernels.jit import inline_kernel, parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded, sum_of_row
from fastlin.kernels.tiles import (
    batch_scores,
    batch_update,
    pack_factors,
    scratch_panels,
    scratch_sums,
    tile_count,
    vector_count,
)

CHUNK_ROWS = 2048  # a whole number of blocks of rows
BLOCK_VECTORS = 8  # a whole number of update tiles


@inline_kernel
def add_chunk(chunk, total, tile, vectors, first, last):
    """Add the vectors first to last of every class of chunk (packed) to total, and clear them."""
    size = len(tile) * simd.lanes(chunk)
    for start in range(0, chunk.size, vectors * size):
        for place in range(start + first * size, start + last * size):
            total[place] += chunk[place]
            chunk[place] = 0


@parallel_kernel
def loss_and_gradient(
    X, shift, y, weights, b, scale, loss, tile, pieces, losses, chunk_gradient, gradient, db
):  # fmt: skip
    """Write every row's loss, and the sums over rows of the gradients by scores and by features.

    X (n, d) rows as stored; y (n,) int64; weights, packed; b (K,); shift, scale, loss, tile and
    pieces as in `evaluate_rows`; losses (n,) of the dtype of b, overwritten; chunk_gradient, packed
    like weights, scratch, zero; gradient, packed like weights, float64, and db (K,) float64, both
    zero, to which sums are added.

    gradient = dscores^T (X - shift),  db = sum dscores.

    Threads divide rows while scoring and features while summing, so every sum has one order.
    """
    n, K, zero = X.shape[0], b.size, np.int64(0)
    vectors = vector_count(X.shape[1], b)
    feature_blocks = (vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS
    one = b.dtype.type(1)
    width = padded(min(n, CHUNK_ROWS), b)
    dscores = np.zeros((K, width), b.dtype)
    labels, row_losses = np.zeros((1, width), b.dtype), np.zeros((1, width), b.dtype)
    factors = np.zeros(tile_count(K, tile) * len(tile) * CHUNK_ROWS, b.dtype)
    sums, panels = scratch_sums(pieces, tile, b), scratch_panels(pieces, tile, b)
    for chunk in range(0, n, CHUNK_ROWS):
        order = np.arange(chunk, min(chunk + CHUNK_ROWS, n))
        count = np.int64(order.size)
        row_blocks = (count + BLOCK_ROWS - 1) // BLOCK_ROWS
        for member in prange(pieces):
            piece = np.int64(member)
            for block in range(row_blocks * piece // pieces, row_blocks * (piece + 1) // pieces):
                start = block * BLOCK_ROWS
                stop = min(start + BLOCK_ROWS, count)
                end = start + padded(stop - start, b)
                scores = dscores[:, start:end]
                batch_scores(
                    X, shift, order, start, stop, weights, b, scale, tile, sums[piece], scores
                )
                for i in range(start, stop):
                    labels[0, i] = y[order[i]]
                loss_gradient(loss, scores, labels[:, start:end], row_losses[:, start:end])
                for i in range(start, stop):
                    losses[order[i]] = row_losses[0, i]
                for k in range(K):
                    for i in range(stop, end):
                        dscores[k, i] = 0
                pack_factors(scores, start, stop, one, count, tile, factors)
        for member in prange(pieces):
            piece = np.int64(member)
            first = min(feature_blocks * piece // pieces * BLOCK_VECTORS, vectors)
            last = min(feature_blocks * (piece + 1) // pieces * BLOCK_VECTORS, vectors)
            if first < last:
                batch_update(
                    X, shift, order, zero, count, zero, factors, tile, panels[piece],
                    chunk_gradient, first, last,
                )  # fmt: skip
                add_chunk(chunk_gradient, gradient, tile, vectors, first, last)
        for k in range(K):
            db[k] += sum_of_row(dscores, k, count)
