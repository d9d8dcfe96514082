"""The stack machine of a pickle, with the instructions that plain values and arrays need."""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastlin.data.formats.pickle_values import (
    KNOWN_NAMES,
    Dtype,
    EmptyArray,
    Name,
    RefusedError,
    array_of_state,
    dtype_of_state,
    excerpt,
    kind_of,
)

MAX_INSTRUCTIONS = 300_000  # a batch has 30,000 as distributed, 120,000 at protocol 0
CONTAINERS = {list, dict, tuple}
_MAX_DIGITS = 640  # what int() takes under every setting of Python's limit
_PROTOCOL = 5  # the newest there is
_WHOLE_NUMBER = re.compile(rb"[+-]?[0-9]+")

# A backslash that begins no escape sequence of those that Python 2's repr of a str writes.
_BAD_ESCAPE = re.compile(rb"\\(?!['\"nrt]|x[0-9a-f]{2})")


def value_of_pickle(content: bytes, most_instructions: int = MAX_INSTRUCTIONS) -> Any:
    """Return what a pickle holds. Raises RefusedError, with the place in it, if it is not read."""
    return _Machine(content).run(most_instructions)


class _Machine:
    """The state of a pickle that is read: its stack, and its memo of values to be used again."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []  # lengths of the stack
        self._memo: dict[int, Any] = {}
        # Where the memo has what BUILD will replace.
        self._unbuilt: dict[Dtype | EmptyArray, list[int]] = {}
        self._encoded = 0  # bytes made of text so far

    def run(self, most_instructions: int) -> Any:
        start = 0
        try:
            for _ in range(most_instructions):
                start = self._at
                code = self._take(1)
                if code == pickle.STOP:
                    return self._end()
                if code not in _INSTRUCTIONS:
                    raise RefusedError(_unknown(code))
                _INSTRUCTIONS[code](self)
        except RefusedError as error:
            raise RefusedError(f"{error} (at byte {start:,})") from None
        raise RefusedError(f"it has more than {most_instructions:,} instructions")

    def _end(self) -> Any:
        value = self._pop()
        if self._stack or self._marks:
            raise RefusedError("it ends with values left over")
        if self._at < len(self._content):
            raise RefusedError("it goes on after its end")
        return value

    # --- reading arguments

    def _take(self, size: int) -> bytes:
        content = self._content[self._at : self._at + size]
        if len(content) < size:
            raise RefusedError("it is cut short")
        self._at += size
        return content

    def _line(self) -> bytes:
        end = self._content.find(b"\n", self._at)
        if end < 0:
            raise RefusedError("it is cut short")
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
            raise RefusedError("it takes a value that is not there")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise RefusedError("it goes back to a mark that is not there")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _top(self, kind: type) -> Any:
        value = self._pop()
        if type(value) is not kind:
            raise RefusedError(f"it adds to a {kind_of(value)} as to a {kind.__name__}")
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
            raise RefusedError(f"it has protocol {version}; protocols 0 to {_PROTOCOL} are known")

    def frame(self) -> None:
        if self.number("Q") > len(self._content) - self._at:
            raise RefusedError("it is cut short")

    def push_int_line(self) -> None:
        line = self._line()
        truths = {b"00": False, b"01": True}  # as protocols 0 and 1 write them
        self.push(truths[line] if line in truths else _whole_number(line))

    def push_float_line(self) -> None:
        try:
            self.push(float(_short(self._line())))
        except ValueError:
            raise RefusedError("it has a number that is none") from None

    def push_float(self) -> None:
        self.push(struct.unpack(">d", self._take(8))[0])

    def push_long_line(self) -> None:
        self.push(_whole_number(self._line().removesuffix(b"L")))

    def push_long(self) -> None:
        self.push(int.from_bytes(self._take(self.number("B")), "little", signed=True))

    def push_string_line(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise RefusedError("it has a string without its quotes")
        text = line[1:-1]
        # Looked for first: of others, codecs would warn.
        if b"\\" in text and _BAD_ESCAPE.search(text.replace(rb"\\", b"__")):
            raise RefusedError("it has a string with an impossible escape sequence")
        self.push(codecs.escape_decode(text)[0])

    def push_unicode_line(self) -> None:
        self.push(_decoded(self._line(), "raw-unicode-escape", "strict"))

    def push_text(self, form: str) -> None:
        self.push(_decoded(self._take(self.number(form)), "utf-8", "surrogatepass"))

    def push_bytes(self, form: str) -> None:
        size = self.number(form)
        if size < 0:  # BINSTRING has a signed size
            raise RefusedError("it has a string of negative length")
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
            raise RefusedError("it has an impossible place in its memo")
        value = self._pop()
        self._stack.append(value)
        self._memo[index] = value
        if isinstance(value, Dtype | EmptyArray):
            self._unbuilt.setdefault(value, []).append(index)

    def put_line(self) -> None:
        self.put(_whole_number(self._line()))

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get_line(self) -> None:
        self.get(_whole_number(self._line()))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise RefusedError("it gets a value from its memo that is not there")
        value = self._memo[index]
        if type(value) in CONTAINERS:
            raise RefusedError(f"it has one {kind_of(value)} in two places")
        self._stack.append(value)

    def push_name_lines(self) -> None:
        module, name = self._line(), self._line()
        self.push_known_name(module.decode("latin1"), name.decode("latin1"))

    def push_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("it asks for something whose name is not text")
        self.push_known_name(module, name)

    def push_known_name(self, module: str, name: str) -> None:
        if (module, name) not in KNOWN_NAMES:
            raise RefusedError(f"it asks for {excerpt(f'{module}.{name}')}")
        self.push(Name(module, name))

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not (isinstance(function, Name) and isinstance(arguments, tuple)):
            raise RefusedError(f"it calls a {kind_of(function)}")
        call = KNOWN_NAMES[function.module, function.name]
        if call is None:
            raise RefusedError(f"it calls {function.module}.{function.name}")
        value = call(arguments)
        if isinstance(value, bytes):  # made of text, which may be there once, and used often
            self._encoded += len(value)
            if self._encoded > len(self._content):
                raise RefusedError("it encodes one text many times")
        self.push(value)

    def build(self) -> None:
        state, target = self._pop(), self._pop()
        built: Dtype | NDArray[Any]
        if isinstance(target, EmptyArray):
            built = array_of_state(state)
        elif isinstance(target, Dtype) and not target.has_byte_order:
            built = dtype_of_state(target, state)
        else:
            raise RefusedError(f"it sets the state of a {kind_of(target)}")
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
        raise RefusedError(f"it has a number of {len(number):,} digits")
    return number


def _whole_number(line: bytes) -> int:
    if not _WHOLE_NUMBER.fullmatch(_short(line)):
        raise RefusedError(f"it has {excerpt(line)} in the place of a whole number")
    return int(line)


def _decoded(content: bytes, encoding: str, errors: str) -> str:
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError:
        raise RefusedError("it has text that is not Unicode") from None


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    """Add keys and values, which take turns in `items`.

    Keys are never tuples, whose hash can take for ever, nor large whole numbers, which can be
    chosen to have one hash.
    """
    if len(items) % 2:
        raise RefusedError("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, int):
            raise RefusedError(f"it has a {kind_of(key)} as a key; keys must be text or numbers")
        if type(key) is int and not -(2**31) <= key < 2**31:
            raise RefusedError("it has a whole number of more than 32 bits as a key")
        if key in target:
            shown = key if type(key) is int else excerpt(key)
            raise RefusedError(f"it has the key {shown} twice")
        target[key] = value


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
