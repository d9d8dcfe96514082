"""Some rows of a problem: what they tell of second derivatives, and how they balance biases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.losses import Softmax
from fastlin.solving.blas import product
from fastlin.solving.derivatives import Derivatives, Matrix, blocks_of_means, second_derivatives
from fastlin.solving.problem import Problem, Value, Vector

# Second derivatives are those of so many rows, and of fewer where features are many: these have so
# many values, but at least so many rows. Of many classes there are rows for each, if they take no
# longer than half a pass. Of 128,000 rows of 768 features in 1,000 classes, l2 1e-6, fits took 55,
# 37 and 34 passes with 4, 16 and 40 rows a class; in 100 classes 48, 30, 30 and 28 with 10, 41, 160
# and 640.
_ROWS, _VALUES, _LEAST_ROWS = 4096, 2**22, 256
_ROWS_OF_CLASS, _PART_OF_PASS = 32, 0.5

# Biases are balanced by more rows of every class, but by no more than this part of all. Of 1.28
# million rows in 1,000 classes, 4,096 could not take what the biases were off by.
_BALANCING_ROWS_OF_CLASS, _BALANCING_PART = 80, 1 / 16

# A block of rows has so many scores, and values of features; and features of so many values are
# kept. Those of more rows are read anew.
_SCORES_OF_BLOCK, _VALUES_OF_BLOCK, _VALUES_KEPT = 2**18, 2**20, 2**22

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
        numbers, d = problem.evenly_spaced(count), problem.data.X.shape[1]
        weights = np.ones(count) if problem.weights is None else problem.weights[numbers]
        total = float(weights.sum())
        is_kept = count <= max(_LEAST_ROWS, _VALUES_KEPT // d)
        features = problem.features(numbers, np.float32) if is_kept else None
        return cls(numbers, weights / total, total / len(problem.data), features)


class Sample:
    """What evenly spaced rows of a problem tell of all.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        n, d, K = problem.counting_rows, problem.shape[1] - 1, problem.shape[0]
        # Multiply-adds of a pass, over those of a row: scores, and three matrices in float64.
        most = int(_PART_OF_PASS * len(problem.data) * 2 * d * K / (d * K + 6 * K * K))
        few = min(_ROWS, max(_LEAST_ROWS, _VALUES // d))
        count = min(n, max(few, min(_ROWS_OF_CLASS * K, most)))
        self._problem, self._rows = problem, _Rows.of(problem, count)
        many = min(_BALANCING_ROWS_OF_CLASS * K, most, int(_BALANCING_PART * n))
        self._balancing_count = max(count, many)

    @cached_property
    def _balancing_rows(self) -> _Rows:
        if self._balancing_count == len(self._rows.numbers):
            return self._rows
        return _Rows.of(self._problem, self._balancing_count)

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
        W, c, rows = value.point[:, :-1], value.point[:, -1], self._balancing_rows
        C = np.zeros((len(W), len(W)))
        for _, _, found in self._blocks(rows, W, c):
            C += found.mean()
        v = _shares_of(rows.share * C, db)
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
        step = max(64, min(_SCORES_OF_BLOCK // len(W), _VALUES_OF_BLOCK // len(single)))
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


def _shares_of(C: Matrix, db: Vector) -> Vector | None:
    """Return v with C v = db, whose values are apart by less than 1; None if there is none."""
    values, U = np.linalg.eigh(C)
    U, values = (part[..., values > _LEAST_OF_CLASSES * values[-1]] for part in (U, values))
    v: Vector = np.zeros_like(db)
    for _ in range(2):  # the second time for what the first one rounds
        v += U @ ((U.T @ (db - C @ v)) / values)
    is_balanced = np.abs(C @ v - db).max() <= _LEFT * np.abs(db).max()
    return v if is_balanced and np.ptp(v) < 1 else None
