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
    row_scale,
    subtract_mean,
)
from fastlin.kernels.jit import inline_kernel, kernel, pasted_kernel
from fastlin.kernels.losses import PADDING, loss_gradient, padded, sum_of_row, weigh_rows
from fastlin.kernels.optimizers import (
    accumulator,
    finish,
    gradient_factor,
    prepare,
    scale_after,
    step_bias,
)
from fastlin.kernels.products import batch_scores, batch_update, scratch_panels, scratch_sums
from fastlin.kernels.team import is_last, next_piece, open_phase, wait_for
from fastlin.kernels.tiles import column_tile, pack_factors, tile_count, vector_count


class Classifier(NamedTuple):
    """What one classifier holds while it is trained: weights, packed, and scratch for a batch.

    weights, row_weights (flat, packed; see `features`) and scale (1,) float64: W is scale * weights
    (see `optimizers`); bias (K,), offsets (K, one vector), scores (K, width + `PADDING`), labels
    and losses (1, width), factors (flat; see `pack_factors`), and dscore_sums and bias_gradient
    (K,) float64. width: the rows of the largest batch, in whole vectors.
    """

    weights: np.ndarray
    row_weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    offsets: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    factors: np.ndarray
    dscore_sums: np.ndarray
    bias_gradient: np.ndarray


@inline_kernel
def classifier(weights, row_weights, scale, b, features, d, batch_size, tile):
    """Return a `Classifier` of weights, row_weights, scale and b (K,), which stay in place."""
    K, width = b.size, padded(batch_size, b)
    refresh_row_weights(features, weights, row_weights, tile, np.int64(0), vector_count(d, weights))
    return Classifier(
        weights,
        row_weights,
        scale,
        b,
        np.zeros((K, simd.lanes(b)), b.dtype),
        np.zeros((K, width + PADDING), b.dtype),
        np.zeros((1, width), b.dtype),
        np.zeros((1, width), b.dtype),
        np.zeros(tile_count(K, tile) * len(tile) * batch_size, b.dtype),
        np.zeros(K, np.float64),
        np.zeros(K, np.float64),
    )


@inline_kernel
def share(piece, pieces, count, whole):
    """Return (first, last) of a piece of range(count); bounds are multiples of `whole`, or end."""
    units = (count + whole - 1) // whole
    return (
        min(units * piece // pieces * whole, count),
        min(units * (piece + 1) // pieces * whole, count),
    )


@pasted_kernel
def prepare_forward(model, features, tile, sums):
    """Compute what every row's scores need of the weights."""
    row_offsets(features, model.row_weights, model.scale[0], model.bias, tile, sums, model.offsets)


@pasted_kernel
def forward_scores(X, order, start, first, last, model, features, tile, sums):
    """Write the scores of rows first to last of the batch at `start`; first in whole vectors."""
    scale = model.weights.dtype.type(row_scale(features) * model.scale[0])
    batch_scores(
        X, features.shift, order, start + first, start + last, model.row_weights,
        model.offsets[:, 0], scale, tile, sums, model.scores[:, first:],
    )  # fmt: skip


@inline_kernel
def forward_loss(
    y, sample_weights, order, start, first, last, count, model, features, loss, optimizer, rates,
    tile,
):  # fmt: skip
    """Turn scores of rows first to last of a batch of `count` into losses, dscores, factors."""
    width = padded(last - first, model.weights)
    scores = model.scores[:, first : first + width]
    labels, losses = model.labels[:, first : first + width], model.losses[:, first : first + width]
    for i in range(last - first):
        labels[0, i] = y[order[start + first + i]]
    loss_gradient(loss, scores, labels, losses)
    weigh_rows(sample_weights, order, start + first, last - first, scores, labels, losses)
    for k in range(scores.shape[0]):
        for i in range(last - first, width):
            scores[k, i] = 0
    factor = row_factor(features, optimizer, model, rates, count)
    pack_factors(scores, first, last, factor, count, tile, model.factors)


@pasted_kernel
def row_factor(features, optimizer, model, rates, count):
    """Return what dscores are multiplied by when a row is added to the accumulator."""
    factor = gradient_factor(optimizer, rates, model.scale[0]) / count * row_scale(features)
    return model.weights.dtype.type(factor)


@pasted_kernel
def sum_dscores(model, count):
    """Sum dscores over the batch, class by class; past the batch they are zero."""
    scores = model.scores
    for k in range(scores.shape[0]):
        model.dscore_sums[k] = sum_of_row(scores, k, count)


@pasted_kernel
def backward_prepare(model, optimizer, rates, tile, d, first, last):
    """Ready the vectors first to last of every class for the rows of a batch."""
    vectors = vector_count(d, model.weights)
    size = len(tile) * simd.lanes(model.weights)
    for t in range(tile_count(model.bias.size, tile)):
        piece = t * vectors * size
        prepare(
            optimizer,
            model.weights,
            rates,
            model.scale[0],
            piece + first * size,
            piece + last * size,
        )


@pasted_kernel
def backward_rows(
    X, features, order, start, count, ahead, model, optimizer, tile, panel, first, last
):
    """Add the rows of a batch to the vectors first to last of every class; ask for those ahead."""
    target = accumulator(optimizer, model.weights)
    batch_update(
        X, features.shift, order, start, count, ahead, model.factors, tile, panel, target, first,
        last,
    )  # fmt: skip


@pasted_kernel
def backward_finish(model, features, optimizer, rates, count, tile, d, first, last):
    """End the step for the vectors first to last of every class."""
    target = accumulator(optimizer, model.weights)
    factor = row_factor(features, optimizer, model, rates, count)
    subtract_mean(features, target, factor, model.dscore_sums, tile, first, last)
    vectors = vector_count(d, model.weights)
    size = len(tile) * simd.lanes(model.weights)
    for t in range(tile_count(model.bias.size, tile)):
        piece = t * vectors * size
        finish(
            optimizer,
            model.weights,
            rates,
            model.scale[0],
            piece + first * size,
            piece + last * size,
        )
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
def new_classifier(weights, row_weights, scale, b, features, d, batch_size, tile):
    """Return a `Classifier` for `shared_epoch`, ready for its first step."""
    model = classifier(weights, row_weights, scale, b, features, d, batch_size, tile)
    prepare_forward(model, features, tile, scratch_sums(1, tile, weights)[0])
    return model


@kernel
def shared_epoch(
    member, team, pieces, X, y, sample_weights, order, model, features, rates, batch_size, loss,
    optimizer, tile, totals,
):  # fmt: skip
    """Take one SGD step per batch of `order`, as a member of a team that shares every step.

    X (n, d) rows as stored (see `stored`), C-contiguous; y (n,) int64 labels in [0, K);
    sample_weights and loss named tuples of `fastlin.kernels.losses`; order (m,) int64 row numbers,
    taken batch_size at a time, the last batch perhaps short; model of `new_classifier`, updated in
    place; features a named tuple of `fastlin.kernels.features`, which says what its weights are;
    rates and optimizer of `fastlin.kernels.optimizers`; tile a `class_tile`; totals (1,) float64,
    to which the losses (without penalty) of the rows are added as the epoch meets them.
    """
    vectors, step = vector_count(X.shape[1], model.weights), simd.lanes(model.weights)
    sums = scratch_sums(1, tile, model.weights)[0]
    panel = scratch_panels(1, tile, model.weights)[0]
    phase = np.int64(0)
    for start in range(0, order.size, batch_size):
        count = min(batch_size, order.size - start)
        # Forward: the rows of the batch.
        wait_for(team, phase)
        piece = next_piece(team, phase, member, pieces)
        while piece >= 0:
            first, last = share(piece, pieces, count, step)
            if first < last:
                forward_scores(X, order, start, first, last, model, features, tile, sums)
                forward_loss(
                    y, sample_weights, order, start, first, last, count, model, features, loss,
                    optimizer, rates, tile,
                )  # fmt: skip
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
                    X, features, order, start, count, count, model, optimizer, tile, panel, first,
                    last,
                )  # fmt: skip
                backward_finish(
                    model, features, optimizer, rates, count, tile, X.shape[1], first, last
                )
            if is_last(team, phase, pieces):
                totals[0] += end_step(model, optimizer, rates, count)
                prepare_forward(model, features, tile, sums)
                open_phase(team, phase + 1)
            piece = next_piece(team, phase, member, pieces)
        phase += 1
    wait_for(team, phase)
