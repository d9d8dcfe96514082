"""Losses and predictions over a data set, in parallel over blocks of rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import inline_kernel, parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded, predict_classes
from fastlin.kernels.tiles import aligned_zeros, batch_scores, packed_weights, sums_of_block

BLOCK_ROWS = 128


@inline_kernel
def evaluate_block(X, y, start, stop, packed, b, scale, loss, tile, losses, predictions):
    """Write the losses and predictions of rows start to stop."""
    K, width = b.size, padded(stop - start, b)
    scores = aligned_zeros(K * width, b).reshape(K, width)
    labels = np.zeros((1, width), b.dtype)
    row_values = np.zeros((1, width), b.dtype)
    order = np.arange(start, stop)
    sums = sums_of_block(tile, b)
    batch_scores(X, order, 0, stop - start, packed, b, scale, tile, sums, scores)
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
    packed = packed_weights(W, tile)
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        evaluate_block(X, y, start, stop, packed, b, scale, loss, tile, losses, predictions)


@parallel_kernel
def score_rows(X, W, b, scale, tile, scores):
    """Write the scores of every row, class by class.

    X (n, d) rows as stored; W (K, d); b (K,); scale and tile as in `sgd_epoch`; scores (K, n in
    whole vectors) of W's dtype, overwritten.
    """
    n = X.shape[0]
    packed = packed_weights(W, tile)
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        order = np.arange(start, stop)
        sums = sums_of_block(tile, b)
        batch_scores(X, order, 0, stop - start, packed, b, scale, tile, sums, scores[:, start:])
