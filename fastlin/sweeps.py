"""Lists of values as people write them: `0,0.001:0.1:3`, `1e-4:1e-1`, or a TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Any

from fastlin.config import SWEPT_SETTINGS, GridSpec, LogRange, TrainConfig
from fastlin.errors import InputError

# Steps in log space are computed in decimals and rounded to as many digits as a float64 holds
# without doubt, so that powers of ten come out as a person would type them.
_EXACT, _FLOAT_DIGITS = Context(prec=50), Context(prec=15)


def parse_values(name: str, texts: Iterable[str]) -> tuple[Any, ...] | LogRange:
    """Return the values of a setting from comma-separated lists, taken together.

    Parameters
    ----------
    name : of a field of `TrainConfig` that may be searched.
    texts : each a list of values and of ranges with a count, `low:high:count`: that many values,
        evenly spaced in log space (of seeds: evenly), both ends included. Or only one range
        without a count, `low:high`, to draw from.

    Raises
    ------
    InputError
        If a text cannot be read as such, or a value is outside the range of its setting.
    """
    default = getattr(TrainConfig(), name) if name in SWEPT_SETTINGS else None
    items = [item.strip() for text in texts for item in text.split(",")]
    if len(items) == 1 and items[0].count(":") == 1:
        low, high = (_number(name, end, items[0]) for end in items[0].split(":"))
        return LogRange(float(low), float(high))
    values: list[Any] = []
    for item in items:
        if item.count(":") == 2:
            values += _steps(name, item, is_whole=isinstance(default, int))
        elif item.count(":") == 1:
            raise InputError(f"{name}: a range to draw from, {item}, must stand alone")
        else:
            values.append(_value(name, item, default))
    return tuple(values)


def log_space(low: str | float, high: str | float, count: int) -> list[float]:
    """Return `count` values from `low` to `high`, both included, evenly spaced in log space.

    Values are rounded to 15 digits: log_space("0.001", "0.1", 3) is exactly [0.001, 0.01, 0.1].

    Raises
    ------
    InputError
        Unless low and high are finite and above 0, and count is 2 or more.
    """
    first, last = Decimal(str(low)), Decimal(str(high))
    if count < 2:
        raise InputError(f"the count of a range is {count}; it must be 2 or more")
    if not (0 < float(first) < math.inf and 0 < float(last) < math.inf):
        raise InputError(
            f"the range {low}:{high} is in log space, so both ends must be finite and above 0; "
            "list 0 by itself"
        )
    ratio = _EXACT.divide(_EXACT.ln(_EXACT.divide(last, first)), Decimal(count - 1))
    inner = (
        _FLOAT_DIGITS.plus(_EXACT.multiply(first, _EXACT.exp(_EXACT.multiply(ratio, Decimal(i)))))
        for i in range(1, count - 1)
    )
    return [float(first), *map(float, inner), float(last)]


def _steps(name: str, item: str, *, is_whole: bool) -> list[Any]:
    low, high, count_text = item.split(":")
    try:
        count = int(count_text)
    except ValueError:
        raise InputError(f"{name}: {count_text!r} in {item} is not a whole number") from None
    first, last = _number(name, low, item), _number(name, high, item)
    if count > 10_000:
        raise InputError(f"{name}: {item} has more than 10000 values")
    if not is_whole:
        values: list[Any] = log_space(low.strip(), high.strip(), count)
    elif name == "seed":
        if count < 2 or first != int(first) or (last - first) % (count - 1):
            raise InputError(f"{name}: {item} does not divide into {count} whole numbers")
        values = [int(first + (last - first) / (count - 1) * i) for i in range(count)]
    else:
        values = [round(value) for value in log_space(low.strip(), high.strip(), count)]
    return values


def _number(name: str, text: str, item: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise InputError(f"{name}: {text!r} in {item} is not a number")
    return number


def _value(name: str, item: str, default: Any) -> Any:
    """Return an item as the type of its setting; whether it is allowed there, GridSpec decides."""
    if isinstance(default, bool):
        if item.lower() not in ("true", "false"):
            raise InputError(f"{name} is {item!r}; it must be true or false")
        return item.lower() == "true"
    if default is None or isinstance(default, StrEnum):
        return item
    try:
        return int(item) if isinstance(default, int) else float(item)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise InputError(
            f"{name} is {item!r}; it must be {kind}, a list (1,2), or a range (1:100:3)"
        ) from None


def read_grid_file(path: Path, base: TrainConfig | None = None) -> GridSpec:
    """Read a grid from a TOML file: lists under [grid], fixed settings under [train].

    A value under [grid] is a list, one value, or a text as in `parse_values`.

    Parameters
    ----------
    path : of the file.
    base : what the settings under [train] are put over; None for the defaults.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or holds anything else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {' '.join(str(error).split())}") from None
    grid, train = content.get("grid"), content.get("train", {})
    if (
        not isinstance(grid, dict)
        or not isinstance(train, dict)
        or content.keys()
        - {
            "grid",
            "train",
        }
    ):
        raise InputError(
            f"{path} must hold the tables [grid], with lists of values, and [train], with fixed "
            "settings, and nothing else"
        )
    try:
        fixed = TrainConfig.from_dict({**(base or TrainConfig()).to_dict(), **train})
        twice = sorted(grid.keys() & train.keys())
        if twice:
            raise InputError(f"{twice[0]} is under [grid] and under [train]")
        return GridSpec({name: _listed(name, values) for name, values in grid.items()}, fixed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _listed(name: str, values: Any) -> tuple[Any, ...] | LogRange:
    if isinstance(values, str):
        return parse_values(name, [values])
    if not isinstance(values, list):
        return (values,)
    parsed: list[Any] = []
    for value in values:
        found = parse_values(name, [value]) if isinstance(value, str) else (value,)
        if isinstance(found, LogRange):
            raise InputError(f"{name}: a range to draw from, {value}, must stand alone")
        parsed += found
    return tuple(parsed)
