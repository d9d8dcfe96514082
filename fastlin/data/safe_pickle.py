"""Reading the pickles of CIFAR-10's Python distribution without running what they say.

A pickle is a program that may call anything it can name. Here the only names it finds are the
stand-ins below, which record bytes: NumPy's own pickle support is never reached.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from fastlin.errors import InputError

_INTEGER_DTYPES = {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"}


class _Dtype:
    """What numpy.dtype(code, ...) in a pickle becomes."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        code = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if code not in _INTEGER_DTYPES:
            raise pickle.UnpicklingError(f"an array has dtype {code!r}")
        self._code: str = code
        self._byte_order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        order = order.decode("ascii", "replace") if isinstance(order, bytes) else order
        if order not in {"<", ">", "=", "|"}:
            raise pickle.UnpicklingError("an array has an impossible byte order")
        self._byte_order = order

    def resolve(self) -> np.dtype[Any]:
        return np.dtype(self._byte_order + self._code)


class _Array:
    """What numpy.ndarray in a pickle becomes; `value` is the real array."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        shape: tuple[int, ...]
        _, shape, dtype, is_fortran, content = state
        if not (isinstance(dtype, _Dtype) and isinstance(content, bytes)):
            raise pickle.UnpicklingError("an array is not made of plain bytes")
        flat = np.frombuffer(content, dtype.resolve())
        self.value = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, _encoding: str = "latin1") -> bytes:
    """Stand in for _codecs.encode, with which Python 3 writes bytes at protocol 2."""
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside itself")


def load_dict(source: Path | IO[bytes], shown: str, largest: int) -> dict[str, Any]:
    """Read a pickled dict whose values are integer arrays, bytes, strings, numbers, lists, dicts.

    Keys and strings that Python 2 wrote are bytes in a pickle; keys come back as text.

    Parameters
    ----------
    source : a path, or a file open for reading bytes.
    shown : what error messages call it.
    largest : number of bytes above which it is not looked at.

    Raises
    ------
    InputError
        If it cannot be read, is too large, is damaged, asks for anything else, or is no dict.
    """
    try:
        content = _read_at_most(source, largest + 1)
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from None
    if len(content) > largest:
        raise InputError(f"{shown} has more than {largest:,} bytes; it is not what it should be")
    try:
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # noqa: BLE001  (a hostile pickle can raise anything)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{shown} is not a pickle of plain arrays: {reason}") from None
    if type(value) is not dict:
        raise InputError(f"{shown} holds a {type(value).__name__}; it must hold a dict")
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): (
            item.value if isinstance(item, _Array) else item
        )
        for key, item in value.items()
    }


def _read_at_most(source: Path | IO[bytes], size: int) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(size)
    return source.read(size)
