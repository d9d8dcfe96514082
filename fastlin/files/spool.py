"""Arrays that are too large for memory: written to a temporary file once, and mapped from there."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin.errors import DataWarning, InputError


def spooled(
    name: str, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]]
) -> NDArray[Any]:
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


@cache
def _folder() -> Path:
    """Return the folder of this process, which is removed at its end."""
    folder, owner = Path(tempfile.mkdtemp(prefix="fastlin-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not at the end of a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
