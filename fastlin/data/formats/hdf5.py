"""Data sets of an HDF5 file, read by h5py; memory maps where they are in one piece."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.formats.registry import Wanted
from fastlin.errors import InputError, one_line, quoted
from fastlin.files.spool import spooled

_MOST_COMPRESSED = 1100  # bytes that one byte of a compressed data set can stand for
_HEAP, _HEAP_HEADER = b"GCOL\1\0\0\0", 16  # of the text of variable length
_LEAST_MAPPED = 1 << 20  # bytes; smaller data sets are read
_BYTES_OF_BLOCK = 1 << 24  # of a large data set that is read in blocks


def read(path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    """Return the wanted data sets, those in groups as ``group/name``.

    Large ones in several pieces, or compressed, are written to a temporary file in one.

    Raises
    ------
    InputError
        If the file is damaged, or a wanted data set is kept in other files or is no plain array.
    """
    import h5py  # noqa: PLC0415  (an extra)

    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and wanted(name):
            found[name] = _array(path, name, item, wanted)

    try:
        with h5py.File(path, "r") as content:
            content.visititems(visit)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        reason = one_line(str(error), 200)
        if "memory" in reason:  # that was asked for by a size in the file
            raise InputError(f"{path} is damaged, or too large") from None
        raise InputError(f"{path} cannot be read as HDF5: {reason}") from None
    return found


def _array(path: Path, name: str, dataset: Any, wanted: Wanted) -> NDArray[Any]:
    import h5py  # noqa: PLC0415

    shown = f"{path}: {quoted(name)}"
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{shown} is kept in other files; copy the values into this one")
    if dataset.shape is None or dataset.dtype.fields is not None:
        raise InputError(f"{shown} is no plain array; save every column as one")
    if dataset.dtype.hasobject and h5py.check_string_dtype(dataset.dtype) is None:
        raise InputError(f"{shown} holds objects; save plain numbers or text")
    stored, size = dataset.id.get_storage_size(), dataset.nbytes
    if size > stored * _MOST_COMPRESSED:
        raise InputError(f"{shown} cannot have {size:,} bytes, it takes {stored:,} in the file")
    place = dataset.id.get_offset()
    is_mappable = (
        place is not None
        and size >= _LEAST_MAPPED
        and dataset.dtype.kind in "biuf"
        and place % dataset.dtype.alignment == 0
        and place + size <= os.path.getsize(path)  # noqa: PTH202
    )
    if is_mappable:
        return np.asarray(np.memmap(path, dataset.dtype, "r", place, dataset.shape))
    if dataset.dtype.hasobject:
        _check_heaps(path)
    elif dataset.ndim == 2 and wanted.is_large(size):
        return spooled(shown, dataset.shape, dataset.dtype.newbyteorder("="), _blocks(dataset))
    return np.asarray(dataset[()])


def _blocks(dataset: Any) -> Iterator[NDArray[Any]]:
    """Yield the rows of a data set, whole chunks at a time."""
    of_chunk = 1 if dataset.chunks is None else dataset.chunks[0]
    row_bytes = max(1, dataset.nbytes // len(dataset))
    step = max(1, _BYTES_OF_BLOCK // row_bytes // of_chunk) * of_chunk
    for first in range(0, len(dataset), step):
        yield dataset[first : first + step]


def _check_heaps(path: Path) -> None:
    """Refuse a file whose heaps of text the library would read for ever.

    A heap is its signature, its size, and objects: a number of two bytes, six more, the size of the
    content, and the content, padded to eight bytes. Number 0 is free space, whose size counts its
    header too. The library does not look whether that size is at least the header's.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def number(place: int, size: int) -> int:
            return int.from_bytes(content[place : place + size], "little")

        place = content.find(_HEAP)
        while place >= 0:
            end, at = place + number(place + 8, 8), place + _HEAP_HEADER
            while at + _HEAP_HEADER <= end <= len(content):
                size = number(at + 8, 8)
                step = _HEAP_HEADER + size + -size % 8 if number(at, 2) else size
                if step < _HEAP_HEADER or at + step > end:
                    raise InputError(f"{path} is damaged: its text is not where it says")
                at += step
            place = content.find(_HEAP, place + 1)
