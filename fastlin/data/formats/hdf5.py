"""Data sets of an HDF5 file, read by h5py; memory maps where they are in one piece."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, one_line, quoted

_MOST_COMPRESSED = 1100  # bytes that one byte of a compressed data set can stand for
_LEAST_MAPPED = 1 << 20  # bytes; smaller data sets are read


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted data sets, those in groups as ``group/name``.

    Raises
    ------
    InputError
        If the file is damaged, or a wanted data set is kept in other files or is no plain array.
    """
    import h5py  # noqa: PLC0415  (an extra)

    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and is_wanted(name):
            found[name] = _array(path, name, item)

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


def _array(path: Path, name: str, dataset: Any) -> NDArray[Any]:
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
        place is not None and size >= _LEAST_MAPPED and dataset.dtype.kind in "biuf"
        and place % dataset.dtype.alignment == 0 and place + size <= os.path.getsize(path)  # noqa: PTH202
    )  # fmt: skip
    if is_mappable:
        return np.asarray(np.memmap(path, dataset.dtype, "r", place, dataset.shape))
    return np.asarray(dataset[()])
