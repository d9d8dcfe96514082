"""Rows that are checked once, and what came of a candidate on a fold of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import check_cv

from fastlin.data.checks import as_array
from fastlin.errors import InputError, counted, quoted, reason_of
from fastlin.estimators.base import LinearClassifier
from fastlin.estimators.together import Outcome, fit_in_folds, fit_together
from fastlin.estimators.weights import of_rows

Scores = float | dict[str, float]  # of one scorer, or by name


class CheckedRows(NamedTuple):
    """Rows and labels, checked by an estimator that is like those to be fitted.

    Attributes
    ----------
    X : NDArray
        (n, d), as they are fitted.
    y : NDArray
        (n,) labels.
    weights : NDArray[np.float64] or None
        (n,).
    features : dict[str, Any]
        What the estimator keeps of features: their number, and names where there are any.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    features: dict[str, Any]

    @classmethod
    def of(cls, estimator: LinearClassifier, X: Any, y: Any, weights: Any) -> Self:
        """Return those of arguments. Raises ValueError if they do not fit."""
        judge: LinearClassifier = clone(estimator)
        rows, labels = judge._rows(X, y, reset=True)
        if weights is not None:
            weights = of_rows(weights, rows)
        names = ("n_features_in_", "feature_names_in_")
        features = {name: getattr(judge, name) for name in names if hasattr(judge, name)}
        return cls(rows, labels, weights, features)

    def fit(
        self, estimators: Sequence[LinearClassifier], threads: int | None,
        part: NDArray[Any] | None = None,
    ) -> list[Outcome]:  # fmt: skip
        """Fit estimators on all rows, or on a part of them, as `fit_together` does."""
        self._tell_features(estimators)
        X, y, weights = self.X, self.y, self.weights
        if part is not None:
            X, y = X[part], y[part]
            weights = None if weights is None else weights[part]
        return fit_together(estimators, X, y, weights, threads)

    def fit_folds(
        self, estimators: Sequence[Sequence[LinearClassifier]], threads: int | None,
        folds: Sequence[Fold],
    ) -> Iterator[list[Outcome]]:  # fmt: skip
        """Fit the estimators of every fold on its rows: together where that can be, or in turn."""
        for of_fold in estimators:
            self._tell_features(of_fold)
        parts = [fold.train for fold in folds]
        shared = fit_in_folds(estimators, self.X, self.y, self.weights, parts, threads)
        if shared is not None:
            yield from shared
            return
        for of_fold, part in zip(estimators, parts, strict=True):
            yield self.fit(of_fold, threads, part)

    def _tell_features(self, estimators: Sequence[LinearClassifier]) -> None:
        for estimator in estimators:
            for name, value in self.features.items():
                setattr(estimator, name, value)


class Fold(NamedTuple):
    """The numbers of rows (m,) that are fitted, and of those that are scored."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def folds_of(cv: Any, X: Any, y: Any, **given: Any) -> list[Fold]:
    """Return the folds that `cv` makes of rows, as scikit-learn understands it.

    Parameters
    ----------
    cv : int, splitter, Iterable or None
        How many folds, what makes them, or pairs of the rows to be fitted and to be scored, as
        numbers or as masks.
    X, y : ArrayLike
        (n, d) rows and (n,) labels.
    **given : Any
        More arguments for the splitter.

    Raises
    ------
    ValueError
        If there is no fold, or one is no pair of rows that there are; it names the fold.
    """
    if isinstance(cv, Iterable) and not isinstance(cv, str) and not hasattr(cv, "split"):
        cv = [_pair(number, fold) for number, fold in enumerate(cv, 1)]
    found = [
        Fold(_numbers(number, "fit", train, len(y)), _numbers(number, "score", test, len(y)))
        for number, (train, test) in enumerate(
            check_cv(cv, y, classifier=True).split(X, y, **given), 1
        )
    ]
    if not found:
        raise InputError("cv has no folds; give at least one")
    return found


def _pair(number: int, fold: Any) -> tuple[Any, Any]:
    """Return the two parts of a fold. Raises InputError if it has others."""
    try:
        train, test = fold
    except (TypeError, ValueError):
        raise InputError(
            f"fold {number} of cv is {quoted(fold)}; it must be a pair: the numbers of the rows to "
            "fit, and of those to score"
        ) from None
    return train, test


def _numbers(number: int, purpose: str, part: Any, row_count: int) -> NDArray[np.int64]:
    """Return the numbers of rows of a part of a fold. Raises InputError if they are none."""
    what = f"fold {number} of cv: the rows to {purpose}"
    rows = as_array(what, part)
    if rows.ndim != 1 or rows.size == 0:
        raise InputError(f"{what} have shape {rows.shape}; give at least one, in one dimension")
    if rows.dtype == bool:
        if len(rows) != row_count or not rows.any():
            raise InputError(
                f"{what} are a mask of {counted(len(rows), 'row')}, {int(rows.sum())} of them "
                f"chosen; it must be one of {row_count}, at least one of them chosen"
            )
        return np.flatnonzero(rows)
    if rows.dtype.kind not in "iu":
        raise InputError(f"{what} have dtype {rows.dtype!s:.60}; they must be numbers of rows")
    least, largest = int(rows.min()), int(rows.max())
    if least < -row_count or largest >= row_count:
        wrong = largest if largest >= row_count else least
        raise InputError(f"{what} have the number {wrong}; it must be from 0 to {row_count - 1}")
    return rows.astype(np.int64)


class Scored(NamedTuple):
    """What came of a candidate on a fold; scores are None where it could not be fitted."""

    fit_seconds: float
    score_seconds: float
    scores: Scores | None
    error: ValueError | None


def scored(
    estimator: LinearClassifier, outcome: Outcome, scorer: Callable[..., Any],
    rows: tuple[Any, Any], params: Mapping[str, Any],
) -> Scored:  # fmt: skip
    """Return the scores of an estimator on rows and labels.

    A scorer that fails gives NaN, with a warning.

    Raises
    ------
    InputError
        If a score is no number.
    """
    if outcome.error is not None:
        return Scored(outcome.seconds, 0.0, None, outcome.error)
    began = time.perf_counter()
    try:
        found = scorer(estimator, *rows, **params)
    except Exception as error:  # noqa: BLE001  (what a user's scorer raises is not known)
        found = _failed(reason_of(error))
    if isinstance(found, dict):
        has_errors = hasattr(scorer, "_scorers")  # of several scorers, each as a text
        found = {
            name: _failed(value.strip().splitlines()[-1])
            if has_errors and isinstance(value, str)
            else _number(value)
            for name, value in found.items()
        }
    else:
        found = _number(found)
    return Scored(outcome.seconds, time.perf_counter() - began, found, None)


def _failed(reason: str) -> float:
    """Warn that a scorer failed, and return NaN."""
    warnings.warn(f"scoring failed, the score is NaN: {reason}", UserWarning, stacklevel=5)
    return float("nan")


def _number(score: Any) -> float:
    """Return a score as a number. Raises InputError if it is none."""
    if isinstance(score, np.generic | np.ndarray) and score.size == 1:
        score = score.item()
    if not isinstance(score, Number):
        raise InputError(f"scoring gave {quoted(score)}; it must give a number")
    return score  # type: ignore[return-value]  # a complex one is refused by NumPy


def scores_of(found: Iterable[Scored]) -> list[Scores]:
    """Return the scores of all; those that could not be fitted have NaN, of every name."""
    every = list(found)
    example = next((one.scores for one in every if one.scores is not None), None)
    nan = float("nan")
    missing = dict.fromkeys(example, nan) if isinstance(example, dict) else nan
    return [missing if one.scores is None else one.scores for one in every]
