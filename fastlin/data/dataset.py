"""The record every data source ends in."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlin.data.checks import (
    as_rows,
    check_class_names,
    check_image_shape,
    check_labels,
    check_scale,
    check_values,
    check_weights,
    scale_of,
)
from fastlin.data.feature_names import (
    FeatureNames,
    check_feature_names,
    column_order,
    in_one_order,
    names_of,
)
from fastlin.data.features import FeatureRange
from fastlin.data.source import DataReference, fingerprint_of
from fastlin.data.splits import DEFAULT_FRACTION, check_fraction, stratified_share
from fastlin.data.stored import AnyRows, StoredRows, contiguous
from fastlin.errors import InputError, counted, quoted
from fastlin.settings import whole_number


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled rows, checked once here so that kernels may trust them.

    Attributes
    ----------
    X : NDArray or StoredRows
        (n, d) uint8, float16, bfloat16, float32 or float64, C-contiguous: in memory, mapped or in
        files; kernels see the feature `scale` times the value.
    y : NDArray[np.int64]
        (n,), each in [0, len(class_names)).
    class_names : tuple[str, ...]
        One name per class, at least two, all different, each one line of text.
    image_shape : tuple[int, int, int] | None
        (channels, height, width) where a row is an image in that order, with channels 1 or 3;
        otherwise None.
    scale : float | None
        What a stored value is multiplied by to become a feature; None for 1/255 of uint8, as of
        pixels, and 1 of others. `feature_scale` is the number.
    weights : NDArray[np.float64] | None
        (n,), how much each row counts, finite, >= 0, not all 0; None for all alike. Only their
        ratios matter: a row of weight 2 counts as if it were there twice.
    feature_names : tuple[str, ...] | None
        The names of the d columns, all different; None where they are not known. Rows are matched
        by them with other rows and with models that have names, too, and else by number.

    Raises
    ------
    InputError
        If shapes, dtypes, label range, names or a value are wrong; the message says which.
    """

    X: AnyRows
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    scale: float | None = None
    weights: NDArray[np.float64] | None = None
    feature_names: tuple[str, ...] | None = None
    _largest: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        X = as_rows(self.X)
        if self.image_shape is not None:
            shape = check_image_shape(self.image_shape, X.shape[1])
            object.__setattr__(self, "image_shape", shape)
        object.__setattr__(self, "class_names", check_class_names(self.class_names))
        object.__setattr__(self, "y", check_labels(self.y, len(X), len(self.class_names)))
        object.__setattr__(self, "_largest", check_values("X", X))
        object.__setattr__(self, "X", contiguous(X))
        if self.scale is not None:
            object.__setattr__(self, "scale", check_scale(self.scale))
        if self.weights is not None:
            object.__setattr__(self, "weights", check_weights(self.weights, len(X)))
        if self.feature_names is not None:
            names = check_feature_names(self.feature_names, X.shape[1])
            object.__setattr__(self, "feature_names", names)

    def changed(self, *, scale: float | None = None, weights: ArrayLike | None = None) -> Dataset:
        """Return the same rows, which are not checked again, with another scale or weights.

        Parameters
        ----------
        scale : float, optional
            None leaves it.
        weights : ArrayLike, optional
            (n,); None leaves them.

        Raises
        ------
        InputError
            If what is given does not fit.
        """
        found = copy.copy(self)
        found.__dict__.pop("feature_range", None)
        if scale is not None:
            object.__setattr__(found, "scale", check_scale(scale))
        if weights is not None:
            object.__setattr__(found, "weights", check_weights(weights, len(self)))
        return found

    def chosen(self, rows: NDArray[np.int64]) -> Dataset:
        """Return some of the rows, by number, as a data set of its own."""
        found, X = copy.copy(self), self.X  # of which all values were checked
        found.__dict__.pop("feature_range", None)
        object.__setattr__(found, "X", X.chosen(rows) if isinstance(X, StoredRows) else X[rows])
        object.__setattr__(found, "y", self.y[rows])
        return found.changed(weights=None if self.weights is None else self.weights[rows])

    def with_features(
        self, names: FeatureNames, rows: str = "the rows", whose: str = "asked for"
    ) -> Dataset:
        """Return the same rows, which are not checked again, with the features of these names.

        Columns that have names are put into that order, in a copy if it is another one, and others
        are left out; those that have none get these. None leaves them.

        Parameters
        ----------
        names : tuple[str, ...] or None
        rows, whose : str
            What the rows are, and whose the names are, for messages.

        Raises
        ------
        InputError
            If names are missing.
        """
        if names is None or names == self.feature_names:
            return self
        order = column_order(self.feature_names, names, rows, whose, can_have_more=True)
        found = copy.copy(self)
        if order is not None:
            if isinstance(self.X, StoredRows):
                raise InputError(f"{rows} in files have other columns than those {whose}")
            object.__setattr__(found, "X", np.take(self.X, order, axis=1))
            if found.X.shape != self.X.shape:
                found.__dict__.pop("feature_range", None)
                object.__setattr__(found, "image_shape", None)
        object.__setattr__(found, "feature_names", check_feature_names(names, found.X.shape[1]))
        return found

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def __repr__(self) -> str:
        return f"Dataset({counted(len(self), 'row')}, {_kind(self)})"

    @property
    def feature_scale(self) -> float:
        """What a stored value is multiplied by to become a feature; see `scale`."""
        return scale_of(self.scale, self.X.dtype)

    @cached_property
    def feature_range(self) -> FeatureRange:
        """Where the features lie, computed once."""
        return FeatureRange.of(self.X, self.feature_scale)

    def check_fits(self, dtype: DTypeLike) -> None:
        """Check that arithmetic of a dtype holds every value.

        Raises
        ------
        InputError
            If a value is too large; it names row, column and value.
        """
        if self._largest > float(np.finfo(dtype).max):
            check_values("X", self.X, dtype)


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows, and validation and test rows where there are any; all of one kind.

    Attributes
    ----------
    name : str
        For people and file names: ``cifar10``, ``cifar10-mini`` or the file's stem.
    train, val, test : Dataset | None
        Data sets with equal features, dtype, scale, classes and image shape; `train` is always
        there. Columns that have names are put into the order of the first part that has names,
        which is a `fastlin.errors.DataWarning`; parts without names get those.
    source : DataReference | None
        Where `load_split` found them; None for arrays.

    Raises
    ------
    InputError
        If the parts disagree on features, dtype, scale, classes or image shape.
    """

    name: str
    train: Dataset
    val: Dataset | None = None
    test: Dataset | None = None
    source: DataReference | None = None

    def __post_init__(self) -> None:
        for part, found in in_one_order(self.name, self.parts()).items():
            object.__setattr__(self, part, found)
        for part, data in (("validation", self.val), ("test", self.test)):
            if data is None:
                continue
            for what, ours, theirs in (
                ("features", self.train.X.shape[1], data.X.shape[1]),
                ("dtype", self.train.X.dtype, data.X.dtype),
                ("scale", self.train.feature_scale, data.feature_scale),
                ("classes", self.train.class_names, data.class_names),
                ("image shape", self.train.image_shape, data.image_shape),
            ):
                if ours != theirs:
                    theirs, ours = (_shown(value) for value in (theirs, ours))
                    raise InputError(f"{part} rows have {what} {theirs}, training rows have {ours}")

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        X_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
        class_names: Iterable[str] | None = None,
        image_shape: Iterable[int] | None = None,
        scale: float | None = None,
        weights: ArrayLike | None = None,
        name: str = "arrays",
    ) -> Split:
        """Make a split of arrays, DataFrames or lists.

        Parameters
        ----------
        X : ArrayLike
            Training rows (n, d), or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3
            channels. uint8, float16, bfloat16, float32 and float64 are kept as they are; other
            real numbers become float32, or float64 where that is needed to hold them. The names of
            the columns of a DataFrame are those of the features.
        y : ArrayLike
            Their labels (n,): text, booleans, or integers, which need not be consecutive.
        X_val, y_val, X_test, y_test : ArrayLike, optional
            Validation and test rows. Columns are matched by name where those of X have names, too.
        class_names : Iterable[str], optional
            The names of the classes. Integer labels are then places in it, from 0; without it the
            classes are the labels that occur, in ascending order, each named by its text.
        image_shape : Iterable[int], optional
            (channels, height, width) of rows (n, d) that are images in that order.
        scale : float, optional
            What a value is multiplied by to become a feature; by default 1/255 for uint8, as of
            pixels, and 1 for others.
        weights : ArrayLike, optional
            (n,), how much each training row counts, finite, >= 0, not all 0.
        name : str, optional
            Of the split, for people and file names.

        Raises
        ------
        InputError
            If arrays do not fit one another, or a value is not finite; it names the array.
        """
        from fastlin.data import arrays  # noqa: PLC0415  (it makes what is defined here)

        rows = {"X_train": X, "X_val": X_val, "X_test": X_test}
        labels = {"y_train": y, "y_val": y_val, "y_test": y_test}
        given: dict[str, Any] = {
            array: arrays.numeric(array, values) for array, values in rows.items()
            if values is not None
        }  # fmt: skip
        given |= {array: values for array, values in labels.items() if values is not None}
        given |= {f"names{array[1:]}": names_of(values) for array, values in rows.items()}
        split = arrays.split_of_arrays(name, given, class_names, image_shape).with_scale(scale)
        if weights is None:
            return split
        return replace(split, train=split.train.changed(weights=weights))

    def with_scale(self, scale: float | None) -> Split:
        """Return the same rows with another scale, of `Dataset`; None leaves it.

        Raises
        ------
        InputError
            If it is no scale.
        """
        if scale is None:
            return self
        parts: dict[str, Any] = {
            part: data.changed(scale=scale) for part, data in self.parts().items()
        }
        return replace(self, **parts)

    def hold_out(self, fraction: float = DEFAULT_FRACTION, seed: int = 0) -> Split:
        """Return the split with a share of its training rows as validation rows.

        Every class gives the same share, as far as that goes, and keeps at least one row. Rows stay
        in their order. Test rows are what they were. `load_split` draws with seed 0: by that alone
        does `source` find the same rows again.

        Parameters
        ----------
        fraction : float
            The share, between 0 and 1.
        seed : int
            Of the draw.

        Raises
        ------
        InputError
            If there are validation rows already, or the share holds out no row.
        """
        if self.val is not None:
            raise InputError(
                f"{self.name} has {len(self.val):,} validation rows; no share of the training rows "
                "can be held out beside them: leave out val_fraction"
            )
        share = check_fraction(fraction)
        kept, held = stratified_share(self.train.y, share, whole_number("seed", seed, 0))
        source = None
        if self.source is not None and seed == 0:
            source = replace(self.source, val_fraction=share)
        return replace(
            self, train=self.train.chosen(kept), val=self.train.chosen(held), source=source
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{part} {len(data):,}" for part, data in self.parts().items())
        return f"Split({quoted(self.name)}: {counts} rows, {_kind(self.train)})"

    def parts(self) -> dict[str, Dataset]:
        """Return the parts that exist, by name (train, val, test), in that order."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: data for name, data in named.items() if data is not None}

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides what is learned from the split, as hex digits.

        That is, of every part: shape, dtype, scale, image shape, class names, rows, labels, and
        weights where there are any. It is computed once: the arrays of a split are not to change.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint_of(self.parts())


def _kind(data: Dataset) -> str:
    """Return features and classes of a data set in a few words."""
    images = "" if data.image_shape is None else f", images {data.image_shape}"
    count = len(data.class_names)
    return (
        f"{counted(data.X.shape[1], 'feature')} {data.X.dtype}{images}, {counted(count, 'class')}"
    )


def _shown(value: object) -> str:
    return quoted(value) if isinstance(value, tuple) else str(value)


def check_split(split: object) -> None:
    """Raise InputError if what was given as a split is none, saying how to make one."""
    if not isinstance(split, Split):
        raise InputError(
            f"the data are a {type(split).__name__}; they must be a Split, as load_split and "
            "Split.from_arrays make it"
        )


def check_fits(split: Split, dtype: DTypeLike) -> None:
    """Check that arithmetic of a dtype holds every value of a split.

    Raises
    ------
    InputError
        If it is no split, or a value is too large; it names part, row, column and value.
    """
    check_split(split)
    for part, data in split.parts().items():
        try:
            data.check_fits(dtype)
        except InputError as error:
            raise InputError(f"{split.name}, {part}: {error}") from None
