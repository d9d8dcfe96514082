"""Mini-batch SGD: the fused step, and the epoch, which is one compiled call."""

from __future__ import annotations

import numpy as np

from fastlin.kernels.jit import inline_kernel, kernel
from fastlin.kernels.losses import loss_gradient, padded
from fastlin.kernels.tiles import batch_scores, batch_update


@inline_kernel
def _sgd_step(X, y, order, start, stop, W, b, scale, lr, l2, loss, tile, scores, labels, losses):
    """One step on rows order[start:stop]; W and b are updated in place, scores are scratch.

    W = (1 - 2 lr l2) W - (lr / B) dscores^T X,  b = b - (lr / B) sum dscores,  B = stop - start.
    No gradient array exists: the rank-B update goes straight into W.
    """
    K = W.shape[0]
    count = stop - start
    batch_scores(X, order, start, stop, W, b, scale, tile, scores)
    for i in range(count):
        labels[0, i] = y[order[start + i]]
    loss_gradient(loss, scores, labels, losses)
    rate = lr / count
    row_rate = -rate * scale
    for k in range(K):
        total = b.dtype.type(0)
        for i in range(count):
            total += scores[k, i]
            scores[k, i] *= row_rate
        b[k] -= rate * total
    decay = 1 - 2 * lr * l2
    batch_update(X, order, start, stop, scores, W.dtype.type(decay), tile, W)


@kernel
def sgd_epoch(X, y, order, W, b, scale, lr, l2, batch_size, loss, tile):
    """Take one SGD step per batch of `order`; W and b are updated in place.

    X (n, d) uint8, float32 or float64, C-contiguous; y (n,) int64 labels in [0, K); order (m,)
    int64 row numbers, taken batch_size at a time, the last batch perhaps short; W (K, d) and
    b (K,) float32 or float64, C-contiguous; scale: features are scale * X; lr the learning rate;
    l2 the factor of sum(W**2); loss a named tuple of `fastlin.kernels.losses`; tile a `class_tile`.

    Returns the mean loss (without penalty) of the rows as the epoch met them, float64.
    """
    K = W.shape[0]
    width = padded(min(batch_size, order.size), W)
    scores = np.zeros((K, width), W.dtype)
    labels = np.zeros((1, width), W.dtype)
    losses = np.zeros((1, width), W.dtype)
    total = 0.0
    for start in range(0, order.size, batch_size):
        stop = min(start + batch_size, order.size)
        _sgd_step(X, y, order, start, stop, W, b, scale, lr, l2, loss, tile, scores, labels, losses)
        for i in range(stop - start):
            total += losses[0, i]
    return total / order.size
