"""A softmax classifier that chooses its C by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from fastlin.errors import InputError, quoted
from fastlin.estimators import callbacks
from fastlin.estimators.classifiers import SoftmaxClassifier
from fastlin.estimators.folds import CheckedRows, Fold, folds_of
from fastlin.estimators.together import Outcome
from fastlin.estimators.weights import of_rows
from fastlin.settings import Number, whole_number


class SoftmaxClassifierCV(SoftmaxClassifier):
    """An exact `SoftmaxClassifier` whose C is the best of several in cross-validation.

    In every fold the penalties go from strong to weak, each fit from the optimum of the one before.
    The classifier is then fitted on all rows with the C of the best mean accuracy, of equals the
    strongest penalty. Other parameters are those of `LinearClassifier`.

    Parameters
    ----------
    Cs : int or Sequence[float]
        Values of C; or how many from 1e-4 to 1e4.
    cv : int, splitter, Iterable or None
        As in scikit-learn: by default five stratified folds.

    Attributes
    ----------
    C_ : float
        The best.
    Cs_ : NDArray[np.float64]
        (m,), ascending.
    scores_ : NDArray[np.float64]
        (folds, m), accuracies.
    """

    def __init__(
        self,
        *,
        Cs: int | Sequence[float] = 10,
        cv: Any = None,
        class_weight: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int | None = None,
        verbose: bool = False,
        n_threads: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.verbose = verbose
        self.n_threads = n_threads

    @callbacks.with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose C, fit the classifier on all rows, and return it; as in `LinearClassifier`."""
        Cs = self._ascending()
        rows, labels = self._rows(X, y, reset=True)
        weights = None if sample_weight is None else of_rows(sample_weight, rows)
        own = self.get_params(deep=False)
        plain = SoftmaxClassifier(**{name: own[name] for name in own if name not in {"Cs", "cv"}})
        folds = folds_of(self.cv, rows, labels)
        checked = CheckedRows(rows, labels, weights, {"n_features_in_": rows.shape[1]})
        tasks = callbacks.tasks_of(
            self, "fold", len(folds), X=rows, y=labels,
            metadata=None if weights is None else {"sample_weight": weights},
        )  # fmt: skip
        scores = []
        every = [[clone(plain).set_params(C=C) for C in Cs.tolist()] for _ in folds]
        outcomes = checked.fit_folds(every, None, folds)
        for estimators, fold, found in zip(every, folds, outcomes, strict=True):
            scores.append(_accuracies(estimators, found, checked, fold))
            if tasks is not None:
                tasks.end_step()
        self.scores_ = np.array(scores)
        self.Cs_, self.C_ = Cs, float(Cs[self.scores_.mean(axis=0).argmax()])
        best = clone(plain).set_params(C=self.C_).fit(rows, labels, weights)
        for name in ("classes_", "model_", "n_iter_", "gap_", "history_", "coef_", "intercept_"):
            setattr(self, name, getattr(best, name))
        if tasks is not None:
            tasks.end()
        return self

    def _ascending(self) -> NDArray[np.float64]:
        """Return the values of C, ascending. Raises InputError if they are none."""
        if isinstance(self.Cs, int | np.integer):
            return np.logspace(-4, 4, whole_number("Cs", self.Cs, 1))
        try:
            given = list(self.Cs)
        except TypeError:
            given = []
        if not given:
            raise InputError(f"Cs is {quoted(self.Cs)}; it must be values of C, or their number")
        return np.array(sorted(Number(above_low=True).checked("Cs", C) for C in given))


def _accuracies(
    estimators: Sequence[SoftmaxClassifier], outcomes: Sequence[Outcome], rows: CheckedRows,
    fold: Fold,
) -> list[float]:  # fmt: skip
    """Return the accuracy of every C on the rows of a fold."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    X, y = rows.X[fold.test], rows.y[fold.test]
    weights = None if rows.weights is None else rows.weights[fold.test]
    return [float(estimator.score(X, y, weights)) for estimator in estimators]
