"""How a stored row u becomes a feature vector x, folded into weights and update.

Rows are never converted. What a kernel keeps as W depends on the kind of features:

Scaled         x = scale * u. W is the weights of x, and scores are scale * (W u) + b.
Standardized   x = (u - mean) / std, per feature. With V the weights of x, W is std * V. Scores are
               U u + (b - U mean) with U = W / std**2, and the step on V,
               dV = sum_i dscores_i (u_i - mean) / std, is std * dV = sum_i dscores_i (u_i - mean)
               on W: the rank-B update of the rows as stored, less one row more, the mean.
               Penalty and momentum are linear in W, so nothing else changes.

Where a mean is far larger than its std, U u and U mean cancel, and float32 has no digits left.
Then u stands for the stored row less a shift, which is subtracted as rows are loaded, in the dtype
they are stored in (float16 and bfloat16 in float32); mean is what is left of it, next to nothing.

The kind is a named tuple, and its type selects the code (`by_type`). W and U are packed, as
`fastlin.kernels.tiles` has them; a piece of them is the vectors first to last of every class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.jit import by_type, inline_kernel, kernel
from fastlin.kernels.team import finish_piece, next_piece, wait_for
from fastlin.kernels.tiles import aligned_zeros, scores_of_few, vector_count

COLUMN_BLOCK = 256


class Scaled(NamedTuple):
    """x = scale * u; scale of W's dtype; shift as in `Standardized`."""

    scale: float
    shift: np.ndarray | tuple[()]


class Standardized(NamedTuple):
    """x = (u - mean) / std.

    mean (1, d) and inverse_variance (d,), 1 / std**2, of W's dtype; shift (d,) of the rows'
    numbers, or () for none; first_row: the number of the one row of mean, (1,) int64.
    """

    mean: np.ndarray
    inverse_variance: np.ndarray
    shift: np.ndarray | tuple[()]
    first_row: np.ndarray


@inline_kernel
def _nothing_to_divide(features, packed, row_weights, tile, first, last):
    """Compute a piece of U from W, which are the same."""


@inline_kernel
def _divide_by_variance(features, packed, row_weights, tile, first, last):
    """Compute a piece of U from W: U = W / std**2."""
    C, step = len(tile), simd.lanes(packed)
    d = features.inverse_variance.size
    vectors = vector_count(d, packed)
    for t in range(packed.size // (vectors * C * step)):
        for vector in range(first, last):
            factors = features.inverse_variance[vector * step : min((vector + 1) * step, d)]
            for c in range(C):
                place = ((t * vectors + vector) * C + c) * step
                w, u = packed[place : place + step], row_weights[place : place + step]
                for j in range(factors.size):
                    u[j] = w[j] * factors[j]


@inline_kernel
def _offsets_of_zero(features, row_weights, scale, b, tile, sums, offsets):
    """Write what is added to scale * U u, b, to offsets (K, one vector)."""
    for k in range(b.size):
        offsets[k, 0] = b[k]


@inline_kernel
def _offsets_of_mean(features, row_weights, scale, b, tile, sums, offsets):
    """Write what is added to scale * U u, b - scale * U mean, to offsets (K, one vector)."""
    scores_of_few(
        features.mean, (), features.first_row, 0, 1, row_weights, b, b.dtype.type(-scale), tile,
        sums, offsets,
    )  # fmt: skip


@inline_kernel
def _scale(features):
    """Return what U u is multiplied by."""
    return features.scale


@inline_kernel
def _one(features):
    """Return what U u is multiplied by."""
    return 1.0


@inline_kernel
def _no_mean(features, packed, factor, dscore_sums, tile, first, last):
    """Subtract a piece of factor * dscore_sums mean^T from W: there is no mean."""


@inline_kernel
def _subtract_mean(features, packed, factor, dscore_sums, tile, first, last):
    """Subtract a piece of factor * dscore_sums mean^T from W."""
    C, step = len(tile), simd.lanes(packed)
    d = features.mean.size
    vectors = vector_count(d, packed)
    for k in range(dscore_sums.size):
        amount = packed.dtype.type(factor * dscore_sums[k])
        for vector in range(first, last):
            mean = features.mean[0, vector * step : min((vector + 1) * step, d)]
            place = ((k // C * vectors + vector) * C + k % C) * step
            w = packed[place : place + step]
            for j in range(mean.size):
                w[j] -= amount * mean[j]


@kernel
def add_columns(member, team, pieces, X, first_row, last_row, mean, power, sums):
    """Add (X - mean)**power over the rows first_row to last_row to the sums of the columns.

    As a member of a team whose pieces are blocks of `COLUMN_BLOCK` columns: X (n, d); mean and sums
    (d,) float64; power 1 or 2.
    """
    d, phase = X.shape[1], np.int64(0)
    piece = next_piece(team, phase, member, pieces)
    while piece >= 0:
        first = piece * COLUMN_BLOCK
        last = min(first + COLUMN_BLOCK, d)
        means, totals = mean[first:last], sums[first:last]
        for i in range(first_row, last_row):
            row = X[i, first:last]
            if power == 1:
                for j in range(row.size):
                    totals[j] += simd.as_number(row[j]) - means[j]
            else:
                for j in range(row.size):
                    totals[j] += (simd.as_number(row[j]) - means[j]) ** 2
        finish_piece(team, phase, pieces)
        piece = next_piece(team, phase, member, pieces)
    wait_for(team, phase + 1)


def weights_of_rows(features: Scaled | Standardized, packed: np.ndarray) -> np.ndarray:
    """Return an array for U, the weights of rows as stored: W itself if they are the same."""
    if isinstance(features, Scaled):
        return packed
    return aligned_zeros(packed.shape, packed.dtype)


refresh_row_weights = by_type({Scaled: _nothing_to_divide, Standardized: _divide_by_variance})
row_offsets = by_type({Scaled: _offsets_of_zero, Standardized: _offsets_of_mean})
row_scale = by_type({Scaled: _scale, Standardized: _one})
subtract_mean = by_type({Scaled: _no_mean, Standardized: _subtract_mean})
