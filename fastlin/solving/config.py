"""The settings of an exact fit; it imports neither NumPy nor Numba."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastlin.class_weights import ClassWeight, ClassWeights
from fastlin.errors import InputError, quoted
from fastlin.fitting import check_repeats
from fastlin.losses import Loss, LossKind, Softmax, SquaredHinge
from fastlin.settings import (
    AUTO,
    Auto,
    Number,
    OrAuto,
    Switch,
    Whole,
    check_settings,
    setting,
    settings_of,
    whole_number,
)

LEAST_PASSES = 3
SMOOTH_LOSSES = (Softmax, SquaredHinge)
LARGEST_L2 = 1.7e38  # float32 holds a gradient's 2 l2


@dataclass(frozen=True)
class FitConfig:
    """Everything that decides which classifier an exact fit looks for, and how exactly.

    Attributes
    ----------
    loss : Loss
        Softmax, with or without smoothing, or squared hinge: a record or its text.
    l2 : float or "auto"
        Factor of the penalty l2 * sum(W**2), >= 0, beside the mean loss; ``"auto"`` for that of
        `C`.
    C : float or "auto"
        How scikit-learn states the same, > 0: for n rows l2 = 1 / (2 n C), and of two classes
        1 / (n C); ``"auto"`` for 1, its default, where there is no l2.
    gap : float
        By which share the objective may be above the least one there is, in (0, 1].
    standardize : bool
        Fit on (x - mean) / std of every feature over the training rows; the model is then expressed
        in the features themselves. The penalty is on the weights fitted.
    class_weight : None, str, or Mapping[str, float]
        As in `fastlin.TrainConfig`.
    fit_intercept : bool
        Whether there is a b, which is not penalised.
    max_passes : int
        Over the rows, >= 3: at weights of zero, at the start, and at the result. After so many the
        fit ends wherever it is.

    Raises
    ------
    InputError
        If a value is outside its range; the message names the setting.
    """

    loss: Loss = setting(
        Loss.SOFTMAX,
        LossKind(SMOOTH_LOSSES),
        "Loss: softmax cross-entropy or squared multiclass hinge.",
    )
    l2: float | Auto = setting(
        AUTO,
        OrAuto(Number()),
        "Factor of the penalty on the sum of squared weights, beside the mean loss; auto takes "
        "that of `C`.",
    )
    C: float | Auto = setting(
        AUTO,
        OrAuto(Number(above_low=True)),
        "The same in scikit-learn's units, the larger the weaker: l2 is 1 / (2 n C) for n rows, of "
        "two classes 1 / (n C); auto is 1, where there is no `l2`.",
    )
    gap: float = setting(
        1e-6,
        Number(0.0, 1.0, above_low=True),
        "Stop when the objective is proved to be above the least one by no more than this share.",
    )
    standardize: bool = setting(
        False,
        Switch(),
        "Fit on features less their mean, over their standard deviation, or as they are.",
    )
    class_weight: ClassWeight = setting(
        None,
        ClassWeights(),
        "How much the rows of each class count: balanced, so that every class counts the same, or "
        "weights from a file (.csv of class,weight, or .json).",
    )
    fit_intercept: bool = setting(True, Switch(), "Fit biases, which are not penalised, or none.")
    max_passes: int = setting(1000, Whole(LEAST_PASSES), "Stop after so many passes over the rows.")

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.loss, SMOOTH_LOSSES):
            names = " and ".join(kind.name for kind in SMOOTH_LOSSES)
            raise InputError(
                f"loss is {self.loss}; an exact fit needs second derivatives, which are known of "
                f"{names}"
            )
        if AUTO not in (self.l2, self.C):
            raise InputError("l2 and C are given, which say the same; leave one of them out")

    def penalty_factor(self, row_count: int, class_count: int) -> float:
        """Return l2 as a number, for so many rows in so many classes.

        Raises
        ------
        InputError
            If it, or that of `C`, is a number that no fit can have.
        """
        if self.l2 != AUTO:
            if float(self.l2) > LARGEST_L2:
                raise InputError(f"l2 is {self.l2:g}; an exact fit takes at most {LARGEST_L2:g}")
            return float(self.l2)
        return penalty_of(1.0 if self.C == AUTO else float(self.C), row_count, class_count)


FIT_SETTINGS = settings_of(FitConfig)


def with_settings(config: FitConfig | None, settings: Mapping[str, Any]) -> FitConfig:
    """Return settings, those given by name before those of a record.

    Of l2 and C, which say the same, the one that is given takes the place of both.

    Raises
    ------
    InputError
        If the record is another one, there is no such setting, or a value does not fit.
    """
    if config is not None and not isinstance(config, FitConfig):
        raise InputError(
            f"config is a {type(config).__name__}; it must be a FitConfig, or settings by name: "
            "solve(split, l2=1e-4)"
        )
    for name in settings:
        if name not in FIT_SETTINGS:
            known = ", ".join(FIT_SETTINGS)
            raise InputError(f"unknown setting {quoted(name)}; the settings are {known}")
    given = dict(settings)
    for name, other in (("l2", "C"), ("C", "l2")):
        if settings.get(name, AUTO) != AUTO:
            given.setdefault(other, AUTO)
    return replace(config or FitConfig(), **given)


def settings_of_path(config: FitConfig | None, settings: Mapping[str, Any]) -> FitConfig:
    """Return settings as `with_settings` does, for several penalties, which stand beside them.

    Raises
    ------
    InputError
        As `with_settings` does, or if one penalty is given by name.
    """
    for name in ("l2", "C"):
        if name in settings:
            raise InputError(f"{name} is one penalty, and here are several: give them as {name}s")
    return with_settings(config, settings)


def log_steps(low: float, high: float, steps: int) -> tuple[float, ...]:
    """Return powers of ten from 10**low to 10**high, in so many equal steps of the exponent."""
    return tuple(float(f"{10 ** (low + (high - low) * i / steps):.6g}") for i in range(steps + 1))


# What DINOv2's evaluation searches: 45 values from 1e-6 to 1e5.
DEFAULT_CS = log_steps(-6, 5, 44)


@dataclass(frozen=True)
class PathPlan:
    """Which penalties are fitted one after another, and how one of them is chosen.

    Attributes
    ----------
    l2s, Cs : tuple[float, ...] or None
        The penalties, in either unit; without both, `DEFAULT_CS`.
    select : str
        By which measure of validation rows one is chosen, such as ``"val_accuracy"``.
    patience : int or None
        After how many penalties that are clearly worse than the best no more are fitted.
    refit : bool
        Whether the best is fitted again on training and validation rows: with the same l2 if `l2s`
        are given, else with the same C.
    bisect : bool
        Fit some of the penalties, far apart, then those half as far from the best, and so on, down
        to its neighbours.
    extend : bool
        Whether the path goes on beyond an end that is the best.
    cv : int or None
        Judge every penalty by so many folds of the training and validation rows, each held out
        once, in the place of validation rows; the best is then fitted again on all rows.

    Raises
    ------
    InputError
        If a value does not fit.
    """

    l2s: tuple[float, ...] | None = None
    Cs: tuple[float, ...] | None = None
    select: str = "val_accuracy"
    patience: int | None = None
    refit: bool = False
    bisect: bool = False
    extend: bool = True
    cv: int | None = None

    def __post_init__(self) -> None:
        if self.l2s is not None and self.Cs is not None:
            raise InputError("l2s and Cs are given, which say the same; leave one of them out")
        for name in ("l2s", "Cs"):
            object.__setattr__(self, name, penalties(name, getattr(self, name)))
        for name in ("refit", "bisect", "extend"):
            Switch().checked(name, getattr(self, name))
        if self.patience is not None:
            object.__setattr__(self, "patience", whole_number("patience", self.patience, 1))
        if self.cv is not None:
            object.__setattr__(self, "cv", check_repeats("cv", self.cv, 2))
            object.__setattr__(self, "refit", True)
        if self.patience is not None and self.bisect:
            raise InputError("patience has no effect with bisect; leave one of them out")


def penalty_of(C: float, row_count: float, class_count: int) -> float:
    """Return the l2 that scikit-learn's C is for so many rows, whose weights have the mean 1.

    Of two classes scikit-learn has one vector of weights, the difference of the two rows of W: the
    square of its length is twice sum(W**2).

    Raises
    ------
    InputError
        If it is beyond float32, or float64 rounds it to 0.
    """
    factor, weighted = _factor(class_count), row_count * C
    l2 = factor / weighted if weighted > 0 else math.inf
    if not 0 < l2 <= LARGEST_L2:
        other = "larger" if l2 > 0 else "smaller"
        raise InputError(
            f"C is {C:g}, which over {row_count:g} rows is an l2 of {l2:g}; give a {other} C"
        )
    return l2


def penalties(name: str, values: Iterable[float] | None) -> tuple[float, ...] | None:
    """Return penalties as numbers above 0; None if none are given.

    Raises
    ------
    InputError
        If they are something else, or a list of them is empty.
    """
    if values is None:
        return None
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name} is {quoted(values)}; it must be a list of numbers above 0")
    found = tuple(Number(above_low=True).checked(name, value) for value in values)
    if not found:
        raise InputError(f"{name} is empty; give at least one penalty")
    if name == "l2s" and max(found) > LARGEST_L2:
        raise InputError(f"l2s has {max(found):g}; an exact fit takes at most {LARGEST_L2:g}")
    return found


def inverse_penalty_of(l2: float, row_count: int, class_count: int) -> float:
    """Return scikit-learn's C for an l2; infinite for 0. The inverse of `penalty_of`."""
    return _factor(class_count) / (row_count * l2) if l2 > 0 else math.inf


def _factor(class_count: int) -> float:
    return 1.0 if class_count == 2 else 0.5
