"""Full-batch loss and gradient, for gradient checks, histograms and batch solvers."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded
from fastlin.kernels.tiles import batch_scores, batch_update

CHUNK_ROWS = 4096
BLOCK_ROWS = 128


@parallel_kernel
def loss_and_gradient(X, y, W, b, scale, l2, loss, tile, losses, dW, db):
    """Write every row's loss, and the gradient of mean loss + l2 * sum(W**2).

    X (n, d) rows as stored; y (n,) int64; W (K, d); b (K,); scale, loss and tile as in
    `sgd_epoch`; losses (n,) and dW (K, d), db (K,) of W's dtype, overwritten.

    dW = (scale / n) dscores^T X + 2 l2 W,  db = (1 / n) sum dscores.

    Threads divide rows while scoring and classes while summing, so every sum has one order.
    """
    n = X.shape[0]
    K, d = W.shape
    tile_classes = len(tile)
    one = W.dtype.type(1)
    row_factor = W.dtype.type(scale / n)
    penalty_factor = W.dtype.type(2 * l2)
    dscores = np.zeros((K, padded(min(n, CHUNK_ROWS), W)), W.dtype)
    dW[:] = 0
    db[:] = 0
    for chunk in range(0, n, CHUNK_ROWS):
        chunk_stop = min(chunk + CHUNK_ROWS, n)
        order = np.arange(chunk, chunk_stop)
        for block in prange((chunk_stop - chunk + BLOCK_ROWS - 1) // BLOCK_ROWS):
            start = np.int64(block) * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, order.size)
            width = padded(stop - start, W)
            scores = np.zeros((K, width), W.dtype)
            labels = np.zeros((1, width), W.dtype)
            row_losses = np.zeros((1, width), W.dtype)
            batch_scores(X, order, start, stop, W, b, scale, tile, scores)
            for i in range(stop - start):
                labels[0, i] = y[order[start + i]]
            loss_gradient(loss, scores, labels, row_losses)
            for i in range(stop - start):
                losses[order[start + i]] = row_losses[0, i]
            dscores[:, start:stop] = scores[:, : stop - start]
        for group in prange((K + tile_classes - 1) // tile_classes):
            k = np.int64(group) * tile_classes
            k_stop = min(k + tile_classes, K)
            block_dscores = dscores[k:k_stop]
            batch_update(
                X, order, 0, order.size, block_dscores, row_factor, one, tile, dW[k:k_stop], 0, d
            )
            for i in range(k, k_stop):
                for j in range(order.size):
                    db[i] += dscores[i, j]
    for i in prange(K):
        for j in range(d):
            dW[i, j] += penalty_factor * W[i, j]
        db[i] /= n
