"""Training many configurations on one split: all of them together, an epoch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fastlin import engine, functional
from fastlin.config import Loss, TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.engine import Array, EntryEpoch
from fastlin.errors import DivergedError
from fastlin.history import EpochRecord, History, Measure
from fastlin.model import Evaluation, LinearModel
from fastlin.training.order import epoch_parts
from fastlin.training.standardization import Standardization
from fastlin.training.state import Finished, RunState
from fastlin.training.trainer import entry_epoch, epoch_record, pieces_of, run_epoch_part


class GridTrainer:
    """Trains many configurations on one split, an epoch of all of them at a time.

    After an exception in an epoch, wherever it came, all entries have finished it or none has; the
    next call of `run_epoch` goes on with the bits of an undisturbed run.

    Every entry has the bits of a `Trainer` of its own: its batches pass through the caches
    together with those of others, but the arithmetic is the same.

    Parameters
    ----------
    split : training rows, and validation rows if there are any; the test rows are not touched.
    configs : the settings of every entry; all of `SHARED_SETTINGS` are the same in all of them.
    threads : to run on, None for all; the result does not depend on it.
    standardization : that of the training rows, if the settings ask for it and it is known already.
    select : by which measure `best_model` is the best.

    Raises
    ------
    InputError
        If `threads` is outside what the process can use, images are to be mirrored that are none,
        or a value is beyond the dtype of the settings.
    """

    def __init__(
        self,
        split: Split,
        configs: Sequence[TrainConfig],
        threads: int | None = None,
        standardization: Standardization | None = None,
        select: Measure = "val_accuracy",
    ) -> None:
        check_fits(split, configs[0].dtype)
        self.split = split
        self.configs = tuple(configs)
        with functional.use_threads(threads) as count:
            self.threads = count
            self._standardization = standardization or Standardization.of(split, configs[0])
        self.select = select
        self.states = [
            RunState(split, config, self._standardization, select) for config in self.configs
        ]
        self._stack_states()
        self._committed: list[tuple[RunState, Finished]] = []

    def _stack_states(self) -> None:
        """Put what is trained into arrays over all entries, of which every state has its part."""
        self._W = np.stack([state.W for state in self.states])
        self._b = np.stack([state.b for state in self.states])
        self._scales = np.concatenate([state.scale for state in self.states])
        self._velocity: tuple[Array, Array] | None = None
        if any(state.velocity for state in self.states):
            self._velocity = np.zeros_like(self._W), np.zeros_like(self._b)
        for e, state in enumerate(self.states):
            state.W, state.b, state.scale = self._W[e], self._b[e], self._scales[e : e + 1]
            if state.velocity is not None and self._velocity is not None:
                state.velocity = self._velocity[0][e], self._velocity[1][e]

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel that the entries need."""
        counts = Counter(map(_kind, self.configs))
        kinds = {_kind(config): config for config in self.configs}
        spare = GridTrainer(self.split, list(kinds.values()), self.threads, self._standardization)
        train = self.split.train
        one = Dataset(train.X[:1], train.y[:1], train.class_names)
        with functional.use_threads(self.threads):
            for e, (kind, config) in enumerate(kinds.items()):
                epoch = entry_epoch(e, config, np.zeros(1, np.int64), 0.0)
                if counts[kind] > 1:
                    spare._train_together([epoch, epoch], mirrored=False)
                if counts[kind] == 1 or counts[kind] % self.threads:
                    run_epoch_part(spare.states[e], train, epoch.order, epoch.lr)
                spare._evaluate([e], [spare.states[e].weights()], one)

    def run_epoch(
        self, active: Sequence[int], evaluated: Collection[int] | None = None
    ) -> dict[int, EpochRecord | DivergedError]:
        """Train one more epoch of each active entry, evaluate it, and return what came of it.

        An entry that diverged keeps its last finished epoch, and must not be active again.

        Parameters
        ----------
        active : the entries to train.
        evaluated : those of them to evaluate, None for all. Costs and accuracies of the others are
            NaN, and only their loss in training can tell that they diverged.
        """
        self._settle()
        for e in active:
            self.states[e].begin()
        train, val = self.split.train, self.split.val
        chosen = [e for e in active if evaluated is None or e in evaluated]
        with functional.use_threads(self.threads):
            loss_sums = self._train(active)
            weights = {e: self.states[e].weights() for e in active}
            of_chosen = [weights[e] for e in chosen]
            on_train = dict(zip(chosen, self._evaluate(chosen, of_chosen, train), strict=True))
            on_val: dict[int, Evaluation] = {}
            if val is not None:
                on_val = dict(zip(chosen, self._evaluate(chosen, of_chosen, val), strict=True))
        outcomes: dict[int, EpochRecord | DivergedError] = {}
        committed: list[tuple[RunState, Finished]] = []
        for e in active:
            state, config = self.states[e], self.configs[e]
            epoch = state.epochs_done + 1
            lr = config.lr_at(epoch)
            if e in on_train:
                record = epoch_record(epoch, lr, loss_sums[e], on_train[e], on_val.get(e))
            else:
                is_finite = np.isfinite(loss_sums[e])
                record = EpochRecord(epoch, lr, *(4 * [np.nan])) if is_finite else None
            if record is None:
                outcomes[e] = DivergedError(epoch, config)
            else:
                committed.append((state, state.after(record, *weights[e])))
                outcomes[e] = record
        self._committed = committed  # in one step: from here on the epoch is finished for all
        self._settle()
        return outcomes

    def _settle(self) -> None:
        """Let every entry know of the epoch that was finished last."""
        for state, finished in self._committed:
            state.take(finished)
        self._committed = []

    def _train(self, active: Sequence[int]) -> dict[int, float]:
        """Train an epoch of every active entry; return the sums of their rows' losses."""
        rows = len(self.split.train)
        cached: dict[tuple[int, int, int], list[tuple[NDArray[np.int64], bool]]] = {}
        calls: dict[tuple[int, Loss, bool, bool], list[EntryEpoch]] = {}
        for e in active:
            config, epoch = self.configs[e], self.states[e].epochs_done + 1
            key = config.seed, epoch, config.batch_size if config.flip else 0
            if key not in cached:
                cached[key] = epoch_parts(config, rows, epoch)
            for number, (order, mirrored) in enumerate(cached[key]):
                part = entry_epoch(e, config, order, config.lr_at(epoch))
                calls.setdefault((number, *_kind(config), mirrored), []).append(part)
        loss_sums = dict.fromkeys(active, 0.0)
        for (*_, mirrored), epochs in sorted(calls.items(), key=lambda call: call[0][0]):
            for part, mean_loss in self._train_entries(epochs, mirrored=mirrored):
                loss_sums[part.entry] += mean_loss * len(part.order)
        return loss_sums

    def _train_entries(
        self, epochs: list[EntryEpoch], *, mirrored: bool
    ) -> Iterator[tuple[EntryEpoch, float]]:
        """Train entries of one kind; give every epoch with its mean loss.

        Each thread takes as many whole entries as the others. Those left over are trained one
        after another by all threads together, if their steps are large enough to be shared.
        """
        rows = len(self.split.train)
        by_batches = sorted(
            epochs, key=lambda epoch: (epoch.batch_size, self.configs[epoch.entry].seed)
        )
        left_over = by_batches[len(epochs) // self.threads * self.threads :]
        if not all(pieces_of(self.states[epoch.entry], rows) > 1 for epoch in left_over):
            left_over = []
        for epoch in left_over:
            state = self.states[epoch.entry]
            yield (
                epoch,
                run_epoch_part(state, self.split.train, epoch.order, epoch.lr, mirrored=mirrored),
            )
        together = by_batches[: len(epochs) - len(left_over)]
        if together:
            mean_losses = self._train_together(together, mirrored=mirrored)
            yield from zip(together, mean_losses.tolist(), strict=True)

    def _train_together(self, epochs: list[EntryEpoch], *, mirrored: bool) -> NDArray[np.float64]:
        """Train entries of one kind, every thread its part of them; return their mean losses."""
        states = [self.states[epoch.entry] for epoch in epochs]
        config = states[0].config
        for state in states if mirrored else ():
            state.mirror()
        mean_losses = engine.unchecked_sgd_epochs(
            self.split.train.X, self.split.train.y, self._W, self._b, epochs,
            loss=config.loss,
            features=states[0].features(mirrored=mirrored),
            scales=self._scales,
            velocity=self._velocity if config.momentum > 0 else None,
            nesterov=config.nesterov,
        )  # fmt: skip
        for state in states if mirrored else ():
            state.mirror()
        return mean_losses

    def _evaluate(
        self, entries: Sequence[int], weights: Sequence[tuple[Array, Array]], data: Dataset
    ) -> list[Evaluation]:
        """Evaluate what the entries' states returned as weights, those of one loss in one pass."""
        found: dict[int, Evaluation] = {}
        for loss in dict.fromkeys(self.configs[e].loss for e in entries):
            chosen = [i for i, e in enumerate(entries) if self.configs[e].loss == loss]
            if chosen:
                evaluations = engine.unchecked_evaluate_all(
                    data.X, data.y,
                    np.stack([weights[i][0] for i in chosen]),
                    np.stack([weights[i][1] for i in chosen]),
                    loss=loss,
                    penalties=[self.states[entries[i]].penalty(weights[i][0]) for i in chosen],
                    offset=self.states[entries[chosen[0]]].offset,
                )  # fmt: skip
                found |= dict(zip(chosen, evaluations, strict=True))
        return [found[i] for i in range(len(entries))]

    def epochs_done(self, index: int) -> int:
        """Return how many epochs of an entry are finished."""
        self._settle()
        return self.states[index].epochs_done

    def history(self, index: int) -> History:
        """Return cost and accuracy of an entry after every finished epoch."""
        self._settle()
        return History.from_records(list(self.states[index].finished.records))

    def model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its last finished epoch."""
        self._settle()
        return self.states[index].models()[0]

    def best_model(self, index: int) -> LinearModel:
        """Return the classifier of an entry after its best epoch by `select`."""
        self._settle()
        return self.states[index].models()[1]

    def state(self, index: int) -> dict[str, Array]:
        """Return the arrays from which, with its records, `restore` continues an entry."""
        self._settle()
        return self.states[index].finished.arrays()

    def restore(self, index: int, records: Sequence[EpochRecord], arrays: dict[str, Array]) -> None:
        """Continue an entry from the records and arrays of a run with equal settings.

        Raises
        ------
        InputError
            If the arrays are not those of such a run.
        """
        self.states[index].restore(self.states[index].finished.of_arrays(tuple(records), arrays))


def _kind(config: TrainConfig) -> tuple[Loss, bool]:
    """Return what entries must have in common to be trained by one kernel."""
    return config.loss, config.momentum > 0
