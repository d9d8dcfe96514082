"""Where rows are, and what may lie in files beside them: labels, weights, ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastlin import files
from fastlin.data import tables
from fastlin.data.formats.names import PARTS, by_meaning, is_id_column
from fastlin.data.formats.registry import Wanted, read_arrays
from fastlin.errors import InputError, listed, quoted


class Place(NamedTuple):
    """A file or folder, and the name of an array or a column in it, if one is named.

    Attributes
    ----------
    path : Path
    name : str or None
    """

    path: Path
    name: str | None = None

    @classmethod
    def of(cls, text: str) -> Place:
        """Return the place that ``PATH`` or ``PATH:NAME`` means: PATH where it is there."""
        whole = files.expand_home(text)
        head, colon, name = text.rpartition(":")
        if not colon or not name or files.is_file_or_folder(whole):
            return cls(whole)
        path = files.expand_home(head)
        return cls(path, name) if head == "" or files.is_file_or_folder(path) else cls(whole)

    def absolute(self, text: str) -> str:
        """Return the text of the place, with an absolute path if there is a file or folder.

        Parameters
        ----------
        text : str
            What the place was made of; it is returned where nothing is there.
        """
        if text.startswith(":") or not files.is_file_or_folder(self.path):
            return text
        path = str(self.path.resolve())
        return path if self.name is None else f"{path}:{self.name}"


def place_beside(text: str, place: Place) -> Place:
    """Return where labels or weights are; ``:NAME`` is in the file of the rows."""
    found = Place.of(text)
    return Place(place.path, found.name) if text.startswith(":") else found


def name_in_file(text: str | None, place: Place) -> str | None:
    """Return the name of labels or weights if they are in the file of the rows."""
    if text is None:
        return None
    found = place_beside(text, place)
    return found.name if found.path == place.path else None


def read_labels(place: Place, part: str = PARTS[0]) -> NDArray[Any]:
    """Return the labels of a file: the array or column that is named, is called so, or is alone."""
    path, name = place

    def is_wanted(found: str) -> bool:
        return name is None or found == name

    wanted = Wanted(is_wanted, is_wanted, is_wanted)
    if not path.is_file():
        raise InputError(f"there is no file {path} of labels")
    format_of_file, arrays = read_arrays(path, wanted)
    if format_of_file.is_table:
        return tables.labels(path, arrays, name, wanted.left_out)
    if name is not None and "" not in arrays:
        if name not in arrays:
            raise no_such(path, name, wanted.left_out)
        return arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    named = by_meaning(arrays)
    for meaning in (f"y_{part}", f"y_{PARTS[0]}"):
        if meaning in named:
            found: NDArray[Any] = arrays[named[meaning]]
            return found
    raise InputError(
        f"{path}: no array has a usual name of labels (y, labels, target); the arrays are "
        f"{listed(list(arrays))}; name one as PATH:ARRAY"
    )


def read_weights(place: Place) -> NDArray[Any]:
    """Return the weights of a file: the array or column that is named, or is alone."""
    return _named_or_alone(place, "weights", lambda _: False)


def read_ids(place: Place) -> NDArray[Any]:
    """Return the ids of a file: the array or column that is named, is called so, or is alone."""
    return _named_or_alone(place, "ids", is_id_column)


def _named_or_alone(place: Place, what: str, is_usual: Callable[[str], bool]) -> NDArray[Any]:
    """Return the array or column of a place that is named, has a usual name, or is alone."""
    path, name = place

    def is_wanted(found: str) -> bool:
        return name is None or found == name

    wanted = Wanted(is_wanted, is_wanted, lambda _: False, lambda _: what == "ids")
    if not path.is_file():
        raise InputError(f"there is no file {path} of {what}")
    _, arrays = read_arrays(path, wanted)
    if name is not None and "" not in arrays and name not in arrays:
        raise no_such(path, name, wanted.left_out)
    usual = list(arrays) if len(arrays) == 1 else [each for each in arrays if is_usual(each)]
    if len(usual) != 1:
        raise InputError(f"{path} has {listed(list(arrays))}; name the {what} as PATH:NAME")
    return arrays[usual[0]]


def no_such(path: Path, name: str, names: list[str]) -> InputError:
    """Return the error for an array or a column that is not in a file."""
    return InputError(f"{path} has no {quoted(name)}; there are {listed(names)}")
