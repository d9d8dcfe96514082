"""How well predictions agree with labels.

A `Tally` counts rows, block by block; `METRICS` are numbers that follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, counted, quoted

MAX_MATRIX_CLASSES = 20  # of more classes nobody can read a table of all pairs
MAX_PAIRS = 20
TOP = 5  # of the top-5 accuracy
CALIBRATION_BINS = 15
_Z_OF_95_PERCENT = 1.959963984540054


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
    tally = Tally(class_count)
    tally.add_predictions(true, predicted)
    return tally.confusions()


def binomial_error(accuracy: float, rows: int) -> float:
    """Return the standard error of an accuracy that was measured on so many rows."""
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def wilson_interval(accuracy: float, rows: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy that was measured on so many rows."""
    z2 = _Z_OF_95_PERCENT**2
    middle = (accuracy + z2 / (2 * rows)) / (1 + z2 / rows)
    spread = math.sqrt(accuracy * (1 - accuracy) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    reach = _Z_OF_95_PERCENT * spread
    # At 0 and 1 rounding could leave the accuracy outside.
    return max(0.0, min(accuracy, middle - reach)), min(1.0, max(accuracy, middle + reach))


class Calibration(NamedTuple):
    """Rows by the probability of their predicted class, in `CALIBRATION_BINS` equal bins of (0, 1].

    Attributes
    ----------
    rows : NDArray[np.int64]
        How many rows each bin has.
    right : NDArray[np.int64]
        How many of them are predicted right.
    confidence : NDArray[np.float64]
        The sum of their probabilities.
    """

    rows: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def plus(self, other: Calibration | None) -> Calibration:
        """Return that of the rows of both."""
        if other is None:
            return self
        return Calibration(
            self.rows + other.rows, self.right + other.right, self.confidence + other.confidence
        )

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy."""
        return float(np.abs(self.right - self.confidence).sum() / self.rows.sum())


class Tally:
    """What is counted of labelled rows and their predictions, however many rows there are.

    Parameters
    ----------
    class_count : int
        K.

    Attributes
    ----------
    rows_of_class, predicted_of_class, right_of_class : NDArray[np.int64]
        (K,), how many rows are of a class, are predicted as it, and both.
    in_top : int or None
        Rows whose class is among the `TOP` highest scores; None without scores.
    loss_sum : float or None
        Of the cross-entropy of every row; None without probabilities.
    calibration : Calibration or None
        None without probabilities.
    """

    def __init__(self, class_count: int) -> None:
        self.rows_of_class = np.zeros(class_count, np.int64)
        self.predicted_of_class = np.zeros(class_count, np.int64)
        self.right_of_class = np.zeros(class_count, np.int64)
        self.in_top: int | None = None
        self.loss_sum: float | None = None
        self.calibration: Calibration | None = None
        # The numbers of the pairs that are confused (true * K + predicted), and their rows.
        self._wrong = (np.zeros(0, np.int64), np.zeros(0, np.int64))

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return int(self.rows_of_class.sum())

    @property
    def class_count(self) -> int:
        """How many classes there are."""
        return len(self.rows_of_class)

    def add_scores(self, y: NDArray[np.int64], scores: NDArray[Any]) -> None:
        """Add rows by labels (n,) and scores (n, K)."""
        self.add_predictions(y, scores.argmax(axis=1))
        own = np.take_along_axis(scores, y[:, None], axis=1)
        # Of equal scores the class of the lower number comes first.
        ahead = (scores > own) | ((scores == own) & (np.arange(self.class_count) < y[:, None]))
        self.in_top = (self.in_top or 0) + int(np.count_nonzero(ahead.sum(axis=1) < TOP))

    def add_predictions(self, y: NDArray[np.int64], predictions: NDArray[np.int64]) -> None:
        """Add rows by labels (n,) and predicted classes (n,) alone."""
        K, is_right = self.class_count, y == predictions
        self.rows_of_class += np.bincount(y, minlength=K)
        self.predicted_of_class += np.bincount(predictions, minlength=K)
        self.right_of_class += np.bincount(y[is_right], minlength=K)
        pairs, sizes = np.unique(y[~is_right] * K + predictions[~is_right], return_counts=True)
        self._add_wrong(pairs, sizes)

    def _add_wrong(self, pairs: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Add pairs of classes that are confused, and how many rows each has."""
        known, counts = self._wrong
        merged, places = np.unique(np.concatenate([known, pairs]), return_inverse=True)
        total = np.zeros(len(merged), np.int64)
        np.add.at(total, places, np.concatenate([counts, sizes]))
        self._wrong = merged, total

    def add(self, other: Tally) -> None:
        """Add all rows of another tally of the same classes."""
        for name in ("rows_of_class", "predicted_of_class", "right_of_class"):
            getattr(self, name)[:] += getattr(other, name)
        if other.in_top is not None:
            self.in_top = (self.in_top or 0) + other.in_top
        if other.loss_sum is not None:
            self.loss_sum = (self.loss_sum or 0.0) + other.loss_sum
        if other.calibration is not None:
            self.calibration = other.calibration.plus(self.calibration)
        self._add_wrong(*other._wrong)

    def add_probabilities(
        self, y: NDArray[np.int64], probabilities: NDArray[Any], losses: NDArray[Any]
    ) -> None:
        """Add probabilities (n, K) and cross-entropies (n,) of rows that are added by scores."""
        self.loss_sum = (self.loss_sum or 0.0) + float(losses.sum(dtype=np.float64))
        if self.calibration is None:
            self.calibration = Calibration(
                np.zeros(CALIBRATION_BINS, np.int64), np.zeros(CALIBRATION_BINS, np.int64),
                np.zeros(CALIBRATION_BINS),
            )  # fmt: skip
        predicted = probabilities.argmax(axis=1)
        confidence = probabilities.max(axis=1).astype(np.float64)
        bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, None)
        bins = np.minimum(bins, CALIBRATION_BINS - 1)
        rows, right, confidences = self.calibration
        rows += np.bincount(bins, minlength=CALIBRATION_BINS)
        right += np.bincount(bins[predicted == y], minlength=CALIBRATION_BINS)
        confidences += np.bincount(bins, confidence, CALIBRATION_BINS)

    def confusions(self) -> Confusions:
        """Return which classes are taken for which."""
        K, (pairs, sizes) = self.class_count, self._wrong
        worst = np.argsort(-sizes, kind="stable")[:MAX_PAIRS]
        counts = None
        if K <= MAX_MATRIX_CLASSES:
            counts = np.diag(self.right_of_class)
            counts[pairs // K, pairs % K] = sizes
        return Confusions(
            self.rows_of_class.tolist(),
            self.right_of_class.tolist(),
            [(*divmod(int(pairs[i]), K), int(sizes[i])) for i in worst],
            counts,
        )

    def recall(self) -> NDArray[np.float64]:
        """Return the share of every class's rows that are right, (K,); NaN of one without rows."""
        return _ratio(self.right_of_class, self.rows_of_class)

    def precision(self) -> NDArray[np.float64]:
        """Return the share that is right of what is predicted as a class, (K,); NaN of nothing."""
        return _ratio(self.right_of_class, self.predicted_of_class)

    def f1(self) -> NDArray[np.float64]:
        """Return the harmonic mean of the two, (K,); NaN of a class that never occurs."""
        return _ratio(2 * self.right_of_class, self.rows_of_class + self.predicted_of_class)

    def values(self) -> dict[str, float]:
        """Return all of `METRICS` that there are by name, and the interval of the accuracy."""
        found = {metric.name: metric.of(self) for metric in METRICS}
        low, high = wilson_interval(found["accuracy"] or 0.0, self.rows)
        interval = {"accuracy_low": low, "accuracy_high": high}
        return {name: value for name, value in found.items() if value is not None} | interval


def _ratio(counts: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(of > 0, counts / np.maximum(of, 1), np.nan)


class Metric(NamedTuple):
    """A number that says how good predictions are.

    Attributes
    ----------
    name : str
        In files.
    title : str
        In tables.
    meaning : str
        In words.
    is_better_high : bool
        Whether the larger number is the better one.
    is_share : bool
        Whether it is a share, which is printed in percent.
    of : Callable[[Tally], float or None]
        Returns the number; None where there is none.
    """

    name: str
    title: str
    meaning: str
    is_better_high: bool
    is_share: bool
    of: Callable[[Tally], float | None]

    def text(self, value: float) -> str:
        """Return a value as it is printed."""
        return f"{value:.2%}" if self.is_share else f"{value:.4f}"


METRICS = (
    Metric(
        "accuracy", "accuracy", "rows whose highest score is at their class", True, True,
        lambda tally: float(tally.right_of_class.sum() / tally.rows),
    ),
    Metric(
        "top_5_accuracy", "top-5", "rows whose class is among the five highest scores", True,
        True,
        lambda tally: (
            None if tally.in_top is None or tally.class_count <= TOP else tally.in_top / tally.rows
        ),
    ),
    Metric(
        "balanced_accuracy", "balanced", "the mean accuracy of the classes that have rows", True,
        True,
        lambda tally: float(np.nanmean(tally.recall())),
    ),
    Metric(
        "macro_f1", "macro F1", "the mean F1 of the classes that occur or are predicted", True,
        False,
        lambda tally: float(np.nanmean(tally.f1())),
    ),
    Metric(
        "log_loss", "log loss", "the mean of -log of the probability of the class (softmax)", False,
        False,
        lambda tally: None if tally.loss_sum is None else tally.loss_sum / tally.rows,
    ),
    Metric(
        "calibration_error", "calibration", "the mean gap between the probability of the predicted "
        f"class and the accuracy, in {CALIBRATION_BINS} bins (softmax)", False, True,
        lambda tally: None if tally.calibration is None else tally.calibration.error,
    ),
)  # fmt: skip

# Metrics that only classifiers with probabilities have, and by their names in files all but the
# accuracy, which histories hold after every epoch.
OF_PROBABILITIES = frozenset({"log_loss", "calibration_error"})
BY_NAME = {metric.name: metric for metric in METRICS if metric.name != "accuracy"}

# By what epochs and classifiers can be chosen: measures of validation rows.
MEASURES = ("accuracy", "cost", *BY_NAME)
SELECTABLE = tuple(f"val_{measure}" for measure in MEASURES)


def check_select(select: object) -> None:
    """Raise InputError if it is none of `SELECTABLE`."""
    if select not in SELECTABLE:
        raise InputError(f"select is {quoted(select)}; it must be one of {', '.join(SELECTABLE)}")


def metric_of(select: str) -> Metric | None:
    """Return the metric that one of `SELECTABLE` names; None of accuracy and cost."""
    return BY_NAME.get(select.removeprefix("val_"))


def is_better_high(select: str) -> bool:
    """Return whether the larger value of one of `SELECTABLE` is the better one."""
    metric = metric_of(select)
    return select == "val_accuracy" if metric is None else metric.is_better_high


def measure_text(select: str) -> str:
    """Return one of `SELECTABLE` in words: "validation balanced accuracy"."""
    measure = select.removeprefix("val_").replace("_", " ").replace("f1", "F1")
    return f"validation {measure}"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well W and b do on a data set.

    Attributes
    ----------
    cost : mean loss + l2 * sum(W**2).
    accuracy : fraction of rows whose largest score is at their label, in [0, 1].
    losses : (n,) of W's dtype, without the penalty.
    predictions : (n,) int64, the class of the largest score, the first of equals.
    """

    cost: float
    accuracy: float
    losses: NDArray[Any]
    predictions: NDArray[np.int64]

    def __repr__(self) -> str:
        rows = counted(len(self.predictions), "row")
        return f"Evaluation(cost {self.cost:.4f}, accuracy {self.accuracy:.2%} of {rows})"
