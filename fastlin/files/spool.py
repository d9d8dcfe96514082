"""Arrays that are too large for memory: written to a temporary file once, and mapped from there."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin.errors import DataWarning, InputError
from fastlin.files.locks import try_lock

_PREFIX = "fastlin-spool-"
_SECONDS_TO_LOCK = 60  # after it is made, a folder is locked by then


def spooled(
    name: str, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]], *,
    is_told: bool = True,
) -> NDArray[Any]:  # fmt: skip
    """Write an array to a temporary file, block by block, and return it mapped from there.

    The file is removed when the process ends.

    Parameters
    ----------
    name : str
        What messages call it.
    shape : tuple[int, ...]
    dtype : DTypeLike
    blocks : Iterable[NDArray]
        Its rows, (m, ...) each.
    is_told : bool, optional
        Whether a warning says so.

    Raises
    ------
    InputError
        If there is no place for it.
    """
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    folder = _folder()
    no_place = InputError(
        f"{name} takes {size / 1e6:,.0f} MB as it is read, for which there is no place in "
        f"{folder.parent}; set TMPDIR to a folder on a larger disk"
    )
    if size > shutil.disk_usage(folder).free:
        raise no_place
    if is_told:
        warnings.warn(
            f"{name} takes {size / 1e6:,.0f} MB as it is read, more than memory may hold: it is "
            f"written to a temporary file in {folder.parent} first",
            DataWarning, stacklevel=2,
        )  # fmt: skip
    handle, place = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype).data)
    except BaseException as error:
        Path(place).unlink()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise no_place from None
        raise
    return np.memmap(place, dtype, "r", shape=shape)


def _sweep(own: Path) -> None:
    """Remove the folders beside one that no process holds a lock of."""
    for folder in own.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder == own or time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                if try_lock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


@cache
def _folder() -> Path:
    """Return the folder of this process, which is removed at its end.

    Those of processes that were killed are removed first.
    """
    folder, owner = Path(tempfile.mkdtemp(prefix=_PREFIX)), os.getpid()
    with suppress(BlockingIOError):
        try_lock(os.open(folder, os.O_RDONLY))  # as long as this process lives
    _sweep(folder)

    def remove() -> None:
        if os.getpid() == owner:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
