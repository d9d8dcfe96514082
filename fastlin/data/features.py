"""Where the features of a data set lie: a short summary, kept with what is trained on them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.data.checks import number_dtype
from fastlin.errors import InputError

SAMPLED_VALUES, LEAST_ROWS = 2**18, 16


class FeatureRange(NamedTuple):
    """Four ordered quantiles of the features, all columns together.

    A single outlier moves the lowest or the highest, but not the two between them.

    Attributes
    ----------
    lowest, low, high, highest : float
        The least, the 1st and the 99th percentile, and the largest of the features.
    scale : float
        What a stored value was multiplied by to become a feature.
    """

    lowest: float
    low: float
    high: float
    highest: float
    scale: float

    @classmethod
    def of(cls, X: NDArray[Any], scale: float) -> Self:
        """Return the range of rows X (n, d), each value times `scale`.

        Of large data it is that of evenly spaced rows, of about 2**18 values.
        """
        row_count = min(len(X), max(LEAST_ROWS, SAMPLED_VALUES // X.shape[1]))
        rows = np.linspace(0, len(X) - 1, row_count).astype(np.int64)
        values = X[rows].astype(number_dtype(X.dtype), copy=False).ravel()
        last, percent = values.size - 1, values.size // 100
        ranks = (0, percent, last - percent, last)
        values.partition(ranks)
        lowest, low, high, highest = (float(values[rank]) * scale for rank in ranks)
        return cls(lowest, low, high, highest, scale)

    def check(self) -> None:
        """Raise `InputError` if the numbers are not finite, ordered, and of a scale above 0."""
        quantiles = list(self[:4])
        if not all(map(math.isfinite, self)) or sorted(quantiles) != quantiles or self.scale <= 0:
            raise InputError(f"the feature range {quantiles}, scale {self.scale}, is impossible")
