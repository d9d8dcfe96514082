"""Losses and predictions over a data set, in parallel over blocks of rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import inline_kernel, parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded, predict_classes
from fastlin.kernels.tiles import batch_scores

BLOCK_ROWS = 128


@inline_kernel
def _evaluate_block(X, y, start, stop, W, b, scale, loss, tile, losses, predictions):
    K = W.shape[0]
    width = padded(stop - start, W)
    scores = np.zeros((K, width), W.dtype)
    labels = np.zeros((1, width), W.dtype)
    row_values = np.zeros((1, width), W.dtype)
    order = np.arange(start, stop)
    batch_scores(X, order, 0, stop - start, W, b, scale, tile, scores)
    predict_classes(scores, row_values)
    for i in range(stop - start):
        predictions[start + i] = np.int64(row_values[0, i])
        labels[0, i] = y[start + i]
    loss_gradient(loss, scores, labels, row_values)
    for i in range(stop - start):
        losses[start + i] = row_values[0, i]


@parallel_kernel
def evaluate_rows(X, y, W, b, scale, loss, tile, losses, predictions):
    """Write the loss (without penalty) and the predicted class of every row.

    X (n, d) rows as stored; y (n,) int64; W (K, d); b (K,); scale, loss and tile as in
    `sgd_epoch`; losses (n,) of W's dtype and predictions (n,) int64, overwritten.
    """
    n = X.shape[0]
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        _evaluate_block(X, y, start, stop, W, b, scale, loss, tile, losses, predictions)


@parallel_kernel
def score_rows(X, W, b, scale, tile, scores):
    """Write the scores of every row, class by class.

    X (n, d) rows as stored; W (K, d); b (K,); scale and tile as in `sgd_epoch`; scores (K, n)
    of W's dtype, overwritten.
    """
    n = X.shape[0]
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        order = np.arange(start, stop)
        batch_scores(X, order, 0, stop - start, W, b, scale, tile, scores[:, start:stop])
