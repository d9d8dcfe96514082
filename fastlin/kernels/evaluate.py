"""Losses and predictions over a data set, in parallel over blocks of rows."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded, predict_classes
from fastlin.kernels.tiles import batch_scores, sums_of_block

BLOCK_ROWS = 128


@parallel_kernel
def evaluate_rows(X, y, weights, b, scale, loss, tile, losses, predictions):
    """Write every row's loss (without penalty) and predicted class, for M classifiers in one pass.

    X (n, d) rows as stored; y (n,) int64; weights (M, packed size); b (M, K); scale: features are
    scale * X; loss a named tuple of `fastlin.kernels.losses`; tile a `class_tile`; losses (M, n) of
    the dtype of b and predictions (M, n) int64, overwritten.
    """
    n = X.shape[0]
    M, K = b.shape
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        width = padded(stop - start, b)
        scores = np.zeros((K, width), b.dtype)
        labels = np.zeros((1, width), b.dtype)
        row_values = np.zeros((1, width), b.dtype)
        order = np.arange(start, stop)
        sums = sums_of_block(tile, b)
        for m in range(M):
            batch_scores(
                X, order, np.int64(0), stop - start, weights[m], b[m], scale, tile, sums, scores
            )
            predict_classes(scores, row_values)
            for i in range(stop - start):
                predictions[m, start + i] = np.int64(row_values[0, i])
                labels[0, i] = y[start + i]
            loss_gradient(loss, scores, labels, row_values)
            for i in range(stop - start):
                losses[m, start + i] = row_values[0, i]


@parallel_kernel
def score_rows(X, weights, b, scale, tile, scores):
    """Write the scores of every row, class by class.

    X (n, d) rows as stored; weights packed; b (K,); scale and tile as in `evaluate_rows`; scores
    (K, n in whole vectors) of the dtype of b, overwritten.
    """
    n = X.shape[0]
    for block in prange((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
        start = np.int64(block) * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, n)
        order = np.arange(start, stop)
        sums = sums_of_block(tile, b)
        batch_scores(
            X, order, np.int64(0), stop - start, weights, b, scale, tile, sums, scores[:, start:]
        )
