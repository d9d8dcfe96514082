"""The losses: scores of a batch in, losses out, scores overwritten by their gradient.

Scores are stored class by class, (K, B): vector lanes run over samples, and nothing is summed
across lanes. B is a whole number of vectors (`padded`); what the padding holds is computed and
ignored.

A loss is a named tuple of its parameters. Its type selects the code when a kernel is compiled
(`loss_gradient`), so one epoch kernel serves every loss at no cost. A new loss is a record in
`fastlin.losses`; a named tuple and a function here, with their rows in the tables `loss_gradient`
and `BY_NAME`; and a twin in `fastlin.reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastlin.kernels import elementary, simd
from fastlin.kernels.jit import by_type, inline_kernel, kernel, pasted_kernel, small_code
from fastlin.kernels.views import columns

SUM_ROWS = 1024  # a whole number of the widest vectors
# Scores are kept in arrays that are wider by so many columns: where it is a power of two from one
# class to the next, many classes compete for a few lines of the caches (on Zen 3, softmax of 256
# rows took 1.2 ns a score, and takes 0.9 with K 100, 0.7 with K 1000).
PADDING = 16


class Softmax(NamedTuple):
    """Softmax cross-entropy."""


class SmoothedSoftmax(NamedTuple):
    """Softmax cross-entropy with smoothed labels: another type, so that `Softmax` pays nothing."""

    smoothing: float


class Hinge(NamedTuple):
    """Multiclass hinge loss, summed over the wrong classes (Weston & Watkins 1999)."""

    margin: float = 1.0


class SquaredHinge(NamedTuple):
    """The terms of `Hinge` squared."""

    margin: float = 1.0


class Unweighted(NamedTuple):
    """Every row counts the same."""


class Weighted(NamedTuple):
    """Row i counts values[i] times; values (n,) of the dtype of the scores, of mean 1.

    Of several classifiers they are (sets * n,): those of all rows for each of them.
    """

    values: np.ndarray


def padded_length(count: int, dtype: np.dtype) -> int:
    """Return count rounded up to whole vectors of a dtype, for arrays allocated in Python."""
    lanes = simd.VECTOR_BYTES // dtype.itemsize
    return -(-count // lanes) * lanes


@pasted_kernel
def sum_of_row(values, k, count):
    """Return the sum of values[k, :count] in float64; what fills its last vector must be zero.

    Blocks of `SUM_ROWS` are summed in the dtype of values, lane by lane, and their sums in float64:
    the error does not grow with the number of rows.
    """
    total = 0.0
    for start in range(0, count, SUM_ROWS):
        part = simd.splat(0, values)
        for i in range(start, min(start + SUM_ROWS, count), simd.lanes(values)):
            part = part + simd.load(values, k, i)
        total += np.float64(simd.sum_lanes(part))
    return total


@inline_kernel
def softmax_gradient(loss, scores, labels, losses):
    """Softmax cross-entropy of a batch; scores become dscores.

    scores (K, B) float, overwritten; labels (1, B) of the same dtype; losses (1, B), overwritten.

    With m_i = max_j s_ij:  l_i = log sum_j exp(s_ij - m_i) - (s_iy - m_i),
    dscores_ij = exp(s_ij - m_i) / sum_j exp(s_ij - m_i) - [j == y_i].
    """
    small_code()
    K, B = scores.shape
    for i in range(0, B, simd.lanes(scores)):
        label = simd.load(labels, 0, i)
        largest = simd.load(scores, 0, i)
        true_score = largest
        for k in range(1, K):
            score = simd.load(scores, k, i)
            largest = simd.select_greater(score, largest, score, largest)
            true_score = simd.select_equal(simd.splat(k, scores), label, score, true_score)
        total = simd.splat(0, scores)
        for k in range(K):
            power = elementary.exp(simd.load(scores, k, i) - largest)
            simd.store(scores, k, i, power)
            total = total + power
        simd.store(losses, 0, i, elementary.log(total) - (true_score - largest))
        one = simd.splat(1, scores)
        for k in range(K):
            prob = simd.load(scores, k, i) / total
            is_label = simd.splat(k, scores)
            simd.store(scores, k, i, simd.select_equal(is_label, label, prob - one, prob))


@inline_kernel
def smoothed_softmax_gradient(loss, scores, labels, losses):
    """Softmax cross-entropy of a batch with smoothed labels; scores become dscores.

    scores (K, B) float, overwritten; labels (1, B) of the same dtype; losses (1, B), overwritten.

    With t_ij = (1 - e) [j == y_i] + e / K and m_i = max_j s_ij:
    l_i = log sum_j exp(s_ij - m_i) - sum_j t_ij (s_ij - m_i),
    dscores_ij = exp(s_ij - m_i) / sum_j exp(s_ij - m_i) - t_ij.
    """
    K, B = scores.shape
    on_true = simd.splat(1 - loss.smoothing, scores)
    on_all = simd.splat(loss.smoothing / K, scores)
    for i in range(0, B, simd.lanes(scores)):
        label = simd.load(labels, 0, i)
        largest = simd.load(scores, 0, i)
        true_score = largest
        for k in range(1, K):
            score = simd.load(scores, k, i)
            largest = simd.select_greater(score, largest, score, largest)
            true_score = simd.select_equal(simd.splat(k, scores), label, score, true_score)
        total = simd.splat(0, scores)
        sum_of_scores = total
        for k in range(K):
            score = simd.load(scores, k, i) - largest
            power = elementary.exp(score)
            simd.store(scores, k, i, power)
            total = total + power
            sum_of_scores = sum_of_scores + score
        expected = on_true * (true_score - largest) + on_all * sum_of_scores
        simd.store(losses, 0, i, elementary.log(total) - expected)
        for k in range(K):
            dscore = simd.load(scores, k, i) / total - on_all
            is_label = simd.splat(k, scores)
            simd.store(scores, k, i, simd.select_equal(is_label, label, dscore - on_true, dscore))


@inline_kernel
def hinge_gradient(loss, scores, labels, losses):
    """Multiclass hinge loss of a batch; scores become dscores.

    scores (K, B) float, overwritten; labels (1, B) of the same dtype; losses (1, B), overwritten.

    l_i = sum over j != y of max(0, s_ij - s_iy + margin);  dscores_ij = [the term is above 0],
    dscores_iy = minus the number of terms above 0.
    """
    K, B = scores.shape
    zero = simd.splat(0, scores)
    one = simd.splat(1, scores)
    margin = simd.splat(loss.margin, scores)
    for i in range(0, B, simd.lanes(scores)):
        label = simd.load(labels, 0, i)
        true_score = zero
        for k in range(K):
            score = simd.load(scores, k, i)
            true_score = simd.select_equal(simd.splat(k, scores), label, score, true_score)
        total = zero
        violations = zero
        for k in range(K):
            term = simd.load(scores, k, i) - true_score + margin
            term = simd.select_greater(zero, term, zero, term)  # a NaN stays a NaN
            term = simd.select_equal(simd.splat(k, scores), label, zero, term)
            violated = simd.select_greater(term, zero, one, zero)
            simd.store(scores, k, i, violated)
            total = total + term
            violations = violations + violated
        simd.store(losses, 0, i, total)
        for k in range(K):
            dscore = simd.load(scores, k, i)
            is_label = simd.splat(k, scores)
            simd.store(scores, k, i, simd.select_equal(is_label, label, zero - violations, dscore))


@inline_kernel
def squared_hinge_gradient(loss, scores, labels, losses):
    """Squared multiclass hinge loss of a batch; scores become dscores.

    scores (K, B) float, overwritten; labels (1, B) of the same dtype; losses (1, B), overwritten.

    With h_ij = max(0, s_ij - s_iy + margin):  l_i = sum over j != y of h_ij**2;
    dscores_ij = 2 h_ij, dscores_iy = minus their sum.
    """
    K, B = scores.shape
    zero = simd.splat(0, scores)
    margin = simd.splat(loss.margin, scores)
    for i in range(0, B, simd.lanes(scores)):
        label = simd.load(labels, 0, i)
        true_score = zero
        for k in range(K):
            score = simd.load(scores, k, i)
            true_score = simd.select_equal(simd.splat(k, scores), label, score, true_score)
        total = zero
        slopes = zero
        for k in range(K):
            term = simd.load(scores, k, i) - true_score + margin
            term = simd.select_greater(zero, term, zero, term)  # a NaN stays a NaN
            term = simd.select_equal(simd.splat(k, scores), label, zero, term)
            simd.store(scores, k, i, term + term)
            total = total + term * term
            slopes = slopes + (term + term)
        simd.store(losses, 0, i, total)
        for k in range(K):
            dscore = simd.load(scores, k, i)
            is_label = simd.splat(k, scores)
            simd.store(scores, k, i, simd.select_equal(is_label, label, zero - slopes, dscore))


@pasted_kernel
def predict_classes(scores, predictions):
    """Write the class of the largest score of each sample, the first of equals.

    scores (K, B) float; predictions (1, B) of the same dtype, overwritten.
    """
    K, B = scores.shape
    for i in range(0, B, simd.lanes(scores)):
        largest = simd.load(scores, 0, i)
        best = simd.splat(0, scores)
        for k in range(1, K):
            score = simd.load(scores, k, i)
            best = simd.select_greater(score, largest, simd.splat(k, scores), best)
            largest = simd.select_greater(score, largest, score, largest)
        simd.store(predictions, 0, i, best)


@inline_kernel
def _leave_rows(sample_weights, order, first, count, scores, scratch, losses):
    """Leave losses and dscores as they are."""


@inline_kernel
def _weigh_rows(sample_weights, order, first, count, scores, scratch, losses):
    """Multiply losses and dscores of the rows order[first : first + count] by their weights.

    scores (K, B) and losses (1, B), overwritten; scratch (1, B) of the same dtype, overwritten.
    """
    K, B = scores.shape
    for i in range(count):
        scratch[0, i] = sample_weights.values[order[first + i]]
    for i in range(0, B, simd.lanes(scores)):
        weight = simd.load(scratch, 0, i)
        simd.store(losses, 0, i, simd.load(losses, 0, i) * weight)
        for k in range(K):
            simd.store(scores, k, i, simd.load(scores, k, i) * weight)


@inline_kernel
def _same_weights(sample_weights, s, count):
    """Return the weights of no row: those of every set."""
    return sample_weights


@inline_kernel
def _own_weights(sample_weights, s, count):
    """Return the weights of the s-th set of so many rows."""
    return Weighted(sample_weights.values[s * count : (s + 1) * count])


weigh_rows = by_type({Unweighted: _leave_rows, Weighted: _weigh_rows})
weights_of_set = by_type({Unweighted: _same_weights, Weighted: _own_weights})
loss_gradient = by_type({
    Softmax: softmax_gradient,
    SmoothedSoftmax: smoothed_softmax_gradient,
    Hinge: hinge_gradient,
    SquaredHinge: squared_hinge_gradient,
})  # fmt: skip


def _softmax(smoothing: float) -> NamedTuple:
    return SmoothedSoftmax(smoothing) if smoothing else Softmax()


# The named tuple of a loss, by the name of its record in `fastlin.losses`, from its parameters.
BY_NAME: dict[str, Callable[..., NamedTuple]] = {
    "softmax": _softmax,
    "hinge": Hinge,
    "squared-hinge": SquaredHinge,
}


@kernel
def batch_loss(loss, scores, labels, losses):
    """Run a loss on its own; see `softmax_gradient` for the arguments."""
    # Parts, whose type is that of the parts of a batch: what other kernels compile is compiled.
    width = scores.shape[1]
    loss_gradient(
        loss, columns(scores, 0, width), columns(labels, 0, width), columns(losses, 0, width)
    )
