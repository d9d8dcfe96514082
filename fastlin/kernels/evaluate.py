"""Losses and predictions over a data set: threads divide the rows, block by block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels.jit import kernel, pasted_kernel, small_code
from fastlin.kernels.losses import PADDING, loss_gradient, predict_classes
from fastlin.kernels.products import batch_scores
from fastlin.kernels.team import finish_piece, next_piece, wait_for
from fastlin.kernels.tiles import padded
from fastlin.kernels.views import columns

BLOCK_ROWS = 128  # a whole number of the widest vectors


class BlockScratch(NamedTuple):
    """Arrays of every member of a team for a block of rows, one axis more than what they hold.

    Row numbers order (`BLOCK_ROWS`,) int64; scores (K, `BLOCK_ROWS` + `PADDING`), labels and losses
    (1, `BLOCK_ROWS`), of the dtype of the weights.
    """

    order: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    losses: np.ndarray


def new_order(members: int) -> np.ndarray:
    """Return an array for the row numbers of a block, for each of so many members."""
    return np.zeros((members, BLOCK_ROWS), np.int64)


def new_block_scratch(members: int, K: int, dtype: np.dtype) -> BlockScratch:
    """Return the scratch arrays of so many members, for K classes."""
    return BlockScratch(
        new_order(members),
        np.zeros((members, K, BLOCK_ROWS + PADDING), dtype),
        np.zeros((members, 1, BLOCK_ROWS), dtype),
        np.zeros((members, 1, BLOCK_ROWS), dtype),
    )


@pasted_kernel
def number_rows(order, start, stop):
    """Write the row numbers from start on to the first elements of order."""
    for i in range(stop - start):
        order[i] = start + i


@pasted_kernel
def blocks_of_piece(piece, pieces, row_count):
    """Return (first, last) of the blocks of rows that are a piece."""
    blocks = (row_count + BLOCK_ROWS - 1) // BLOCK_ROWS
    return blocks * piece // pieces, blocks * (piece + 1) // pieces


@kernel
def evaluate_rows(
    member, team, pieces, X, shift, y, first_row, last_row, weights, b, scale, loss, tile, sums,
    scratch, losses, predictions,
):  # fmt: skip
    """Write rows' losses (without penalty) and predicted classes, for M classifiers in one pass.

    As a member of a team, of the rows first_row to last_row: X (n, d) rows as stored; shift (d,) of
    X's dtype, or () for none; y (n,) int64; weights (M, packed size); b (M, K); scale: features are
    scale * (X - shift); loss a named tuple of `fastlin.kernels.losses`; tile a `class_tile`; sums
    of `products.new_scratch`, and scratch of `new_block_scratch`; losses (M, n) of the dtype of b
    and predictions (M, n) int64, overwritten.
    """
    small_code()
    M, order = len(b), scratch.order[member]
    phase = np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first_block, last_block = blocks_of_piece(piece, pieces, last_row - first_row)
        for block in range(first_block, last_block):
            start = first_row + block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, last_row)
            width = padded(stop - start, b)
            scores = columns(scratch.scores[member], 0, width)
            labels = columns(scratch.labels[member], 0, width)
            row_values = columns(scratch.losses[member], 0, width)
            number_rows(order, start, stop)
            for i in range(stop - start):
                labels[0, i] = y[start + i]
            for m in range(M):
                batch_scores(
                    X, shift, order, np.int64(0), stop - start, weights[m], b[m], scale, tile,
                    sums[member], scores,
                )  # fmt: skip
                predict_classes(scores, row_values)
                for i in range(stop - start):
                    predictions[m, start + i] = np.int64(row_values[0, i])
                loss_gradient(loss, scores, labels, row_values)
                for i in range(stop - start):
                    losses[m, start + i] = row_values[0, i]
        finish_piece(team, phase, pieces)
        piece = next_piece(team, phase, member, pieces)
    wait_for(team, phase + 1)


@kernel
def score_rows(
    member, team, pieces, X, shift, first_row, last_row, weights, b, scale, tile, sums, orders,
    scores,
):  # fmt: skip
    """Write the scores of rows, class by class, as a member of a team.

    X (n, d) rows as stored, of which first_row to last_row are scored; first_row is a multiple of
    `BLOCK_ROWS`; weights packed; b (K,); shift, scale, tile and sums as in `evaluate_rows`; orders
    of `new_order`; scores (K, n in whole vectors) of the dtype of b, overwritten.
    """
    small_code()
    order = orders[member]
    phase = np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first_block, last_block = blocks_of_piece(piece, pieces, last_row - first_row)
        for block in range(first_block, last_block):
            start = first_row + block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, last_row)
            number_rows(order, start, stop)
            batch_scores(
                X, shift, order, np.int64(0), stop - start, weights, b, scale, tile,
                sums[member], columns(scores, start, padded(stop - start, b)),
            )  # fmt: skip
        finish_piece(team, phase, pieces)
        piece = next_piece(team, phase, member, pieces)
    wait_for(team, phase + 1)
