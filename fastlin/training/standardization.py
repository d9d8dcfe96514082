"""Features as (x - mean) / std, of the training rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin import functional
from fastlin.config import TrainConfig
from fastlin.data.checks import number_dtype, scale_of
from fastlin.data.dataset import Split
from fastlin.data.feature_names import FeatureNames
from fastlin.data.stored import AnyRows
from fastlin.errors import InputError, quoted

# A feature whose standard deviation is below this part of the median one, or of its own mean, is
# taken as constant: divided by so little, one value in a new row would decide its class.
_LEAST_STD, _LEAST_STD_OF_MEAN = 1e-6, 1e-12

# Means beyond so many standard deviations cost float32 digits, and are subtracted as rows are read.
_LARGE_MEAN = 16.0


class Standardization:
    """Features as (x - mean) / std, by the moments of rows.

    A feature that is constant, or nearly, has std 1: it is next to 0 once its mean is gone.

    Parameters
    ----------
    X : Array or StoredRows
        (n, d) rows as stored.
    dtype : DTypeLike, optional
        Of the weights.
    scale : float, optional
        What a stored value is multiplied by; None for the default of the rows' dtype.
    names : tuple[str, ...], optional
        Of the features, for messages.

    Attributes
    ----------
    mean, std : NDArray[np.float64]
        (d,), of the features.
    offset : NDArray[np.float64] or None
        (d,), what kernels subtract as they read rows: the means, as far as the rows' numbers can
        hold them. None where no mean is large beside its std, and for uint8.
    notes : tuple[str, ...]
        What a user should know of the features, a sentence each.

    Raises
    ------
    InputError
        If a standard deviation is so small or large that its square is beyond `dtype`.
    """

    def __init__(
        self,
        X: AnyRows,
        dtype: DTypeLike = np.float64,
        scale: float | None = None,
        names: FeatureNames = None,
    ) -> None:
        titles = _Titles(names)
        scale = scale_of(scale, X.dtype)
        self.mean, std = functional.feature_moments(X, scale)
        changing = std > _LEAST_STD_OF_MEAN * np.abs(self.mean)
        least = _LEAST_STD * float(np.median(std[changing])) if changing.any() else 0.0
        is_nearly_constant = changing & (std < least)
        self.std = np.where(changing & ~is_nearly_constant, std, 1.0)
        _check_squares(self.std / scale, np.dtype(dtype), titles)
        self.offset: NDArray[np.float64] | None = None
        if X.dtype != np.uint8 and (np.abs(self.mean) > _LARGE_MEAN * self.std).any():
            stored = (self.mean / scale).astype(number_dtype(X.dtype))
            self.offset = scale * stored.astype(np.float64)
        stds = np.where(changing, std, 0.0)
        self.notes = tuple(_notes_on_features(X.dtype, scale, self.mean, stds, least, titles))

    @classmethod
    def of(cls, split: Split, config: TrainConfig) -> Standardization | None:
        """Return that of the training rows, or None if the settings ask for none."""
        if not config.standardize:
            return None
        data = split.train
        return cls(data.X, config.dtype, data.scale, data.feature_names)


class _Titles:
    """What features are called in messages: by their names, or else by their numbers."""

    def __init__(self, names: FeatureNames) -> None:
        self.names = names

    def __getitem__(self, j: int) -> str:
        return f"feature {j if self.names is None else quoted(self.names[j])}"


def _check_squares(std: NDArray[np.float64], dtype: np.dtype[Any], titles: _Titles) -> None:
    """Refuse standard deviations whose squares kernels cannot divide by, with a margin of ten."""
    limits = np.finfo(dtype)
    least, most = 10 * math.sqrt(limits.tiny), math.sqrt(limits.max) / 10
    wrong = np.flatnonzero((std < least) | (std > most)).tolist()
    if wrong:
        raise InputError(
            f"{titles[wrong[0]]} has the standard deviation {std[wrong[0]]:.3g}; to standardize it "
            f"in {dtype} it must be from {least:.1g} to {most:.1g}: multiply the feature by "
            f"{1 / std[wrong[0]]:.0e}, or set standardize to False"
        )


def _notes_on_features(
    dtype: np.dtype[Any],
    scale: float,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    least: float,
    titles: _Titles,
) -> Iterator[str]:
    """Say which features were not standardised, and which have few digits.

    std is 0 for constant features, of which there is nothing to say.
    """
    is_nearly_constant = (std > 0) & (std < least)
    for j in np.flatnonzero(is_nearly_constant)[:_SHOWN_FEATURES].tolist():
        yield (
            f"{titles[j]} is taken as constant: its standard deviation, {std[j]:.3g}, is below "
            f"{least:.3g}, a millionth of the median one; rescale it if it matters"
        )
    more = int(is_nearly_constant.sum()) - _SHOWN_FEATURES
    if more > 0:
        yield f"{more} more features are taken as constant for the same reason"
    if dtype == np.uint8:
        return
    steps = scale * np.spacing(np.abs(mean / scale).astype(dtype)).astype(np.float64)
    coarse = np.flatnonzero((std > 0) & (steps > _COARSEST_STEP * std) & ~is_nearly_constant)
    for j in coarse[:_SHOWN_FEATURES].tolist():
        yield (
            f"{titles[j]} has few digits: around its mean, {mean[j]:.6g}, {dtype} numbers are "
            f"{steps[j]:.3g} apart, and its standard deviation is {std[j]:.3g}; subtract the mean "
            "before the values are saved"
        )


# At most so many features are named in notes of one kind; the step between two numbers of the rows'
# dtype beyond which a feature has few digits left, over its standard deviation.
_SHOWN_FEATURES, _COARSEST_STEP = 3, 0.1
