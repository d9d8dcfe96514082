"""The libraries that are raced, and how each is told the number of its threads.

Every one runs in a process of its own, at its own defaults but for that number, which is set by the
library's own means. Nothing of one library is imported into the process of another, but NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


@dataclass(frozen=True)
class Library:
    """A library that takes part.

    Attributes
    ----------
    module : what must be installed.
    use_threads : makes a context in which it uses so many threads. It is entered before the
        library is used at all.
    chooses_threads : whether that works; if not, the library uses all cores.
    """

    module: str
    use_threads: Callable[[int], AbstractContextManager[object]]
    chooses_threads: bool = True

    def is_installed(self) -> bool:
        """Return whether its module can be found."""
        return find_spec(self.module) is not None


def threadpoolctl() -> ModuleType:
    """Import threadpoolctl, and take back the variable that it sets for Intel's OpenMP."""
    name = "KMP_DUPLICATE_LIB_OK"
    before = os.environ.get(name)
    module = import_module("threadpoolctl")
    if before is None:
        os.environ.pop(name, None)
    return module


def _fastlin_threads(count: int) -> AbstractContextManager[object]:
    from fastlin.functional import use_threads  # noqa: PLC0415  (loads Numba)

    return use_threads(count)


def _blas_threads(count: int) -> AbstractContextManager[object]:
    return threadpoolctl().threadpool_limits(count, user_api="blas")  # of NumPy, loaded before


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch  # noqa: PLC0415

    torch.set_num_threads(count)
    yield


@contextmanager
def _cores_for_jax(count: int) -> Iterator[None]:
    """JAX has no such setting: it starts a thread for each core that it may run on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    yield


FASTLIN = Library("fastlin", _fastlin_threads)
NUMPY = Library("numpy", _blas_threads)
TORCH = Library("torch", _torch_threads)
JAX = Library("jax", _cores_for_jax, chooses_threads=hasattr(os, "sched_setaffinity"))
SCIKIT_LEARN = Library("sklearn", nullcontext)  # SGDClassifier has one thread unless told
SCIKIT_LEARN_INTELEX = Library("sklearnex", nullcontext)
