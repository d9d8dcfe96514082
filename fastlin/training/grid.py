"""Training many configurations on one split: all of them together, an epoch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastlin import functional
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.engine import Array
from fastlin.errors import DivergedError, InputError
from fastlin.history import EpochRecord, History
from fastlin.metrics import metric_of
from fastlin.model import LinearModel
from fastlin.passes import Measured
from fastlin.settings import whole_number
from fastlin.training.defaults import notes_on_chosen, with_chosen
from fastlin.training.entries import SHARED, Entries
from fastlin.training.measuring import measure_matched
from fastlin.training.selection import check_can_select
from fastlin.training.standardization import Standardization
from fastlin.training.weighting import row_weights

_METRICS = "val_metric"  # of all finished epochs, in the state of an entry


@dataclass(frozen=True)
class Seconds:
    """Wall time spent so far, in seconds."""

    compile: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0


class GridTrainer:
    """Trains many configurations on one split, an epoch of all of them at a time.

    After an exception in an epoch, wherever it came, all entries have finished it or none has; the
    next call of `run_epoch` goes on with the bits of an undisturbed run.

    Every entry has the bits of a `fastlin.Trainer` of its own: its batches pass through the caches
    together with those of others, but the arithmetic is the same.

    Parameters
    ----------
    split : Split
        Training rows, and validation rows if there are any; the test rows are not touched.
    configs : Sequence[TrainConfig]
        The settings of every entry.
    threads : int or None
        To run on, None for all; the result does not depend on it.
    select : str
        By which measure `best_model` is the best, one of `fastlin.metrics.SELECTABLE`. Another than
        accuracy and cost takes a pass over the validation rows after every epoch.
    eval_train_every : int
        After every so many epochs the training rows are evaluated, 0 for never; where they are not,
        the history has NaN. It changes no weights.

    Attributes
    ----------
    split : Split
    configs : tuple[TrainConfig, ...]
        With what was chosen from the rows in the place of ``auto``.
    threads : int
    select : str
    notes : tuple[str, ...]
        What a user should know of the data, a sentence each.

    Raises
    ------
    InputError
        If `threads` is outside what the process can use, `eval_train_every` is no whole number, 0
        or above, images are to be mirrored that are none, a value is beyond the dtype of the
        settings, or the classifiers do not have the metric `select`.
    """

    def __init__(
        self,
        split: Split,
        configs: Sequence[TrainConfig],
        threads: int | None = None,
        select: str = "val_accuracy",
        eval_train_every: int = 1,
    ) -> None:
        self._eval_train_every = whole_number("eval_train_every", eval_train_every, 0)
        for dtype in dict.fromkeys(config.dtype for config in configs):
            check_fits(split, dtype)
        self.split = split
        given, configs = configs, with_chosen(configs, split.train)
        self.configs = configs
        self.select = select
        self._metric = metric_of(select)
        if self._metric is not None:
            check_can_select(split, select, [config.loss for config in configs])
        self._seconds = dict.fromkeys(Seconds.__dataclass_fields__, 0.0)
        with functional.use_threads(threads) as count, self._timed("train"):
            self.threads = count
            asking = next((config for config in configs if config.standardize), configs[0])
            standardization = Standardization.of(split, asking)
            self._groups = _groups(split, self.configs, standardization)
            if split.val is not None:
                for config in {config.class_weight: config for config in configs}.values():
                    row_weights(split.val, config)  # which refuses before anything is trained
        self.notes = notes_on_chosen(given, self.configs, split.train)
        if standardization is not None:
            self.notes += standardization.notes
        states = {
            e: state
            for entries, numbers in self._groups
            for e, state in zip(numbers, entries.states, strict=True)
        }
        self._states = [states[e] for e in range(len(self.configs))]
        # Of an entry, as many records count as it has finished epochs.
        self._records: list[list[EpochRecord]] = [[] for _ in self.configs]
        self._values: list[list[float]] = [[] for _ in self.configs]  # of the metric
        self._finished = [state.untrained() for state in self._states]

    @property
    def seconds(self) -> Seconds:
        """Where the time went so far."""
        return Seconds(**self._seconds)

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel that the entries need."""
        with self._timed("compile"), functional.use_threads(self.threads):
            for entries, _ in self._groups:
                entries.compile()

    def run_epoch(
        self, active: Sequence[int], evaluated: Collection[int] | None = None
    ) -> dict[int, EpochRecord | DivergedError]:
        """Train one more epoch of each active entry, evaluate it, and return what came of it.

        An entry that diverged keeps its last finished epoch, and must not be active again.

        Parameters
        ----------
        active : Sequence[int]
            The entries to train.
        evaluated : Collection[int] or None
            Those of them to evaluate, None for all. Costs and accuracies of the others are NaN.

        Returns
        -------
        dict[int, EpochRecord | DivergedError]
            For every active entry.
        """
        epochs = {e: self._finished[e].epochs_done + 1 for e in active}
        states = self._states
        with functional.use_threads(self.threads):
            with self._timed("train"):
                for e in active:
                    states[e].begin(self._finished[e])
                loss_sums = self._train(epochs)
            with self._timed("evaluate"):
                weights = {e: states[e].weights() for e in active}
                chosen = [e for e in active if evaluated is None or e in evaluated]
                on_train, on_val = self._measure({e: weights[e] for e in chosen}, epochs)
        outcomes: dict[int, EpochRecord | DivergedError] = {}
        finished = list(self._finished)
        for e, epoch in epochs.items():
            record = _record(
                epoch, self.configs[e].lr_at(epoch), loss_sums[e], weights[e],
                on_train.get(e), on_val.get(e),
            )  # fmt: skip
            if record is None:
                outcomes[e] = DivergedError(epoch, self.configs[e])
                continue
            value = self._value(e, weights[e]) if e in on_val else math.nan
            self._records[e][epoch - 1 :] = [record]
            self._values[e][epoch - 1 :] = [value]
            rank = record.rank(self.select, value)
            finished[e] = states[e].after(finished[e], epoch, rank, *weights[e])
            outcomes[e] = record
        self._finished = finished  # in one step: from here on the epoch is finished for all
        for e in active:
            if isinstance(outcomes[e], EpochRecord):
                states[e].confirm(finished[e])
        return outcomes

    def _train(self, epochs: Mapping[int, int]) -> dict[int, float]:
        """Train an epoch of some entries; return the sums of the losses of the rows."""
        loss_sums: dict[int, float] = {}
        for entries, numbers in self._groups:
            given = {place: epochs[e] for place, e in enumerate(numbers) if e in epochs}
            loss_sums |= {numbers[place]: one for place, one in entries.train(given).items()}
        return loss_sums

    def _measure(
        self, weights: Mapping[int, tuple[Array, Array]], epochs: Mapping[int, int]
    ) -> tuple[dict[int, Measured], dict[int, Measured]]:
        """Evaluate classifiers on training rows, where it is time to, and on validation rows."""
        every = self._eval_train_every
        due = {e: W_and_b for e, W_and_b in weights.items() if every and epochs[e] % every == 0}
        on_train = self._measured(due, self.split.train)
        if self.split.val is None:
            return on_train, {}
        return on_train, self._measured(weights, self.split.val)

    def _measured(
        self, weights: Mapping[int, tuple[Array, Array]], data: Dataset
    ) -> dict[int, Measured]:
        """Evaluate classifiers of entries on rows."""
        found: dict[int, Measured] = {}
        for entries, numbers in self._groups:
            given = {place: weights[e] for place, e in enumerate(numbers) if e in weights}
            measured = entries.measure(given, data)
            found |= {numbers[place]: one for place, one in measured.items()}
        return found

    def _value(self, index: int, weights: tuple[Array, Array]) -> float:
        """Return the metric of an entry with these weights on the validation rows, if any."""
        if self._metric is None or self.split.val is None:
            return math.nan
        with self._timed("evaluate"), functional.use_threads(self.threads):
            model = self._states[index].model(*weights)
            return measure_matched(model, self.split.val).values()[self._metric.name]

    def epochs_done(self, index: int) -> int:
        """Return how many epochs of an entry are finished."""
        return self._finished[index].epochs_done

    def records(self, index: int) -> list[EpochRecord]:
        """Return the finished epochs of an entry."""
        return self._records[index][: self.epochs_done(index)]

    def measure(self, index: int, epoch: int) -> float:
        """Return the measure `select` of an entry after a finished epoch; NaN of accuracy, cost."""
        return self._values[index][epoch - 1]

    def history(self, index: int) -> History:
        """Return cost and accuracy of an entry after every finished epoch."""
        found = History.from_records(self.records(index))
        if self._metric is None:
            return found
        return replace(found, val_metric=np.array(self._values[index][: len(found)], np.float64))

    def model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its last finished epoch."""
        finished = self._finished[index]
        return self._states[index].model(finished.W.copy(), finished.b.copy())

    def offset(self, index: int) -> Array | None:
        """Return what an entry subtracts from features as they are loaded, (d,), if anything."""
        return self._states[index].offset

    def best_model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its best epoch by `select`."""
        finished = self._finished[index]
        return self._states[index].model(finished.best_W.copy(), finished.best_b.copy())

    def state(self, index: int) -> dict[str, Array]:
        """Return the arrays from which, with its records, `restore` continues an entry."""
        arrays, metrics = self._finished[index].arrays(), self.history(index).val_metric
        return arrays if metrics is None else arrays | {_METRICS: metrics}

    def restore(
        self, index: int, records: Sequence[EpochRecord], arrays: Mapping[str, Array]
    ) -> None:
        """Continue an entry from the records and arrays of a run with equal settings.

        Parameters
        ----------
        index : int
            Which entry.
        records : Sequence[EpochRecord]
            What `records` returned of that run.
        arrays : Mapping[str, Array]
            What `state` returned of it.

        Raises
        ------
        InputError
            If the arrays are not those of such a run.
        """
        values = len(records) * [math.nan]
        if self._metric is not None:
            values = arrays.get(_METRICS, np.zeros(0)).tolist()
            if len(values) != len(records):
                raise InputError(f"the saved array {_METRICS} does not fit the run that it is of")
        ranks = [
            record.rank(self.select, value) for record, value in zip(records, values, strict=True)
        ]
        averaged = self.configs[index].average_epochs
        finished = self._finished[index].of_arrays(ranks, arrays, averaged)
        self._records[index], self._values[index] = list(records), values
        self._finished[index] = finished

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


def _groups(
    split: Split, configs: Sequence[TrainConfig], standardization: Standardization | None
) -> list[tuple[Entries, list[int]]]:
    """Return entries in groups of equal `SHARED` settings, each with the numbers of its entries."""
    numbers: dict[tuple[Any, ...], list[int]] = {}
    for e, config in enumerate(configs):
        numbers.setdefault(tuple(getattr(config, name) for name in SHARED), []).append(e)
    groups = []
    for own in numbers.values():
        of_group = standardization if configs[own[0]].standardize else None
        groups.append((Entries(split.train, [configs[e] for e in own], of_group), own))
    return groups


def _record(
    epoch: int,
    lr: float,
    loss_sum: float,
    weights: tuple[Array, Array],
    on_train: Measured | None,
    on_val: Measured | None,
) -> EpochRecord | None:
    """Return the record of an epoch, or None if a cost is not finite."""
    costs = [loss_sum, *(measured.cost for measured in (on_train, on_val) if measured)]
    if not np.isfinite(costs).all():
        return None
    if len(costs) == 1 and not all(np.isfinite(array).all() for array in weights):
        return None  # no cost was computed that would tell
    not_measured = Measured(np.nan, np.nan)
    return EpochRecord(epoch, lr, *(on_train or not_measured), *(on_val or not_measured))
