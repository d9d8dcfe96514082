"""Data of one's own: a .npz file of rows and labels, as `numpy.savez` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastlin import files
from fastlin.data.arrays import PARTS, split_of_arrays
from fastlin.data.dataset import Split
from fastlin.errors import InputError, quoted
from fastlin.files import kinds

_OPTIONAL = ("class_names", "image_shape")


def load(path: Path) -> Split:
    """Read X_train, y_train and, where they are there, X_val, y_val, X_test, y_test.

    Rows are (n, d), or images (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels; uint8,
    float32 or float64. Two arrays more are optional: `image_shape`, (c, h, w) of rows (n, d), and
    `class_names`, text or bytes in UTF-8. Labels are integers, booleans or text. With names, an
    integer is the place of the class in them, from 0; without, the classes are the values that
    occur in any part, named by them. X may be written small, as Keras does.

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
        named = _by_known_name(arrays)
        class_names, image_shape = (named.pop(name, None) for name in _OPTIONAL)
        return split_of_arrays(path.stem, named, class_names, image_shape)
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
    known = {f"{what}_{part}" for what in "Xy" for part in PARTS} | {*_OPTIONAL}
    unknown = sorted(named.keys() - known)
    if unknown:
        raise InputError(
            f"unknown array {quoted(unknown[0])}; the arrays are {', '.join(sorted(known))}"
        )
    return named


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of the file by name; of another kind of file, say how to convert it."""
    try:
        return files.read_npz(path)
    except files.OtherFormatError as error:
        convert = CONVERSIONS.get(error.kind)
        how = f": {convert.format(path=str(path))}" if convert else ""
        raise InputError(
            f"{error}; fastlin reads a .npz file with the arrays X_train and y_train{how}"
        ) from None


CONVERSIONS = {
    kinds.TABLE: "t = numpy.loadtxt({path!r}, delimiter=',', skiprows=1); "
    "numpy.savez('data.npz', X_train=t[:, :-1], y_train=t[:, -1].astype(int))",
    kinds.PARQUET: "t = pandas.read_parquet({path!r}); numpy.savez('data.npz', "
    "X_train=t.drop(columns='label').to_numpy(), y_train=t['label'].to_numpy())",
    kinds.ONE_ARRAY: "numpy.savez('data.npz', X_train=numpy.load({path!r}), "
    "y_train=numpy.load('y.npy'))",
    kinds.HDF5: "f = h5py.File({path!r}); numpy.savez('data.npz', X_train=f['X'][:], "
    "y_train=f['y'][:])",
}  # the line that writes a .npz, by what the file is
