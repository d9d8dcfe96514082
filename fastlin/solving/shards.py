"""Full passes of an exact fit by the workers of a cluster, each over shards of the rows."""

from __future__ import annotations

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
from fastlin.data.source import DataReference
from fastlin.engine import Array
from fastlin.errors import InputError
from fastlin.losses import Loss
from fastlin.passes import LossSums, Reading
from fastlin.solving.config import FitConfig
from fastlin.threads import use_threads
from fastlin.training.weighting import row_weights


class ShardRows(NamedTuple):
    """Which training rows workers sum over, and how much each counts.

    Attributes
    ----------
    data : DataReference
        Where they are, with their fingerprint.
    loss : Loss
    class_weight : ClassWeight
        As in a `FitConfig`.
    """

    data: DataReference
    loss: Loss
    class_weight: ClassWeight


@lru_cache(maxsize=1)
def _weighted(rows: ShardRows) -> tuple[Dataset, NDArray[np.float64] | None]:
    """Return the rows and their weights, which a worker computes once for all passes of a fit."""
    data = cluster.split_of(rows.data).train
    return data, row_weights(data, TrainConfig(loss=rows.loss, class_weight=rows.class_weight))


class ShardPasses:
    """The mean loss over rows and its gradients, of the sums that workers find of shards.

    They have the bits of `passes.unchecked_mean_loss`: shards are the same, and added in their
    order, whoever summed them.

    Parameters
    ----------
    client : distributed.Client or str
        Of the cluster; or ``joblib``.
    split : Split
        Which workers can load from its `source`.
    loss : Loss
    class_weight : ClassWeight
        Of the fit.

    Raises
    ------
    InputError
        If the rows come from no file, or there are no workers.
    """

    def __init__(self, client: Any, split: Split, loss: Loss, class_weight: ClassWeight) -> None:
        self._workers = workers_of(client)
        self._rows = ShardRows(cluster.reference_of(split), loss, class_weight)

    @classmethod
    def of(cls, client: Any, data: object, config: FitConfig) -> Self | None:
        """Return those of a fit, None without a client.

        Raises InputError if the data are none that workers can load.
        """
        if client is None:
            return None
        if not isinstance(data, Split):
            raise InputError(
                "workers of a cluster load the rows themselves; give a Split of fastlin.load_split"
            )
        return cls(client, data, config.loss, config.class_weight)

    def mean_loss(
        self, W: Array, b: Array, reading: Reading, row_count: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean loss, without penalty, and its gradients by W (K, d) and b (K,)."""
        shards = passes.shards_of(row_count, len(W))
        addresses = self._workers.addresses or [""]
        count = min(len(addresses), len(shards))
        bounds = [len(shards) * part // count for part in range(count + 1)]
        tasks = {
            part: Task(
                _sums_of_shards,
                (self._rows, shards[bounds[part] : bounds[part + 1]], W, b, reading),
                addresses[part],
            )
            for part in range(count)
        }
        sums = (sums for _, of_worker in self._workers.results(tasks) for sums in of_worker)
        total: LossSums = reduce(LossSums.plus, sums)
        [found] = total.means(row_count)
        return found


def _sums_of_shards(
    rows: ShardRows, shards: Sequence[tuple[int, int]], W: Array, b: Array, reading: Reading
) -> list[LossSums]:  # fmt: skip
    """Return the sums over shards of the rows, as a worker."""
    with cluster.one_at_a_time, use_threads(cluster.threads_of_worker()):
        data, weights = _weighted(rows)
        of_one = None if weights is None else weights[None]
        W, b = np.ascontiguousarray(W)[None], np.ascontiguousarray(b)[None]
        return list(
            passes.shard_sums(
                data.X, data.y, W, b, shards, loss=rows.loss, reading=reading, weights=of_one
            )
        )
