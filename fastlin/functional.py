"""The kernels as checked functions: arrays in, arrays out, bad input refused in one line.

Rows X are uint8, float16, bfloat16 (of the package ml_dtypes), float32 or float64, and never
converted in memory; they may stay in files. A feature is `scale` times the stored value: where it
is not given, 1/255 for uint8, as of pixels, and 1 for others. With `offset` and `std`, (d,) float64
of the features, W and b are those of (feature - offset) / std. All arithmetic is in the dtype of W
(or of the scores). The NumPy twin of each function is in `fastlin.reference`.
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
    check_weights,
    of_mean_one,
    scale_of,
)
from fastlin.data.stored import AnyRows, contiguous, in_memory
from fastlin.engine import Array
from fastlin.errors import InputError, quoted
from fastlin.losses import Hinge, Loss, Softmax, SquaredHinge
from fastlin.metrics import Evaluation, confusion_counts
from fastlin.model import weight_penalty
from fastlin.moments import unchecked_moments
from fastlin.passes import Reading
from fastlin.threads import use_threads

__all__ = [
    "Evaluation", "confusion_counts", "cross_entropy", "evaluate", "feature_moments",
    "loss_and_gradient", "multiclass_hinge", "scores", "sgd_epoch", "softmax", "squared_hinge",
    "use_threads",
]  # fmt: skip

WEIGHT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
Vector = NDArray[np.float64]


def scores(
    X: AnyRows,
    W: Array,
    b: Array,
    *,
    offset: Vector | None = None,
    std: Vector | None = None,
    scale: float | None = None,
    first_row: int = 0,
) -> Array:
    """Return the scores W x + b of the features x, (n, K) of W's dtype.

    Parameters
    ----------
    X : (n, d) rows as stored.
    W : (K, d) float32 or float64, K at least 2; b : (K,) of W's dtype.
    offset, std, scale : how rows become features; see the module.
    first_row : the number of the first row, for messages: not 0 in a block of a larger array.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit, or a score is beyond W's dtype.
    """
    X, W, b = _check_problem(X, W, b, first_row)
    result = passes.unchecked_scores(X, W, b, _check_reading(X, scale, offset, std))
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

    Errors are those of `cross_entropy`.
    """
    return _row_losses(Hinge(margin), scores, y)


def squared_hinge(scores: Array, y: Array, margin: float = 1.0) -> tuple[Array, Array]:
    """Return squared multiclass hinge losses (n,) and their gradient dscores (n, K).

    Parameters and errors are those of `multiclass_hinge`.
    """
    return _row_losses(SquaredHinge(margin), scores, y)


def loss_and_gradient(
    X: AnyRows,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss | str = Loss.SOFTMAX,
    l2: float = 0.0,
    offset: Vector | None = None,
    std: Vector | None = None,
    scale: float | None = None,
    weights: Vector | None = None,
) -> tuple[float, Array, Array]:
    """Return the cost over all rows and its gradients dW (K, d) and db (K,).

    The cost is mean loss + l2 * sum(W**2), the mean weighted if there are weights.

    Parameters
    ----------
    X : (n, d) rows as stored.
    y : (n,) integer labels in [0, K).
    W : (K, d) float32 or float64; b : (K,) of the same dtype.
    loss : a record of `fastlin.losses`, or its text, such as "hinge".
    l2 : factor of the penalty, finite and at least 0.
    offset, std, scale : how rows become features; see the module.
    weights : (n,) how much each row counts, finite and at least 0; only their ratios matter.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    l2, loss = _check_number("l2", l2, W.dtype), _check_loss(loss, W.dtype)
    return passes.unchecked_loss_and_gradient(
        X, y, W, b, loss=loss, l2=l2, reading=_check_reading(X, scale, offset, std),
        weights=_check_weights(weights, len(X)),
    )  # fmt: skip


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
    scale: float | None = None,
    weights: Vector | None = None,
) -> float:
    """Take one SGD step per batch of rows, updating W and b in place.

    Parameters
    ----------
    X, y, W, b, l2, loss, scale, weights : as in `loss_and_gradient`; W and b are C-contiguous and
        writable.
    order : (m,) integers in [0, n), m at least 1: the rows, batch after batch.
    lr : learning rate, finite and at least 0; batch_size : rows per step, at least 1.
    momentum : in [0, 1); see `fastlin.kernels.optimizers` for its two forms.
    nesterov : whether it is Nesterov's.
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
    rows, W, b = _check_problem(X, W, b)
    X = in_memory(rows)
    y, order = check_labels(y, len(X), len(W)), _check_order(order, len(X))
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    lr, l2 = _check_number("lr", lr, W.dtype), _check_number("l2", l2, W.dtype)
    loss, scale = _check_loss(loss, W.dtype), scale_of(scale, X.dtype)
    _check_momentum(momentum, velocity, W, b)
    return engine.unchecked_sgd_epoch(
        X, y, order, W, b, lr=lr, batch_size=batch_size, l2=l2, loss=loss, momentum=momentum,
        nesterov=nesterov, velocity=velocity, scale=scale,
        weights=_check_weights(weights, len(X)),
    )  # fmt: skip


def _check_order(order: Array, row_count: int) -> NDArray[np.int64]:
    order = as_array("order", order)
    if order.ndim != 1 or order.size == 0 or not np.issubdtype(order.dtype, np.integer):
        raise InputError("order must be a one-dimensional array of row numbers, not empty")
    if order.min() < 0 or order.max() >= row_count:
        raise InputError(f"order has a row number outside 0 to {row_count - 1}")
    return np.ascontiguousarray(order, dtype=np.int64)


def _check_momentum(
    momentum: float, velocity: tuple[Array, Array] | None, W: Array, b: Array
) -> None:
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


def evaluate(
    X: AnyRows,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss | str = Loss.SOFTMAX,
    l2: float = 0.0,
    offset: Vector | None = None,
    std: Vector | None = None,
    scale: float | None = None,
    weights: Vector | None = None,
) -> Evaluation:
    """Return cost, accuracy, losses and predictions of W and b on labelled rows.

    Parameters and errors are those of `loss_and_gradient`. Weights count in the cost alone.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    penalty, loss = weight_penalty(W, _check_number("l2", l2)), _check_loss(loss, W.dtype)
    return passes.unchecked_evaluate(
        X, y, W, b, loss=loss, penalty=penalty, reading=_check_reading(X, scale, offset, std),
        weights=_check_weights(weights, len(X)),
    )  # fmt: skip


def feature_moments(X: AnyRows, scale: float | None = None) -> tuple[Vector, Vector]:
    """Return the mean and the standard deviation of every feature, (d,) float64 each.

    Parameters
    ----------
    X : (n, d) rows as stored.
    scale : what a value is multiplied by; see the module.

    Raises
    ------
    InputError
        If the shape, the dtype or a value does not fit.
    """
    X = check_rows(X)
    scale = scale_of(scale, X.dtype)
    mean, std = unchecked_moments(X)
    wrong = np.flatnonzero(~np.isfinite(mean))
    if len(wrong):
        raise InputError(f"the sum of feature {wrong[0]} over the rows is beyond float64")
    return mean * scale, std * scale


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


def _check_reading(
    X: AnyRows, scale: float | None, offset: Vector | None, std: Vector | None
) -> Reading:
    checked = {}
    for name, values in (("offset", offset), ("std", std)):
        if values is None:
            continue
        array = checked[name] = np.asarray(as_array(name, values), np.float64)
        if array.shape != X.shape[1:] or not np.isfinite(array).all():
            raise InputError(f"{name} has shape {array.shape}, not {X.shape[1:]}, all finite")
    if std is not None and not (checked["std"] > 0).all():
        raise InputError("std has a value that is not above 0")
    return Reading(scale_of(scale, X.dtype), checked.get("offset"), checked.get("std"))


def _check_weights(weights: Vector | None, row_count: int) -> Vector | None:
    """Return weights of mean 1."""
    return None if weights is None else of_mean_one(check_weights(weights, row_count))


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
            f"scores have shape {scores.shape}; they must be (rows, 2 or more classes)"
        )
    if scores.dtype not in WEIGHT_DTYPES:
        raise InputError(f"scores have dtype {scores.dtype!s:.60}; it must be float32 or float64")
    check_values("scores", scores)
    return scores


def _check_problem(X: AnyRows, W: Any, b: Any, first_row: int = 0) -> tuple[AnyRows, Array, Array]:
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
    return contiguous(X), np.ascontiguousarray(W), np.ascontiguousarray(b)


def check_rows(X: AnyRows) -> AnyRows:
    """Return rows as a C-contiguous array, or in files. Raises InputError if they do not fit."""
    X = as_rows(X)
    check_values("X", X)
    return contiguous(X)
