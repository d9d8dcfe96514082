"""Data of one's own: a .npz file of rows and labels, as `numpy.savez` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.data.dataset import ROW_DTYPES, Dataset, Split, check_class_names, check_image_shape
from fastlin.data.labels import classes_that_occur
from fastlin.errors import InputError, quoted

_PARTS = ("train", "val", "test")
_CHANNELS = (1, 3)


def load(path: Path) -> Split:
    """Read X_train, y_train and, where they are there, X_val, y_val, X_test, y_test.

    Rows are (n, d), or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels; uint8,
    float32 or float64. Two arrays more are optional: `image_shape`, (c, h, w) of rows (n, d), and
    `class_names`, text or bytes in UTF-8. Labels are integers: with names, they are the place of
    the class in them, from 0; without, the classes are the values that occur in any part, named
    by them. X may be written small, as Keras does.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If the file is damaged, an array is missing, unknown, written twice or does not fit; it
        names file and array.
    """
    arrays = _read(path)
    try:
        arrays = _by_known_name(arrays)
        return _split(path.stem, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _by_known_name(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays with X in capitals. Raises InputError if they are not those of a split."""
    spelled: dict[str, str] = {}
    for name in arrays:
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise InputError(f"there are both {quoted(other)} and {quoted(name)}; keep one of them")
    named = {f"X_{name[2:]}" if name.startswith("x_") else name: arrays[name] for name in arrays}
    known = {f"{what}_{part}" for what in "Xy" for part in _PARTS} | {"image_shape", "class_names"}
    unknown = sorted(named.keys() - known)
    if unknown:
        raise InputError(
            f"unknown array {quoted(unknown[0])}; the arrays are {', '.join(sorted(known))}"
        )
    for part in _PARTS:
        missing = [name for name in (f"X_{part}", f"y_{part}") if name not in named]
        if len(missing) == 1 or (missing and part == "train"):
            raise InputError(f"the array {missing[0]} is missing")
    return named


def _split(name: str, arrays: dict[str, NDArray[Any]]) -> Split:
    """Return the data set of arrays that are all there. Raises InputError if one does not fit."""
    parts = [part for part in _PARTS if f"X_{part}" in arrays]
    rows, shapes = {}, {}
    for part in parts:
        try:
            rows[part], shapes[part] = _rows(arrays[f"X_{part}"])
        except InputError as error:
            raise InputError(f"{part}: {error}") from None
    if "image_shape" in arrays:
        shape = _image_shape(arrays["image_shape"], rows["train"].shape[1])
        for part, found in shapes.items():
            if found not in (None, shape):
                raise InputError(f"image_shape is {shape}, but X_{part} has images of {found}")
        shapes = dict.fromkeys(parts, shape)
    labels = {f"y_{part}": arrays[f"y_{part}"] for part in parts}
    if "class_names" in arrays:
        names = _class_names(arrays["class_names"])
    else:
        names, labels = classes_that_occur(labels)
    datasets = {}
    for part in parts:
        try:
            datasets[part] = Dataset(rows[part], labels[f"y_{part}"], names, shapes[part])
        except InputError as error:
            raise InputError(f"{part}: {error}") from None
    return Split(name, **datasets)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file by name; of another kind of file, say how to convert it."""
    try:
        return files.read_npz(path)
    except files.OtherFormatError as error:
        convert = _CONVERSIONS.get(error.kind)
        how = f": {convert.format(path=str(path))}" if convert else ""
        raise InputError(
            f"{error}; fastlin reads a .npz file with the arrays X_train and y_train{how}"
        ) from None


_CONVERSIONS = {
    files.TABLE: "t = numpy.loadtxt({path!r}, delimiter=',', skiprows=1); "
    "numpy.savez('data.npz', X_train=t[:, :-1], y_train=t[:, -1].astype(int))",
    files.PARQUET: "t = pandas.read_parquet({path!r}); numpy.savez('data.npz', "
    "X_train=t.drop(columns='label').to_numpy(), y_train=t['label'].to_numpy())",
    files.ONE_ARRAY: "numpy.savez('data.npz', X_train=numpy.load({path!r}), "
    "y_train=numpy.load('y.npy'))",
    files.HDF5: "f = h5py.File({path!r}); numpy.savez('data.npz', X_train=f['X'][:], "
    "y_train=f['y'][:])",
}  # the line that writes a .npz, by what the file is


def _rows(X: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int, int] | None]:
    """Return images as rows in the order channels, height, width, and that shape."""
    if X.dtype not in ROW_DTYPES:
        raise InputError(f"X has dtype {X.dtype!s:.60}; it must be uint8, float32 or float64")
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


def _class_names(names: NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError("class_names must be a list of text")
    try:
        texts = names.tolist()
    except (ValueError, SystemError):  # numbers above the last character of Unicode
        raise InputError("class_names has a name that is no text") from None
    decoded = []
    for number, text in enumerate(texts):
        try:
            decoded.append(text.decode("utf-8") if isinstance(text, bytes) else text)
        except UnicodeDecodeError:
            raise InputError(
                f"class_names has {quoted(text)} in place {number}, bytes that are not UTF-8"
            ) from None
    return check_class_names(decoded)


def _image_shape(shape: NDArray[Any], feature_count: int) -> tuple[int, int, int]:
    if shape.shape != (3,) or shape.dtype.kind not in "iu":
        raise InputError(
            f"image_shape is {quoted(shape.tolist())}; it must be three whole numbers: channels, "
            "height, width"
        )
    return check_image_shape(shape.tolist(), feature_count)
