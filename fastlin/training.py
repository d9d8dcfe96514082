"""Training one classifier: epochs are compiled calls, everything between them is Python."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastlin import functional, matching
from fastlin.config import Init, TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.errors import InputError
from fastlin.functional import Array, Evaluation
from fastlin.kernels.features import Scaled, Standardized
from fastlin.results import EpochRecord, History, LinearModel, Measure, weight_penalty

# Independent random streams of one seed: no setting that uses one stream shifts the other.
_INIT_STREAM, _ORDER_STREAM = 0, 1


class DivergedError(ArithmeticError):
    """The cost of an epoch was not finite; the message says which epoch and what to try.

    Attributes
    ----------
    epoch : int
        Which epoch, counted from 1.
    smaller_lr : float
        A learning rate to try.
    """

    def __init__(self, epoch: int, config: TrainConfig) -> None:
        self.epoch = epoch
        self.smaller_lr = config.lr / 10
        advice = f"try a smaller lr, such as {self.smaller_lr:g}"
        if 2 * config.lr * config.l2 >= 1:
            advice += f", or a smaller l2 (2 lr l2 is {2 * config.lr * config.l2:g}, above 1)"
        super().__init__(f"training diverged: the cost of epoch {epoch} is not finite; {advice}")


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


# A feature whose standard deviation is below this part of the median one, or of its own mean, is
# taken as constant: divided by so little, one value in a new row would decide its class.
_LEAST_STD, _LEAST_STD_OF_MEAN = 1e-6, 1e-12

# Means beyond so many standard deviations cost float32 digits, and are subtracted as rows are read.
_LARGE_MEAN = 16.0


class Standardization:
    """Features as (x - mean) / std; moments (d,) float64 of the training rows' features.

    A feature that is constant, or nearly, has std 1: it is next to 0 once its mean is gone.

    Attributes
    ----------
    mean, std : NDArray[np.float64]
        (d,), of the features.
    offset : NDArray[np.float64] or None
        (d,), what kernels subtract as they read rows: the means, as far as the rows' dtype can hold
        them. None where no mean is large beside its std, and for pixels.
    notes : tuple[str, ...]
        What a user should know of the features, a sentence each.
    """

    def __init__(self, X: Array) -> None:
        self.mean, std = functional.feature_moments(X)
        changing = std > _LEAST_STD_OF_MEAN * np.abs(self.mean)
        least = _LEAST_STD * float(np.median(std[changing])) if changing.any() else 0.0
        is_nearly_constant = changing & (std < least)
        self.std = np.where(changing & ~is_nearly_constant, std, 1.0)
        self.offset: NDArray[np.float64] | None = None
        if X.dtype != np.uint8 and (np.abs(self.mean) > _LARGE_MEAN * self.std).any():
            self.offset = self.mean.astype(X.dtype).astype(np.float64)
        self.notes = tuple(_notes_on_features(X, self.mean, np.where(changing, std, 0.0), least))

    @classmethod
    def of(cls, split: Split, config: TrainConfig) -> Standardization | None:
        """Return that of the training rows, or None if the settings ask for none."""
        return cls(split.train.X) if config.standardize else None


def _notes_on_features(
    X: Array,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    least: float,
) -> Iterator[str]:
    """Say which features were not standardised, and which have few digits.

    std is 0 for constant features, of which there is nothing to say.
    """
    is_nearly_constant = (std > 0) & (std < least)
    for j in np.flatnonzero(is_nearly_constant)[:_SHOWN_FEATURES].tolist():
        yield (
            f"feature {j} is taken as constant: its standard deviation, {std[j]:.3g}, is below "
            f"{least:.3g}, a millionth of the median one; rescale it if it matters"
        )
    more = int(is_nearly_constant.sum()) - _SHOWN_FEATURES
    if more > 0:
        yield f"{more} more features are taken as constant for the same reason"
    if X.dtype == np.uint8:
        return
    steps = np.spacing(np.abs(mean).astype(X.dtype)).astype(np.float64)
    coarse = np.flatnonzero((std > 0) & (steps > _COARSEST_STEP * std) & ~is_nearly_constant)
    for j in coarse[:_SHOWN_FEATURES].tolist():
        yield (
            f"feature {j} has few digits: around its mean, {mean[j]:.6g}, {X.dtype} numbers are "
            f"{steps[j]:.3g} apart, and its standard deviation is {std[j]:.3g}; subtract the mean "
            "before the values are saved"
        )


# At most so many features are named in notes of one kind; the step between two numbers of the rows'
# dtype beyond which a feature has few digits left, over its standard deviation.
_SHOWN_FEATURES, _COARSEST_STEP = 3, 0.1


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

    `W` (K, d), `scale` (1,), `b` (K,) and `velocity`, which has the shapes of W and b or is None,
    are as the kernels keep them (see `fastlin.kernels.features` and `.optimizers`), to be updated
    in place by the next epoch, between `begin` and `finish`.

    Raises
    ------
    InputError
        If images are to be mirrored and the rows are none.
    """

    def __init__(
        self,
        split: Split,
        config: TrainConfig,
        standardization: Standardization | None,
        select: Measure = "val_accuracy",
    ) -> None:
        if config.flip and split.train.image_shape is None:
            raise InputError("flip mirrors images, but the rows of these data are not images")
        self.config = config
        self.select = select
        self._data = split.train
        self.standardization = standardization
        self._is_unfinished = False
        self.W, self.b = initial_weights(
            config, len(split.train.class_names), self._data.X.shape[1]
        )
        if standardization is not None:
            self.W = (self.W * (standardization.std / self._data.feature_scale)).astype(
                config.dtype
            )
        self.scale = np.ones(1)
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
        moments = offset = None
        if self.standardization is not None:
            moments = self.standardization.mean, self.standardization.std
            offset = self.standardization.offset
            if mirrored:
                moments = self._mirrored(moments[0]), self._mirrored(moments[1])
                offset = None if offset is None else self._mirrored(offset)
        return functional.kernel_features(self._data.X.dtype, self.W.dtype, moments, offset)

    def begin(self) -> None:
        """Make ready for an epoch: what an interrupted one left behind is taken back."""
        if self._is_unfinished:
            self.restore(self.finished)
        self._is_unfinished = True

    def mirror(self) -> None:
        """Mirror weights, so that a step on rows becomes a step on mirrored rows, or back."""
        for array in (self.W, *(self.velocity or ())[:1]):
            array[:] = self._mirrored(array)

    def _mirrored(self, rows: Array) -> Array:
        assert self._data.image_shape is not None  # noqa: S101  (checked at the start)
        images = rows.reshape(-1, *self._data.image_shape)
        return images[..., ::-1].reshape(rows.shape)

    def weights(self) -> tuple[Array, Array]:
        """Return the classifier of the features, W (K, d) and b (K,): new arrays.

        Features are as they are, less the offset of standardisation where there is one. It is the
        mean over the last epochs, if weights are averaged.
        """
        current = (*self._recent, (self._scaled(), self.b))[-self.config.average_epochs :]
        W, b = (
            np.mean(arrays, axis=0, dtype=np.float64) if len(arrays) > 1 else arrays[0].copy()
            for arrays in zip(*current, strict=True)
        )
        if self.standardization is not None:
            mean, std = self.standardization.mean, self.standardization.std
            W = W.astype(np.float64) * (self._data.feature_scale / std**2)
            b = b - W @ (mean if self.offset is None else mean - self.offset)
        return W.astype(self.config.dtype), b.astype(self.config.dtype)

    def _scaled(self) -> Array:
        """Return scale * W, rounded once: a new array."""
        scaled: Array = (self.scale[0] * self.W.astype(np.float64)).astype(self.W.dtype)
        return scaled

    @property
    def offset(self) -> NDArray[np.float64] | None:
        """What is subtracted from features before W is applied, (d,), if anything is."""
        return None if self.standardization is None else self.standardization.offset

    def penalty(self, W: Array) -> float:
        """Return the penalty of weights that `weights` returned: it is on those trained."""
        return weight_penalty(W, self.config.l2, self.feature_std)

    def finish(self, record: EpochRecord, W: Array, b: Array) -> None:
        """Keep an epoch, and its classifier, the arrays that `weights` returned."""
        self.take(self.after(record, W, b))

    def take(self, finished: Finished) -> None:
        """Count an epoch as finished, of which `after` returned the state."""
        self.finished = finished
        self._is_unfinished = False

    def after(self, record: EpochRecord, W: Array, b: Array) -> Finished:
        """Return what is finished once an epoch is, with its classifier of `weights`."""
        records = (*self.finished.records, record)
        is_best = History.from_records(list(records)).best_by(self.select) == record.epoch
        best = (W, b) if is_best else (self.finished.best_W, self.finished.best_b)
        kept = self.config.average_epochs - 1
        if kept:
            self._recent = (*self._recent, (self._scaled(), self.b.copy()))[-kept:]
        return Finished(records, self._training(), W, b, *best)

    def _training(self) -> dict[str, Array]:
        arrays = {"W": self.W.copy(), "scale": self.scale.copy(), "b": self.b.copy()}
        if self.velocity is not None:
            arrays |= {"velocity_W": self.velocity[0].copy(), "velocity_b": self.velocity[1].copy()}
        if self._recent:
            recent_W, recent_b = zip(*self._recent, strict=True)
            arrays |= {"recent_W": np.stack(recent_W), "recent_b": np.stack(recent_b)}
        return arrays

    def restore(self, finished: Finished) -> None:
        """Go on from what was finished, in this run or in an equal one."""
        self._is_unfinished = True
        self.finished = finished
        arrays = finished.training
        self.W[:], self.scale[:], self.b[:] = arrays["W"], arrays["scale"], arrays["b"]
        if self.velocity is not None:
            self.velocity[0][:], self.velocity[1][:] = arrays["velocity_W"], arrays["velocity_b"]
        recent = zip(arrays.get("recent_W", ()), arrays.get("recent_b", ()), strict=True)
        self._recent = tuple((W.copy(), b.copy()) for W, b in recent)
        self._is_unfinished = False

    def models(self) -> tuple[LinearModel, LinearModel]:
        """Return the classifiers after the last finished and after the best epoch."""
        names, image_shape = self._data.class_names, self._data.image_shape
        finished = self.finished
        last, best = (
            LinearModel(
                W, b, names, image_shape, self.feature_std, self.offset, self._data.feature_range
            )
            for W, b in ((finished.W, finished.b), (finished.best_W, finished.best_b))
        )
        return last, best


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
    mean_losses = functional.unchecked_sgd_epochs(
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

    The cost is that of `config`: its loss and its penalty. Classes are matched by name, and
    predictions are the model's class numbers. Where these are not those of the data, or the rows
    may not be what the model was trained on, that is a `fastlin.errors.MatchWarning`.

    Raises
    ------
    InputError
        If the rows do not fit the model, or one is of a class that it does not know.
    """
    return evaluate_matched(model, matching.matched(model, data), config)


def evaluate_matched(model: LinearModel, data: Dataset, config: TrainConfig) -> Evaluation:
    """Return what `evaluate` does, of rows that `fastlin.matching.match` returned."""
    found = functional.evaluate(
        data.X, data.y, model.W, model.b, loss=config.loss, offset=model.feature_offset
    )
    return replace(found, cost=found.cost + model.penalty(config.l2))


def gradient(model: LinearModel, data: Dataset, config: TrainConfig) -> Array:
    """Return the gradient of the cost by the model's W, (K, d), over labelled rows.

    Rows are matched with the model as in `evaluate`.

    Raises
    ------
    InputError
        If the rows do not fit the model, or one is of a class that it does not know.
    """
    return gradient_matched(model, matching.matched(model, data), config)


def gradient_matched(model: LinearModel, data: Dataset, config: TrainConfig) -> Array:
    """Return what `gradient` does, of rows that `fastlin.matching.match` returned."""
    _, dW, _ = functional.loss_and_gradient(
        data.X, data.y, model.W, model.b, loss=config.loss, offset=model.feature_offset
    )
    std = 1.0 if model.feature_std is None else model.feature_std
    result: Array = (dW + 2 * config.l2 * model.W * std**2).astype(model.W.dtype)
    return result
