"""Tables as rows and labels: which columns are features, and which one holds the labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.data.feature_names import FeatureNames, column_order
from fastlin.data.formats.names import Numbered, is_id_column, is_label_column, is_row_number
from fastlin.errors import DataWarning, InputError, listed, quoted
from fastlin.files.spool import spooled

Columns = dict[str, NDArray[Any]]


class KnownColumns(NamedTuple):
    """What is known of a table before it is read, as by the model that is to judge its rows.

    Attributes
    ----------
    features : tuple[str, ...] or None
        The names of the features: where all are there, other columns are left out.
    label : str or None
        The column, or array, of the labels, where it is there and no other is named.
    ids : str or None
        The column, or array, of what rows are known by; None for one with a usual name.
    needs_labels : bool
        Whether rows without labels are refused.
    most_bytes : int or None
        Rows that take more are to stay in a file; None for no bound.
    """

    features: FeatureNames = None
    label: str | None = None
    ids: str | None = None
    needs_labels: bool = True
    most_bytes: int | None = None


NOTHING_KNOWN = KnownColumns()

_listed = partial(listed, most=8)
_BLOCK_ROWS = 4096  # of a table, filled together: columns are written row by row


def rows_and_labels(
    path: Path,
    columns: Columns,
    rows_name: str | None,
    label_name: str | None,
    weight_name: str | None = None,
    known: KnownColumns = NOTHING_KNOWN,
) -> dict[str, Any]:
    """Return X_train (n, d) of a table and, where columns have them, y_train (n,), ids_train (n,).

    names_train are the names of the features, unless the columns have none.

    Parameters
    ----------
    path : Path
        Of the table, for messages.
    columns : dict[str, NDArray]
        By name: (n,), or (n, d) where every row of a column is a list of d numbers. `Numbered` if
        the table has no names.
    rows_name : str or None
        Of the column of lists that holds the rows; None for the only one, or else all columns of
        numbers.
    label_name : str or None
        Of the column of the labels; None for one with a usual name.
    weight_name : str or None
        Of the column of the weights of rows, which becomes weights_train (n,) if it is there.
    known : KnownColumns
        The features, if they are known by name.

    Raises
    ------
    InputError
        If there are no rows, a column is missing, no number, has no value in a row, or it is not
        clear which ones are meant; the message names columns.
    """
    _check_rows(path, columns)
    own = [] if rows_name is not None else _known_features(path, columns, known)
    label = label_name
    if label is None and (known.needs_labels or not own):
        label = _label_column(path, {name: columns[name] for name in columns if name not in own})
    if label is not None and label not in columns:
        raise _no_such(path, label, list(columns))
    ids = _id_column(path, columns, known.ids, {label, weight_name, *own})
    features = {name: columns[name] for name in columns if name not in {label, weight_name, ids}}
    chosen = _feature_columns(path, features, rows_name, own)
    arrays = [columns[name] for name in chosen]
    found: dict[str, Any] = {}
    if arrays[0].ndim == 2:
        found["X_train"] = arrays[0]
    else:
        found["X_train"] = _side_by_side(path, arrays, known.most_bytes)
        found["names_train"] = None if isinstance(columns, Numbered) else tuple(chosen)
    if weight_name in columns:
        found["weights_train"] = columns[weight_name]
    if ids is not None:
        found["ids_train"] = columns[ids]
    if label is not None:
        found["y_train"] = _checked_labels(path, label, columns[label])
    return found


def _known_features(path: Path, columns: Columns, known: KnownColumns) -> list[str]:
    """Return the features that are known by name, in the order of a table that has all of them.

    Raises `InputError` if it has some of them and lacks others.
    """
    if known.features is None or isinstance(columns, Numbered):
        return []
    names = set(known.features)
    found = [name for name in columns if name in names]
    if found and len(found) < len(names):
        others = [n for n in columns if n not in names and not is_label_column(n)]
        given = (*found, *(name for name in others if not is_row_number(name)))
        try:
            column_order(given, known.features, "the rows", "the model", can_have_more=True)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return found


def _id_column(
    path: Path, columns: Columns, name: str | None, others: set[str | None]
) -> str | None:
    """Return the column of ids: that of a name, or one with a usual name that is none of others."""
    if name is not None and name not in columns:
        raise _no_such(path, name, list(columns))
    usual = (column for column in columns if column not in others and is_id_column(column))
    return next(usual, None) if name is None else name


def labels(path: Path, columns: Columns, name: str | None, left_out: Sequence[str]) -> NDArray[Any]:
    """Return the column of labels: that of a name, the only one, or one with a usual name.

    Raises
    ------
    InputError
        If there are no rows, or no such column, or more than one, or one without a label.
    """
    if name is not None and name not in columns:
        raise _no_such(path, name, left_out)
    _check_rows(path, columns)
    found = name if name is not None else _label_column(path, columns)
    if found is None and len(columns) == 1:
        (found,) = columns
    if found is None:
        raise InputError(
            f"{path}: no column has a usual name of labels (label, y, target, class); the columns "
            f"are {_listed(list(columns))}; name one as PATH:COLUMN"
        )
    return _checked_labels(path, found, columns[found])


def _check_rows(path: Path, columns: Columns) -> None:
    if columns and not any(len(column) for column in columns.values()):
        raise InputError(f"{path} has no rows, only the columns {_listed(list(columns))}")


def _checked_labels(path: Path, name: str, column: NDArray[Any]) -> NDArray[Any]:
    """Return labels, which are not all missing."""
    if _is_missing(column).all():
        raise InputError(f"{path}: the column {quoted(name)} has no label in any row")
    return column


def _is_missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a column (n,) has no value: None, or NaN among numbers."""
    if column.dtype.kind == "O":
        return np.array([value is None for value in column.flat]).reshape(column.shape)
    missing = np.zeros(column.shape, bool)
    return np.isnan(column, out=missing) if column.dtype.kind == "f" else missing


def _label_column(path: Path, columns: Columns) -> str | None:
    found = [name for name in columns if is_label_column(name) and columns[name].ndim == 1]
    if len(found) > 1:
        raise InputError(
            f"{path}: the columns {_listed(found)} are all called like labels; name the one that "
            "is meant as PATH:COLUMN in labels"
        )
    return found[0] if found else None


def _feature_columns(
    path: Path, columns: Columns, name: str | None, known: Sequence[str]
) -> list[str]:
    """Return the names of the columns that hold the rows, checked to be numbers."""
    lists = [column for column in columns if columns[column].ndim == 2]
    if known:
        chosen = list(known)  # in the order of the table
    elif name is not None:
        if name not in columns:
            raise _no_such(path, name, list(columns))
        chosen = [name]
    elif len(lists) > 1:
        raise InputError(
            f"{path}: the columns {_listed(lists)} all hold lists; name the one that holds the "
            "rows as PATH:COLUMN"
        )
    else:
        chosen = lists or [column for column in columns if not is_row_number(column)]
    left_out = [column for column in columns if column not in chosen]
    if left_out:
        warnings.warn(
            f"{path}: left out the columns {_listed(left_out)}", DataWarning, stacklevel=2
        )
    for column in chosen:
        _check_numbers(path, column, columns[column])
    if not chosen:
        raise InputError(f"{path} has no column of features")
    return chosen


def _side_by_side(path: Path, columns: list[NDArray[Any]], most_bytes: int | None) -> NDArray[Any]:
    """Return columns (n,) as one array (n, d) of a dtype that holds them all.

    It is mapped from a temporary file if it takes more than `most_bytes`.
    """
    shape, dtype = (len(columns[0]), len(columns)), np.result_type(*columns)

    def fill(X: NDArray[Any], first: int) -> None:
        for place, column in enumerate(columns):
            X[:, place] = column[first : first + len(X)]

    if most_bytes is not None and math.prod(shape) * dtype.itemsize > most_bytes:

        def blocks() -> Iterator[NDArray[Any]]:
            for first in range(0, shape[0], _BLOCK_ROWS):
                X = np.empty((min(_BLOCK_ROWS, shape[0] - first), shape[1]), dtype)
                fill(X, first)
                yield X

        return spooled(f"{path}: the table of features", shape, dtype, blocks())
    X = np.empty(shape, dtype)
    for first in range(0, len(X), _BLOCK_ROWS):
        fill(X[first : first + _BLOCK_ROWS], first)
    return X


def _check_numbers(path: Path, name: str, column: NDArray[Any]) -> None:
    """Refuse a column that is no number, or lacks a value."""
    missing = _is_missing(column) if column.ndim == 1 else np.zeros(1, bool)
    if missing.all():
        raise InputError(
            f"{path}: the column {quoted(name)} has no value in any row; leave it out of the file"
        )
    if column.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: the column {quoted(name)} holds {quoted(column.ravel()[:1].tolist())}, no "
            "numbers; features must be numbers, and the labels are named as PATH:COLUMN in labels"
        )
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise InputError(
            f"{path}: the column {quoted(name)} has no number in row {row}; every row needs all "
            "features"
        )


def _no_such(path: Path, name: str, names: Sequence[str]) -> InputError:
    return InputError(f"{path} has no column {quoted(name)}; the columns are {_listed(names)}")
