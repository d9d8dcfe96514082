"""Settings that are chosen from the rows where the user leaves them at ``auto``.

A linear model does not care in which unit features are: with features c times as large, weights,
learning rate and penalty of 1/c, 1/c**2 and c**2 give the same scores. So all rules are in the mean
squared length of the rows: of a softmax loss, half of it bounds the curvature, and the inverse of
that the stable learning rates. Numbers are rounded to one digit, so that they do not depend on the
last bit of a sum. `python -m benchmarks.defaults` measures what the rules lose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data.checks import number_dtype
from fastlin.data.dataset import Dataset
from fastlin.data.features import evenly_spaced
from fastlin.data.stored import AnyRows, StoredRows
from fastlin.errors import InputError
from fastlin.settings import AUTO

# Features are standardised where the largest of them is so many times the usual spread of one,
# where rows are shorter than this on average, or where features are this large. Embeddings of unit
# length, pixels and counts are far from it.
_LARGEST_RATIO, _LEAST_LENGTH, _LARGEST_SIZE = 100.0, 0.3, 30.0

# The penalty for rows whose mean squared length is 1, and at most.
_L2_OF_UNIT_ROWS, _LARGEST_L2 = 1.2e-5, 0.01

# A learning rate times twice the penalty is at most this: a step takes that share of the weights.
_LARGEST_DECAY = 0.5

# A learning rate that does not fall is this part of one that does, from which it is no more than
# noise in the end.
_SHARE_OF_CONSTANT = 0.3

# What is chosen for rows that say nothing, as they are all zero, and what float32 can hold.
_LR_WITHOUT_ROWS, _LEAST, _MOST = 0.02, 1e-30, 1e30


class Scales(NamedTuple):
    """How large the features of a data set are, over evenly spaced rows.

    Attributes
    ----------
    size : NDArray[np.float64]
        (d,), the root of the mean square of every feature.
    std : NDArray[np.float64]
        (d,), the standard deviations; 0 of a feature that is constant.
    """

    size: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Return those of rows; of many, those of evenly spaced ones."""
        stored = data.X[evenly_spaced(*data.X.shape)]
        values = stored.astype(number_dtype(data.X.dtype)).astype(np.float64) * data.feature_scale
        with np.errstate(over="ignore", invalid="ignore"):  # squares beyond float64 are infinite
            mean, std = values.mean(axis=0), values.std(axis=0)
            size = np.sqrt(np.square(values).mean(axis=0))
        # A spread that is rounding alone is none.
        return cls(size, np.where(std > 1e-12 * np.abs(mean), std, 0.0))

    @property
    def changing(self) -> NDArray[np.intp]:
        """The numbers of the features that are not constant."""
        return np.flatnonzero(self.std > 0)

    @property
    def square_length(self) -> float:
        """The mean squared length of the rows."""
        with np.errstate(over="ignore"):
            return float(np.square(self.size).sum())

    @property
    def usual_std(self) -> float:
        """The spread that a quarter of the changing features do not reach; 0 if all are constant.

        The least one would be that of a feature which hardly ever changes.
        """
        stds = np.sort(self.std[self.changing])
        return float(stds[len(stds) // 4]) if len(stds) else 0.0

    @property
    def ratio(self) -> float:
        """The size of the largest feature, over the usual spread of one."""
        usual = self.usual_std
        return float(self.size.max()) / usual if usual > 0 else 1.0

    @property
    def trouble(self) -> str | None:
        """What is wrong with features as they are, in words; None if nothing is."""
        changing, length = self.changing, math.sqrt(self.square_length)
        if len(changing) == 0:
            return None
        usual, largest = self.usual_std, int(self.size.argmax())
        if self.ratio > _LARGEST_RATIO:
            return (
                f"features differ much in scale: a usual one spreads by {usual:.2g}, and feature "
                f"{largest} has values of about {self.size[largest]:.2g}"
            )
        if length < _LEAST_LENGTH:
            return f"features are tiny: rows have a length of {length:.2g}"
        size = float(np.median(self.size[changing]))
        if size > _LARGEST_SIZE:
            return f"features are large: their values are of about {size:.2g}"
        return None


def are_pixels(data: Dataset) -> bool:
    """Return whether rows are pixels that are scaled already, whose features are all alike."""
    return data.X.dtype == np.uint8 and data.feature_scale != 1


def with_chosen(configs: Sequence[TrainConfig], data: Dataset) -> tuple[TrainConfig, ...]:
    """Return settings without ``auto``: a function of the settings and the rows alone.

    Parameters
    ----------
    configs : Sequence[TrainConfig]
        Where `standardize` is ``auto``, it becomes true if `Scales.trouble` finds something, and
        never for pixels. `lr` and `l2` become numbers that suit the lengths of the rows.
    data : Dataset
        The training rows.

    Returns
    -------
    tuple[TrainConfig, ...]
        One for each, the same if it leaves nothing to choose.
    """
    configs = [_within_memory(config, data.X) for config in configs]
    if not any(AUTO in (config.lr, config.l2, config.standardize) for config in configs):
        return tuple(configs)
    scales = Scales.of(data)
    return tuple(_with_chosen(config, data, scales) for config in configs)


def _within_memory(config: TrainConfig, X: AnyRows) -> TrainConfig:
    """Return settings whose window is as large as memory allows, where none is given.

    Raises InputError if one is given that is larger, or a batch is.
    """
    if not isinstance(X, StoredRows) or X.rows_in_memory >= len(X):
        return config
    for name, rows in (("window", config.window), ("batch_size", config.batch_size)):
        if rows > X.rows_in_memory:
            raise InputError(
                f"{name} is {rows} rows of {X.row_bytes} bytes, of which memory allows "
                f"{X.rows_in_memory}; give a smaller {name}, or a larger memory"
            )
    return config if config.window else replace(config, window=X.rows_in_memory)


def _with_chosen(config: TrainConfig, data: Dataset, scales: Scales) -> TrainConfig:
    """Do `with_chosen` for one, by the scales of the rows."""
    if config.standardize == AUTO:
        is_chosen = not are_pixels(data) and scales.trouble is not None and _can_divide(scales)
        config = replace(config, standardize=is_chosen)
    square = float(len(scales.changing)) if config.standardize else scales.square_length
    if config.l2 == AUTO:
        l2 = min(_L2_OF_UNIT_ROWS * square, _LARGEST_L2) if square > 0 else _LARGEST_L2
        config = replace(config, l2=_rounded(l2))
    if config.lr == AUTO:
        lr = _LR_WITHOUT_ROWS
        if square > 0:
            lr = config.loss.default_lr(square, len(data.class_names))
        lr *= 1 - config.momentum
        if config.penalty_factor > 0:
            lr = min(lr, _LARGEST_DECAY / (2 * config.penalty_factor))
        config = replace(config, lr=_rounded(lr))
    return config


def with_constant_rate(config: TrainConfig, data: Dataset) -> TrainConfig:
    """Return settings of a stream, whose learning rate does not fall, without ``auto``.

    Parameters
    ----------
    config : TrainConfig
        Where `lr` is ``auto``, it becomes a part of what `with_chosen` chooses.
    data : Dataset
        The first rows of the stream.
    """
    [chosen] = with_chosen([config], data)
    if config.lr != AUTO:
        return chosen
    return replace(chosen, lr=_rounded(_SHARE_OF_CONSTANT * float(chosen.lr)))


def notes_on_chosen(
    given: Sequence[TrainConfig], chosen: Sequence[TrainConfig], data: Dataset
) -> tuple[str, ...]:
    """Return what a user should know of what `with_chosen` made of settings, a sentence each."""
    pairs = zip(given, chosen, strict=True)
    if not any(one.standardize == AUTO and two.standardize for one, two in pairs):
        return ()
    note = f"{Scales.of(data).trouble}; they are standardised: set standardize to False"
    return (f"{note} to take them as they are",)


def _can_divide(scales: Scales) -> bool:
    """Return whether squares of all standard deviations are numbers of float32."""
    stds = scales.std[scales.changing]
    return bool(np.isfinite(stds).all() and stds.min() > 1e-15 and stds.max() < 1e15)


def _rounded(number: float) -> float:
    """Return a number with one digit, within what float32 can hold."""
    return float(f"{min(max(number, _LEAST), _MOST):.1g}")
