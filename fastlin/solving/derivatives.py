"""Second derivatives of a loss by the scores of rows.

Those of row i are A_i = diag(a_i) - (l_i r_i^T + r_i l_i^T) / 2: of softmax with probabilities p_i,
a = l = r = p; of the squared hinge, with near_j = 2 for classes j within the margin of the row's
class y, a = near + sum(near) e_y, l = 2 near and r = e_y. Rows of A_i add up to 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.losses import Loss, SquaredHinge
from fastlin.solving.blas import product
from fastlin.solving.problem import Vector

Matrix = NDArray[np.float64]


class Derivatives(NamedTuple):
    """What makes the second derivatives of rows: a, l and r, each (m, K)."""

    diagonal: Matrix
    left: Matrix
    right: Matrix

    def mean(self, f: Matrix | float = 1.0, g: Matrix | float = 1.0) -> Matrix:
        """Return the sum (K, K) over rows of A_i * f_i g_i^T, element by element, for f, g (m, K).

        It is the mean if the weights of rows add up to 1.
        """
        a, left, right = self
        crossed = product((left * f).T, right * g)
        if left is not right:
            crossed = (crossed + product((right * f).T, left * g)) / 2
        return np.diag((a * f * g).sum(axis=0)) - crossed

    def times(self, v: Vector) -> Matrix:
        """Return A_i v of every row, (m, K), for v (K,)."""
        a, left, right = self
        along = left * (right @ v)[:, None]
        if left is not right:
            along = (along + right * (left @ v)[:, None]) / 2
        found: Matrix = a * v - along
        return found

    def each(self) -> NDArray[np.float64]:
        """Return A_i of every row, (m, K, K)."""
        found = -self.left[:, :, None] * self.right[:, None, :]
        if self.left is not self.right:
            found = (found + found.transpose(0, 2, 1)) / 2
        classes = range(self.left.shape[1])
        found[:, classes, classes] += self.diagonal
        return found


class Means(NamedTuple):
    """Means over rows of A_i, of A_i * s_i 1^T and of A_i * s_i s_i^T, for their scores s_i."""

    plain: Matrix
    of_one: Matrix
    of_both: Matrix


def blocks_of_means(B: Matrix) -> Means:
    """Return the views (K, K) of a matrix (2 K, 2 K) that are its means, to be added to."""
    K = len(B) // 2
    return Means(B[K:, K:], B[:K, K:], B[:K, :K])


def second_derivatives(
    loss: Loss, scores: Matrix, labels: NDArray[np.int64], weights: Vector
) -> Derivatives:
    """Return those of rows with scores (m, K), times their weights (m,)."""
    shares = weights[:, None]
    if not isinstance(loss, SquaredHinge):
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        root = p * np.sqrt(shares)
        return Derivatives(p * shares, root, root)
    places = np.arange(len(scores))
    near = (scores - scores[places, labels][:, None] + loss.margin > 0).astype(np.float64)
    near[places, labels] = 0
    near *= 2 * shares
    diagonal, of_label = near.copy(), np.zeros_like(near)
    diagonal[places, labels] = near.sum(axis=1)
    of_label[places, labels] = 1
    return Derivatives(diagonal, 2 * near, of_label)
