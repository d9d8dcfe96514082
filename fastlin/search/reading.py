"""Lists of values as people write them: `0,0.001:0.1:3`, `1e-4:1e-1`, or a TOML file."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from fastlin.class_weights import ClassWeights, lists_words
from fastlin.config import SETTINGS, TrainConfig
from fastlin.errors import InputError, one_line, quoted
from fastlin.files import read_bytes
from fastlin.losses import PARAMETERS, Loss, check_given_once, with_parameters
from fastlin.search.spec import MOST_COMBINATIONS, GridSpec, LogRange
from fastlin.settings import AUTO, Kind, Number, Switch, Whole, whole_number

# Steps in log space are computed in decimals and rounded to as many digits as a float64 holds
# without doubt, so that powers of ten come out as a person would type them.
_EXACT, _FLOAT_DIGITS = Context(prec=50), Context(prec=15)
_MOST_STEPS = 10_000  # of one range

# The time of tomllib grows with the square of the parts of a dotted key, of which a grid needs two.
_MOST_BYTES = 1_000_000
_KEY_OF_MANY_PARTS = re.compile(
    r"""(?<![\w-]) (?: (?:[\w-]++ | "(?:[^"\\\n]|\\.)*+" | '[^'\n]*+') [ \t]*+ \.[ \t]*+ ){30}""",
    re.VERBOSE,
)


def parse_values(name: str, texts: Iterable[str]) -> tuple[Any, ...] | LogRange:
    """Return the values of a setting from comma-separated lists, taken together.

    Whether a value is in the range of its setting, `GridSpec` decides.

    Parameters
    ----------
    name : str
        Of a setting that may be searched, or of a parameter of a loss.
    texts : Iterable[str]
        Each a list of values and of ranges with a count, `low:high:count`: that many values,
        evenly spaced in log space (of seeds: evenly), both ends included. Or only one range
        without a count, `low:high`, to draw from. Of class weights, each is one value.

    Returns
    -------
    tuple[Any, ...] or LogRange

    Raises
    ------
    InputError
        If a text cannot be read as such, or there are more than `MOST_COMBINATIONS` values.
    """
    declared = SETTINGS.get(name) or PARAMETERS.get(name)
    kind = None if declared is None else declared.plain_kind
    if isinstance(kind, ClassWeights):  # of which a text is one value, unless it lists words
        return tuple(
            value for text in texts for value in (text.split(",") if lists_words(text) else [text])
        )
    items = [item.strip() for text in texts for item in text.split(",")]
    if len(items) == 1 and items[0].count(":") == 1:
        low, high = (_number(name, end, items[0]) for end in items[0].split(":"))
        return LogRange(float(low), float(high))
    values: list[Any] = []
    for item in items:
        if item.count(":") == 2:
            values += _steps(name, item, is_whole=isinstance(kind, Whole))
        elif item.count(":") == 1:
            raise InputError(f"{name}: a range to draw from, {quoted(item)}, must stand alone")
        else:
            values.append(_value(name, item, kind))
        _check_length(name, values)
    return tuple(values)


def _check_length(name: str, values: list[Any]) -> None:
    if len(values) > MOST_COMBINATIONS:
        raise InputError(f"{quoted(name)} lists more than {MOST_COMBINATIONS:,} values")


def log_space(low: str | float, high: str | float, count: int) -> list[float]:
    """Return `count` values from `low` to `high`, both included, evenly spaced in log space.

    Values are rounded to 15 digits: log_space("0.001", "0.1", 3) is exactly [0.001, 0.01, 0.1].

    Parameters
    ----------
    low, high : str or float
        The ends, above 0; a text is read to its last digit.
    count : int
        From 2 to 10,000.

    Returns
    -------
    list[float]

    Raises
    ------
    InputError
        Unless low and high are finite and above 0, and count is in its range.
    """
    count = _checked_count(count)
    first, last = _decimal(str(low)), _decimal(str(high))
    if not (0 < float(first) < math.inf and 0 < float(last) < math.inf):
        raise InputError(
            f"the range {quoted(low)}:{quoted(high)} is in log space, so both ends must be finite "
            "and above 0; list 0 by itself"
        )
    step = _EXACT.exp(_EXACT.divide(_EXACT.ln(_EXACT.divide(last, first)), Decimal(count - 1)))
    values, value = [float(first)], first
    least, most = sorted((float(first), float(last)))
    for _ in range(count - 2):
        value = _EXACT.multiply(value, step)
        # Rounding to 15 digits may lead beyond an end, and beyond the largest float.
        values.append(min(max(float(_FLOAT_DIGITS.plus(value)), least), most))
    return [*values, float(last)]


def _checked_count(count: object) -> int:
    number = whole_number("the count of a range", count, 2)
    if number > _MOST_STEPS:
        raise InputError(f"the count of a range is {number:,}; it must be at most {_MOST_STEPS:,}")
    return number


def _decimal(text: str) -> Decimal:
    """Return a number to its last digit, or NaN for what is none."""
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return Decimal("nan")


def _steps(name: str, item: str, *, is_whole: bool) -> list[Any]:
    low, high, count_text = (part.strip() for part in item.split(":"))
    first, last = _number(name, low, item), _number(name, high, item)
    try:
        count = _checked_count(int(count_text))
        if name == "seed":
            return _even_steps(first, last, count)
        values = log_space(low, high, count)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except ValueError:
        raise InputError(
            f"{name}: {quoted(count_text)} in {quoted(item)} is not a whole number"
        ) from None
    return [round(value) for value in values] if is_whole else values


def _even_steps(first: Decimal, last: Decimal, count: int) -> list[int]:
    if not all(0 <= end < 2**63 and end == end.to_integral_value() for end in (first, last)):
        raise InputError(
            "both ends of a range of seeds must be whole numbers, 0 or above, below 2**63"
        )
    low, high = int(first), int(last)
    step, rest = divmod(high - low, count - 1)
    if rest:
        raise InputError(f"the range {low}:{high} does not divide into {count} whole numbers")
    return [low + step * i for i in range(count)]


def _number(name: str, text: str, item: str) -> Decimal:
    number = _decimal(text)
    if not number.is_finite():
        raise InputError(f"{name}: {quoted(text)} in {quoted(item)} is not a number")
    return number


def _value(name: str, item: str, kind: Kind | None) -> Any:
    """Return an item as its setting has it; whether it is allowed, GridSpec decides."""
    if isinstance(kind, Switch):
        return {"true": True, "false": False}.get(item, item)
    if item == AUTO:
        return item
    if not isinstance(kind, Number | Whole):
        return item
    try:
        return int(item) if isinstance(kind, Whole) else float(item)
    except ValueError:
        what = "a whole number" if isinstance(kind, Whole) else "a number"
        raise InputError(
            f"{name} is {quoted(item)}; it must be {what}, a list (1,2), or a range (1:100:3)"
        ) from None


def with_lists(spec: GridSpec, given: Mapping[str, Iterable[str]]) -> GridSpec:
    """Return a grid with values put over it, as a command line gives them.

    Parameters
    ----------
    spec : GridSpec
        The grid.
    given : Mapping[str, Iterable[str]]
        By name of a setting or of a parameter of losses, texts as in `parse_values`.

    Returns
    -------
    GridSpec
        Its base has one value of each list, so that it is possible as a whole.

    Raises
    ------
    InputError
        If a text cannot be read, or a value is impossible.
    """
    lists: dict[str, Any] = {name: parse_values(name, texts) for name, texts in given.items()}
    swept = {**spec.swept, **_losses_with_parameters(lists, spec)}
    first = {name: values[0] for name, values in swept.items() if isinstance(values, tuple)}
    return GridSpec(swept, replace(spec.base, **first))


def _losses_with_parameters(lists: Mapping[str, Any], spec: GridSpec) -> dict[str, Any]:
    """Return lists in which the values of parameters of losses are part of the list of losses.

    Where no losses are listed, they are those of the grid.
    """
    found = {name: values for name, values in lists.items() if name not in PARAMETERS}
    parameters = {name: values for name, values in lists.items() if name in PARAMETERS}
    for name, values in parameters.items():
        if isinstance(values, LogRange):
            raise InputError(f"{name} takes no range to draw from; give a list of values")
    if parameters:
        check_given_once(map(Loss.of, found.get("loss", ())), parameters)
        losses = found.get("loss", spec.swept.get("loss", [spec.base.loss]))
        found["loss"] = with_parameters(map(Loss.of, losses), parameters)
    return found


def read_grid_file(path: str | Path, base: TrainConfig | None = None) -> GridSpec:
    """Read a grid from a TOML file: lists under [grid], fixed settings under [train].

    A value under [grid] is a list, one value, or a text as in `parse_values`.

    Parameters
    ----------
    path : str or Path
        Of the file.
    base : TrainConfig or None
        What the settings under [train] are put over; None for the defaults.

    Returns
    -------
    GridSpec

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or holds anything else.
    """
    content = _read_toml(path)
    grid, train = content.get("grid"), content.get("train", {})
    known = content.keys() <= {"grid", "train"}
    if not (known and isinstance(grid, dict) and isinstance(train, dict)):
        raise InputError(
            f"{path} must hold the tables [grid], with lists of values, and [train], with fixed "
            "settings, and nothing else"
        )
    try:
        fixed = TrainConfig.from_dict({**(base or TrainConfig()).to_dict(), **train})
        twice = sorted(grid.keys() & train.keys())
        if twice:
            raise InputError(f"{twice[0]} is under [grid] and under [train]")
        lists = {name: _listed(one_line(name, 60), values) for name, values in grid.items()}
        return GridSpec(_losses_with_parameters(lists, GridSpec({}, fixed)), fixed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_toml(path: str | Path) -> dict[str, Any]:
    content = read_bytes(path, _MOST_BYTES)
    try:
        text = content.decode("utf-8-sig")
        if _KEY_OF_MANY_PARTS.search(text):
            raise InputError(f"{path} holds a key of very many parts; a grid needs one or two")
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path} is not the TOML of a grid: it is nested too deep") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {one_line(str(error), 200)}") from None


def _listed(name: str, values: Any) -> tuple[Any, ...] | LogRange:
    if isinstance(values, str):
        return parse_values(name, [values])
    if not isinstance(values, list):
        return (values,)
    parsed: list[Any] = []
    for value in values:
        found = parse_values(name, [value]) if isinstance(value, str) else (value,)
        if isinstance(found, LogRange):
            raise InputError(f"{name}: a range to draw from, {quoted(value)}, must stand alone")
        parsed += found
        _check_length(name, parsed)
    return tuple(parsed)
