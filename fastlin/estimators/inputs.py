"""Rows and labels as users hold them, in tensors and tables, and what an estimator cannot take."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.checks import check_class_names, check_unmasked, check_values
from fastlin.errors import InputError, one_line, quoted

_ARITHMETIC = np.float32  # of the first passes over rows, whatever their dtype
_ROWS_OF_BLOCK = 1024


def plain(name: str, values: Any) -> Any:
    """Return a tensor of PyTorch as an array in the same memory, and anything else as it is.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    values : Any
        What a user gave. NumPy has no bfloat16: such a tensor becomes float32, which holds the
        same numbers.

    Raises
    ------
    InputError
        If a tensor is part of a gradient, is not in the memory of the processor or is sparse; if
        it is a table of polars that is not computed yet; or if an array has masked values.
    """
    check_unmasked(name, values)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return _array_of(name, values, torch)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(values, polars.LazyFrame):
        raise InputError(f"{name} is a LazyFrame; give {name}.collect()")
    return values


def _array_of(name: str, tensor: Any, torch: Any) -> NDArray[Any]:
    if tensor.device.type != "cpu":
        raise InputError(f"{name} is a tensor on the device {tensor.device}; give {name}.cpu()")
    if tensor.requires_grad:
        raise InputError(f"{name} is a tensor that requires a gradient; give {name}.detach()")
    if tensor.layout != torch.strided:
        raise InputError(f"{name} is a sparse tensor; give {name}.to_dense()")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        return np.asarray(tensor.numpy())
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{name} is a tensor without an array: {one_line(str(error))}") from None


def check_rows(X: NDArray[Any], names: NDArray[Any] | None) -> None:
    """Check that every value is there and finite.

    Parameters
    ----------
    X : NDArray
        (n, d) numbers of a dtype that is fitted as it is stored.
    names : NDArray, optional
        Of the features, for the message.

    Raises
    ------
    InputError
        If one is not; it names row and column of the first.
    """
    try:
        check_values("X", X, _ARITHMETIC)
    except InputError:
        row, column = _first_beyond(X, float(np.finfo(_ARITHMETIC).max))
        place = f"row {row}, column {column if names is None else quoted(names[column])}"
        if np.isnan(X[row, column]):
            raise InputError(
                f"X has NaN, or no value, in {place}; leave the row out, or fill it in with "
                "sklearn.impute.SimpleImputer"
            ) from None
        raise InputError(
            f"X has the value {float(X[row, column])!r} in {place}; it must be finite, and of a "
            f"size of {np.finfo(_ARITHMETIC).max:.1g} at most"
        ) from None


def _first_beyond(X: NDArray[Any], limit: float) -> tuple[int, int]:
    """Return the place of the first value that is not within a limit."""
    for first in range(0, len(X), _ROWS_OF_BLOCK):
        block = X[first : first + _ROWS_OF_BLOCK]
        places = np.argwhere(~(np.abs(block) <= limit))  # so written, NaN is found, too
        if len(places):
            return first + int(places[0, 0]), int(places[0, 1])
    raise AssertionError


def check_no_label_missing(y: Any) -> None:
    """Raise InputError if a label is None, NaN, or missing in a Series; it names the first row."""
    if hasattr(y, "isna"):  # a Series or categories of pandas
        missing = np.asarray(y.isna())
    elif hasattr(y, "is_null"):  # a Series of polars
        missing = y.is_null().to_numpy()
    elif isinstance(y, np.ndarray) and y.dtype.kind in "fO":
        floats = y.dtype.kind == "f"
        missing = np.isnan(y) if floats else np.frompyfunc(_is_missing, 1, 1)(y).astype(bool)
    else:
        return
    if missing.any():
        raise InputError(f"y has no label in row {np.argwhere(missing)[0][0]}; leave the row out")


def _is_missing(label: Any) -> bool:
    if isinstance(label, float):
        return math.isnan(label)
    return label is None or type(label).__name__ in ("NAType", "NaTType")  # pandas.NA, pandas.NaT


def check_labels(y: NDArray[Any], name: str = "y") -> None:
    """Check labels that are Python objects, of which NumPy must find the different ones.

    Parameters
    ----------
    y : NDArray
        (n,) labels.
    name : str
        Of the argument, for the message.

    Raises
    ------
    InputError
        If one is missing, or two cannot be ordered; in one line.
    """
    if y.dtype != object:
        return
    missing = np.flatnonzero([label is None for label in y])
    if len(missing):
        raise InputError(f"y has no label in row {missing[0]}; leave the row out")
    kinds = {type(label): label for label in y}
    try:
        sorted(kinds.values())
    except TypeError:
        shown = " and ".join(quoted(label) for label in list(kinds.values())[:2])
        raise InputError(
            f"{name} has labels of several kinds, such as {shown}; give one kind"
        ) from None


def classes_of(classes: Any) -> NDArray[Any]:
    """Return the different ones (K,) of a list of labels, in order.

    Raises
    ------
    InputError
        If it is no such list, or has a label that is missing or of another kind than others.
    """
    given = plain("classes", classes)
    try:
        labels = np.asarray(given)
    except ValueError:  # lists of different lengths
        labels = np.empty((0, 0))
    if labels.ndim != 1:
        raise InputError(f"classes is {quoted(classes)}; it must be a list of labels")
    listed = labels.tolist()
    if any(map(_is_missing, listed)):
        raise InputError(f"classes is {quoted(classes)}; None and NaN are no labels")
    if isinstance(given, list | tuple) and listed != list(given):
        # NumPy made text of numbers, or rounded them.
        raise InputError(f"classes has labels of several kinds, {quoted(classes)}; give one kind")
    check_labels(labels, "classes")
    found: NDArray[Any] = np.unique(labels)
    return found


def numbers_of(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number (n,) of every label in classes (K,), which are in order.

    Raises
    ------
    InputError
        If a label is none of them.
    """
    numbers = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    found = classes[numbers]
    unknown = found != labels
    if labels.dtype.kind in "iu" and classes.dtype.kind == "f":  # compared as rounded floats
        unknown |= found.astype(labels.dtype) != labels
    places = np.flatnonzero(unknown)
    if len(places):
        raise InputError(
            f"y has the label {quoted(labels.tolist()[places[0]])}, which is none of classes "
            f"{quoted(classes.tolist())}"
        )
    return numbers


def check_all_classes(numbers: NDArray[np.int64], classes: NDArray[Any]) -> None:
    """Raise InputError if a class has no row that counts."""
    missing = np.flatnonzero(np.bincount(numbers, minlength=len(classes)) == 0)
    if len(missing):
        raise InputError(
            f"the class {quoted(classes.tolist()[missing[0]])} has no row of a weight above 0; "
            "leave it out"
        )


def names_of(classes: NDArray[Any]) -> tuple[str, ...]:
    """Return the names of classes in a `LinearModel`: labels as text, or else their numbers."""
    try:
        return check_class_names([str(label) for label in classes.tolist()])
    except InputError:  # such as 1 and "1", or a text of two lines
        return tuple(map(str, range(len(classes))))
