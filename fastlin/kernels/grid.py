"""Many classifiers at once, or one: each mini-batch passes through a group while it is in cache.

Entries with the same batches form a group, which one thread trains. It takes a piece of a batch
that the second-level cache holds through all entries before it goes on to the next: a piece is some
rows for the scores, some columns for the update. What is done to an entry is, in order, the same
whatever the company, so every entry has the bits of a run of its own.
"""

from __future__ import annotations

from fastlin.kernels import simd
from fastlin.kernels.jit import kernel, small_code
from fastlin.kernels.optimizers import optimizer_of_entry, rates_of_entry
from fastlin.kernels.sgd import (
    backward_finish,
    backward_prepare,
    backward_rows,
    block_rows,
    end_of_block,
    end_step,
    forward_loss,
    forward_scores,
    model_of_entry,
    prepare_forward,
    sum_dscores,
)
from fastlin.kernels.tiles import column_tile, vector_count

ROW_MULTIPLE = 16  # a whole number of the widest vectors
CACHED_ROWS_BYTES = 256 * 1024  # they stay in the second-level cache, beside weights


@kernel
def group_epoch(
    X, y, sample_weights, order, models, features, optimizer, rates, batch_size, loss, tile, sums,
    panel, loss_sums,
):  # fmt: skip
    """Take an epoch of M entries, or a part of one; weights and all else change in place.

    X (n, d), y (n,), sample_weights, order, features, batch_size, loss and tile as in
    `sgd.shared_epoch`. Arrays over the entries: models of `sgd.new_classifiers`, whose scratch may
    be of more; optimizer and rates, whose arrays have one axis more; loss_sums (M,) float64, to
    which losses of rows are added as the epoch meets them. sums and panel are those of one member
    of `products.new_scratch`.
    """
    small_code()
    entries = loss_sums.size
    d, vectors = X.shape[1], vector_count(X.shape[1], models.bias)
    largest = min(batch_size, order.size)
    rows = ROW_MULTIPLE
    while 2 * rows * d * X.itemsize <= CACHED_ROWS_BYTES:
        rows *= 2
    tile_vectors = len(column_tile(tile))
    tile_bytes = largest * tile_vectors * simd.lanes(models.bias) * X.itemsize
    columns = max(1, CACHED_ROWS_BYTES // tile_bytes) * tile_vectors
    if entries == 1:  # pieces of a batch are for entries that share it
        rows, columns = block_rows(models), vectors
    for start in range(0, order.size, batch_size):
        count = min(batch_size, order.size - start)
        for e in range(entries):
            prepare_forward(model_of_entry(models, e), features, tile, sums)
        # Block of rows: their scores stay in the caches until they are dscores.
        for begin in range(0, count, block_rows(models)):
            end = end_of_block(models, begin, count)
            for first in range(begin, end, rows):
                last = min(first + rows, end)
                for e in range(entries):
                    model = model_of_entry(models, e)
                    forward_scores(X, order, start, first, last, model, features, tile, sums)
            for e in range(entries):
                model, own_rates = model_of_entry(models, e), rates_of_entry(rates, e)
                own = optimizer_of_entry(optimizer, e)
                forward_loss(
                    y, sample_weights, order, start, begin, end, count, model, features, loss, own,
                    own_rates, tile,
                )  # fmt: skip
        for e in range(entries):
            model, own_rates = model_of_entry(models, e), rates_of_entry(rates, e)
            own = optimizer_of_entry(optimizer, e)
            sum_dscores(model, count)
            backward_prepare(model, own, own_rates, tile, d, 0, vectors)
        for first in range(0, vectors, columns):
            last = min(first + columns, vectors)
            for e in range(entries):
                is_first, model = e == 0, model_of_entry(models, e)
                backward_rows(
                    X, features, order, start, count, is_first, model, tile, panel, first, last
                )
        for e in range(entries):
            model, own_rates = model_of_entry(models, e), rates_of_entry(rates, e)
            own = optimizer_of_entry(optimizer, e)
            backward_finish(model, features, own, own_rates, count, tile, d, 0, vectors)
            loss_sums[e] += end_step(model, own, own_rates, count)
