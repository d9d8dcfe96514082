"""What a cross-validation leaves behind, in memory and on disk."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.label_errors import LabelErrors, likely_label_errors
from fastlin.metrics import Tally
from fastlin.model import LinearModel
from fastlin.search.ranking import GridResult

if TYPE_CHECKING:
    from fastlin.training.trainer import TrainResult

PROBABILITIES, LABELS, CLASS_NAMES = "pred_probs.npy", "labels.npy", "class_names.json"
LABEL_ERRORS = "likely_label_errors.csv"


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Everything that a cross-validation found.

    Rows are the training rows, in their order, and then the validation rows, if there are any.

    Attributes
    ----------
    ranking : GridResult
        The candidates, whose histories are means over the folds. Its `refitted` is the winner,
        fitted on all rows.
    fold_scores : NDArray[np.float64]
        (candidates, folds) what the candidates are ranked by; NaN where one diverged.
    fold_of_row : NDArray[np.int64]
        (n,) in which fold every row is, from 0.
    rows : Dataset
        What was divided: n rows.
    probabilities : NDArray[np.float32] or None
        (n, K) of every row, by the winner fitted on the other folds: out-of-fold probabilities.
        None for a loss that has none.
    predictions : NDArray[np.int64]
        (n,) the classes that these models predict.
    tally : Tally
        All metrics of these predictions.
    folds : int
        How many there are.
    """

    ranking: GridResult
    fold_scores: NDArray[np.float64]
    fold_of_row: NDArray[np.int64]
    rows: Dataset
    probabilities: NDArray[np.float32] | None
    predictions: NDArray[np.int64]
    tally: Tally
    folds: int

    def __repr__(self) -> str:
        return (
            f"CrossValidation({self.folds} folds of {len(self.rows):,} rows, "
            f"{len(self.ranking.entries)} candidates; {self.ranking.rule} {self.mean:.4g} "
            f"± {self.error:.2g})"
        )

    @property
    def scores(self) -> NDArray[np.float64]:
        """The scores of the winner in every fold, (folds,)."""
        of_winner: NDArray[np.float64] = self.fold_scores[self.ranking.winner]
        return of_winner

    @property
    def mean(self) -> float:
        """The mean of the winner's scores."""
        return float(self.scores.mean())

    @property
    def error(self) -> float:
        """The standard error of that mean."""
        return float(self.errors[self.ranking.winner])

    @property
    def errors(self) -> NDArray[np.float64]:
        """The standard errors of the candidates' means, (candidates,); NaN of one that diverged."""
        spread: NDArray[np.float64] = self.fold_scores.std(axis=1, ddof=1) / np.sqrt(self.folds)
        return spread

    @property
    def fitting(self) -> Fitting:
        """On which rows the winner was fitted."""
        return Fitting(cv=self.folds)

    def fitted_on(self, split: Split) -> Split:
        """Return the split of which it was made with all rows that were divided to train on."""
        return Split(split.name, self.rows, test=split.test)

    @property
    def result(self) -> TrainResult:
        """The winner, fitted on all rows."""
        if self.ranking.refitted is None:
            raise InputError("the winner of this ranking was not fitted on all rows")
        return self.ranking.refitted

    @property
    def model(self) -> LinearModel:
        """The classifier of the winner, fitted on all rows."""
        return self.result.model

    def likely_label_errors(self) -> LabelErrors:
        """Return the rows whose label is likely to be wrong; see `fastlin.label_errors`.

        Raises
        ------
        InputError
            If there are no probabilities.
        """
        if self.probabilities is None:
            raise InputError(
                f"the loss {self.result.config.loss} has no probabilities, by which wrong labels "
                "are found; use the loss softmax"
            )
        return likely_label_errors(self.probabilities, self.rows.y, self.rows.class_names)

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of it: plain JSON values."""
        listed = None if self.probabilities is None else len(self.likely_label_errors())
        return {
            "cross_validation": {
                "folds": self.folds,
                "rows": len(self.rows),
                "rows_of_fold": np.bincount(self.fold_of_row).tolist(),
                "measure": self.ranking.ranked_by.select,
                "mean": self.mean,
                "standard_error": self.error,
                "of_fold": self.scores.tolist(),
                "likely_label_errors": listed,
                "out_of_fold": self.tally.values(),
            }
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write out-of-fold probabilities, labels and likely wrong labels into a folder.

        They are what label-error finders such as cleanlab take: ``pred_probs.npy`` (n, K) float32,
        ``labels.npy`` (n,) int64 and ``class_names.json``; and ``likely_label_errors.csv``. Without
        probabilities nothing is written.

        Returns
        -------
        list[Path]
            The files.

        Raises
        ------
        InputError
            If they cannot be written.
        """
        if self.probabilities is None:
            return []
        folder = files.as_path(folder)
        for name, array in ((PROBABILITIES, self.probabilities), (LABELS, self.rows.y)):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            with files.atomic_write(folder / name) as file:
                file.write(content.getbuffer())
        files.save_json(folder / CLASS_NAMES, list(self.rows.class_names))
        self.likely_label_errors().save(folder / LABEL_ERRORS)
        return [folder / name for name in (PROBABILITIES, LABELS, CLASS_NAMES, LABEL_ERRORS)]
