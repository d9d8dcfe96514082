"""In which order the rows of an epoch are taken, and which of them are mirrored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig

_ORDER_STREAM = 1


def epoch_order(config: TrainConfig, row_count: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows of an epoch (counted from 1) in the order they are taken.

    It depends on nothing but seed, number of rows and epoch: runs that differ in other settings
    see the same orders.

    Parameters
    ----------
    config : TrainConfig
        Of which `seed` and `shuffle` count.
    row_count : int
        How many rows there are.
    epoch : int
        Counted from 1.

    Returns
    -------
    NDArray[np.int64]
        (row_count,) row numbers.
    """
    if not config.shuffle:
        return np.arange(row_count)
    stream = np.random.SeedSequence(config.seed, spawn_key=(_ORDER_STREAM, epoch))
    return np.random.default_rng(stream).permutation(row_count)


def epoch_parts(
    config: TrainConfig, row_count: int, epoch: int
) -> list[tuple[NDArray[np.int64], bool]]:
    """Return the orders that make up an epoch, and whether the rows of each are mirrored.

    Without mirroring that is one. With it, the first or (in even epochs) the second half of the
    batches is mirrored: for a linear model, a mirrored batch costs no copy of its rows.

    Parameters are those of `epoch_order`.
    """
    order = epoch_order(config, row_count, epoch)
    if not config.flip:
        return [(order, False)]
    batches = -(-row_count // config.batch_size)
    half = min((batches + 1) // 2 * config.batch_size, row_count)
    parts = [(order[:half], epoch % 2 == 1), (order[half:], epoch % 2 == 0)]
    return [(rows, mirrored) for rows, mirrored in parts if len(rows)]
