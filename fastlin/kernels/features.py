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
from fastlin.kernels.tiles import aligned_zeros

COLUMN_BLOCK = 256


class Scaled(NamedTuple):
    """x = scale * u; scale of W's dtype; shift as in `Standardized`."""

    scale: float
    shift: np.ndarray | tuple[()]


class Standardized(NamedTuple):
    """x = (u - mean) / std.

    scale is 1, and mean and inverse_variance, 1 / std**2, are (d,) with zeros to the end of a
    vector, all of W's dtype; shift (d,) of the rows' numbers, or () for none.
    """

    scale: float
    mean: np.ndarray
    inverse_variance: np.ndarray
    shift: np.ndarray | tuple[()]


@inline_kernel
def _nothing_to_divide(features, packed, row_weights, tile, first, last):
    """Compute a piece of U from W, which are the same."""


@inline_kernel
def _divide_by_variance(features, packed, row_weights, tile, first, last):
    """Compute a piece of U from W: U = W / std**2."""
    C, step = len(tile), simd.lanes(packed)
    size = features.inverse_variance.size
    for start in range(0, packed.size, size * C):
        for vector in range(first, last):
            factors = simd.load_run(features.inverse_variance, vector * step, (0,))[0]
            place = start + vector * C * step
            for c in range(C):
                w = simd.load_run(packed, place + c * step, (0,))[0]
                simd.store_run(row_weights, place + c * step, (w * factors,))


@inline_kernel
def _offsets_of_zero(features, row_weights, scale, b, tile, sums, offsets):
    """Write what is added to scale * U u, b, to offsets (K,)."""
    for k in range(b.size):
        offsets[k] = b[k]


@inline_kernel
def _offsets_of_mean(features, row_weights, scale, b, tile, sums, offsets):
    """Write what is added to scale * U u, b - scale * U mean, to offsets (K,); sums is scratch.

    Products are summed in the order in which `tiles.scores_of_few` sums those of a row.
    """
    C, step, size = len(tile), simd.lanes(row_weights), features.mean.size
    factor = b.dtype.type(-scale)
    for first in range(0, b.size, C):
        total = simd.zeros((0,), tile, row_weights)
        for j in range(0, size, step):
            mean = simd.load_run(features.mean, j, (0,))
            w = simd.load_run(row_weights, first * size + j * C, tile)
            total = simd.outer_fma(total, mean, w)
        simd.store_run(sums, 0, total)
        for k in range(first, min(first + C, b.size)):
            lanes = simd.load_run(sums, (k - first) * step, (0,))[0]
            offsets[k] = simd.sum_lanes(lanes) * factor + b[k]


@inline_kernel
def _no_mean(features, packed, factor, dscore_sums, tile, first, last):
    """Subtract a piece of factor * dscore_sums mean^T from W: there is no mean."""


@inline_kernel
def _subtract_mean(features, packed, factor, dscore_sums, tile, first, last):
    """Subtract a piece of factor * dscore_sums mean^T from W."""
    C, step = len(tile), simd.lanes(packed)
    for k in range(dscore_sums.size):
        amount = simd.splat(packed.dtype.type(factor * dscore_sums[k]), packed)
        start = k // C * C * features.mean.size + k % C * step
        for vector in range(first, last):
            mean = simd.load_run(features.mean, vector * step, (0,))[0]
            w = simd.load_run(packed, start + vector * C * step, (0,))[0]
            simd.store_run(packed, start + vector * C * step, (w - amount * mean,))


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


def weights_of_rows(
    features: Scaled | Standardized, packed: np.ndarray, tile: tuple[int, ...]
) -> np.ndarray:
    """Return U (M, packed size), the weights of rows as stored: W itself if they are the same."""
    if isinstance(features, Scaled):
        return packed
    row_weights = aligned_zeros(packed.shape, packed.dtype)
    vectors = features.inverse_variance.reshape(-1, 1, simd.VECTOR_BYTES // packed.itemsize)
    shape = (-1, len(vectors), len(tile), vectors.shape[-1])
    np.multiply(packed.reshape(shape), vectors, out=row_weights.reshape(shape))
    return row_weights


refresh_row_weights = by_type({Scaled: _nothing_to_divide, Standardized: _divide_by_variance})
row_offsets = by_type({Scaled: _offsets_of_zero, Standardized: _offsets_of_mean})
subtract_mean = by_type({Scaled: _no_mean, Standardized: _subtract_mean})
