"""Exact fits of some rows of every class, as often as they are drawn, here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import cluster
from fastlin.cluster import Task, workers_of
from fastlin.data.dataset import Split
from fastlin.data.source import DataReference
from fastlin.data.splits import few_rows
from fastlin.solving.config import FitConfig
from fastlin.solving.run import ExactFit
from fastlin.solving.solution import Solution
from fastlin.solving.solver import solve
from fastlin.threads import use_threads
from fastlin.training.few_shots import FewShots, Judged, judged, over_draws

_SEED = 0  # of the draws


class Fitted(NamedTuple):
    """What came of a draw.

    Attributes
    ----------
    rows : NDArray[np.int64]
        The numbers of its training rows.
    solution : Solution or None
        Of the first draw alone: of the others nothing is kept but how good they are.
    values : Judged
        The metrics of the classifier on the rows that it is judged by.
    """

    rows: NDArray[np.int64]
    solution: Solution | None
    values: Judged


def exact_draws(
    split: Split, shots: int, draws: int, config: FitConfig, threads: int | None, client: Any = None
) -> FewShots:
    """Fit some rows of every class, as often as they are drawn, and judge every classifier.

    Parameters
    ----------
    split, shots, draws
        As in `fastlin.few_shots`; the seed is 0.
    config, threads, client
        As in `fastlin.solve`; but a worker of a cluster fits all of a draw.

    Returns
    -------
    FewShots
        With the same bits whoever fitted.

    Raises
    ------
    InputError
        As `fastlin.solve` does.
    """
    with use_threads(threads) as count:
        fitted = list(_fitted(split, shots, draws, config, count, client))
    first = fitted[0]
    assert first.solution is not None  # noqa: S101  (it is the first)
    result = ExactFit.of(first.solution, _of_rows(split, first.rows)).result
    values, rows = over_draws([one.values for one in fitted]), tuple(one.rows for one in fitted)
    return FewShots(shots, values, rows, result, config.gap)


def _fitted(
    split: Split, shots: int, draws: int, config: FitConfig, threads: int, client: Any
) -> Iterator[Fitted]:
    """Return what comes of every draw, in their order."""
    if client is None:
        for draw in range(draws):
            yield _fit(split, shots, draw, config, threads)
        return
    workers, reference = workers_of(client), cluster.reference_of(split)
    addresses = workers.addresses
    tasks = {
        draw: Task(
            _fit_as_worker, (reference, shots, draw, config), addresses[draw % len(addresses)]
        )
        for draw in range(draws)
    }
    for _, fitted in workers.results(tasks):
        yield fitted


def _fit_as_worker(data: DataReference, shots: int, draw: int, config: FitConfig) -> Fitted:
    with cluster.one_at_a_time:
        return _fit(cluster.split_of(data), shots, draw, config, cluster.threads_of_worker())


def _fit(split: Split, shots: int, draw: int, config: FitConfig, threads: int) -> Fitted:
    rows = few_rows(split.train.y, shots, _SEED, draw)
    solution = solve(_of_rows(split, rows), config=config, threads=threads)
    with use_threads(threads):
        values = judged(solution.model, split)
    return Fitted(rows, solution if draw == 0 else None, values)


def _of_rows(split: Split, rows: NDArray[np.int64]) -> Split:
    """Return a split of these training rows alone."""
    return Split(split.name, split.train.chosen(rows))
