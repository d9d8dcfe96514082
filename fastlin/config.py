"""Validated, frozen records of what to train: no settings travel as loose arguments."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from fastlin.errors import InputError, quoted


class Loss(StrEnum):
    """The loss of one row; see `fastlin.reference` for the formulas."""

    SOFTMAX = "softmax"
    HINGE = "hinge"


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
        Softmax cross-entropy or multiclass hinge (Weston-Watkins form, margin 1).
    lr : float
        Learning rate of the first epoch after the warm-up, > 0, and > 0 in `dtype`.
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
    l2 : float
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
    standardize : bool
        Train on (x - mean) / std of every feature over the training rows; the model is then
        expressed in the features themselves. The penalty is on the weights trained.
    flip : bool
        Augment images: in every epoch a random half of the batches is mirrored left to right.
    average_epochs : int
        The model after an epoch is the mean of the weights after that epoch and the ones before
        it, this many in all, >= 1; training itself goes on from its own weights.
    seed : int
        Of the initialisation and of the orders, 0 <= seed < 2**63.
    dtype : Precision
        Of W, b and all arithmetic.

    Raises
    ------
    InputError
        If a value is outside its range; the message names the setting.
    """

    loss: Loss = Loss.SOFTMAX
    lr: float = 0.02
    schedule: Schedule = Schedule.EXPONENTIAL
    lr_decay: float = 0.9
    step_epochs: int = 10
    warmup_epochs: int = 0
    momentum: float = 0.0
    nesterov: bool = False
    l2: float = 0.01
    batch_size: int = 64
    epochs: int = 40
    init: Init = Init.GAUSSIAN
    sigma: float = 0.01
    shuffle: bool = True
    standardize: bool = False
    flip: bool = False
    average_epochs: int = 1
    seed: int = 0
    dtype: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        for name, enum in _CHOICES.items():
            self._set(name, _choice(name, getattr(self, name), enum))
        for name, minimum in _WHOLE_NUMBERS.items():
            self._set(name, whole_number(name, getattr(self, name), minimum))
        for name, (low, high, text) in _NUMBERS.items():
            value = getattr(self, name)
            number = as_float(value)
            if not low <= number <= high:
                raise InputError(f"{name} is {quoted(value)}; it must be {text}")
            self._set(name, number)
        for name in _SWITCHES:
            value = _as_python(getattr(self, name))
            if not isinstance(value, bool):
                raise InputError(f"{name} is {quoted(value)}; it must be true or false")
            self._set(name, value)
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov is a form of momentum; give a momentum above 0 with it")
        self._check_dtype()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_dtype(self) -> None:
        """Raise InputError if a number becomes another one in `dtype`: infinite, or an lr of 0."""
        way_out = "" if self.dtype is Precision.FLOAT64 else "; dtype float64 can hold it"
        for name in ("lr", "l2", "sigma"):
            number = getattr(self, name)
            # Weights are sigma times normal values, of which none is as large as 16; a gradient has
            # 2 l2 times the weights.
            largest = {"lr": 1, "l2": 2, "sigma": 16}[name] * number
            if math.isinf(_rounded(largest, self.dtype)):
                what = f"so large that {self.dtype} cannot hold "
                what += "weights of that size" if name == "sigma" else "it"
                raise InputError(f"{name} is {number!r}, {what}{way_out}")
        if _rounded(self.momentum, self.dtype) == 1:
            raise InputError(f"momentum is {self.momentum!r}, which is 1 in {self.dtype}{way_out}")
        if _rounded(self.lr, self.dtype) == 0:
            raise InputError(
                f"lr is {self.lr!r}, which is 0 in {self.dtype}: nothing would be trained{way_out}"
            )

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
            If the epoch is no whole number, 1 or above.
        """
        epoch = whole_number("epoch", epoch, 1)
        if epoch <= self.warmup_epochs:
            rising = self.lr * epoch / (self.warmup_epochs + 1)
            return rising if rising < math.inf else self.lr / (self.warmup_epochs + 1) * epoch
        done = epoch - self.warmup_epochs - 1
        if self.schedule is Schedule.EXPONENTIAL:
            return self.lr * self.lr_decay**done
        if self.schedule is Schedule.STEP:
            return self.lr * self.lr_decay ** (done // self.step_epochs)
        if self.schedule is Schedule.COSINE:
            length = max(1, self.epochs - self.warmup_epochs)
            return self.lr * ((1 + math.cos(math.pi * min(done, length) / length)) / 2)
        return self.lr

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
        return {
            name: str(value) if isinstance(value, StrEnum) else value
            for name, value in asdict(self).items()
        }

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
        known = {field.name for field in fields(cls)}
        for name in settings:
            if name not in known:
                raise InputError(
                    f"unknown setting {quoted(name)}; the settings are {', '.join(sorted(known))}"
                )
        return cls(**settings)


_CHOICES = {"loss": Loss, "init": Init, "schedule": Schedule, "dtype": Precision}

# Settings by kind, with their ranges: both ends are allowed.
_WHOLE_NUMBERS = {
    "batch_size": 1, "epochs": 1, "step_epochs": 1, "average_epochs": 1, "seed": 0,
    "warmup_epochs": 0,
}  # fmt: skip
_NUMBERS = {
    "lr": (math.nextafter(0, 1), sys.float_info.max, "a finite number above 0"),
    "lr_decay": (math.nextafter(0, 1), 1.0, "a number above 0 and at most 1"),
    "l2": (0.0, sys.float_info.max, "a finite number, 0 or above"),
    "sigma": (0.0, sys.float_info.max, "a finite number, 0 or above"),
    "momentum": (0.0, math.nextafter(1, 0), "a number, 0 or above and below 1"),
}
_SWITCHES = ("shuffle", "standardize", "flip", "nesterov")


def _as_python(value: object) -> object:
    """Return a truth value or real number of NumPy as that of Python; anything else as it is."""
    # The command line shows its help without NumPy. Where it was never imported, no value is of it.
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    kind = {"b": bool, "i": int, "u": int, "f": float}.get(value.dtype.kind)
    return value if kind is None else kind(value)


def as_float(value: object) -> float:
    """Return a number as a float: NaN for what is none, an infinity for what is too large."""
    value = _as_python(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _choice(name: str, value: object, enum: type[StrEnum]) -> StrEnum:
    try:
        if isinstance(value, str):
            return enum(value)
    except ValueError:
        pass
    raise InputError(f"{name} is {quoted(value)}; it must be one of {', '.join(enum)}")


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return a value of Python or NumPy as an int.

    Parameters
    ----------
    name : str
        Of the setting, for the message.
    value : object
        What was given.
    minimum : int
        The smallest value allowed; the largest is 2**63 - 1.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If the value is no whole number, or outside that range.
    """
    number = _as_python(value)
    if isinstance(number, int) and not isinstance(number, bool) and minimum <= number < 2**63:
        return int(number)
    raise InputError(
        f"{name} is {quoted(value)}; it must be a whole number, {minimum} or above, below 2**63"
    )


def _rounded(number: float, dtype: Precision) -> float:
    """Return a number as it is in a dtype."""
    if dtype is Precision.FLOAT64:
        return number
    try:
        in_float32: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf
    return in_float32
