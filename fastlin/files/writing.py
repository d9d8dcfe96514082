"""Files that are written whole or not at all.

What is written goes to a temporary file in the same folder, is flushed to the disk, and takes the
place of the old file in one step.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fastlin.errors import InputError
from fastlin.files.locks import try_lock
from fastlin.files.opening import as_path

_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}\.fastlin-tmp")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its place when the body ends well.

    The content is on the disk before the file gets its name, so that a power cut leaves the old
    file or the new one. Temporary files that killed processes left in the folder are removed.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    IO[bytes]
        To be written, and read again.

    Raises
    ------
    InputError
        If it cannot be written; what was at `path` is still there.
    """
    path, temporary = as_path(path), None
    try:
        sweep(path.parent)
        descriptor, temporary = _create_temporary(path)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            to_disk(file)
            if sys.platform != "win32":  # still locked: no sweep can take it before it is moved
                temporary.replace(path)
        if sys.platform == "win32":  # an open file cannot be moved there
            temporary.replace(path)
        temporary = None
        flush_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _create_temporary(path: Path) -> tuple[int, Path]:
    """Create and lock a file of a new name; return its descriptor and path.

    A sweep may remove the file between its creation and the lock. Then it has no link any more,
    and another one is made.
    """
    while True:
        name = f".{path.name[:50]}-{secrets.token_hex(4)}.fastlin-tmp"
        temporary = path.with_name(name)
        try:
            descriptor = os.open(temporary, _NEW_FILE, 0o666)  # less the umask
        except FileExistsError:
            continue
        try_lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor, temporary
        os.close(descriptor)


_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder.

    A temporary file is locked by the process that writes it, so one that can be locked is left
    over. On Windows, where files are not locked, they stay.

    Parameters
    ----------
    folder : Path
        One that cannot be read is left as it is.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if try_lock(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


def save_json(path: str | Path, content: Any) -> None:
    """Write a JSON file. Raises InputError if it cannot be written; the old one remains."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())


def save_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file; numbers are exact, and None is an empty cell.

    Raises InputError if it cannot be written; the old one remains.
    """
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(lines.getvalue().encode())


def make_directory(path: str | Path) -> Path:
    """Make a folder if it is not there, and return it. Raises InputError if that fails."""
    path = as_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror or error}") from None
    return path


def to_disk(file: IO[bytes]) -> None:
    """Wait until what was written to a file is on the disk. Raises OSError if that fails."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
