"""Labels that name their classes themselves: the values that occur are the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.data.checks import as_array, integer_labels
from fastlin.errors import InputError, quoted

# Every class is a row of W. More distinct labels than this are measurements or numbers of rows,
# taken for labels by mistake, far more often than classes.
MAX_UNNAMED_CLASSES = 100_000

_KINDS = "labels must be integers, booleans or text"


def classes_that_occur(
    labels: Mapping[str, ArrayLike],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the class names and class numbers of labels that name their classes themselves.

    The classes are the values that occur in any of the arrays, in ascending order. Text is its own
    name, an integer is named by its digits, a boolean is False or True: the labels 3 and 7 are
    class 0, called "3", and class 1, called "7".

    Parameters
    ----------
    labels : Mapping[str, ArrayLike]
        By the name of the array, for messages; each one integer, boolean or text a row.

    Returns
    -------
    tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]
        The names, and by the name of the array its class numbers (n,).

    Raises
    ------
    InputError
        If labels are of another kind, of different kinds, or beyond int64, or there are fewer than
        two or far too many distinct ones.
    """
    checked = {name: plain_labels(name, array) for name, array in labels.items()}
    first, *others = checked.items()
    for name, array in others:
        if array.dtype.kind != first[1].dtype.kind:
            raise InputError(
                f"{first[0]} has {_kind(first[1])} and {name} has {_kind(array)}; labels must be "
                "of one kind"
            )
    classes = np.unique(np.concatenate([np.unique(array) for array in checked.values()]))
    names = tuple(map(str, classes.tolist()))
    arrays = ", ".join(labels)
    shown = [quoted(value) for value in (classes[0].item(), classes[-1].item())]
    if len(classes) < 2:
        raise InputError(f"all labels in {arrays} are {shown[0]}; at least 2 classes are needed")
    if len(classes) > MAX_UNNAMED_CLASSES:
        raise InputError(
            f"{arrays}: there are {len(classes):,} distinct labels, such as {shown[0]} and "
            f"{shown[1]}; labels must be classes, and more than {MAX_UNNAMED_CLASSES:,} of them "
            "need class_names"
        )
    return names, {name: np.searchsorted(classes, array) for name, array in checked.items()}


def class_numbers(name: str, labels: ArrayLike, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return the numbers (n,) of labels among classes whose names are given.

    Text is the name of a class. An integer is a class number already, and is returned unchecked.
    Booleans are 0 and 1, unless a class is called True.

    Parameters
    ----------
    name : str
        Of the array, for messages.
    labels : ArrayLike
        One integer, boolean or text a row.
    class_names : Sequence[str]

    Raises
    ------
    InputError
        If labels are of another kind, or one is of no class; the message names its row.
    """
    labels = as_array(name, labels)
    if labels.dtype.kind == "b" and "True" not in class_names:
        labels = labels.astype(np.int64)
    y = plain_labels(name, labels)
    if y.dtype.kind == "i":
        return y
    number_of = {text: number for number, text in enumerate(class_names)}
    values, places = np.unique(y, return_inverse=True)
    numbers = np.array([number_of.get(str(value), -1) for value in values.tolist()], np.int64)
    if (numbers < 0).any():
        row = int(np.flatnonzero(numbers[places] < 0)[0])
        raise InputError(
            f"{name} has the label {quoted(y[row].item())} in row {row}, which is none of the "
            f"{len(class_names)} classes {quoted(list(class_names))}"
        )
    found: NDArray[np.int64] = numbers[places]
    return found


def plain_labels(name: str, labels: ArrayLike) -> NDArray[Any]:
    """Return labels as an array (n,) of int64 or of text, n at least 1; booleans become text.

    Raises
    ------
    InputError
        If they are anything else, or beyond int64.
    """
    y = as_array(name, labels)
    if y.ndim != 1 or y.size == 0 or y.dtype.kind not in "bSUTO":
        try:
            return _as_int64(name, y)
        except InputError as error:
            raise InputError(f"{error}".replace("labels must be integers", _KINDS)) from None
    if y.dtype.kind == "b":
        return np.where(y, "True", "False")
    try:
        texts = y.tolist()
    except (ValueError, SystemError):  # numbers above the last character of Unicode
        raise InputError(f"{name} has a label that is no text") from None
    if y.dtype.kind == "U":
        return y
    for row, text in enumerate(texts):
        if isinstance(text, bytes) and y.dtype.kind == "S":
            try:
                texts[row] = text.decode()
            except UnicodeDecodeError:
                raise InputError(
                    f"{name} has the label {quoted(text)} in row {row}, bytes that are not UTF-8"
                ) from None
        elif not isinstance(text, str):
            raise InputError(
                f"{name} has dtype {y.dtype!s:.60} and the label {quoted(text)} in row {row}; "
                f"{_KINDS}"
            )
    return np.array(texts, str)


def _kind(labels: NDArray[Any]) -> str:
    return "integers" if labels.dtype.kind == "i" else "text"


def _as_int64(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = integer_labels(name, labels)
    largest = np.iinfo(np.int64).max
    if labels.dtype.kind == "u" and labels.max() > largest:
        row = int(np.flatnonzero(labels > largest)[0])
        raise InputError(f"{name} has the label {labels[row]} in row {row}; it must be an int64")
    return labels.astype(np.int64)
