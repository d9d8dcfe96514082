"""Losses and predictions over a data set: threads divide the rows, block by block.

Scratch is allocated before threads start: an exception in one of them would be lost, and with it
its rows.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.jit import inline_kernel, parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded, predict_classes
from fastlin.kernels.tiles import batch_scores, scratch_sums

BLOCK_ROWS = 128  # a whole number of the widest vectors


@inline_kernel
def number_rows(order, start, stop):
    """Write the row numbers from start on to the first elements of order."""
    for i in range(stop - start):
        order[i] = start + i


@parallel_kernel
def evaluate_rows(
    X, shift, y, weights, b, scale, loss, tile, pieces, losses, predictions
):  # fmt: skip
    """Write every row's loss (without penalty) and predicted class, for M classifiers in one pass.

    X (n, d) rows as stored; shift (d,) of X's dtype, or () for none; y (n,) int64; weights (M,
    packed size); b (M, K); scale: features are scale * (X - shift); loss a named tuple of
    `fastlin.kernels.losses`; tile a `class_tile`; pieces: in how many parts threads share the
    blocks of rows; losses (M, n) of the dtype of b and predictions (M, n) int64, overwritten.
    """
    n = X.shape[0]
    M, K = b.shape
    blocks = (n + BLOCK_ROWS - 1) // BLOCK_ROWS
    sums = scratch_sums(pieces, tile, b)
    orders = np.zeros((pieces, BLOCK_ROWS), np.int64)
    all_scores = np.zeros((pieces, K, BLOCK_ROWS), b.dtype)
    all_labels = np.zeros((pieces, 1, BLOCK_ROWS), b.dtype)
    all_values = np.zeros((pieces, 1, BLOCK_ROWS), b.dtype)
    for member in prange(pieces):
        piece = np.int64(member)
        order = orders[piece]
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            start = block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, n)
            width = padded(stop - start, b)
            scores = all_scores[piece, :, :width]
            labels, row_values = all_labels[piece, :, :width], all_values[piece, :, :width]
            number_rows(order, start, stop)
            for i in range(stop - start):
                labels[0, i] = y[start + i]
            for m in range(M):
                batch_scores(
                    X, shift, order, np.int64(0), stop - start, weights[m], b[m], scale, tile,
                    sums[piece], scores,
                )  # fmt: skip
                predict_classes(scores, row_values)
                for i in range(stop - start):
                    predictions[m, start + i] = np.int64(row_values[0, i])
                loss_gradient(loss, scores, labels, row_values)
                for i in range(stop - start):
                    losses[m, start + i] = row_values[0, i]


@parallel_kernel
def score_rows(X, shift, weights, b, scale, tile, pieces, scores):
    """Write the scores of every row, class by class.

    X (n, d) rows as stored; weights packed; b (K,); shift, scale, tile and pieces as in
    `evaluate_rows`; scores (K, n in whole vectors) of the dtype of b, overwritten.
    """
    n = X.shape[0]
    blocks = (n + BLOCK_ROWS - 1) // BLOCK_ROWS
    sums, orders = scratch_sums(pieces, tile, b), np.zeros((pieces, BLOCK_ROWS), np.int64)
    for member in prange(pieces):
        piece = np.int64(member)
        order = orders[piece]
        for block in range(blocks * piece // pieces, blocks * (piece + 1) // pieces):
            start = block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, n)
            number_rows(order, start, stop)
            batch_scores(
                X, shift, order, np.int64(0), stop - start, weights, b, scale, tile, sums[piece],
                scores[:, start:],
            )  # fmt: skip
