"""Locks on files and folders that go with the process that holds them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastlin.errors import InputError


def try_lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed, or the process ends in any way.

    Parameters
    ----------
    descriptor : int
    wait : bool
        Wait for another process that holds the lock.

    Returns
    -------
    bool
        False if it cannot be locked: on Windows, and on some network file systems.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    """
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415  (there is none on Windows)

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder, which must exist, for the length of the body.

    Parameters
    ----------
    folder : Path
    wait : bool
        Wait for another process that holds it.

    Yields
    ------
    bool
        False if it cannot be locked, see `try_lock`; the body runs all the same.

    Raises
    ------
    InputError
        If another process holds the lock.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            is_locked = try_lock(descriptor, wait=wait)
        except BlockingIOError:
            raise InputError(f"{folder} is in use by {holder_of(folder)}") from None
        yield is_locked
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> str:
    """Return who holds the lock of a file or folder: ``process 1234``, or ``another process``."""
    with contextlib.suppress(OSError, ValueError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF
            _, kind, _, _, process, place, *_ = line.split()
            if kind == "FLOCK" and place.rpartition(":")[2] == str(inode) and int(process) > 0:
                return f"process {process}"
    return "another process"
