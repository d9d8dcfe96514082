"""In which order the rows of an epoch are taken, and which of them are mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig

_ORDER_STREAM = 1

# Rows that lie in a file one after another are read together, about so many bytes of them; fewer
# where a window would have fewer blocks than this. Of 23 blocks, windows of a fiftieth of CIFAR-10
# sorted by class had more rows of some classes than of others, and cost a point of accuracy.
_BYTES_OF_BLOCK, _BLOCKS_OF_WINDOW = 2**17, 256


class Window(NamedTuple):
    """Rows of an epoch that are in memory together.

    Attributes
    ----------
    rows : NDArray[np.int64] or None
        (m,) their numbers, in the order in which they are read: block after block. None for all.
    order : NDArray[np.int64]
        (k,) places in `rows`, in the order in which they are taken: whole batches, but of the last
        window of an epoch. The other m - k rows, fewer than a batch, come with the next window.
    """

    rows: NDArray[np.int64] | None
    order: NDArray[np.int64]


def epoch_order(config: TrainConfig, row_count: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers (row_count,) of all rows in the order they are taken in an epoch.

    It depends on nothing but seed, number of rows and epoch (counted from 1): runs that differ in
    other settings see the same orders.
    """
    return _stream(config, epoch).permutation(row_count) if config.shuffle else np.arange(row_count)


def _stream(config: TrainConfig, epoch: int) -> np.random.Generator:
    seeds = np.random.SeedSequence(config.seed, spawn_key=(_ORDER_STREAM, epoch))
    return np.random.default_rng(seeds)


def rows_of_window(config: TrainConfig, row_count: int, row_bytes: int) -> int:
    """Return how many rows are shuffled together; of windows no smaller than all rows, all.

    Parameters
    ----------
    config : TrainConfig
        Of which `window`, `shuffle` and `batch_size` count.
    row_count, row_bytes : int
        How many rows there are, and how many bytes each has.
    """
    if config.window == 0 or config.window >= row_count:
        return row_count
    multiple = _rows_of_block(config, row_bytes) if config.shuffle else config.batch_size
    return min(max(1, config.window // multiple) * multiple, row_count)


def _rows_of_block(config: TrainConfig, row_bytes: int) -> int:
    """Return how many rows, one after another, come into a window together."""
    return max(1, min(_BYTES_OF_BLOCK // row_bytes, config.window // _BLOCKS_OF_WINDOW))


def epoch_windows(
    config: TrainConfig, row_count: int, row_bytes: int, epoch: int
) -> Iterator[Window]:
    """Return the windows of an epoch (counted from 1), in the order they are taken.

    A window is made of blocks of rows that lie one after another. Of as many neighbouring blocks as
    there are windows each window gets one, which is drawn: it has its share of every part of the
    rows, even if they are sorted. Then the rows of a window are shuffled. That depends on nothing
    but seed, epoch, window, and the number and size of the rows. A window of all rows has their
    `epoch_order`. Without `shuffle` rows are taken as they lie.

    No batch but the last of an epoch is smaller than others: rows of a window that fill none are
    taken first in the next one.

    Parameters
    ----------
    config : TrainConfig
        Of which `seed`, `shuffle`, `window` and `batch_size` count.
    row_count, row_bytes : int
        How many rows there are, and how many bytes each has.
    epoch : int
        Counted from 1.
    """
    size = rows_of_window(config, row_count, row_bytes)
    if size == row_count:
        yield Window(None, epoch_order(config, row_count, epoch))
        return
    if not config.shuffle:
        for first in range(0, row_count, size):
            rows = np.arange(first, min(first + size, row_count))
            yield Window(rows, rows - first)
        return
    block = _rows_of_block(config, row_bytes)
    rng, blocks = _stream(config, epoch), -(-row_count // block)
    count = -(-blocks // (size // block))
    neighbours = np.arange(-(-blocks // count) * count).reshape(-1, count)
    left = np.zeros(0, np.int64)
    for number, own in enumerate(rng.permuted(neighbours, axis=1).T, start=1):
        rows = (own[:, None] * block + np.arange(block)).ravel()
        rows = rows[rows < row_count]
        order = np.concatenate([np.arange(len(left)), len(left) + rng.permutation(len(rows))])
        rows = np.concatenate([left, rows])
        whole = len(rows) if number == count else len(rows) // config.batch_size * config.batch_size
        left = rows[order[whole:]]
        if whole:
            yield Window(rows, order[:whole])


def halves(
    config: TrainConfig, order: NDArray[np.int64], epoch: int
) -> list[tuple[NDArray[np.int64], bool]]:
    """Return the parts of an order (m,), and whether the rows of each are mirrored.

    Without mirroring that is one. With it, the first or (in even epochs) the second half of the
    batches is mirrored: for a linear model, a mirrored batch costs no copy of its rows.
    """
    if not config.flip:
        return [(order, False)]
    batches = -(-len(order) // config.batch_size)
    half = min((batches + 1) // 2 * config.batch_size, len(order))
    parts = [(order[:half], epoch % 2 == 1), (order[half:], epoch % 2 == 0)]
    return [(rows, mirrored) for rows, mirrored in parts if len(rows)]
