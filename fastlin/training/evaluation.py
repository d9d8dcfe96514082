"""A trained classifier on labelled rows: its cost, and the gradient of that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional, matching
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.engine import Array
from fastlin.metrics import Evaluation
from fastlin.model import LinearModel
from fastlin.settings import AUTO
from fastlin.training.weighting import row_weights


def evaluate(model: LinearModel, data: Dataset, config: TrainConfig) -> Evaluation:
    """Return cost, accuracy, losses and predictions of a model on labelled rows.

    Classes are matched by name, and predictions are the model's class numbers. Where these are not
    those of the data, or the rows may not be what the model was trained on, that is a
    `fastlin.errors.MatchWarning`.

    Parameters
    ----------
    model : LinearModel
        What is evaluated.
    data : Dataset
        The labelled rows.
    config : TrainConfig
        The cost is that of its loss and its penalty, of rows weighted by their own weights and by
        its class weights. An `l2` of ``auto`` is that which the model was trained with. The
        accuracy counts every row once.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the rows do not fit the model, one is of a class that it does not know, or `l2` is
        ``auto`` and the model, read from a file, does not know it.
    """
    return evaluate_matched(model, matching.matched(model, data), config)


def evaluate_matched(model: LinearModel, data: Dataset, config: TrainConfig) -> Evaluation:
    """Return what `evaluate` does, of rows that `fastlin.matching.match` returned."""
    found = functional.evaluate(
        data.X, data.y, model.W, model.b, loss=config.loss, offset=model.feature_offset,
        scale=data.scale,
    )  # fmt: skip
    return replace(found, cost=cost_of_losses(model, found.losses, data, config))


def cost_of_losses(
    model: LinearModel, losses: NDArray[Any], data: Dataset, config: TrainConfig
) -> float:
    """Return the cost of a model, as `evaluate` does, from the losses (n,) of rows."""
    weights = row_weights(data, config)
    weighted = losses if weights is None else losses * weights.astype(losses.dtype)
    penalty = model.penalty(_penalty_factor(model, config))
    return float(weighted.mean(dtype=np.float64)) + penalty


def gradient(model: LinearModel, data: Dataset, config: TrainConfig) -> Array:
    """Return the gradient of the cost by the model's W, (K, d), over labelled rows.

    Parameters are those of `evaluate`, and rows are matched with the model as there.

    Raises
    ------
    InputError
        If the rows do not fit the model, or one is of a class that it does not know.
    """
    return gradient_matched(model, matching.matched(model, data), config)


def gradient_matched(model: LinearModel, data: Dataset, config: TrainConfig) -> Array:
    """Return what `gradient` does, of rows that `fastlin.matching.match` returned."""
    _, dW, _ = functional.loss_and_gradient(
        data.X, data.y, model.W, model.b, loss=config.loss, offset=model.feature_offset,
        scale=data.scale, weights=row_weights(data, config),
    )  # fmt: skip
    std = 1.0 if model.feature_std is None else model.feature_std
    result: Array = (dW + 2 * _penalty_factor(model, config) * model.W * std**2).astype(
        model.W.dtype
    )
    return result


def _penalty_factor(model: LinearModel, config: TrainConfig) -> float:
    """Return the number l2; where settings leave it to training, what the model was trained with.

    Raises InputError if neither says it.
    """
    return model.l2 if config.l2 == AUTO and model.l2 is not None else config.penalty_factor
