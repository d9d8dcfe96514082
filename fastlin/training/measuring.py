"""All metrics of a trained classifier on labelled rows, in one pass of bounded memory."""

from __future__ import annotations

import numpy as np

from fastlin import functional, matching
from fastlin.data.dataset import Dataset
from fastlin.metrics import Tally
from fastlin.model import LinearModel

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


def measure_matched(model: LinearModel, data: Dataset, tally: Tally | None = None) -> Tally:
    """Return what `measure` does, of rows that `fastlin.matching.match` returned.

    With a tally of so many classes, the rows are added to those that it has.
    """
    K = len(model.b)
    tally = tally or Tally(K)
    rows = max(1, _BYTES_OF_BLOCK // (4 * K * model.W.dtype.itemsize))
    for first in range(0, len(data), rows):
        y = data.y[first : first + rows]
        scores = functional.scores(
            data.X[first : first + rows], model.W, model.b, offset=model.feature_offset,
            scale=data.feature_scale, first_row=first,
        )  # fmt: skip
        tally.add_scores(y, scores)
        if model.has_probabilities:
            losses, dscores = functional.cross_entropy(scores, y)
            dscores[np.arange(len(y)), y] += 1  # the gradient is the probability less the target
            tally.add_probabilities(y, dscores, losses)
    return tally
