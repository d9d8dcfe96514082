"""Rows that stay in files, and are read in blocks: for data that are larger than memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.data.segments import Segment, is_run, map_of, opened, read_bytes, spans, state_of

# A block that is read while another one is used: both stay in a third-level cache.
BYTES_OF_BLOCK = 2**22

# What a block may have where it is to have so many rows that all threads have work.
_MOST_BYTES_OF_BLOCK = 2**25

# Rows that lie closer together than so many bytes are read in one piece, with what is between them.
_BYTES_OF_GAP = 2**15

# Pieces of files that are read one by one have at most so many bytes each.
_BYTES_OF_PIECE = 2**20


# Files that are read in turn, as blocks of a window lie in many: a system allows some 1,000.
_MOST_OPEN = 16

# Rows that are chosen stay in memory if they take this part of it at most.
_SHARE_OF_FEW = 0.125

# Waiting for rows is worth a word where it takes this part of the time of their use.
_SLOW_READING = 0.25


@dataclass
class Rates:
    """How fast rows were read, and used, so far.

    Attributes
    ----------
    bytes : int
        Read ahead.
    reading, waiting, using : float
        Seconds of reading, beside what else was done; of waiting for it; and of the use of rows.
    """

    bytes: int = 0
    reading: float = 0.0
    waiting: float = 0.0
    using: float = 0.0

    @property
    def note(self) -> str | None:
        """What a user should know, if reading took longer than what was done with the rows."""
        read, used = (self.bytes / 1e9 / max(s, 1e-9) for s in (self.reading, self.using))
        is_short = self.bytes < 16 * BYTES_OF_BLOCK
        if is_short or read > used or self.waiting < _SLOW_READING * self.using:
            return None
        return (
            f"rows were read at {read:.2g} GB/s, and could have been used at {used:.2g} GB/s: "
            "a faster disk, or a larger memory, would save time"
        )


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows (n, d) in files. Slices and numbers of rows give arrays, which are read at every use.

    Attributes
    ----------
    segments : tuple[Segment, ...]
        Where they lie, in their order.
    dtype : np.dtype
        Of the values, in the byte order of this machine.
    feature_count : int
        d.
    numbers : NDArray[np.int64] or None
        (n,) which of the rows of all segments these are; None for all in their order.
    memory : int
        Bytes that windows of them may take: two are in memory at once.
    rates : Rates
        Of this object.
    """

    segments: tuple[Segment, ...]
    dtype: np.dtype[Any]
    feature_count: int
    numbers: NDArray[np.int64] | None = None
    memory: int = 2**28
    rates: Rates = field(default_factory=Rates, repr=False)
    _read_before: NDArray[Any] | None = field(default=None, repr=False)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @classmethod
    def of_mapped(cls, array: NDArray[Any]) -> Self | None:
        """Return the rows of an array (n, d) that is a C-contiguous part of a file's memory map.

        None if it is not.
        """
        base: Any = map_of(array)
        if base is None or array.ndim != 2 or not array.flags.c_contiguous:
            return None
        while isinstance(base.base, np.memmap):
            base = base.base
        if base.filename is None or not array.dtype.isnative:
            return None
        start = base.offset + array.ctypes.data - base.ctypes.data
        path = Path(base.filename)
        segment = Segment(path, int(start), len(array), state_of(path.stat()))
        return cls((segment,), array.dtype, array.shape[1])

    @classmethod
    def of_parts(cls, parts: Sequence[StoredRows]) -> StoredRows:
        """Return all rows of parts of the same dtype and features, which have no `numbers`."""
        segments = tuple(segment for part in parts for segment in part.segments)
        return replace(parts[0], segments=segments, rates=Rates())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self), self.feature_count

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self) * self.feature_count

    @property
    def row_bytes(self) -> int:
        """How many bytes a row has."""
        return self.feature_count * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """How many bytes all rows have."""
        return len(self) * self.row_bytes

    def __len__(self) -> int:
        return int(self._firsts[-1]) if self.numbers is None else len(self.numbers)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """The number of the first row of every segment, and of all rows of all segments."""
        counts = [segment.rows for segment in self.segments]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def chosen(self, rows: NDArray[np.int64]) -> StoredRows:
        """Return some of the rows (m,), by number; few are read once, and stay in memory."""
        numbers = rows if self.numbers is None else self.numbers[rows]
        found = replace(self, numbers=np.asarray(numbers), rates=Rates(), _read_before=None)
        if found.nbytes > _SHARE_OF_FEW * self.memory:
            return found
        return replace(found, _read_before=found[:])

    def joined(self, other: StoredRows) -> StoredRows:
        """Return these rows, and those of another object of the same dtype and features."""
        numbers = None
        if self.numbers is not None or other.numbers is not None:
            numbers = np.concatenate([self._all_numbers(), self._firsts[-1] + other._all_numbers()])
        segments = (*self.segments, *other.segments)
        return replace(self, segments=segments, numbers=numbers, rates=Rates(), _read_before=None)

    def within(self, memory: int) -> StoredRows:
        """Return the same rows, of which windows may take so many bytes."""
        return replace(self, memory=memory, rates=Rates())

    @property
    def rows_in_memory(self) -> int:
        """How many rows a window of them may have."""
        return max(1, self.memory // (4 * self.row_bytes))

    def _all_numbers(self) -> NDArray[np.int64]:
        return np.arange(len(self)) if self.numbers is None else self.numbers

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Return a slice, or rows by number (m,), as an array (m, d) of its own."""
        if self._read_before is not None:
            return np.array(self._read_before[rows])
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step == 1:
                count = max(last - first, 0)
                return self._read(self._range(first, first + count), self._buffer(count))
            rows = np.arange(first, last, step)
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise TypeError(f"rows in files are read by slice or by number, not by {wanted.dtype}")
        wanted = np.where(wanted < 0, wanted + len(self), wanted).astype(np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"a number of a row is outside 0 to {len(self) - 1}")
        numbers = wanted if self.numbers is None else self.numbers[wanted]
        return self._read(numbers, self._buffer(len(numbers)))

    def blocks(
        self, multiple: int = 1, wanted: int = 1, parts: Sequence[tuple[int, int]] | None = None
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read rows once, in order, the next block while one is used.

        Parameters
        ----------
        multiple : int
            Every block but the last of a part has a multiple of so many rows.
        wanted : int
            So many rows at least, if they take no more than 32 MiB.
        parts : Sequence[tuple[int, int]], optional
            Which rows, from first to last; no block is of two parts. By default all, as one part.

        Yields
        ------
        tuple[int, NDArray]
            The number of the first row of a block, and the block (rows, d). Its memory is used
            again after the block that follows.
        """
        parts = [(0, len(self))] if parts is None else parts
        if self._read_before is not None:
            for first, last in parts:
                yield first, self._read_before[first:last]
            return
        least = min(wanted, _MOST_BYTES_OF_BLOCK // self.row_bytes)
        rows = max(1, max(BYTES_OF_BLOCK // self.row_bytes, least) // multiple) * multiple
        bounds = [
            (first, min(first + rows, last))
            for begin, last in parts
            for first in range(begin, last, rows)
        ]
        read = self._ahead((self._range(*pair) for pair in bounds), min(rows, len(self)))
        yield from zip((first for first, _ in bounds), read, strict=True)

    def windows(self, parts: Iterable[NDArray[np.int64]], most_rows: int) -> Iterator[NDArray[Any]]:
        """Read rows by number, part after part, the next one while one is used.

        Parameters
        ----------
        parts : Iterable[NDArray[np.int64]]
            (m,) numbers of rows each.
        most_rows : int
            m is no larger.

        Yields
        ------
        NDArray
            (m, d), in memory that is used again after the part that follows.
        """
        if self._read_before is not None:
            yield from (self._read_before[part] for part in parts)
            return
        own = self.numbers
        numbers = (part if own is None else own[part] for part in parts)
        yield from self._ahead(numbers, most_rows)

    def _ahead(
        self, parts: Iterator[range | NDArray[np.int64]], most_rows: int
    ) -> Iterator[NDArray[Any]]:
        """Read parts by the numbers of their rows in the files, one ahead of the one in use."""
        buffers = self._buffer(most_rows), self._buffer(most_rows)

        def read(number: int, part: range | NDArray[np.int64]) -> NDArray[Any]:
            began = time.perf_counter()
            found = self._read(part, buffers[number % 2][: len(part)])
            self.rates.reading += time.perf_counter() - began
            self.rates.bytes += found.nbytes
            return found

        with ThreadPoolExecutor(1, "fastlin-reading") as reader:
            waiting: list[Future[NDArray[Any]]] = []  # one, but at first
            for number, part in enumerate(parts):
                ready = [self._waited_for(block) for block in waiting]
                waiting = [reader.submit(read, number, part)]
                for block in ready:
                    yield from self._timed(block)
            for last in waiting:
                yield from self._timed(self._waited_for(last))

    def _waited_for(self, block: Future[NDArray[Any]]) -> NDArray[Any]:
        began = time.perf_counter()
        try:
            return block.result()
        finally:
            self.rates.waiting += time.perf_counter() - began

    def _timed(self, block: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Give a block, and count the time until the next one is asked for."""
        began = time.perf_counter()
        yield block
        self.rates.using += time.perf_counter() - began

    def _buffer(self, rows: int) -> NDArray[Any]:
        values = np.empty(rows * self.row_bytes, np.uint8).view(self.dtype)
        return values.reshape(rows, self.feature_count)

    def _range(self, first: int, last: int) -> range | NDArray[np.int64]:
        """Return the numbers, of the rows of all segments, of the rows first to last."""
        return range(first, last) if self.numbers is None else self.numbers[first:last]

    def _read(self, numbers: range | NDArray[np.int64], out: NDArray[Any]) -> NDArray[Any]:
        """Read rows by their numbers among those of all segments into `out`, and return it."""
        files: dict[Path, FileIO] = {}

        def file_of(segment: Segment) -> FileIO:
            if segment.path not in files:
                if len(files) == _MOST_OPEN:
                    files.pop(next(iter(files))).close()
                files[segment.path] = opened(segment)
            return files[segment.path]

        try:
            for first, last in spans(numbers, max(1, _BYTES_OF_GAP // self.row_bytes)):
                if is_run(numbers, first, last):
                    self._read_run(int(numbers[first]), out[first:last], file_of)
                else:
                    self._read_span(np.asarray(numbers[first:last]), out[first:last], file_of)
        finally:
            for file in files.values():
                file.close()
        return out

    def _read_span(
        self, numbers: NDArray[np.int64], out: NDArray[Any], file_of: Callable[[Segment], FileIO]
    ) -> None:
        """Read ascending numbers of rows that lie close together, with what is between them."""
        most = max(1, _BYTES_OF_PIECE // self.row_bytes)
        piece, done = self._buffer(most), 0
        while done < len(numbers):
            first = int(numbers[done])
            end = int(np.searchsorted(numbers, first + most))
            found = piece[: int(numbers[end - 1]) + 1 - first]
            self._read_run(first, found, file_of)
            np.take(found, numbers[done:end] - first, axis=0, out=out[done:end])
            done = end

    def _read_run(
        self, first: int, out: NDArray[Any], file_of: Callable[[Segment], FileIO]
    ) -> None:
        """Read consecutive rows, perhaps of several segments."""
        done = 0
        while done < len(out):
            place = int(np.searchsorted(self._firsts, first + done, "right")) - 1
            segment, row = self.segments[place], first + done - int(self._firsts[place])
            count = min(segment.rows - row, len(out) - done)
            place_of_row = row * self.row_bytes
            read_bytes(file_of(segment), segment, place_of_row, out[done : done + count])
            done += count


# Rows in memory, or in files.
AnyRows = NDArray[Any] | StoredRows


def blocks_of(X: AnyRows, multiple: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
    """Return the number of the first row and the rows of every block: an array is one block."""
    if isinstance(X, StoredRows):
        yield from X.blocks(multiple)
    else:
        yield 0, X


def blocks_of_parts(
    X: AnyRows, parts: Sequence[tuple[int, int]], multiple: int, wanted: int
) -> Iterator[Iterator[tuple[int, NDArray[Any]]]]:
    """Return the blocks of every part (first, last), each with its place in the part.

    To be used in order. Rows in files are read ahead of their use across all parts; other arguments
    are those of `StoredRows.blocks`.
    """
    if not isinstance(X, StoredRows):
        yield from (iter([(0, X[first:last])]) for first, last in parts)
        return
    blocks = X.blocks(multiple, wanted, parts)

    def of_part(first: int, last: int) -> Iterator[tuple[int, NDArray[Any]]]:
        end = first
        while end < last:
            begin, block = next(blocks)
            end = begin + len(block)
            yield begin - first, block

    yield from (of_part(*pair) for pair in parts)


def in_memory(X: AnyRows) -> NDArray[Any]:
    """Return rows as an array: one in memory as it is, of whatever shape."""
    return X[:] if isinstance(X, StoredRows) else X


def contiguous(X: AnyRows) -> AnyRows:
    """Return an array that is C-contiguous; rows in files as they are."""
    return X if isinstance(X, StoredRows) else np.ascontiguousarray(X)
