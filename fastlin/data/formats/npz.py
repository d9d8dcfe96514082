"""Arrays in a .npz file, as `numpy.savez` and `numpy.savez_compressed` write it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastlin import files
from fastlin.data.formats.safe_pickle import load_objects


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted arrays. Raises InputError if the file is damaged."""
    return files.read_npz(path, is_wanted, is_mapped=True, read_objects=load_objects)
