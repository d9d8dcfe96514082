"""Full passes of an exact fit by the workers of a cluster, each over shards of the rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin import cluster, passes
from fastlin.class_weights import ClassWeight
from fastlin.cluster import Task, workers_of
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.data.joining import training_and_validation
from fastlin.data.source import DataReference
from fastlin.data.splits import folds_and_outside
from fastlin.engine import Array
from fastlin.errors import DataWarning, InputError
from fastlin.losses import Loss
from fastlin.passes import LossSums, MeanLoss, Reading
from fastlin.solving.config import FitConfig
from fastlin.threads import use_threads
from fastlin.training.weighting import row_weights


class ShardRows(NamedTuple):
    """Which rows workers sum over, and how much each counts.

    Attributes
    ----------
    data : DataReference
        Where they are, with their fingerprint.
    loss : Loss
    class_weight : ClassWeight
        As in a `FitConfig`.
    with_validation : bool
        Whether they are training and validation rows, or training rows alone.
    cv : int or None
        Of how many fits they are, of which each counts the rows outside of a fold; None for one
        that counts all.
    """

    data: DataReference
    loss: Loss
    class_weight: ClassWeight
    with_validation: bool = False
    cv: int | None = None


@lru_cache(maxsize=1)
def _rows_of(data: DataReference, *, with_validation: bool) -> Dataset:
    """Return training rows, or those and validation rows, which a worker joins once."""
    split = cluster.split_of(data)
    if not with_validation:
        return split.train
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the process of the solver says it
        return training_and_validation(split)


@lru_cache(maxsize=1)
def _weights_of(rows: ShardRows) -> NDArray[np.float64] | None:
    """Return the weights (fits, n), which a worker computes once; None if all rows count the same.

    Raises InputError as `row_weights` does.
    """
    data = _rows_of(rows.data, with_validation=rows.with_validation)
    config = TrainConfig(loss=rows.loss, class_weight=rows.class_weight)
    if rows.cv is None:
        weights = row_weights(data, config)
        return None if weights is None else weights[None]
    _, outside = folds_and_outside(data.y, rows.cv)
    of_folds = [row_weights(data, config, own) for own in outside]
    return np.stack([weights for weights in of_folds if weights is not None])


class ShardPasses:
    """The mean loss over rows and its gradients, of the sums that workers find of shards.

    They have the bits of `passes.unchecked_mean_loss`: shards are the same, and added in their
    order, whoever summed them.

    Parameters
    ----------
    client : distributed.Client or str
        Of the cluster; or ``joblib``.
    rows : ShardRows
        Over which they go.

    Raises
    ------
    InputError
        If there are no workers.
    """

    def __init__(self, client: Any, rows: ShardRows) -> None:
        self._workers, self._rows = workers_of(client), rows

    @classmethod
    def of(
        cls, client: Any, data: object, config: FitConfig, *, with_validation: bool = False,
        cv: int | None = None,
    ) -> Self | None:  # fmt: skip
        """Return those of a fit, or of the fits outside of folds; None without a client.

        Raises InputError if the data are none that workers can load.
        """
        if client is None:
            return None
        if not isinstance(data, Split):
            raise InputError(
                "workers of a cluster load the rows themselves; give a Split of fastlin.load_split"
            )
        reference = cluster.reference_of(data)
        return cls(
            client, ShardRows(reference, config.loss, config.class_weight, with_validation, cv)
        )

    def mean_loss(self, W: Array, b: Array, reading: Reading, row_count: int) -> MeanLoss:
        """Return the mean loss, without penalty, and its gradients by W (K, d) and b (K,)."""
        if self._rows.cv is not None:
            raise ValueError("these are the passes of several fits: say which one")
        [found] = self.mean_losses(W[None], b[None], reading, row_count, [0])
        return found

    def mean_losses(
        self, W: Array, b: Array, reading: Reading, row_count: int,
        numbers: Sequence[int],
    ) -> list[MeanLoss]:  # fmt: skip
        """Do `mean_loss` for W (M, K, d), b (M, K) of the fits of M numbers, in one pass."""
        shards = passes.shards_of(row_count, b.size)
        addresses = self._workers.addresses or [""]
        count = min(len(addresses), len(shards))
        bounds = [len(shards) * part // count for part in range(count + 1)]
        tasks = {
            part: Task(
                _sums_of_shards,
                (self._rows, shards[bounds[part] : bounds[part + 1]], W, b, reading, numbers),
                addresses[part],
            )
            for part in range(count)
        }
        sums = (sums for _, of_worker in self._workers.results(tasks) for sums in of_worker)
        total: LossSums = reduce(LossSums.plus, sums)
        return total.means(row_count)


def _sums_of_shards(
    rows: ShardRows, shards: Sequence[tuple[int, int]], W: Array, b: Array, reading: Reading,
    numbers: Sequence[int],
) -> list[LossSums]:  # fmt: skip
    """Return the sums over shards of the rows, as a worker."""
    with cluster.one_at_a_time, use_threads(cluster.threads_of_worker()):
        data = _rows_of(rows.data, with_validation=rows.with_validation)
        weights = _weights_of(rows)
        own = None if weights is None else weights[list(numbers)]
        W, b = np.ascontiguousarray(W), np.ascontiguousarray(b)
        return list(
            passes.shard_sums(
                data.X, data.y, W, b, shards, loss=rows.loss, reading=reading, weights=own
            )
        )
