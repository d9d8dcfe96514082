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

Matrix = NDArray[np.float64]
Floats = NDArray[np.floating]


class Derivatives(NamedTuple):
    """What makes the second derivatives of rows: a, l and r, each (m, K)."""

    diagonal: Floats
    left: Floats
    right: Floats

    def mean(self, f: Floats | float = 1.0, g: Floats | float = 1.0) -> Matrix:
        """Return the sum (K, K) over rows of A_i * f_i g_i^T, element by element, for f, g (m, K).

        It is the mean if the weights of rows add up to 1.
        """
        a, left, right = self
        cross = (left * f).T @ (right * g) + (right * f).T @ (left * g)
        result = cross.astype(np.float64) / -2
        result[np.diag_indices_from(result)] += (a * f * g).sum(axis=0, dtype=np.float64)
        return result


def second_derivatives(
    loss: Loss, scores: Floats, labels: NDArray[np.int64], weights: Floats
) -> Derivatives:
    """Return those of rows, times their weights (m,), of the dtype of the scores (m, K)."""
    shares = weights[:, None].astype(scores.dtype)
    if not isinstance(loss, SquaredHinge):
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return Derivatives(shares * p, shares * p, p)
    places = np.arange(len(scores))
    near = (scores - scores[places, labels][:, None] + loss.margin > 0).astype(scores.dtype)
    near[places, labels] = 0
    near *= 2 * shares
    diagonal, of_label = near.copy(), np.zeros_like(near)
    diagonal[places, labels] = near.sum(axis=1)
    of_label[places, labels] = 1
    return Derivatives(diagonal, 2 * near, of_label)
