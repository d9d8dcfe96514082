"""The decorators every kernel is compiled with: the one place for compiler flags and caching."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
from numba import config
from numba.core.cpu_options import ParallelOptions
from numba.extending import overload
from platformdirs import user_cache_path

# Threads that have nothing to do spin for a moment, then sleep: left to itself, GNU's OpenMP spins
# so long that a small call on two threads takes thirty times its time when the machine is busy.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Contracting a * b + c into one rounding is all that may be changed: sums keep the order written
# in the code, so bits do not depend on how LLVM vectorises, and NaN stays NaN (no nnan, ninf).
FASTMATH = {"contract"}

FLAGS = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True}
# Python never calls an inner kernel: without the code for that, compiling takes half the time.
_INNER_FLAGS = FLAGS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# Only `prange` loops become parallel, not every use of arrays. Numba takes such options out of a
# dict as it compiles, and would compile for the next types without them: of this it takes a copy.
PRANGE_ONLY = ParallelOptions(
    {"prange": True}
    | dict.fromkeys(
        ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"),
        False,
    )
)


def inline_kernel(function: Callable) -> Callable:
    """Compile a function that only other kernels call; it is cached as part of them."""
    return numba.njit(**_INNER_FLAGS)(function)


def pasted_kernel(function: Callable) -> Callable:
    """Compile a function as part of every kernel that calls it, as if its lines stood there.

    Every level of calls is optimised on its own, with all that is below: this takes one away.
    """
    return numba.njit(inline="always", **_INNER_FLAGS)(function)


def kernel(function: Callable) -> Callable:
    """Compile an entry point called from Python, and cache it on disk."""
    return _compile(function, parallel=False)


def parallel_kernel(function: Callable) -> Callable:
    """Compile an entry point with `prange` loops, and cache it on disk."""
    return _compile(function, parallel=True)


def by_type(functions: dict[type, Callable]) -> Callable:
    """Return a kernel that calls the function for the type of its first argument, a named tuple.

    The choice is made while compiling: what is not chosen does not exist in the compiled code.
    """

    def choose(first, *rest):
        return functions[type(first)](first, *rest)

    if not config.DISABLE_JIT:

        @overload(choose, strict=False, jit_options=_INNER_FLAGS)
        def _choose(first, *rest):
            return functions[first.instance_class].py_func

    return choose


def _compile(function: Callable, *, parallel: bool) -> Callable:
    directory = cache_directory()
    threads = PRANGE_ONLY if parallel else False
    if directory is None:
        return numba.njit(parallel=threads, **FLAGS)(function)
    # Numba decides where a function is cached while decorating it. The setting is global, so it
    # is lent to this one decoration and given back: other libraries keep their own caches.
    before = config.CACHE_DIR
    config.CACHE_DIR = str(directory)
    try:
        return numba.njit(parallel=threads, cache=True, **FLAGS)(function)
    finally:
        config.CACHE_DIR = before


def source_digest() -> str:
    """Return a digest of the source of all kernels, on which their bits depend."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_directory() -> Path | None:
    """Return where compiled kernels are kept, or None where no folder can be written.

    `NUMBA_CACHE_DIR` if it is set, else the user's cache folder, else (no home) a private one in
    the temporary folder. The last part of the path is a digest of the kernels' source: Numba
    itself looks only at the file of the outermost function, and would not see the others change.
    """
    name = f"kernels-{source_digest()}"
    for parent in _cache_parents():
        with contextlib.suppress(OSError):
            directory = parent / name
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                return directory
    return None


def _cache_parents() -> Iterator[Path]:
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR) / "fastlin"
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        yield user_cache_path("fastlin")
    private = Path(tempfile.gettempdir()) / f"fastlin-{os.getuid() if hasattr(os, 'getuid') else 0}"
    with contextlib.suppress(OSError):
        private.mkdir(mode=0o700, exist_ok=True)
        # Compiled code is loaded from here: never from a folder that somebody else prepared.
        owner = private.stat()
        if not hasattr(os, "getuid") or (owner.st_uid == os.getuid() and not owner.st_mode & 0o022):
            yield private
