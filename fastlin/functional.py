"""The kernels as checked functions: arrays in, arrays out, bad input refused in one line.

Everything here validates in Python, allocates what the kernel writes, and calls it. Features are
the rows themselves for float32 and float64, and pixel / 255 for uint8, which is never converted
in memory. All arithmetic is in the dtype of W (or of the scores). The NumPy twin of each function
is in `fastlin.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin.config import Loss
from fastlin.data.dataset import (
    as_array,
    as_rows,
    check_labels,
    check_values,
    feature_scale,
)
from fastlin.errors import InputError, quoted
from fastlin.kernels import evaluate as evaluate_kernels
from fastlin.kernels import gradients, grid, losses, sgd
from fastlin.kernels.features import Scaled, Standardized, column_moments, weights_of_rows
from fastlin.kernels.optimizers import Momentum, Nesterov, Plain
from fastlin.kernels.tiles import aligned_zeros, class_tile, pack, unpack
from fastlin.results import weight_penalty

Array = NDArray[Any]
WEIGHT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

# Multiply-adds below which a step gains nothing from one thread more: meeting twice, and fetching
# what the other wrote, costs as much as it saves. See benchmarks/break_even.py.
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
    tile = class_tile(len(W))
    evaluate_kernels.score_rows(X, pack(W, tile), b, _scale(X, W), tile, by_class)
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
    l2 = _check_number("l2", l2, W.dtype)
    tile, row_losses = class_tile(len(W)), np.empty(len(X), W.dtype)
    db = np.empty_like(b)
    packed = pack(W, tile)
    gradient = aligned_zeros(packed.shape, W.dtype)
    gradients.loss_and_gradient(
        X, y, packed, b, _scale(X, W), kernel_loss(loss), tile, row_losses, gradient, db
    )
    dW = unpack(gradient, tile, W.shape) + W.dtype.type(2 * l2) * W
    return float(row_losses.mean(dtype=np.float64)) + weight_penalty(W, l2), dW, db


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
    lr, l2 = _check_number("lr", lr, W.dtype), _check_number("l2", l2, W.dtype)
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
    return unchecked_sgd_epoch(
        X, y, order, W, b, lr=lr, batch_size=batch_size, l2=l2, loss=loss, momentum=momentum,
        nesterov=nesterov, velocity=velocity,
    )  # fmt: skip


def unchecked_sgd_epoch(
    X: Array,
    y: Array,
    order: NDArray[np.int64],
    W: Array,
    b: Array,
    *,
    lr: float,
    batch_size: int,
    l2: float,
    loss: Loss,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: tuple[Array, Array] | None = None,
) -> float:
    """Do `sgd_epoch` without looking at the arrays, for a caller that has checked them once."""
    epoch = EntryEpoch(0, order, lr, l2, batch_size, momentum)
    if velocity is not None:
        velocity = velocity[0][None], velocity[1][None]
    mean_losses = unchecked_sgd_epochs(
        X, y, W[None], b[None], [epoch], loss=loss, velocity=velocity, nesterov=nesterov,
        pieces=pieces_of_step(min(batch_size, len(order)), *W.shape),
    )  # fmt: skip
    return float(mean_losses[0])


class EntryEpoch(NamedTuple):
    """An epoch of one of many classifiers.

    Attributes
    ----------
    entry : which one.
    order : (m,) int64 row numbers, C-contiguous.
    lr, l2, batch_size, momentum : as in `sgd_epoch`.
    """

    entry: int
    order: NDArray[np.int64]
    lr: float
    l2: float
    batch_size: int
    momentum: float


def unchecked_sgd_epochs(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    epochs: Sequence[EntryEpoch],
    *,
    loss: Loss,
    features: Scaled | Standardized | None = None,
    velocity: tuple[Array, Array] | None = None,
    nesterov: bool = False,
    pieces: int = 1,
) -> NDArray[np.float64]:
    """Do `sgd_epoch` for some of many classifiers, for a caller that has checked the arrays.

    Parameters
    ----------
    X, y : as in `sgd_epoch`.
    W : (M, K, d), b : (M, K); velocity : arrays like them, or None without momentum; those of the
        entries are updated in place.
    epochs : of different entries. Neighbours with one order and batch size share their batches,
        and every thread takes an equal part of them all.
    loss, nesterov : of all entries.
    features : of `kernel_features`, which says what W holds; None for rows as they are.
    pieces : if above 1, entries are trained one after another instead, and as many threads share
        every step.

    Returns
    -------
    (m,) float64, the mean loss of each entry's rows as its epoch met them.
    """
    features = features or kernel_features(X.dtype, W.dtype)
    chosen = [epoch.entry for epoch in epochs]
    tile, shape = class_tile(W.shape[1]), W.shape[1:]
    weights, bias = pack(W[chosen], tile), b[chosen]
    row_weights = weights_of_rows(features, weights)
    optimizer: Plain | Momentum | Nesterov = Plain()
    if velocity is not None:
        momentum = np.array([epoch.momentum for epoch in epochs])
        packed_velocity = pack(velocity[0][chosen], tile), velocity[1][chosen]
        optimizer = (Nesterov if nesterov else Momentum)(momentum, *packed_velocity)
    state = weights, row_weights, bias, features, optimizer, kernel_loss(loss), tile
    if pieces > 1:
        mean_losses = _shared_epochs(X, y, epochs, pieces, *state)
    elif len(epochs) == 1:
        mean_losses = _single_epoch(X, y, epochs[0], *state)
    else:
        mean_losses = _grid_epoch(X, y, epochs, *state)
    W[chosen], b[chosen] = unpack(weights, tile, shape), bias
    if velocity is not None and not isinstance(optimizer, Plain):
        velocity[0][chosen] = unpack(optimizer.velocity_W, tile, shape)
        velocity[1][chosen] = optimizer.velocity_b
    return mean_losses


def _shared_epochs(
    X: Array, y: Array, epochs: Sequence[EntryEpoch], pieces: int, weights: Array,
    row_weights: Array, bias: Array, features: NamedTuple, optimizer: NamedTuple,
    loss: NamedTuple, tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train entries one after another, every step shared by threads."""
    mean_losses = np.empty(len(epochs))
    for e, epoch in enumerate(epochs):
        largest = min(epoch.batch_size, len(epoch.order))
        model = sgd.new_classifier(
            weights[e], row_weights[e], bias[e], features, X.shape[1], largest, tile
        )
        own = type(optimizer)(*(array[e] for array in optimizer))
        mean_losses[e] = sgd.shared_epoch(
            X, y, epoch.order, model, features, float(epoch.lr), float(epoch.l2), epoch.batch_size,
            loss, own, tile, pieces,
        )  # fmt: skip
    return mean_losses


def _single_epoch(
    X: Array, y: Array, epoch: EntryEpoch, weights: Array, row_weights: Array, bias: Array,
    features: NamedTuple, optimizer: NamedTuple, loss: NamedTuple, tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train one entry on one thread."""
    mean_losses = np.empty(1)
    grid.group_epoch(
        X, y, epoch.order, 0, 1, weights, row_weights, bias, features, optimizer,
        np.array([float(epoch.lr)]), np.array([float(epoch.l2)]), epoch.batch_size, loss, tile,
        mean_losses,
    )  # fmt: skip
    return mean_losses


def _grid_epoch(
    X: Array, y: Array, epochs: Sequence[EntryEpoch], weights: Array, row_weights: Array,
    bias: Array, features: NamedTuple, optimizer: NamedTuple, loss: NamedTuple,
    tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train entries together, every thread its part of them."""
    distinct = {id(epoch.order): epoch.order for epoch in epochs}
    lengths = [0, *(len(order) for order in distinct.values())]
    firsts = dict(zip(distinct, np.cumsum(lengths).tolist(), strict=False))
    order_firsts = np.array([firsts[id(epoch.order)] for epoch in epochs])
    order_lasts = order_firsts + np.array([len(epoch.order) for epoch in epochs])
    parts = min(numba.get_num_threads(), len(epochs))
    mean_losses = np.empty(len(epochs))
    grid.grid_epoch(
        X, y, np.concatenate(list(distinct.values())), order_firsts, order_lasts,
        np.arange(parts + 1) * len(epochs) // parts, weights, row_weights, bias, features,
        optimizer, np.array([float(epoch.lr) for epoch in epochs]),
        np.array([float(epoch.l2) for epoch in epochs]),
        np.array([epoch.batch_size for epoch in epochs], np.int64), loss, tile, mean_losses,
    )  # fmt: skip
    return mean_losses


def _evaluation(
    y: Array, row_losses: Array, predictions: NDArray[np.int64], penalty: float
) -> Evaluation:
    accuracy = float(np.count_nonzero(predictions == y) / len(y))
    cost = float(row_losses.mean(dtype=np.float64)) + penalty
    return Evaluation(cost, accuracy, row_losses, predictions)


def pieces_of_step(batch_size: int, class_count: int, feature_count: int) -> int:
    """Return how many threads share a step; the result of the step does not depend on it."""
    work = batch_size * class_count * feature_count
    return min(numba.get_num_threads(), max(1, work // LEAST_WORK_OF_A_PIECE))


def evaluate(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss = Loss.SOFTMAX, l2: float = 0.0
) -> Evaluation:
    """Return cost, accuracy, losses and predictions of W and b on labelled rows.

    Parameters are those of `loss_and_gradient`, and so are the errors.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    penalty = weight_penalty(W, _check_number("l2", l2))
    return unchecked_evaluate(X, y, W, b, loss=loss, penalty=penalty)


def unchecked_evaluate(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss, penalty: float
) -> Evaluation:
    """Do `evaluate` without looking at the arrays, for a caller that has checked them once.

    The cost is mean loss + penalty.
    """
    return unchecked_evaluate_all(X, y, W[None], b[None], loss=loss, penalties=[penalty])[0]


def unchecked_evaluate_all(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss, penalties: Sequence[float]
) -> list[Evaluation]:
    """Do `unchecked_evaluate` for classifiers W (M, K, d), b (M, K), in one pass over the rows."""
    M, tile = len(W), class_tile(W.shape[1])
    row_losses, predictions = np.empty((M, len(X)), W.dtype), np.empty((M, len(X)), np.int64)
    evaluate_kernels.evaluate_rows(
        X, y, pack(W, tile), b, _scale(X, W), kernel_loss(loss), tile, row_losses, predictions
    )
    return [
        _evaluation(y, row_losses[m], predictions[m], penalty)
        for m, penalty in enumerate(penalties)
    ]


def confusion_counts(
    y: NDArray[np.int64], predictions: NDArray[np.int64], class_count: int
) -> NDArray[np.int64]:
    """Return how many rows of class i were predicted as j, (K, K) int64, from checked labels."""
    cells = np.bincount(y * class_count + predictions, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


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
    mean, variance = np.empty(X.shape[1]), np.empty(X.shape[1])
    column_moments(X, mean, variance)
    scale = feature_scale(X.dtype)
    return mean * scale, np.sqrt(variance) * scale


def kernel_features(
    row_dtype: np.dtype[Any],
    weight_dtype: np.dtype[Any],
    moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Scaled | Standardized:
    """Return the named tuple by which kernels know features; moments of rows to standardise."""
    scale = feature_scale(row_dtype)
    if moments is None:
        return Scaled(weight_dtype.type(scale))
    mean, std = moments  # of features; kernels take those of the rows as stored
    return Standardized(
        np.ascontiguousarray(mean / scale, weight_dtype)[None],
        np.ascontiguousarray((scale / std) ** 2, weight_dtype),
    )


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


def _check_number(name: str, value: float, dtype: DTypeLike = np.float64) -> float:
    """Return a number from 0 to the largest that a dtype holds. Raises InputError if it is none."""
    largest = float(np.finfo(dtype).max)
    try:
        number = float(value)
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


def _check_problem(X: Array, W: Array, b: Array) -> tuple[Array, Array, Array]:
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
    check_values("X", X, W.dtype)
    check_values("W", W)
    check_values("b", b)
    return np.ascontiguousarray(X), np.ascontiguousarray(W), np.ascontiguousarray(b)


def check_rows(X: Array) -> Array:
    """Return rows as a C-contiguous array. Raises InputError if they do not fit."""
    X = as_rows(X)
    check_values("X", X)
    return np.ascontiguousarray(X)
