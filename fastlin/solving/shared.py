"""Passes over the same rows that several fits wait for, and take together.

A pass of few classes waits for memory: over 50,000 rows of 768 float32 numbers one of two classes
takes half the time of one of ten (two cores of Zen 3). So fits of the same rows, each with weights
of its own, run in threads of their own until all of them need a pass; then one pass gives each of
them what it needs. Which fits a pass is for depends on their steps alone, and so do all bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastlin import passes
from fastlin.data.dataset import Dataset
from fastlin.engine import Array
from fastlin.losses import Loss
from fastlin.passes import Reading

# Gradients of one pass, in float64, take no more than this, if those of one fit do not.
_BYTES_OF_GRADIENTS = 64_000_000

Found = TypeVar("Found")
MeanLoss = tuple[float, NDArray[np.float64], NDArray[np.float64]]


class _Wanted(NamedTuple):
    """A pass that a fit waits for: its number, its classifier, and where the result goes."""

    number: int
    W: Array
    b: Array
    reading: Reading
    found: Future[MeanLoss]


class SharedPasses:
    """The passes of several fits over the same rows.

    Parameters
    ----------
    data : Dataset
        The rows.
    loss : Loss
    weights : Sequence[NDArray[np.float64]]
        Of each fit (n,), of mean 1.
    reading : Reading
        How rows are read. Fits may see features through other moments.
    """

    def __init__(
        self, data: Dataset, loss: Loss, weights: Sequence[NDArray[np.float64]], reading: Reading
    ) -> None:  # fmt: skip
        self._data, self._loss, self._reading = data, loss, reading
        self._weights = np.stack(weights)
        self._events: SimpleQueue[_Wanted | None] = SimpleQueue()
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
        self._is_running, self._is_over, self._failures = True, False, []
        try:
            with ThreadPoolExecutor(len(fits), "fastlin-fit") as pool:
                ends = [pool.submit(copy_context().run, self._do, fit) for fit in fits]
                self._serve(len(fits))
            if self._failures:
                raise self._failures[0]
            return [end.result() for end in ends]
        finally:
            self._is_running = False

    def _do(self, fit: Callable[[], Found]) -> Found:
        """Do a fit, and say that it has ended."""
        try:
            return fit()
        except BaseException as error:
            if not isinstance(error, _EndedError):
                self._failures.append(error)
                self._is_over = True
            raise
        finally:
            self._events.put(None)

    def _serve(self, count: int) -> None:
        """Take passes, whenever all fits that have not ended wait for one, until all have ended."""
        waiting: list[_Wanted] = []
        error: BaseException | None = None
        while count:
            try:
                event = self._events.get()
                if event is None:
                    count -= 1
                else:
                    waiting.append(event)
                if waiting and len(waiting) == count and not self._is_over:
                    self._take(sorted(waiting, key=lambda wanted: wanted.number))
                    waiting.clear()
            except BaseException as failed:  # Ctrl-C, or rows that cannot be read
                if error is not None:
                    raise
                error, self._is_over = failed, True
            if self._is_over:
                for wanted in waiting:
                    if not wanted.found.done():
                        wanted.found.set_exception(_EndedError())
                waiting.clear()
        if error is not None:
            raise error

    def take(self, wanted: _Wanted) -> MeanLoss:
        """Return a pass that a fit wants; while fits run, when all of them want one."""
        if not self._is_running:
            self._take([wanted])
        elif self._is_over:
            raise _EndedError
        else:
            self._events.put(wanted)
        return wanted.found.result()

    def _take(self, wanted: Sequence[_Wanted]) -> None:
        """Take passes that are wanted, one for all classifiers of a dtype, if they are not many."""
        at_once = max(1, _BYTES_OF_GRADIENTS // (8 * wanted[0].W.size))
        for dtype in {one.W.dtype for one in wanted}:
            of_dtype = [one for one in wanted if one.W.dtype == dtype]
            for first in range(0, len(of_dtype), at_once):
                self._take_at_once(of_dtype[first : first + at_once])

    def _take_at_once(self, wanted: Sequence[_Wanted]) -> None:
        """Take one pass for classifiers of a dtype."""
        views = [_View.of(one.reading, self._reading) for one in wanted]
        seen = [view.seen(one.W, one.b) for view, one in zip(views, wanted, strict=True)]
        found = passes.unchecked_mean_losses(
            self._data.X, self._data.y, np.stack([W for W, _ in seen]),
            np.stack([b for _, b in seen]), loss=self._loss, reading=self._reading,
            weights=self._weights[[one.number for one in wanted]],
        )  # fmt: skip
        for one, view, (mean, dW, db) in zip(wanted, views, found, strict=True):
            one.found.set_result((mean, view.gradient(dW, db), db))


class PassesOfFit(NamedTuple):
    """The passes of one of several fits, as a `Problem` asks for them."""

    shared: SharedPasses
    number: int

    def mean_loss(self, W: Array, b: Array, reading: Reading, row_count: int) -> MeanLoss:
        """Return the mean loss, without penalty, and its gradients by W (K, d) and b (K,)."""
        assert row_count == self.shared.row_count  # noqa: S101
        return self.shared.take(_Wanted(self.number, W, b, reading, Future()))


class _View(NamedTuple):
    """Features x of one reading by those of another, x': x = factors x' + moved.

    factors are (d,), or (1,) for all; moved (d,), or None for nothing.
    """

    factors: NDArray[np.float64]
    moved: NDArray[np.float64] | None

    @classmethod
    def of(cls, reading: Reading, other: Reading) -> _View:
        """Return how features of a reading come of those of another."""
        one = np.ones(1)
        std = one if reading.std is None else reading.std
        factors = (one if other.std is None else other.std) / std
        if reading.offset is None and other.offset is None:
            return cls(factors, None)
        before = 0.0 if other.offset is None else other.offset
        after = 0.0 if reading.offset is None else reading.offset
        return cls(factors, (before - after) / std)

    def seen(self, W: Array, b: Array) -> tuple[Array, Array]:
        """Return the classifier of the other features that has the same scores."""
        if self.moved is not None:
            b = (b + W.astype(np.float64) @ self.moved).astype(b.dtype)
        return (W * self.factors).astype(W.dtype), b

    def gradient(self, dW: NDArray[np.float64], db: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient by W (K, d), from those by the other W and by b."""
        found = dW * self.factors
        return found if self.moved is None else found + np.outer(db, self.moved)


class _EndedError(Exception):
    """Another fit failed, or the caller was interrupted."""
