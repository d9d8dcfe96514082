"""The record every data source ends in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.data.features import FeatureRange
from fastlin.errors import InputError

ROW_DTYPES: tuple[np.dtype[Any], ...] = (
    np.dtype(np.uint8),
    np.dtype(np.float32),
    np.dtype(np.float64),
)


def feature_scale(row_dtype: np.dtype[Any]) -> float:
    """Return what a stored value is multiplied by to become a feature: 1/255 for uint8, else 1."""
    return 1 / 255 if row_dtype == np.uint8 else 1.0


def check_labels(y: ArrayLike, row_count: int, class_count: int) -> NDArray[np.int64]:
    """Return labels as a C-contiguous (row_count,) int64 array.

    Raises
    ------
    InputError
        If their number, dtype or range is wrong: each must be in [0, class_count).
    """
    y = np.asarray(y)
    if y.shape != (row_count,):
        raise InputError(f"y has shape {y.shape}; with {row_count} rows it must be ({row_count},)")
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"y has dtype {y.dtype}; labels must be integers")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= class_count:
        wrong = low if low < 0 else high
        raise InputError(
            f"label {wrong} is outside 0 to {class_count - 1} (there are {class_count} classes)"
        )
    return np.ascontiguousarray(y, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled rows, checked once here so that kernels may trust them.

    Attributes
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous. uint8 rows are pixels and stay so in
        memory; kernels see the feature pixel / 255.
    y : (n,) int64, each in [0, len(class_names)).
    class_names : one name per class, at least two.
    image_shape : (channels, height, width) where a row is an image in that order, with
        channels 1 or 3; otherwise None.

    Raises
    ------
    InputError
        If shapes, dtypes, label range or finiteness are wrong; the message says which.
    """

    X: NDArray[Any]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        X = np.asarray(self.X)
        if X.ndim != 2 or 0 in X.shape:
            raise InputError(f"X has shape {X.shape}; it must be (rows, features), both at least 1")
        if X.dtype not in ROW_DTYPES:
            raise InputError(f"X has dtype {X.dtype}; it must be uint8, float32 or float64")
        if len(self.class_names) < 2:
            raise InputError(f"there are {len(self.class_names)} classes; at least 2 are needed")
        y = check_labels(self.y, len(X), len(self.class_names))
        if X.dtype != np.uint8 and not np.isfinite(X).all():
            row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise InputError(
                f"X has a NaN or infinite value in row {row}; every feature must be finite"
            )
        if self.image_shape is not None:
            channels = self.image_shape[0] if len(self.image_shape) == 3 else 0
            if channels not in (1, 3) or int(np.prod(self.image_shape)) != X.shape[1]:
                raise InputError(
                    f"image shape {self.image_shape} does not describe rows of {X.shape[1]} "
                    "features; it must be (channels, height, width) with 1 or 3 channels"
                )
        object.__setattr__(self, "X", np.ascontiguousarray(X))
        object.__setattr__(self, "y", y)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def feature_scale(self) -> float:
        """What a stored value is multiplied by to become a feature: 1/255 for pixels, else 1."""
        return feature_scale(self.X.dtype)

    @cached_property
    def feature_range(self) -> FeatureRange:
        """Where the features lie; computed once: the array is not to change."""
        return FeatureRange.of(self.X, self.feature_scale)


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows, and validation and test rows where there are any; all of one kind.

    Attributes
    ----------
    name : for people and file names: ``cifar10``, ``cifar10-mini`` or the file's stem.
    train, val, test : data sets with equal features, dtype, classes and image shape.

    Raises
    ------
    InputError
        If the parts disagree on features, dtype, classes or image shape.
    """

    name: str
    train: Dataset
    val: Dataset | None = None
    test: Dataset | None = None

    def __post_init__(self) -> None:
        for part, data in (("validation", self.val), ("test", self.test)):
            if data is None:
                continue
            for what, ours, theirs in (
                ("features", self.train.X.shape[1], data.X.shape[1]),
                ("dtype", self.train.X.dtype, data.X.dtype),
                ("classes", self.train.class_names, data.class_names),
                ("image shape", self.train.image_shape, data.image_shape),
            ):
                if ours != theirs:
                    raise InputError(f"{part} rows have {what} {theirs}, training rows have {ours}")

    def parts(self) -> dict[str, Dataset]:
        """Return the parts that exist, by name (train, val, test), in that order."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: data for name, data in named.items() if data is not None}

    def fingerprint(self) -> str:
        """Return the SHA-256 over every part's shape, dtype, rows and labels, as hex digits.

        It is computed once: the arrays of a split are not to change.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, data in self.parts().items():
            digest.update(f"{name} {data.X.shape} {data.X.dtype.str}".encode())
            digest.update(data.X.data)
            digest.update(data.y.data)
        return digest.hexdigest()
