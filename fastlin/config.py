"""Validated, frozen records of what to train: no settings travel as loose arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
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

    Attributes
    ----------
    loss : softmax cross-entropy or multiclass hinge (Weston-Watkins form, margin 1).
    lr : learning rate of the first epoch after the warm-up, > 0.
    schedule : how it goes on: constant; exponential, times `lr_decay` after every epoch; step,
        times `lr_decay` after every `step_epochs` epochs; cosine, down to 0 (Loshchilov & Hutter
        2017).
    lr_decay : in (0, 1]; unused with constant and cosine.
    step_epochs : >= 1; unused but with step.
    warmup_epochs : epochs before the schedule begins, in which lr rises linearly, >= 0.
    momentum : in [0, 1); see `fastlin.kernels.optimizers` for its two forms.
    nesterov : whether momentum is Nesterov's.
    l2 : factor of the penalty l2 * sum(W**2), >= 0; b is not penalised.
    batch_size : rows per step, >= 1; the last batch of an epoch may be short.
    epochs : passes over the training rows, >= 1.
    init : distribution of the first W; b starts at zero.
    sigma : standard deviation of the Gaussian initialisation, >= 0; unused with Xavier.
    shuffle : draw a new order of the rows before every epoch; otherwise file order.
    standardize : train on (x - mean) / std of every feature over the training rows; the model is
        then expressed in the features themselves. The penalty is on the weights trained.
    flip : augment images: in every epoch a random half of the batches is mirrored left to right.
    average_epochs : the model after an epoch is the mean of the weights after that epoch and the
        ones before it, this many in all, >= 1; training itself goes on from its own weights.
    seed : of the initialisation and of the orders, 0 <= seed < 2**63.
    dtype : of W, b and all arithmetic.

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
        for name, enum in (
            ("loss", Loss), ("init", Init), ("schedule", Schedule), ("dtype", Precision),
        ):  # fmt: skip
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, enum(value))
            except ValueError:
                choices = ", ".join(enum)
                raise InputError(
                    f"{name} is {quoted(value)}; it must be one of {choices}"
                ) from None
        for name in ("batch_size", "epochs", "step_epochs", "average_epochs"):
            _check_int(name, getattr(self, name), minimum=1)
        for name in ("seed", "warmup_epochs"):
            _check_int(name, getattr(self, name), minimum=0)
        for name, low, high, text in (
            ("lr", math.nextafter(0, 1), math.inf, "a finite number above 0"),
            ("lr_decay", math.nextafter(0, 1), 1.0, "above 0 and at most 1"),
            ("l2", 0.0, math.inf, "a finite number, 0 or above"),
            ("sigma", 0.0, math.inf, "a finite number, 0 or above"),
            ("momentum", 0.0, math.nextafter(1, 0), "0 or above and below 1"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and low <= value <= high):
                raise InputError(f"{name} is {quoted(value)}; it must be {text}")
            object.__setattr__(self, name, float(value))
        for name in ("shuffle", "standardize", "flip", "nesterov"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(
                    f"{name} is {quoted(getattr(self, name))}; it must be true or false"
                )
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov is a form of momentum; give a momentum above 0 with it")

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        if epoch <= self.warmup_epochs:
            return self.lr * epoch / (self.warmup_epochs + 1)
        done = epoch - self.warmup_epochs - 1
        if self.schedule is Schedule.EXPONENTIAL:
            return self.lr * self.lr_decay**done
        if self.schedule is Schedule.STEP:
            return self.lr * self.lr_decay ** (done // self.step_epochs)
        if self.schedule is Schedule.COSINE:
            length = max(1, self.epochs - self.warmup_epochs)
            return self.lr * (1 + math.cos(math.pi * done / length)) / 2
        return self.lr

    def without_effect(self) -> dict[str, str]:
        """Return the settings that the others make meaningless, and the option that does so."""
        unused = {}
        if self.init is Init.XAVIER:
            unused["sigma"] = f"--init {self.init}"
        if self.schedule in {Schedule.CONSTANT, Schedule.COSINE}:
            unused["lr_decay"] = f"--schedule {self.schedule}"
        if self.schedule is not Schedule.STEP:
            unused["step_epochs"] = f"--schedule {self.schedule}"
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
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise InputError(
                f"unknown setting {quoted(unknown[0])}; the settings are {', '.join(sorted(known))}"
            )
        return cls(**settings)


def _check_int(name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < 2**63:
        raise InputError(
            f"{name} is {quoted(value)}; it must be a whole number, {minimum} or above"
        )


@dataclass(frozen=True)
class LogRange:
    """All values from `low` to `high`, every power of ten as likely as the next: for random search.

    Raises
    ------
    InputError
        Unless 0 < low < high, both finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise InputError(
                f"the range {self.low}:{self.high} must rise from a number above 0 to a finite one"
            )


# What all entries of a grid share; every other setting may differ from entry to entry.
SHARED_SETTINGS = frozenset(
    {"epochs", "sigma", "shuffle", "dtype", "standardize", "flip", "nesterov", "average_epochs"}
)
SWEPT_SETTINGS = tuple(
    setting.name for setting in fields(TrainConfig) if setting.name not in SHARED_SETTINGS
)


@dataclass(frozen=True)
class GridSpec:
    """The configurations of a grid search: lists of values for some settings, the rest fixed.

    Attributes
    ----------
    swept : for every setting that is searched, its distinct values, or the `LogRange` from which
        random search draws them. The last one varies fastest.
    base : every other setting.

    Raises
    ------
    InputError
        If a setting cannot be searched, a list is empty or names a value twice, or a value is
        outside the range of its setting.
    """

    swept: Mapping[str, tuple[Any, ...] | LogRange]
    base: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        checked = {name: self._check(name, values) for name, values in self.swept.items()}
        object.__setattr__(self, "swept", checked)

    def _check(self, name: str, values: Any) -> tuple[Any, ...] | LogRange:
        if name not in SWEPT_SETTINGS:
            what = "is the same for all entries of a grid" if name in SHARED_SETTINGS else "unknown"
            raise InputError(
                f"setting {quoted(name)} {what}; one can search {', '.join(SWEPT_SETTINGS)}"
            )
        if isinstance(values, LogRange):
            kind = type(getattr(self.base, name))
            if kind not in (int, float):
                raise InputError(f"{name} is not a number; give a list of values, not a range")
            for end in (values.low, values.high):
                replace(self.base, **{name: kind(end)})
            return values
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"{name} is {quoted(values)}; it must be a list of values")
        listed = tuple(getattr(replace(self.base, **{name: value}), name) for value in values)
        if not listed:
            raise InputError(f"{name} has no value")
        for place, value in enumerate(listed):
            if value in listed[:place]:
                raise InputError(f"{name} lists {value} twice")
        return listed

    def __len__(self) -> int:
        """Return the number of combinations. Raises InputError if a setting has a range."""
        return math.prod(len(values) for values in self._lists().values())

    def configs(self) -> tuple[TrainConfig, ...]:
        """Return every combination, in grid order. Raises InputError if a setting has a range."""
        lists = self._lists()
        return tuple(
            replace(self.base, **dict(zip(lists, values, strict=True)))
            for values in itertools.product(*lists.values())
        )

    def _lists(self) -> dict[str, tuple[Any, ...]]:
        lists = {}
        for name, values in self.swept.items():
            if isinstance(values, LogRange):
                raise InputError(
                    f"{name} has the range {values.low}:{values.high}, from which only random "
                    "search can draw; give a list, or a range with a count, low:high:count"
                )
            lists[name] = values
        return lists

    def to_dict(self) -> dict[str, Any]:
        """Return the grid as plain JSON values."""
        return {
            "swept": {
                name: asdict(values) if isinstance(values, LogRange)
                else [str(value) if isinstance(value, StrEnum) else value for value in values]
                for name, values in self.swept.items()
            },
            "base": self.base.to_dict(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Build a grid from what `to_dict` gave. Raises InputError if it is something else."""
        try:
            swept = {
                name: LogRange(**values) if isinstance(values, dict) else tuple(values)
                for name, values in content["swept"].items()
            }
            base = TrainConfig.from_dict(content["base"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not the description of a grid ({error})") from None
        return cls(swept, base)
