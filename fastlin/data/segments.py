"""Where rows lie in files, and how their bytes are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, counted


class Segment(NamedTuple):
    """Consecutive rows in a file, one after another.

    Attributes
    ----------
    path : Path
    start : int
        How many bytes come before the first row.
    rows : int
        How many there are.
    state : tuple[int, int]
        Size of the file in bytes, and when it was written, in nanoseconds.
    """

    path: Path
    start: int
    rows: int
    state: tuple[int, int]


def spans(numbers: range | NDArray[np.int64], most_apart: int) -> Iterator[tuple[int, int]]:
    """Divide numbers into parts (first, last) that ascend, with gaps of so many at most."""
    if isinstance(numbers, range):
        bounds = [0, len(numbers)]
    else:
        steps = np.diff(numbers)
        bounds = [
            0,
            *(np.flatnonzero((steps < 1) | (steps > most_apart)) + 1).tolist(),
            len(numbers),
        ]
    for first, last in pairwise(bounds):
        if first < last:
            yield first, last


def is_run(numbers: range | NDArray[np.int64], first: int, last: int) -> bool:
    """Return whether ascending numbers are consecutive."""
    return int(numbers[last - 1]) - int(numbers[first]) == last - 1 - first


def state_of(found: os.stat_result) -> tuple[int, int]:
    """Return what tells whether a file was changed; see `Segment`."""
    return found.st_size, found.st_mtime_ns


def map_of(array: Any) -> np.memmap[Any, Any] | None:
    """Return the memory map of a file of which an array is a view; None if it is of none."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array


def opened(segment: Segment) -> FileIO:
    """Return the file of a segment.

    Raises InputError if it cannot be opened, or is not what it was when the rows were checked.
    """
    try:
        file = FileIO(segment.path)
    except OSError as error:
        raise InputError(f"cannot read {segment.path}: {error.strerror or error}") from None
    if state_of(os.fstat(file.fileno())) != segment.state:
        file.close()
        raise InputError(f"{segment.path} was changed since its rows were checked; load it again")
    return file


def read_bytes(file: FileIO, segment: Segment, offset: int, out: NDArray[Any]) -> None:
    """Fill rows from the bytes of a segment that begin at an offset.

    Raises InputError, with the place, if they cannot be read.
    """
    target = memoryview(out.view(np.uint8)).cast("B")  # type: ignore[arg-type]
    place = segment.start + offset
    while len(target):
        try:
            file.seek(place)
            count = file.readinto(target)
        except OSError as error:
            raise InputError(
                f"{segment.path} cannot be read at byte {place}: {error.strerror or error}"
            ) from None
        if not count:
            raise InputError(
                f"{segment.path} ends at byte {place}, in the middle of its "
                f"{counted(segment.rows, 'row')}; it became shorter since it was opened"
            )
        target, place = target[count:], place + count
