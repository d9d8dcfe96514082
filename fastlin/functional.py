"""The kernels as checked functions: arrays in, arrays out, bad input refused in one line.

Features are the rows themselves for float32 and float64, and pixel / 255 for uint8, which is never
converted in memory. All arithmetic is in the dtype of W (or of the scores). The NumPy twin of each
function is in `fastlin.reference`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin import engine, passes
from fastlin.data.checks import (
    as_array,
    as_rows,
    check_labels,
    check_values,
    feature_scale,
)
from fastlin.engine import Array
from fastlin.errors import InputError, quoted
from fastlin.losses import Hinge, Loss, Softmax, SquaredHinge
from fastlin.metrics import confusion_counts
from fastlin.model import Evaluation, weight_penalty
from fastlin.threads import use_threads

__all__ = [
    "Evaluation", "confusion_counts", "cross_entropy", "evaluate", "feature_moments",
    "loss_and_gradient", "multiclass_hinge", "scores", "sgd_epoch", "softmax", "squared_hinge",
    "use_threads",
]  # fmt: skip

# Sums of squares below this one lose digits, as float64 holds no smaller squares in full.
_LEAST_SQUARE, _ROWS_OF_BLOCK = 1e-290, 2**16

WEIGHT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def scores(
    X: Array, W: Array, b: Array, *, offset: NDArray[np.float64] | None = None, first_row: int = 0
) -> Array:
    """Return the scores (X - offset) W^T + b, (n, K) of W's dtype.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    W : (K, d) float32 or float64, K at least 2.
    b : (K,) of W's dtype.
    offset : (d,) float64, what is subtracted from rows before they lose digits; None for nothing.
    first_row : the number of the first row, for messages: not 0 in a block of a larger array.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit, or a score is beyond W's dtype.
    """
    X, W, b = _check_problem(X, W, b, first_row)
    result = passes.unchecked_scores(X, W, b, _check_offset(offset, X))
    if not _all_finite(result):
        row, k = next(iter(np.argwhere(~np.isfinite(result)).tolist()))
        raise InputError(
            f"the score of row {first_row + row} for class {k} is not a finite {W.dtype} number"
        )
    return result


def softmax(scores: Array) -> Array:
    """Return softmax probabilities, (n, K), of scores (n, K) float32 or float64.

    Raises
    ------
    InputError
        If the scores are not a finite two-dimensional array of those dtypes.
    """
    scores = _check_scores(scores)
    nobody = np.full(len(scores), -1)  # the gradient of a label that matches no class
    return passes.row_losses_and_gradient(Loss.SOFTMAX, scores, nobody)[1]


def cross_entropy(scores: Array, y: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """Return softmax cross-entropy losses (n,) and their gradient dscores (n, K).

    Parameters
    ----------
    scores : (n, K) float32 or float64, left as they are.
    y : (n,) integer labels in [0, K).
    smoothing : share of the target that all classes get alike, in [0, 1).

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    return _row_losses(Softmax(smoothing), scores, y)


def multiclass_hinge(scores: Array, y: Array, margin: float = 1.0) -> tuple[Array, Array]:
    """Return multiclass hinge losses (n,) and their gradient dscores (n, K).

    Parameters
    ----------
    scores : (n, K) float32 or float64, left as they are.
    y : (n,) integer labels in [0, K).
    margin : by which the true class must lead, finite and at least 0.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    return _row_losses(Hinge(margin), scores, y)


def squared_hinge(scores: Array, y: Array, margin: float = 1.0) -> tuple[Array, Array]:
    """Return squared multiclass hinge losses (n,) and their gradient dscores (n, K).

    Parameters
    ----------
    scores : (n, K) float32 or float64, left as they are.
    y : (n,) integer labels in [0, K).
    margin : by which the true class must lead, finite and at least 0.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    return _row_losses(SquaredHinge(margin), scores, y)


def loss_and_gradient(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss | str = Loss.SOFTMAX,
    l2: float = 0.0,
    offset: NDArray[np.float64] | None = None,
) -> tuple[float, Array, Array]:
    """Return the cost over all rows and its gradients dW (K, d) and db (K,).

    The cost is mean loss + l2 * sum(W**2).

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    y : (n,) integer labels in [0, K).
    W : (K, d) float32 or float64; b : (K,) of the same dtype.
    loss : a record of `fastlin.losses`, or its text, such as "hinge".
    l2 : factor of the penalty, finite and at least 0.
    offset : (d,) float64, what is subtracted from rows before they lose digits; None for nothing.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    l2, loss = _check_number("l2", l2, W.dtype), _check_loss(loss, W.dtype)
    return passes.unchecked_loss_and_gradient(
        X, y, W, b, loss=loss, l2=l2, offset=_check_offset(offset, X)
    )


def sgd_epoch(
    X: Array,
    y: Array,
    order: Array,
    W: Array,
    b: Array,
    *,
    lr: float,
    batch_size: int,
    l2: float = 0.0,
    loss: Loss | str = Loss.SOFTMAX,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: tuple[Array, Array] | None = None,
) -> float:
    """Take one SGD step per batch of rows, updating W and b in place.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    y : (n,) integer labels in [0, K).
    order : (m,) integers in [0, n), m at least 1: the rows, batch after batch.
    W : (K, d) float32 or float64, C-contiguous and writable; b : (K,) likewise, same dtype.
    lr : learning rate, finite and at least 0.
    batch_size : rows per step, at least 1; the last batch may be short.
    l2 : factor of the penalty l2 * sum(W**2), finite and at least 0.
    loss : a record of `fastlin.losses`, or its text, such as "hinge".
    momentum : in [0, 1); see `fastlin.kernels.optimizers` for its two forms.
    nesterov : whether momentum is Nesterov's.
    velocity : with momentum, arrays like W and b, zero before the first epoch; updated in place.

    Returns
    -------
    float
        The mean loss (without penalty) of the rows as the epoch met them.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    _check_in_place("W", W)
    _check_in_place("b", b)
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    order = np.asarray(order)
    if order.ndim != 1 or order.size == 0 or not np.issubdtype(order.dtype, np.integer):
        raise InputError("order must be a one-dimensional array of row numbers, not empty")
    if order.min() < 0 or order.max() >= len(X):
        raise InputError(f"order has a row number outside 0 to {len(X) - 1}")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    order = np.ascontiguousarray(order, dtype=np.int64)
    lr, l2 = _check_number("lr", lr, W.dtype), _check_number("l2", l2, W.dtype)
    loss = _check_loss(loss, W.dtype)
    if not 0 <= momentum < 1:
        raise InputError(f"momentum is {momentum}; it must be 0 or above and below 1")
    if (velocity is None) == (momentum > 0):
        raise InputError("momentum needs a velocity, and a velocity needs momentum")
    for name, array, like in zip(
        ("velocity W", "velocity b"), velocity or (), (W, b), strict=False
    ):
        _check_in_place(name, array)
        if array.shape != like.shape or array.dtype != like.dtype:
            raise InputError(f"{name} is {array.dtype} {array.shape}; it must be like that of W, b")
        check_values(name, array)
    return engine.unchecked_sgd_epoch(
        X, y, order, W, b, lr=lr, batch_size=batch_size, l2=l2, loss=loss, momentum=momentum,
        nesterov=nesterov, velocity=velocity,
    )  # fmt: skip


def evaluate(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss | str = Loss.SOFTMAX,
    l2: float = 0.0,
    offset: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Return cost, accuracy, losses and predictions of W and b on labelled rows.

    Parameters are those of `loss_and_gradient`, and so are the errors.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    penalty, loss = weight_penalty(W, _check_number("l2", l2)), _check_loss(loss, W.dtype)
    return passes.unchecked_evaluate(
        X, y, W, b, loss=loss, penalty=penalty, offset=_check_offset(offset, X)
    )


def feature_moments(X: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of every feature, (d,) float64 each.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64; a feature is pixel / 255 for uint8.

    Raises
    ------
    InputError
        If the shape, the dtype or a value does not fit.
    """
    X = check_rows(X)
    mean = passes.mean_of_columns(X, np.zeros(X.shape[1]), 1)
    variance = passes.mean_of_columns(X, mean, 2)
    wrong = np.flatnonzero(~np.isfinite(mean))
    if len(wrong):
        raise InputError(f"the sum of feature {wrong[0]} over the rows is beyond float64")
    std = np.sqrt(variance)
    if X.dtype == np.float64:  # float64 holds the squares of all other numbers
        for j in np.flatnonzero(~((variance > _LEAST_SQUARE) & (variance < np.inf))).tolist():
            std[j] = _std_of_largest(X[:, j], float(mean[j]))
    scale = feature_scale(X.dtype)
    return mean * scale, std * scale


def _std_of_largest(column: Array, mean: float) -> float:
    """Return the standard deviation of numbers whose squares float64 cannot hold."""
    largest = max(float(column.max()) - mean, mean - float(column.min()))
    if largest == 0:
        return 0.0
    blocks = np.array_split(column, -(-len(column) // _ROWS_OF_BLOCK))
    sums = [np.square((block.astype(np.float64) - mean) / largest).sum() for block in blocks]
    return largest * math.sqrt(math.fsum(sums) / len(column))


def _all_finite(values: Array) -> bool:
    """Return whether every value is finite, without a table of as many truth values."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.min(initial=0)) and np.isfinite(values.max(initial=0)))


def _row_losses(loss: Loss, scores: Array, y: Array) -> tuple[Array, Array]:
    scores = _check_scores(scores)
    loss = _check_loss(loss, scores.dtype)
    y = check_labels(y, len(scores), scores.shape[1])
    return passes.row_losses_and_gradient(loss, scores, y)


def _check_loss(loss: Loss | str, dtype: DTypeLike) -> Loss:
    """Return a loss whose parameters a dtype can hold. Raises InputError if it is none."""
    checked = Loss.of(loss)
    for name, value in checked.parameters().items():
        _check_number(name, value, dtype)
    return checked


def _check_offset(offset: NDArray[np.float64] | None, X: Array) -> NDArray[np.float64] | None:
    if offset is None:
        return None
    offset = np.asarray(offset, np.float64)
    if offset.shape != X.shape[1:] or not np.isfinite(offset).all():
        raise InputError(f"offset has shape {offset.shape}; it must be {X.shape[1:]}, all finite")
    return offset


def _check_number(name: str, value: Any, dtype: DTypeLike = np.float64) -> float:
    """Return a number from 0 to the largest that a dtype holds. Raises InputError if it is none."""
    largest = float(np.finfo(dtype).max)
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):  # no number, or an integer of 400 digits
        number = math.nan
    if not 0 <= number <= largest:
        raise InputError(
            f"{name} is {quoted(value)}; it must be a number from 0 to {largest:.2g}, which is "
            f"the largest that {np.dtype(dtype)} holds"
        )
    return number


def _check_in_place(name: str, array: Array) -> None:
    is_array = isinstance(array, np.ndarray)
    if not (is_array and array.flags.c_contiguous and array.flags.writeable):
        raise InputError(f"{name} is updated in place; it must be a writable C-contiguous array")


def _check_scores(scores: Array) -> Array:
    scores = as_array("scores", scores)
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise InputError(
            f"scores have shape {scores.shape}; they must be (rows, at least 2 classes)"
        )
    if scores.dtype not in WEIGHT_DTYPES:
        raise InputError(f"scores have dtype {scores.dtype!s:.60}; it must be float32 or float64")
    check_values("scores", scores)
    return scores


def _check_problem(X: Array, W: Array, b: Array, first_row: int = 0) -> tuple[Array, Array, Array]:
    X, W, b = as_rows(X), as_array("W", W), as_array("b", b)
    if W.ndim != 2 or W.shape[0] < 2 or W.shape[1] != X.shape[1]:
        raise InputError(
            f"W has shape {W.shape}; it must be (at least 2 classes, {X.shape[1]} features)"
        )
    if W.dtype not in WEIGHT_DTYPES:
        raise InputError(f"W has dtype {W.dtype!s:.60}; it must be float32 or float64")
    if b.shape != (len(W),) or b.dtype != W.dtype:
        raise InputError(
            f"b is {b.dtype!s:.60} {b.shape}; with this W it must be {W.dtype} ({len(W)},)"
        )
    check_values("X", X, W.dtype, first_row)
    check_values("W", W)
    check_values("b", b)
    return np.ascontiguousarray(X), np.ascontiguousarray(W), np.ascontiguousarray(b)


def check_rows(X: Array) -> Array:
    """Return rows as a C-contiguous array. Raises InputError if they do not fit."""
    X = as_rows(X)
    check_values("X", X)
    return np.ascontiguousarray(X)
