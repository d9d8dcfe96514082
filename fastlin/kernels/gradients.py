"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded
from fastlin.kernels.tiles import (
    aligned_zeros,
    batch_scores,
    batch_update,
    pack_factors,
    packed_weights,
    sums_of_block,
    tile_count,
    unpack,
    vector_count,
)

CHUNK_ROWS = 4096
BLOCK_ROWS = 128
BLOCK_VECTORS = 8


@parallel_kernel
def loss_and_gradient(X, y, W, b, scale, l2, loss, tile, losses, dW, db):
    """Write every row's loss, and the gradient of mean loss + l2 * sum(W**2).

    X (n, d) rows as stored; y (n,) int64; W (K, d); b (K,); scale, loss and tile as in
    `sgd_epoch`; losses (n,) and dW (K, d), db (K,) of W's dtype, overwritten.

    dW = (scale / n) dscores^T X + 2 l2 W,  db = (1 / n) sum dscores.

    Threads divide rows while scoring and features while summing, so every sum has one order.
    """
    n = X.shape[0]
    K, d = W.shape
    one = W.dtype.type(1)
    row_factor = W.dtype.type(scale / n)
    penalty_factor = W.dtype.type(2 * l2)
    packed = packed_weights(W, tile)
    gradient = aligned_zeros(packed.size, W)
    dscores = np.zeros((K, padded(min(n, CHUNK_ROWS), W)), W.dtype)
    factors = np.zeros(tile_count(K, tile) * len(tile) * CHUNK_ROWS, W.dtype)
    vectors = vector_count(d, W)
    db[:] = 0
    for chunk in range(0, n, CHUNK_ROWS):
        chunk_stop = min(chunk + CHUNK_ROWS, n)
        order = np.arange(chunk, chunk_stop)
        for block in prange((chunk_stop - chunk + BLOCK_ROWS - 1) // BLOCK_ROWS):
            start = np.int64(block) * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, order.size)
            width = padded(stop - start, W)
            labels = np.zeros((1, width), W.dtype)
            row_losses = np.zeros((1, width), W.dtype)
            scores = dscores[:, start : start + width]
            sums = sums_of_block(tile, W)
            batch_scores(X, order, start, stop, packed, b, scale, tile, sums, scores)
            for i in range(stop - start):
                labels[0, i] = y[order[start + i]]
            loss_gradient(loss, scores, labels, row_losses)
            for i in range(stop - start):
                losses[order[start + i]] = row_losses[0, i]
            pack_factors(scores, start, stop, row_factor, order.size, tile, factors)
        for block in prange((vectors + BLOCK_VECTORS - 1) // BLOCK_VECTORS):
            first = np.int64(block) * BLOCK_VECTORS
            last = min(first + BLOCK_VECTORS, vectors)
            batch_update(
                X, order, 0, 0, order.size, order.size, factors, one, tile, gradient, first, last
            )
        for k in prange(K):
            for i in range(order.size):
                db[k] += dscores[k, i]
    unpack(gradient, tile, dW)
    for k in prange(K):
        for j in range(d):
            dW[k, j] += penalty_factor * W[k, j]
        db[k] /= n
