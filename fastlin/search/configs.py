"""The configurations of a search: given ones, every combination of lists, or random ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from fastlin.config import SETTINGS, TrainConfig
from fastlin.errors import InputError, quoted
from fastlin.search.spec import MOST_COMBINATIONS, GridSpec, LogRange
from fastlin.settings import Whole, whole_number

# A value that is drawn is rounded to so many digits, so that a person can type it.
_DRAWN_DIGITS = 6
Configs = GridSpec | Sequence[TrainConfig] | Mapping[str, Sequence[Any] | LogRange]


def grid_configs(
    grid: Configs,
    base: TrainConfig | None = None,
    *,
    search: str = "grid",
    trials: int | None = None,
    search_seed: int = 0,
) -> tuple[TrainConfig, ...]:
    """Return the configurations that `grid_search` trains for the same arguments, in its order.

    Parameters
    ----------
    grid : GridSpec, Sequence[TrainConfig] or Mapping[str, Sequence[Any] | LogRange]
        What to search: lists of values for some settings, or the configurations themselves.
    base : TrainConfig or None
        The other settings, with a mapping; None for the defaults.
    search : str
        ``grid`` for every combination, ``random`` for `trials` distinct ones.
    trials : int or None
        How many combinations random search draws.
    search_seed : int
        Of that draw.

    Returns
    -------
    tuple[TrainConfig, ...]

    Raises
    ------
    InputError
        If there is none, or two are the same, or an argument is impossible.
    """
    if search not in ("grid", "random"):
        raise InputError(f"search is {quoted(search)}; it must be grid or random")
    if (search == "random") != (trials is not None):
        raise InputError("random search, and only that, needs a number of trials")
    if base is not None and not isinstance(grid, Mapping):
        raise InputError("base has a meaning only beside a mapping of lists")
    if isinstance(grid, Mapping):
        lists: Mapping[str, Any] = grid  # which GridSpec checks
        grid = GridSpec(lists, base or TrainConfig())
    if isinstance(grid, GridSpec):
        return grid.configs() if trials is None else draw_configs(grid, trials, search_seed)
    if trials is not None:
        raise InputError("random search draws from lists and ranges, not from configurations")
    return _given_configs(grid)


def _given_configs(given: Iterable[TrainConfig]) -> tuple[TrainConfig, ...]:
    """Return configurations. Raises InputError if they cannot be those of one grid."""
    try:
        configs = tuple(islice(given, MOST_COMBINATIONS + 1))
    except TypeError:
        raise InputError(
            f"grid is {quoted(given)}; it must be lists of values, or a list of configurations"
        ) from None
    if len(configs) > MOST_COMBINATIONS:
        raise InputError(
            f"there are more than {MOST_COMBINATIONS:,} configurations; so many cannot be searched"
        )
    if not configs:
        raise InputError("there is no configuration to train")
    places: dict[TrainConfig, int] = {}
    for place, config in enumerate(configs):
        if not isinstance(config, TrainConfig):
            raise InputError(f"configuration {place} is {quoted(config)}; it must be a TrainConfig")
        if config in places:
            raise InputError(f"configurations {places[config]} and {place} are the same")
        places[config] = place
    return configs


def draw_configs(grid: GridSpec, trials: int, seed: int) -> tuple[TrainConfig, ...]:
    """Return `trials` distinct random configurations of a grid.

    More trials of the same seed begin with the same configurations. A value of a `LogRange` is
    rounded to 6 digits (or to a whole number).

    Parameters
    ----------
    grid : GridSpec
        What is drawn from.
    trials : int
        How many are drawn, from 1 to `MOST_COMBINATIONS`.
    seed : int
        Of the draw, 0 or above.

    Returns
    -------
    tuple[TrainConfig, ...]

    Raises
    ------
    InputError
        If the grid has fewer combinations, or trials or seed is outside its range.
    """
    trials = whole_number("trials", trials, 1)
    seed = whole_number("search_seed", seed, 0)
    if trials > MOST_COMBINATIONS:
        raise InputError(f"trials is {trials:,}; it must be at most {MOST_COMBINATIONS:,}")
    has_range = any(isinstance(values, LogRange) for values in grid.swept.values())
    if not has_range and trials > grid.combinations:
        raise InputError(
            f"there are {grid.combinations} combinations; {trials} trials are too many"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn: dict[tuple[Any, ...], None] = {}
    misses = 0
    while len(drawn) < trials:
        values = tuple(_draw(rng, grid, name) for name in grid.swept)
        count = len(drawn)
        drawn.setdefault(values)
        misses = 0 if len(drawn) > count else misses + 1
        if has_range and misses > 10_000:
            raise InputError(
                f"after {len(drawn)} configurations no other was found; the ranges are too narrow "
                f"for {trials} trials"
            )
    return tuple(
        replace(grid.base, **dict(zip(grid.swept, values, strict=True))) for values in drawn
    )


def _draw(rng: np.random.Generator, grid: GridSpec, name: str) -> Any:
    values = grid.swept[name]
    if not isinstance(values, LogRange):
        return values[rng.integers(len(values))]
    low, high = values.low, values.high
    share = rng.random()
    value = low ** (1 - share) * high**share  # high / low may be beyond float64
    if isinstance(SETTINGS[name].plain_kind, Whole):
        return round(value)
    return min(max(float(f"{value:.{_DRAWN_DIGITS}g}"), low), high)
