"""Training one classifier: epochs are compiled calls, everything between them is Python."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlin import engine, functional
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.engine import Array
from fastlin.errors import DivergedError
from fastlin.history import EpochRecord, History, Measure
from fastlin.model import Evaluation, LinearModel
from fastlin.training.order import epoch_parts
from fastlin.training.standardization import Standardization
from fastlin.training.state import RunState


@dataclass(frozen=True)
class Seconds:
    """Wall time spent so far, in seconds."""

    compile: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0


@dataclass(frozen=True, eq=False)
class TrainResult:
    """Everything that one training run found.

    Attributes
    ----------
    config : the settings.
    history : cost and accuracy after every finished epoch.
    model : the classifier after the last finished epoch.
    best_model : the classifier after `best_epoch`.
    seconds : where the time went.
    select : by which measure an epoch is the best.
    """

    config: TrainConfig
    history: History
    model: LinearModel
    best_model: LinearModel
    seconds: Seconds
    select: Measure = "val_accuracy"

    @property
    def best_epoch(self) -> int:
        """The epoch of `best_model`; see `History.best_by`."""
        return self.history.best_by(self.select)


class Trainer:
    """One training run, an epoch at a time; what is finished is never lost.

    `result()` describes the run up to the last finished epoch at any moment: after an interrupt,
    and after a divergence, too. After an exception in an epoch, wherever it came, the next call of
    `run_epoch` begins that epoch anew, and ends with the bits of an undisturbed run.

    Parameters
    ----------
    split : training rows, and validation rows if there are any; the test rows are not touched.
    config : the settings; with the data they decide every bit of the result.
    threads : to run on, None for all; the result does not depend on it.
    select : by which measure `best_model` is the best.

    Raises
    ------
    InputError
        If `threads` is outside what the process can use, images are to be mirrored that are none,
        or a value is beyond `config.dtype`.
    """

    def __init__(
        self,
        split: Split,
        config: TrainConfig,
        threads: int | None = None,
        select: Measure = "val_accuracy",
    ) -> None:
        check_fits(split, config.dtype)
        self.split = split
        self.config = config
        self._seconds = dict.fromkeys(Seconds.__dataclass_fields__, 0.0)
        with functional.use_threads(threads) as count:
            self.threads = count
            with self._timed("train"):
                self.state = RunState(split, config, Standardization.of(split, config), select)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the data, a sentence each."""
        return () if self.state.standardization is None else self.state.standardization.notes

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return self.state.epochs_done

    @property
    def seconds(self) -> Seconds:
        """Where the time went so far."""
        return Seconds(**self._seconds)

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel the run needs."""
        with self._timed("compile"), functional.use_threads(self.threads):
            train = self.split.train
            spare = RunState(self.split, self.config, self.state.standardization)
            run_epoch_part(spare, train, np.zeros(1, np.int64), 0.0)
            evaluate_weights(spare, *spare.weights(), train, slice(0, 1))

    def run_epoch(self) -> EpochRecord:
        """Train one epoch, evaluate it, and return its record.

        Raises
        ------
        DivergedError
            If a cost is not finite. The result keeps the last finished epoch.
        """
        state, config = self.state, self.config
        train, val = self.split.train, self.split.val
        epoch = self.epochs_done + 1
        lr = config.lr_at(epoch)
        state.begin()
        with functional.use_threads(self.threads):
            with self._timed("train"):
                loss_sum = 0.0
                for order, mirrored in epoch_parts(config, len(train), epoch):
                    mean_loss = run_epoch_part(state, train, order, lr, mirrored=mirrored)
                    loss_sum += mean_loss * len(order)
            with self._timed("evaluate"):
                W, b = state.weights()
                on_train = evaluate_weights(state, W, b, train)
                on_val = evaluate_weights(state, W, b, val) if val is not None else None
        record = epoch_record(epoch, lr, loss_sum, on_train, on_val)
        if record is None:
            raise DivergedError(epoch, config)
        state.finish(record, W, b)
        return record

    def result(self) -> TrainResult:
        """Return the run up to the last finished epoch."""
        history = History.from_records(list(self.state.finished.records))
        return TrainResult(
            self.config, history, *self.state.models(), self.seconds, self.state.select
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


def run_epoch_part(
    state: RunState,
    data: Dataset,
    order: NDArray[np.int64],
    lr: float,
    *,
    mirrored: bool = False,
) -> float:
    """Train on rows in an order, as they are or mirrored; return their mean loss."""
    config = state.config
    if mirrored:
        state.mirror()
    velocity = state.velocity and (state.velocity[0][None], state.velocity[1][None])
    mean_losses = engine.unchecked_sgd_epochs(
        data.X, data.y, state.W[None], state.b[None], [entry_epoch(0, config, order, lr)],
        loss=config.loss, features=state.features(mirrored=mirrored), scales=state.scale,
        velocity=velocity, nesterov=config.nesterov, pieces=pieces_of(state, len(data)),
    )  # fmt: skip
    if mirrored:
        state.mirror()
    return float(mean_losses[0])


def pieces_of(state: RunState, row_count: int) -> int:
    """Return how many threads share a step of a run on so many rows."""
    batch_size = min(state.config.batch_size, row_count)
    return engine.pieces_of_step(batch_size, *state.W.shape)


def entry_epoch(
    entry: int, config: TrainConfig, order: NDArray[np.int64], lr: float
) -> engine.EntryEpoch:
    """Return an epoch of a run as `engine.unchecked_sgd_epochs` takes it."""
    return engine.EntryEpoch(entry, order, lr, config.l2, config.batch_size, config.momentum)


def evaluate_weights(
    state: RunState, W: Array, b: Array, data: Dataset, rows: slice = slice(None)
) -> Evaluation:
    """Evaluate a classifier that `state.weights` returned."""
    return engine.unchecked_evaluate(
        data.X[rows], data.y[rows], W, b, loss=state.config.loss, penalty=state.penalty(W),
        offset=state.offset,
    )  # fmt: skip


def epoch_record(
    epoch: int, lr: float, loss_sum: float, on_train: Evaluation, on_val: Evaluation | None
) -> EpochRecord | None:
    """Return the record of an epoch, or None if a cost is not finite."""
    val_cost, val_accuracy = (on_val.cost, on_val.accuracy) if on_val else (np.nan, np.nan)
    if not np.isfinite([loss_sum, on_train.cost] + ([val_cost] if on_val else [])).all():
        return None
    return EpochRecord(epoch, lr, on_train.cost, on_train.accuracy, val_cost, val_accuracy)


def train(
    split: Split,
    config: TrainConfig | None = None,
    *,
    threads: int | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainResult:
    """Train a linear classifier.

    Parameters
    ----------
    split : training rows, and validation rows if there are any; the test rows are not touched.
    config : the settings; None for the defaults.
    threads : to run on, None for all; the result does not depend on it.
    on_epoch : called with the record of every finished epoch.

    Returns
    -------
    TrainResult

    Raises
    ------
    InputError
        If `threads` is outside what the process can use.
    DivergedError
        If a cost is not finite. To keep the epochs before it, use `Trainer`.
    """
    trainer = Trainer(split, config or TrainConfig(), threads)
    for note in trainer.notes:
        warnings.warn(note, stacklevel=2)
    trainer.compile()
    for _ in range(trainer.config.epochs):
        record = trainer.run_epoch()
        if on_epoch is not None:
            on_epoch(record)
    return trainer.result()
