"""Arrays of one's own as a data set: rows or images, and labels of any kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.data.checks import (
    ROW_DTYPES,
    as_array,
    check_class_names,
    check_image_shape,
    is_unicode,
)
from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats.names import PARTS
from fastlin.data.labels import class_numbers, classes_that_occur
from fastlin.data.stored import StoredRows
from fastlin.errors import InputError, quoted

_CHANNELS = (1, 3)
_EXACT_IN_FLOAT32 = 2**24  # whole numbers up to this one are exact in it


def split_of_arrays(
    name: str,
    arrays: Mapping[str, Any],
    class_names: ArrayLike | Iterable[str] | None = None,
    image_shape: Any = None,
) -> Split:
    """Return the data set of rows and labels.

    Parameters
    ----------
    name : str
        Of the data set.
    arrays : Mapping[str, ArrayLike]
        X_train, y_train and, where they are there, X_val, y_val, X_test, y_test. Rows are (n, d),
        or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels, of numbers as
        `numeric` takes them. Labels are as `fastlin.data.labels.distinct` takes them. There may be
        names_train, ..., the names of the columns, a tuple of text, and weights_train, ..., (n,).
    class_names : Iterable[str], optional
        Of integer labels the names in order; by default the classes are the labels that occur.
    image_shape : Iterable[int], optional
        (channels, height, width) of rows (n, d) that are images in that order.

    Raises
    ------
    InputError
        If an array is missing or does not fit; the message names it.
    """
    for part in PARTS:
        missing = [array for array in (f"X_{part}", f"y_{part}") if array not in arrays]
        if len(missing) == 1 or (missing and part == "train"):
            raise InputError(f"the array {missing[0]} is missing")
    parts = [part for part in PARTS if f"X_{part}" in arrays]
    rows, shapes = {}, {}
    for part in parts:
        try:
            rows[part], shapes[part] = rows_and_image_shape(numeric("X", arrays[f"X_{part}"]))
        except InputError as error:
            raise InputError(f"{part}: {error}") from None
    if image_shape is not None:
        shape = image_shape_of(as_array("image_shape", image_shape), rows["train"].shape[1])
        for part, found in shapes.items():
            if found not in (None, shape):
                raise InputError(f"image_shape is {shape}, but X_{part} has images of {found}")
        shapes = dict.fromkeys(parts, shape)
    labels = {f"y_{part}": arrays[f"y_{part}"] for part in parts}
    if class_names is None:
        names, numbers = classes_that_occur(labels)
    else:
        names = _class_names(class_names)
        numbers = {array: class_numbers(array, y, names) for array, y in labels.items()}
    datasets = {}
    for part in parts:
        try:
            datasets[part] = Dataset(
                rows[part], numbers[f"y_{part}"], names, shapes[part],
                weights=arrays.get(f"weights_{part}"), feature_names=arrays.get(f"names_{part}"),
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"{part}: {error}") from None
    return Split(name, datasets["train"], datasets.get("val"), datasets.get("test"))


def numeric(name: str, X: ArrayLike | StoredRows) -> NDArray[Any]:
    """Return features as an array of one of `ROW_DTYPES`, if they are numbers.

    What has one of these dtypes stays as it is, and rows in files stay there. In the byte order of
    another machine it is turned; other floats become float32, as do booleans and integers, larger
    integers float64. A value that float64 cannot hold exactly is refused.

    Parameters
    ----------
    name : str
        Of the array, for messages.
    X : ArrayLike
        An array, a DataFrame, a tensor in memory, a list: anything that NumPy takes.

    Raises
    ------
    InputError
        If they are no real numbers.
    """
    if isinstance(X, StoredRows):
        return X  # type: ignore[return-value]  # which is used as an array is
    array = as_array(name, X)
    if array.dtype in ROW_DTYPES:
        return array
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        what = f"has dtype {array.dtype!s:.60}" if array.ndim else f"is {quoted(X)}"
        raise InputError(f"{name} {what}; features must be an array of real numbers")
    if array.dtype.kind == "f":
        turned = array.dtype.newbyteorder("=")
        return array.astype(turned if turned in ROW_DTYPES else np.float32)
    largest = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
    if largest <= _EXACT_IN_FLOAT32:
        return array.astype(np.float32)
    if largest > 2**53:
        raise InputError(f"{name} has the value {largest}; whole numbers above 2**53 are not exact")
    return array.astype(np.float64)


def rows_and_image_shape(
    X: NDArray[Any],
) -> tuple[NDArray[Any], tuple[int, int, int] | None]:
    """Return images as rows in the order channels, height, width, and that shape."""
    if 0 in X.shape:
        raise InputError(f"X has shape {X.shape}; there must be at least one row and one feature")
    if X.ndim == 2:
        return X, None
    if X.ndim == 3:
        X = X[:, None]
    elif X.ndim == 4 and X.shape[3] in _CHANNELS:
        X = X.transpose(0, 3, 1, 2)
    if X.ndim != 4 or X.shape[1] not in _CHANNELS:
        raise InputError(
            f"X has shape {X.shape}; it must be (n, features), or images (n, h, w), "
            "(n, h, w, c) or (n, c, h, w) with 1 or 3 channels"
        )
    n, channels, height, width = X.shape
    rows = np.ascontiguousarray(X).reshape(n, channels * height * width)
    return rows, (channels, height, width)


def _class_names(given: ArrayLike | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(given, np.ndarray):
        return check_class_names(given)  # type: ignore[arg-type]
    names: NDArray[Any] = given
    if names.ndim != 1 or names.dtype.kind not in "USO":
        raise InputError("class_names must be a list of text")
    if not is_unicode(names):
        raise InputError("class_names has a name that is no text")
    texts = names.tolist()
    decoded = []
    for number, text in enumerate(texts):
        try:
            decoded.append(text.decode("utf-8") if isinstance(text, bytes) else text)
        except UnicodeDecodeError:
            raise InputError(
                f"class_names has {quoted(text)} in place {number}, bytes that are not UTF-8"
            ) from None
    return check_class_names(decoded)


def image_shape_of(shape: NDArray[Any], feature_count: int) -> tuple[int, int, int]:
    """Return an array of three whole numbers, checked as `check_image_shape` does."""
    if shape.shape != (3,) or shape.dtype.kind not in "iu":
        raise InputError(
            f"image_shape is {quoted(shape.tolist())}; it must be three whole numbers: channels, "
            "height, width"
        )
    return check_image_shape(shape.tolist(), feature_count)
