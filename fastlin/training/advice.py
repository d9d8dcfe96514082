"""What a user should try next, by what a finished run shows: a sentence, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data.checks import number_dtype
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import AdviceWarning
from fastlin.history import History
from fastlin.losses import Softmax
from fastlin.model import LinearModel
from fastlin.training.defaults import Scales, are_pixels

if TYPE_CHECKING:
    from fastlin.training.trainer import TrainResult

# The cost still falls if it fell in each of the last `_FALLS` epochs, and by this share over the
# last tenth of all epochs. A run of fewer than `_LEAST_EPOCHS` epochs is meant to be short.
_FALLS, _LEAST_FALL, _LEAST_EPOCHS = 3, 0.01, 5

# The scores are too small, as of features that are mixed, or of a penalty that is too strong, if
# one of these factors lowers the log loss of at least `_LEAST_ROWS` validation rows by this share.
# Over 20 kinds of rows the settings that are then named were better by up to ten points of
# accuracy, and never worse by more than noise; a factor tells nothing of rows without a margin.
_FACTORS, _LEAST_GAIN, _LEAST_ROWS = (1.25, 1.6, 2.5, 4.0), 0.02, 500
_MOST_ROWS, _MOST_SCORES = 1_000, 1_000_000  # that are computed for it
_MORE_LR, _LESS_L2 = 10.0, 1 / 30
_EXACT = "or fit the exact optimum (fastlin.solve, fastlin fit)"


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


def advise(
    config: TrainConfig,
    history: History,
    data: Dataset,
    model: LinearModel | None = None,
    val: Dataset | None = None,
) -> tuple[Advice, ...]:
    """Return what should be tried after a run.

    Parameters
    ----------
    config : TrainConfig
        The settings, as the result has them.
    history : History
        Of the run.
    data : Dataset
        The training rows.
    model : LinearModel, optional
        After the last epoch, as it was fitted on the training rows alone.
    val : Dataset, optional
        The validation rows.

    Returns
    -------
    tuple[Advice, ...]
        Nothing where nothing is striking.
    """
    found = [_on_features(config, data), _on_epochs(config, history)]
    if found == [None, None] and model is not None and val is not None:
        found.append(_on_scores(config, history, model, val))
    return tuple(advice for advice in found if advice is not None)


def advise_on(result: TrainResult, split: Split) -> tuple[Advice, ...]:
    """Return what should be tried after a run on a split; see `advise`."""
    model = result.chosen.model
    return advise(result.config, result.history, split.train, model, split.val)


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


def _on_scores(
    config: TrainConfig, history: History, model: LinearModel, val: Dataset
) -> Advice | None:
    """Advise larger steps and a smaller penalty if larger scores would fit validation rows better.

    That is so where the penalty keeps weights small, and where some directions of the features are
    hardly learned, as they vary little: the cost then seems to stand still.
    """
    is_short = len(history) < config.epochs or config.epochs < _LEAST_EPOCHS
    if is_short or config.loss != Softmax() or len(val) < _LEAST_ROWS:
        return None
    count = min(len(val), _MOST_ROWS, max(_LEAST_ROWS, _MOST_SCORES // len(model.b)))
    rows = np.linspace(0, len(val) - 1, count).astype(np.int64)
    features = val.X[rows].astype(number_dtype(val.X.dtype)).astype(np.float64) * val.feature_scale
    if model.feature_offset is not None:
        features -= model.feature_offset
    scores, y = features @ model.W.T.astype(np.float64) + model.b, val.y[rows]
    before, *losses = (_log_loss(factor * scores, y) for factor in (1.0, *_FACTORS))
    gain = 1 - min(losses) / before if before > 0 else 0.0
    if not gain > _LEAST_GAIN:
        return None
    factor = _FACTORS[int(np.argmin(losses))]
    lr = float(f"{_MORE_LR * config.first_lr:.1g}")
    settings, names = {"lr": lr}, f"lr to {lr:g}"
    if config.penalty_factor > 0:
        settings["l2"] = float(f"{_LESS_L2 * config.penalty_factor:.1g}")
        names += f", and l2 to {settings['l2']:g}"
    return Advice(
        f"the weights are too small: scores {factor:g} times as large would lower the log loss of "
        f"validation rows by {gain:.1%}, as where features are mixed; set {names}, "
        f"{_EXACT}",
        **settings,
    )


def _log_loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy of scores (n, K)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]).mean())
