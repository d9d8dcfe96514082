"""What a classifier has learned and what it gets wrong, for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.losses import Softmax
from fastlin.metrics import Confusions, confusions
from fastlin.model import LinearModel
from fastlin.report.page import Picture
from fastlin.report.pixels import as_pixels

WRONG_ROWS = 20


@dataclass(frozen=True)
class WrongRow:
    """A misclassified row: its number, its class and the predicted one.

    `lead` is that of the predicted score over the true one; `probability` is that of the predicted
    class, None where the loss has none.
    """

    row: int
    true: int
    predicted: int
    lead: float
    probability: float | None


@dataclass(frozen=True, eq=False)
class Mistakes:
    """What is wrong on rows.

    Attributes
    ----------
    class_names : tuple[str, ...]
        Of the classes.
    confusions : Confusions
        Which of them are taken for which.
    wrong : list[WrongRow]
        The rows that are misclassified with most confidence, the surest first.
    images : NDArray[np.uint8] | None
        (n, channels, height, width), how these look; None if they are no images.
    """

    class_names: tuple[str, ...]
    confusions: Confusions
    wrong: list[WrongRow]
    images: NDArray[Any] | None

    def pictures(self, prefix: str, of: str, foot: str) -> list[Picture]:
        """Return the pictures of them; `of` is the classifier."""
        title, note = f"Confusions of {of}", "Which classes it takes for which."
        drawn = [
            Picture(f"{prefix}confusion", title, note, foot,
                    draw=lambda figures: figures.confusions(self.confusions, self.class_names))
        ]  # fmt: skip
        if self.images is None:
            return drawn
        what, names = "its probability, and the true one", self.class_names
        if self.wrong[0].probability is None:
            what = "its lead over the true one, and that"
        captions = [
            f"{names[row.predicted]} "
            f"{row.lead if row.probability is None else row.probability:.2f}\nis {names[row.true]}"
            for row in self.wrong
        ]
        title, note = f"Most confidently wrong, {of}", f"Above: the predicted class, {what}."
        drawn.append(
            Picture(f"{prefix}wrong", title, note, foot, True,
                    lambda figures: figures.image_grid(self.images, captions))
        )  # fmt: skip
        return drawn


def weights_picture(name: str, title: str, model: LinearModel, foot: str) -> Picture:
    """Return the picture of the weights of a model whose rows are images."""
    return Picture(
        name, title, "The rows of W as images.", foot, draw=lambda figures:
        figures.weight_templates(model.W, model.image_shape, model.class_names),
    )  # fmt: skip


def find_mistakes(
    data: Dataset, predictions: NDArray[Any], model: LinearModel, config: TrainConfig
) -> Mistakes:
    """Describe what is wrong on rows.

    Parameters
    ----------
    data : Dataset
        The rows.
    predictions : NDArray[Any]
        (n,) or (runs, n) their predicted classes.
    model, config : LinearModel, TrainConfig
        Of the run whose most confident errors are described.
    """
    wrong = most_wrong(model, data, config, WRONG_ROWS)
    images = None
    if data.image_shape is not None and wrong:
        images = as_pixels(data.X[[row.row for row in wrong]]).reshape(-1, *data.image_shape)
    found = confusions(data.y, predictions, len(model.class_names))
    return Mistakes(model.class_names, found, wrong, images)


def most_wrong(model: LinearModel, data: Dataset, config: TrainConfig, most: int) -> list[WrongRow]:
    """Return the rows that are misclassified with most confidence, the surest first.

    That is the probability of the predicted class for softmax; for a loss that has none, the lead
    of its score over that of the true class.
    """
    found = functional.scores(
        data.X, model.W, model.b, offset=model.feature_offset, scale=data.scale
    )
    scores = np.array(found, np.float64, order="C")
    predicted = scores.argmax(axis=1)
    lead = scores.max(axis=1) - scores[np.arange(len(data)), data.y]
    is_softmax = isinstance(config.loss, Softmax)
    confidence = model.probabilities_of(scores).max(axis=1) if is_softmax else lead
    wrong = np.flatnonzero(predicted != data.y)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return [
        WrongRow(int(row), int(data.y[row]), int(predicted[row]), float(lead[row]),
                 float(confidence[row]) if is_softmax else None)
        for row in rows
    ]  # fmt: skip
