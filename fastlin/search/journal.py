"""The journal of a grid search: what is finished is on disk, and a broken line is found out.

journal.jsonl              appended to only; each line is the CRC-32 of its JSON in eight hex
                           digits, a blank, and the JSON. The first says what is searched, the
                           others what came of it.
journal.jsonl.weights.npz  the weights of the entries after some epoch, replaced whole; their name
                           is never that of data beside the journal

The lines are written before the weights, so that the journal knows of every epoch that they have.
A process may be killed at any moment: at worst the last line is cut short, and is dropped.

An open journal is locked, so that a second process cannot write to it; the lock goes with the
process. On Windows, and on file systems without locks, this is left to the user.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.errors import InputError

Arrays = dict[str, NDArray[Any]]
_INTACT = "what was written before is intact, resume when the cause is gone"
_OLD = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
_NEW = _OLD | os.O_CREAT | os.O_EXCL


class Weights(NamedTuple):
    """The arrays that continue the training of one entry after a finished epoch."""

    epoch: int
    arrays: Arrays


class Journal:
    """An open journal: `events` are what it held, `append` and `save_weights` go on with it.

    It is made by `begin` or `resume`, and locked until it is closed.

    Attributes
    ----------
    path : Path
        Of the journal.
    weights_path : Path
        Of the weights beside it: the same name and ``.weights.npz``.
    header : Mapping[str, Any]
        Its first line: whatever tells this search from another one.
    events : list[dict[str, Any]]
        The other lines that were there when it was opened.
    notes : list[str]
        What a user should know about how it was found, a sentence each.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], descriptor: int) -> None:
        self.path = path
        self.weights_path = path.with_name(f"{path.name}.weights.npz")
        self.header = header
        self.events: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            files.try_lock(descriptor)
        except BlockingIOError:
            self.close()
            raise InputError(
                f"{path} is in use by {files.holder_of(path)}; wait for its end, or stop it"
            ) from None

    def close(self) -> None:
        """Let go of the journal, so that it can be resumed; it cannot be written any more."""
        self._close()

    @classmethod
    def begin(cls, path: Path, header: Mapping[str, Any]) -> Self:
        """Start a journal.

        Parameters
        ----------
        path : Path
        header : Mapping[str, Any]

        Raises
        ------
        InputError
            If there is one already, or it cannot be written.
        """
        try:
            with cls._opened(path, header, _NEW) as journal:
                try:
                    journal._start()
                except InputError:
                    with contextlib.suppress(OSError):
                        path.unlink()
                    raise
        except FileExistsError:
            raise InputError(
                f"{path} holds a search already; resume it, or name another place"
            ) from None
        return journal

    @classmethod
    @contextlib.contextmanager
    def _opened(cls, path: Path, header: Mapping[str, Any], flags: int) -> Iterator[Self]:
        """Open a journal, which is closed again if the body raises an InputError."""
        with _writing(path):
            journal = cls(path, header, os.open(path, flags, 0o666))
        try:
            yield journal
        except InputError:
            journal.close()
            raise

    def _start(self) -> None:
        """Write the first line of an empty journal."""
        self._write(_line(self.header))
        files.flush_folder(self.path.parent)

    @classmethod
    def resume(cls, path: Path, header: Mapping[str, Any]) -> Self:
        """Open a journal to go on with it, or start it if there is none.

        A last line that was cut short is dropped, and the file shortened by it. One that was
        killed before its first line was whole is started anew.

        Parameters
        ----------
        path : Path
        header : Mapping[str, Any]

        Raises
        ------
        InputError
            If another process has it open, if it is of another search (the message names the first
            part of the header that differs), or damaged, or cannot be read or written.
        """
        try:
            with files.open_regular(path):
                pass
        except files.MissingFileError:
            return cls.begin(path, header)
        with cls._opened(path, header, _OLD) as journal:
            journal._take_over(files.read_bytes(path))
        return journal

    def _take_over(self, content: bytes) -> None:
        """Read the lines of the journal, and repair its end."""
        if b"\n" not in content and _line(self.header).startswith(content):
            self._truncate(0)
            self._start()
            return
        (found, *self.events), cut_short = _parse_lines(self.path, content)
        differing = [name for name in self.header if found.get(name) != _as_json(self.header[name])]
        if differing:
            raise InputError(
                f"cannot resume {self.path}: the {differing[0]} is not what it was begun with, "
                "but changed since; go on with that, or start anew in another place"
            )
        if cut_short:
            self._truncate(len(content) - len(cut_short))
            self.notes.append(f"The last line of {self.path} was cut short; it is trained again.")

    def _truncate(self, size: int) -> None:
        with _writing(self.path):
            os.ftruncate(self._descriptor, size)

    def _write(self, content: bytes) -> None:
        """Append to the file and wait until it is on the disk; what was there before remains."""
        with _writing(self.path):
            size = os.fstat(self._descriptor).st_size
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(self._descriptor, left) :]
                os.fsync(self._descriptor)
            except OSError:
                with contextlib.suppress(OSError):  # a line cut short does no harm either
                    os.ftruncate(self._descriptor, size)
                raise

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write events and wait until they are on the disk.

        Parameters
        ----------
        events : Iterable[Mapping[str, Any]]

        Raises
        ------
        InputError
            If the disk is full or fails; what was there before is still there.
        """
        content = b"".join(_line(event) for event in events)
        if content:
            self._write(content)

    def save_weights(self, weights: Mapping[int, Weights]) -> None:
        """Replace the weights on disk. Raises InputError if it cannot; the old ones remain."""
        arrays: Arrays = {
            f"{index}.{name}": array
            for index, entry in weights.items()
            for name, array in entry.arrays.items()
        }
        epochs = [[index, entry.epoch] for index, entry in weights.items()]
        arrays["epochs"] = np.array(epochs, np.int64).reshape(-1, 2)
        arrays["header"] = np.array(self._header_checksum())
        try:
            files.save_npz(self.weights_path, arrays)
        except InputError as error:
            raise InputError(f"{error}; {_INTACT}") from None

    def load_weights(self) -> dict[int, Weights]:
        """Return the weights on disk; none, and a note, if they are damaged."""
        try:
            return self._checked_weights(files.read_npz(self.weights_path))
        except files.MissingFileError:
            return {}
        except InputError as error:
            self.notes.append(
                f"The weights cannot be used ({error}); what is not finished is trained from its "
                "beginning."
            )
            return {}

    def _checked_weights(self, stored: Arrays) -> dict[int, Weights]:
        """Return the weights of a file; whether they fit their runs, the trainer decides."""
        path = self.weights_path
        header, epochs = stored.pop("header", None), stored.pop("epochs", None)
        if header is None or epochs is None or str(header) != self._header_checksum():
            raise InputError(f"{path} is of another search")
        arrays: dict[str, Arrays] = {}
        for key, array in stored.items():
            index, _, name = key.partition(".")
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise InputError(f"{path} is damaged: {key} has values that are not finite")
            arrays.setdefault(index, {})[name] = array
        if epochs.shape[1:] != (2,) or epochs.dtype != np.int64 or (epochs[:, 1] < 1).any():
            raise InputError(f"{path} is damaged: its array epochs is not what a search writes")
        return {
            index: Weights(epoch, arrays.get(str(index), {})) for index, epoch in epochs.tolist()
        }

    def _header_checksum(self) -> str:
        return _line(self.header)[:8].decode()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return header and events of a journal, without the last line if that is cut short.

    Raises
    ------
    InputError
        If it is missing, cannot be read, or is damaged.
    """
    (header, *events), _ = _parse_lines(path, files.read_bytes(path))
    return header, events


def _parse_lines(path: Path, content: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """Return the events of all lines, and what is left of a last one that was cut short."""
    lines = content.split(b"\n")
    cut_short = lines.pop()  # what follows the last line break: nothing, if all is well
    parsed = [_parse(line) for line in lines]
    if parsed and parsed[-1] is None:
        parsed.pop()
        cut_short = lines.pop() + b"\n" + cut_short
    _check_intact(path, parsed)
    return [event for event in parsed if event is not None], cut_short


# Of more damaged lines than that a journal is not worth mending.
_LINES_TO_TAKE_OUT = 20


def _check_intact(path: Path, parsed: list[dict[str, Any] | None]) -> None:
    broken = [number for number, event in enumerate(parsed, start=1) if event is None]
    if not parsed or broken[:1] == [1]:
        raise InputError(
            f"{path} is damaged in its first line, which says what was searched; start anew in "
            "another place"
        )
    if len(broken) > _LINES_TO_TAKE_OUT:
        raise InputError(
            f"{path} is damaged in {len(broken)} of its {len(parsed)} lines, the first of them "
            f"line {broken[0]}; start anew in another place"
        )
    if broken:
        numbers = ", ".join(map(str, broken))
        command = f"sed -i '{';'.join(f'{number}d' for number in broken)}' {shlex.quote(str(path))}"
        raise InputError(
            f"{path} is damaged in line {numbers} of {len(parsed)}; all others are intact. "
            f"Take it out ({command}) and resume: only what it held is "
            "trained again"
        )


def _line(event: Mapping[str, Any]) -> bytes:
    content = json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None if it is broken."""
    checksum, _, content = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        return None
    try:
        event = files.parse_json(content)
    except ValueError:  # as of no content at all, whose checksum is zero
        return None
    return event if isinstance(event, dict) else None


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; {_INTACT}") from None
