"""Files and folders as the parts of a split: which of their arrays are rows, which labels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data import shards, tables
from fastlin.data.arrays import numeric, split_of_arrays
from fastlin.data.beside import (
    Place,
    name_in_file,
    no_such,
    place_beside,
    read_labels,
    read_weights,
)
from fastlin.data.checks import ROW_DTYPES, is_unicode
from fastlin.data.dataset import Split
from fastlin.data.feature_names import FeatureNames
from fastlin.data.formats import image_folder
from fastlin.data.formats.names import (
    CLASS_NAMES,
    FEATURE_NAMES,
    IMAGE_SHAPE,
    PARTS,
    by_meaning,
    is_id_column,
    is_label_column,
    meaning_of,
)
from fastlin.data.formats.registry import FORMATS, Wanted, read_arrays
from fastlin.data.memory import leave_in_files, most_of_rows
from fastlin.data.source import DataReference
from fastlin.data.stored import StoredRows, in_memory
from fastlin.data.tables import NOTHING_KNOWN, KnownColumns
from fastlin.errors import DataWarning, InputError, counted, listed, quoted

_OF_PARTS = ("X", "y", "names", "weights")  # what is read of a part


def read_split(given: DataReference, known: KnownColumns = NOTHING_KNOWN) -> Split:
    """Read a split from the files or folders that a reference names.

    Parameters
    ----------
    given : DataReference
        `data` holds the training rows, and perhaps validation and test rows and labels.
    known : KnownColumns
        What a model knows of the columns.

    Returns
    -------
    Split
        Rows of `fastlin.data.checks.ROW_DTYPES`, memory-mapped where the files allow it. What was
        converted or left out is a `DataWarning`.

    Raises
    ------
    InputError
        If a file is missing, damaged, of an unknown kind, or lacks rows or labels; one line that
        names file, array, row and column.
    """
    arrays: dict[str, Any] = {}
    known = known._replace(most_bytes=most_of_rows(given.memory))
    for part in PARTS:
        data, labels = given.of_part(part)
        if data is None:
            continue
        weights = given.sample_weight
        if weights is not None and part != PARTS[0] and not weights.startswith(":"):
            weights = None
        found = _of_place(Place.of(data), labels, part, known, weights)
        for name in found:
            if name in arrays:
                raise InputError(f"{name} is in {given.data} and in {data}; leave one of them out")
        arrays |= {name: array for name, array in found.items() if not name.startswith("ids_")}
    shown = Place.of(given.data).path
    try:
        class_names = arrays.pop(CLASS_NAMES[0], None)
        image_shape = arrays.pop(IMAGE_SHAPE, None)
        _convert_rows(shown, arrays)
        leave_in_files(arrays, given.memory)
        return split_of_arrays(shown.stem, arrays, class_names, image_shape)
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None


def read_rows(data: str, features: FeatureNames = None, ids: str | None = None) -> dict[str, Any]:
    """Return the rows of a file or folder by their meaning, X_train, X_val, X_test, as stored.

    Rows without a part are X_train. Labels are not needed. Their ids (ids_train, ...), the names of
    their features (names_train, ...) and the shape of images (image_shape) are there if the file
    has them.

    Parameters
    ----------
    data : str
        A place.
    features : tuple[str, ...] or None
        A table that has all features of these names gives them alone.
    ids : str or None
        ``:NAME``, the array or column of the ids in that file; ids of another file: `read_ids`.

    Raises
    ------
    InputError
        As `read_split` does.
    """
    place = Place.of(data)
    known = KnownColumns(
        features, ids=name_in_file(ids, place), needs_labels=False, most_bytes=most_of_rows(None)
    )
    found = _of_place(place, None, PARTS[0], known)
    wanted = ("X_", "ids_", "names_", IMAGE_SHAPE)
    return {name: array for name, array in found.items() if name.startswith(wanted)}


def _of_place(
    place: Place,
    labels: str | None,
    part: str,
    known: KnownColumns,
    weights: str | None = None,
) -> dict[str, Any]:
    """Return rows, labels and weights of a file or folder by their meaning."""
    if not place.path.exists():
        raise InputError(f"there is no file {place.path}")
    if place.path.is_dir():
        arrays = _of_folder(place.path, known if labels is None else known._replace(label=None))
    else:
        names = name_in_file(labels, place), name_in_file(weights, place)
        arrays = _of_file(place, *names, known if labels is None else known._replace(label=None))
    _name_features(place.path, arrays)
    arrays = _as_part(place.path, arrays, part)
    if labels is not None:
        if name_in_file(labels, place) is None or f"y_{part}" not in arrays:
            if f"y_{part}" in arrays:
                _note(f"{place.path} has labels of its own; those of {labels} are taken")
            beside = place_beside(labels, place)
            arrays[f"y_{part}"] = read_labels(beside, part)
            _check_counts(place.path, arrays.get(f"X_{part}"), beside.path, arrays[f"y_{part}"])
    elif known.needs_labels and f"y_{part}" not in arrays:
        raise InputError(
            f"{place.path} holds rows without labels; say where they are: {_labels_setting(part)} "
            "is a file of labels, such as y.npy or table.csv:COLUMN"
        )
    if weights is not None and f"weights_{part}" not in arrays:
        name = name_in_file(weights, place)
        if name is None:
            arrays[f"weights_{part}"] = read_weights(place_beside(weights, place))
        elif part == PARTS[0]:
            raise InputError(f"{place.path} has no {quoted(name)}, as sample_weight says")
        else:
            _note(f"{place.path} has no {quoted(name)}: its rows all count the same")
    return arrays


def _check_counts(path: Path, X: Any, beside: Path, y: NDArray[Any]) -> None:
    """Raise InputError if another file has not a label for every row."""
    if X is not None and beside != path and np.ndim(y) == 1 and len(y) != len(X):
        raise InputError(
            f"{beside} has {counted(len(y), 'label')}, and {path} {counted(len(X), 'row')}; give "
            "one label for every row (blank lines of a text count as none)"
        )


def _labels_setting(part: str) -> str:
    return "labels" if part == PARTS[0] else f"{part}_labels"


def _of_file(
    place: Place,
    label_name: str | None = None,
    weight_name: str | None = None,
    known: KnownColumns = NOTHING_KNOWN,
) -> dict[str, Any]:
    """Return the arrays of a file by their meaning."""
    named = {place.name, label_name, weight_name, known.label, known.ids}
    path = place.path

    def is_wanted(name: str) -> bool:
        if name in named:
            return True
        meaning = meaning_of(name)
        return meaning is not None and not (place.name and meaning.startswith("X_"))

    def is_wanted_column(name: str) -> bool:
        return place.name is None or name in named or is_label_column(name)

    def is_label(name: str) -> bool:
        is_usual = label_name is None and is_label_column(name)
        return is_usual or name in {label_name, known.label}

    def is_id(name: str) -> bool:
        return is_id_column(name) if known.ids is None else name == known.ids

    wanted = Wanted(is_wanted, is_wanted_column, is_label, is_id, known.most_bytes)
    format_of_file, arrays = read_arrays(path, wanted)
    label_name = known.label if known.label in arrays else label_name
    if format_of_file.is_table:
        return tables.rows_and_labels(path, arrays, place.name, label_name, weight_name, known)
    if "" in arrays:
        return {"X_train": arrays[""]}
    names = [name for name in wanted.names if name not in named]
    try:
        found = {meaning: arrays[name] for meaning, name in by_meaning(names).items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for name, meaning in (
        (place.name, "X_train"), (label_name, "y_train"), (known.ids, "ids_train"),
    ):  # fmt: skip
        if name is not None:
            if name not in arrays:
                raise no_such(path, name, [*wanted.names, *wanted.left_out])
            found[meaning] = arrays[name]
    if weight_name in arrays:
        found["weights_train"] = arrays[weight_name]
    if not any(meaning.startswith("X_") for meaning in found):
        if not found and len(wanted.left_out) == 1:
            return _of_file(Place(path, wanted.left_out[0]), label_name, weight_name, known)
        every = [*wanted.names, *wanted.left_out]
        raise InputError(
            f"{path}: the array X_train is missing, or has no usual name (X, features, ...); the "
            f"arrays are {listed(every)}; name the rows as PATH:ARRAY"
        )
    if wanted.left_out:
        _note(f"{path}: left out {listed(wanted.left_out)}, which have no usual name of rows or "
              "labels")  # fmt: skip
    return found


def files_by_meaning(path: Path) -> dict[str, Path]:
    """Return the files of a folder by what their names mean; none unless there are rows."""
    suffixes = {suffix for known in FORMATS for suffix in known.suffixes}
    found: dict[str, Path] = {}
    try:
        there = sorted(path.iterdir())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    for file in there:
        meaning = meaning_of(file.stem) if file.suffix.lower() in suffixes else None
        if meaning is not None and file.is_file():
            other = found.setdefault(meaning, file)
            if other != file:
                raise InputError(f"{path} has both {other.name} and {file.name}; keep one of them")
    return found if any(meaning.startswith("X_") for meaning in found) else {}


def _of_folder(path: Path, known: KnownColumns) -> dict[str, Any]:
    """Return the arrays of a folder: of files with usual names, shards, or images by class."""
    found = files_by_meaning(path)
    if found:
        arrays: dict[str, Any] = {}
        for meaning, file in found.items():
            if meaning.startswith("X_"):
                arrays[meaning], arrays[f"names{meaning[1:]}"] = _single(file, known)
            else:
                arrays[meaning] = read_labels(Place(file))
        return arrays
    return _of_shards(path, known) or image_folder.read(path)


def _of_shards(path: Path, known: KnownColumns) -> dict[str, Any]:
    """Return the arrays of all shards of a folder; none if it has no shards."""
    arrays: dict[str, Any] = {}
    for meaning, found in shards.files_of(path).items():
        parts, most_bytes = [], known.most_bytes
        for file in found:
            if meaning is None:
                own = _of_file(Place(file), known=known)
                _name_features(file, own)
            elif meaning.startswith("X_"):
                own = {meaning: _single(file, known)[0]}
            else:
                own = {meaning: read_labels(Place(file))}
            parts.append((file, shards.left_in_file(own)))
            if known.most_bytes is not None:  # what is left of it, for the next shards
                known = known._replace(
                    most_bytes=max(0, known.most_bytes - _bytes_in_memory(parts[-1][1]))
                )
        known = known._replace(most_bytes=most_bytes)
        arrays |= shards.joined(path, parts, most_bytes)
    return arrays


def _bytes_in_memory(arrays: dict[str, Any]) -> int:
    return sum(array.nbytes for array in arrays.values() if isinstance(array, np.ndarray))


def _single(path: Path, known: KnownColumns) -> tuple[NDArray[Any], FeatureNames]:
    """Return the one array of a file whose name says that it holds rows, and feature names."""
    found = _of_file(Place(path), known=NOTHING_KNOWN._replace(most_bytes=known.most_bytes))
    _name_features(path, found)
    rows = [name for name in found if name.startswith("X_")]
    if len(rows) != 1:
        raise InputError(f"{path} holds several arrays of rows; there must be one")
    return found[rows[0]], found.get(f"names{rows[0][1:]}")


def _name_features(path: Path, arrays: dict[str, Any]) -> None:
    """Put an array of the names of features, in place of the dictionary, beside the rows."""
    names = arrays.pop(FEATURE_NAMES, None)
    if names is None:
        return
    rows = [name for name in arrays if name.startswith("X_")]
    are_text = names.ndim == 1 and names.dtype.kind in "UO" and is_unicode(names)
    texts = {text: None for text in names.tolist() if isinstance(text, str)} if are_text else {}
    if any(arrays[name].shape[1:] != (len(texts),) for name in rows) or len(texts) != len(names):
        _note(f"{path}: left out {FEATURE_NAMES}, which has not one text for each feature")
        return
    arrays |= {f"names{name[1:]}": tuple(texts) for name in rows}


def _as_part(path: Path, arrays: dict[str, Any], part: str) -> dict[str, Any]:
    """Return the arrays that a file has for a part: those of that name, or else its rows."""
    if part == PARTS[0]:
        return arrays
    wanted = [f"{what}_{part}" for what in _OF_PARTS]
    of_part = {name: arrays[name] for name in wanted if name in arrays}
    if of_part:
        return of_part
    others = [name for name in arrays if name.startswith("X_") and name != "X_train"]
    if others:
        raise InputError(f"{path} has {listed(others)}; for {part} rows it must have X_{part}")
    return {
        f"{what}_{part}": arrays[f"{what}_train"] for what in _OF_PARTS if f"{what}_train" in arrays
    }


def _convert_rows(path: Path, arrays: dict[str, Any]) -> None:
    """Convert rows, in place of the dictionary, to what kernels take, and say so."""
    converted: dict[str, NDArray[Any]] = {}
    for name in [name for name in arrays if name.startswith("X_")]:
        stored = arrays[name]
        if isinstance(stored, StoredRows) and stored.dtype not in ROW_DTYPES:
            stored = in_memory(stored)
        rows = numeric(name, stored)
        if rows.dtype != stored.dtype:
            converted[name] = rows
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and not rows.flags.c_contiguous:
            rows = np.ascontiguousarray(rows)
            _note(f"{path}: {name} is stored column by column (Fortran order); it was copied")
        arrays[name] = rows
    # Of integers one part may need float64 and another not: all get what the widest needs.
    widest = np.result_type(*converted.values()) if converted else None
    for name, rows in converted.items():
        _note(f"{path}: {name} is not stored as numbers that kernels read; it was converted once, "
              f"to {widest}")  # fmt: skip
        arrays[name] = rows.astype(widest, copy=False)
    trained = arrays.get("X_train")
    for name in ("X_val", "X_test"):
        if trained is None or name not in arrays or arrays[name].dtype == trained.dtype:
            continue
        if arrays[name].dtype.kind == trained.dtype.kind == "f":
            _note(f"{path}: {name} is {arrays[name].dtype}; it was converted to {trained.dtype}, "
                  "as X_train is")  # fmt: skip
            with np.errstate(over="ignore"):  # what becomes infinite is refused as any is
                arrays[name] = in_memory(arrays[name]).astype(trained.dtype)


def _note(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=2)
