"""The kernels as checked functions: arrays in, arrays out, bad input refused in one line.

Everything here validates in Python, allocates what the kernel writes, and calls it. Features are
the rows themselves for float32 and float64, and pixel / 255 for uint8, which is never converted
in memory. All arithmetic is in the dtype of W (or of the scores). The NumPy twin of each function
is in `fastlin.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fastlin.config import Loss
from fastlin.data.dataset import ROW_DTYPES, check_labels, feature_scale
from fastlin.errors import InputError
from fastlin.kernels import evaluate as evaluate_kernels
from fastlin.kernels import gradients, losses, sgd
from fastlin.kernels.features import Scaled
from fastlin.kernels.optimizers import Momentum, Nesterov, Plain
from fastlin.kernels.tiles import class_tile

Array = NDArray[Any]
WEIGHT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

# Multiply-adds below which a step gains nothing from one thread more: two launches cost as much
# as it saves. See benchmarks/break_even.py.
LEAST_WORK_OF_A_PIECE = 250_000

_KERNEL_LOSSES: dict[Loss, NamedTuple] = {
    Loss.SOFTMAX: losses.Softmax(),
    Loss.HINGE: losses.Hinge(),
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well W and b do on a data set.

    Attributes
    ----------
    cost : mean loss + l2 * sum(W**2).
    accuracy : fraction of rows whose largest score is at their label, in [0, 1].
    losses : (n,) of W's dtype, without the penalty.
    predictions : (n,) int64, the class of the largest score, the first of equals.
    """

    cost: float
    accuracy: float
    losses: Array
    predictions: NDArray[np.int64]


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Run the body's kernels on `count` threads (None: all there are); yields the number.

    Raises
    ------
    InputError
        If count is below 1 or above the number of threads Numba was started with.
    """
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if count is not None and not 1 <= count <= available:
        raise InputError(f"threads is {count}; this process can use 1 to {available}")
    before = numba.get_num_threads()
    numba.set_num_threads(count or available)
    try:
        yield numba.get_num_threads()
    finally:
        numba.set_num_threads(before)


def scores(X: Array, W: Array, b: Array) -> Array:
    """Return the scores X W^T + b, (n, K) of W's dtype.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    W : (K, d) float32 or float64, K at least 2.
    b : (K,) of W's dtype.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    X, W, b = _check_problem(X, W, b)
    by_class = np.empty((len(W), losses.padded_length(len(X), W.dtype)), W.dtype)
    evaluate_kernels.score_rows(X, W, b, _scale(X, W), class_tile(len(W)), by_class)
    return by_class[:, : len(X)].T


def softmax(scores: Array) -> Array:
    """Return softmax probabilities, (n, K), of scores (n, K) float32 or float64.

    Raises
    ------
    InputError
        If the scores are not a finite two-dimensional array of those dtypes.
    """
    scores = _check_scores(scores)
    nobody = np.full(len(scores), -1)  # the gradient of a label that matches no class
    return _row_loss(losses.Softmax(), scores, nobody)[1]


def cross_entropy(scores: Array, y: Array) -> tuple[Array, Array]:
    """Return softmax cross-entropy losses (n,) and their gradient dscores (n, K).

    Parameters
    ----------
    scores : (n, K) float32 or float64, left as they are.
    y : (n,) integer labels in [0, K).

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    scores = _check_scores(scores)
    return _row_loss(losses.Softmax(), scores, check_labels(y, len(scores), scores.shape[1]))


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
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin is {margin}; it must be a finite number, 0 or above")
    scores = _check_scores(scores)
    y = check_labels(y, len(scores), scores.shape[1])
    return _row_loss(losses.Hinge(float(margin)), scores, y)


def loss_and_gradient(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss = Loss.SOFTMAX, l2: float = 0.0
) -> tuple[float, Array, Array]:
    """Return the cost over all rows and its gradients dW (K, d) and db (K,).

    The cost is mean loss + l2 * sum(W**2).

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    y : (n,) integer labels in [0, K).
    W : (K, d) float32 or float64; b : (K,) of the same dtype.
    loss : softmax or hinge.
    l2 : factor of the penalty, finite and at least 0.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    l2 = _check_number("l2", l2)
    row_losses = np.empty(len(X), W.dtype)
    dW, db = np.empty_like(W), np.empty_like(b)
    gradients.loss_and_gradient(
        X, y, W, b, _scale(X, W), l2, kernel_loss(loss), class_tile(len(W)), row_losses, dW, db
    )
    return cost(row_losses, W, l2), dW, db


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
    loss: Loss = Loss.SOFTMAX,
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
    loss : softmax or hinge.
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
    lr, l2 = _check_number("lr", lr), _check_number("l2", l2)
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
        _check_finite(name, array)
    return unchecked_sgd_epoch(
        X, y, order, W, b, lr=lr, batch_size=batch_size, l2=l2, loss=loss,
        optimizer=kernel_optimizer(momentum, nesterov, velocity),
    )  # fmt: skip


def unchecked_sgd_epoch(
    X: Array,
    y: Array,
    order: Array,
    W: Array,
    b: Array,
    *,
    lr: float,
    batch_size: int,
    l2: float,
    loss: Loss,
    optimizer: NamedTuple | None = None,
    features: NamedTuple | None = None,
) -> float:
    """Do `sgd_epoch` without looking at the arrays, for a caller that has checked them once.

    Parameters
    ----------
    optimizer : of `kernel_optimizer`; None for SGD without momentum.
    features : of `fastlin.kernels.features`, which says what W holds; None for rows as they are.
    """
    tile = class_tile(len(W))
    problem = (
        X, y, order, W, b, features or Scaled(_scale(X, W)), lr, l2, batch_size,
        kernel_loss(loss), optimizer or Plain(), tile,
    )  # fmt: skip
    pieces = pieces_of_step(min(batch_size, len(order)), len(W), X.shape[1])
    mean_loss: float = sgd.sgd_epoch(*problem, None if pieces == 1 else pieces)
    return mean_loss


def pieces_of_step(batch_size: int, class_count: int, feature_count: int) -> int:
    """Return how many threads share a step; the result of the step does not depend on it."""
    work = batch_size * class_count * feature_count
    return min(numba.get_num_threads(), max(1, work // LEAST_WORK_OF_A_PIECE))


def kernel_optimizer(
    momentum: float, nesterov: bool, velocity: tuple[Array, Array] | None
) -> NamedTuple:
    """Return the named tuple by which kernels know an optimizer; they update `velocity`."""
    if velocity is None:
        return Plain()
    return (Nesterov if nesterov else Momentum)(momentum, *velocity)


def evaluate(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss = Loss.SOFTMAX, l2: float = 0.0
) -> Evaluation:
    """Return cost, accuracy, losses and predictions of W and b on labelled rows.

    Parameters are those of `loss_and_gradient`, and so are the errors.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    return unchecked_evaluate(X, y, W, b, loss=loss, l2=_check_number("l2", l2))


def unchecked_evaluate(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss, l2: float
) -> Evaluation:
    """Do `evaluate` without looking at the arrays, for a caller that has checked them once."""
    row_losses = np.empty(len(X), W.dtype)
    predictions = np.empty(len(X), np.int64)
    evaluate_kernels.evaluate_rows(
        X, y, W, b, _scale(X, W), kernel_loss(loss), class_tile(len(W)), row_losses, predictions
    )
    accuracy = float(np.count_nonzero(predictions == y) / len(y))
    return Evaluation(cost(row_losses, W, l2), accuracy, row_losses, predictions)


def confusion_counts(
    y: NDArray[np.int64], predictions: NDArray[np.int64], class_count: int
) -> NDArray[np.int64]:
    """Return how many rows of class i were predicted as j, (K, K) int64, from checked labels."""
    cells = np.bincount(y * class_count + predictions, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


def cost(row_losses: Array, W: Array, l2: float) -> float:
    """Return mean loss + l2 * sum(W**2), summed in float64."""
    penalty = l2 * float(np.square(W, dtype=np.float64).sum())
    return float(row_losses.mean(dtype=np.float64)) + penalty


def kernel_loss(loss: Loss) -> NamedTuple:
    """Return the named tuple by which kernels know a loss."""
    return _KERNEL_LOSSES[loss]


def _row_loss(loss: NamedTuple, scores: Array, y: Array) -> tuple[Array, Array]:
    n, K = scores.shape
    width = losses.padded_length(n, scores.dtype)
    by_class = np.zeros((K, width), scores.dtype)
    by_class[:, :n] = scores.T
    labels = np.zeros((1, width), scores.dtype)
    labels[0, :n] = y
    row_losses = np.empty((1, width), scores.dtype)
    losses.batch_loss(loss, by_class, labels, row_losses)
    return row_losses[0, :n], by_class[:, :n].T


def _scale(X: Array, W: Array) -> Any:
    return W.dtype.type(feature_scale(X.dtype))


def _check_number(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value}; it must be a finite number, 0 or above")
    return float(value)


def _check_in_place(name: str, array: Array) -> None:
    is_array = isinstance(array, np.ndarray)
    if not (is_array and array.flags.c_contiguous and array.flags.writeable):
        raise InputError(f"{name} is updated in place; it must be a writable C-contiguous array")


def _check_finite(name: str, array: Array) -> None:
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        raise InputError(f"{name} has a NaN or infinite value; every value must be finite")


def _check_scores(scores: Array) -> Array:
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise InputError(
            f"scores have shape {scores.shape}; they must be (rows, at least 2 classes)"
        )
    if scores.dtype not in WEIGHT_DTYPES:
        raise InputError(f"scores have dtype {scores.dtype}; it must be float32 or float64")
    _check_finite("scores", scores)
    return scores


def _check_problem(X: Array, W: Array, b: Array) -> tuple[Array, Array, Array]:
    X, W, b = np.asarray(X), np.asarray(W), np.asarray(b)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X has shape {X.shape}; it must be (rows, features), both at least 1")
    if X.dtype not in ROW_DTYPES:
        raise InputError(f"X has dtype {X.dtype}; it must be uint8, float32 or float64")
    if W.ndim != 2 or W.shape[0] < 2 or W.shape[1] != X.shape[1]:
        raise InputError(
            f"W has shape {W.shape}; it must be (at least 2 classes, {X.shape[1]} features)"
        )
    if W.dtype not in WEIGHT_DTYPES:
        raise InputError(f"W has dtype {W.dtype}; it must be float32 or float64")
    if b.shape != (len(W),) or b.dtype != W.dtype:
        raise InputError(f"b is {b.dtype} {b.shape}; with this W it must be {W.dtype} ({len(W)},)")
    for name, array in (("X", X), ("W", W), ("b", b)):
        _check_finite(name, array)
    return np.ascontiguousarray(X), np.ascontiguousarray(W), np.ascontiguousarray(b)
