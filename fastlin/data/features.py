"""Where the features of a data set lie: a short summary, kept with what is trained on them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin.data.checks import number_dtype
from fastlin.data.stored import AnyRows
from fastlin.errors import InputError

SAMPLED_VALUES, LEAST_ROWS = 2**18, 16


def stored_part(
    offset: NDArray[np.float64], scale: float, dtype: DTypeLike
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an offset of features as stored values have it, as far as their dtype can hold it.

    Parameters
    ----------
    offset : NDArray[np.float64]
        (d,), of features.
    scale : float
        What a stored value is multiplied by to become a feature.
    dtype : DTypeLike
        In which it is to be subtracted from stored values.

    Returns
    -------
    tuple[NDArray, NDArray[np.float64]]
        (d,) what is subtracted from stored values, and what that is of features.
    """
    shift = (offset / scale).astype(dtype)
    return shift, scale * shift.astype(np.float64)


def evenly_spaced(row_count: int, feature_count: int) -> NDArray[np.int64]:
    """Return the numbers of evenly spaced rows, of about `SAMPLED_VALUES` values; few are all."""
    count = min(row_count, max(LEAST_ROWS, SAMPLED_VALUES // feature_count))
    return np.linspace(0, row_count - 1, count).astype(np.int64)


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
    def of(cls, X: AnyRows, scale: float) -> Self:
        """Return the range of rows X (n, d), each value times `scale`.

        Of large data it is that of evenly spaced rows, of about 2**18 values.
        """
        values = X[evenly_spaced(*X.shape)].astype(number_dtype(X.dtype), copy=False).ravel()
        last, percent = values.size - 1, values.size // 100
        ranks = (0, percent, last - percent, last)
        values.partition(ranks)
        lowest, low, high, highest = (float(values[rank]) * scale for rank in ranks)
        return cls(lowest, low, high, highest, scale)

    @classmethod
    def of_array(cls, array: NDArray[Any] | None) -> Self | None:
        """Return the range of its five numbers, as a file has them; None for None.

        Raises
        ------
        InputError
            If they are not five float64.
        """
        count = len(cls._fields)
        if array is not None and (array.shape != (count,) or array.dtype != np.float64):
            raise InputError(
                f"feature_range is {array.dtype} {array.shape}; it must be {count} floats"
            )
        return None if array is None else cls(*array.tolist())

    def check(self) -> None:
        """Raise `InputError` if the numbers are not finite, ordered, and of a scale above 0."""
        quantiles = list(self[:4])
        if not all(map(math.isfinite, self)) or sorted(quantiles) != quantiles or self.scale <= 0:
            raise InputError(f"the feature range {quantiles}, scale {self.scale}, is impossible")
