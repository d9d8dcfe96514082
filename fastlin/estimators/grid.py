"""A grid of parameters in cross-validation; all candidates of a fold are fitted at once."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.metadata_routing import UNUSED

from fastlin.errors import InputError, counted, quoted, reason_of
from fastlin.estimators import callbacks, inputs
from fastlin.estimators.base import LinearClassifier
from fastlin.estimators.folds import CheckedRows, Scored, folds_of, scored, scores_of
from fastlin.threads import checked_count, use_threads

Candidate = dict[str, Any]


class GridSearch(GridSearchCV):  # type: ignore[misc]  # has no types
    """`sklearn.model_selection.GridSearchCV` for fastlin's classifiers, a whole fold at a time.

    Candidates, folds, scores and the choice are those of `GridSearchCV`. Rows are checked once.
    Exact candidates that differ in C, l2, tol or max_iter are one path in each fold, from strong to
    weak penalties; they agree with single fits within their tol. Epochs of SGD are trained for all
    candidates together; where random_state is an integer, the bits are those of single fits. Beside
    X, memory is needed for the training rows of one fold.

    Parameters
    ----------
    estimator : SoftmaxClassifier or HingeClassifier
        Others are for `GridSearchCV`.
    param_grid : dict or list[dict]
        Lists of values by parameter, as in `GridSearchCV`.
    cv : int, splitter, Iterable or None
        By default five stratified folds.
    scoring : str, callable, list, tuple, dict or None
        As in `GridSearchCV`, by default accuracy. Scorers get a fitted classifier.
    refit : bool, str or callable
        Whether the best candidate is fitted on all rows; which of several scores says what is best.
    n_threads : int, optional
        For all fits; by default `n_threads` of the estimator.
    verbose : bool
        Write a line to stdout after every fold.

    Attributes
    ----------
    cv_results_ : dict[str, NDArray]
        As in `GridSearchCV`. What is done for several candidates at once is divided by their number
        in ``mean_fit_time``. A candidate that cannot be fitted has the score NaN, with a warning.
    best_estimator_ : SoftmaxClassifier or HingeClassifier
    best_params_, best_score_, best_index_, n_splits_, refit_time_, scorer_, multimetric_, classes_
        As in `GridSearchCV`.
    """

    # It routes these to the estimator and the splitter, and asks for none itself.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"sample_weight": UNUSED, "groups": UNUSED}

    def __init__(
        self,
        estimator: LinearClassifier,
        param_grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        cv: Any = None,
        scoring: Any = None,
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            estimator, param_grid, cv=cv, scoring=scoring, refit=refit, verbose=verbose
        )
        self.n_threads = n_threads

    @callbacks.with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit and score all candidates on all folds, choose the best, and return the search.

        Parameters
        ----------
        X, y : ArrayLike
            As the classifiers take them.
        sample_weight : ArrayLike, optional
            (n,), >= 0, for fits; for scores, too, where `GridSearchCV` passes it on.
        groups : ArrayLike, optional
            (n,), for the splitter.

        Raises
        ------
        ValueError
            If an argument does not fit, or no candidate could be fitted.
        """
        _check_estimator(self.estimator, self.n_threads)
        scorer, metric = self._get_scorers()
        X, y = indexable(inputs.plain("X", X), inputs.plain("y", y))
        given = {"sample_weight": inputs.plain("sample_weight", sample_weight)}
        given["groups"] = inputs.plain("groups", groups)
        given = {name: value for name, value in given.items() if value is not None}
        routed = self._get_routed_params_for_fit(given)
        rows = CheckedRows.of(self.estimator, X, y, routed.estimator.fit.get("sample_weight"))
        folds = folds_of(self.cv, X, y, **routed.splitter.split)
        candidates, self.n_splits_ = list(ParameterGrid(self.param_grid)), len(folds)
        if not candidates:
            raise InputError("no fits were performed; param_grid has no candidate")
        tasks = callbacks.tasks_of(self, "fold", len(folds), X=X, y=y, metadata=given or None)
        score_params, of_folds = _by_row(routed.scorer.score, len(rows.X)), []
        every = [[_with(self.estimator, params) for params in candidates] for _ in folds]
        fitted, began = rows.fit_folds(every, self.n_threads, folds), time.perf_counter()
        for number, (outcomes, (_, test)) in enumerate(zip(fitted, folds, strict=True)):
            held_out = _safe_indexing(X, test), _safe_indexing(y, test)
            params = {name: value[test] for name, value in score_params.items()}
            with use_threads(self.n_threads):
                of_folds.append(
                    [
                        scored(estimator, outcome, scorer, held_out, params)
                        for estimator, outcome in zip(every[number], outcomes, strict=True)
                    ]
                )
            self._write(number + 1, len(candidates), time.perf_counter() - began)
            every[number], began = [], time.perf_counter()  # estimators hold their classifiers
            if tasks is not None:
                tasks.end_step()
        self._choose(candidates, list(zip(*of_folds, strict=True)), metric)
        if self.refit:
            self._fit_best(rows)
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        if tasks is not None:
            tasks.end()
        return self

    def _write(self, fold: int, count: int, seconds: float) -> None:
        """Write a line of a fold."""
        if self.verbose:
            candidates = counted(count, "candidate")
            sys.stdout.write(f"fold {fold} of {self.n_splits_}: {candidates} in {seconds:.2f} s\n")

    def _choose(
        self, candidates: list[Candidate], of_folds: Sequence[Sequence[Scored]], metric: str
    ) -> None:
        """Keep the scores of all candidates on all folds, and which is the best."""
        _tell_of_errors(candidates, of_folds)
        every = [one for of_candidate in of_folds for one in of_candidate]
        scores = scores_of(every)
        self.multimetric_ = isinstance(scores[0], dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores[0])
            metric = self.refit
        self.cv_results_ = self._format_results(
            candidates,
            self.n_splits_,
            [
                {"fit_time": one.fit_seconds, "score_time": one.score_seconds, "test_scores": value}
                for one, value in zip(every, scores, strict=True)
            ],
        )
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, metric, self.cv_results_)
            self.best_params_ = candidates[self.best_index_]
            if not callable(self.refit):
                self.best_score_ = self.cv_results_[f"mean_test_{metric}"][self.best_index_]

    def _fit_best(self, rows: CheckedRows) -> None:
        """Fit the best candidate on all rows."""
        best = _with(self.estimator, self.best_params_)
        [outcome] = rows.fit([best], self.n_threads)
        if outcome.error is not None:
            raise outcome.error
        self.best_estimator_, self.refit_time_ = best, outcome.seconds
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_


def _check_estimator(estimator: object, threads: int | None) -> None:
    """Raise InputError if it is none of those that are fitted together, or threads do not fit."""
    if threads is not None:
        checked_count("n_threads", threads)
    if getattr(type(estimator), "fit", None) is not LinearClassifier.fit:
        raise InputError(
            f"estimator is a {type(estimator).__name__}; GridSearch takes a SoftmaxClassifier or a "
            "HingeClassifier: use sklearn.model_selection.GridSearchCV for others, and in a "
            "Pipeline put the search in the place of the classifier"
        )


def _by_row(params: Mapping[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """Return values a row as arrays; one value is that of every row."""
    arrays = {name: np.asarray(value) for name, value in params.items()}
    return {name: v if v.ndim else np.full(count, v) for name, v in arrays.items()}


def _with(estimator: LinearClassifier, params: Candidate) -> LinearClassifier:
    """Return a new estimator with some parameters."""
    new: LinearClassifier = clone(estimator)
    new.set_params(**clone(params, safe=False))
    return new


def _tell_of_errors(candidates: Sequence[Candidate], of_folds: Sequence[Sequence[Scored]]) -> None:
    """Warn of candidates that could not be fitted. Raises InputError if none could."""
    errors = [
        (params, fold, one.error)
        for params, of_candidate in zip(candidates, of_folds, strict=True)
        for fold, one in enumerate(of_candidate, 1)
        if one.error is not None
    ]
    if not errors:
        return
    count = sum(map(len, of_folds))
    params, fold, error = errors[0]
    first = f"{quoted(params, 200)} on fold {fold}: {reason_of(error)}"
    if len(errors) == count:
        raise InputError(f"all {counted(count, 'fit')} failed; the first, {first}")
    warnings.warn(
        f"{len(errors)} of {counted(count, 'fit')} failed, with the score NaN; the first, {first}",
        FitFailedWarning,
        stacklevel=4,
    )
