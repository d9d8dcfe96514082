"""Reading the pickles of CIFAR-10's Python distribution without running what they say.

A pickle is a program for a stack machine that may call anything it can name. Python's own machine
is not used. The one below knows the instructions that dicts of plain values and of integer arrays
are written with, at protocols 0 to 5, by Python 2 and 3, and refuses every other instruction. The
names it knows stand for nothing that can be called: they are keys of a table of functions here.

Its time is linear in the pickle, its memory a small multiple of it: values come from the pickle's
own bytes, arrays are views of them, there are at most `MAX_INSTRUCTIONS` instructions, and no list,
dict or tuple is in two places, so that the result is a tree no larger than the pickle.
"""

from __future__ import annotations

import codecs
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError

MAX_INSTRUCTIONS = 300_000  # a batch has 30,000 as distributed, 120,000 at protocol 0
MAX_DEPTH = 20  # of containers in containers
_MAX_DIGITS = 640  # what int() takes under every setting of Python's limit
_MAX_AXES = 32
_SHOWN_LETTERS = 57  # of a text in a message
_INTEGER_DTYPES = {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"}
_PLAIN_TYPES = {str, bytes, int, float, bool, type(None), np.ndarray}
_CONTAINERS = {list, dict, tuple}
_PROTOCOL = 5  # the newest there is
_WHOLE_NUMBER = re.compile(rb"[+-]?[0-9]+")

# A backslash that begins no escape sequence of those that Python 2's repr of a str writes.
_BAD_ESCAPE = re.compile(rb"\\(?!['\"nrt]|x[0-9a-f]{2})")


class _RefusedError(Exception):
    """Why a pickle is not read, in words for an error message."""


@dataclass(frozen=True, eq=False)
class _Name:
    """What GLOBAL and STACK_GLOBAL give: a name, which only REDUCE and `_reconstruct` look at."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class _Dtype:
    """What numpy.dtype gives; BUILD, which tells the byte order, gives another one."""

    dtype: np.dtype[Any]
    has_byte_order: bool = False


@dataclass(frozen=True, eq=False)
class _EmptyArray:
    """What numpy's _reconstruct gives; BUILD, which tells the content, gives the array."""


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
    machine = _Machine(content)
    try:
        value = machine.run()
        if type(value) is dict:
            _check_tree(value)
            return _with_text_keys(value)
    except _RefusedError as error:
        raise InputError(f"{shown} is not a pickle of plain arrays: {error}") from None
    raise InputError(f"{shown} holds a {_kind(value)}; it must hold a dict")


def _quoted(text: str | bytes) -> str:
    """Return text of a file for an error message: one short line."""
    return repr(text[:_SHOWN_LETTERS]) + ("..." if len(text) > _SHOWN_LETTERS else "")


def _kind(value: Any) -> str:
    """Return what a value is called in an error message."""
    if isinstance(value, _Name):
        return "function or class"
    return {_Dtype: "dtype", _EmptyArray: "array without content"}.get(
        type(value), type(value).__name__
    )


def _with_text_keys(value: dict[str | bytes | int, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, item in value.items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        if name in named:
            raise _RefusedError(f"it has the key {_quoted(name)} twice")
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
                if type(item) in _CONTAINERS:
                    below.append(item)
                elif type(item) not in _PLAIN_TYPES:
                    raise _RefusedError(f"it holds a {_kind(item)} in the place of a value")
        if not below:
            return
        level = below
    raise _RefusedError(f"it is nested more than {MAX_DEPTH} deep")


class _Machine:
    """The state of a pickle that is read: its stack, and its memo of values to be used again."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []  # lengths of the stack
        self._memo: dict[int, Any] = {}
        # Where the memo has what BUILD will replace.
        self._unbuilt: dict[_Dtype | _EmptyArray, list[int]] = {}
        self._encoded = 0  # bytes made of text so far

    def run(self) -> Any:
        """Return the value of the pickle. Raises _RefusedError with the place in the pickle."""
        start = 0
        try:
            for _ in range(MAX_INSTRUCTIONS):
                start = self._at
                code = self._take(1)
                if code == pickle.STOP:
                    return self._end()
                if code not in _INSTRUCTIONS:
                    raise _RefusedError(_unknown(code))
                _INSTRUCTIONS[code](self)
        except _RefusedError as error:
            raise _RefusedError(f"{error} (at byte {start:,})") from None
        raise _RefusedError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")

    def _end(self) -> Any:
        value = self._pop()
        if self._stack or self._marks:
            raise _RefusedError("it ends with values left over")
        if self._at < len(self._content):
            raise _RefusedError("it goes on after its end")
        return value

    # --- reading arguments

    def _take(self, size: int) -> bytes:
        content = self._content[self._at : self._at + size]
        if len(content) < size:
            raise _RefusedError("it is cut short")
        self._at += size
        return content

    def _line(self) -> bytes:
        end = self._content.find(b"\n", self._at)
        if end < 0:
            raise _RefusedError("it is cut short")
        line = self._content[self._at : end]
        self._at = end + 1
        return line

    def number(self, form: str) -> int:
        """Read a whole number whose form is a letter of `struct`."""
        number: int = struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))[0]
        return number

    # --- the stack

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _RefusedError("it takes a value that is not there")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise _RefusedError("it goes back to a mark that is not there")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _top(self, kind: type) -> Any:
        value = self._pop()
        if type(value) is not kind:
            raise _RefusedError(f"it adds to a {_kind(value)} as to a {kind.__name__}")
        self._stack.append(value)
        return value

    # --- instructions

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def protocol(self) -> None:
        version = self.number("B")
        if version > _PROTOCOL:
            raise _RefusedError(f"it has protocol {version}; protocols 0 to {_PROTOCOL} are known")

    def frame(self) -> None:
        if self.number("Q") > len(self._content) - self._at:
            raise _RefusedError("it is cut short")

    def push_int_line(self) -> None:
        line = self._line()
        truths = {b"00": False, b"01": True}  # as protocols 0 and 1 write them
        self.push(truths[line] if line in truths else _whole_number(line))

    def push_float_line(self) -> None:
        try:
            self.push(float(_short(self._line())))
        except ValueError:
            raise _RefusedError("it has a number that is none") from None

    def push_float(self) -> None:
        self.push(struct.unpack(">d", self._take(8))[0])

    def push_long_line(self) -> None:
        self.push(_whole_number(self._line().removesuffix(b"L")))

    def push_long(self) -> None:
        self.push(int.from_bytes(self._take(self.number("B")), "little", signed=True))

    def push_string_line(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise _RefusedError("it has a string without its quotes")
        text = line[1:-1]
        # Looked for first: of others, codecs would warn.
        if b"\\" in text and _BAD_ESCAPE.search(text.replace(rb"\\", b"__")):
            raise _RefusedError("it has a string with an impossible escape sequence")
        self.push(codecs.escape_decode(text)[0])

    def push_unicode_line(self) -> None:
        self.push(_decoded(self._line(), "raw-unicode-escape", "strict"))

    def push_text(self, form: str) -> None:
        self.push(_decoded(self._take(self.number(form)), "utf-8", "surrogatepass"))

    def push_bytes(self, form: str) -> None:
        size = self.number(form)
        if size < 0:  # BINSTRING has a signed size
            raise _RefusedError("it has a string of negative length")
        self.push(self._take(size))

    def tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def new_tuple(self) -> None:
        self.push(tuple(self._pop_to_mark()))

    def new_list(self) -> None:
        self.push(self._pop_to_mark())

    def append(self) -> None:
        item = self._pop()
        self._top(list).append(item)

    def append_many(self) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _set_items(self._top(dict), [key, value])

    def set_many(self) -> None:
        items = self._pop_to_mark()
        _set_items(self._top(dict), items)

    def new_dict(self) -> None:
        made: dict[Any, Any] = {}
        _set_items(made, self._pop_to_mark())
        self.push(made)

    def put(self, index: int) -> None:
        if not 0 <= index < 2**32:  # larger numbers can be chosen to have one hash
            raise _RefusedError("it has an impossible place in its memo")
        value = self._pop()
        self._stack.append(value)
        self._memo[index] = value
        if isinstance(value, _Dtype | _EmptyArray):
            self._unbuilt.setdefault(value, []).append(index)

    def put_line(self) -> None:
        self.put(_whole_number(self._line()))

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get_line(self) -> None:
        self.get(_whole_number(self._line()))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise _RefusedError("it gets a value from its memo that is not there")
        value = self._memo[index]
        if type(value) in _CONTAINERS:
            raise _RefusedError(f"it has one {_kind(value)} in two places")
        self._stack.append(value)

    def push_name_lines(self) -> None:
        module, name = self._line(), self._line()
        self.push_known_name(module.decode("latin1"), name.decode("latin1"))

    def push_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _RefusedError("it asks for something whose name is not text")
        self.push_known_name(module, name)

    def push_known_name(self, module: str, name: str) -> None:
        if (module, name) not in _KNOWN_NAMES:
            raise _RefusedError(f"it asks for {_quoted(f'{module}.{name}')}")
        self.push(_Name(module, name))

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not (isinstance(function, _Name) and isinstance(arguments, tuple)):
            raise _RefusedError(f"it calls a {_kind(function)}")
        call = _KNOWN_NAMES[function.module, function.name]
        if call is None:
            raise _RefusedError(f"it calls {function.module}.{function.name}")
        value = call(arguments)
        if isinstance(
            value, bytes
        ):  # made of text, which may be in the pickle once, and used often
            self._encoded += len(value)
            if self._encoded > len(self._content):
                raise _RefusedError("it encodes one text many times")
        self.push(value)

    def build(self) -> None:
        state, target = self._pop(), self._pop()
        built: _Dtype | NDArray[Any]
        if isinstance(target, _EmptyArray):
            built = _array_of_state(state)
        elif isinstance(target, _Dtype) and not target.has_byte_order:
            built = _dtype_of_state(target, state)
        else:
            raise _RefusedError(f"it sets the state of a {_kind(target)}")
        for index in self._unbuilt.pop(target, ()):
            if self._memo[index] is target:
                self._memo[index] = built
        self.push(built)


def _unknown(code: bytes) -> str:
    for opcode in pickletools.opcodes:
        if opcode.code == code.decode("latin1"):
            return f"it has the instruction {opcode.name}, which plain values do not need"
    return f"it has the byte 0x{code.hex()}, which is no instruction"


def _short(number: bytes) -> bytes:
    if len(number) > _MAX_DIGITS:
        raise _RefusedError(f"it has a number of {len(number):,} digits")
    return number


def _whole_number(line: bytes) -> int:
    if not _WHOLE_NUMBER.fullmatch(_short(line)):
        raise _RefusedError(f"it has {_quoted(line)} in the place of a whole number")
    return int(line)


def _decoded(content: bytes, encoding: str, errors: str) -> str:
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError:
        raise _RefusedError("it has text that is not Unicode") from None


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    """Add keys and values, which take turns in `items`.

    Keys are never tuples, whose hash can take for ever, nor large whole numbers, which can be
    chosen to have one hash.
    """
    if len(items) % 2:
        raise _RefusedError("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, int):
            raise _RefusedError(f"it has a {_kind(key)} as a key; keys must be text or numbers")
        if type(key) is int and not -(2**31) <= key < 2**31:
            raise _RefusedError("it has a whole number of more than 32 bits as a key")
        if key in target:
            shown = key if type(key) is int else _quoted(key)
            raise _RefusedError(f"it has the key {shown} twice")
        target[key] = value


# --- what names stand for: functions of the arguments, a tuple. Patterns name the type of every
# literal, so that no array is compared with it.


def _encode(arguments: tuple[Any, ...]) -> bytes:
    """Stand in for _codecs.encode, with which Python 3 writes bytes at protocols 0 to 2."""
    match arguments:
        case (str(text), str("latin1")):
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                raise _RefusedError("it has text in latin1 that latin1 lacks") from None
    raise _RefusedError("it encodes something other than text in latin1")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    """Stand in for bytes, with which Python 3 writes b"" at protocols 0 to 2."""
    if arguments:
        raise _RefusedError("it makes bytes of something")
    return b""


def _reconstruct(arguments: tuple[Any, ...]) -> _EmptyArray:
    match arguments:
        case (_Name(module="numpy", name="ndarray"), (int(0),), bytes(b"b") | str("b")):
            return _EmptyArray()
    raise _RefusedError("it begins an array in an unknown way")


def _dtype(arguments: tuple[Any, ...]) -> _Dtype:
    code = arguments[0] if arguments else None
    if isinstance(code, bytes):  # of Python 2
        code = code.decode("latin1")
    if not isinstance(code, str):
        raise _RefusedError("an array has a dtype without a name")
    if code not in _INTEGER_DTYPES:
        raise _RefusedError(f"an array has dtype {_quoted(code)}; it must be of integers")
    return _Dtype(np.dtype(code))


def _from_buffer(arguments: tuple[Any, ...]) -> NDArray[Any]:
    """Stand in for numpy's _frombuffer, with which it writes arrays at protocol 5."""
    match arguments:
        case (bytes(content), _Dtype() as dtype, tuple(shape), str("C" | "F" as order)):
            return _array(content, dtype, shape, is_fortran=order == "F")
        case (bytes(content), _Dtype() as dtype, tuple(shape), str("K"), tuple(axes)):
            array = _array(content, dtype, shape, is_fortran=False)
            if any(type(axis) is not int for axis in axes) or sorted(axes) != [*range(array.ndim)]:
                raise _RefusedError("an array has impossible axes")
            return array.transpose(axes)
    raise _RefusedError("it makes an array in an unknown way")


# --- what BUILD makes of a state


def _dtype_of_state(target: _Dtype, state: Any) -> _Dtype:
    match state:
        case (int(), str() | bytes() as order, None, None, None, *_):
            order = order.decode("latin1") if isinstance(order, bytes) else order
            if order in ("<", ">", "|", "="):
                return _Dtype(np.dtype(order + target.dtype.str[1:]), has_byte_order=True)
    raise _RefusedError("a dtype is not that of plain integers")


def _array_of_state(state: Any) -> NDArray[Any]:
    match state:
        case (int(), tuple(shape), _Dtype() as dtype, int(is_fortran), bytes(content)):
            return _array(content, dtype, shape, is_fortran=bool(is_fortran))
    raise _RefusedError("an array is not made of plain bytes")


def _array(
    content: bytes, dtype: _Dtype, shape: tuple[Any, ...], *, is_fortran: bool
) -> NDArray[Any]:
    """Return a view of `content`, whose length must be that of the shape."""
    if len(shape) > _MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise _RefusedError("an array has an impossible shape")
    size = math.prod(shape) * dtype.dtype.itemsize
    # The second is about empty arrays: NumPy cannot hold any shape that has a zero in it.
    if size != len(content) or math.prod(n for n in shape if n) >= 2**31:
        raise _RefusedError("an array's shape does not fit its content")
    flat = np.frombuffer(content, dtype.dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


# None for what is only an argument.
_KNOWN_NAMES: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any] | None] = {
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
_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.FRAME: _Machine.frame,
    pickle.MARK: _Machine.mark,
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.INT: _Machine.push_int_line,
    pickle.BININT: lambda machine: machine.push(machine.number("i")),
    pickle.BININT1: lambda machine: machine.push(machine.number("B")),
    pickle.BININT2: lambda machine: machine.push(machine.number("H")),
    pickle.LONG: _Machine.push_long_line,
    pickle.LONG1: _Machine.push_long,
    pickle.FLOAT: _Machine.push_float_line,
    pickle.BINFLOAT: _Machine.push_float,
    pickle.STRING: _Machine.push_string_line,
    pickle.BINSTRING: lambda machine: machine.push_bytes("i"),
    pickle.SHORT_BINSTRING: lambda machine: machine.push_bytes("B"),
    pickle.BINBYTES: lambda machine: machine.push_bytes("I"),
    pickle.SHORT_BINBYTES: lambda machine: machine.push_bytes("B"),
    pickle.BINBYTES8: lambda machine: machine.push_bytes("Q"),
    pickle.BYTEARRAY8: lambda machine: machine.push_bytes("Q"),
    pickle.UNICODE: _Machine.push_unicode_line,
    pickle.BINUNICODE: lambda machine: machine.push_text("I"),
    pickle.SHORT_BINUNICODE: lambda machine: machine.push_text("B"),
    pickle.BINUNICODE8: lambda machine: machine.push_text("Q"),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.LIST: _Machine.new_list,
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.append_many,
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.TUPLE: _Machine.new_tuple,
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.DICT: _Machine.new_dict,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_many,
    pickle.PUT: _Machine.put_line,
    pickle.BINPUT: lambda machine: machine.put(machine.number("B")),
    pickle.LONG_BINPUT: lambda machine: machine.put(machine.number("I")),
    pickle.MEMOIZE: _Machine.memoize,
    pickle.GET: _Machine.get_line,
    pickle.BINGET: lambda machine: machine.get(machine.number("B")),
    pickle.LONG_BINGET: lambda machine: machine.get(machine.number("I")),
    pickle.GLOBAL: _Machine.push_name_lines,
    pickle.STACK_GLOBAL: _Machine.push_name,
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
}
