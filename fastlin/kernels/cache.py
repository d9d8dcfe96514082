"""Compiled kernels kept on disk: what one process compiles, the next one loads.

Numba's own cache trusts its files: one that was cut short, or an index that a power cut emptied,
ends the program, and two processes that write one index at once can mix up whose code is whose.
Here a compiled kernel is one file, whose name tells what it is for and whose checksum is looked at
before anything in it is used. Whatever goes wrong with a file, the kernel is compiled.

Loading such a file executes code. So it is read only if nobody else can have written it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import llvmlite
import numba
from numba import config
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from platformdirs import user_cache_path

_SUFFIX, _UNFINISHED = ".kernel", ".tmp"
_CHECKSUM_BYTES = 32

# A folder is touched whenever it is used: other versions' folders that nobody used for so long are
# removed, and files that a process did not live to finish.
_UNUSED_SECONDS, _UNFINISHED_SECONDS = 14 * 24 * 3600, 3600


class KernelCache:
    """Where a dispatcher keeps its code, with the methods that Numba calls for that.

    Attributes
    ----------
    compiled : int
        How many times no code was found, so that it had to be compiled.
    """

    def __init__(self, function: Callable, source_digest: str) -> None:
        self.compiled = 0
        self._source_digest = source_digest
        self._name = re.sub(r"[^\w.]", "", f"{function.__module__}.{function.__qualname__}")
        self._bytecode = hashlib.sha256(function.__code__.co_code).hexdigest()

    @property
    def cache_path(self) -> Path | None:
        """Return the folder that files are kept in."""
        return cache_directory(self._source_digest)

    def load_overload(self, signature, target_context):
        """Return the code for these types if it was kept, else None.

        Numba refreshes its context here. Code that is kept needs none of what that loads, which
        takes longer than all else; a kernel that must be compiled loads it then.
        """
        found = None
        try:
            found = self._load(signature, target_context)
        except Exception as error:  # noqa: BLE001  (damaged files fail in any way)
            _say_once(f"a kept kernel {_reason(error, 'read')}; it is compiled again")
        self.compiled += found is None
        return found

    def save_overload(self, signature, result):
        """Keep code that was just compiled."""
        try:
            self._save(signature, result)
        except Exception as error:  # noqa: BLE001  (what cannot be kept is used all the same)
            _say_once(f"a compiled kernel {_reason(error, 'kept')}; see NUMBA_CACHE_DIR")

    def flush(self):
        """Forget all code of this function."""
        directory = self.cache_path
        if directory is not None:
            for path in directory.glob(f"{self._name}-*{_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _load(self, signature, target_context):
        path = self._path(signature, target_context.codegen())
        if path is None:
            return None
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            if not _is_private(os.fstat(file.fileno())):
                raise _UnfitError(f"is not read: others can write {path}")
            content = file.read()
        checksum, body = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        if hashlib.sha256(body).digest() != checksum:
            raise _UnfitError(f"is damaged: {path}")
        types, reduced = pickle.loads(body)  # noqa: S301  (our own file, and as we wrote it)
        if types != normalize_signature(signature)[0]:
            raise _UnfitError(f"is for other types: {path}")
        return CompileResult._rebuild(target_context, *reduced)

    def _save(self, signature, result):
        path = self._path(signature, result.codegen)
        if path is None:
            _say_once(
                "compiled kernels are not kept: no folder can be written; see NUMBA_CACHE_DIR"
            )
            return
        if result.library.has_dynamic_globals:  # addresses of this process
            return
        body = dumps((normalize_signature(signature)[0], result._reduce()))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been removed
        _remove_old(path.parent)
        _write(path, hashlib.sha256(body).digest() + body)

    def _path(self, signature, codegen) -> Path | None:
        directory = self.cache_path
        if directory is None:
            return None
        types, _ = normalize_signature(signature)
        key = f"{types} {codegen.magic_tuple()} {self._bytecode}"
        return directory / f"{self._name}-{_digest(key)}{_SUFFIX}"


class _UnfitError(Exception):
    """A kept kernel cannot be used; the message says what it is."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reason(error: Exception, done: str) -> str:
    if isinstance(error, _UnfitError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be {done} ({error.strerror}: {error.filename or 'no file named'})"
    return f"cannot be {done} ({type(error).__name__}: {' '.join(str(error).split())[:100]})"


_said: list[str] = []


def _say_once(text: str) -> None:
    """Log a line, the first of a process only: where logging was not set up, Python prints it."""
    if not _said:
        _said.append(text)
        logging.getLogger("fastlin").warning("fastlin: %s", text)


def _is_private(status: os.stat_result) -> bool:
    """Return whether a file or folder is ours, and nobody else can write it."""
    if not hasattr(os, "getuid"):
        return True  # the folders of a user are private on Windows
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _write(path: Path, content: bytes) -> None:
    """Write a file under another name, and move it: it is there as a whole or not at all."""
    handle, name = tempfile.mkstemp(_UNFINISHED, path.stem, path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@functools.cache
def cache_directory(source_digest: str) -> Path | None:
    """Return where compiled kernels are kept, made if need be, or None where none can be.

    `NUMBA_CACHE_DIR` if it is set, else the user's cache folder, else (no home) a private one in
    the temporary folder; a folder that can only be read if none can be written. The last part of
    the path is a digest of what all code depends on: the source of the kernels and the compiler.

    Parameters
    ----------
    source_digest : str
        Digest of the source of all kernels; empty if there is none to look at.
    """
    if not source_digest:
        return None
    compiler = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag)
    name = f"kernels-{_digest(f'{source_digest} {compiler}')}"
    readable = None
    for parent in _cache_parents():
        directory = parent / name
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(directory.stat()):
                continue
            with tempfile.TemporaryFile(dir=directory):
                os.utime(directory)
                return directory
        except OSError:
            if readable is None and os.access(directory, os.R_OK | os.X_OK):
                readable = directory
    return readable


def _cache_parents() -> Iterator[Path]:
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / "fastlin"
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        yield user_cache_path("fastlin")
    user = os.getuid() if hasattr(os, "getuid") else 0
    with contextlib.suppress(OSError):
        private = Path(tempfile.gettempdir()) / f"fastlin-{user}"
        private.mkdir(mode=0o700, exist_ok=True)
        if _is_private(private.stat()):  # not one that somebody else prepared
            yield private


@functools.cache
def _remove_old(directory: Path) -> None:
    """Remove what other versions left beside this folder, and unfinished files in it, once."""
    now = time.time()
    with contextlib.suppress(OSError):
        for path in directory.glob(f"*{_UNFINISHED}"):
            if now - path.lstat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink()
    with contextlib.suppress(OSError):
        for path in directory.parent.iterdir():
            status = path.lstat()
            if (
                re.fullmatch("kernels-[0-9a-f]{16}", path.name)
                and path != directory
                and stat.S_ISDIR(status.st_mode)
                and now - status.st_mtime > _UNUSED_SECONDS
            ):
                shutil.rmtree(path, ignore_errors=True)
