"""Training one classifier: epochs are compiled calls, everything between them is Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastlin import functional
from fastlin.config import Init, TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.errors import InputError
from fastlin.functional import Array, Evaluation
from fastlin.kernels.features import Scaled, Standardized
from fastlin.results import EpochRecord, History, LinearModel, weight_penalty

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


class Standardization:
    """Features as (x - mean) / std; moments (d,) float64 of the training rows' features.

    A constant feature, but for rounding, has std 1: it is 0 once its mean is gone.
    """

    def __init__(self, X: Array) -> None:
        self.mean, std = functional.feature_moments(X)
        self.std = np.where(std > 1e-9 * np.abs(self.mean), std, 1.0)

    @classmethod
    def of(cls, split: Split, config: TrainConfig) -> Standardization | None:
        """Return that of the training rows, or None if the settings ask for none."""
        return cls(split.train.X) if config.standardize else None


@dataclass(frozen=True, eq=False)
class Finished:
    """A run after an epoch; replaced whole, so an interrupt never finds half of it.

    Attributes
    ----------
    records : of every finished epoch.
    training : the arrays from which training goes on: W, b, and where there is one the velocity,
        and the weights of the epochs before that are averaged.
    W, b : the classifier, and best_W, best_b, that after the best epoch.
    """

    records: tuple[EpochRecord, ...]
    training: dict[str, Array]
    W: Array
    b: Array
    best_W: Array
    best_b: Array

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name, from which `of_arrays` makes an equal one."""
        trained = {f"training_{name}": array for name, array in self.training.items()}
        return trained | {name: getattr(self, name) for name in _MODEL_ARRAYS}

    def of_arrays(self, records: tuple[EpochRecord, ...], arrays: dict[str, Array]) -> Finished:
        """Return a later state of the same run, from its records and `arrays`.

        Raises
        ------
        InputError
            If an array is missing or does not fit the run.
        """
        for name, ours in self.arrays().items():
            array = arrays.get(name)
            if array is None or array.shape != ours.shape or array.dtype != ours.dtype:
                raise InputError(f"the saved array {name} does not fit the run that it is of")
        training = {
            name.removeprefix("training_"): array
            for name, array in arrays.items()
            if name.startswith("training_")
        }
        return Finished(records, training, *(arrays[name] for name in _MODEL_ARRAYS))


_MODEL_ARRAYS = ("W", "b", "best_W", "best_b")


class RunState:
    """One training run between two epochs: what is trained, and what is finished.

    `W` (K, d), `b` (K,) and `velocity`, which has their shapes or is None, are as the kernels keep
    them (see `fastlin.kernels.features`), to be updated in place by the next epoch.

    Raises
    ------
    InputError
        If images are to be mirrored and the rows are none.
    """

    def __init__(
        self, split: Split, config: TrainConfig, standardization: Standardization | None
    ) -> None:
        if config.flip and split.train.image_shape is None:
            raise InputError("flip mirrors images, but the rows of these data are not images")
        self.config = config
        self._data = split.train
        self.standardization = standardization
        self.W, self.b = initial_weights(
            config, len(split.train.class_names), self._data.X.shape[1]
        )
        if standardization is not None:
            self.W = (self.W * (standardization.std / self._data.feature_scale)).astype(
                config.dtype
            )
        self.velocity: tuple[Array, Array] | None = None
        if config.momentum > 0:
            self.velocity = np.zeros_like(self.W), np.zeros_like(self.b)
        self._recent: tuple[tuple[Array, Array], ...] = ()
        self.finished = Finished((), self._training(), *(2 * self.weights()))

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return len(self.finished.records)

    @property
    def feature_std(self) -> NDArray[np.float64] | None:
        """By what features are divided, (d,), if they are."""
        return None if self.standardization is None else self.standardization.std

    def features(self, *, mirrored: bool = False) -> Scaled | Standardized:
        """Return how kernels are to read rows: as they are, or as if every image were mirrored."""
        moments = None
        if self.standardization is not None:
            moments = self.standardization.mean, self.standardization.std
            if mirrored:
                moments = self._mirrored(moments[0]), self._mirrored(moments[1])
        return functional.kernel_features(self._data.X.dtype, self.W.dtype, moments)

    def mirror(self) -> None:
        """Mirror weights, so that a step on rows becomes a step on mirrored rows, or back."""
        for array in (self.W, *(self.velocity or ())[:1]):
            array[:] = self._mirrored(array)

    def _mirrored(self, rows: Array) -> Array:
        assert self._data.image_shape is not None  # noqa: S101  (checked at the start)
        images = rows.reshape(-1, *self._data.image_shape)
        return images[..., ::-1].reshape(rows.shape)

    def weights(self) -> tuple[Array, Array]:
        """Return the classifier of the features as they are, W (K, d) and b (K,): new arrays.

        It is the mean over the last epochs, if weights are averaged.
        """
        current = (*self._recent, (self.W, self.b))[-self.config.average_epochs :]
        W, b = (
            np.mean(arrays, axis=0, dtype=np.float64) if len(arrays) > 1 else arrays[0].copy()
            for arrays in zip(*current, strict=True)
        )
        if self.standardization is not None:
            mean, std = self.standardization.mean, self.standardization.std
            W = W.astype(np.float64) * (self._data.feature_scale / std**2)
            b = b - W @ mean
        return W.astype(self.config.dtype), b.astype(self.config.dtype)

    def penalty(self, W: Array) -> float:
        """Return the penalty of weights that `weights` returned: it is on those trained."""
        return weight_penalty(W, self.config.l2, self.feature_std)

    def finish(self, record: EpochRecord, W: Array, b: Array) -> None:
        """Keep an epoch, and its classifier, the arrays that `weights` returned."""
        records = (*self.finished.records, record)
        is_best = History.from_records(list(records)).best_epoch == record.epoch
        best = (W, b) if is_best else (self.finished.best_W, self.finished.best_b)
        kept = self.config.average_epochs - 1
        if kept:
            self._recent = (*self._recent, (self.W.copy(), self.b.copy()))[-kept:]
        self.finished = Finished(records, self._training(), W, b, *best)

    def _training(self) -> dict[str, Array]:
        arrays = {"W": self.W.copy(), "b": self.b.copy()}
        if self.velocity is not None:
            arrays |= {"velocity_W": self.velocity[0].copy(), "velocity_b": self.velocity[1].copy()}
        if self._recent:
            recent_W, recent_b = zip(*self._recent, strict=True)
            arrays |= {"recent_W": np.stack(recent_W), "recent_b": np.stack(recent_b)}
        return arrays

    def restore(self, finished: Finished) -> None:
        """Go on from what was finished, in this run or in an equal one."""
        self.finished = finished
        arrays = finished.training
        self.W[:], self.b[:] = arrays["W"], arrays["b"]
        if self.velocity is not None:
            self.velocity[0][:], self.velocity[1][:] = arrays["velocity_W"], arrays["velocity_b"]
        recent = zip(arrays.get("recent_W", ()), arrays.get("recent_b", ()), strict=True)
        self._recent = tuple((W.copy(), b.copy()) for W, b in recent)

    def models(self) -> tuple[LinearModel, LinearModel]:
        """Return the classifiers after the last finished and after the best epoch."""
        names, image_shape = self._data.class_names, self._data.image_shape
        finished = self.finished
        last, best = (
            LinearModel(W, b, names, image_shape, self.feature_std)
            for W, b in ((finished.W, finished.b), (finished.best_W, finished.best_b))
        )
        return last, best


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
        If `threads` is outside what the process can use, images are to be mirrored that are none,
        or a value is beyond `config.dtype`.
    """

    def __init__(self, split: Split, config: TrainConfig, threads: int | None = None) -> None:
        check_fits(split, config.dtype)
        self.split = split
        self.config = config
        self._seconds = dict.fromkeys(Seconds.__dataclass_fields__, 0.0)
        with functional.use_threads(threads) as count:
            self.threads = count
            with self._timed("train"):
                self.state = RunState(split, config, Standardization.of(split, config))

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
            state.restore(state.finished)
            raise DivergedError(epoch, config)
        state.finish(record, W, b)
        return record

    def result(self) -> TrainResult:
        """Return the run up to the last finished epoch."""
        history = History.from_records(list(self.state.finished.records))
        return TrainResult(self.config, history, *self.state.models(), self.seconds)

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
    mean_losses = functional.unchecked_sgd_epochs(
        data.X, data.y, state.W[None], state.b[None], [entry_epoch(0, config, order, lr)],
        loss=config.loss, features=state.features(mirrored=mirrored), velocity=velocity,
        nesterov=config.nesterov, pieces=pieces_of(state, len(data)),
    )  # fmt: skip
    if mirrored:
        state.mirror()
    return float(mean_losses[0])


def pieces_of(state: RunState, row_count: int) -> int:
    """Return how many threads share a step of a run on so many rows."""
    batch_size = min(state.config.batch_size, row_count)
    return functional.pieces_of_step(batch_size, *state.W.shape)


def entry_epoch(
    entry: int, config: TrainConfig, order: NDArray[np.int64], lr: float
) -> functional.EntryEpoch:
    """Return an epoch of a run as `functional.unchecked_sgd_epochs` takes it."""
    return functional.EntryEpoch(entry, order, lr, config.l2, config.batch_size, config.momentum)


def evaluate_weights(
    state: RunState, W: Array, b: Array, data: Dataset, rows: slice = slice(None)
) -> Evaluation:
    """Evaluate a classifier that `state.weights` returned."""
    return functional.unchecked_evaluate(
        data.X[rows], data.y[rows], W, b, loss=state.config.loss, penalty=state.penalty(W)
    )


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


def epoch_parts(
    config: TrainConfig, row_count: int, epoch: int
) -> list[tuple[NDArray[np.int64], bool]]:
    """Return the orders that make up an epoch, and whether the rows of each are mirrored.

    Without mirroring that is one. With it, the first or (in even epochs) the second half of the
    batches is mirrored: for a linear model, a mirrored batch costs no copy of its rows.
    """
    order = epoch_order(config, row_count, epoch)
    if not config.flip:
        return [(order, False)]
    batches = -(-row_count // config.batch_size)
    half = min((batches + 1) // 2 * config.batch_size, row_count)
    parts = [(order[:half], epoch % 2 == 1), (order[half:], epoch % 2 == 0)]
    return [(rows, mirrored) for rows, mirrored in parts if len(rows)]


def evaluate(model: LinearModel, data: Dataset, config: TrainConfig) -> Evaluation:
    """Return cost, accuracy, losses and predictions of a model on labelled rows.

    The cost is that of `config`: its loss and its penalty.

    Raises
    ------
    InputError
        If the rows do not fit the model.
    """
    found = functional.evaluate(data.X, data.y, model.W, model.b, loss=config.loss)
    return replace(found, cost=found.cost + model.penalty(config.l2))


def gradient(model: LinearModel, data: Dataset, config: TrainConfig) -> Array:
    """Return the gradient of the cost by the model's W, (K, d), over labelled rows.

    Raises
    ------
    InputError
        If the rows do not fit the model.
    """
    _, dW, _ = functional.loss_and_gradient(data.X, data.y, model.W, model.b, loss=config.loss)
    std = 1.0 if model.feature_std is None else model.feature_std
    result: Array = (dW + 2 * config.l2 * model.W * std**2).astype(model.W.dtype)
    return result
