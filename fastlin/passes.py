"""Whole passes over rows: scores, evaluation, gradients and moments; nothing is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import threads
from fastlin.data.checks import feature_scale
from fastlin.engine import Array, kernel_loss
from fastlin.kernels import evaluate as evaluate_kernels
from fastlin.kernels import gradients, losses
from fastlin.kernels.features import COLUMN_BLOCK, add_columns
from fastlin.kernels.tiles import aligned_zeros, class_tile, pack, unpack
from fastlin.losses import Loss
from fastlin.model import Evaluation, weight_penalty
from fastlin.threads import current_count

# Losses and predictions of single rows are kept for so many bytes, or for `SUMMED_ROWS` rows. That
# is of how many rows NumPy sums float32 numbers in float64 before it adds the sum to those before.
BYTES_OF_ROW_RESULTS = 16_000_000
SUMMED_ROWS = 8192


def unchecked_scores(
    X: Array, W: Array, b: Array, offset: NDArray[np.float64] | None = None
) -> Array:
    """Return the scores (n, K) without looking at the arrays; they may be infinite."""
    shift, b, _ = _shift_and_bias(X, W, b, offset)
    width = losses.padded_length(len(X), W.dtype)
    by_class = np.full((len(W), width), np.nan, W.dtype)
    tile = class_tile(len(W))
    packed = pack(W, tile)
    for first, last in threads.parts(len(X), W.size):
        threads.run_on_rows(
            evaluate_kernels.score_rows, X, shift, first, last, packed, b, _scale(X, W), tile,
            by_class,
        )  # fmt: skip
    return by_class[:, : len(X)].T


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
    for first, last in threads.parts(len(X), b.size * X.shape[1]):
        threads.run_on_rows(
            evaluate_kernels.evaluate_rows, X, shift, y, first, last, packed, b, _scale(X, b),
            kernel_loss(loss), class_tile(b.shape[1]), losses, predictions,
        )  # fmt: skip
    if predictions.min() < 0:
        raise RuntimeError("rows were left out of an evaluation")
    return losses, predictions


def unchecked_loss_and_gradient(
    X: Array, y: Array, W: Array, b: Array, *, loss: Loss, l2: float,
    offset: NDArray[np.float64] | None = None,
) -> tuple[float, Array, Array]:  # fmt: skip
    """Do `fastlin.functional.loss_and_gradient` without looking at the arrays."""
    shift, own_b, rest = _shift_and_bias(X, W, b, offset)
    tile, row_losses = class_tile(len(W)), np.full(len(X), np.nan, W.dtype)
    packed = pack(W, tile)
    sums, db = aligned_zeros(packed.shape, np.dtype(np.float64)), np.zeros(len(W))
    scratch, count = gradients.new_scratch(len(W), packed, tile), current_count()
    for first, last in threads.parts(len(X), 2 * W.size, gradients.CHUNK_ROWS):
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


def mean_of_columns(X: Array, centre: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return the mean of (X - centre)**power of every column, (d,)."""
    d = X.shape[1]
    sums, blocks = np.zeros(d), -(-d // COLUMN_BLOCK)
    members = min(current_count(), blocks)
    # An element takes as long as some multiply-adds.
    for first, last in threads.parts(len(X), 8 * d):
        threads.run(add_columns, members, blocks, X, first, last, centre, power, sums)
    return sums / len(X)


def row_losses_and_gradient(loss: Loss, scores: Array, y: Array) -> tuple[Array, Array]:
    """Return the losses (n,) of scores (n, K), and their gradient (n, K)."""
    n, K = scores.shape
    width = losses.padded_length(n, scores.dtype)
    by_class = np.zeros((K, width), scores.dtype)
    by_class[:, :n] = scores.T
    labels = np.zeros((1, width), scores.dtype)
    labels[0, :n] = y
    row_losses = np.full((1, width), np.nan, scores.dtype)
    losses.batch_loss(kernel_loss(loss), by_class, labels, row_losses)
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


def _scale(X: Array, W: Array) -> Any:
    return W.dtype.type(feature_scale(X.dtype))
