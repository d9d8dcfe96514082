"""Mini-batch SGD: the parts of a fused step, and the epoch whose steps threads share.

`fastlin.kernels.grid` puts the same parts together for one thread, and for many classifiers.

A step has two phases. Forward divides the rows of the batch, backward the features of W; within a
phase no output depends on another, so a team may share it, and every sum keeps its one order. What
lies between two phases is done by whoever finishes the last piece.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.features import (
    refresh_row_weights,
    row_offsets,
    subtract_mean,
)
from fastlin.kernels.jit import kernel, pasted_kernel, small_code
from fastlin.kernels.losses import (
    PADDING,
    loss_gradient,
    padded_length,
    sum_of_row,
    weigh_rows,
)
from fastlin.kernels.optimizers import (
    finish,
    gradient_factor,
    prepare,
    scale_after,
    step_bias,
)
from fastlin.kernels.products import batch_scores, batch_update, rows_of_block
from fastlin.kernels.team import is_last, next_piece, open_phase, wait_for
from fastlin.kernels.tiles import (
    MOST_BYTES_AHEAD,
    aligned_zeros,
    column_tile,
    pack_factors,
    padded,
    size_of_factors,
    vector_count,
)
from fastlin.kernels.views import columns


class Classifier(NamedTuple):
    """What one classifier holds while it is trained: weights, packed, and scratch for a batch.

    weights, row_weights (flat, packed; see `features`), accumulator, to which rows are added, and
    scale (1,) float64: W is scale * weights (see `optimizers`); bias and offsets (K,), scores
    (blocks, K, rows of a block + `PADDING`), labels and losses (1, width), factors (flat; see
    `pack_factors`), and dscore_sums and bias_gradient (K,) float64. width: the rows of the largest
    batch, in whole vectors; `products.rows_of_block` of them are a block. Of many classifiers every
    array has one axis more.
    """

    weights: np.ndarray
    row_weights: np.ndarray
    accumulator: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    offsets: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    factors: np.ndarray
    dscore_sums: np.ndarray
    bias_gradient: np.ndarray


def new_classifiers(
    weights: np.ndarray, row_weights: np.ndarray, accumulator: np.ndarray, scale: np.ndarray,
    bias: np.ndarray, batch_size: int, tile: tuple[int, ...],
) -> Classifier:  # fmt: skip
    """Return M classifiers ready for an epoch; the arguments, of which bias is (M, K), are kept."""
    (M, K), dtype = bias.shape, bias.dtype
    width = padded_length(batch_size, dtype)
    rows = rows_of_block(width, tile)
    return Classifier(
        weights,
        row_weights,
        accumulator,
        scale.reshape(M, 1),
        bias,
        np.zeros((M, K), dtype),
        aligned_zeros((M, -(-width // rows), K, rows + PADDING), dtype),
        np.zeros((M, 1, width), dtype),
        np.zeros((M, 1, width), dtype),
        np.zeros((M, size_of_factors(K, tile, batch_size)), dtype),
        np.zeros((M, K)),
        np.zeros((M, K)),
    )


@pasted_kernel
def share(piece, pieces, count, whole):
    """Return (first, last) of a piece of range(count); bounds are multiples of `whole`, or end."""
    units = (count + whole - 1) // whole
    return (
        min(units * piece // pieces * whole, count),
        min(units * (piece + 1) // pieces * whole, count),
    )


@pasted_kernel
def model_of_entry(models, e):
    """Return one of many classifiers; `models` has arrays over all of them."""
    return Classifier(
        models.weights[e],
        models.row_weights[e],
        models.accumulator[e],
        models.scale[e],
        models.bias[e],
        models.offsets[e],
        models.scores[e],
        models.labels[e],
        models.losses[e],
        models.factors[e],
        models.dscore_sums[e],
        models.bias_gradient[e],
    )


@pasted_kernel
def prepare_forward(model, features, tile, sums):
    """Compute what every row's scores need of the weights."""
    row_offsets(features, model.row_weights, model.scale[0], model.bias, tile, sums, model.offsets)


@pasted_kernel
def block_rows(models):
    """Return how many rows of a batch a block of scores has, of one classifier or of many."""
    return models.scores.shape[-1] - PADDING


@pasted_kernel
def end_of_block(models, first, last):
    """Return where the part of the rows first to last ends that is in the block of the first."""
    rows = block_rows(models)
    return min((first // rows + 1) * rows, last)


@pasted_kernel
def _scores_of(model, first, width):
    """Return the part of a block of scores that has the rows from first on, of one block."""
    rows = block_rows(model)
    return columns(model.scores[first // rows], first % rows, width)


@pasted_kernel
def forward_scores(X, order, start, first, last, model, features, tile, sums):
    """Write the scores of rows first to last, of one block, of the batch at `start`.

    first is a whole number of vectors.
    """
    scale = model.weights.dtype.type(features.scale * model.scale[0])
    width = padded(last - first, model.weights)
    batch_scores(
        X, features.shift, order, start + first, start + last, model.row_weights, model.offsets,
        scale, tile, sums, _scores_of(model, first, width),
    )  # fmt: skip


@pasted_kernel
def forward_loss(
    y, sample_weights, order, start, first, last, count, model, features, loss, optimizer, rates,
    tile,
):  # fmt: skip
    """Turn scores of rows first to last, of one block, into losses, dscores and factors.

    count: rows of the batch.
    """
    width = padded(last - first, model.weights)
    scores = _scores_of(model, first, width)
    labels, losses = columns(model.labels, first, width), columns(model.losses, first, width)
    for i in range(last - first):
        labels[0, i] = y[order[start + first + i]]
    loss_gradient(loss, scores, labels, losses)
    weigh_rows(sample_weights, order, start + first, last - first, scores, labels, losses)
    for k in range(scores.shape[0]):
        for i in range(last - first, width):
            scores[k, i] = 0
    factor = row_factor(features, optimizer, model, rates, count)
    begin = first // block_rows(model) * block_rows(model)
    pack_factors(
        scores, begin, end_of_block(model, begin, count), first, last, factor, tile, model.factors
    )


@pasted_kernel
def row_factor(features, optimizer, model, rates, count):
    """Return what dscores are multiplied by when a row is added to the accumulator."""
    factor = gradient_factor(optimizer, rates, model.scale[0]) / count * features.scale
    return model.weights.dtype.type(factor)


@pasted_kernel
def sum_dscores(model, count):
    """Sum dscores over the batch, class by class; past the batch they are zero."""
    for k in range(model.bias.size):
        model.dscore_sums[k] = 0
    rows = block_rows(model)
    for first in range(0, count, rows):
        scores = model.scores[first // rows]
        for k in range(model.bias.size):
            model.dscore_sums[k] += sum_of_row(scores, k, min(rows, count - first))


@pasted_kernel
def backward_prepare(model, optimizer, rates, tile, d, first, last):
    """Ready the vectors first to last of every class for the rows of a batch."""
    size = len(tile) * simd.lanes(model.weights)
    for piece in range(0, model.weights.size, vector_count(d, model.weights) * size):
        begin, end = piece + first * size, piece + last * size
        prepare(optimizer, model.weights, rates, model.scale[0], begin, end)


@pasted_kernel
def backward_rows(X, features, order, start, count, is_first, model, tile, panel, first, last):
    """Add the rows of a batch to the vectors first to last of every class.

    is_first: whether no other classifier has asked for the rows of the next batch.
    """
    has_room = count * X.shape[1] * X.itemsize <= MOST_BYTES_AHEAD
    ahead = count if is_first and has_room else 0
    batch_update(
        X, features.shift, order, start, count, ahead, model.factors, tile, panel,
        model.accumulator, first, last,
    )  # fmt: skip


@pasted_kernel
def backward_finish(model, features, optimizer, rates, count, tile, d, first, last):
    """End the step for the vectors first to last of every class."""
    factor = row_factor(features, optimizer, model, rates, count)
    subtract_mean(features, model.accumulator, factor, model.dscore_sums, tile, first, last)
    size = len(tile) * simd.lanes(model.weights)
    for piece in range(0, model.weights.size, vector_count(d, model.weights) * size):
        begin, end = piece + first * size, piece + last * size
        finish(optimizer, model.weights, rates, model.scale[0], begin, end)
    refresh_row_weights(features, model.weights, model.row_weights, tile, first, last)


@pasted_kernel
def end_step(model, optimizer, rates, count):
    """Take the step of the scale and of the bias, and return the sum of the batch's losses."""
    model.scale[0], _ = scale_after(model.scale[0], rates.decay)
    for k in range(model.bias.size):
        model.bias_gradient[k] = model.dscore_sums[k] / count
    step_bias(optimizer, model.bias, model.bias_gradient, rates)
    total = 0.0
    for i in range(count):
        total += model.losses[0, i]
    return total


@kernel
def shared_epoch(
    member, team, pieces, X, y, sample_weights, order, model, features, rates, batch_size, loss,
    optimizer, tile, products, totals,
):  # fmt: skip
    """Take one SGD step per batch of `order`, as a member of a team that shares every step.

    X (n, d) rows as stored (see `stored`), C-contiguous; y (n,) int64 labels in [0, K);
    sample_weights and loss named tuples of `fastlin.kernels.losses`; order (m,) int64 row numbers,
    taken batch_size at a time, the last batch perhaps short; model one of `new_classifiers`,
    updated in place; features a named tuple of `fastlin.kernels.features`, which says what its
    weights are; rates and optimizer of `fastlin.kernels.optimizers`; tile a `class_tile`; products
    of `products.new_scratch`; totals (1,) float64, to which the losses (without penalty) of the
    rows are added as the epoch meets them.
    """
    small_code()
    vectors, step = vector_count(X.shape[1], model.weights), simd.lanes(model.weights)
    sums, panel = products.sums[member], products.panels[member]
    phase = np.int64(0)
    for start in range(0, order.size, batch_size):
        count = min(batch_size, order.size - start)
        # Forward: the rows of the batch.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first, last = share(piece, pieces, count, step)
            # Every piece computes the offsets, and writes the same: there is no phase for it.
            prepare_forward(model, features, tile, sums)
            # Block of rows: their scores stay in the caches until they are dscores.
            while first < last:
                end = end_of_block(model, first, last)
                forward_scores(X, order, start, first, end, model, features, tile, sums)
                forward_loss(
                    y, sample_weights, order, start, first, end, count, model, features, loss,
                    optimizer, rates, tile,
                )  # fmt: skip
                first = end
            if is_last(team, phase, pieces):
                sum_dscores(model, count)
                open_phase(team, phase + 1)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
        # Backward: the features of W.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first, last = share(piece, pieces, vectors, len(column_tile(tile)))
            if first < last:
                backward_prepare(model, optimizer, rates, tile, X.shape[1], first, last)
                backward_rows(
                    X, features, order, start, count, True, model, tile, panel, first, last
                )
                backward_finish(
                    model, features, optimizer, rates, count, tile, X.shape[1], first, last
                )
            if is_last(team, phase, pieces):
                totals[0] += end_step(model, optimizer, rates, count)
                open_phase(team, phase + 1)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
    wait_for(team, phase)
