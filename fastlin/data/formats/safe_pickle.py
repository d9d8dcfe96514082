"""Reading the pickles of CIFAR-10, and of arrays of text, without running what they say.

A pickle is a program for a stack machine that may call anything it can name. Python's own machine
is not used. That of `.pickle_machine` knows the instructions that dicts of plain values, and arrays
of integers or of plain values, are written with, at protocols 0 to 5, by Python 2 and 3, and
refuses every other instruction. The names it knows stand for nothing that can be called: they are
keys of the table of functions in `.pickle_values`.

Its time is linear in the pickle, its memory a small multiple of it: values come from the pickle's
own bytes, arrays of integers are views of them, the number of instructions is bounded, and no list,
dict or tuple is in two places, so that the result is a tree no larger than the pickle.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.formats.pickle_machine import CONTAINERS, MAX_INSTRUCTIONS, value_of_pickle
from fastlin.data.formats.pickle_values import RefusedError, excerpt, kind_of
from fastlin.errors import InputError

__all__ = ["MAX_DEPTH", "MAX_INSTRUCTIONS", "load_dict", "load_objects"]

MAX_DEPTH = 20  # of containers in containers
MAX_OBJECTS = 5_000_000  # of an array; they take some seconds
_INSTRUCTIONS_OF_OBJECT, _OTHER_INSTRUCTIONS = 3, 1000
_PLAIN_TYPES = {str, bytes, int, float, bool, type(None), np.ndarray}


def load_dict(content: bytes, shown: str) -> dict[str, Any]:
    """Read a pickled dict of plain values and integer arrays.

    Values are str, bytes, int, float, bool, None, arrays (read-only views of `content`), and lists,
    tuples and dicts of those. What Python 2 wrote as str, and a bytearray, is bytes.

    Parameters
    ----------
    content : bytes
        The pickle, at any protocol from 0 to 5. The caller bounds its length.
    shown : str
        What error messages call it.

    Returns
    -------
    dict
        Its keys, which are text, bytes or whole numbers in the pickle, are text.

    Raises
    ------
    InputError
        If it is damaged, holds or asks for anything else, or is no dict.
    """
    try:
        value = value_of_pickle(content)
        if type(value) is dict:
            _check_tree(value)
            return _with_text_keys(value)
    except RefusedError as error:
        raise InputError(f"{shown} is not a pickle of plain arrays: {error}") from None
    raise InputError(f"{shown} holds a {kind_of(value)}; it must hold a dict")


def load_objects(content: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the pickle of an array of Python objects, as `numpy.save` writes it.

    Parameters
    ----------
    content : bytes
        The pickle. The caller bounds its length.
    shape : tuple[int, ...]
        Of the array.

    Returns
    -------
    NDArray
        Of that shape and dtype object; of str, bytes, int, float, bool and None.

    Raises
    ------
    InputError
        If it is damaged, holds or asks for anything else, or has more than `MAX_OBJECTS`; the
        message is part of a sentence: why it is not read.
    """
    count = math.prod(shape)
    if count > MAX_OBJECTS:
        raise InputError(f"there are more than {MAX_OBJECTS:,}")
    try:
        value = value_of_pickle(content, _INSTRUCTIONS_OF_OBJECT * count + _OTHER_INSTRUCTIONS)
    except RefusedError as error:
        raise InputError(str(error)) from None
    if type(value) is not np.ndarray or not value.dtype.hasobject or value.shape != shape:
        raise InputError(f"it holds a {kind_of(value)}, not that array")
    return value


def _with_text_keys(value: dict[str | bytes | int, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, item in value.items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        if name in named:
            raise RefusedError(f"it has the key {excerpt(name)} twice")
        named[name] = item
    return named


def _check_tree(value: dict[Any, Any]) -> None:
    """Refuse what holds anything but plain values, or is nested too deep.

    No container is in two places, so each is met once.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below = []
        for container in level:
            for item in container.values() if type(container) is dict else container:
                if type(item) in CONTAINERS:
                    below.append(item)
                elif type(item) is np.ndarray and item.dtype.hasobject:
                    raise RefusedError("it holds an array of objects")
                elif type(item) not in _PLAIN_TYPES:
                    raise RefusedError(f"it holds a {kind_of(item)} in the place of a value")
        if not below:
            return
        level = below
    raise RefusedError(f"it is nested more than {MAX_DEPTH} deep")
