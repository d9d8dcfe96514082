"""The journal of a grid search: what is finished is on disk, and a broken line is found out.

journal.jsonl   appended to only; each line is the CRC-32 of its JSON in eight hex digits, a blank,
                and the JSON. The first says what is searched, the others what came of it.
journal.npz     the weights of the entries after some epoch, replaced whole

The lines are written before the weights, so that the journal knows of every epoch that they have.
A process may be killed at any moment: at worst the last line is cut short, and is dropped.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError
from fastlin.runs import atomic_write

Arrays = dict[str, NDArray[Any]]

_INTACT = "what was written before is intact, resume when the cause is gone"


class Weights(NamedTuple):
    """The arrays that continue the training of one entry after a finished epoch."""

    epoch: int
    arrays: Arrays


class Journal:
    """An open journal: `events` are what it held, `append` and `save_weights` go on with it.

    Attributes
    ----------
    path : of the journal; the weights are beside it.
    header : its first line: whatever tells this search from another one.
    events : the other lines that were there when it was opened.
    notes : what a user should know about how it was found, a sentence each.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = header
        self.events: list[dict[str, Any]] = []
        self.notes: list[str] = []

    @classmethod
    def begin(cls, path: Path, header: Mapping[str, Any]) -> Self:
        """Start a journal. Raises InputError if there is one already, or it cannot be written."""
        if path.exists():
            raise InputError(f"{path} holds a search already; resume it, or name another place")
        with atomic_write(path) as file:
            file.write(_line(header))
            _to_disk(file)
        path.with_suffix(".npz").unlink(missing_ok=True)  # of a journal that was taken away
        return cls(path, header)

    @classmethod
    def resume(cls, path: Path, header: Mapping[str, Any]) -> Self:
        """Open a journal to go on with it, or start it if there is none.

        A last line that was cut short is dropped, and the file shortened by it.

        Raises
        ------
        InputError
            If it is of another search (the message names the first part of the header that
            differs), or damaged, or cannot be read or written.
        """
        if not path.exists():
            return cls.begin(path, header)
        journal = cls(path, header)
        content = _read(path)
        lines = content.split(b"\n")
        cut_short = lines.pop()  # what follows the last line break: nothing, if all is well
        parsed = [_parse(line) for line in lines]
        if parsed and parsed[-1] is None:
            parsed.pop()
            cut_short = lines.pop() + b"\n" + cut_short
        _check_intact(path, parsed)
        found, *journal.events = (event for event in parsed if event is not None)
        differing = [name for name in header if found.get(name) != _as_json(header[name])]
        if differing:
            raise InputError(
                f"cannot resume {path}: the {differing[0]} is not what it was begun with, "
                "but changed since; go on with that, or start anew in another place"
            )
        if cut_short:
            with _writing(path):
                os.truncate(path, len(content) - len(cut_short))
            journal.notes.append(f"The last line of {path} was cut short; it is trained again.")
        return journal

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write events and wait until they are on the disk.

        Raises
        ------
        InputError
            If the disk is full or fails; what was there before is still there.
        """
        content = b"".join(_line(event) for event in events)
        if not content:
            return
        with _writing(self.path), self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                _to_disk(file)
            except OSError:
                with contextlib.suppress(OSError):  # a line cut short does no harm either
                    file.truncate(size)
                raise

    def save_weights(self, weights: Mapping[int, Weights]) -> None:
        """Replace the weights on disk. Raises InputError if it cannot; the old ones remain."""
        arrays: Arrays = {
            f"{index}.{name}": array
            for index, entry in weights.items()
            for name, array in entry.arrays.items()
        }
        arrays["epochs"] = np.array([[i, entry.epoch] for i, entry in weights.items()], np.int64)
        arrays["header"] = np.array(self._header_checksum())
        try:
            with atomic_write(self.path.with_suffix(".npz")) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                _to_disk(file)
        except InputError as error:
            raise InputError(f"{error}; {_INTACT}") from None

    def load_weights(self) -> dict[int, Weights]:
        """Return the weights on disk; none, and a note, if they are damaged."""
        path = self.path.with_suffix(".npz")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["header"]) != self._header_checksum():
                    raise ValueError("they are of another search")
                arrays: dict[int, Arrays] = {}
                for key in stored.files:
                    index, _, name = key.partition(".")
                    if name:
                        arrays.setdefault(int(index), {})[name] = stored[key]
                return {int(i): Weights(int(epoch), arrays[i]) for i, epoch in stored["epochs"]}
        except FileNotFoundError:
            return {}
        except (
            OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, MemoryError,
            NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error,
        ) as error:  # fmt: skip
            reason = " ".join(str(error).split()) or type(error).__name__
            self.notes.append(
                f"The weights in {path} cannot be used ({reason}); what is not finished is "
                "trained from its beginning."
            )
            return {}

    def _header_checksum(self) -> str:
        return _line(self.header)[:8].decode()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return header and events of a journal, without the last line if that is cut short.

    Raises
    ------
    InputError
        If it is missing, cannot be read, or is damaged.
    """
    parsed = [_parse(line) for line in _read(path).split(b"\n")[:-1]]
    if parsed and parsed[-1] is None:
        parsed.pop()
    _check_intact(path, parsed)
    header, *events = (event for event in parsed if event is not None)
    return header, events


def _check_intact(path: Path, parsed: list[dict[str, Any] | None]) -> None:
    broken = [number for number, event in enumerate(parsed, start=1) if event is None]
    if not parsed or broken[:1] == [1]:
        raise InputError(
            f"{path} is damaged in its first line, which says what was searched; start anew in "
            "another place"
        )
    if broken:
        numbers = ", ".join(map(str, broken))
        command = ";".join(f"{number}d" for number in broken)
        raise InputError(
            f"{path} is damaged in line {numbers} of {len(parsed)}; all others are intact. "
            f"Take it out (sed -i '{command}' {path}) and resume: only what it held is "
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
        event = json.loads(content)
    except ValueError:  # as of no content at all, whose checksum is zero
        return None
    return event if isinstance(event, dict) else None


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; {_INTACT}") from None


def _to_disk(file: IO[bytes] | io.FileIO) -> None:
    file.flush()
    os.fsync(file.fileno())
