"""Entries of a search trained by the workers of a cluster, each to the bits of this process.

A task names data, settings and an epoch: paths travel, not arrays. Workers keep what they train,
and go on from there. Where a worker is lost, another one trains its entries from their beginning,
or from what was saved of them, and comes to the same bits. Workers of joblib are told what is saved
with every task, and return what comes of it: no task can be sent to one of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from fastlin import cluster
from fastlin.cluster import Task, workers_of
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split
from fastlin.data.folds import Fold, FoldReference
from fastlin.data.source import DataReference
from fastlin.engine import Array
from fastlin.errors import DivergedError
from fastlin.history import EpochRecord
from fastlin.model import LinearModel
from fastlin.training.grid import GridTrainer

_GROUPS_OF_WORKER = 2


class Group(NamedTuple):
    """Entries that are trained by one worker at a time.

    Attributes
    ----------
    data : DataReference or FoldReference
        Where the rows are, with their fingerprint.
    configs : tuple[TrainConfig, ...]
        Of the entries.
    select : str
    eval_train_every : int
        As `GridTrainer` has them.
    """

    data: DataReference | FoldReference
    configs: tuple[TrainConfig, ...]
    select: str
    eval_train_every: int


# What is saved of an entry: its records, and the arrays of `GridTrainer.state`.
Saved = tuple[list[EpochRecord], dict[str, Array]]
# What came of an epoch: its record, the measure that is selected by, and perhaps what is saved;
# None if it diverged.
Outcome = tuple[EpochRecord, float, dict[str, Array] | None] | None


class Evaluated(NamedTuple):
    """What is wanted of an epoch beside its training.

    Attributes
    ----------
    entries : frozenset[int] or None
        Which entries of a group are evaluated, None for all.
    with_arrays : bool
        Whether the arrays that are saved of an entry are returned.
    """

    entries: frozenset[int] | None
    with_arrays: bool


class ClusterTrainer(GridTrainer):
    """A `GridTrainer` whose epochs are run by the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client or str
        Of the cluster; or ``joblib``.
    split, configs, threads, select, eval_train_every
        As `GridTrainer` takes them. Workers load the rows of the split from its `source`.

    Raises
    ------
    InputError
        As `GridTrainer` does; and if the rows come from no file, or there is no worker.
    """

    def __init__(
        self,
        client: Any,
        split: Split,
        configs: Sequence[TrainConfig],
        threads: int | None = None,
        select: str = "val_accuracy",
        eval_train_every: int = 1,
    ) -> None:
        super().__init__(split, configs, threads, select, eval_train_every)
        self._workers = workers_of(client)
        data, addresses = _reference_of(split), self._workers.addresses
        parts = min(len(self.configs), _GROUPS_OF_WORKER * len(addresses))
        bounds = [len(self.configs) * part // parts for part in range(parts + 1)]
        self._members = [range(*pair) for pair in pairwise(bounds)]
        self._of_entry = {e: g for g, members in enumerate(self._members) for e in members}
        self._parts = [
            Group(data, self.configs[members.start : members.stop], select, eval_train_every)
            for members in self._members
        ]
        # Which worker a group is sent to: the one that has trained it.
        self._at = [addresses[part % len(addresses)] for part in range(parts)]
        self._done = [0] * len(self.configs)

    def compile(self) -> None:
        """Do nothing: workers compile what they need."""

    def epochs_done(self, index: int) -> int:
        """Return how many epochs of an entry are finished."""
        return self._done[index]

    def run_epoch(
        self, active: Sequence[int], evaluated: Collection[int] | None = None
    ) -> dict[int, EpochRecord | DivergedError]:
        """Do what `GridTrainer.run_epoch` does.

        `best_model` has a meaning where all entries were evaluated after every epoch.
        """
        outcomes: dict[int, EpochRecord | DivergedError] = {}
        with self._timed("train"):
            found = self._on_workers(_run_epoch, {e: self._done[e] + 1 for e in active}, evaluated)
        arrays_of: dict[int, dict[str, Array]] = {}
        for e in active:
            outcome, epoch = found[e], self._done[e] + 1
            if outcome is None:
                outcomes[e] = DivergedError(epoch, self.configs[e])
                continue
            record, value, arrays = outcome
            self._records[e][epoch - 1 :] = [record]
            self._values[e][epoch - 1 :] = [value]
            outcomes[e] = record
            if arrays is not None:
                arrays_of[e] = arrays
        for e in active:  # when all are known
            if isinstance(outcomes[e], EpochRecord):
                self._done[e] += 1
        for e, arrays in arrays_of.items():
            super().restore(e, self._records[e][: self._done[e]], arrays)
        return outcomes

    def _on_workers(
        self, work: Any, epochs: Mapping[int, int], evaluated: Collection[int] | None = None
    ) -> dict[int, Any]:
        """Return what a function of a worker finds for entries, each with an epoch."""
        waiting: dict[int, dict[int, int]] = {}
        for e, epoch in epochs.items():
            group = self._of_entry[e]
            waiting.setdefault(group, {})[e - self._members[group].start] = epoch
        saved: dict[int, dict[int, Saved]] = {}
        if not self._workers.keep:
            saved = {group: self._saved_of(group, wanted) for group, wanted in waiting.items()}
        found: dict[int, Any] = {}
        while waiting:
            tasks = {
                group: Task(
                    work,
                    (self._parts[group], wanted, saved.get(group), self._within(group, evaluated)),
                    self._at[group],
                )
                for group, wanted in waiting.items()
            }
            for group, (address, result) in self._workers.results(tasks):
                self._at[group], first = address, self._members[group].start
                if isinstance(result, _Behind):
                    saved[group] = self._saved_of(group, result.entries)
                else:
                    found |= {first + place: one for place, one in result.items()}
                    del waiting[group]
        return found

    def _within(self, group: int, evaluated: Collection[int] | None) -> Evaluated:
        """Return what is wanted of a group."""
        members = self._members[group]
        places = None
        if evaluated is not None:
            places = frozenset(e - members.start for e in evaluated if e in members)
        return Evaluated(places, not self._workers.keep)

    def _saved_of(self, group: int, places: Iterable[int]) -> dict[int, Saved]:
        """Return what this process has of entries of a group, by their places in it."""
        first = self._members[group].start
        return {
            place: self._saved(first + place)
            for place in places
            if self._finished[first + place].epochs_done
        }

    def _saved(self, index: int) -> Saved:
        """Return what this process has of an entry."""
        count = self._finished[index].epochs_done
        return self._records[index][:count], super().state(index)

    def _fetch(self, index: int) -> None:
        """Let this process have the weights of an entry after its last finished epoch."""
        if self._finished[index].epochs_done == self._done[index]:
            return
        arrays = self._on_workers(_state_after, {index: self._done[index]})[index]
        super().restore(index, self.records(index), arrays)

    def state(self, index: int) -> dict[str, Array]:
        """Return the arrays from which, with its records, `restore` continues an entry."""
        self._fetch(index)
        return super().state(index)

    def model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its last finished epoch."""
        self._fetch(index)
        return super().model(index)

    def best_model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its best epoch by `select`."""
        self._fetch(index)
        return super().best_model(index)

    def restore(
        self, index: int, records: Sequence[EpochRecord], arrays: Mapping[str, Array]
    ) -> None:
        """Continue an entry from the records and arrays of a run with equal settings."""
        super().restore(index, records, arrays)
        self._done[index] = len(records)


def _reference_of(split: Split) -> DataReference | FoldReference:
    """Return where workers find the rows. Raises InputError if they come from no file."""
    if isinstance(split, Fold) and split.reference is not None:
        return split.reference
    return cluster.reference_of(split)


def trainer_of(client: Any) -> Callable[..., GridTrainer]:
    """Return what makes a trainer whose entries a client's workers train; None is this process."""
    return GridTrainer if client is None else partial(ClusterTrainer, client)


class _Behind(NamedTuple):
    """A worker has not trained these entries so far, and asks for what is saved of them."""

    entries: list[int]


# What a worker trains, by group: the last ones, of which so many are kept.
_trainers: OrderedDict[Group, GridTrainer] = OrderedDict()
_MOST_TRAINERS = 64


def _run_epoch(
    group: Group, wanted: Mapping[int, int], saved: Mapping[int, Saved] | None, evaluated: Evaluated
) -> tuple[str, dict[int, Outcome] | _Behind]:
    """Train entries of a group through the epochs that are wanted, as a worker."""
    with cluster.one_at_a_time:
        trainer = None
        while trainer is not _trainer_of(group):
            trainer = _trainer_of(group)
            before = {
                e: epoch - 1 for e, epoch in wanted.items() if trainer.epochs_done(e) != epoch
            }  # those that have it were trained by a task whose answer was lost
            behind = _bring_forward(group, before, saved)
            if behind is not None:
                return cluster.address_of_worker(), behind
        going_on = [e for e, epoch in wanted.items() if trainer.epochs_done(e) < epoch]
        outcomes = trainer.run_epoch(going_on, evaluated.entries) if going_on else {}
        found: dict[int, Outcome] = {}
        for e, epoch in wanted.items():
            if isinstance(outcomes.get(e), DivergedError):
                found[e] = None
                continue
            arrays = trainer.state(e) if evaluated.with_arrays else None
            found[e] = trainer.records(e)[epoch - 1], trainer.measure(e, epoch), arrays
        return cluster.address_of_worker(), found


def _state_after(
    group: Group, wanted: Mapping[int, int], saved: Mapping[int, Saved] | None, evaluated: Evaluated
) -> tuple[str, dict[int, dict[str, Array]] | _Behind]:
    """Return the states of entries of a group after the epochs that are wanted, as a worker."""
    del evaluated  # they have been
    with cluster.one_at_a_time:
        behind = _bring_forward(group, wanted, saved)
        trainer = _trainer_of(group)
        return cluster.address_of_worker(), behind or {e: trainer.state(e) for e in wanted}


def _bring_forward(
    group: Group, epochs: Mapping[int, int], saved: Mapping[int, Saved] | None
) -> _Behind | None:
    """Let entries have so many finished epochs.

    They are trained again as far as they are not; what is saved of them, None where nobody has
    looked, is asked for before. Raises DivergedError if one cannot be.
    """
    trainer = _trainer_of(group)
    if any(trainer.epochs_done(e) > count for e, count in epochs.items()):
        del _trainers[group]  # nothing goes back
        trainer = _trainer_of(group)
    late = [e for e, count in epochs.items() if trainer.epochs_done(e) < count]
    if late and saved is None:
        return _Behind(late)
    for e, (records, arrays) in (saved or {}).items():
        if e in epochs and trainer.epochs_done(e) < len(records) <= epochs[e]:
            trainer.restore(e, records, arrays)
    while late := [e for e, count in epochs.items() if trainer.epochs_done(e) < count]:
        for outcome in trainer.run_epoch(late).values():
            if isinstance(outcome, DivergedError):
                raise outcome  # on another processor it did not
    return None


def _trainer_of(group: Group) -> GridTrainer:
    """Return what this worker has trained of a group, or a new trainer."""
    if group not in _trainers:
        trainer = GridTrainer(
            _split_of(group), group.configs, cluster.threads_of_worker(), group.select,
            group.eval_train_every,
        )  # fmt: skip
        trainer.compile()
        _trainers[group] = trainer
    _trainers.move_to_end(group)
    last = list(dict.fromkeys(one.data for one in reversed(_trainers)))[: cluster.MOST_SPLITS]
    for other in [one for one in _trainers if one.data not in last]:
        del _trainers[other]  # they would keep the rows
    while len(_trainers) > _MOST_TRAINERS:
        _trainers.popitem(last=False)
    return _trainers[group]


def _split_of(group: Group) -> Split:
    """Return the rows of a group; no trainer keeps the copy of another fold any longer."""
    if isinstance(group.data, DataReference):
        return cluster.split_of(group.data)
    for other in list(_trainers):
        if isinstance(other.data, FoldReference) and other.data != group.data:
            del _trainers[other]
    return cluster.fold_of(group.data)
