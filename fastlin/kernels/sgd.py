"""Mini-batch SGD: the fused step, and the epoch, which is one compiled call.

A step has two phases. Forward divides the rows of the batch, backward the columns of W; within a
phase no output depends on another, so threads may share it, and every sum keeps its one order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fastlin.kernels.features import (
    refresh_row_weights,
    row_offsets,
    row_scale,
    row_weights,
    subtract_mean,
)
from fastlin.kernels.jit import inline_kernel, kernel, parallel_kernel
from fastlin.kernels.losses import loss_gradient, padded
from fastlin.kernels.optimizers import (
    accumulator,
    accumulator_decay,
    finish,
    gradient_factor,
    prepare,
    step_bias,
)
from fastlin.kernels.simd import lanes
from fastlin.kernels.tiles import batch_scores, batch_update


@inline_kernel
def share(piece, pieces, count, like):
    """Return (first, last) of a piece of range(count); bounds are whole vectors but for the end."""
    step = lanes(like)
    vectors = (count + step - 1) // step
    return (
        min(vectors * piece // pieces * step, count),
        min(vectors * (piece + 1) // pieces * step, count),
    )


@inline_kernel
def _forward(X, y, order, start, stop, U, b, features, loss, tile, offsets, scores, labels, losses):
    """Write losses and dscores of rows order[start:stop], a piece that begins at column 0."""
    row_offsets(features, U, b, tile, offsets)
    batch_scores(X, order, start, stop, U, offsets, row_scale(features, U), tile, scores)
    for i in range(stop - start):
        labels[0, i] = y[order[start + i]]
    width = padded(stop - start, scores)
    loss_gradient(loss, scores[:, :width], labels[:, :width], losses[:, :width])


@inline_kernel
def _backward(
    X, order, start, stop, W, U, features, optimizer, lr, l2, tile, dscores, dscore_sums,
    first, last,
):  # fmt: skip
    """Take the step on columns first to last of W."""
    target = accumulator(optimizer, W)
    factor = gradient_factor(optimizer, lr) / (stop - start)
    row_factor = W.dtype.type(factor * row_scale(features, W))
    decay = W.dtype.type(accumulator_decay(optimizer, lr, l2))
    prepare(optimizer, W, lr, l2, first, last)
    batch_update(X, order, start, stop, dscores, row_factor, decay, tile, target, first, last)
    subtract_mean(features, target, row_factor, dscore_sums, first, last)
    finish(optimizer, W, lr, first, last)
    refresh_row_weights(features, W, U, first, last)


@inline_kernel
def _sum_rows(dscores, count, sums):
    for k in range(sums.size):
        total = sums.dtype.type(0)
        for i in range(count):
            total += dscores[k, i]
        sums[k] = total


@inline_kernel
def _step_bias(optimizer, b, dscore_sums, count, lr, gradient):
    for k in range(b.size):
        gradient[k] = dscore_sums[k] / count
    step_bias(optimizer, b, gradient, lr)


@kernel
def sgd_epoch(X, y, order, W, b, features, lr, l2, batch_size, loss, optimizer, tile):
    """Take one SGD step per batch of `order`; W and b are updated in place.

    X (n, d) uint8, float32 or float64, C-contiguous; y (n,) int64 labels in [0, K); order (m,)
    int64 row numbers, taken batch_size at a time, the last batch perhaps short; W (K, d) and
    b (K,) float32 or float64, C-contiguous; features a named tuple of `fastlin.kernels.features`,
    which says what W holds; lr the learning rate; l2 the factor of sum(W**2); loss and optimizer
    named tuples of `fastlin.kernels.losses` and `.optimizers`; tile a `class_tile`.

    Returns the mean loss (without penalty) of the rows as the epoch met them, float64.
    """
    K, d = W.shape
    width = padded(min(batch_size, order.size), W)
    scores = np.zeros((K, width), W.dtype)
    labels = np.zeros((1, width), W.dtype)
    losses = np.zeros((1, width), W.dtype)
    offsets, dscore_sums, gradient = np.empty_like(b), np.empty_like(b), np.empty_like(b)
    U = row_weights(features, W)
    refresh_row_weights(features, W, U, 0, d)
    total = 0.0
    for start in range(0, order.size, batch_size):
        stop = min(start + batch_size, order.size)
        _forward(
            X, y, order, start, stop, U, b, features, loss, tile, offsets, scores, labels, losses
        )
        _sum_rows(scores, stop - start, dscore_sums)
        _backward(
            X, order, start, stop, W, U, features, optimizer, lr, l2, tile, scores, dscore_sums,
            0, d,
        )  # fmt: skip
        _step_bias(optimizer, b, dscore_sums, stop - start, lr, gradient)
        for i in range(stop - start):
            total += losses[0, i]
    return total / order.size


@parallel_kernel
def sgd_epoch_parallel(
    X, y, order, W, b, features, lr, l2, batch_size, loss, optimizer, tile, pieces
):
    """Do `sgd_epoch`, to the bit, with every phase divided into `pieces`, one a thread."""
    K, d = W.shape
    width = padded(min(batch_size, order.size), W)
    scores = np.zeros((K, width), W.dtype)
    labels = np.zeros((1, width), W.dtype)
    losses = np.zeros((1, width), W.dtype)
    offsets = np.empty((pieces, K), W.dtype)
    dscore_sums, gradient = np.empty_like(b), np.empty_like(b)
    U = row_weights(features, W)
    refresh_row_weights(features, W, U, 0, d)
    total = 0.0
    for start in range(0, order.size, batch_size):
        count = min(batch_size, order.size - start)
        for piece in prange(pieces):
            first, last = share(np.int64(piece), pieces, count, W)
            if first < last:
                _forward(
                    X, y, order, start + first, start + last, U, b, features, loss, tile,
                    offsets[piece], scores[:, first:], labels[:, first:], losses[:, first:],
                )  # fmt: skip
        _sum_rows(scores, count, dscore_sums)
        for piece in prange(pieces):
            first, last = share(np.int64(piece), pieces, d, W)
            if first < last:
                _backward(
                    X, order, start, start + count, W, U, features, optimizer, lr, l2, tile,
                    scores, dscore_sums, first, last,
                )  # fmt: skip
        _step_bias(optimizer, b, dscore_sums, count, lr, gradient)
        for i in range(count):
            total += losses[0, i]
    return total / order.size
