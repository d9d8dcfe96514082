"""Classes of data that come without names: the values that occur among the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import integer_labels
from fastlin.errors import InputError

# Every class is a row of W. More distinct labels than this are measurements or numbers of rows,
# taken for labels by mistake, far more often than classes.
MAX_UNNAMED_CLASSES = 100_000


def classes_that_occur(
    labels: Mapping[str, NDArray[Any]],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the class names and class numbers of labels that name their classes themselves.

    The classes are the values that occur in any of the arrays, in ascending order, each named by
    its digits: the labels 3 and 7 are class 0, called "3", and class 1, called "7".

    Parameters
    ----------
    labels : Mapping[str, NDArray]
        By the name of the array, for messages; each one integer a row, of any integer dtype.

    Returns
    -------
    tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]
        The names, and by the name of the array its class numbers (n,).

    Raises
    ------
    InputError
        If labels are no integers or beyond int64, or there are fewer than two or far too many
        distinct ones.
    """
    checked = {name: _as_int64(name, array) for name, array in labels.items()}
    classes = np.unique(np.concatenate([np.unique(array) for array in checked.values()]))
    arrays = ", ".join(labels)
    if len(classes) < 2:
        raise InputError(f"all labels in {arrays} are {classes[0]}; at least 2 classes are needed")
    if len(classes) > MAX_UNNAMED_CLASSES:
        raise InputError(
            f"{arrays}: there are {len(classes):,} distinct labels, such as {classes[0]} and "
            f"{classes[-1]}; labels must be classes, and more than {MAX_UNNAMED_CLASSES:,} of them "
            "need class_names"
        )
    names = tuple(map(str, classes.tolist()))
    return names, {name: np.searchsorted(classes, array) for name, array in checked.items()}


def _as_int64(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = integer_labels(name, labels)
    largest = np.iinfo(np.int64).max
    if labels.dtype.kind == "u" and labels.max() > largest:
        row = int(np.flatnonzero(labels > largest)[0])
        raise InputError(f"{name} has the label {labels[row]} in row {row}; it must be an int64")
    return labels.astype(np.int64)
