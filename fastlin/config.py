"""Validated, frozen records of what to train: no settings travel as loose arguments."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from fastlin.errors import InputError


class Loss(StrEnum):
    """The loss of one row; see `fastlin.reference` for the formulas."""

    SOFTMAX = "softmax"
    HINGE = "hinge"


class Init(StrEnum):
    """How W starts: normal with a given sigma, or with sigma = 1/sqrt(d) (Xavier)."""

    GAUSSIAN = "gaussian"
    XAVIER = "xavier"


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
    lr : learning rate of the first epoch, > 0.
    lr_decay : the learning rate is multiplied by this after every epoch, in (0, 1].
    l2 : factor of the penalty l2 * sum(W**2), >= 0; b is not penalised.
    batch_size : rows per step, >= 1; the last batch of an epoch may be short.
    epochs : passes over the training rows, >= 1.
    init : distribution of the first W; b starts at zero.
    sigma : standard deviation of the Gaussian initialisation, >= 0; unused with Xavier.
    shuffle : draw a new order of the rows before every epoch; otherwise file order.
    seed : of the initialisation and of the orders, 0 <= seed < 2**63.
    dtype : of W, b and all arithmetic.

    Raises
    ------
    InputError
        If a value is outside its range; the message names the setting.
    """

    loss: Loss = Loss.SOFTMAX
    lr: float = 0.02
    lr_decay: float = 0.9
    l2: float = 0.01
    batch_size: int = 64
    epochs: int = 40
    init: Init = Init.GAUSSIAN
    sigma: float = 0.01
    shuffle: bool = True
    seed: int = 0
    dtype: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        for name, enum in (("loss", Loss), ("init", Init), ("dtype", Precision)):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, enum(value))
            except ValueError:
                choices = ", ".join(enum)
                raise InputError(f"{name} is {value!r}; it must be one of {choices}") from None
        for name in ("batch_size", "epochs"):
            _check_int(name, getattr(self, name), minimum=1)
        _check_int("seed", self.seed, minimum=0)
        for name, low, high, text in (
            ("lr", math.nextafter(0, 1), math.inf, "a finite number above 0"),
            ("lr_decay", math.nextafter(0, 1), 1.0, "above 0 and at most 1"),
            ("l2", 0.0, math.inf, "a finite number, 0 or above"),
            ("sigma", 0.0, math.inf, "a finite number, 0 or above"),
        ):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and low <= value <= high):
                raise InputError(f"{name} is {value!r}; it must be {text}")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.shuffle, bool):
            raise InputError(f"shuffle is {self.shuffle!r}; it must be true or false")

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
                f"unknown setting {unknown[0]!r}; the settings are {', '.join(sorted(known))}"
            )
        return cls(**settings)


def _check_int(name: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < 2**63:
        raise InputError(f"{name} is {value!r}; it must be a whole number, {minimum} or above")
