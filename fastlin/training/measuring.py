"""All metrics of a trained classifier on labelled rows, in one pass of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional, matching, passes
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.losses import Loss
from fastlin.metrics import Tally
from fastlin.model import LinearModel
from fastlin.training.evaluation import cost_of_losses

_BYTES_OF_BLOCK = 16_000_000  # of the scores of a block, with what is computed from them


def measure(model: LinearModel, data: Dataset) -> Tally:
    """Count how well a model predicts labelled rows.

    Classes are matched by name, and numbers are the model's, as in `fastlin.evaluate`.

    Parameters
    ----------
    model : LinearModel
    data : Dataset
        The labelled rows. Where they may not be what the model was trained on, that is a
        `fastlin.errors.MatchWarning`.

    Returns
    -------
    Tally
        Its `values` are the metrics by name: accuracy, balanced accuracy, macro F1, log loss, ...

    Raises
    ------
    InputError
        If the rows do not fit the model, or one is of a class that it does not know.
    """
    return measure_matched(model, matching.matched(model, data))


def measure_matched(model: LinearModel, data: Dataset) -> Tally:
    """Return what `measure` does, of rows that `fastlin.matching.match` returned."""
    tally = Tally(len(model.b))
    for y, scores in score_blocks(model, data):
        add_scores(tally, model, y, scores)
    return tally


def cost_and_tally(model: LinearModel, data: Dataset, config: TrainConfig) -> tuple[float, Tally]:
    """Return the cost of `evaluate_matched` and the tally of `measure_matched`, in one pass."""
    tally, losses = Tally(len(model.b)), np.empty(len(data), model.W.dtype)
    done = 0
    for y, scores in score_blocks(model, data):
        cross_entropies = add_scores(tally, model, y, scores)
        if cross_entropies is None or config.loss != Loss.SOFTMAX:
            cross_entropies, _ = passes.row_losses_and_gradient(config.loss, scores, y)
        losses[done : done + len(y)] = cross_entropies
        done += len(y)
    return cost_of_losses(model, losses, data, config), tally


def score_blocks(
    model: LinearModel, data: Dataset
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Return labels (rows,) and scores (rows, K) of rows that were matched, block after block."""
    rows = max(1, _BYTES_OF_BLOCK // (4 * len(model.b) * model.W.dtype.itemsize))
    for first in range(0, len(data), rows):
        scores = functional.scores(
            data.X[first : first + rows], model.W, model.b, offset=model.feature_offset,
            scale=data.feature_scale, first_row=first,
        )  # fmt: skip
        yield data.y[first : first + rows], scores


def add_scores(
    tally: Tally, model: LinearModel, y: NDArray[np.int64], scores: NDArray[Any]
) -> NDArray[Any] | None:
    """Add rows to a tally; return the cross-entropies (rows,) of their scores if they are known."""
    tally.add_scores(y, scores)
    if not model.has_probabilities:
        return None
    losses, dscores = functional.cross_entropy(model.tempered(scores), y)
    dscores[np.arange(len(y)), y] += 1  # the gradient is the probability less the target
    tally.add_probabilities(y, dscores, losses)
    return losses if model.temperature is None else None
