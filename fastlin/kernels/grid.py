"""Many classifiers at once, or one: each mini-batch passes through a group while it is in cache.

Entries with the same batches form a group. A thread takes a piece of a batch that the second-level
cache holds through all entries of its group before it goes on to the next: a piece is some rows for
the scores, some columns for the update. What is done to an entry is, in order, the same whatever
the company, so every entry has the bits of a run of its own.
"""

from __future__ import annotations

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel, kernel
from fastlin.kernels.optimizers import optimizer_of_entry, rates_of_entry
from fastlin.kernels.products import scratch_panels, scratch_sums
from fastlin.kernels.sgd import (
    backward_finish,
    backward_prepare,
    backward_rows,
    classifier,
    end_step,
    forward_loss,
    forward_scores,
    prepare_forward,
    sum_dscores,
)
from fastlin.kernels.team import finish_piece, next_piece, wait_for
from fastlin.kernels.tiles import column_tile, vector_count

ROW_MULTIPLE = 16  # a whole number of the widest vectors
CACHED_ROWS_BYTES = 256 * 1024  # they stay in the second-level cache, beside weights


def _train_group(
    X, y, sample_weights, order, first_entry, last_entry, weights, row_weights, scales, b, features,
    optimizer, rates, batch_size, loss, tile, loss_sums,
):  # fmt: skip
    """Take an epoch of the entries first_entry to last_entry, all with the same batches.

    order (m,) int64 and batch_size are those of all these entries; the rest as in `grid_epoch`.
    """
    d, vectors = X.shape[1], vector_count(X.shape[1], b)
    sums, panel = scratch_sums(1, tile, b)[0], scratch_panels(1, tile, b)[0]
    largest = min(batch_size, order.size)
    rows = ROW_MULTIPLE
    while 2 * rows * d * X.itemsize <= CACHED_ROWS_BYTES:
        rows *= 2
    tile_vectors = len(column_tile(tile))
    tile_bytes = largest * tile_vectors * simd.lanes(b) * X.itemsize
    columns = max(1, CACHED_ROWS_BYTES // tile_bytes) * tile_vectors
    entries = np.arange(first_entry, last_entry)
    if entries.size == 1:  # pieces of a batch are for entries that share it
        columns = vectors
    models = [
        classifier(weights[e], row_weights[e], scales[e : e + 1], b[e], features, d, largest, tile)
        for e in entries
    ]
    optimizers = [optimizer_of_entry(optimizer, e) for e in entries]
    own_rates = [rates_of_entry(rates, e) for e in entries]
    totals, zero = loss_sums[first_entry:last_entry], np.int64(0)
    for start in range(0, order.size, batch_size):
        count = min(batch_size, order.size - start)
        for m in range(entries.size):
            prepare_forward(models[m], features, tile, sums)
        for first in range(0, count, rows):
            last = min(first + rows, count)
            for m in range(entries.size):
                forward_scores(X, order, start, first, last, models[m], features, tile, sums)
        for m in range(entries.size):
            forward_loss(
                y, sample_weights, order, start, zero, count, count, models[m], features, loss,
                optimizers[m], own_rates[m], tile,
            )  # fmt: skip
            sum_dscores(models[m], count)
            backward_prepare(models[m], optimizers[m], own_rates[m], tile, d, zero, vectors)
        for first in range(0, vectors, columns):
            last = min(first + columns, vectors)
            for m in range(entries.size):
                backward_rows(
                    X, features, order, start, count, count if m == 0 else 0, models[m],
                    optimizers[m], tile, panel, first, last,
                )  # fmt: skip
        for m in range(entries.size):
            backward_finish(
                models[m], features, optimizers[m], own_rates[m], count, tile, d, zero, vectors
            )
            totals[m] += end_step(models[m], optimizers[m], own_rates[m], count)


train_group = inline_kernel(_train_group)
group_epoch = kernel(_train_group)  # for one group, without the loop over threads to compile


@kernel
def grid_epoch(
    member, team, pieces, X, y, sample_weights, orders, order_firsts, order_lasts, bounds, weights,
    row_weights, scales, b, features, optimizer, rates, batch_sizes, loss, tile, loss_sums,
):  # fmt: skip
    """Take an epoch of many entries, as a member of a team; weights and all else change in place.

    X (n, d), y (n,), sample_weights, features, loss and tile as in `shared_epoch`. Arrays over
    all M entries: weights and row_weights (M, packed size), scales (M,) float64, b (M, K);
    optimizer and rates, whose arrays have one axis more; batch_sizes, order_firsts, order_lasts
    (M,) int64: entry e takes the rows orders[order_firsts[e] : order_lasts[e]]; orders int64;
    loss_sums (M,) float64, to which losses of rows are added as the epoch meets them. Piece p is
    the entries bounds[p] to bounds[p + 1]; neighbours with equal batches share them.
    """
    phase = np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first = bounds[piece]
        while first < bounds[piece + 1]:
            last = first + 1
            while last < bounds[piece + 1] and (
                batch_sizes[last] == batch_sizes[first]
                and order_firsts[last] == order_firsts[first]
            ):
                last += 1
            order = orders[order_firsts[first] : order_lasts[first]]
            train_group(
                X, y, sample_weights, order, first, last, weights, row_weights, scales, b, features,
                optimizer, rates, batch_sizes[first], loss, tile, loss_sums,
            )  # fmt: skip
            first = last
        finish_piece(team, phase, pieces)
        piece = next_piece(team, phase, member, pieces)
    wait_for(team, phase + 1)
