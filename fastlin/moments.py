"""Mean and standard deviation of every column of rows; nothing is checked here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastlin import threads
from fastlin.data.stored import AnyRows, blocks_of
from fastlin.engine import Array, kernel_rows
from fastlin.kernels.features import COLUMN_BLOCK, add_columns
from fastlin.passes import SUMMED_ROWS
from fastlin.threads import current_count

# Sums of squares below this one lose digits, as float64 holds no smaller squares in full.
_LEAST_SQUARE = 1e-290


def unchecked_moments(X: AnyRows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (d,) of every column of rows as stored."""
    mean = _mean_of_columns(X, np.zeros(X.shape[1]), 1)
    variance = _mean_of_columns(X, mean, 2)
    std = np.sqrt(variance)
    if X.dtype == np.float64:  # float64 holds the squares of all other numbers
        is_exact = (variance > _LEAST_SQUARE) & (variance < np.inf)
        for j in np.flatnonzero(~is_exact & np.isfinite(mean)).tolist():
            column = np.concatenate([block[:, j] for _, block in blocks_of(X)])
            std[j] = _std_of_largest(column, float(mean[j]))
    return mean, std


def _mean_of_columns(X: AnyRows, centre: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return the mean of (X - centre)**power of every column, (d,)."""
    d = X.shape[1]
    sums, blocks = np.zeros(d), -(-d // COLUMN_BLOCK)
    members = min(current_count(), blocks)
    for _, block in blocks_of(X):
        rows = kernel_rows(block)
        # An element takes as long as some multiply-adds.
        for first, last in threads.parts(len(block), 8 * d, members=members):
            threads.run(add_columns, members, blocks, rows, first, last, centre, power, sums)
    return sums / len(X)


def _std_of_largest(column: Array, mean: float) -> float:
    """Return the standard deviation of numbers whose squares float64 cannot hold."""
    largest = max(float(column.max()) - mean, mean - float(column.min()))
    if largest == 0:
        return 0.0
    blocks = np.array_split(column, -(-len(column) // SUMMED_ROWS))
    sums = [np.square((block.astype(np.float64) - mean) / largest).sum() for block in blocks]
    return largest * math.sqrt(math.fsum(sums) / len(column))
