"""Some rows of a problem: what they tell of second derivatives, and how they balance biases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.data.stored import StoredRows
from fastlin.losses import Softmax
from fastlin.solving.blas import product
from fastlin.solving.derivatives import Derivatives, Matrix, blocks_of_means, second_derivatives
from fastlin.solving.problem import Problem, Value, Vector

# So many rows tell of second derivatives, or of fewer values of features. Of many classes so many
# for each, if they take no longer than a part of a pass: of 128,000 rows of 768 features in 1,000
# classes, l2 1e-6, fits took 55, 37 and 34 passes with 4, 16 and 40 rows a class; in 100 classes
# 48, 30, 30 and 28 with 10, 41, 160 and 640.
_ROWS, _VALUES = 4096, 2**22
_ROWS_OF_CLASS, _PASSES = 32, 0.5

# Rows that balance biases are this part of all, if that is more: so many take as long as a sixth of
# a pass. Of 4,096 of 1.28 million rows in 1,000 classes none could take what the biases were off.
_PART_THAT_BALANCES = 16

# Values of features that are kept, of rows in memory and in files; more are read anew.
_MOST_KEPT, _MOST_KEPT_OF_FILES = 2**24, 2**22

_SCORES_OF_BLOCK = 2**18

# Classes whose curvature is below this part of the largest have none; and by this part, at most,
# derivatives by biases are left.
_LEAST_OF_CLASSES, _LEFT = 1e-11, 1e-10


class _Rows(NamedTuple):
    """Evenly spaced rows of a problem.

    Attributes
    ----------
    numbers : NDArray[np.int64]
        (m,), which rows.
    weights : NDArray[np.float64]
        (m,), which add up to 1.
    share : float
        Of the weights of all rows.
    features : NDArray[np.floating] or None
        (m, d), centred, in float32; None if they are too many to be kept.
    """

    numbers: NDArray[np.int64]
    weights: Vector
    share: float
    features: NDArray[np.floating] | None

    @classmethod
    def of(cls, problem: Problem, count: int) -> _Rows:
        """Return so many rows."""
        numbers = problem.evenly_spaced(count)
        weights = np.ones(count) if problem.weights is None else problem.weights[numbers]
        total, d = float(weights.sum()), problem.data.X.shape[1]
        is_stored = isinstance(problem.data.X, StoredRows)
        most = _MOST_KEPT_OF_FILES if is_stored else _MOST_KEPT
        features = problem.features(numbers, np.float32) if count * d <= most else None
        return cls(numbers, weights / total, total / len(problem.data), features)


def _count_of(problem: Problem) -> int:
    """Return how many rows tell of second derivatives."""
    K, d = problem.shape[0], problem.shape[1] - 1
    count = min(_ROWS, max(256, _VALUES // d))
    # Multiply-adds of a row: its scores, and three matrices of pairs of classes in float64.
    cheap = _PASSES * len(problem.data) * 2 * d * K / (d * K + 6 * K * K)
    return min(problem.counting_rows, max(count, min(_ROWS_OF_CLASS * K, int(cheap))))


class Sample:
    """What evenly spaced rows of a problem tell of all.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        count, many = _count_of(problem), problem.counting_rows // _PART_THAT_BALANCES
        self._problem, self._rows = problem, _Rows.of(problem, count)
        self._balancing = _Rows.of(problem, many) if many > count else self._rows

    def means(self, W: Matrix, biases: Vector, *, is_whole: bool = True) -> Matrix:
        """Return means (2 K, 2 K) of second derivatives, as `blocks_of_means` has them.

        Those with scores are 0 if they are not asked for, or all scores are.
        """
        B = np.zeros((2 * len(W), 2 * len(W)))
        means = blocks_of_means(B)
        for _, scores, found in self._blocks(self._rows, W, biases):
            means.plain[:] += found.mean()
            if is_whole and W.any():
                means.of_one[:] += found.mean(scores)
                means.of_both[:] += found.mean(scores, scores)
        return B

    def balanced_bound(self, value: Value) -> float:
        """Return a bound on the cost less the least one, for which rows balance the biases.

        With u_i the gradient of the loss by the scores of row i, the dual objective has a value
        for u_i whose mean is 0. That is `db`, the gradient by the biases; so some rows
        take u_i - A_i v instead, with A_i their second derivatives and v such that the mean of
        what they take off is db. Of softmax, u_i - A_i v has the probabilities p_i (1 - e_i), with
        e_ij = v_j - <p_i, v>, if these are below 1, and costs the divergence between both, at most
        the mean of <p_i, e_i**2>. All others cost nothing. So the gap is at most

        ||G + 2 l2 W - mean A_i v x_i^T||**2 / (4 l2) + <v, db>,

        both of the second order, where `Problem` has a bound of the first order in db. Infinite
        where there is no such v, and of other losses.
        """
        problem, db = self._problem, value.gradient[:, -1]
        if not (problem.l2 > 0 and problem.fit_intercept and isinstance(problem.loss, Softmax)):
            return math.inf
        W, c, rows = value.point[:, :-1], value.point[:, -1], self._balancing
        C = np.zeros((len(W), len(W)))
        for _, _, found in self._blocks(rows, W, c):
            C += found.mean()
        v = _balancing(rows.share * C, db)
        if v is None:
            return math.inf
        left = value.gradient[:, :-1].copy()
        for features, _, found in self._blocks(rows, W, c):
            taken = rows.share * found.times(v)
            left -= product(taken.T.astype(np.float32), features)
        return float(np.square(left).sum()) / (4 * problem.l2) + float(v @ db)

    def _blocks(
        self, rows: _Rows, W: Matrix, biases: Vector
    ) -> Iterator[tuple[NDArray[np.floating], Matrix, Derivatives]]:
        """Yield features, their W x, and second derivatives times weights that add up to 1."""
        problem, single = self._problem, W.T.astype(np.float32)
        step = max(64, _SCORES_OF_BLOCK // len(W))
        for first in range(0, len(rows.numbers), step):
            part = slice(first, first + step)
            numbers = rows.numbers[part]
            if rows.features is None:
                features = problem.features(numbers, np.float32)
            else:
                features = rows.features[part]
            scores = product(features, single).astype(np.float64)
            labels, weights = problem.data.y[numbers], rows.weights[part]
            derivatives = second_derivatives(problem.loss, scores + biases, labels, weights)
            yield features, scores, derivatives


def _balancing(C: Matrix, db: Vector) -> Vector | None:
    """Return v with C v = db, whose values are apart by less than 1; None if there is none."""
    values, U = np.linalg.eigh(C)
    U, values = (part[..., values > _LEAST_OF_CLASSES * values[-1]] for part in (U, values))
    v: Vector = np.zeros_like(db)
    for _ in range(2):  # the second time for what the first one rounds
        v += U @ ((U.T @ (db - C @ v)) / values)
    is_balanced = np.abs(C @ v - db).max() <= _LEFT * np.abs(db).max()
    return v if is_balanced and np.ptp(v) < 1 else None
