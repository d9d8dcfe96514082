"""Rows without labels: what a classifier predicts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin import files
from fastlin.data.arrays import image_shape_of, numeric, rows_and_image_shape
from fastlin.data.beside import Place, name_in_file, read_ids
from fastlin.data.catalog import CATALOG, is_cifar, load_split
from fastlin.data.checks import as_array, check_image_shape, check_unmasked, scale_of
from fastlin.data.dataset import Dataset, Split
from fastlin.data.feature_names import (
    FeatureNames,
    check_feature_names,
    column_order,
    left_out_note,
    names_of,
    select_columns,
)
from fastlin.data.features import FeatureRange, evenly_spaced
from fastlin.data.formats.names import IMAGE_SHAPE, PARTS, is_id_column
from fastlin.data.reading import read_rows
from fastlin.data.stored import AnyRows
from fastlin.errors import InputError, MatchWarning, counted, quoted


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows without labels, as they are stored: in memory, or mapped from a file.

    Their values are checked when a block of them is read.

    Attributes
    ----------
    name : str
        Of the file or the data set, for messages.
    X : NDArray or StoredRows
        (n, d), or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels; real numbers
        of any dtype.
    ids : NDArray or None
        (n,) integers or text, by which their owner knows them; None for the numbers of the rows.
    image_shape : tuple[int, int, int] or None
        (channels, height, width) where a row is an image in that order, else None.
    scale : float or None
        What stored values are multiplied by; None for what the model says.
    feature_names : tuple[str, ...] or None
        The names of the d features; None if they are not known.
    order : NDArray[np.int64] or None
        (d,) the numbers of the stored columns that are the features; None for all in their order.

    Raises
    ------
    InputError
        If shapes or dtypes do not fit.
    """

    name: str
    X: AnyRows
    ids: NDArray[Any] | None = None
    image_shape: tuple[int, int, int] | None = None
    scale: float | None = None
    feature_names: tuple[str, ...] | None = None
    order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        check_unmasked(f"{self.name}: X", self.X)
        if self.X.ndim < 2 or 0 in self.X.shape:
            raise InputError(
                f"{self.name}: X has shape {self.X.shape}; it must be (rows, features) or images, "
                "with at least one row and one feature"
            )
        _, shape = self._converted(self.X[:1])
        if shape is None and self.image_shape is not None:
            shape = check_image_shape(self.image_shape, self.feature_count)
        object.__setattr__(self, "image_shape", shape)
        if self.feature_names is not None:
            names = check_feature_names(self.feature_names, self.feature_count)
            object.__setattr__(self, "feature_names", names)
        if self.ids is not None:
            ids = as_array("ids", self.ids)
            if ids.dtype.kind == "O" and all(isinstance(text, str) for text in ids.tolist()):
                ids = ids.astype(str)
            if ids.shape != (len(self),) or ids.dtype.kind not in "iuU":
                raise InputError(
                    f"{self.name}: ids is {ids.dtype!s:.60} {ids.shape}; it must be one integer or "
                    f"one text for each of {counted(len(self), 'row')}"
                )
            object.__setattr__(self, "ids", ids)

    @classmethod
    def of(cls, data: Rows | Dataset | ArrayLike, features: FeatureNames = None) -> Rows:
        """Return rows given as an array, as a data set, or as a DataFrame.

        Of a DataFrame that has all features of these names, and more columns, these are taken, and
        a column ``id`` as the ids of its rows.
        """
        if isinstance(data, Rows):
            return data
        if isinstance(data, Dataset):
            return cls("data", data.X, None, data.image_shape, data.scale, data.feature_names)
        names, ids = names_of(data), None
        if names is not None and features is not None and set(names) > set(features):
            others = [name for name in names if name not in set(features)]
            id_name = next((name for name in others if is_id_column(name)), None)
            if id_name is not None:
                ids = np.asarray(select_columns(data, (id_name,)))[:, 0]
                others.remove(id_name)
            if others:
                warnings.warn(left_out_note(others), MatchWarning, stacklevel=3)
            selected: ArrayLike = select_columns(data, features)
            return cls("data", as_array("X", selected), ids, feature_names=features)
        return cls("data", as_array("X", data), ids, feature_names=names)

    def with_features(self, names: FeatureNames, whose: str = "asked for") -> Rows:
        """Return the same rows with the features of these names, if they have names.

        The columns are put into that order when a block is read; others are left out.

        Parameters
        ----------
        names : tuple[str, ...] or None
        whose : str
            Whose names they are, for messages.

        Raises
        ------
        InputError
            If names are missing.
        """
        order = column_order(self.feature_names, names, "the rows", whose, can_have_more=True)
        if order is None:
            return self
        stored = order if self.order is None else self.order[order]
        shape = self.image_shape if len(order) == self.feature_count else None
        return replace(self, image_shape=shape, feature_names=names, order=stored)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def feature_count(self) -> int:
        """How many features a row has."""
        return math.prod(self.X.shape[1:]) if self.order is None else len(self.order)

    def feature_range(self, scale: float | None = None) -> FeatureRange:
        """Return where the features lie, of evenly spaced rows; scale where the rows have none."""
        X, _ = self._converted(self.X[evenly_spaced(len(self), self.feature_count)])
        return FeatureRange.of(X, scale_of(scale if self.scale is None else self.scale, X.dtype))

    def block(self, first: int, last: int) -> NDArray[Any]:
        """Return the rows from first to last (rows, d), of a dtype that kernels take."""
        return self._converted(self.X[first:last])[0]

    def _converted(self, X: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int, int] | None]:
        try:
            rows, shape = rows_and_image_shape(numeric("X", X))
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        return rows if self.order is None else np.take(rows, self.order, axis=1), shape


def load_rows(
    data: str | Path,
    part: str | None = None,
    split: str | None = None,
    data_dir: str | Path | None = None,
    *,
    features: FeatureNames = None,
    ids: str | Path | None = None,
) -> Rows:
    """Read rows that need no labels.

    Parameters
    ----------
    data : str or Path
        Whatever `load_split` takes, without labels. An array ``ids`` (``ids_test``, ...) or a
        column ``id`` holds what the rows are known by. Files are mapped where they allow it.
    part : str, optional
        ``train``, ``val`` or ``test``; needed if there are several. Rows called ``X`` are
        ``train``.
    split, data_dir : optional
        As in `load_split`.
    features : tuple[str, ...], optional
        The names of the features of a model (`LinearModel.feature_names`): of a table that has all
        of them these columns are read, and the others, which may hold anything, are left out.
    ids : str or Path, optional
        What the rows are known by, where it is not with them or has no usual name: a file, in
        which a column ``id`` or the only one is taken, ``PATH:NAME``, or ``:NAME`` for an array or
        column of the file of the rows.

    Returns
    -------
    Rows
        What was left out of a table is a `fastlin.errors.DataWarning`.

    Raises
    ------
    InputError
        If the data are missing, damaged or of another kind, or `part` or `ids` do not fit them.
    """
    path = files.expand_home(files.as_path(data))
    is_named = data in CATALOG or split is not None or data_dir is not None
    if is_named or is_cifar(path):
        return with_ids(rows_of_part(load_split(data, split, data_dir), part), ids)
    name, text = str(data), None if ids is None else str(files.as_path(ids))
    own = text if name_in_file(text, Place.of(name)) is not None else None
    found = read_rows(name, features, own)
    chosen = _chosen(name, [each for each in PARTS if f"X_{each}" in found], part)
    X, shape = found[f"X_{chosen}"], found.get(IMAGE_SHAPE)
    try:
        image_shape = None if shape is None else image_shape_of(shape, math.prod(X.shape[1:]))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    own_ids = found.get("ids_train" if own is not None else f"ids_{chosen}")
    rows = Rows(name, X, own_ids, image_shape, feature_names=found.get(f"names_{chosen}"))
    return rows if own is not None else with_ids(rows, ids)


def with_ids(rows: Rows, ids: str | Path | None) -> Rows:
    """Return rows with the ids of a file, as in `load_rows`; None leaves them as they are.

    Raises
    ------
    InputError
        If there are none, or not as many as rows.
    """
    if ids is None:
        return rows
    text = str(files.as_path(ids))
    if text.startswith(":"):
        raise InputError(f"{rows.name} is no file that has {quoted(text)}; name a file of ids")
    return replace(rows, ids=read_ids(Place.of(text)))


def rows_of_part(split: Split, part: str | None) -> Rows:
    """Return the rows of one part of a split; None for the only one.

    Raises
    ------
    InputError
        If there is no such part, or there are several and none is named.
    """
    parts = split.parts()
    chosen = parts[_chosen(split.name, list(parts), part)]
    return Rows(split.name, chosen.X, None, chosen.image_shape, chosen.scale, chosen.feature_names)


def _chosen(name: str, there: Sequence[str], part: str | None) -> str:
    """Return the name of the part that is meant."""
    listed = ", ".join(there)
    if part is None and len(there) > 1:
        raise InputError(f"{name} has several parts; say which rows: part must be one of {listed}")
    if part is not None and part not in there:
        raise InputError(f"{name} has no part {quoted(part)}; it has {listed or 'no parts'}")
    return there[0] if part is None else part
