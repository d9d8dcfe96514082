"""Tensors in a .safetensors file: memory maps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.errors import InputError, one_line, quoted

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted tensors. The library checks that the header fits the file.

    bfloat16 is that of the package ml_dtypes where it is installed, and otherwise float32.

    Raises
    ------
    InputError
        If the file is damaged, or a wanted tensor is of another kind of number.
    """
    import safetensors  # noqa: PLC0415  (an extra)

    try:
        with safetensors.safe_open(path, framework="numpy") as content:
            wanted = [name for name in content.keys() if is_wanted(name)]  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} is damaged: {one_line(str(error), 200)}") from None
    with files.open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        described = files.parse_json(file.read(length))
        return {name: _map(path, file, 8 + length, name, described[name]) for name in wanted}


def _map(path: Path, file: Any, start: int, name: str, described: Any) -> NDArray[Any]:
    if described["dtype"] not in _DTYPES:
        raise InputError(
            f"{path}: {quoted(name)} is of the dtype {quoted(described['dtype'])}; save it as F16, "
            "F32 or U8"
        )
    dtype, shape = np.dtype(_DTYPES[described["dtype"]]), tuple(described["shape"])
    place = start + described["data_offsets"][0]
    if 0 in shape:
        return np.empty(shape, dtype)
    array = np.asarray(np.memmap(file, dtype, "r", place, shape))
    if place % dtype.alignment:
        array = array.copy()
    return bfloat16(array) if described["dtype"] == "BF16" else array


def bfloat16(bits: NDArray[np.uint16]) -> NDArray[Any]:
    """Return bits as bfloat16, or as float32 where ml_dtypes is not installed."""
    try:
        return bits.view(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        widened = bits.astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)
