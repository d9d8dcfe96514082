"""How well predictions agree with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_MATRIX_CLASSES = 20  # of more classes nobody can read a table of all pairs
MAX_PAIRS = 20


@dataclass(frozen=True, eq=False)
class Confusions:
    """Which classes are taken for which.

    Attributes
    ----------
    rows_of_class : list[int]
        How many rows every class has.
    right_of_class : list[int]
        How many of them are predicted as that class.
    pairs : list[tuple[int, int, int]]
        The true class, the predicted one, and the rows of it; the `MAX_PAIRS` most frequent errors.
    counts : NDArray[np.int64] | None
        (K, K), rows of class i that are predicted as class j; None of more than
        `MAX_MATRIX_CLASSES` classes.
    """

    rows_of_class: list[int]
    right_of_class: list[int]
    pairs: list[tuple[int, int, int]]
    counts: NDArray[np.int64] | None

    @property
    def per_class(self) -> list[float]:
        """Accuracy of every class, 0 of one without rows."""
        both = zip(self.right_of_class, self.rows_of_class, strict=True)
        return [right / max(rows, 1) for right, rows in both]


def confusion_counts(
    y: NDArray[np.int64], predictions: NDArray[np.int64], class_count: int
) -> NDArray[np.int64]:
    """Return how many rows of class i were predicted as j, (K, K) int64, from checked labels."""
    cells = np.bincount(y * class_count + predictions, minlength=class_count**2)
    return cells.reshape(class_count, class_count)


def confusions(
    y: NDArray[np.integer], predictions: NDArray[np.integer], class_count: int
) -> Confusions:
    """Count which classes are taken for which.

    Parameters
    ----------
    y : NDArray[np.integer]
        (n,) the true classes.
    predictions : NDArray[np.integer]
        (n,) or (runs, n), whose rows all count.
    class_count : int
        K, of which no table of all pairs is made if they are many.
    """
    predicted = predictions.astype(np.int64).ravel()
    true = np.broadcast_to(y, predictions.shape).astype(np.int64).ravel()
    is_right = true == predicted
    kinds, sizes = np.unique(true[~is_right] * class_count + predicted[~is_right],
                             return_counts=True)  # fmt: skip
    worst = np.argsort(-sizes, kind="stable")[:MAX_PAIRS]
    counts = None
    if class_count <= MAX_MATRIX_CLASSES:
        counts = confusion_counts(true, predicted, class_count)
    return Confusions(
        np.bincount(true, minlength=class_count).tolist(),
        np.bincount(true[is_right], minlength=class_count).tolist(),
        [(*divmod(int(kinds[i]), class_count), int(sizes[i])) for i in worst],
        counts,
    )


def binomial_error(accuracy: float, rows: int) -> float:
    """Return the standard error of an accuracy that was measured on so many rows."""
    return math.sqrt(accuracy * (1 - accuracy) / rows)
