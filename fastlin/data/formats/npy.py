"""One array in a .npy file, as `numpy.save` writes it: a memory map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastlin import files
from fastlin.data.formats.safe_pickle import load_objects


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:  # noqa: ARG001
    """Return the array, without a name. Raises InputError if the file is damaged."""
    return {"": files.map_npy(path, load_objects)}
