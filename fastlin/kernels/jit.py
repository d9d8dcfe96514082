"""The decorators every kernel is compiled with: the one place for compiler flags and caching."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

import numba
from numba import config, types
from numba.extending import intrinsic, overload

from fastlin.kernels.cache import KernelCache

# Contracting a * b + c into one rounding is all that may be changed: sums keep the order written
# in the code, so bits do not depend on how LLVM vectorises, and NaN stays NaN (no nnan, ninf).
FASTMATH = {"contract"}

FLAGS = {"fastmath": FASTMATH, "error_model": "numpy", "nogil": True}
# Kernels allocate nothing, and their callers keep every array: without counts of references LLVM
# has less to do. No other library calls a kernel, so that it needs no wrapper for that.
_KERNEL_FLAGS = FLAGS | {"_nrt": False, "no_cfunc_wrapper": True}
# Python never calls an inner kernel: without the code for that, compiling takes half the time.
_INNER_FLAGS = _KERNEL_FLAGS | {"no_cpython_wrapper": True}


def inline_kernel(function: Callable) -> Callable:
    """Compile a function that only other kernels call; it is cached as part of them."""
    return numba.njit(**_INNER_FLAGS)(function)


def pasted_kernel(function: Callable) -> Callable:
    """Compile a function as part of every kernel that calls it, as if its lines stood there.

    Every level of calls is optimised on its own, with all that is below: this takes one away.
    """
    return numba.njit(inline="always", **_INNER_FLAGS)(function)


def _statement(typing_function: Callable) -> Callable:
    return (lambda: None) if config.DISABLE_JIT else intrinsic(typing_function)


def kernel(function: Callable) -> Callable:
    """Compile an entry point called from Python, and cache it on disk."""
    dispatcher = numba.njit(**_KERNEL_FLAGS)(function)
    if config.DISABLE_JIT:
        return dispatcher  # the function as it is
    # Not cache=True: Numba would look for a folder now, and keep its own kind of files in it.
    dispatcher._cache = KernelCache(function, source_digest())
    _ENTRY_POINTS.append(dispatcher)
    return dispatcher


@_statement
def small_code(typingctx):
    """Ask LLVM for small code of the kernel that calls this: loops are kept as they are written.

    It is for kernels that call the products of a step and do little themselves. LLVM would unroll
    each of their loops, and vectorise it with checks of what may overlap, which took a third of the
    time of compiling. What is called has its own code, unless LLVM makes it a part of the caller.
    """

    def emit(context, builder, signature, arguments):
        builder.function.attributes.add("optsize")
        return context.get_dummy_value()

    return types.void(), emit


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


def by_length(name: str, length: int, if_equal: Callable, otherwise: Callable) -> Callable:
    """Return a kernel that calls a function for the length of a tuple, the argument `name`.

    Both functions have the same parameters. The choice is made as by `by_type`.
    """
    function = otherwise if config.DISABLE_JIT else otherwise.py_func
    place = list(inspect.signature(function).parameters).index(name)

    def choose(*arguments):
        return (if_equal if len(arguments[place]) == length else otherwise)(*arguments)

    if not config.DISABLE_JIT:

        @overload(choose, strict=False, jit_options=_INNER_FLAGS)
        def _choose(*arguments):
            chosen = if_equal if len(arguments[place]) == length else otherwise
            return chosen.py_func

    return choose


_ENTRY_POINTS: list = []


def entry_points() -> tuple:
    """Return the dispatchers of all kernels that Python calls, as far as they are imported."""
    return tuple(_ENTRY_POINTS)


def compiled_count() -> int:
    """Return how many kernels were, or are being, compiled here and not loaded from the cache.

    Every combination of argument types counts. A kernel counts from the moment at which it was
    not found in the cache: a command that waits can say so.
    """
    return sum(dispatcher._cache.compiled for dispatcher in _ENTRY_POINTS)


@functools.cache
def source_digest() -> str:
    """Return a digest of the source of all kernels, on which their bits depend.

    It is empty where there is no source to look at, as in an archive.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16] if sources else ""
