"""One training run between two epochs: what is trained, and what is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import engine
from fastlin.config import Init, TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.engine import Array
from fastlin.errors import InputError
from fastlin.kernels.features import Scaled, Standardized
from fastlin.model import LinearModel, weight_penalty
from fastlin.training.standardization import Standardization

# Independent random streams of one seed: no setting that uses one stream shifts the other.
_INIT_STREAM = 0


@dataclass(frozen=True, eq=False)
class Finished:
    """A run after an epoch. It is replaced as a whole, so that no interrupt leaves half of one.

    Attributes
    ----------
    epochs_done : int
        How many epochs are finished.
    training : dict[str, Array]
        The arrays from which training goes on: W, b, and where there is one the velocity, and the
        weights of the epochs before that are averaged.
    W, b : Array
        The classifier after the last finished epoch, (K, d) and (K,).
    best_rank : tuple[int, float] or None
        Of the best epoch, by `EpochRecord.rank`; None before the first.
    best_W, best_b : Array
        The classifier after it.
    """

    epochs_done: int
    training: dict[str, Array]
    W: Array
    b: Array
    best_rank: tuple[int, float] | None
    best_W: Array
    best_b: Array

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name, from which `of_arrays` makes an equal one."""
        trained = {f"training_{name}": array for name, array in self.training.items()}
        return trained | {name: getattr(self, name) for name in _MODEL_ARRAYS}

    def of_arrays(
        self, ranks: Sequence[tuple[int, float]], arrays: Mapping[str, Array], averaged: int
    ) -> Finished:
        """Return a later state of the same run.

        Parameters
        ----------
        ranks : Sequence[tuple[int, float]]
            Of every epoch that is finished then, by `EpochRecord.rank`.
        arrays : Mapping[str, Array]
            What `arrays` returned then.
        averaged : int
            Of how many epochs the weights are averaged, by `average_epochs`.

        Raises
        ------
        InputError
            If an array is missing or does not fit the run.
        """
        shapes = {name: ours.shape for name, ours in self.arrays().items() if name not in _RECENT}
        if recent := min(len(ranks), averaged - 1):
            ours = (self.W.shape, self.b.shape)
            shapes |= {name: (recent, *own) for name, own in zip(_RECENT, ours, strict=True)}
        for name, shape in shapes.items():
            array = arrays.get(name)
            if array is None or array.shape != shape or array.dtype != self.dtype_of(name):
                raise InputError(f"the saved array {name} does not fit the run that it is of")
        training = {
            name.removeprefix("training_"): arrays[name]
            for name in shapes
            if name.startswith("training_")
        }
        # Equal arrays were one, and are again: those of large weights are most of the memory.
        W = _one_of(arrays["W"], training["W"])
        best_W = _one_of(arrays["best_W"], W)
        b, best_b = arrays["b"], arrays["best_b"]
        best_rank = min(ranks, default=None)
        return Finished(len(ranks), training, W, b, best_rank, best_W, best_b)

    def dtype_of(self, name: str) -> np.dtype[Any]:
        """Return the dtype of one of `arrays`."""
        return np.dtype(np.float64) if name == "training_scale" else self.W.dtype


_MODEL_ARRAYS = ("W", "b", "best_W", "best_b")
_RECENT = ("training_recent_W", "training_recent_b")


def _one_of(array: Array, other: Array) -> Array:
    """Return another array, if it has the same bits."""
    is_same = np.array_equal(array.view(np.uint8), other.view(np.uint8))
    return other if is_same else array


class RunState:
    """What is trained of one run: the weights, and all that goes with them, between two epochs.

    `W` (K, d), `scale` (1,), `b` (K,) and `velocity`, which has the shapes of W and b or is None,
    are as the kernels keep them (see `fastlin.kernels.features` and `.optimizers`). An epoch
    updates them in place, between `begin` and `after`.

    Parameters
    ----------
    data : Dataset
        The training rows.
    config : TrainConfig
        The settings.
    standardization : Standardization or None
        That of the training rows, if the settings ask for it.

    Raises
    ------
    InputError
        If images are to be mirrored and the rows are none.
    """

    def __init__(
        self, data: Dataset, config: TrainConfig, standardization: Standardization | None
    ) -> None:
        if config.flip and data.image_shape is None:
            raise InputError("flip mirrors images, but the rows of these data are not images")
        self.config = config
        self._data = data
        self.standardization = standardization
        self.W, self.b = initial_weights(config, len(data.class_names), data.X.shape[1])
        if standardization is not None:
            self.W = (self.W * (standardization.std / data.feature_scale)).astype(config.dtype)
        self.scale = np.ones(1)
        self.velocity: tuple[Array, Array] | None = None
        if config.momentum > 0:
            self.velocity = np.zeros_like(self.W), np.zeros_like(self.b)
        self._recent: tuple[tuple[Array, Array], ...] = ()
        # Of what the arrays are a copy; None while they are trained, or only partly written.
        self._copied: Finished | None = None

    def untrained(self) -> Finished:
        """Return the run before its first epoch."""
        W, b = self.weights()
        return Finished(0, self._training(W), W, b, None, W, b)

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
        data = self._data
        return engine.kernel_features(data.X.dtype, self.W.dtype, data.scale, moments, offset)

    def begin(self, finished: Finished) -> None:
        """Make ready for the epoch after `finished`; what an interrupted one left is undone."""
        if self._copied is not finished:
            self.restore(finished)
        self._copied = None

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
        return weight_penalty(W, self.config.penalty_factor, self.feature_std)

    def after(
        self, finished: Finished, epoch: int, rank: tuple[int, float], W: Array, b: Array
    ) -> Finished:
        """Return the run after the epoch that was begun with `finished`.

        Parameters
        ----------
        finished : Finished
            The run before the epoch.
        epoch : int
            Which one it is.
        rank : tuple[int, float]
            What is lower the better it is, by `EpochRecord.rank`; of equals the first is the best.
        W, b : Array
            Its classifier, the arrays that `weights` returned.
        """
        kept = self.config.average_epochs - 1
        if kept:
            self._recent = (*self._recent, (self._scaled(), self.b.copy()))[-kept:]
        best_rank, best_W, best_b = finished.best_rank, finished.best_W, finished.best_b
        if best_rank is None or rank < best_rank:
            best_rank, best_W, best_b = rank, W, b
        return Finished(epoch, self._training(W), W, b, best_rank, best_W, best_b)

    def confirm(self, finished: Finished) -> None:
        """Take what `after` returned as the state that the arrays hold."""
        self._copied = finished

    def _training(self, W: Array) -> dict[str, Array]:
        """Return copies of what is trained; of W none, where the classifier's has its values."""
        is_own = self.scale[0] == 1 and self.standardization is None and not self._recent
        own_W = W if is_own else self.W.copy()
        arrays = {"W": own_W, "scale": self.scale.copy(), "b": self.b.copy()}
        if self.velocity is not None:
            arrays |= {"velocity_W": self.velocity[0].copy(), "velocity_b": self.velocity[1].copy()}
        if self._recent:
            recent_W, recent_b = zip(*self._recent, strict=True)
            arrays |= {"recent_W": np.stack(recent_W), "recent_b": np.stack(recent_b)}
        return arrays

    def restore(self, finished: Finished) -> None:
        """Go on from what was finished, in this run or in an equal one."""
        self._copied = None
        arrays = finished.training
        self.W[:], self.scale[:], self.b[:] = arrays["W"], arrays["scale"], arrays["b"]
        if self.velocity is not None:
            self.velocity[0][:], self.velocity[1][:] = arrays["velocity_W"], arrays["velocity_b"]
        recent = zip(arrays.get("recent_W", ()), arrays.get("recent_b", ()), strict=True)
        self._recent = tuple((W.copy(), b.copy()) for W, b in recent)
        self._copied = finished

    def model(self, W: Array, b: Array) -> LinearModel:
        """Return the classifier of arrays that `weights` returned."""
        data = self._data
        return LinearModel(
            W,
            b,
            data.class_names,
            data.image_shape,
            self.feature_std,
            self.offset,
            data.feature_range,
            str(self.config.loss),
            data.scale,
            data.feature_names,
            self.config.penalty_factor,
        )


def initial_weights(
    config: TrainConfig, class_count: int, feature_count: int
) -> tuple[Array, Array]:
    """Return the W (K, d) and b (K,) that training starts from: normal, and zero.

    The standard deviation of W is `config.sigma`, or 1/sqrt(d) for Xavier (Glorot & Bengio 2010,
    in the form that keeps the variance of the scores).
    """
    stream = np.random.SeedSequence(config.seed, spawn_key=(_INIT_STREAM,))
    sigma = config.sigma if config.init is Init.GAUSSIAN else feature_count**-0.5
    W = np.random.default_rng(stream).standard_normal((class_count, feature_count)) * sigma
    return W.astype(config.dtype), np.zeros(class_count, config.dtype)
