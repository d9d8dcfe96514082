"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded
from fastlin.kernels.tiles import (
    batch_scores,
    batch_update,
    pack_factors,
    panel_of_rows,
    sums_of_block,
    tile_count,
    vector_count,
)

CHUNK_ROWS = 4096
BLOCK_ROWS = 128
BLOCK_VECTORS = 8


@parallel_kernel
def loss_and_gradient(X, y, weights, b, scale, loss, tile, losses, gradient, db):
    """Write every row's loss, and the gradient of their mean.

    X (n, d) rows as stored; y (n,) int64; weights, packed; b (K,); scale, loss and tile as in
    `evaluate_rows`; losses (n,) of the dtype of b, overwritten, as are db (K,) and the gradient by
    the weights, packed, which must be zero.

    dW = (scale / n) dscores^T X,  db = (1 / n) sum dscores.

    Threads divide rows while scoring and features while summing, so every sum has one order.
    """
    n, K, zero = X.shape[0], b.size, np.int64(0)
    vectors = vector_count(X.shape[1], b)
    one = b.dtype.type(1)
    row_factor = b.dtype.type(scale / n)
    dscores = np.zeros((K, padded(min(n, CHUNK_ROWS), b)), b.dtype)
    factors = np.zeros(tile_count(K, tile) * len(tile) * CHUNK_ROWS, b.dtype)
    for k in range(K):
        db[k] = 0
    for chunk in range(0, n, CHUNK_ROWS):
        order = np.arange(chunk, min(chunk + CHUNK_ROWS, n))
        count = np.int64(order.size)
        for block in prange((count + BLOCK_ROWS - 1) // BLOCK_ROWS):
            start = np.int64(block) * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, count)
            width = padded(stop - start, b)
            labels = np.zeros((1, width), b.dtype)
            row_losses = np.zeros((1, width), b.dtype)
            scores = dscores[:, start : start + width]
            sums = sums_of_block(tile, b)
            batch_scores(X, order, start, stop, weights, b, scale, tile, sums, scores)
            for i in range(stop - start):
                labels[0, i] = y[order[start + i]]
            loss_gradient(loss, scores, labels, row_losses)
            for i in range(stop - start):
                losses[order[start + i]] = row_losses[0, i]
            pack_factors(scores, start, stop, row_factor, count, tile, factors)
        for block in prange((vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS):
            first = np.int64(block) * BLOCK_VECTORS
            last = min(first + BLOCK_VECTORS, vectors)
            panel = panel_of_rows(tile, b)
            batch_update(
                X, order, zero, count, zero, factors, one, tile, panel, gradient, first, last
            )
        for k in range(K):
            total = b.dtype.type(0)
            for i in range(count):
                total += dscores[k, i]
            db[k] += total / n
