"""What a user should try next, by what a finished run shows: a sentence, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.errors import AdviceWarning
from fastlin.history import History
from fastlin.training.defaults import Scales, are_pixels

# The cost still falls if it fell in each of the last `_FALLS` epochs, and by this share over the
# last tenth of all epochs. A run of fewer than `_LEAST_EPOCHS` epochs is meant to be short.
_FALLS, _LEAST_FALL, _LEAST_EPOCHS = 3, 0.01, 5


class Advice(str):
    """A sentence of advice.

    Attributes
    ----------
    settings : Mapping[str, Any]
        The settings that the sentence names, with the values to try; a tuple is a list to search.
    """

    settings: Mapping[str, Any]

    def __new__(cls, text: str, **settings: Any) -> Self:
        """Make the advice of a text and settings by name."""
        advice = super().__new__(cls, text)
        advice.settings = settings
        return advice


def category_of(text: str) -> type[Warning]:
    """Return the kind of warning that a sentence for the user is."""
    return AdviceWarning if isinstance(text, Advice) else UserWarning


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that says every text once."""
    said: set[str] = set()

    def say_once(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return say_once


def advise(config: TrainConfig, history: History, data: Dataset) -> tuple[Advice, ...]:
    """Return what should be tried after a run.

    Parameters
    ----------
    config : TrainConfig
        The settings, as the result has them.
    history : History
        Of the run.
    data : Dataset
        The training rows.

    Returns
    -------
    tuple[Advice, ...]
        Nothing where nothing is striking.
    """
    found = (_on_features(config, data), _on_epochs(config, history))
    return tuple(advice for advice in found if advice is not None)


def _on_features(config: TrainConfig, data: Dataset) -> Advice | None:
    """Advise to standardise features that make training slow, if they are not."""
    if config.standardize or are_pixels(data):
        return None
    trouble = Scales.of(data).trouble
    if trouble is None:
        return None
    return Advice(f"{trouble}; set standardize to True", standardize=True)


def _on_epochs(config: TrainConfig, history: History) -> Advice | None:
    """Advise to train longer if the cost still falls at the end of all epochs."""
    epochs = config.epochs
    if len(history) < epochs or epochs < _LEAST_EPOCHS:
        return None
    part, costs = "validation", history.val_cost
    if not history.has_validation:
        part, costs = "training", history.train_cost
    since = max(1, epochs // 10)
    last = costs[-1]
    fall = (costs[-1 - since] - last) / abs(last) if last else 0.0
    # Where rows were not evaluated a cost is NaN, and no comparison holds.
    if not (fall > _LEAST_FALL and (np.diff(costs[-1 - _FALLS :]) < 0).all()):
        return None
    span = "the last one" if since == 1 else f"the last {since}"
    return Advice(
        f"the {part} cost is still falling after {epochs} epochs, by {fall:.1%} in {span}; set "
        f"epochs to {2 * epochs}",
        epochs=2 * epochs,
    )
