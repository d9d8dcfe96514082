"""Training one classifier: epochs are compiled calls, everything between them is Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlin import functional
from fastlin.config import Init, TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.functional import Array, Evaluation
from fastlin.results import EpochRecord, History, LinearModel

# Independent random streams of one seed: no setting that uses one stream shifts the other.
_INIT_STREAM, _ORDER_STREAM = 0, 1


class DivergedError(ArithmeticError):
    """The cost of an epoch was not finite; the message says which epoch and what to try."""

    def __init__(self, epoch: int, config: TrainConfig) -> None:
        advice = f"try a smaller --lr, such as {config.lr / 10:g}"
        if 2 * config.lr * config.l2 >= 1:
            advice += f", or a smaller --l2 (2 lr l2 is {2 * config.lr * config.l2:g}, above 1)"
        super().__init__(f"training diverged: the cost of epoch {epoch} is not finite; {advice}")
        self.epoch = epoch


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
    best_model : the classifier after `history.best_epoch`.
    seconds : where the time went.
    """

    config: TrainConfig
    history: History
    model: LinearModel
    best_model: LinearModel
    seconds: Seconds


@dataclass(frozen=True, eq=False)
class _Finished:
    """The state after an epoch; replaced whole, so an interrupt never finds half of it."""

    records: tuple[EpochRecord, ...]
    W: Array
    b: Array
    best_W: Array
    best_b: Array


class Trainer:
    """One training run, an epoch at a time; what is finished is never lost.

    `result()` describes the run up to the last finished epoch at any moment: after an interrupt,
    and after a divergence, too.

    Parameters
    ----------
    split : training rows, and validation rows if there are any; the test rows are not touched.
    config : the settings; with the data they decide every bit of the result.
    threads : to run on, None for all; the result does not depend on it.

    Raises
    ------
    InputError
        If `threads` is outside what the process can use.
    """

    def __init__(self, split: Split, config: TrainConfig, threads: int | None = None) -> None:
        with functional.use_threads(threads) as count:
            self.threads = count
        self.split = split
        self.config = config
        self._W, self._b = initial_weights(
            config, len(split.train.class_names), split.train.X.shape[1]
        )
        self._finished = _Finished((), *(2 * (self._W.copy(), self._b.copy())))
        self._seconds = dict.fromkeys(Seconds.__dataclass_fields__, 0.0)

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return len(self._finished.records)

    @property
    def seconds(self) -> Seconds:
        """Where the time went so far."""
        return Seconds(**self._seconds)

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel the run needs."""
        with self._timed("compile"), functional.use_threads(self.threads):
            train = self.split.train
            no_rows = np.zeros(0, np.int64)
            self._sgd_epoch(train, no_rows, 0.0, self._W.copy(), self._b.copy())
            one_row = Dataset(train.X[:1], train.y[:1], train.class_names)
            self._evaluate(one_row)

    def run_epoch(self) -> EpochRecord:
        """Train one epoch, evaluate it, and return its record.

        Raises
        ------
        DivergedError
            If a cost is not finite. The result keeps the last finished epoch.
        """
        epoch = self.epochs_done + 1
        lr = self.config.lr * self.config.lr_decay ** (epoch - 1)
        train, val = self.split.train, self.split.val
        with functional.use_threads(self.threads):
            with self._timed("train"):
                order = epoch_order(self.config, len(train), epoch)
                mean_loss = self._sgd_epoch(train, order, lr, self._W, self._b)
            with self._timed("evaluate"):
                on_train = self._evaluate(train)
                on_val = self._evaluate(val) if val is not None else None
        costs = [mean_loss, on_train.cost] + ([on_val.cost] if on_val else [])
        if not np.isfinite(costs).all():
            self._W, self._b = self._finished.W.copy(), self._finished.b.copy()
            raise DivergedError(epoch, self.config)
        record = EpochRecord(
            epoch,
            lr,
            on_train.cost,
            on_train.accuracy,
            on_val.cost if on_val else np.nan,
            on_val.accuracy if on_val else np.nan,
        )
        self._finish(record)
        return record

    def result(self) -> TrainResult:
        """Return the run up to the last finished epoch."""
        finished = self._finished
        names, image_shape = self.split.train.class_names, self.split.train.image_shape
        return TrainResult(
            self.config,
            History.from_records(list(finished.records)),
            LinearModel(finished.W, finished.b, names, image_shape),
            LinearModel(finished.best_W, finished.best_b, names, image_shape),
            self.seconds,
        )

    def _finish(self, record: EpochRecord) -> None:
        records = (*self._finished.records, record)
        W, b = self._W.copy(), self._b.copy()
        is_best = History.from_records(list(records)).best_epoch == record.epoch
        best = (W, b) if is_best else (self._finished.best_W, self._finished.best_b)
        self._finished = _Finished(records, W, b, *best)

    def _sgd_epoch(
        self, data: Dataset, order: NDArray[np.int64], lr: float, W: Array, b: Array
    ) -> float:
        config = self.config
        return functional.unchecked_sgd_epoch(
            data.X, data.y, order, W, b,
            lr=lr, batch_size=config.batch_size, l2=config.l2, loss=config.loss,
        )  # fmt: skip

    def _evaluate(self, data: Dataset) -> Evaluation:
        return functional.unchecked_evaluate(
            data.X, data.y, self._W, self._b, loss=self.config.loss, l2=self.config.l2
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


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
    trainer.compile()
    for _ in range(trainer.config.epochs):
        record = trainer.run_epoch()
        if on_epoch is not None:
            on_epoch(record)
    return trainer.result()


def initial_weights(
    config: TrainConfig, class_count: int, feature_count: int
) -> tuple[Array, Array]:
    """Return the W (K, d) and b (K,) that training starts from: normal, and zero.

    The standard deviation is `sigma`, or 1/sqrt(d) for Xavier (Glorot & Bengio 2010, in the
    form that keeps the variance of the scores).
    """
    stream = np.random.SeedSequence(config.seed, spawn_key=(_INIT_STREAM,))
    sigma = config.sigma if config.init is Init.GAUSSIAN else feature_count**-0.5
    W = np.random.default_rng(stream).standard_normal((class_count, feature_count)) * sigma
    return W.astype(config.dtype), np.zeros(class_count, config.dtype)


def epoch_order(config: TrainConfig, row_count: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows of an epoch (counted from 1) in the order they are taken.

    It depends on nothing but seed, number of rows and epoch: runs that differ in other settings
    see the same orders.
    """
    if not config.shuffle:
        return np.arange(row_count)
    stream = np.random.SeedSequence(config.seed, spawn_key=(_ORDER_STREAM, epoch))
    return np.random.default_rng(stream).permutation(row_count)


def evaluate(model: LinearModel, data: Dataset, config: TrainConfig) -> Evaluation:
    """Return cost, accuracy, losses and predictions of a model on labelled rows.

    The cost is that of `config`: its loss and its penalty.

    Raises
    ------
    InputError
        If the rows do not fit the model.
    """
    return functional.evaluate(data.X, data.y, model.W, model.b, loss=config.loss, l2=config.l2)
