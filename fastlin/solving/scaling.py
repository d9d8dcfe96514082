"""What Kronecker factors miss: the curvature along the rows of W, and along the biases.

Were features normally distributed, second derivatives would be C (x) S exactly for all directions
but those that change scores by a function of the scores: dW = M W, and dc. (With s = W x given, the
part of x that the scores do not determine is independent of A_i(s), and the mean of its products is
that of S.) There C (x) S is too large by up to a factor of fifty, since rows with large scores are
classified with certainty, and their A_i are near 0. Of the K * K directions those that count are
scalings of the rows of W, e_k (x) w_k, and biases, e_k (x) 1: 2 K directions V, along which the
second derivatives B = V^T H V are means over rows of A_i times scores.

With P = C (x) S + 2 l2 and E = V^T P V, the matrix P + P V E^-1 (B - E) E^-1 V^T P is B along V,
and P in the complement; its inverse is P^-1 + V (B^-1 - E^-1) V^T.
"""

from __future__ import annotations

import numpy as np

from fastlin.solving.derivatives import Derivatives, Matrix
from fastlin.solving.problem import Point, Vector

# Curvature along V is at least this part of the model's: rows of a sample may have none.
_LEAST_SHARE = 3e-3
_TINY = 1e-10


class Scaling:
    """The correction of a start matrix at a point.

    Parameters
    ----------
    W : NDArray[np.float64]
        (K, d), not all zero; its columns add up to 0.
    scores : NDArray[np.float64]
        (m, K), of rows without biases.
    derivatives : Derivatives
        Of these rows, with weights that add up to 1.
    mean : NDArray[np.float64]
        (K, K), of the second derivatives of these rows.
    C : NDArray[np.float64]
        (K, K), the same as the start matrix has it, 0 for equal classes.
    moments : NDArray[np.float64]
        (K, K), W S W^T, with S as the start matrix has it.
    l2 : float
        The penalty.
    fit_intercept : bool
        Whether biases may change.
    """

    def __init__(
        self, W: Matrix, scores: Matrix, derivatives: Derivatives, mean: Matrix, C: Matrix,
        moments: Matrix, l2: float, *, fit_intercept: bool,
    ) -> None:  # fmt: skip
        self._W, K = W, len(W)
        penalty = 2 * l2 * (W @ W.T) * (np.eye(K) - 1 / K)
        equal = np.full((K, K), np.trace(C) / K**2)  # biases that are moved alike: no curvature
        E = np.zeros((2 * K, 2 * K))
        E[:K, :K] = C * moments + penalty
        E[K:, K:] = C + equal
        B = np.zeros((2 * K, 2 * K))
        B[:K, :K] = derivatives.mean(scores, scores) + penalty
        B[:K, K:] = derivatives.mean(scores)
        B[K:, :K] = B[:K, K:].T
        B[K:, K:] = mean + equal
        kept = 2 * K if fit_intercept else K
        self._difference = np.zeros_like(B)
        self._difference[:kept, :kept] = _difference_of_inverses(B[:kept, :kept], E[:kept, :kept])

    def correct(self, gradient: Point, step: Point) -> None:
        """Add V (B^-1 - E^-1) V^T times a gradient (K, d + 1) to a step."""
        W, K = self._W, len(self._W)
        along = np.concatenate([(gradient[:, :-1] * W).sum(axis=1), gradient[:, -1]])
        factors = self._difference @ along
        added = np.concatenate([factors[:K, None] * W, factors[K:, None]], axis=1)
        step += added - added.mean(axis=0)


def _difference_of_inverses(B: Matrix, E: Matrix) -> Matrix:
    """Return B^-1 - E^-1, after a small part of E is added to B."""
    lengths: Vector = np.sqrt(np.maximum(np.diag(E), _TINY * np.diag(E).max()))
    E = E / np.outer(lengths, lengths) + _TINY * np.eye(len(E))
    B = B / np.outer(lengths, lengths) + _LEAST_SHARE * E
    found: Matrix = np.linalg.inv(B) - np.linalg.inv(E)
    return (found + found.T) / (2 * np.outer(lengths, lengths))
