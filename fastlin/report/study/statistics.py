"""What a few runs that differ in their seed can tell, and what they cannot.

Two settings are compared seed by seed: runs with the same seed start from the same weights and see
the same order of rows, so that much of the noise is common to both and leaves their difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
LEVEL = 0.95
NOISE_ERRORS = 2.0  # standard errors within which a difference is called noise


class Sample(NamedTuple):
    """Mean and standard deviation (n - 1 in the denominator; None for one value) of values."""

    mean: float
    sd: float | None
    n: int


class Paired(NamedTuple):
    """The mean of second - first over n pairs.

    `low` and `high` are the ends of its 95 % confidence interval by Student's t distribution, `p`
    is the two-sided p-value of the paired t test; None with fewer than two pairs.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None
    p: float | None


def summarise(values: Sequence[float] | Floats) -> Sample:
    """Return mean and standard deviation of at least one value."""
    n = len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else None
    return Sample(float(np.mean(values)), sd, n)


def paired_difference(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> Paired:
    """Return the mean of second - first, pair by pair, with its interval and test."""
    differences = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    mean, sd, n = summarise(differences)
    if sd is None:
        return Paired(mean, None, n, None, None, None)
    error = sd / math.sqrt(n)
    reach = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * error
    if error == 0:  # all differences are equal
        return Paired(mean, sd, n, mean, mean, float(mean == 0))
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return Paired(mean, sd, n, mean - reach, mean + reach, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being a family (Holm 1979): at most one false alarm in it."""
    m = len(p_values)
    adjusted, largest = [0.0] * m, 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def error_over_rows(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the standard error that the choice of test rows gives a difference of accuracies.

    Parameters
    ----------
    first, second : (seeds, n) whether each row was classified correctly, of two settings.
    """
    per_row = second.mean(axis=0, dtype=np.float64) - first.mean(axis=0, dtype=np.float64)
    return float(per_row.std(ddof=1) / math.sqrt(len(per_row))) if len(per_row) > 1 else math.nan


def error_against_published(published: float, rows: int, sample: Sample) -> float:
    """Return the standard error of (mean over seeds) - (one published accuracy).

    sqrt(p (1 - p) / rows + s^2 (1 + 1 / n)): of a test set of so many rows, of the one seed behind
    the published value, and of the n seeds behind the mean.
    """
    variance = published * (1 - published) / rows
    if sample.sd is not None:
        variance += sample.sd**2 * (1 + 1 / sample.n)
    return math.sqrt(variance)


def reach_of_seeds(sample: Sample) -> float | None:
    """Return how far one more seed is from the mean at most, with 95 % probability.

    t s sqrt(1 + 1/n), half the prediction interval of Student's t; None for one seed.
    """
    if sample.sd is None:
        return None
    t = float(stdtrit(sample.n - 1, 0.5 + LEVEL / 2))
    return t * sample.sd * math.sqrt(1 + 1 / sample.n)


def verdict(difference: float, error: float) -> str:
    """Return ``reproduced``, ``higher`` or ``lower``: within two standard errors or outside."""
    if abs(difference) <= NOISE_ERRORS * error:
        return "reproduced"
    return "higher" if difference > 0 else "lower"


def confusion(
    y: NDArray[np.int64], predictions: NDArray[Any], class_count: int
) -> NDArray[np.int64]:
    """Return how many rows of class i were predicted as j, (K, K), summed over (seeds, n)."""
    cells = np.broadcast_to(y, predictions.shape) * class_count + predictions
    counts = np.bincount(cells.ravel(), minlength=class_count**2)
    return counts.reshape(class_count, class_count)
