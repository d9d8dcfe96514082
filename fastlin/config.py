"""Validated, frozen records of what to train: no settings travel as loose arguments."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from fastlin.class_weights import ClassWeight, ClassWeights
from fastlin.errors import InputError, quoted
from fastlin.losses import LOSSES, Loss, LossKind
from fastlin.settings import (
    AUTO,
    Auto,
    Choice,
    Number,
    OrAuto,
    Switch,
    Whole,
    check_settings,
    setting,
    settings_of,
    whole_number,
)

__all__ = ["SETTINGS", "Init", "Loss", "Precision", "Schedule", "TrainConfig", "as_json"]


class Init(StrEnum):
    """How W starts: normal with a given sigma, or with sigma = 1/sqrt(d) (Xavier)."""

    GAUSSIAN = "gaussian"
    XAVIER = "xavier"


class Schedule(StrEnum):
    """How the learning rate goes on after its warm-up; see `TrainConfig.lr_at`."""

    EXPONENTIAL = "exponential"
    CONSTANT = "constant"
    STEP = "step"
    COSINE = "cosine"


class Precision(StrEnum):
    """The dtype of W, b and all arithmetic."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of one training run on given data.

    Two runs with equal configurations on equal data give the same bits, for any number of threads.

    Scalars of NumPy are taken as the Python values that they are equal to.

    Attributes
    ----------
    loss : Loss
        A record of `fastlin.losses`, such as ``Hinge(margin=0.5)``, or its text: ``"softmax"``,
        ``"hinge"``, ``"hinge(margin=0.5)"``.
    lr : float or "auto"
        Learning rate of the first epoch after the warm-up, > 0, and > 0 in `dtype`. Where it, `l2`
        or `standardize` is ``"auto"``, training chooses it from the rows, by the rules of
        `fastlin.training.defaults`; results hold the values chosen.
    schedule : Schedule
        How it goes on: constant; exponential, times `lr_decay` after every epoch; step, times
        `lr_decay` after every `step_epochs` epochs; cosine, down to 0 (Loshchilov & Hutter 2017).
    lr_decay : float
        In (0, 1]; unused with constant and cosine.
    step_epochs : int
        >= 1; unused but with step.
    warmup_epochs : int
        Epochs before the schedule begins, in which lr rises linearly, >= 0.
    momentum : float
        In [0, 1); see `fastlin.kernels.optimizers` for its two forms.
    nesterov : bool
        Whether momentum is Nesterov's.
    l2 : float or "auto"
        Factor of the penalty l2 * sum(W**2), >= 0; b is not penalised.
    batch_size : int
        Rows per step, >= 1; the last batch of an epoch may be short.
    epochs : int
        Passes over the training rows, >= 1.
    init : Init
        Distribution of the first W; b starts at zero.
    sigma : float
        Standard deviation of the Gaussian initialisation, >= 0; unused with Xavier.
    shuffle : bool
        Draw a new order of the rows before every epoch; otherwise file order.
    window : int
        Among how many rows the order is drawn, >= 0: those of some blocks of rows, which are drawn
        anew before every epoch, too. 0 for all rows, and of rows that stay in files for as many as
        may be in memory.
    standardize : bool or "auto"
        Train on (x - mean) / std of every feature over the training rows; the model is then
        expressed in the features themselves. The penalty is on the weights trained.
    flip : bool
        Augment images: in every epoch a random half of the batches is mirrored left to right.
    average_epochs : int
        The model after an epoch is the mean of the weights after that epoch and the ones before
        it, this many in all or as many as there are, >= 1; training itself goes on from its own
        weights.
    class_weight : None, str, or Mapping[str, float]
        How much the rows of each class count, times their own weights: all alike; ``"balanced"``,
        so that every class counts the same; or by the name of the class, 1 where none is given. It
        is kept as pairs of name and weight.
    seed : int
        Of the initialisation and of the orders, 0 <= seed < 2**63.
    dtype : Precision
        Of W, b and all arithmetic.

    Raises
    ------
    InputError
        If a value is outside its range; the message names the setting.
    """

    loss: Loss = setting(
        Loss.SOFTMAX,
        LossKind(),
        f"Loss: {', '.join(loss.title for loss in LOSSES.values())}.",
    )
    lr: float | Auto = setting(
        AUTO,
        OrAuto(Number(above_low=True)),
        "Learning rate of the first epoch (after the warm-up); auto chooses it from the rows.",
    )
    schedule: Schedule = setting(
        Schedule.EXPONENTIAL,
        Choice(Schedule),
        "How the learning rate goes on: times `lr_decay` every epoch (exponential) or every "
        "`step_epochs` (step), constant, or down to 0 (cosine).",
    )
    lr_decay: float = setting(
        0.9, Number(0.0, 1.0, above_low=True), "Factor of the learning rate, per epoch."
    )
    step_epochs: int = setting(10, Whole(1), "Epochs per step of the step schedule.")
    warmup_epochs: int = setting(0, Whole(0), "Epochs at first in which the learning rate rises.")
    momentum: float = setting(0.0, Number(0.0, 1.0, below_high=True), "Momentum; 0 for none.")
    nesterov: bool = setting(False, Switch(), "Nesterov's form of momentum, or the classical one.")
    l2: float | Auto = setting(
        AUTO,
        OrAuto(Number()),
        "Factor of the penalty on the sum of squared weights; auto chooses it from the rows.",
    )
    batch_size: int = setting(64, Whole(1), "Rows per step.")
    epochs: int = setting(40, Whole(1), "Passes over the training rows.")
    init: Init = setting(
        Init.GAUSSIAN, Choice(Init), "First weights: normal with `sigma`, or with 1/sqrt(d)."
    )
    sigma: float = setting(0.01, Number(), "Standard deviation of the gaussian first weights.")
    shuffle: bool = setting(
        True, Switch(), "Draw a new order before every epoch, or keep file order."
    )
    window: int = setting(
        0,
        Whole(0),
        "Shuffle among so many rows at a time, a share of every part of the file; 0 for all, or as "
        "many as memory holds.",
    )
    standardize: bool | Auto = setting(
        AUTO,
        OrAuto(Switch()),
        "Train on features less their mean, over their standard deviation, or as they are; auto "
        "does so if their scales differ much.",
    )
    flip: bool = setting(False, Switch(), "Augment images with their mirror images, or not.")
    average_epochs: int = setting(
        1,
        Whole(1),
        "Take as result the mean of the weights after so many last epochs.",
    )
    class_weight: ClassWeight = setting(
        None,
        ClassWeights(),
        "How much the rows of each class count: balanced, so that every class counts the same, or "
        "weights from a file (.csv of class,weight, or .json).",
    )
    seed: int = setting(0, Whole(0), "Seed of first weights and orders.")
    dtype: Precision = setting(
        Precision.FLOAT32, Choice(Precision), "Precision of weights and arithmetic."
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov is a form of momentum; give a momentum above 0 with it")
        self._check_dtype()

    def _check_dtype(self) -> None:
        """Raise InputError if a number becomes another one in `dtype`: infinite, or an lr of 0."""
        way_out = "" if self.dtype is Precision.FLOAT64 else "; dtype float64 can hold it"
        for name in ("lr", "l2", "sigma"):
            number = getattr(self, name)
            if number == AUTO:
                continue
            # Weights are sigma times normal values, of which none is as large as 16; a gradient has
            # 2 l2 times the weights.
            largest = {"lr": 1, "l2": 2, "sigma": 16}[name] * number
            if math.isinf(_rounded(largest, self.dtype)):
                what = f"so large that {self.dtype} cannot hold "
                what += "weights of that size" if name == "sigma" else "it"
                raise InputError(f"{name} is {number!r}, {what}{way_out}")
        for name, number in self.loss.parameters().items():
            if math.isinf(_rounded(number, self.dtype)):
                raise InputError(
                    f"{name} is {number!r}, so large that {self.dtype} cannot hold it{way_out}"
                )
        if _rounded(self.momentum, self.dtype) == 1:
            raise InputError(f"momentum is {self.momentum!r}, which is 1 in {self.dtype}{way_out}")
        if self.lr != AUTO and _rounded(self.lr, self.dtype) == 0:
            raise InputError(
                f"lr is {self.lr!r}, which is 0 in {self.dtype}: nothing would be trained{way_out}"
            )

    @property
    def first_lr(self) -> float:
        """The learning rate as a number. Raises InputError if it is to be chosen from rows."""
        return _chosen("lr", self.lr)

    @property
    def penalty_factor(self) -> float:
        """The number l2. Raises InputError if it is to be chosen from rows."""
        return _chosen("l2", self.l2)

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch.

        It never rises after the warm-up. Beyond the last epoch the cosine schedule stays at 0.

        Parameters
        ----------
        epoch : int
            Counted from 1.

        Returns
        -------
        float
            Finite, 0 or above.

        Raises
        ------
        InputError
            If the epoch is no whole number, 1 or above, or `lr` is to be chosen from rows.
        """
        epoch, lr = whole_number("epoch", epoch, 1), self.first_lr
        if epoch <= self.warmup_epochs:
            rising = lr * epoch / (self.warmup_epochs + 1)
            return rising if rising < math.inf else lr / (self.warmup_epochs + 1) * epoch
        done = epoch - self.warmup_epochs - 1
        if self.schedule is Schedule.EXPONENTIAL:
            return lr * self.lr_decay**done
        if self.schedule is Schedule.STEP:
            return lr * self.lr_decay ** (done // self.step_epochs)
        if self.schedule is Schedule.COSINE:
            length = max(1, self.epochs - self.warmup_epochs)
            return lr * ((1 + math.cos(math.pi * min(done, length) / length)) / 2)
        return lr

    def without_effect(self) -> dict[str, str]:
        """Return the settings that others make meaningless.

        Returns
        -------
        dict[str, str]
            For each of them the setting whose value makes it so, as {"sigma": "init"}.
        """
        unused = {}
        if self.init is Init.XAVIER:
            unused["sigma"] = "init"
        if self.schedule in {Schedule.CONSTANT, Schedule.COSINE}:
            unused["lr_decay"] = "schedule"
        if self.schedule is not Schedule.STEP:
            unused["step_epochs"] = "schedule"
        return unused

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {name: as_json(getattr(self, name)) for name in SETTINGS}

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Build a configuration from JSON values.

        Raises
        ------
        InputError
            If a setting is unknown or its value is outside its range.
        """
        if not isinstance(settings, Mapping):
            raise InputError(f"the settings are {quoted(settings)}; they must be names with values")
        for name in settings:
            if name not in SETTINGS:
                known = ", ".join(sorted(SETTINGS))
                raise InputError(f"unknown setting {quoted(name)}; the settings are {known}")
        return cls(**settings)


# The declared settings by name; all of them may differ between entries of one grid.
SETTINGS = settings_of(TrainConfig)


def _chosen(name: str, value: float | Auto) -> float:
    """Return the number that a setting is. Raises InputError if it is not chosen yet."""
    if isinstance(value, str):
        raise InputError(
            f"{name} is {AUTO}, which becomes a number when training begins; give a number, or the "
            "settings that a result of training holds"
        )
    return value


def as_json(value: Any) -> Any:
    """Return the value of a setting as plain JSON: enums and losses as text, pairs as object."""
    if isinstance(value, tuple):
        return dict(value)
    return str(value) if isinstance(value, StrEnum | Loss) else value


def _rounded(number: float, dtype: Precision) -> float:
    """Return a number as it is in a dtype."""
    if dtype is Precision.FLOAT64:
        return number
    try:
        in_float32: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf
    return in_float32
