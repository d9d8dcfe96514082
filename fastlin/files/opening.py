"""Paths, and files that are opened only if they are files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fastlin.errors import InputError, one_line, quoted


class MissingFileError(InputError):
    """There is no such file."""


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path given as text or as an object of a path. Raises InputError if it is neither."""
    try:
        return Path(path)
    except TypeError:
        raise InputError(f"a path is {quoted(path)}; it must be text or a Path") from None


def expand_home(path: str | Path) -> Path:
    """Return a path in which ~ is the home folder.

    Raises
    ------
    InputError
        If it begins with ~ and there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{str(path)!r} begins with ~, but there is no such home folder") from None


def is_file_or_folder(path: Path) -> bool:
    """Return whether a path is a file or a folder: no pipe, no device.

    Raises
    ------
    InputError
        If that cannot be known: no permission, or a name that is too long.
    """
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {one_line(str(path), 200)}: {reason}") from None


def check_reachable(path: str | Path) -> None:
    """Check that a path can be looked up, whether there is something or not.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If it is too long, or leads through a folder that may not be read or a circle of links.
    """
    with contextlib.suppress(MissingFileError):
        _mode(as_path(path))


def _mode(path: Path) -> int:
    """Return the mode of a file or whatever is there; it is looked up and not opened."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path} is missing") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise InputError(f"cannot read {path}: {reason_in_short(error)}") from None


@contextmanager
def open_regular(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; a folder, a device or a pipe is refused before it is opened.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    IO[bytes]

    Raises
    ------
    MissingFileError
        If there is none.
    InputError
        If it cannot be read, or is no file.
    """
    path = as_path(path)
    mode = _mode(path)
    if not stat.S_ISREG(mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = names.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{path} is {kind}, not a file")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason_in_short(error)}") from None


def read_bytes(path: str | Path, largest: int | None = None) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : str or Path
    largest : int or None
        The most bytes that it may have.

    Raises
    ------
    InputError
        If it is missing, no file, too large, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if largest is not None and size > largest:
            raise InputError(f"{path} has {size:,} bytes; such a file has at most {largest:,}")
        try:
            return file.read()
        except MemoryError:
            raise InputError(f"{path} does not fit into memory") from None


def reason_in_short(error: Exception) -> str:
    """Return the message of an exception in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
