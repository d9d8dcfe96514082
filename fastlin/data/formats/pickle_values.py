"""What a pickle of plain arrays may name, and what the names stand for here.

The names stand for functions of this module; nothing that a pickle names is looked up or imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_AXES = 32
_SHOWN_LETTERS = 57  # of a text in a message
_INTEGER_DTYPES = {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"}
_OBJECT_DTYPES = {"O", "O4", "O8"}
_OBJECTS = {str, bytes, int, float, bool, type(None)}  # of arrays


class RefusedError(Exception):
    """Why a pickle is not read, in words for an error message."""


@dataclass(frozen=True, eq=False)
class Name:
    """What GLOBAL and STACK_GLOBAL give: a name, which only REDUCE and `_reconstruct` look at."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Dtype:
    """What numpy.dtype gives; BUILD, which tells the byte order, gives another one."""

    dtype: np.dtype[Any]
    has_byte_order: bool = False


@dataclass(frozen=True, eq=False)
class EmptyArray:
    """What numpy's _reconstruct gives; BUILD, which tells the content, gives the array."""


def excerpt(text: str | bytes) -> str:
    """Return text of a file for an error message: one short line."""
    return repr(text[:_SHOWN_LETTERS]) + ("..." if len(text) > _SHOWN_LETTERS else "")


def kind_of(value: Any) -> str:
    """Return what a value is called in an error message."""
    if isinstance(value, Name):
        return "function or class"
    return {Dtype: "dtype", EmptyArray: "array without content"}.get(
        type(value), type(value).__name__
    )


# What names stand for: functions of the arguments, a tuple. Patterns name the type of every
# literal, so that no array is compared with it.


def _encode(arguments: tuple[Any, ...]) -> bytes:
    """Stand in for _codecs.encode, with which Python 3 writes bytes at protocols 0 to 2."""
    match arguments:
        case (str(text), str("latin1")):
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                raise RefusedError("it has text in latin1 that latin1 lacks") from None
    raise RefusedError("it encodes something other than text in latin1")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    """Stand in for bytes, with which Python 3 writes b"" at protocols 0 to 2."""
    if arguments:
        raise RefusedError("it makes bytes of something")
    return b""


def _reconstruct(arguments: tuple[Any, ...]) -> EmptyArray:
    match arguments:
        case (Name(module="numpy", name="ndarray"), (int(0),), bytes(b"b") | str("b")):
            return EmptyArray()
    raise RefusedError("it begins an array in an unknown way")


def _dtype(arguments: tuple[Any, ...]) -> Dtype:
    code = arguments[0] if arguments else None
    if isinstance(code, bytes):  # of Python 2
        code = code.decode("latin1")
    if not isinstance(code, str):
        raise RefusedError("an array has a dtype without a name")
    if code in _OBJECT_DTYPES:
        return Dtype(np.dtype(object))
    if code not in _INTEGER_DTYPES:
        raise RefusedError(f"an array has dtype {excerpt(code)}; it must be of integers")
    return Dtype(np.dtype(code))


def _from_buffer(arguments: tuple[Any, ...]) -> NDArray[Any]:
    """Stand in for numpy's _frombuffer, with which it writes arrays at protocol 5."""
    match arguments:
        case (bytes(content), Dtype() as dtype, tuple(shape), str("C" | "F" as order)):
            return _array(content, dtype, shape, is_fortran=order == "F")
        case (bytes(content), Dtype() as dtype, tuple(shape), str("K"), tuple(axes)):
            array = _array(content, dtype, shape, is_fortran=False)
            if any(type(axis) is not int for axis in axes) or sorted(axes) != [*range(array.ndim)]:
                raise RefusedError("an array has impossible axes")
            return array.transpose(axes)
    raise RefusedError("it makes an array in an unknown way")


def dtype_of_state(target: Dtype, state: Any) -> Dtype:
    """Return the dtype that BUILD makes of a state: one with a byte order."""
    match state:
        case (int(), str() | bytes() as order, None, None, None, *_):
            order = order.decode("latin1") if isinstance(order, bytes) else order
            if order in ("<", ">", "|", "="):
                return Dtype(np.dtype(order + target.dtype.str[1:]), has_byte_order=True)
    raise RefusedError("a dtype is not that of plain integers")


def array_of_state(state: Any) -> NDArray[Any]:
    """Return the array that BUILD makes of a state: a view of its bytes, or of plain objects."""
    match state:
        case (int(), tuple(shape), Dtype() as dtype, int(is_fortran), list(items)):
            return _array_of_objects(items, dtype, shape, is_fortran=bool(is_fortran))
        case (int(), tuple(shape), Dtype() as dtype, int(is_fortran), bytes(content)):
            return _array(content, dtype, shape, is_fortran=bool(is_fortran))
    raise RefusedError("an array is not made of plain bytes")


def _array(
    content: bytes, dtype: Dtype, shape: tuple[Any, ...], *, is_fortran: bool
) -> NDArray[Any]:
    """Return a view of `content`, whose length must be that of the shape."""
    _check_shape(shape)
    if dtype.dtype.hasobject:
        raise RefusedError("an array of objects is made of bytes")
    size = math.prod(shape) * dtype.dtype.itemsize
    # The second is about empty arrays: NumPy cannot hold any shape that has a zero in it.
    if size != len(content) or math.prod(n for n in shape if n) >= 2**31:
        raise RefusedError("an array's shape does not fit its content")
    flat = np.frombuffer(content, dtype.dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _array_of_objects(
    items: list[Any], dtype: Dtype, shape: tuple[Any, ...], *, is_fortran: bool
) -> NDArray[Any]:
    """Return an array of plain values, whose number must be that of the shape."""
    _check_shape(shape)
    if not dtype.dtype.hasobject or math.prod(shape) != len(items) or not items:
        raise RefusedError("an array's shape does not fit its content")
    for place, item in enumerate(items):
        if type(item) not in _OBJECTS:
            raise RefusedError(f"an array has a {kind_of(item)} in place {place:,}")
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _check_shape(shape: tuple[Any, ...]) -> None:
    if len(shape) > _MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise RefusedError("an array has an impossible shape")


# None for what is only an argument.
KNOWN_NAMES: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
