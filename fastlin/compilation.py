"""Kernels that are compiled, not loaded from where they are kept: said, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Compiling(Protocol):
    """How long kernels were compiled, not loaded from where they are kept."""

    seconds: float


@contextmanager
def compiling(say: Callable[[str], object]) -> Iterator[Compiling]:
    """Say it once if the body compiles a kernel, and count the seconds that it does."""
    from numba.core import event  # noqa: PLC0415  (a heavy import)

    class Compilation(event.Listener):
        """Hears of every kernel that begins and ends to be compiled, those it calls within it."""

        seconds = 0.0
        depth = 0
        is_said = False

        def on_start(self, _: Any) -> None:
            if self.depth == 0:
                self.start = time.perf_counter()
            self.depth += 1
            if not self.is_said:
                self.is_said = True
                say("Compiling kernels for this machine (kept) ...")

        def on_end(self, _: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - self.start

    found = Compilation()
    with event.install_listener("numba:compile", found):
        yield found
