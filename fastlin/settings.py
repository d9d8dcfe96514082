"""Declared settings: what a value may be, stands once, beside the field that holds it.

From a declaration come the check of a value, the option on the command line and its help. This
module imports neither NumPy nor Numba.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, Protocol

from fastlin.errors import InputError, quoted

# The value of a setting that is chosen from the rows when training begins.
Auto = Literal["auto"]
AUTO: Auto = "auto"


class Kind(Protocol):
    """What the values of a setting may be."""

    def checked(self, name: str, value: object) -> Any:
        """Return a value as the setting holds it. Raises InputError if it is none of them."""


@dataclass(frozen=True)
class Number:
    """A float in a range.

    Attributes
    ----------
    low : float
        The smallest value allowed, or with `above_low` the largest that is not.
    high : float or None
        The largest value allowed, or with `below_high` the smallest that is not; None for any
        finite one.
    above_low, below_high : bool
        Whether the ends are excluded.
    """

    low: float = 0.0
    high: float | None = None
    above_low: bool = False
    below_high: bool = False

    def __str__(self) -> str:
        text = "a finite number" if self.high is None else "a number"
        text += f" above {self.low:g}" if self.above_low else f", {self.low:g} or above"
        if self.high is not None:
            text += f" and {'below' if self.below_high else 'at most'} {self.high:g}"
        return text

    def checked(self, name: str, value: object) -> float:
        """Return a number of Python or NumPy as a float. Raises InputError outside the range."""
        number = as_float(value)
        high = sys.float_info.max if self.high is None else self.high
        is_end = (self.above_low and number == self.low) or (self.below_high and number == high)
        if is_end or not self.low <= number <= high:
            raise InputError(f"{name} is {quoted(value)}; it must be {self}")
        return number + 0.0  # not -0.0, which is another text


@dataclass(frozen=True)
class Whole:
    """An int from `least` to 2**63 - 1."""

    least: int

    def checked(self, name: str, value: object) -> int:
        """Return a whole number of Python or NumPy as an int. Raises InputError if it is none."""
        return whole_number(name, value, self.least)


@dataclass(frozen=True)
class Switch:
    """True or false."""

    def checked(self, name: str, value: object) -> bool:
        """Return a truth value of Python or NumPy as a bool. Raises InputError if it is none."""
        plain = _as_python(value)
        if not isinstance(plain, bool):
            raise InputError(f"{name} is {quoted(value)}; it must be true or false")
        return plain


@dataclass(frozen=True)
class Choice:
    """A member of an enum, or its text."""

    of: type[StrEnum]

    def checked(self, name: str, value: object) -> StrEnum:
        """Return the member. Raises InputError if there is none of that text."""
        try:
            if isinstance(value, str):
                return self.of(value)
        except ValueError:
            pass
        raise InputError(f"{name} is {quoted(value)}; it must be one of {', '.join(self.of)}")


@dataclass(frozen=True)
class OrAuto:
    """A value of another kind, or `AUTO`."""

    of: Number | Switch

    def checked(self, name: str, value: object) -> float | Auto:
        """Return a value of that kind, or `AUTO`. Raises InputError if it is neither."""
        if isinstance(value, str) and value == AUTO:
            return AUTO
        try:
            return self.of.checked(name, value)
        except InputError as error:
            raise InputError(f"{error}, or {AUTO}") from None


@dataclass(frozen=True)
class Setting:
    """The declaration of a setting.

    Attributes
    ----------
    kind : Kind
        What its values may be.
    help : str
        One sentence for who chooses a value. Other settings are in backticks.
    """

    kind: Kind
    help: str

    @property
    def plain_kind(self) -> Kind:
        """What its values may be besides `AUTO`."""
        return self.kind.of if isinstance(self.kind, OrAuto) else self.kind


def setting(default: Any, kind: Kind, text: str) -> Any:
    """Return a field of a dataclass that holds a setting; arguments as in `Setting`."""
    return field(default=default, metadata={"setting": Setting(kind, text)})


def settings_of(record: type) -> Mapping[str, Setting]:
    """Return the settings of a dataclass by name, in their order."""
    return _settings_of(record)


@cache  # every record is checked when it is made
def _settings_of(record: type) -> Mapping[str, Setting]:
    found = {
        part.name: part.metadata["setting"] for part in fields(record) if "setting" in part.metadata
    }
    return MappingProxyType(found)


def check_settings(record: Any) -> None:
    """Put checked values into a new frozen dataclass. Raises InputError for the first bad one."""
    for name, declared in settings_of(type(record)).items():
        object.__setattr__(record, name, declared.kind.checked(name, getattr(record, name)))


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
