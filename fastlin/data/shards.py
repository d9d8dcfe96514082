"""A folder of shards: files that hold some of the rows each, in the order of their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastlin.data.formats.names import meaning_of
from fastlin.data.formats.registry import FORMATS
from fastlin.data.segments import map_of
from fastlin.data.stored import AnyRows, StoredRows, in_memory
from fastlin.errors import InputError, listed
from fastlin.files.spool import spooled

# The number of a shard at the end of its name, such as that of rows-00003-of-00128.
_NUMBER = re.compile(r"[-_. ]?[0-9]+(?:[-_ ]of[-_ ][0-9]+)?$", re.IGNORECASE)
_OF_ROWS = "X_", "y_", "ids_", "weights_"  # how names of arrays begin that have a value a row
_DIGITS = re.compile("([0-9]+)")


def files_of(folder: Path) -> dict[str | None, list[Path]]:
    """Return the shards of a folder by what their names mean without a number.

    The meaning is that of `meaning_of`, as of ``X_train-00.npy``; None of files that hold rows and
    what belongs to them, as ``part-00.npz``. There are none if a file has no number.

    Raises
    ------
    InputError
        If there are shards of both kinds, or of one array more than of another.
    """
    suffixes = {suffix for known in FORMATS for suffix in known.suffixes}
    found: dict[str | None, list[Path]] = {}
    for file in sorted(folder.iterdir(), key=_natural):
        if file.suffix.lower() not in suffixes or file.name.startswith(".") or not file.is_file():
            continue
        number = _NUMBER.search(file.stem)
        if number is None:
            return {}
        found.setdefault(meaning_of(file.stem[: number.start()]), []).append(file)
    if None in found and len(found) > 1:
        others = [files[0].name for files in found.values()]
        raise InputError(f"{folder} has shards of several kinds: {listed(others)}")
    for meaning, shards in found.items():
        rows = found.get(None if meaning is None else f"X_{meaning.partition('_')[2]}", [])
        if len(rows) != len(shards):
            raise InputError(
                f"{folder} has {len(shards)} files such as {shards[0].name}, and {len(rows)} of "
                "the rows that belong to them"
            )
    return found


def _natural(file: Path) -> list[tuple[int, str]]:
    """Return what sorts names with numbers by these: part-2 comes before part-10."""
    parts = _DIGITS.split(file.name)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def left_in_file(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a shard, of which none holds its file open: there may be thousands.

    Rows that are mapped stay in the file, and of all else there is a copy.
    """
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        rows = StoredRows.of_mapped(array) if name.startswith("X_") else None
        is_open = rows is None and map_of(array) is not None
        found[name] = np.array(array) if is_open else array if rows is None else rows
    return found


def joined(
    folder: Path, shards: Sequence[tuple[Path, Mapping[str, Any]]], most_bytes: int | None
) -> dict[str, Any]:
    """Return the arrays of all shards, one after the other, by name.

    Rows that stay in files do so together with others, if all of them take more than `most_bytes`.

    Raises
    ------
    InputError
        If a shard lacks an array, or has another kind of it; it names the file.
    """
    first, names = shards[0][0], set(shards[0][1])
    for file, arrays in shards:
        if set(arrays) != names:
            other = listed(sorted(names ^ set(arrays)))
            raise InputError(f"{first.name} and {file.name} do not both have {other}, in {folder}")
    return {
        name: _joined(folder, name, [(file, arrays[name]) for file, arrays in shards], most_bytes)
        for name in shards[0][1]
    }


def _joined(
    folder: Path, name: str, parts: Sequence[tuple[Path, Any]], most_bytes: int | None
) -> Any:
    first, example = parts[0]
    if not name.startswith(_OF_ROWS):  # names, the shape of images
        for file, value in parts:
            if not np.array_equal(value, example):
                raise InputError(f"{first.name} and {file.name} differ in {name}, in {folder}")
        return example
    if example.ndim == 0:
        raise InputError(f"{name} is a single value in {first.name}, in {folder}")
    for file, array in parts:
        is_same = array.ndim > 0 and array.shape[1:] == example.shape[1:]
        if name.startswith("X_"):
            is_same = is_same and array.dtype == example.dtype
        if not is_same:
            raise InputError(
                f"{name} is {example.dtype} {example.shape} in {first.name}, and {array.dtype} "
                f"{array.shape} in {file.name}, in {folder}"
            )
    arrays = [array for _, array in parts]
    in_files = [array for array in arrays if isinstance(array, StoredRows)]
    are_large = most_bytes is not None and sum(array.nbytes for array in arrays) > most_bytes
    if len(in_files) == len(arrays) or (in_files and are_large):
        return StoredRows.of_parts([_in_file(f"{file}: {name}", array) for file, array in parts])
    return np.concatenate([in_memory(array) for array in arrays])


def _in_file(name: str, array: AnyRows) -> StoredRows:
    """Return rows in a file; those of a shard that was read are few, and written to one."""
    if isinstance(array, StoredRows):
        return array
    found = StoredRows.of_mapped(spooled(name, array.shape, array.dtype, [array], is_told=False))
    assert found is not None  # noqa: S101
    return found
