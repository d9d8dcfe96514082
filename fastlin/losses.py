"""The losses: frozen records with parameters, from the user to the kernel.

A loss is a record here, a kernel function in `fastlin.kernels.losses` and a twin in
`fastlin.reference`, under one name. The names and parameters on the command line, in files and in
`fastlin gradcheck` come from `LOSSES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import ClassVar

from fastlin.errors import InputError, quoted
from fastlin.settings import Number, Setting, check_settings, setting, settings_of

_WITH_PARAMETERS = re.compile(r"([a-z-]{1,40})\(([^()]{1,200})\)")


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of one row, a function of its scores s (K,) and its label y.

    A loss is equal to another of the same text, and to that text: ``"hinge"``, or
    ``"hinge(margin=0.5)"`` where a parameter is not the default.

    Attributes
    ----------
    name : str
        By which it is chosen.
    title : str
        In words.
    example : Mapping[str, float]
        Parameters other than the defaults, for checks that look at every loss.

    Raises
    ------
    InputError
        If a parameter is outside its range.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[Mapping[str, float]]
    SOFTMAX: ClassVar[Loss]
    HINGE: ClassVar[Loss]
    SQUARED_HINGE: ClassVar[Loss]

    def __post_init__(self) -> None:
        check_settings(self)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        default = type(self)().parameters()
        changed = [f"{p}={v!r}" for p, v in self.parameters().items() if v != default[p]]
        return f"{self.name}({' '.join(changed)})" if changed else self.name

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Loss | str) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def parameters(self) -> dict[str, float]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in settings_of(type(self))}

    def default_lr(self, square_length: float, class_count: int) -> float:
        """Return a learning rate for rows of that mean squared length.

        The biases are the weights of one more feature, 1, whose part in the length is not small
        where rows are short.
        """
        raise NotImplementedError

    @classmethod
    def of(cls, value: object, offered: Sequence[Loss] | None = None) -> Loss:
        """Return a loss from a record or from its text.

        Parameters
        ----------
        value : object
        offered : Sequence[Loss], optional
            Which losses the message names; all by default.

        Raises
        ------
        InputError
            If it is neither, or a parameter does not fit.
        """
        if isinstance(value, Loss) and type(value) in _TYPES:
            return value
        if isinstance(value, str):
            if value in LOSSES:
                return LOSSES[value]
            match = _WITH_PARAMETERS.fullmatch(value)
            if match and match[1] in LOSSES:
                return _with_text(LOSSES[match[1]], match[2], value)
        losses = tuple(LOSSES.values()) if offered is None else offered
        example = replace(losses[-1], **losses[-1].example)
        raise InputError(
            f"loss is {quoted(value)}; it must be one of {', '.join(loss.name for loss in losses)}"
            f", or one with a parameter, such as {example}"
        )


@dataclass(frozen=True, eq=False)
class Softmax(Loss):
    """Softmax cross-entropy: the sum over j of t_j (log sum_k exp(s_k) - s_j).

    The target t is 1 for the true class and 0 for others; smoothed, it is (1 - smoothing) times
    that, plus smoothing / K for every class (the definition of PyTorch).
    """

    name: ClassVar[str] = "softmax"
    title: ClassVar[str] = "softmax cross-entropy"
    example: ClassVar[Mapping[str, float]] = {"smoothing": 0.1}

    smoothing: float = setting(
        0.0, Number(0.0, 1.0, below_high=True), "Share of the target that all classes get alike."
    )

    def default_lr(self, square_length: float, class_count: int) -> float:
        """Return a learning rate; the curvature is that of p (1 - p), about 1/K at first."""
        return 18 * math.sqrt(class_count / 10) / max(square_length, 1.0)


_MARGIN = Number(0.0)
_MARGIN_HELP = "By how much the true class must lead."


@dataclass(frozen=True, eq=False)
class Hinge(Loss):
    """Multiclass hinge: the sum over j != y of max(0, s_j - s_y + margin) (Weston-Watkins)."""

    name: ClassVar[str] = "hinge"
    title: ClassVar[str] = "multiclass hinge (SVM)"
    example: ClassVar[Mapping[str, float]] = {"margin": 2.5}

    margin: float = setting(1.0, _MARGIN, _MARGIN_HELP)

    def default_lr(self, square_length: float, class_count: int) -> float:
        """Return a learning rate; a gradient counts each of the K - 1 classes that come close."""
        return 36 / math.sqrt(10 * class_count) / max(square_length, 1.0)


@dataclass(frozen=True, eq=False)
class SquaredHinge(Loss):
    """Squared hinge: the sum over j != y of max(0, s_j - s_y + margin)**2."""

    name: ClassVar[str] = "squared-hinge"
    title: ClassVar[str] = "squared multiclass hinge"
    example: ClassVar[Mapping[str, float]] = {"margin": 0.5}

    margin: float = setting(1.0, _MARGIN, _MARGIN_HELP)

    def default_lr(self, square_length: float, class_count: int) -> float:
        """Return a learning rate; the curvature is 4 while every class comes close."""
        return min(0.6, 6 / class_count) / max(square_length, 2.0)


_TYPES: tuple[type[Loss], ...] = (Softmax, Hinge, SquaredHinge)

# Every loss by name, with default parameters.
LOSSES: dict[str, Loss] = {kind.name: kind() for kind in _TYPES}

Loss.SOFTMAX, Loss.HINGE, Loss.SQUARED_HINGE = (
    LOSSES[kind.name] for kind in (Softmax, Hinge, SquaredHinge)
)

# The parameters of all losses by name; those of one name are declared alike.
PARAMETERS: dict[str, Setting] = {
    name: declared for kind in _TYPES for name, declared in settings_of(kind).items()
}


def losses_to_check() -> tuple[Loss, ...]:
    """Return every loss with default parameters and with others, for checks of all losses."""
    return tuple(
        loss
        for default in LOSSES.values()
        for loss in dict.fromkeys((default, replace(default, **default.example)))
    )


def with_parameters(
    losses: Iterable[Loss], values: Mapping[str, Sequence[float]]
) -> tuple[Loss, ...]:
    """Return every loss with every combination of the given parameters that it has.

    Parameters
    ----------
    losses : Iterable[Loss]
        The losses.
    values : Mapping[str, Sequence[float]]
        For names of parameters, the values they take.

    Returns
    -------
    tuple[Loss, ...]
        A loss without any of these parameters stands there once, as it is.

    Raises
    ------
    InputError
        If none of the losses has a parameter, or a value is outside its range.
    """
    losses = tuple(losses)
    for name in values:
        if not any(name in loss.parameters() for loss in losses):
            names = ", ".join(dict.fromkeys(loss.name for loss in losses))
            raise InputError(f"{name} has no effect with loss {names}; leave one of them out")
    found: list[Loss] = []
    for loss in losses:
        own = {name: values[name] for name in loss.parameters() if name in values}
        found += [
            replace(loss, **dict(zip(own, combination, strict=True)))
            for combination in product(*own.values())
        ]
    return tuple(found)


def check_given_once(losses: Iterable[Loss], names: Iterable[str]) -> None:
    """Raise InputError if a parameter stands in a loss, and is given by its own name, too."""
    for loss, name in product(losses, names):
        default = type(loss)().parameters()
        if loss.parameters().get(name) != default.get(name):
            raise InputError(f"{name} is given twice: in loss {loss}, and by itself")


def _with_text(default: Loss, text: str, whole: str) -> Loss:
    """Return a loss with parameters from a text such as ``margin=0.5``."""
    given: dict[str, float] = {}
    for item in text.split():
        name, equals, number = item.partition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        known = ", ".join(default.parameters())
        if not known:
            raise InputError(f"loss is {quoted(whole)}; {default.name} has no parameters")
        if not equals or name not in default.parameters() or name in given:
            raise InputError(
                f"loss is {quoted(whole)}; it must be {default.name} with a number for {known}, "
                f"such as {replace(default, **default.example)}"
            )
        given[name] = value
    try:
        return replace(default, **given)
    except InputError as error:
        raise InputError(f"loss is {quoted(whole)}: {error}") from None


class LossKind:
    """A loss, or its text: the kind of the setting `loss`.

    Parameters
    ----------
    kinds : Sequence[type[Loss]]
        Which of them help and messages offer; all by default. Whoever declares fewer refuses the
        others, and says why.
    """

    def __init__(self, kinds: Sequence[type[Loss]] = _TYPES) -> None:
        self.losses = tuple(LOSSES[kind.name] for kind in kinds)

    def checked(self, name: str, value: object) -> Loss:
        """Return the loss. Raises InputError if there is none of that text."""
        return Loss.of(value, self.losses)
