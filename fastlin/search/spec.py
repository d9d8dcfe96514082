"""What a search tries: lists and ranges of values for some settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from fastlin.config import SETTINGS, TrainConfig, as_json
from fastlin.errors import InputError, quoted
from fastlin.losses import PARAMETERS
from fastlin.settings import Number, Whole, as_float

# Entries of a grid, and values in a list, at most: a slip of the keys asks for more.
MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class LogRange:
    """All values from `low` to `high`, every power of ten as likely as the next: for random search.

    Attributes
    ----------
    low, high : float
        The ends, both included.

    Raises
    ------
    InputError
        Unless 0 < low < high, both finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        low, high = as_float(self.low), as_float(self.high)
        if not 0 < low < high < math.inf:
            raise InputError(
                f"the range {quoted(self.low)}:{quoted(self.high)} must rise from a number above 0 "
                "to a finite one"
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def ends(self, kind: type) -> tuple[Any, Any]:
        """Return both ends as a setting of type int or float has them."""
        return kind(self.low), kind(self.high)


@dataclass(frozen=True)
class GridSpec:
    """The configurations of a grid search: lists of values for some settings, the rest fixed.

    Attributes
    ----------
    swept : Mapping[str, tuple[Any, ...] | LogRange]
        For every setting that is searched, its distinct values, or the `LogRange` from which
        random search draws them. The last one varies fastest.
    base : TrainConfig
        Every other setting.

    Raises
    ------
    InputError
        If a setting cannot be searched, a list is empty, longer than `MOST_COMBINATIONS` or names
        a value twice, or a value is outside the range of its setting.
    """

    swept: Mapping[str, tuple[Any, ...] | LogRange]
    base: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.base, TrainConfig):
            raise InputError(f"base is {quoted(self.base)}; it must be a TrainConfig")
        if not isinstance(self.swept, Mapping):
            raise InputError(
                f"a grid is {quoted(self.swept)}; it must be names of settings with lists"
            )
        checked = {name: self._check(name, values) for name, values in self.swept.items()}
        ends = {
            name: values.ends(int if isinstance(SETTINGS[name].plain_kind, Whole) else float)
            if isinstance(values, LogRange)
            else values
            for name, values in checked.items()
        }
        # Every value must be possible beside the first ones of the other lists.
        first = replace(self.base, **{name: values[0] for name, values in ends.items()})
        for name, values in ends.items():
            for value in values[1:]:
                replace(first, **{name: value})
        object.__setattr__(self, "swept", checked)

    def _check(self, name: str, values: Any) -> tuple[Any, ...] | LogRange:
        if name in PARAMETERS:
            raise InputError(
                f"{name} is a parameter of losses; list losses that have it, such as "
                f'loss = ["softmax", "hinge(margin=0.5)"]'
            )
        if name not in SETTINGS:
            raise InputError(
                f"setting {quoted(name)} unknown; one can search {', '.join(SETTINGS)}"
            )
        if isinstance(values, LogRange):
            if not isinstance(SETTINGS[name].plain_kind, Number | Whole):
                raise InputError(f"{name} is not a number; give a list of values, not a range")
            return values
        try:
            if isinstance(values, str | bytes):
                raise TypeError
            given = tuple(itertools.islice(values, MOST_COMBINATIONS + 1))
        except TypeError:
            raise InputError(f"{name} is {quoted(values)}; it must be a list of values") from None
        if not given:
            raise InputError(f"{name} has no value")
        if len(given) > MOST_COMBINATIONS:
            raise InputError(f"{name} lists more than {MOST_COMBINATIONS:,} values")
        listed: dict[Any, None] = {}
        for value in given:
            checked = SETTINGS[name].kind.checked(name, value)
            if checked in listed:
                raise InputError(f"{name} lists {checked} twice")
            listed[checked] = None
        return tuple(listed)

    @property
    def combinations(self) -> int:
        """The number of combinations. Raises InputError if a setting has a range."""
        return math.prod(len(values) for values in self._lists().values())

    def __len__(self) -> int:
        """Return the number of combinations, as far as there may be so many.

        Raises
        ------
        InputError
            If there are more than `MOST_COMBINATIONS`, or a setting has a range.
        """
        count = self.combinations
        if count > MOST_COMBINATIONS:
            lists = self._lists().items()
            lengths = ", ".join(f"{len(values):,} of {name}" for name, values in lists)
            raise InputError(
                f"a grid of {lengths} would have {count:,} combinations; at most "
                f"{MOST_COMBINATIONS:,} can be searched: shorten the lists, or draw some of them "
                "by random search"
            )
        return count

    def configs(self) -> tuple[TrainConfig, ...]:
        """Return every combination, in grid order.

        Raises
        ------
        InputError
            If there are more than `MOST_COMBINATIONS`, or a setting has a range.
        """
        len(self)
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
            "swept": {name: _json_of_values(values) for name, values in self.swept.items()},
            "base": self.base.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Build a grid from what `to_dict` gave. Raises InputError if it is something else."""
        if not isinstance(content, Mapping) or not {"swept", "base"} <= content.keys():
            raise InputError(
                f"{quoted(content)} is not the description of a grid: it must hold swept and base"
            )
        swept = content["swept"]
        if not isinstance(swept, Mapping):
            raise InputError(f"swept is {quoted(swept)}; it must be names of settings with lists")
        return cls(
            {name: _values_of_json(name, values) for name, values in swept.items()},
            TrainConfig.from_dict(content["base"]),
        )


def _json_of_values(values: tuple[Any, ...] | LogRange) -> Any:
    return asdict(values) if isinstance(values, LogRange) else list(map(as_json, values))


def _values_of_json(name: str, values: Any) -> tuple[Any, ...] | LogRange:
    if isinstance(values, list):
        return tuple(values)
    if isinstance(values, Mapping) and values.keys() == {"low", "high"}:
        return LogRange(values["low"], values["high"])
    raise InputError(
        f"{quoted(name)} is {quoted(values)}; it must be a list of values, or low and high"
    )
