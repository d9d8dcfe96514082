"""The kernels as checked functions: arrays in, arrays out, bad input refused in one line.

Everything here validates in Python, allocates what the kernel writes, and calls it. Features are
the rows themselves for float32 and float64, and pixel / 255 for uint8, which is never converted
in memory. All arithmetic is in the dtype of W (or of the scores). The NumPy twin of each function
is in `fastlin.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin import threads
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
from fastlin.kernels.features import (
    COLUMN_BLOCK,
    Scaled,
    Standardized,
    add_columns,
    weights_of_rows,
)
from fastlin.kernels.optimizers import Momentum, Nesterov, Plain, Rates, rates
from fastlin.kernels.tiles import aligned_zeros, class_tile, pack, unpack
from fastlin.model import weight_penalty
from fastlin.threads import current_count, use_threads

__all__ = [
    "Evaluation", "confusion_counts", "cross_entropy", "evaluate", "feature_moments",
    "loss_and_gradient", "multiclass_hinge", "scores", "sgd_epoch", "softmax", "use_threads",
]  # fmt: skip

Array = NDArray[Any]
WEIGHT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

# Multiply-adds below which a step gains nothing from one thread more: meeting twice, and fetching
# what the other wrote, costs as much as it saves. See benchmarks/break_even.py.
LEAST_WORK_OF_A_PIECE = 250_000

# Multiply-adds of one call of a kernel, about: some 0.05 s on one core, 0.5 s on a slow one.
MOST_WORK_OF_A_CALL = 2_000_000_000

_PIECES_OF_A_THREAD = 4

# Losses and predictions of single rows are kept for so many bytes, or for `SUMMED_ROWS` rows. That
# is of how many rows NumPy sums float32 numbers in float64 before it adds the sum to those before.
BYTES_OF_ROW_RESULTS = 16_000_000
SUMMED_ROWS = 8192

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


def scores(X: Array, W: Array, b: Array, *, offset: NDArray[np.float64] | None = None) -> Array:
    """Return the scores (X - offset) W^T + b, (n, K) of W's dtype.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64.
    W : (K, d) float32 or float64, K at least 2.
    b : (K,) of W's dtype.
    offset : (d,) float64, what is subtracted from rows before they lose digits; None for nothing.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit, or a score is beyond W's dtype.
    """
    X, W, b = _check_problem(X, W, b)
    shift, b, _ = _shift_and_bias(X, W, b, _check_offset(offset, X))
    width = losses.padded_length(len(X), W.dtype)
    by_class = np.full((len(W), width), np.nan, W.dtype)
    tile = class_tile(len(W))
    packed = pack(W, tile)
    for first, last in _parts(len(X), W.size):
        _run_on_rows(
            evaluate_kernels.score_rows, X, shift, first, last, packed, b, _scale(X, W), tile,
            by_class,
        )  # fmt: skip
    result = by_class[:, : len(X)].T
    if not _all_finite(result):
        row, k = next(iter(np.argwhere(~np.isfinite(result)).tolist()))
        raise InputError(f"the score of row {row} for class {k} is not a finite {W.dtype} number")
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
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss = Loss.SOFTMAX,
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
    loss : softmax or hinge.
    l2 : factor of the penalty, finite and at least 0.
    offset : (d,) float64, what is subtracted from rows before they lose digits; None for nothing.

    Raises
    ------
    InputError
        If a shape, a dtype or a value does not fit.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    l2 = _check_number("l2", l2, W.dtype)
    shift, own_b, rest = _shift_and_bias(X, W, b, _check_offset(offset, X))
    tile, row_losses = class_tile(len(W)), np.full(len(X), np.nan, W.dtype)
    packed = pack(W, tile)
    sums, db = aligned_zeros(packed.shape, np.dtype(np.float64)), np.zeros(len(W))
    scratch, count = gradients.new_scratch(len(W), packed, tile), current_count()
    for first, last in _parts(len(X), 2 * W.size, gradients.CHUNK_ROWS):
        threads.run(
            gradients.loss_and_gradient, count, count, X, shift, y, first, last, packed, own_b,
            _scale(X, W), kernel_loss(loss), tile, scratch, row_losses, sums, db,
        )  # fmt: skip
    dW = unpack(sums, tile, W.shape, W.dtype) * (feature_scale(X.dtype) / len(X))
    if rest is not None:
        dW -= np.outer(db / len(X), rest)
    dW += 2 * l2 * W.astype(np.float64)
    cost = float(row_losses.mean(dtype=np.float64)) + weight_penalty(W, l2)
    return cost, dW.astype(W.dtype), (db / len(X)).astype(W.dtype)


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


def _all_finite(values: Array) -> bool:
    """Return whether every value is finite, without a table of as many truth values."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.min(initial=0)) and np.isfinite(values.max(initial=0)))


def _parts(row_count: int, work_of_row: int, multiple: int = 128) -> Iterator[tuple[int, int]]:
    """Divide rows into parts, (first, last), small enough for one call of a kernel.

    Between calls Python heeds signals, such as Ctrl-C. Bounds are multiples of `multiple`, or the
    end, so that rows are summed in one order whatever the parts.
    """
    rows = max(1, MOST_WORK_OF_A_CALL // max(work_of_row, 1))
    rows = max(1, rows // multiple) * multiple
    for first in range(0, row_count, rows):
        yield first, min(first + rows, row_count)


def _run_on_rows(kernel: Callable[..., None], *arguments: Any) -> None:
    """Run a kernel that divides rows, in more pieces than threads: whoever is late does fewer."""
    count = current_count()
    threads.run(kernel, count, _PIECES_OF_A_THREAD * count if count > 1 else 1, *arguments)


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
    scales: NDArray[np.float64] | None = None,
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
    scales : (M,) float64, updated in place: the weights are scales * W, of which the penalty
        changes the scales alone, as float32 would lose a small one. None for 1, in the end, too.
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
    scale = np.ones(len(chosen)) if scales is None else scales[chosen]
    row_weights = weights_of_rows(features, weights)
    kind = (Nesterov if nesterov else Momentum) if velocity is not None else Plain
    of_entries = [rates(kind, e.lr, e.l2, e.momentum) for e in epochs]
    all_rates = Rates(*(np.array(values, np.float64) for values in zip(*of_entries, strict=True)))
    optimizer: Plain | Momentum | Nesterov = Plain()
    if velocity is not None:
        # Kernels keep of the velocity what the penalty alone does not cause; see `optimizers`.
        pulls = all_rates.pull * scale
        own = velocity[0][chosen]
        _add_scaled(own, W[chosen], -pulls)
        momentum = np.array([epoch.momentum for epoch in epochs])
        optimizer = (Nesterov if nesterov else Momentum)(
            momentum, pack(own, tile), velocity[1][chosen]
        )
    state = weights, row_weights, scale, bias, features, optimizer, all_rates
    if pieces > 1:
        loss_sums = _shared_epochs(X, y, epochs, pieces, *state, kernel_loss(loss), tile)
    elif len(epochs) == 1:
        loss_sums = _single_epoch(X, y, epochs[0], *state, kernel_loss(loss), tile)
    else:
        loss_sums = _grid_epoch(X, y, epochs, *state, kernel_loss(loss), tile)
    trained = unpack(weights, tile, shape)
    if velocity is not None and not isinstance(optimizer, Plain):
        own = unpack(optimizer.velocity_W, tile, shape)
        _add_scaled(own, trained, all_rates.pull * scale)
        velocity[0][chosen], velocity[1][chosen] = own, optimizer.velocity_b
    if scales is None:
        _scale_in_place(trained, scale)
    else:
        scales[chosen] = scale
    W[chosen], b[chosen] = trained, bias
    mean_losses: NDArray[np.float64] = loss_sums / [len(epoch.order) for epoch in epochs]
    return mean_losses


def _add_scaled(target: Array, W: Array, factors: NDArray[np.float64]) -> None:
    """Add factors[m] * W[m] to target[m], both (M, K, d), rounding once."""
    for m in np.flatnonzero(factors):
        target[m] = target[m] + factors[m] * W[m].astype(np.float64)


def _scale_in_place(W: Array, factors: NDArray[np.float64]) -> None:
    """Multiply W[m] by factors[m], rounding once; W (M, K, d)."""
    for m in np.flatnonzero(factors != 1):
        W[m] = factors[m] * W[m].astype(np.float64)


def _of_entry(bundle: Any, e: int) -> Any:
    """Return a named tuple of arrays over entries with the values of one of them."""
    return type(bundle)(*(values[e] for values in bundle))


def _shared_epochs(
    X: Array, y: Array, epochs: Sequence[EntryEpoch], pieces: int, weights: Array,
    row_weights: Array, scales: Array, bias: Array, features: NamedTuple, optimizer: NamedTuple,
    rates: Rates, loss: NamedTuple, tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train entries one after another, every step shared by threads."""
    loss_sums = np.zeros(len(epochs))
    work = 2 * bias.shape[1] * X.shape[1]
    for e, epoch in enumerate(epochs):
        largest = min(epoch.batch_size, len(epoch.order))
        model = sgd.new_classifier(
            weights[e], row_weights[e], scales[e : e + 1], bias[e], features, X.shape[1], largest,
            tile,
        )  # fmt: skip
        for first, last in _parts(len(epoch.order), work, epoch.batch_size):
            threads.run(
                sgd.shared_epoch, pieces, pieces, X, y, epoch.order[first:last], model, features,
                _of_entry(rates, e), epoch.batch_size, loss, _of_entry(optimizer, e), tile,
                loss_sums[e : e + 1],
            )  # fmt: skip
    return loss_sums


def _single_epoch(
    X: Array, y: Array, epoch: EntryEpoch, weights: Array, row_weights: Array, scales: Array,
    bias: Array, features: NamedTuple, optimizer: NamedTuple, rates: Rates, loss: NamedTuple,
    tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train one entry on one thread."""
    loss_sums = np.zeros(1)
    work = 2 * bias.shape[1] * X.shape[1]
    for first, last in _parts(len(epoch.order), work, epoch.batch_size):
        grid.group_epoch(
            X, y, epoch.order[first:last], 0, 1, weights, row_weights, scales, bias, features,
            optimizer, rates, epoch.batch_size, loss, tile, loss_sums,
        )  # fmt: skip
    return loss_sums


def _grid_epoch(
    X: Array, y: Array, epochs: Sequence[EntryEpoch], weights: Array, row_weights: Array,
    scales: Array, bias: Array, features: NamedTuple, optimizer: NamedTuple, rates: Rates,
    loss: NamedTuple, tile: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Train entries together, every thread its part of them."""
    distinct = {id(epoch.order): epoch.order for epoch in epochs}
    lengths = [0, *(len(order) for order in distinct.values())]
    firsts = dict(zip(distinct, np.cumsum(lengths).tolist(), strict=False))
    orders = np.concatenate(list(distinct.values()))
    order_firsts = np.array([firsts[id(epoch.order)] for epoch in epochs])
    order_lengths = np.array([len(epoch.order) for epoch in epochs])
    batch_sizes = np.array([epoch.batch_size for epoch in epochs], np.int64)
    parts = min(current_count(), len(epochs))
    bounds = np.arange(parts + 1) * len(epochs) // parts
    loss_sums = np.zeros(len(epochs))
    # Every entry takes as many batches of its own size as come next to a number of rows.
    work = 2 * bias.size * X.shape[1]
    rows = min(MOST_WORK_OF_A_CALL // max(work, 1), int(order_lengths.max()))
    steps = np.maximum(rows // batch_sizes, 1) * batch_sizes
    for call in range(int((-(-order_lengths // steps)).max())):
        begins = np.minimum(call * steps, order_lengths)
        ends = np.minimum((call + 1) * steps, order_lengths)
        threads.run(
            grid.grid_epoch, parts, parts, X, y, orders, order_firsts + begins, order_firsts + ends,
            bounds, weights, row_weights, scales, bias, features, optimizer, rates, batch_sizes,
            loss, tile, loss_sums,
        )  # fmt: skip
    return loss_sums


def pieces_of_step(batch_size: int, class_count: int, feature_count: int) -> int:
    """Return how many threads share a step; the result of the step does not depend on it."""
    work = batch_size * class_count * feature_count
    return min(current_count(), max(1, work // LEAST_WORK_OF_A_PIECE))


def evaluate(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss = Loss.SOFTMAX,
    l2: float = 0.0,
    offset: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Return cost, accuracy, losses and predictions of W and b on labelled rows.

    Parameters are those of `loss_and_gradient`, and so are the errors.
    """
    X, W, b = _check_problem(X, W, b)
    y = check_labels(y, len(X), len(W))
    penalty = weight_penalty(W, _check_number("l2", l2))
    return unchecked_evaluate(
        X, y, W, b, loss=loss, penalty=penalty, offset=_check_offset(offset, X)
    )


def unchecked_evaluate(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss,
    penalty: float,
    offset: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Do `evaluate` without looking at the arrays, for a caller that has checked them once.

    The cost is mean loss + penalty.
    """
    packed, shift, b = _packed_classifiers(X, W[None], b[None], offset)
    losses, predictions = _evaluate_rows(X, y, packed, shift, b, loss)
    accuracy = float(np.count_nonzero(predictions[0] == y) / len(y))
    cost = float(losses[0].mean(dtype=np.float64)) + penalty
    return Evaluation(cost, accuracy, losses[0], predictions[0])


class Measured(NamedTuple):
    """Cost and accuracy of a classifier on labelled rows, as in `Evaluation`."""

    cost: float
    accuracy: float


def unchecked_measure(
    X: Array,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss,
    penalties: Sequence[float],
    offset: NDArray[np.float64] | None = None,
) -> list[Measured]:
    """Return cost and accuracy of classifiers W (M, K, d), b (M, K), in one pass over the rows.

    They have the bits of `unchecked_evaluate`. What is kept of single rows has about
    `BYTES_OF_ROW_RESULTS`, however many rows there are.
    """
    packed, shift, b = _packed_classifiers(X, W, b, offset)
    right = np.zeros(len(W), np.int64)
    bytes_of_row = len(W) * (W.dtype.itemsize + 8)
    rows_at_once = max(1, BYTES_OF_ROW_RESULTS // bytes_of_row // SUMMED_ROWS) * SUMMED_ROWS

    def losses_of(first: int, last: int) -> Array:
        """Return losses (M, last - first), and count the rows that are right."""
        labels = y[first:last]
        losses, predictions = _evaluate_rows(X[first:last], labels, packed, shift, b, loss)
        right[:] += np.count_nonzero(predictions == labels, axis=1)
        return losses

    def sum_by_halves(first: int, last: int) -> NDArray[np.float64]:
        """Return the sums (M,) of float64 losses, divided as NumPy divides them."""
        if last - first <= rows_at_once:
            return _sums(losses_of(first, last))
        middle = first + (last - first) // 16 * 8
        return sum_by_halves(first, middle) + sum_by_halves(middle, last)

    if W.dtype == np.float64:
        sums = sum_by_halves(0, len(X))
    else:  # of float32, NumPy adds up the sums of so many rows
        sums = np.zeros(len(W))
        for first in range(0, len(X), rows_at_once):
            losses = losses_of(first, min(first + rows_at_once, len(X)))
            for start in range(0, losses.shape[1], SUMMED_ROWS):
                sums += _sums(losses[:, start : start + SUMMED_ROWS])
    means = (sums / len(X)).tolist()
    return [
        Measured(mean + penalty, count / len(X))
        for mean, penalty, count in zip(means, penalties, right.tolist(), strict=True)
    ]


def _sums(losses: Array) -> NDArray[np.float64]:
    """Return the sums of losses (M, rows), each as NumPy sums one array."""
    return np.array([of_entry.sum(dtype=np.float64) for of_entry in losses])


def _packed_classifiers(
    X: Array, W: Array, b: Array, offset: NDArray[np.float64] | None
) -> tuple[Array, Array | tuple[()], Array]:
    """Return W (M, K, d) packed, what kernels subtract from rows, and the b that goes with it."""
    shift, b, _ = _shift_and_bias(X, W, b, offset)
    return pack(W, class_tile(W.shape[1])), shift, b


def _evaluate_rows(
    X: Array, y: Array, packed: Array, shift: Array | tuple[()], b: Array, loss: Loss
) -> tuple[Array, NDArray[np.int64]]:
    """Return losses and predictions (M, rows) of what `_packed_classifiers` returned."""
    losses = np.full((len(b), len(X)), np.nan, b.dtype)
    predictions = np.full((len(b), len(X)), -1, np.int64)
    for first, last in _parts(len(X), b.size * X.shape[1]):
        _run_on_rows(
            evaluate_kernels.evaluate_rows, X, shift, y, first, last, packed, b, _scale(X, b),
            kernel_loss(loss), class_tile(b.shape[1]), losses, predictions,
        )  # fmt: skip
    if predictions.min() < 0:
        raise RuntimeError("rows were left out of an evaluation")
    return losses, predictions


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
    mean = _mean_of_columns(X, np.zeros(X.shape[1]), 1)
    variance = _mean_of_columns(X, mean, 2)
    wrong = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(variance)))
    if len(wrong):
        raise InputError(f"the mean or variance of feature {wrong[0]} is not a finite number")
    scale = feature_scale(X.dtype)
    return mean * scale, np.sqrt(variance) * scale


def _mean_of_columns(X: Array, centre: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return the mean of (X - centre)**power of every column, (d,)."""
    d = X.shape[1]
    sums, blocks = np.zeros(d), -(-d // COLUMN_BLOCK)
    members = min(current_count(), blocks)
    for first, last in _parts(len(X), 8 * d):  # an element takes as long as some multiply-adds
        threads.run(add_columns, members, blocks, X, first, last, centre, power, sums)
    return sums / len(X)


def kernel_features(
    row_dtype: np.dtype[Any],
    weight_dtype: np.dtype[Any],
    moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    offset: NDArray[np.float64] | None = None,
) -> Scaled | Standardized:
    """Return the named tuple by which kernels know features.

    Parameters
    ----------
    row_dtype, weight_dtype : of the rows and of W.
    moments : mean and standard deviation of features (d,) to standardise, or None.
    offset : (d,) what is subtracted from rows as they are loaded, a number of the rows' dtype;
        None for nothing. It has a meaning beside moments alone.
    """
    scale = feature_scale(row_dtype)
    if moments is None:
        return Scaled(weight_dtype.type(scale), ())
    mean, std = moments  # of features; kernels take those of the rows as stored
    shift: Array | tuple[()] = ()
    if offset is not None:
        mean, shift = mean - offset, np.ascontiguousarray(offset, row_dtype)
    return Standardized(
        np.ascontiguousarray(mean / scale, weight_dtype)[None],
        np.ascontiguousarray((scale / std) ** 2, weight_dtype),
        shift,
        np.zeros(1, np.int64),
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
    row_losses = np.full((1, width), np.nan, scores.dtype)
    losses.batch_loss(loss, by_class, labels, row_losses)
    return row_losses[0, :n], by_class[:, :n].T


def _shift_and_bias(
    X: Array, W: Array, b: Array, offset: NDArray[np.float64] | None
) -> tuple[Array | tuple[()], Array, NDArray[np.float64] | None]:
    """Return what kernels subtract from rows, the b that goes with it, and the rest of the offset.

    The rest is what the rows' dtype cannot hold of the offset; it is in that b. W is (..., K, d), b
    (..., K).
    """
    if offset is None:
        return (), b, None
    shift: Array | tuple[()] = ()
    rest = offset
    if X.dtype != np.uint8:
        shift = offset.astype(X.dtype)
        rest = offset - shift
    return shift, (b - W.astype(np.float64) @ rest).astype(b.dtype), rest


def _check_offset(offset: NDArray[np.float64] | None, X: Array) -> NDArray[np.float64] | None:
    if offset is None:
        return None
    offset = np.asarray(offset, np.float64)
    if offset.shape != X.shape[1:] or not np.isfinite(offset).all():
        raise InputError(f"offset has shape {offset.shape}; it must be {X.shape[1:]}, all finite")
    return offset


def _scale(X: Array, W: Array) -> Any:
    return W.dtype.type(feature_scale(X.dtype))


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
