"""Readers of the arrays of which the file of a classifier is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.checks import is_unicode
from fastlin.errors import InputError


def of_features(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    """Return an array of float64, of which a model has one value a feature, if it is there."""
    array = arrays.get(name)
    if array is not None and array.dtype != np.float64:
        raise InputError(f"{name} has dtype {array.dtype}; it must be float64")
    return array


def texts(name: str, array: NDArray[Any]) -> tuple[str, ...]:
    """Return an array of text as a tuple. Raises `InputError` if it is something else."""
    if array.ndim != 1 or array.dtype.kind != "U":
        raise InputError(f"{name} must be a list of text")
    if not is_unicode(array):
        raise InputError(f"{name} is no text")
    return tuple(array.tolist())


def one_number(arrays: Mapping[str, NDArray[Any]], name: str) -> float | None:
    """Return an array that is one float64 as a number, if it is there."""
    array = arrays.get(name)
    if array is not None and (array.shape != () or array.dtype != np.float64):
        raise InputError(f"{name} is {array.dtype} {array.shape}; it must be one float64")
    return None if array is None else float(array)
