"""The NumPy twin of every kernel: vectorised, plain, and independent of the kernels.

Tests and benchmarks hold the kernels against these functions, so nothing here may import them.
They take scores as (n, K), one row a sample, and compute products in the dtype of W, float32 or
float64. Weights that a penalty shrinks are kept in float64 between steps: a factor of 1 - 2e-8 is 1
in float32.

`scale` turns stored values into features. `weights` (n,), of mean 1, say how much each row counts;
None for all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.losses import Loss

Array = NDArray[Any]


def scores(X: Array, W: Array, b: Array, scale: float = 1.0) -> Array:
    """Return scale * X W^T + b, (n, K), for X (n, d), W (K, d), b (K,)."""
    result: Array = X.astype(W.dtype, copy=False) @ W.T
    if scale != 1:
        result *= W.dtype.type(scale)
    result += b
    return result


def softmax(scores: Array) -> Array:
    """Return exp(s_ij) / sum_j exp(s_ij), (n, K), computed after subtracting each row's maximum."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs: Array = powers / powers.sum(axis=1, keepdims=True)
    return probs


def softmax_cross_entropy(scores: Array, y: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """Return losses (n,) and dscores (n, K) of softmax cross-entropy; y (n,) labels.

    l_i = log sum_j exp(s_ij - m_i) - (s_iy - m_i) with m_i = max_j s_ij,
    dscores_i = softmax(s_i) - onehot(y_i). With smoothing, onehot(y_i) becomes the target
    (1 - smoothing) onehot(y_i) + smoothing / K, and s_iy the mean of s_i under it.
    """
    rows = np.arange(len(y))
    shifted = scores - scores.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    totals = powers.sum(axis=1)
    losses = np.log(totals) - shifted[rows, y]
    dscores = powers
    dscores /= totals[:, None]
    dscores[rows, y] -= 1
    if smoothing:
        losses += smoothing * (shifted[rows, y] - shifted.mean(axis=1))
        dscores[rows, y] += smoothing
        dscores -= smoothing / scores.shape[1]
    return losses, dscores


def multiclass_hinge(scores: Array, y: Array, margin: float = 1.0) -> tuple[Array, Array]:
    """Return losses (n,) and dscores (n, K) of the Weston-Watkins hinge loss; y (n,) labels.

    l_i = sum over j != y_i of max(0, s_ij - s_iy + margin); dscores_ij = 1 where that is above 0,
    dscores_iy = minus their number.
    """
    rows = np.arange(len(y))
    terms = scores - scores[rows, y][:, None] + scores.dtype.type(margin)
    np.maximum(terms, 0, out=terms)
    terms[rows, y] = 0
    dscores = (terms > 0).astype(scores.dtype)
    dscores[rows, y] = -dscores.sum(axis=1)
    return terms.sum(axis=1), dscores


def squared_hinge(scores: Array, y: Array, margin: float = 1.0) -> tuple[Array, Array]:
    """Return losses (n,) and dscores (n, K) of the squared hinge loss; y (n,) labels.

    l_i = sum over j != y_i of h_ij**2, h_ij = max(0, s_ij - s_iy + margin); dscores_ij = 2 h_ij,
    dscores_iy = minus their sum.
    """
    rows = np.arange(len(y))
    terms = np.maximum(scores - scores[rows, y][:, None] + scores.dtype.type(margin), 0)
    terms[rows, y] = 0
    dscores = 2 * terms
    dscores[rows, y] = -dscores.sum(axis=1)
    return np.square(terms).sum(axis=1), dscores


# The twin of a loss, by the name of its record in `fastlin.losses`; parameters by keyword.
LOSSES: dict[str, Callable[..., tuple[Array, Array]]] = {
    "softmax": softmax_cross_entropy,
    "hinge": multiclass_hinge,
    "squared-hinge": squared_hinge,
}


def row_losses(
    scores: Array, y: Array, loss: Loss, weights: Array | None = None
) -> tuple[Array, Array]:
    """Return losses (n,) and dscores (n, K), weighted, of scores (n, K) and labels y (n,)."""
    losses, dscores = LOSSES[loss.name](scores, y, **loss.parameters())
    if weights is not None:
        losses *= weights
        dscores *= weights[:, None].astype(dscores.dtype)
    return losses, dscores


def penalty(W: Array, l2: float) -> float:
    """Return l2 * sum(W**2), summed in float64."""
    return l2 * float(np.square(W, dtype=np.float64).sum())


def loss_and_gradient(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    l2: float,
    loss: Loss,
    scale: float = 1.0,
    weights: Array | None = None,
) -> tuple[float, Array, Array]:
    """Return the cost, mean loss + l2 * sum(W**2), and its gradients dW (K, d) and db (K,)."""
    losses, dscores = row_losses(scores(X, W, b, scale), y, loss, weights)
    dW = dscores.T @ X.astype(W.dtype, copy=False)
    dW *= W.dtype.type(scale / len(y))
    dW += W.dtype.type(2 * l2) * W
    return float(losses.mean(dtype=np.float64)) + penalty(W, l2), dW, dscores.mean(axis=0)


def sgd_epoch(
    X: Array,
    y: Array,
    order: Array,
    W: Array,
    b: Array,
    lr: float,
    l2: float,
    batch_size: int,
    loss: Loss,
    scale: float = 1.0,
    weights: Array | None = None,
) -> float:
    """Take one SGD step per batch of `order`, updating W and b in place.

    W = (1 - 2 lr l2) W - (lr / B) dscores^T X, b = b - (lr / B) sum dscores. Returns the mean loss
    of the rows as the epoch met them.
    """
    total = 0.0
    exact = W.astype(np.float64) if l2 else W
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        X_batch = X[rows].astype(W.dtype, copy=False)
        of_batch = None if weights is None else weights[rows]
        losses, dscores = row_losses(scores(X_batch, W, b, scale), y[rows], loss, of_batch)
        total += float(losses.sum(dtype=np.float64))
        rate = lr / len(rows)
        dscores *= W.dtype.type(rate)
        b -= dscores.sum(axis=0)
        if scale != 1:
            dscores *= W.dtype.type(scale)
        if l2:
            exact *= 1 - 2 * lr * l2
        exact -= dscores.T @ X_batch
        if l2:
            W[:] = exact
    return total / len(order)


def momentum_epoch(
    X: Array,
    y: Array,
    order: Array,
    W: Array,
    b: Array,
    velocity: tuple[Array, Array],
    lr: float,
    l2: float,
    batch_size: int,
    loss: Loss,
    momentum: float,
    *,
    nesterov: bool = False,
    scale: float = 1.0,
    weights: Array | None = None,
) -> float:
    """Do `sgd_epoch` with momentum, updating the velocity, arrays like W and b, in place too.

    With g the gradient of the batch's cost: v = momentum v + g, then W = W - lr v (Polyak 1964)
    or, for Nesterov's form, W = W - lr (g + momentum v) (Sutskever et al. 2013).
    """
    total = 0.0
    exact = [array.astype(np.float64) for array in (W, b, *velocity)]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        of_batch = None if weights is None else weights[rows]
        mean_loss, dW, db = loss_and_gradient(X[rows], y[rows], W, b, 0.0, loss, scale, of_batch)
        total += mean_loss * len(rows)
        gradients = dW + 2 * l2 * exact[0], db.astype(np.float64)
        for trained, v, gradient in zip(exact[:2], exact[2:], gradients, strict=True):
            v *= momentum
            v += gradient
            trained -= lr * (gradient + momentum * v if nesterov else v)
        W[:], b[:] = exact[:2]
    velocity[0][:], velocity[1][:] = exact[2:]
    return total / len(order)


def evaluate(
    X: Array, y: Array, W: Array, b: Array, loss: Loss, scale: float = 1.0
) -> tuple[Array, Array]:
    """Return the loss (n,) and the predicted class (n,) of every row, the first of equal scores."""
    all_scores = scores(X, W, b, scale)
    losses, _ = row_losses(all_scores, y, loss)
    return losses, all_scores.argmax(axis=1)
