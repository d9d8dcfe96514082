"""The second derivatives of a small problem, all of them: steps are Newton's.

Kronecker factors (`fastlin.solving.curvature`) take a fixed time a step, in which all second
derivatives of few parameters are summed over few rows. With them a fit takes half the steps; where
rows are nearly separated, a tenth and less. So few rows are a matrix in float64, and NumPy has the
objective of all of them before a kernel is given its arguments.
"""

from __future__ import annotations

import math
import sys
from contextlib import suppress

import numpy as np
from numpy.typing import DTypeLike

from fastlin import reference
from fastlin.solving.derivatives import Matrix, second_derivatives
from fastlin.solving.problem import Point, Problem, Value, Vector

# Part of the largest curvature by a bias that every bias has at least: scores of rows that are
# classified with certainty have none. And part of the largest eigenvalue that is not rounding.
_LEAST, _LEAST_EIGENVALUE = 1e-12, 1e-14

# Eigenvectors are taken only where a solution leaves more than this share of what is divided.
_LEFT = 1e-8

_VALUES_OF_BLOCK = 2**22  # of rows times their second derivatives


class Hessian:
    """The second derivatives of a problem at a point; `refresh` before its first use.

    Parameters
    ----------
    problem : Problem
        Of few rows, features and classes.
    """

    is_exact = is_complete = True
    first_steps = sys.maxsize  # at every one of them it is taken anew
    first_dtype = np.dtype(np.float64)  # of so few steps those in float32 save no time

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        count = problem.counting_rows
        rows = problem.evenly_spaced(count)
        features = problem.features(rows, np.float64)
        self._rows = np.concatenate([features, np.ones((count, 1))], axis=1)
        self._labels = problem.data.y[rows]
        weights = np.ones(count) if problem.weights is None else problem.weights[rows]
        self._weights: Vector = weights / len(problem.data)
        self._of_loss: Matrix = np.zeros((0, 0))
        self._taken_at: Point | None = None
        self._scored: tuple[Point | None, Matrix] = None, np.zeros((0, 0))

    def value(self, point: Point, _: DTypeLike = np.float64) -> Value:
        """Return the objective at a point, of products in float64 whatever is asked for."""
        problem = self.problem
        losses, dscores = reference.row_losses(self._scores(point), self._labels, problem.loss)
        dscores *= self._weights[:, None]
        gradient: Point = dscores.T @ self._rows
        gradient -= gradient.mean(axis=0)  # derivatives of a row by its scores add up to 0
        mean_loss = float(losses @ self._weights)
        return problem.value_of(point, mean_loss, gradient[:, :-1], gradient[:, -1])

    def _scores(self, point: Point) -> Matrix:
        """Return the scores (n, K) of all rows, which are kept until another point is asked for."""
        if self._scored[0] is not point:
            self._scored = point, self._rows @ point.T
        return self._scored[1]

    def refresh(self, point: Point) -> None:
        """Take the second derivatives of the mean loss at a point, unless the last call did."""
        if point is self._taken_at:
            return
        self._taken_at = point
        n, (K, width), scores = len(self._rows), point.shape, self._scores(point)
        sums, step = np.zeros((width, K * K * width)), max(1, _VALUES_OF_BLOCK // (K * K * width))
        for first in range(0, n, step):
            part = slice(first, first + step)
            rows = self._rows[part]
            found = second_derivatives(
                self.problem.loss, scores[part], self._labels[part], self._weights[part]
            )
            products = found.each()[..., None] * rows[:, None, None, :]
            sums += rows.T @ products.reshape(len(rows), -1)
        sums = sums.reshape(width, K, K, width)
        self._of_loss = sums.transpose(1, 0, 2, 3).reshape(K * width, K * width)
        self._free_biases()

    def _free_biases(self) -> None:
        """Let biases that all move alike be penalised, and those that may not change, alone."""
        K, width = self.problem.shape
        if not self.problem.fit_intercept:
            self._of_loss[width - 1 :: width] = self._of_loss[:, width - 1 :: width] = 0.0
        block = self._of_biases()
        curvature = block.diagonal().copy()
        block += curvature.sum() / K**2
        block[range(K), range(K)] += _LEAST * curvature.max() or 1.0

    def divide(self, gradient: Point, l2: float) -> Point:
        """Return a gradient over the second derivatives: a step, but for its sign."""
        penalties = np.full(gradient.shape, 2 * l2)
        penalties[:, -1] = 0.0
        of_all = self._of_loss.copy()
        of_all.flat[:: len(of_all) + 1] += penalties.ravel()
        step = _solved(of_all, gradient.ravel()).reshape(gradient.shape)
        if not self.problem.fit_intercept:
            step[:, -1] = 0.0  # eigenvectors have parts along the biases that are rounding
        return step

    def balanced_bound(self, value: Value) -> float:
        """Return infinity: Newton's steps leave no derivatives by biases that a bound waits for."""
        return math.inf

    def divide_biases(self, gradient: Vector) -> Vector:
        """Return a gradient (K,) by c over the curvature along c alone."""
        return _solved(self._of_biases(), gradient)

    def _of_biases(self) -> Matrix:
        """Return the second derivatives (K, K) by the biases: a view."""
        width = self.problem.shape[1]
        return self._of_loss[width - 1 :: width, width - 1 :: width]


def _solved(A: Matrix, of: Vector) -> Vector:
    """Return A^-1 times a vector, of the positive matrix that A is but for its rounding.

    What moves all classes alike is penalised alone, and lost beside large features: eigenvalues,
    after the diagonal is made 1, are not below rounding.
    """
    lengths: Vector = np.sqrt(np.diag(A))
    scaled, wanted = A / lengths / lengths[:, None], of / lengths
    with suppress(np.linalg.LinAlgError):
        quick: Vector = np.linalg.solve(scaled, wanted).astype(np.float64, copy=False)
        left = np.abs(scaled @ quick - wanted).max()
        if quick @ wanted > 0 and left <= _LEFT * np.abs(wanted).max():
            quick /= lengths
            return quick
    values, U = np.linalg.eigh(scaled)
    turned = (U.T @ wanted) / np.maximum(values, _LEAST_EIGENVALUE * values[-1])
    found: Vector = (U @ turned) / lengths
    return found
