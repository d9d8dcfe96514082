"""Rows whose label is likely to be wrong, by probabilities of models that have not seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.errors import counted

LABEL_ERROR_COLUMNS = ("row", "given_label", "predicted_label", "self_confidence", "margin")


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Rows whose label is likely to be wrong, the likeliest first.

    Attributes
    ----------
    row : NDArray[np.int64]
        (m,) the numbers of the rows, from 0.
    given, predicted : NDArray[np.int64]
        (m,) the class of the label, and the one that the row seems to be of.
    self_confidence : NDArray[np.float64]
        (m,) the probability of the given class.
    margin : NDArray[np.float64]
        (m,) that probability less the one of the predicted class, by which rows are sorted.
    class_names : tuple[str, ...]
    """

    row: NDArray[np.int64]
    given: NDArray[np.int64]
    predicted: NDArray[np.int64]
    self_confidence: NDArray[np.float64]
    margin: NDArray[np.float64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        return (
            f"LabelErrors({counted(len(self), 'row')}, {counted(len(self.class_names), 'class')})"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dict a row, ready for `pandas.DataFrame`; classes are named."""
        names = self.class_names
        columns = (self.row, self.given, self.predicted, self.self_confidence, self.margin)
        return [
            dict(zip(LABEL_ERROR_COLUMNS, (row, names[given], names[seen], *numbers), strict=True))
            for row, given, seen, *numbers in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Write the records as CSV. Raises InputError if it cannot be written."""
        rows = [record.values() for record in self.to_records()]
        files.save_csv(path, LABEL_ERROR_COLUMNS, rows)


def likely_label_errors(
    probabilities: NDArray[Any], y: NDArray[np.int64], class_names: Sequence[str]
) -> LabelErrors:
    """Find rows that are confidently of another class than their label says.

    This is the rule of confident learning (Northcutt, Jiang & Chuang 2021): a class is confident of
    a row if its probability is at least the mean that it has over the rows of its own label. Of
    confident classes the most probable one counts; if it is not the label, the row is listed.

    Parameters
    ----------
    probabilities : NDArray
        (n, K), of models that were not trained on the row.
    y : NDArray[np.int64]
        (n,) the classes of the labels.
    class_names : Sequence[str]
        K names.

    Returns
    -------
    LabelErrors
    """
    K, rows = len(class_names), np.arange(len(y))
    own = probabilities[rows, y].astype(np.float64)
    counts = np.bincount(y, minlength=K)
    # No row is of a class without labels.
    means = np.where(counts > 0, np.bincount(y, own, K) / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= means, probabilities, -1.0)
    seen = confident.argmax(axis=1)
    is_listed = (confident[rows, seen] >= 0) & (seen != y)
    margin = own - probabilities[rows, seen]
    listed = np.flatnonzero(is_listed)
    listed = listed[np.argsort(margin[listed], kind="stable")]
    return LabelErrors(
        listed, y[listed], seen[listed], own[listed], margin[listed], tuple(class_names)
    )
