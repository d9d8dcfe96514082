"""How a stored row u becomes a feature vector x, folded into weights and update.

Rows are never converted. What a kernel keeps as W depends on the kind of features:

Scaled         x = scale * u. W is the weights of x, and scores are scale * (W u) + b.
Standardized   x = (u - mean) / std, per feature. With V the weights of x, W is std * V. Scores are
               U u + (b - U mean) with U = W / std**2, and the step on V,
               dV = sum_i dscores_i (u_i - mean) / std, is std * dV = sum_i dscores_i (u_i - mean)
               on W: the rank-B update of the rows as stored, less one row more, the mean.
               Penalty and momentum are linear in W, so nothing else changes.

The kind is a named tuple, and its type selects the code (`by_type`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from fastlin.kernels.jit import by_type, inline_kernel, parallel_kernel
from fastlin.kernels.tiles import single_row_scores

COLUMN_BLOCK = 256


class Scaled(NamedTuple):
    """x = scale * u; scale of W's dtype."""

    scale: float


class Standardized(NamedTuple):
    """x = (u - mean) / std; mean (1, d) and inverse_variance (d,), 1 / std**2, of W's dtype."""

    mean: np.ndarray
    inverse_variance: np.ndarray


@inline_kernel
def _same_weights(features, W):
    """Return U, the weights of rows as stored: W itself."""
    return W


@inline_kernel
def _new_weights(features, W):
    """Return U, the weights of rows as stored: a new array (K, d)."""
    return np.empty_like(W)


@inline_kernel
def _nothing_to_divide(features, W, U, first, last):
    """Compute columns first to last of U from W, which are the same."""


@inline_kernel
def _divide_by_variance(features, W, U, first, last):
    """Compute columns first to last of U from W: U = W / std**2."""
    for k in range(W.shape[0]):
        w, u = W[k, first:last], U[k, first:last]
        factors = features.inverse_variance[first:last]
        for j in range(w.size):
            u[j] = w[j] * factors[j]


@inline_kernel
def _offsets_of_zero(features, U, b, tile, offsets):
    """Write what is added to U u, b, to offsets (K,)."""
    offsets[:] = b


@inline_kernel
def _offsets_of_mean(features, U, b, tile, offsets):
    """Write what is added to U u, b - U mean, to offsets (K,)."""
    single_row_scores(features.mean, U, tile, offsets)
    for k in range(b.size):
        offsets[k] = b[k] - offsets[k]


@inline_kernel
def _scale(features, W):
    """Return what U u is multiplied by, in W's dtype."""
    return W.dtype.type(features.scale)


@inline_kernel
def _one(features, W):
    """Return what U u is multiplied by, in W's dtype."""
    return W.dtype.type(1)


@inline_kernel
def _no_mean(features, W, factor, dscore_sums, first, last):
    """Subtract factor * dscore_sums mean^T from columns first to last of W: there is no mean."""


@inline_kernel
def _subtract_mean(features, W, factor, dscore_sums, first, last):
    """Subtract factor * dscore_sums mean^T from columns first to last of W."""
    for k in range(W.shape[0]):
        w, mean = W[k, first:last], features.mean[0, first:last]
        amount = factor * dscore_sums[k]
        for j in range(w.size):
            w[j] -= amount * mean[j]


@parallel_kernel
def column_moments(X, mean, variance):
    """Write the mean and the variance of every column of X (n, d); both (d,) float64."""
    n, d = X.shape
    for block in prange((d + COLUMN_BLOCK - 1) // COLUMN_BLOCK):
        first = np.int64(block) * COLUMN_BLOCK
        last = min(first + COLUMN_BLOCK, d)
        means, sums = mean[first:last], np.zeros(last - first)
        for i in range(n):
            row = X[i, first:last]
            for j in range(row.size):
                sums[j] += row[j]
        means[:] = sums / n
        sums[:] = 0
        for i in range(n):
            row = X[i, first:last]
            for j in range(row.size):
                sums[j] += (row[j] - means[j]) ** 2
        variance[first:last] = sums / n


row_weights = by_type({Scaled: _same_weights, Standardized: _new_weights})
refresh_row_weights = by_type({Scaled: _nothing_to_divide, Standardized: _divide_by_variance})
row_offsets = by_type({Scaled: _offsets_of_zero, Standardized: _offsets_of_mean})
row_scale = by_type({Scaled: _scale, Standardized: _one})
subtract_mean = by_type({Scaled: _no_mean, Standardized: _subtract_mean})
