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

from collections.abc import Sequence

import numpy as np

from fastlin.solving.derivatives import Matrix
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
    B : NDArray[np.float64]
        (2 K, 2 K), means of second derivatives as `blocks_of_means` has them, with scores W x. It
        is written over, as are the next two: of many classes these are the largest arrays of a fit.
    C : NDArray[np.float64]
        (K, K), the mean as the start matrix has it, 0 for equal classes.
    moments : NDArray[np.float64]
        (K, K), W S W^T, with S as the start matrix has it.
    l2 : float
        The penalty.
    fit_intercept : bool
        Whether biases may change.

    Raises
    ------
    LinAlgError
        If there is no curvature, or too little in some direction.
    """

    def __init__(
        self, W: Matrix, B: Matrix, C: Matrix, moments: Matrix, l2: float, *, fit_intercept: bool,
    ) -> None:  # fmt: skip
        self._W, K = W, len(W)
        equal = np.trace(C) / K**2  # biases that are moved alike: no curvature
        penalty = W @ W.T
        lengths = 2 * l2 * penalty.diagonal()
        penalty *= -2 * l2 / K
        penalty.flat[:: K + 1] += lengths
        B[:K, :K] += penalty
        B[K:, :K] = B[:K, K:].T
        B[K:, K:] += equal
        moments *= C
        moments += penalty
        del penalty  # of many classes, what comes takes all memory that a fit does
        C += equal
        kept = slice(0, 2 * K if fit_intercept else K)
        blocks = [moments, C][: 2 if fit_intercept else 1]
        self._difference = _difference_of_inverses(B[kept, kept], blocks)

    def correct(self, gradients: Point, steps: Point) -> None:
        """Add V (B^-1 - E^-1) V^T times gradients (..., K, d + 1) to their steps."""
        W, K = self._W, len(self._W)
        sums = (gradients[..., :-1] * W).sum(axis=-1)
        along = np.concatenate([sums, gradients[..., -1]], axis=-1)
        factors = np.zeros_like(along)
        kept = len(self._difference)
        factors[..., :kept] = along[..., :kept] @ self._difference.T
        of_rows, of_biases = factors[..., :K, None], factors[..., K:, None]
        added = np.concatenate([of_rows * W, of_biases], axis=-1)
        steps += added - added.mean(axis=-2, keepdims=True)


def _difference_of_inverses(B: Matrix, blocks: Sequence[Matrix]) -> Matrix:
    """Return B^-1 - E^-1, after a small part of E is added to B; E has these diagonal blocks."""
    K = len(blocks[0])
    diagonal: Vector = np.concatenate([np.diag(E) for E in blocks])
    if not diagonal.max() > 0:
        raise np.linalg.LinAlgError
    lengths: Vector = np.sqrt(np.maximum(diagonal, _TINY * diagonal.max()))
    B /= lengths[:, None]
    B /= lengths
    places = [slice(first * K, (first + 1) * K) for first in range(len(blocks))]
    for place, E in zip(places, blocks, strict=True):
        E /= lengths[place, None] * lengths[place]
        E.flat[:: K + 1] += _TINY
        B[place, place] += _LEAST_SHARE * E
    _invert(B, K)
    for place, E in zip(places, blocks, strict=True):
        B[place, place] -= np.linalg.inv(E)
    B /= lengths[:, None]
    B /= lengths
    return B


def _invert(B: Matrix, K: int) -> None:
    """Invert a symmetric matrix in place, by its blocks if it has more than the first K rows."""
    if len(B) == K:
        B[:] = np.linalg.inv(B)
    else:
        of_biases = np.linalg.inv(B[K:, K:])
        crossed = B[:K, K:] @ of_biases
        rest = crossed @ B[:K, K:].T
        B[:K, :K] = np.linalg.inv(np.subtract(B[:K, :K], rest, out=rest))
        del rest
        B[:K, K:] = -B[:K, :K] @ crossed
        B[K:, :K] = B[:K, K:].T
        B[K:, K:] = of_biases - crossed.T @ B[:K, K:]
    for first in range(0, len(B), K):
        block = B[first : first + K, first : first + K]
        block[:] = (block + block.T) / 2
