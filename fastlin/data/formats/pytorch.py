"""Tensors in a .pt file, read by PyTorch's reader of weights alone, which executes nothing."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.formats.safetensor import bfloat16
from fastlin.errors import InputError, one_line, quoted

_PAIR = ("X", "y")  # what two tensors are


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted tensors: of a dict by name (in a dict of dicts ``outer/inner``), of a pair
    as X and y; a single tensor has no name.

    Raises
    ------
    InputError
        If the file is damaged or holds anything but tensors, numbers, text, lists and dicts.
    """  # noqa: D205
    import torch  # noqa: PLC0415  (an extra)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old protocols, which are read or refused anyway
            value = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is not read: it holds more than tensors; save them alone, as "
            "torch.save({'X': X, 'y': y}, PATH)"
        ) from None
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError,
            zipfile.BadZipFile, AssertionError, struct.error) as error:  # fmt: skip
        reason = one_line(str(error).partition("\n")[0], 200)
        raise InputError(f"{path} cannot be read as a PyTorch file: {reason}") from None
    if isinstance(value, torch.Tensor):
        return {"": _array(path, "the tensor", value)}
    if isinstance(value, list | tuple) and len(value) == len(_PAIR):
        value = dict(zip(_PAIR, value, strict=True))
    if not isinstance(value, dict):
        raise InputError(
            f"{path} holds a {type(value).__name__}; it must hold a tensor, or tensors by name"
        )
    found = {}
    for name, item in _flat(value):
        if is_wanted(name):
            found[name] = _array(path, quoted(name), item)
    return found


def _flat(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    """Return the items of a dict, those of a dict in it as ``outer/inner``."""
    found: list[tuple[str, Any]] = []
    for name, item in value.items():
        if isinstance(item, dict):
            found += [(f"{name}/{inner}", below) for inner, below in item.items()]
        else:
            found.append((str(name), item))
    return found


def _array(path: Path, shown: str, value: Any) -> NDArray[Any]:
    import torch  # noqa: PLC0415

    try:
        if not isinstance(value, torch.Tensor):
            return np.asarray(value)
        if value.dtype == torch.bfloat16:
            return bfloat16(value.detach().view(torch.uint16).numpy())
        array: NDArray[Any] = value.detach().numpy()
        return array
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {shown} is no array: {one_line(str(error), 200)}") from None
