"""Losses and predictions over a data set: threads divide the rows, block by block.

Scratch is allocated before a member takes a piece: one that fails keeps no piece from the others.
"""

from __future__ import annotations

import numpy as np

from fastlin.kernels.jit import inline_kernel, kernel
from fastlin.kernels.losses import PADDING, loss_gradient, padded, predict_classes
from fastlin.kernels.products import batch_scores, scratch_sums
from fastlin.kernels.team import finish_piece, next_piece, wait_for

BLOCK_ROWS = 128  # a whole number of the widest vectors


@inline_kernel
def number_rows(order, start, stop):
    """Write the row numbers from start on to the first elements of order."""
    for i in range(stop - start):
        order[i] = start + i


@inline_kernel
def blocks_of_piece(piece, pieces, row_count):
    """Return (first, last) of the blocks of rows that are a piece."""
    blocks = (row_count + BLOCK_ROWS - 1) // BLOCK_ROWS
    return blocks * piece // pieces, blocks * (piece + 1) // pieces


@kernel
def evaluate_rows(
    member, team, pieces, X, shift, y, first_row, last_row, weights, b, scale, loss, tile, losses,
    predictions,
):  # fmt: skip
    """Write rows' losses (without penalty) and predicted classes, for M classifiers in one pass.

    As a member of a team, of the rows first_row to last_row: X (n, d) rows as stored; shift (d,) of
    X's dtype, or () for none; y (n,) int64; weights (M, packed size); b (M, K); scale: features are
    scale * (X - shift); loss a named tuple of `fastlin.kernels.losses`; tile a `class_tile`; losses
    (M, n) of the dtype of b and predictions (M, n) int64, overwritten.
    """
    M, K = b.shape
    sums, order = scratch_sums(1, tile, b)[0], np.zeros(BLOCK_ROWS, np.int64)
    block_scores = np.zeros((K, BLOCK_ROWS + PADDING), b.dtype)
    block_labels = np.zeros((1, BLOCK_ROWS), b.dtype)
    block_values = np.zeros((1, BLOCK_ROWS), b.dtype)
    phase = np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first_block, last_block = blocks_of_piece(piece, pieces, last_row - first_row)
        for block in range(first_block, last_block):
            start = first_row + block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, last_row)
            width = padded(stop - start, b)
            scores = block_scores[:, :width]
            labels, row_values = block_labels[:, :width], block_values[:, :width]
            number_rows(order, start, stop)
            for i in range(stop - start):
                labels[0, i] = y[start + i]
            for m in range(M):
                batch_scores(
                    X, shift, order, np.int64(0), stop - start, weights[m], b[m], scale, tile, sums,
                    scores,
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
    member, team, pieces, X, shift, first_row, last_row, weights, b, scale, tile, scores
):
    """Write the scores of rows, class by class, as a member of a team.

    X (n, d) rows as stored, of which first_row to last_row are scored; first_row is a multiple of
    `BLOCK_ROWS`; weights packed; b (K,); shift, scale and tile as in `evaluate_rows`; scores (K, n
    in whole vectors) of the dtype of b, overwritten.
    """
    sums, order = scratch_sums(1, tile, b)[0], np.zeros(BLOCK_ROWS, np.int64)
    phase = np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first_block, last_block = blocks_of_piece(piece, pieces, last_row - first_row)
        for block in range(first_block, last_block):
            start = first_row + block * BLOCK_ROWS
            stop = min(start + BLOCK_ROWS, last_row)
            number_rows(order, start, stop)
            batch_scores(
                X, shift, order, np.int64(0), stop - start, weights, b, scale, tile, sums,
                scores[:, start:],
            )  # fmt: skip
        finish_piece(team, phase, pieces)
        piece = next_piece(team, phase, member, pieces)
    wait_for(team, phase + 1)
