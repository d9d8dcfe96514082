"""Data of one's own: a .npz file of rows and labels, as `numpy.savez` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.data.dataset import ROW_DTYPES, Dataset, Split
from fastlin.errors import InputError

_PARTS = ("train", "val", "test")
_CHANNELS = (1, 3)


def load(path: Path) -> Split:
    """Read X_train, y_train and, where they are there, X_val, y_val, X_test, y_test.

    Rows are (n, d), or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels; uint8,
    float32 or float64. Labels are integers from 0. Two arrays more are optional: `image_shape`,
    (c, h, w) of rows (n, d), and `class_names`; without names classes are called by number.
    X may be written small, as Keras does.

    Raises
    ------
    InputError
        If the file is damaged, an array is missing or does not fit; it names file and array.
    """
    arrays = _read(path)
    unknown = sorted(set(arrays) - _known_names())
    if unknown:
        raise InputError(
            f"{path} has an unknown array {unknown[0]}; "
            f"the arrays are {', '.join(sorted(_known_names()))}"
        )
    for part in _PARTS:
        present = {f"{what}_{part}" in arrays for what in "Xy"}
        if present == {True, False} or (part == "train" and present == {False}):
            missing = next(f"{w}_{part}" for w in "Xy" if f"{w}_{part}" not in arrays)
            raise InputError(f"{path} lacks the array {missing}")
    names = _class_names(path, arrays)
    shape = _image_shape(path, arrays)
    datasets: list[Dataset | None] = []
    for part in _PARTS:
        if f"X_{part}" not in arrays:
            datasets.append(None)
            continue
        try:
            X, found_shape = _rows(arrays[f"X_{part}"])
            datasets.append(Dataset(X, arrays[f"y_{part}"], names, shape or found_shape))
        except InputError as error:
            raise InputError(f"{path}, {part}: {error}") from None
    train, val, test = datasets
    assert train is not None  # noqa: S101  (checked above)
    try:
        return Split(path.stem, train, val, test)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _known_names() -> set[str]:
    return {f"{what}_{part}" for what in "Xy" for part in _PARTS} | {"image_shape", "class_names"}


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file, of which x_train and the like are called X_train."""
    try:
        stored = files.read_npz(path)
    except files.OtherFormatError as error:
        convert = _CONVERSIONS.get(error.kind)
        how = f": {convert.format(path=str(path))}" if convert else ""
        raise InputError(
            f"{error}; fastlin reads a .npz file with the arrays X_train and y_train{how}"
        ) from None
    arrays: dict[str, NDArray[Any]] = {}
    for written, array in stored.items():
        name = f"X_{written[2:]}" if written.startswith("x_") else written
        if name in arrays:
            raise InputError(f"{path} has both {name} and x_{name[2:]}; leave one of them out")
        arrays[name] = array
    return arrays


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
        raise InputError(f"X has dtype {X.dtype}; it must be uint8, float32 or float64")
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
    _, channels, height, width = X.shape
    return np.ascontiguousarray(X).reshape(len(X), -1), (channels, height, width)


def _class_names(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    if "class_names" in arrays:
        names = arrays["class_names"]
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise InputError(f"{path}: class_names must be a list of text")
        return tuple(str(name) for name in names.astype(str))
    largest = 1  # at least two classes
    for part in _PARTS:
        y = arrays.get(f"y_{part}")
        if y is not None and y.size and np.issubdtype(y.dtype, np.integer):
            largest = max(largest, int(y.max()))
    if largest >= 1_000_000:
        raise InputError(f"{path}: label {largest} is too large; labels count from 0 without gaps")
    return tuple(str(label) for label in range(largest + 1))


def _image_shape(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[int, int, int] | None:
    if "image_shape" not in arrays:
        return None
    shape = arrays["image_shape"]
    if shape.shape != (3,) or not np.issubdtype(shape.dtype, np.integer):
        raise InputError(
            f"{path}: image_shape must be three whole numbers: channels, height, width"
        )
    channels, height, width = shape.tolist()
    return channels, height, width
