"""Passes over the same rows that several fits wait for, and take together.

A pass of few classes waits for memory: over 50,000 rows of 768 float32 numbers one of two classes
takes half the time of one of ten (two cores of Zen 3). So fits of the same rows, each with weights
of its own, run in threads of their own until all of them need a pass; then one pass gives each of
them what it needs. Which fits a pass is for depends on their steps alone, and so do all bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastlin import passes
from fastlin.data.dataset import Dataset
from fastlin.engine import Array
from fastlin.losses import Loss
from fastlin.passes import MeanLoss, Reading

# Gradients of one pass, in float64, take no more than this, if those of one fit do not; workers of
# a cluster return as many of every shard.
_BYTES_OF_GRADIENTS = 64_000_000

# Seconds after which a thread that was not woken looks whether fits are over.
_PATIENCE = 0.5

Found = TypeVar("Found")


class SharedPassesElsewhere(Protocol):
    """Who takes passes of several fits in the place of this process."""

    def mean_losses(
        self, W: Array, b: Array, reading: Reading, row_count: int, numbers: Sequence[int]
    ) -> list[MeanLoss]:
        """Do `passes.unchecked_mean_losses` for W (M, K, d), b (M, K) of the fits of M numbers."""


class _Wanted(NamedTuple):
    """A pass that a fit waits for: its number, its classifier, and where the result goes.

    None goes there instead where the fit is to end.
    """

    number: int
    W: Array
    b: Array
    reading: Reading
    reply: SimpleQueue[MeanLoss | None]


class SharedPasses:
    """The passes of several fits over the same rows.

    The thread that runs the fits takes the passes. Ctrl-C may come to it at any moment: so it holds
    no lock that fits wait for, and what it may lose is only that it was woken.

    Parameters
    ----------
    data : Dataset
        The rows.
    loss : Loss
    weights : Sequence[NDArray[np.float64]]
        Of each fit (n,), of mean 1.
    reading : Reading
        How rows are read. Fits may divide features by other deviations; the passes of one that
        subtracts something from rows, which changes their last digits, are its own.
    workers : SharedPassesElsewhere or None
        Who takes them; None for this process.
    """

    def __init__(
        self, data: Dataset, loss: Loss, weights: Sequence[NDArray[np.float64]], reading: Reading,
        workers: SharedPassesElsewhere | None = None,
    ) -> None:  # fmt: skip
        self._workers = workers
        self._data, self._loss, self._reading = data, loss, reading
        self._weights = np.stack(weights)
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._waiting: list[_Wanted] = []
        self._ended: list[int] = []
        self._failures: list[BaseException] = []
        self._is_running = self._is_over = False

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._data)

    def of(self, number: int) -> PassesOfFit:
        """Return the passes of a fit, from 0."""
        return PassesOfFit(self, number)

    def run(self, fits: Sequence[Callable[[], Found]]) -> list[Found]:
        """Call what does each of the fits, all at once, and return what they return.

        Raises
        ------
        Exception
            What one of them raises; the others end at their next pass.
        """
        self._waiting, self._ended, self._failures = [], [], []
        self._is_running, self._is_over = True, False
        found: dict[int, Found] = {}
        threads: list[Thread] = []
        try:
            for number, fit in enumerate(fits):
                task = partial(copy_context().run, self._do, number, fit, found)
                threads.append(Thread(target=task, name=f"fastlin-fit-{number}", daemon=True))
                threads[-1].start()
            self._serve(len(fits))
        except BaseException:  # such as Ctrl-C, rows that cannot be read, or too many threads
            self._is_over = True
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            self._is_running = False
        if self._failures:
            raise self._failures[0]
        return [found[number] for number in range(len(fits))]

    def _do(self, number: int, fit: Callable[[], Found], found: dict[int, Found]) -> None:
        """Do a fit, and keep what came of it."""
        try:
            found[number] = fit()
        except _EndedError:
            pass
        except BaseException as error:  # noqa: BLE001  (raised again by the thread that runs fits)
            self._failures.append(error)
            self._is_over = True
        finally:
            self._ended.append(number)
            self._wake.put(None)

    def _serve(self, count: int) -> None:
        """Take passes, whenever all fits that have not ended wait for one, until all have ended."""
        while len(self._ended) < count:
            waiting = list(self._waiting)
            if self._is_over or not waiting or len(waiting) + len(self._ended) < count:
                with suppress(Empty):
                    self._wake.get(timeout=_PATIENCE)
                continue
            self._waiting.clear()
            try:
                self._take(sorted(waiting, key=lambda wanted: wanted.number))
            except BaseException:
                self._is_over = True
                for wanted in waiting:
                    wanted.reply.put(None)
                raise

    def take(self, wanted: _Wanted) -> MeanLoss:
        """Return a pass that a fit wants; while fits run, when all of them want one."""
        if not self._is_running:
            self._take([wanted])
        elif self._is_over:
            raise _EndedError
        else:
            self._waiting.append(wanted)
            self._wake.put(None)
        while True:
            try:
                found = wanted.reply.get(timeout=_PATIENCE)
            except Empty:
                if self._is_over:
                    raise _EndedError from None
                continue
            if found is None:
                raise _EndedError
            return found

    def _take(self, wanted: Sequence[_Wanted]) -> None:
        """Take passes that are wanted, one for all classifiers of a dtype, if they are not many."""
        at_once = max(1, _BYTES_OF_GRADIENTS // (8 * wanted[0].W.size))
        for dtype in {one.W.dtype for one in wanted}:
            of_dtype = [one for one in wanted if one.W.dtype == dtype]
            alike = [one for one in of_dtype if self._can_share(one.reading)]
            for first in range(0, len(alike), at_once):
                self._take_at_once(alike[first : first + at_once], self._reading)
            for one in of_dtype:
                if not self._can_share(one.reading):
                    self._take_at_once([one], one.reading)

    def _can_share(self, reading: Reading) -> bool:
        """Return whether both readings leave all digits of the rows."""
        return reading.offset is None and self._reading.offset is None

    def _take_at_once(self, wanted: Sequence[_Wanted], reading: Reading) -> None:
        """Take one pass for classifiers of a dtype, over rows as a reading has them."""
        factors = [_divisors(reading) / _divisors(one.reading) for one in wanted]
        seen = [(one.W * own).astype(one.W.dtype) for one, own in zip(wanted, factors, strict=True)]
        W, b = np.stack(seen), np.stack([one.b for one in wanted])
        numbers = [one.number for one in wanted]
        if self._workers is not None:
            found = self._workers.mean_losses(W, b, reading, self.row_count, numbers)
        else:
            found = passes.unchecked_mean_losses(
                self._data.X, self._data.y, W, b, loss=self._loss, reading=reading,
                weights=self._weights[numbers],
            )  # fmt: skip
        for one, own, (mean, dW, db) in zip(wanted, factors, found, strict=True):
            one.reply.put((mean, dW * own, db))


class PassesOfFit(NamedTuple):
    """The passes of one of several fits, as a `Problem` asks for them."""

    shared: SharedPasses
    number: int

    def mean_loss(self, W: Array, b: Array, reading: Reading, row_count: int) -> MeanLoss:
        """Return the mean loss, without penalty, and its gradients by W (K, d) and b (K,)."""
        assert row_count == self.shared.row_count  # noqa: S101
        return self.shared.take(_Wanted(self.number, W, b, reading, SimpleQueue()))


def _divisors(reading: Reading) -> NDArray[np.float64]:
    """Return what features are divided by, (d,), or (1,) for all."""
    return np.ones(1) if reading.std is None else reading.std


class _EndedError(Exception):
    """Another fit failed, or the caller was interrupted."""
