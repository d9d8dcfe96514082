"""Some rows of a problem: what they tell of second derivatives, and how they balance biases."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fastlin.losses import Softmax
from fastlin.solving.blas import product
from fastlin.solving.derivatives import Derivatives, Matrix, blocks_of_means, second_derivatives
from fastlin.solving.problem import Problem, Value, Vector

# How many rows there are at most, and values of features.
_ROWS, _VALUES = 4096, 2**22

_SCORES_OF_BLOCK = 2**18

# Classes whose curvature is below this part of the largest have none; and by this part, at most,
# derivatives by biases are left.
_LEAST_OF_CLASSES, _LEFT = 1e-11, 1e-10


class Sample:
    """Evenly spaced rows of a problem.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        n, d = problem.data.X.shape
        count = min(problem.counting_rows, _ROWS, max(256, _VALUES // d))
        rows = problem.evenly_spaced(count)
        weights = np.ones(count) if problem.weights is None else problem.weights[rows]
        self._problem, self._labels = problem, problem.data.y[rows]
        self._rows, self._share = problem.features(rows, np.float32), float(weights.sum()) / n
        self._weights: Vector = weights / weights.sum()

    def means(self, W: Matrix, biases: Vector, *, is_whole: bool = True) -> Matrix:
        """Return means (2 K, 2 K) of second derivatives, as `blocks_of_means` has them.

        Those with scores are 0 if they are not asked for, or all scores are.
        """
        B = np.zeros((2 * len(W), 2 * len(W)))
        means = blocks_of_means(B)
        for _, scores, found in self._blocks(W, biases):
            means.plain[:] += found.mean()
            if is_whole and W.any():
                means.of_one[:] += found.mean(scores)
                means.of_both[:] += found.mean(scores, scores)
        return B

    def balanced_bound(self, value: Value) -> float:
        """Return a bound on the cost less the least one, for which rows balance the biases.

        With u_i the gradient of the loss by the scores of row i, the dual objective has a value
        for u_i whose mean is 0. That is `db`, the gradient by the biases; so the rows of the sample
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
        W, c = value.point[:, :-1], value.point[:, -1]
        v = self._balancing(
            self._share * blocks_of_means(self.means(W, c, is_whole=False)).plain, db
        )
        if v is None:
            return math.inf
        left = value.gradient[:, :-1].copy()
        for rows, _, found in self._blocks(W, c):
            taken = self._share * found.times(v)
            left -= product(taken.T.astype(np.float32), self._rows[rows])
        return float(np.square(left).sum()) / (4 * problem.l2) + float(v @ db)

    def _blocks(self, W: Matrix, biases: Vector) -> Iterator[tuple[slice, Matrix, Derivatives]]:
        """Yield rows, their W x, and their second derivatives, times weights that add up to 1."""
        single, step = W.T.astype(np.float32), max(64, _SCORES_OF_BLOCK // len(W))
        for first in range(0, len(self._rows), step):
            part = slice(first, first + step)
            scores = product(self._rows[part], single).astype(np.float64)
            yield (
                part,
                scores,
                second_derivatives(
                    self._problem.loss, scores + biases, self._labels[part], self._weights[part]
                ),
            )

    @staticmethod
    def _balancing(C: Matrix, db: Vector) -> Vector | None:
        """Return v with C v = db, whose values are apart by less than 1; None if there is none."""
        values, U = np.linalg.eigh(C)
        U, values = (part[..., values > _LEAST_OF_CLASSES * values[-1]] for part in (U, values))
        v: Vector = np.zeros_like(db)
        for _ in range(2):  # the second time for what the first one rounds
            v += U @ ((U.T @ (db - C @ v)) / values)
        is_balanced = np.abs(C @ v - db).max() <= _LEFT * np.abs(db).max()
        return v if is_balanced and np.ptp(v) < 1 else None
