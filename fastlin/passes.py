"""Whole passes over rows: scores, evaluation and gradients; nothing is checked here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlin import threads
from fastlin.data.checks import default_scale, number_dtype
from fastlin.data.features import stored_part
from fastlin.data.stored import BYTES_OF_BLOCK, AnyRows, StoredRows, blocks_of, blocks_of_parts
from fastlin.engine import Array, kernel_loss, kernel_rows, kernel_weights
from fastlin.kernels import evaluate as evaluate_kernels
from fastlin.kernels import gradients, losses
from fastlin.kernels.features import Scaled
from fastlin.kernels.products import new_scratch
from fastlin.kernels.tiles import aligned_zeros, class_tile, pack, unpack
from fastlin.losses import Loss
from fastlin.metrics import Evaluation
from fastlin.model import weight_penalty
from fastlin.threads import current_count

# Losses and predictions of single rows are kept for so many bytes, or for `SUMMED_ROWS` rows. That
# is of how many rows NumPy sums float32 numbers in float64 before it adds the sum to those before.
BYTES_OF_ROW_RESULTS = 16_000_000
SUMMED_ROWS = 8192

# Full passes divide rows into so many shards at most, each of so many chunks at least.
MOST_SHARDS, CHUNKS_OF_SHARD = 16, 64


class Reading(NamedTuple):
    """How stored rows become features, of which W and b are the classifier.

    Attributes
    ----------
    scale : float or None
        What a stored value is multiplied by; None for the default of the rows' dtype.
    offset : NDArray[np.float64] or None
        (d,) what is subtracted from features, and from rows before they lose digits.
    std : NDArray[np.float64] or None
        (d,) by which features less the offset are divided.
    """

    scale: float | None = None
    offset: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None


AS_THEY_ARE = Reading()

# The mean loss, and its gradients by W (K, d) and b (K,).
MeanLoss: TypeAlias = tuple[float, NDArray[np.float64], NDArray[np.float64]]


def unchecked_scores(X: AnyRows, W: Array, b: Array, reading: Reading = AS_THEY_ARE) -> Array:
    """Return the scores (n, K) without looking at the arrays; they may be infinite."""
    if isinstance(X, StoredRows):
        return np.concatenate([unchecked_scores(block, W, b, reading) for _, block in X.blocks()])
    folded = _Folded.of(X, W[None], b[None], reading)
    width = losses.padded_length(len(X), W.dtype)
    by_class = np.full((len(W), width), np.nan, W.dtype)
    rows, tile, members = kernel_rows(X), class_tile(len(W)), current_count()
    sums, orders = new_scratch(members, tile, W.dtype).sums, evaluate_kernels.new_order(members)
    for first, last in threads.parts(len(X), W.size, members=members):
        threads.run_on_rows(
            evaluate_kernels.score_rows, (last - first) * W.size, rows, folded.features.shift,
            first, last, folded.packed[0], folded.b[0], folded.features.scale, tile, sums, orders,
            by_class,
        )  # fmt: skip
    return by_class[:, : len(X)].T


def unchecked_evaluate(
    X: AnyRows, y: Array, W: Array, b: Array, *, loss: Loss, penalty: float,
    reading: Reading = AS_THEY_ARE, weights: Array | None = None,
) -> Evaluation:  # fmt: skip
    """Do `evaluate` without looking at the arrays, for a caller that has checked them once.

    The cost is mean loss + penalty; with weights (n,) of mean 1 the mean loss is that of weighted
    losses. Losses, predictions and accuracy do not depend on weights.
    """
    folded = _Folded.of(X, W[None], b[None], reading)
    parts = [
        _evaluate_rows(block, y[first : first + len(block)], folded, loss)
        for first, block in blocks_of(X)
    ]
    losses, predictions = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
    accuracy = float(np.count_nonzero(predictions[0] == y) / len(y))
    cost = float(_weighted(losses, weights)[0].mean(dtype=np.float64)) + penalty
    return Evaluation(cost, accuracy, losses[0], predictions[0])


def _weighted(losses: Array, weights: Array | None) -> Array:
    """Return losses (M, rows) times the weights (rows,) of the rows, in the dtype of the losses."""
    if weights is None:
        return losses
    weighted: Array = losses * weights.astype(losses.dtype)
    return weighted


class Measured(NamedTuple):
    """Cost and accuracy of a classifier on labelled rows, as in `Evaluation`."""

    cost: float
    accuracy: float


def unchecked_measure(
    X: AnyRows,
    y: Array,
    W: Array,
    b: Array,
    *,
    loss: Loss,
    penalties: Sequence[float],
    reading: Reading = AS_THEY_ARE,
    weights: Array | None = None,
) -> list[Measured]:
    """Return cost and accuracy of classifiers W (M, K, d), b (M, K), in one pass over the rows.

    They have the bits of `unchecked_evaluate`. What is kept of single rows has about
    `BYTES_OF_ROW_RESULTS`, however many rows there are.
    """
    folded = _Folded.of(X, W, b, reading)
    right = np.zeros(len(W), np.int64)
    bytes_of_row = len(W) * (W.dtype.itemsize + 8)
    rows_at_once = max(1, BYTES_OF_ROW_RESULTS // bytes_of_row // SUMMED_ROWS) * SUMMED_ROWS

    def losses_of(rows: Array, first: int) -> Array:
        """Return weighted losses (M, m) of m rows from a number on; count those that are right."""
        labels = y[first : first + len(rows)]
        losses, predictions = _evaluate_rows(rows, labels, folded, loss)
        right[:] += np.count_nonzero(predictions == labels, axis=1)
        return _weighted(losses, None if weights is None else weights[first : first + len(rows)])

    if W.dtype == np.float64:
        sums = _sum_by_halves(X, losses_of, 0, len(X), rows_at_once)
    else:  # of float32, NumPy adds up the sums of so many rows
        sums, waiting = np.zeros(len(W)), np.zeros((len(W), 0), W.dtype)
        for begin, block in blocks_of(X):
            for first in range(0, len(block), rows_at_once):
                losses = losses_of(block[first : first + rows_at_once], begin + first)
                waiting = np.concatenate([waiting, losses], axis=1)
                is_end = begin + first + losses.shape[1] == len(X)
                while waiting.shape[1] >= SUMMED_ROWS or (is_end and waiting.size):
                    sums += _sums(waiting[:, :SUMMED_ROWS])
                    waiting = waiting[:, SUMMED_ROWS:]
    means = (sums / len(X)).tolist()
    return [
        Measured(mean + penalty, count / len(X))
        for mean, penalty, count in zip(means, penalties, right.tolist(), strict=True)
    ]


def _sum_by_halves(
    X: AnyRows, losses_of: Callable[[Array, int], Array], first: int, last: int, rows_at_once: int
) -> NDArray[np.float64]:
    """Return the sums (M,) of the float64 losses of rows first to last, divided as NumPy does."""
    if last - first <= rows_at_once:
        step = last - first
        if isinstance(X, StoredRows):  # of which a slice is read into memory
            step = max(1, BYTES_OF_BLOCK // X.row_bytes)
        firsts = range(first, last, step)
        found = [losses_of(X[begin : min(begin + step, last)], begin) for begin in firsts]
        return _sums(np.concatenate(found, axis=1))
    middle = first + (last - first) // 16 * 8
    return _sum_by_halves(X, losses_of, first, middle, rows_at_once) + _sum_by_halves(
        X, losses_of, middle, last, rows_at_once
    )


def _sums(losses: Array) -> NDArray[np.float64]:
    """Return the sums of losses (M, rows), each as NumPy sums one array."""
    return np.array([of_entry.sum(dtype=np.float64) for of_entry in losses])


class _Folded(NamedTuple):
    """Classifiers of features as classifiers of stored rows u: the scores are W (u - shift) + b.

    packed (M, size), W over the scale in `features`, and b (M, K); factors, a number or (d,), times
    u - shift, less rest (d,), or nothing for None, are the features.
    """

    features: Scaled
    packed: Array
    b: Array
    factors: float | NDArray[np.float64]
    rest: NDArray[np.float64] | None

    @classmethod
    def of(cls, X: AnyRows, W: Array, b: Array, reading: Reading) -> _Folded:
        """Return those of W (M, K, d) and b (M, K), for rows X (n, d) as stored."""
        scale = default_scale(X.dtype) if reading.scale is None else reading.scale
        std, rest = reading.std, reading.offset
        shift: Array | tuple[()] = ()
        if rest is not None and X.dtype != np.uint8:
            shift, part = stored_part(rest, scale, number_dtype(X.dtype))
            rest = rest - part
        if rest is not None and std is not None:
            rest = rest / std
        own_b = np.array(b)
        if rest is not None:
            own_b = (b - W.astype(np.float64) @ rest).astype(b.dtype)
        tile = class_tile(W.shape[1])
        if std is None:
            return cls(Scaled(W.dtype.type(scale), shift), pack(W, tile), own_b, scale, rest)
        factors = scale / std
        own_W = (W * factors).astype(W.dtype)
        return cls(Scaled(W.dtype.type(1), shift), pack(own_W, tile), own_b, factors, rest)


def _evaluate_rows(
    X: Array, y: Array, folded: _Folded, loss: Loss
) -> tuple[Array, NDArray[np.int64]]:
    """Return losses and predictions (M, rows) of classifiers."""
    b, features = folded.b, folded.features
    losses = np.full((len(b), len(X)), np.nan, b.dtype)
    predictions = np.full((len(b), len(X)), -1, np.int64)
    rows, labels = kernel_rows(X), kernel_rows(y)
    work, tile, members = b.size * X.shape[1], class_tile(b.shape[1]), current_count()
    sums = new_scratch(members, tile, b.dtype).sums
    scratch = evaluate_kernels.new_block_scratch(members, b.shape[1], b.dtype)
    for first, last in threads.parts(len(X), work, members=members):
        threads.run_on_rows(
            evaluate_kernels.evaluate_rows, (last - first) * work, rows, features.shift, labels,
            first, last, folded.packed, b, features.scale, kernel_loss(loss), tile, sums, scratch,
            losses, predictions,
        )  # fmt: skip
    if predictions.min() < 0:
        raise RuntimeError("rows were left out of an evaluation")
    return losses, predictions


def unchecked_loss_and_gradient(
    X: AnyRows, y: Array, W: Array, b: Array, *, loss: Loss, l2: float,
    reading: Reading = AS_THEY_ARE, weights: Array | None = None,
) -> tuple[float, Array, Array]:  # fmt: skip
    """Do `fastlin.functional.loss_and_gradient` without looking at the arrays.

    W, b, the penalty and the gradients are of the features that `reading` makes of rows; weights
    (n,) are of mean 1.
    """
    mean, dW, db = unchecked_mean_loss(X, y, W, b, loss=loss, reading=reading, weights=weights)
    dW += 2 * l2 * W.astype(np.float64)
    return mean + weight_penalty(W, l2), dW.astype(W.dtype), db.astype(W.dtype)


def unchecked_mean_loss(
    X: AnyRows, y: Array, W: Array, b: Array, *, loss: Loss,
    reading: Reading = AS_THEY_ARE, weights: Array | None = None,
) -> MeanLoss:  # fmt: skip
    """Return the mean loss, without penalty, and its gradients by W and b, in float64.

    Arguments are those of `unchecked_loss_and_gradient`.
    """
    of_one = None if weights is None else weights[None]
    [found] = unchecked_mean_losses(
        X, y, W[None], b[None], loss=loss, reading=reading, weights=of_one
    )
    return found


def unchecked_mean_losses(
    X: AnyRows, y: Array, W: Array, b: Array, *, loss: Loss, reading: Reading,
    weights: Array | None,
) -> list[MeanLoss]:  # fmt: skip
    """Do `unchecked_mean_loss` for several classifiers, in one pass over the rows.

    W is (M, K, d), b (M, K), and weights (M, n): each classifier has its own.
    """
    shards = shards_of(len(X), b.size)
    sums = shard_sums(X, y, W, b, shards, loss=loss, reading=reading, weights=weights)
    return reduce(LossSums.plus, sums).means(len(X))


class LossSums(NamedTuple):
    """The sums over rows of losses (M,), and of their gradients by W (M, K, d) and b (M, K).

    All in float64, of M classifiers.
    """

    losses: NDArray[np.float64]
    dW: NDArray[np.float64]
    db: NDArray[np.float64]

    def plus(self, other: LossSums) -> LossSums:
        """Return the sums over the rows of both."""
        return LossSums(self.losses + other.losses, self.dW + other.dW, self.db + other.db)

    def means(self, row_count: int) -> list[MeanLoss]:
        """Return all over the number of rows, of every classifier."""
        parts = zip(self.losses.tolist(), self.dW, self.db, strict=True)
        return [(loss / row_count, dW / row_count, db / row_count) for loss, dW, db in parts]


def shards_of(row_count: int, K: int) -> list[tuple[int, int]]:
    """Divide rows into shards (first, last), which are summed each from zero, and then in order.

    So the sum of all has the same bits whoever sums a shard, and wherever its rows are. K is the
    number of classes, of all classifiers together.
    """
    chunk = gradients.rows_of_chunk(row_count, K)
    chunks = -(-row_count // chunk)
    count = max(1, min(MOST_SHARDS, chunks // CHUNKS_OF_SHARD))
    bounds = [min(chunks * shard // count * chunk, row_count) for shard in range(count + 1)]
    return list(pairwise(bounds))


def shard_sums(
    X: AnyRows, y: Array, W: Array, b: Array, shards: Sequence[tuple[int, int]], *, loss: Loss,
    reading: Reading, weights: Array | None,
) -> Iterator[LossSums]:  # fmt: skip
    """Yield the sums over the rows of every shard (first, last), some of those of `shards_of`.

    Other arguments are those of `unchecked_mean_losses`.
    """
    folded = _Folded.of(X, W.reshape(1, -1, W.shape[2]), b.reshape(1, -1), reading)
    chunk_rows = gradients.rows_of_chunk(len(X), b.size)
    parts = blocks_of_parts(X, shards, chunk_rows, current_count() * chunk_rows)
    for (first, last), blocks in zip(shards, parts, strict=True):
        of_rows = None if weights is None else weights[:, first:last]
        yield _loss_sums(folded, W, blocks, y[first:last], of_rows, loss, chunk_rows)


def _loss_sums(
    folded: _Folded, W: Array, blocks: Iterator[tuple[int, Array]], y: Array,
    weights: Array | None, loss: Loss, chunk_rows: int,
) -> LossSums:  # fmt: skip
    """Return the sums over the rows of a shard, which come in blocks with their first row's number.

    Blocks have whole chunks, so that these, and so the sums, are those of all rows in one block.
    """
    packed, own_b = folded.packed[0], folded.b[0]
    K = own_b.size  # of all classifiers
    tile, losses = class_tile(K), np.full((len(W), len(y)), np.nan, W.dtype)
    sums, db = aligned_zeros(packed.shape, np.dtype(np.float64)), np.zeros(K)
    members = threads.count_for(2 * len(y) * W.size)
    chunks = gradients.new_sums(K, packed, members)
    pieces, products = len(chunks.gradients), new_scratch(members, tile, W.dtype)
    scratch = evaluate_kernels.new_block_scratch(members, K, W.dtype)
    factors = gradients.new_factors(members, K, tile, W.dtype)
    for begin, block in blocks:
        of_block = slice(begin, begin + len(block))
        rows, labels = kernel_rows(block), kernel_rows(y[of_block])
        of_rows = kernel_weights(None if weights is None else weights[:, of_block], W.dtype)
        found = np.full((len(W), len(block)), np.nan, W.dtype)
        for first, last in threads.parts(len(block), 2 * W.size, pieces * chunk_rows, members):
            threads.run(
                gradients.loss_and_gradient, members, pieces, rows, folded.features, labels,
                of_rows, first, last, chunk_rows, packed, own_b, kernel_loss(loss), tile, products,
                scratch, factors, chunks, found, sums, db,
            )  # fmt: skip
        losses[:, of_block] = found
    del chunks  # of many classes they take more memory than all else here
    dW = unpack(sums, tile, (K, W.shape[2]), W.dtype)
    dW *= folded.factors
    if folded.rest is not None:
        dW -= np.outer(db, folded.rest)
    return LossSums(_sums(losses), dW.reshape(W.shape), db.reshape(W.shape[:2]))


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
