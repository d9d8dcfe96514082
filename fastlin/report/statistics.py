"""What a few runs that differ in their seed can tell, and what they cannot.

Two settings are compared seed by seed: runs with the same seed start from the same weights and see
the same order of rows, so that much of the noise is common to both and leaves their difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95  # of intervals, as is usual
# The margin within which a difference does not matter: two standard errors of an accuracy of 40 %
# on 10,000 test rows, so that one run on such a test set could not show it.
RELEVANCE = 0.01
# The fewest seeds of which an interval is given. Of two, it is 13 times as wide as the standard
# error, and 101 times among eight that are judged together: it says nothing.
MIN_SEEDS = 3

Claim = Literal["none", "gain", "loss"]
Agreement = Literal["agrees", "disagrees", "open"]


@dataclass(frozen=True)
class Sample:
    """Values of several seeds; the standard deviation has n - 1 in it and is None of one value."""

    values: list[float]
    mean: float
    sd: float | None

    @property
    def cell(self) -> list[float | None]:
        """Mean and standard deviation, for a table."""
        return [self.mean, self.sd]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise at least one value."""
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls([float(value) for value in values], float(np.mean(values)), sd)


@dataclass(frozen=True)
class Difference:
    """A mean difference over n seeds.

    Attributes
    ----------
    mean : float
        Of what is measured.
    error : float | None
        Its standard error; None of one seed.
    n : int
        The number of seeds.
    low, high : float | None
        Ends of its interval by Student's t distribution; at `LEVEL`, or as `holm` says. None of
        fewer than `MIN_SEEDS` seeds, and where all seeds have the same value: accuracies are counts
        of rows, so that such a spread of 0 is by chance.
    p : float | None
        Two-sided p-value, adjusted likewise; below 1 - `LEVEL` where the interval excludes 0. None
        as the interval is.
    """

    mean: float
    error: float | None
    n: int
    low: float | None
    high: float | None
    p: float | None

    @property
    def interval(self) -> list[float] | None:
        """Both ends, None if they are not known."""
        return None if self.low is None or self.high is None else [self.low, self.high]

    @property
    def reach(self) -> float | None:
        """The largest size that the interval holds."""
        return None if self.low is None or self.high is None else max(-self.low, self.high)

    @property
    def has_few_seeds(self) -> bool:
        """Whether the seeds are too few for an interval."""
        return self.n < MIN_SEEDS

    @property
    def is_seen(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def agreement(self, claim: Claim) -> Agreement:
        """Return what the interval says of a claim: no difference, a gain, or a loss."""
        if self.low is None or self.high is None:
            return "open"
        low, high = (-self.high, -self.low) if claim == "loss" else (self.low, self.high)
        if claim == "none":
            is_within = low >= -RELEVANCE and high <= RELEVANCE
            is_beyond = low > RELEVANCE or high < -RELEVANCE
            return "agrees" if is_within else "disagrees" if is_beyond else "open"
        return "agrees" if low > 0 else "disagrees" if high < 0 else "open"


def _difference(mean: float, error: float | None, n: int) -> Difference:
    if not error or n < MIN_SEEDS:
        return Difference(mean, error, n, None, None, None)
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return _with_interval(Difference(mean, error, n, None, None, p), 1 - LEVEL)


def _with_interval(found: Difference, alpha: float) -> Difference:
    reach = float(stdtrit(found.n - 1, 1 - alpha / 2)) * (found.error or 0.0)
    return replace(found, low=found.mean - reach, high=found.mean + reach)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean of second - first, seed by seed."""
    sample = Sample.of(np.subtract(second, first).tolist())
    n = len(sample.values)
    return _difference(sample.mean, None if sample.sd is None else sample.sd / math.sqrt(n), n)


def published_difference(published: float, values: Sequence[float]) -> Difference:
    """Return the mean of values - one published value, which is taken for one more seed.

    Its standard error is s sqrt(1 + 1/n): of the seed behind the published value and of the n
    seeds behind the mean. Both were measured on the same test rows, whose choice does not count.
    """
    sample = Sample.of(values)
    n = len(values)
    error = None if sample.sd is None else sample.sd * math.sqrt(1 + 1 / n)
    return _difference(sample.mean - published, error, n)


def holm(family: Mapping[str, Difference]) -> dict[str, Difference]:
    """Return differences that are judged together: at most one false alarm in 20 such families.

    p-values are adjusted (Holm 1979). Every interval has the level at which the procedure judges
    its difference: 1 - 0.05/m for the smallest of m p-values, 1 - 0.05/(m - 1) for the next, and
    so on until one is not small enough, whose level is that of the rest. So an interval excludes 0
    where the adjusted p-value is below 0.05.
    """
    judged = dict(family)
    known = sorted((found.p, name) for name, found in family.items() if found.p is not None)
    adjusted, is_over = 0.0, False
    alpha = 1 - LEVEL
    for rank, (p, name) in enumerate(known):
        left = len(known) - rank
        adjusted = max(adjusted, min(1.0, left * p))
        alpha = alpha if is_over else (1 - LEVEL) / left
        is_over = is_over or p > alpha
        judged[name] = replace(_with_interval(family[name], alpha), p=adjusted)
    return judged
