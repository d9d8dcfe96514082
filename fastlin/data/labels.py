"""Labels of any kind as class numbers; without names the values that occur are the classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.data.checks import as_array, is_unicode
from fastlin.errors import InputError, quoted

# Every class is a row of W. More distinct labels than this are measurements or numbers of rows,
# taken for labels by mistake, far more often than classes.
MAX_UNNAMED_CLASSES = 100_000

_KINDS = "labels must be integers, booleans or text, one a row"
_BLOCK_VALUES = 2**20  # of labels that are looked at together
_LONGEST_LABEL = 1_000  # letters
_MOST_COUNTED = 2**22  # integers between the least label and the largest that are counted
_MISSING_TYPES = ("NoneType", "NAType", "NaTType")  # of Python, pandas, and both for times


class Labels(NamedTuple):
    """Labels as places among their distinct values.

    Attributes
    ----------
    values : list[int] or list[str]
        The distinct values, ascending.
    places : NDArray[np.int64]
        (n,), each in [0, len(values)).
    """

    values: list[int] | list[str]
    places: NDArray[np.int64]

    @property
    def kind(self) -> str:
        """What the labels are, for messages."""
        return "text" if isinstance(self.values[0], str) else "integers"


def classes_that_occur(
    labels: Mapping[str, ArrayLike],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the class names and class numbers of labels that name their classes themselves.

    The classes are the values that occur in any of the arrays, in ascending order: integers by
    size, text by its characters. Text is its own name, an integer is named by its digits, a boolean
    is False or True: the labels 3 and 7 are class 0, called "3", and class 1, called "7".

    Parameters
    ----------
    labels : Mapping[str, ArrayLike]
        By the name of the array, for messages; each as `distinct` takes it.

    Returns
    -------
    tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]
        The names, and by the name of the array its class numbers (n,).

    Raises
    ------
    InputError
        If labels are of another kind, of different kinds, missing, or beyond int64, or there are
        fewer than two or far too many distinct ones.
    """
    found = {name: distinct(name, array) for name, array in labels.items()}
    first, *others = found.items()
    for name, of_array in others:
        if of_array.kind != first[1].kind:
            raise InputError(
                f"{first[0]} has {first[1].kind} and {name} has {of_array.kind}; labels must be "
                "of one kind"
            )
    classes = sorted({value for of_array in found.values() for value in of_array.values})
    arrays = ", ".join(labels)
    lowest, highest = quoted(classes[0]), quoted(classes[-1])
    if len(classes) < 2:
        raise InputError(f"all labels in {arrays} are {lowest}; at least 2 classes are needed")
    if len(classes) > MAX_UNNAMED_CLASSES:
        raise InputError(
            f"{arrays}: there are {len(classes):,} distinct labels, such as {lowest} and "
            f"{highest}; labels must be classes, and more than {MAX_UNNAMED_CLASSES:,} of them "
            "need class_names"
        )
    number_of = {value: number for number, value in enumerate(classes)}
    return tuple(map(str, classes)), {
        name: _renumbered(
            of_array.places, np.array([number_of[value] for value in of_array.values], np.int64)
        )
        for name, of_array in found.items()
    }


def class_numbers(name: str, labels: ArrayLike, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return the numbers (n,) of labels among classes whose names are given.

    Text is the name of a class. An integer is a class number already, and is returned unchecked.
    Booleans are 0 and 1, unless a class is called True.

    Parameters
    ----------
    name : str
        Of the array, for messages.
    labels : ArrayLike
        As `distinct` takes it.
    class_names : Sequence[str]

    Raises
    ------
    InputError
        If labels are of another kind, or one is of no class; the message names its row.
    """
    array = as_array(name, labels)
    if array.dtype.kind == "b" and "True" not in class_names:
        array = array.astype(np.int64)
    values, places = distinct(name, array)
    number_of = {text: number for number, text in enumerate(class_names)}
    numbers = np.array(
        [number_of.get(value, -1) if isinstance(value, str) else value for value in values],
        np.int64,
    )
    if isinstance(values[0], str) and (numbers < 0).any():
        row = int(np.flatnonzero(numbers[places] < 0)[0])
        raise InputError(
            f"{name} has the label {quoted(values[places[row]])} in row {row}, which is none of "
            f"the {len(class_names)} classes {quoted(list(class_names))}"
        )
    return _renumbered(places, numbers)


def distinct(name: str, labels: ArrayLike) -> Labels:
    """Return the distinct values of labels, and where among them every label is.

    Parameters
    ----------
    name : str
        Of the array, for messages.
    labels : ArrayLike
        (n,) or (n, 1) integers, whole floats, booleans, text, bytes in UTF-8, or Python objects of
        one of these kinds; or (n, K) one-hot, whose values are the numbers of the columns.
        Booleans become text.

    Raises
    ------
    InputError
        If they are anything else: float targets, several labels a row, a missing label, an integer
        beyond int64. The message says which, and names the row.
    """
    y = _one_a_row(name, as_array(name, labels))
    match y.dtype.kind:
        case "i" | "u":
            return _of_integers(name, y)
        case "f":
            return _of_floats(name, y)
        case "b":
            return _unique(np.where(y, "True", "False"))
        case "U" | "S":
            return _of_fixed_text(name, y)
        case "O" | "T":
            return _of_objects(name, y.astype(object))
    raise InputError(f"{name} has dtype {y.dtype!s:.60}; {_KINDS}")


def _one_a_row(name: str, y: NDArray[Any]) -> NDArray[Any]:
    """Return labels as an array (n,): a column is flattened, one-hot becomes column numbers."""
    if y.ndim == 2 and y.shape[1] == 1 and y.size:
        return y[:, 0]
    if y.ndim == 2 and y.shape[1] > 1 and y.size and y.dtype.kind in "biuf":
        return _of_one_hot(name, y)
    if y.ndim != 1 or y.size == 0:
        raise InputError(
            f"{name} has shape {y.shape}; {_KINDS}: of shape (rows,), or one-hot (rows, classes)"
        )
    return y


def _of_one_hot(name: str, y: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the one column that is 1 in every row."""
    numbers = np.empty(len(y), np.int64)
    length = max(1, _BLOCK_VALUES // y.shape[1])
    for first in range(0, len(y), length):
        block = y[first : first + length]
        is_one = block == 1
        if (block != is_one).any():
            row, column = np.argwhere(block != is_one)[0].tolist()
            raise InputError(
                f"{name} has shape {y.shape} and the value {quoted(block[row, column].item())} in "
                f"row {first + row}; {_KINDS}, and several columns must be one-hot, of 0 and 1"
            )
        counts = is_one.sum(axis=1)
        if (counts != 1).any():
            row = int(np.flatnonzero(counts != 1)[0])
            raise InputError(
                f"{name} is multi-label: row {first + row} is of {counts[row]} classes; every row "
                "must be of one class"
            )
        numbers[first : first + length] = is_one.argmax(axis=1)
    return numbers


def _unique(y: NDArray[Any]) -> Labels:
    values, places = np.unique(y, return_inverse=True)
    return Labels(values.tolist(), places.astype(np.int64, copy=False))


def _of_integers(name: str, y: NDArray[Any]) -> Labels:
    largest = np.iinfo(np.int64).max
    if y.dtype.kind == "u" and y.max() > largest:
        row = int(np.flatnonzero(y > largest)[0])
        raise InputError(f"{name} has the label {y[row]} in row {row}; it must be an int64")
    lowest = int(y.min())
    if int(y.max()) - lowest < _MOST_COUNTED:
        return _counted(y, lowest, int(y.max()))
    return _unique(y.astype(np.int64, copy=False))


def _counted(y: NDArray[Any], lowest: int, highest: int) -> Labels:
    """Return labels that are close together, without sorting them: in little memory."""
    occurs = np.zeros(highest - lowest + 1, bool)
    places = np.empty(len(y), np.int64)
    for first in range(0, len(y), _BLOCK_VALUES):
        block = places[first : first + _BLOCK_VALUES]
        block[:] = y[first : first + _BLOCK_VALUES]
        block -= lowest
        occurs[block] = True
    return Labels(
        (np.flatnonzero(occurs) + lowest).tolist(), _renumbered(places, np.cumsum(occurs) - 1)
    )


def _renumbered(places: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write numbers[places] over places, and return them."""
    if not np.array_equal(numbers, np.arange(len(numbers))):
        for first in range(0, len(places), _BLOCK_VALUES):
            block = places[first : first + _BLOCK_VALUES]
            block[:] = numbers[block]
    return places


def _of_floats(name: str, y: NDArray[Any]) -> Labels:
    if np.isnan(y).any():
        _refuse_missing(name, y, int(np.flatnonzero(np.isnan(y))[0]))
    largest = min(float(np.finfo(y.dtype).max), 2.0**53)
    is_whole = (y == np.floor(y)) & (np.abs(y) <= largest)  # False for infinity
    if not is_whole.all():
        row = int(np.flatnonzero(~is_whole)[0])
        raise InputError(
            f"{name} has float targets, such as {y[row].item()!r} in row {row}; labels must be "
            "classes: integers, booleans or text (fastlin does no regression)"
        )
    return _unique(y.astype(np.int64))


def _of_fixed_text(name: str, y: NDArray[Any]) -> Labels:
    """Return labels of dtype U or S; bytes are read as UTF-8, which sorts as its text does."""
    unique, places = np.unique(y, return_inverse=True)
    if not is_unicode(unique):
        raise InputError(f"{name} has a label that is no text")
    values = unique.tolist()
    for place, value in enumerate(values):
        if isinstance(value, bytes):
            row = int(np.flatnonzero(places == place)[0]) if not _is_utf_8(value) else 0
            values[place] = _decoded(name, value, row)
    _check_lengths(name, values, lambda place: int(np.flatnonzero(places == place)[0]))
    return Labels(values, places.astype(np.int64, copy=False))


def _of_objects(name: str, y: NDArray[Any]) -> Labels:
    """Return labels that are Python objects, as pandas gives text and categories."""
    items = y.tolist()
    for row, item in enumerate(items):
        if type(item).__name__ in _MISSING_TYPES or (isinstance(item, float) and math.isnan(item)):
            _refuse_missing(name, y, row)
    kinds = {type(item) for item in items}
    if _are(kinds, bool | np.bool_):
        return _unique(np.where(y.astype(bool), "True", "False"))
    if _are(kinds, int | np.integer) and not any(issubclass(kind, bool) for kind in kinds):
        try:
            return _unique(np.array(items, np.int64))
        except OverflowError:
            row = next(row for row, item in enumerate(items) if not -(2**63) <= item < 2**63)
            raise InputError(
                f"{name} has the label {quoted(items[row])} in row {row}; it must be an int64"
            ) from None
    if _are(kinds, float | np.floating):
        return _of_floats(name, y.astype(np.float64))
    texts = []
    for row, item in enumerate(items):
        if not isinstance(item, str | bytes):
            raise InputError(
                f"{name} has dtype {y.dtype!s:.60} and the label {quoted(item)} in row {row}; "
                f"{_KINDS}"
            )
        texts.append(_decoded(name, item, row) if isinstance(item, bytes) else str(item))
    _check_lengths(name, texts, lambda row: row)
    values = sorted(set(texts))
    number_of = {value: number for number, value in enumerate(values)}
    return Labels(values, np.fromiter((number_of[text] for text in texts), np.int64, len(texts)))


def _are(kinds: set[type], wanted: Any) -> bool:
    return all(issubclass(kind, wanted) for kind in kinds)


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(name: str, value: bytes, row: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InputError(
            f"{name} has the label {quoted(value)} in row {row}, bytes that are not UTF-8"
        ) from None


def _check_lengths(name: str, texts: Iterable[str], row_of: Callable[[int], int]) -> None:
    for place, text in enumerate(texts):
        if len(text) > _LONGEST_LABEL:
            raise InputError(
                f"{name} has the label {quoted(text)} of {len(text):,} letters in row "
                f"{row_of(place)}; the name of a class has at most {_LONGEST_LABEL:,}"
            )


def _refuse_missing(name: str, y: NDArray[Any], row: int) -> None:
    raise InputError(
        f"{name} has no label in row {row} ({quoted(y[row])}); leave out the rows without a label"
    )
