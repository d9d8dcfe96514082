"""Probabilities that agree with how often they are right: temperature scaling.

Guo et al., *On Calibration of Modern Neural Networks* (2017): the scores of a classifier are
divided by one number T before the softmax. T minimises the log loss of validation rows. The log
loss is convex in 1/T. Scores and predictions stay as they are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastlin import matching
from fastlin.data.dataset import Dataset, Split, check_split
from fastlin.errors import AdviceWarning, InputError
from fastlin.losses import Loss
from fastlin.model import LinearModel
from fastlin.threads import use_threads
from fastlin.training.advice import Advice
from fastlin.training.measuring import score_blocks

if TYPE_CHECKING:
    from fastlin.training.trainer import TrainResult

LEAST, MOST = 0.01, 100.0  # temperatures
_MOST_STEPS = 60  # halving the bracket alone needs fewer to reach `_TOLERANCE`
_TOLERANCE = 1e-10  # of 1/T, relative


@dataclass(frozen=True)
class Temperature:
    """A temperature, and what it was fitted on.

    Attributes
    ----------
    value : float
        T, from `LEAST` to `MOST`.
    rows : int
        The number of validation rows.
    log_loss_before, log_loss_after : float
        The mean log loss of these rows at T = 1 and at `value`.
    note : Advice or None
        A sentence where T stands at a bound, else None.
    """

    value: float
    rows: int
    log_loss_before: float
    log_loss_after: float
    note: Advice | None = None

    def __str__(self) -> str:
        return (
            f"temperature {self.value:.4g}; log loss of {self.rows:,} validation rows "
            f"{self.log_loss_before:.4f} before, {self.log_loss_after:.4f} after"
        )


class _Point(NamedTuple):
    """The mean log loss at an inverse temperature, and its first and second derivative."""

    loss: float
    slope: float
    curvature: float


def calibrate(model: LinearModel, data: Dataset) -> LinearModel:
    """Return a model whose probabilities are calibrated on labelled rows, by one temperature.

    Every row counts once. Scores and predictions stay as they are.

    Parameters
    ----------
    model : LinearModel
        Trained with the softmax loss. Its own temperature, if it has one, is replaced.
    data : Dataset
        Validation rows, such as ``split.val``: rows on which it was not trained. Rows that may not
        be what it was trained on are a `fastlin.errors.MatchWarning`; a temperature at a bound is a
        `fastlin.errors.AdviceWarning`.

    Returns
    -------
    LinearModel
        The same with a `temperature`.

    Raises
    ------
    InputError
        If the loss of the model has no probabilities, all rows are of one class, or they do not
        fit the model.
    """
    if not isinstance(model, LinearModel) or not isinstance(data, Dataset):
        raise InputError(
            f"calibrate got {type(model).__name__} and {type(data).__name__}; it takes a "
            "LinearModel and a Dataset, such as split.val"
        )
    model.check_has_probabilities()
    check_rows_to_calibrate(data)
    found = fit_temperature(model, matching.matched(model, data))
    if found.note is not None:
        warnings.warn(found.note, AdviceWarning, stacklevel=2)
    return replace(model, temperature=found.value)


def check_can_calibrate(split: Split, losses: Sequence[object]) -> None:
    """Raise `InputError` if classifiers of such losses cannot be calibrated on a split."""
    check_split(split)
    for loss in losses:
        if loss != Loss.SOFTMAX and getattr(loss, "name", None) != Loss.SOFTMAX.name:
            raise InputError(
                f"calibrate has no effect with the loss {loss}, whose scores are no probabilities; "
                "leave it out, or train with the loss softmax"
            )
    if split.val is None:
        raise InputError(
            f"{split.name} has no validation rows to calibrate on: leave calibrate out, or hold "
            "rows out (val_fraction)"
        )
    check_rows_to_calibrate(split.val)


def check_rows_to_calibrate(data: Dataset) -> None:
    """Raise `InputError` if all rows are of one class."""
    if len(data) == 0 or data.y.min() == data.y.max():
        raise InputError(
            "the validation rows are of one class only; a temperature needs rows of two or more"
        )


def fit_temperature(model: LinearModel, data: Dataset) -> Temperature:
    """Fit the temperature of a model on rows that `fastlin.matching.match` returned.

    The result depends on no thread count. It needs some passes over the rows, in blocks.
    """
    before = _at(model, data, 1.0)
    low, high = 1 / MOST, 1 / LEAST
    inverse, best = 1.0, before
    note: Advice | None = None
    if (coldest := _at(model, data, high)).slope <= 0:  # 0 by underflow, too
        inverse, best = high, coldest
        note = Advice(
            f"the validation rows are separated so well that the best temperature is below "
            f"{LEAST}; it is kept at {LEAST}, and more validation rows would give a better one"
        )
    elif (hottest := _at(model, data, low)).slope >= 0:
        inverse, best = low, hottest
        note = Advice(
            f"the scores say so little about the validation rows that the best temperature is "
            f"above {MOST:g}; it is kept at {MOST:g}"
        )
    else:
        inverse, best = _minimum(model, data, before, low, high)
    if best.loss >= before.loss:  # 1 was the minimum, to rounding
        inverse, best, note = 1.0, before, None
    return Temperature(1 / inverse, len(data), before.loss, best.loss, note)


def _minimum(
    model: LinearModel, data: Dataset, start: _Point, low: float, high: float
) -> tuple[float, _Point]:
    """Return the inverse temperature in a bracket where the slope is 0; Newton's steps, bracketed.

    Parameters
    ----------
    start : _Point
        At the inverse temperature 1.
    low, high : float
        The slope is below 0 at one, and not at the other.
    """
    inverse, point = 1.0, start
    for _ in range(_MOST_STEPS):
        if point.slope < 0:
            low = inverse
        else:
            high = inverse
        step = point.slope / point.curvature if point.curvature > 0 else math.inf
        following = inverse - step
        if not low < following < high:
            following = math.sqrt(low * high)
        if abs(following - inverse) <= _TOLERANCE * inverse:
            break
        inverse, point = following, _at(model, data, following)
    return inverse, point


def _at(model: LinearModel, data: Dataset, inverse: float) -> _Point:
    """Return the mean log loss of softmax(scores * inverse) and its derivatives, in float64."""
    sums = np.zeros(3)
    for y, found in score_blocks(model, data):
        scores = np.array(found, np.float64, order="C")
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[np.arange(len(y)), y]
        powers = np.exp(inverse * scores)
        total = powers.sum(axis=1)
        powers *= scores
        mean = powers.sum(axis=1) / total
        powers *= scores
        square = powers.sum(axis=1) / total
        losses = np.log(total) - inverse * own
        sums += losses.sum(), (mean - own).sum(), (square - mean * mean).sum()
    return _Point(*(sums / len(data)).tolist())


def with_calibration(result: TrainResult, split: Split, threads: int | None = None) -> TrainResult:
    """Return a result whose two classifiers have temperatures, fitted on the validation rows.

    Raises
    ------
    InputError
        As `check_can_calibrate`; or if the classifiers were fitted on the validation rows.
    """
    check_can_calibrate(split, [result.config.loss])
    if result.refit is not None or split.val is None:
        raise InputError(
            "calibrate needs validation rows that the classifier was not fitted on; leave "
            "calibrate or refit out"
        )
    models = {"last": result.model, "best": result.best_model}
    with use_threads(threads):
        found = {name: fit_temperature(model, split.val) for name, model in models.items()}
    return replace(
        result,
        model=replace(result.model, temperature=found["last"].value),
        best_model=replace(result.best_model, temperature=found["best"].value),
        calibration=found,
    )


def notes_on(result: TrainResult) -> list[Advice]:
    """Return what must be said of the temperatures of a result, each sentence once."""
    fitted = () if result.calibration is None else result.calibration.values()
    return list(dict.fromkeys(found.note for found in fitted if found.note))
