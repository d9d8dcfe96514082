"""The contract of scikit-learn's linear classifiers, over the solver and the trainer of fastlin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.errors import InputError, quoted
from fastlin.estimators import callbacks, fits, inputs, parameters, weights
from fastlin.estimators.fits import Fitted
from fastlin.estimators.parameters import SolverName
from fastlin.history import History
from fastlin.losses import Loss
from fastlin.model import LinearModel
from fastlin.settings import AUTO, whole_number
from fastlin.training.defaults import with_constant_rate

# Rows of these dtypes are fitted as they are stored; others become the first.
ROW_DTYPES = (np.float64, np.float32, np.float16, np.uint8)
_VALIDATION = {"dtype": ROW_DTYPES, "order": "C", "ensure_all_finite": False}

_SCALE = 1.0  # stored values are the features, those of uint8, too


def _is_sgd(estimator: Any) -> bool:
    """Return whether an estimator can go on with more rows."""
    if estimator.solver != SolverName.SGD:
        raise AttributeError(f"solver {estimator.solver} has no partial_fit; use solver sgd")
    return True


class LinearClassifier(callbacks.Support, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A linear classifier in scikit-learn's idiom; use `SoftmaxClassifier` or `HingeClassifier`.

    It minimises mean loss + l2 * sum(coef_**2) over the rows; the mean is weighted where rows are.
    Values are features as they are stored: uint8 are numbers from 0 to 255.

    Parameters
    ----------
    solver : {"exact", "sgd"}
        The optimum, with a bound on the distance to it; or epochs of mini-batch SGD.
    C : float
        As in `sklearn.linear_model.LogisticRegression`, > 0: l2 = 1 / (2 C s) with s the sum of the
        weights of the rows, which without weights is their number.
    l2 : float, optional
        The penalty itself, >= 0, in the place of C.
    class_weight : dict, "balanced" or None
        As in scikit-learn, by the labels of y.
    fit_intercept : bool
        Whether there is an intercept, which is not penalised. SGD always has one.
    standardize : bool
        Fit on (x - mean) / std of every feature; `coef_` is then for the features themselves. The
        penalty is on the weights fitted, and moments are over all rows alike.
    tol : float
        Exact: the share by which the objective may be above the least one there is. SGD with early
        stopping: by how much the validation accuracy must rise.
    max_iter : int, optional
        Passes over the rows (by default 1000), or epochs of SGD (40).
    learning_rate_init : float or "auto"
        Of the first epoch; chosen from the rows by default. From here on parameters are those of
        SGD alone, but for `warm_start`, `verbose` and `n_threads`.
    batch_size : int
        Rows per step.
    momentum : float
        In [0, 1).
    schedule : {"constant", "exponential", "step", "cosine"}
        How the learning rate goes on, as in `fastlin.TrainConfig`.
    early_stopping : bool
        Hold rows out, stop when their accuracy no longer rises, and keep the best epoch.
    validation_fraction : float
        Which share of the rows is held out then.
    n_iter_no_change : int
        After how many epochs without a better accuracy it stops.
    warm_start : bool
        Start at the classifier of the last fit.
    random_state : int, RandomState or None
        Of orders and held out rows; the exact solver draws nothing.
    verbose : bool
        Write a line to stdout after every step or epoch.
    n_threads : int, optional
        By default as many as the process can keep busy; no result depends on it.

    Attributes
    ----------
    classes_ : NDArray
        (K,) labels, in order.
    coef_ : NDArray
        (K, d); of two classes (1, d). As `intercept_`, it has the dtype of ``model_.W``, but is
        float64 where ``model_.feature_offset`` is given, as of features with large means.
    intercept_ : NDArray
        (K,); of two classes (1,).
    n_iter_ : int
        Passes or epochs.
    gap_ : float or None
        By which share the objective is above the least one, at most; None of SGD.
    history_ : History or tuple[Progress, ...]
        Of steps; or of epochs, with cost and accuracy of the last one, and of all of them with
        verbose or early stopping (NaN otherwise).
    model_ : LinearModel
        The classifier with a row for each of K classes, which can be saved and exported.
    n_features_in_ : int
    feature_names_in_ : NDArray
        Where X has names of text.
    """

    classes_: NDArray[Any]
    model_: LinearModel

    def __init__(
        self,
        *,
        solver: str = "exact",
        C: float = parameters.DEFAULT_C,
        l2: float | None = None,
        class_weight: Any = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        tol: float = 1e-6,
        max_iter: int | None = None,
        learning_rate_init: float | str = "auto",
        batch_size: int = 64,
        momentum: float = 0.0,
        schedule: str = "cosine",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        n_threads: int | None = None,
    ) -> None:
        self.solver = solver
        self.C = C
        self.l2 = l2
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.momentum = momentum
        self.schedule = schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    def _loss(self) -> Loss:
        """Return the loss that is fitted. Raises InputError if the solver cannot."""
        raise NotImplementedError

    @callbacks.with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the classifier, and return it.

        Parameters
        ----------
        X : ArrayLike
            (n, d) real numbers: an array, a table or a tensor in the memory of the processor.
        y : ArrayLike
            (n,) labels of any kind.
        sample_weight : ArrayLike, optional
            (n,), >= 0; rows of weight 0 are left out.

        Raises
        ------
        ValueError
            If an argument or a parameter does not fit.
        """
        chosen = parameters.checked(self.get_params(deep=False))
        loss = self._loss()
        rows, labels = self._rows(X, y, reset=True)
        classes, numbers = fits.numbered(labels)
        data, weight_sum = self._dataset(rows, numbers, classes, sample_weight)
        tasks = callbacks.tasks_of(
            self, *parameters.steps_of(chosen), X=rows, y=labels,
            metadata=None if sample_weight is None else {"sample_weight": sample_weight},
        )  # fmt: skip

        def watch(model_of: Callable[[], LinearModel]) -> bool:
            return tasks is not None and tasks.end_step(lambda: _fitted(model_of(), classes))

        start = self._start(classes)
        self._keep(self._fit(data, weight_sum, chosen, loss, start, watch), classes)
        if tasks is not None:
            tasks.end()
        return self

    def _fit(
        self, data: Dataset, weight_sum: float, chosen: dict[str, Any], loss: Loss,
        start: LinearModel | None, watch: fits.Watch,
    ) -> Fitted:  # fmt: skip
        if chosen["solver"] is SolverName.EXACT:
            return fits.exact_fit(data, weight_sum, chosen, loss, start, watch)
        l2 = parameters.penalty_of_solver(chosen, weight_sum, len(data.class_names))
        config = parameters.train_config(chosen, loss, l2, self._seed())
        fitted, self._trained = fits.sgd_fit(data, config, chosen, start, [], watch)
        return fitted

    def _seed(self) -> int:
        """Return the seed of a fit: an integer as it is, or one that is drawn."""
        if isinstance(self.random_state, int | np.integer):
            return whole_number("random_state", self.random_state, 0)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    @available_if(_is_sgd)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go on with one epoch over some rows, and return the classifier; for solver sgd alone.

        The learning rate stays what it is in the first call, chosen smaller than by `fit`, where
        it falls. C counts the rows of that call, so that a stream is better given l2. Momentum
        begins anew with every call.

        Parameters
        ----------
        X, y, sample_weight : ArrayLike
            As in `fit`; not every class needs to occur.
        classes : ArrayLike, optional
            All labels that there are; needed in the first call.

        Raises
        ------
        ValueError
            If an argument or a parameter does not fit.
        """
        chosen = parameters.checked_for_stream(self.get_params(deep=False))
        loss, is_first = self._loss(), not hasattr(self, "model_")
        rows, labels = self._rows(X, y, reset=is_first)
        known = self._known_classes(classes)
        numbers = inputs.numbers_of(labels, known)
        data, weight_sum = self._dataset(rows, numbers, known, sample_weight, complete=False)
        l2 = parameters.penalty_of_solver(chosen, weight_sum, len(known))
        before: TrainConfig | None = getattr(self, "_trained", None)
        if before is not None:
            l2 = l2 if self.l2 is not None else before.penalty_factor
            if chosen["learning_rate_init"] == AUTO:
                chosen["learning_rate_init"] = before.lr
        config = parameters.train_config(chosen, loss, l2, self._seed())
        config = with_constant_rate(config, data)
        history = getattr(self, "history_", None)
        records = history.records() if isinstance(history, History) else []
        start = None if is_first else self.model_
        fitted, self._trained = fits.sgd_fit(data, config, chosen, start, records)
        return self._keep(fitted, known)

    def _known_classes(self, classes: ArrayLike | None) -> NDArray[Any]:
        """Return all labels of a stream. Raises InputError if they are not known, or change."""
        known: NDArray[Any] | None = getattr(self, "classes_", None)
        if classes is None:
            if known is None:
                raise InputError("classes must be given in the first call of partial_fit")
            return known
        given = inputs.classes_of(classes)
        if known is not None and not np.array_equal(given, known):
            raise InputError(
                f"classes is {quoted(given.tolist())}; in the first call it was "
                f"{quoted(known.tolist())}"
            )
        if len(given) < 2:
            raise InputError(f"classes is {quoted(given.tolist())}; it must be at least two labels")
        return given

    def _start(self, classes: NDArray[Any]) -> LinearModel | None:
        """Return the classifier of the last fit, if this one is to start there."""
        if not self.warm_start or not hasattr(self, "model_"):
            return None
        if not np.array_equal(classes, self.classes_):
            raise InputError(
                f"warm_start goes on with the classes {quoted(self.classes_.tolist())}, but y has "
                f"{quoted(classes.tolist())}"
            )
        model: LinearModel = self.model_
        if model.W.shape[1] != self.n_features_in_:
            raise InputError(
                f"warm_start goes on with {model.W.shape[1]} features, but X has "
                f"{self.n_features_in_}"
            )
        return model

    def _rows(
        self, X: ArrayLike, y: ArrayLike, *, reset: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return rows as they are stored where that is possible, and labels (n,)."""
        y = inputs.plain("y", y)
        inputs.check_no_label_missing(y)
        rows, labels = validate_data(self, inputs.plain("X", X), y, reset=reset, **_VALIDATION)
        inputs.check_rows(rows, getattr(self, "feature_names_in_", None))
        inputs.check_labels(labels)
        check_classification_targets(labels)
        return rows, labels

    def _dataset(
        self, X: NDArray[Any], numbers: NDArray[np.int64], classes: NDArray[Any],
        sample_weight: ArrayLike | None, *, complete: bool = True,
    ) -> tuple[Dataset, float]:  # fmt: skip
        """Return rows that count, with the numbers of their classes, and the sum of weights."""
        weighted = None
        if sample_weight is not None or self.class_weight is not None:
            weighted = weights.of_rows(sample_weight, X)
            if not weighted.all():
                counts = np.flatnonzero(weighted)
                X, numbers, weighted = X[counts], numbers[counts], weighted[counts]
        if complete:
            inputs.check_all_classes(numbers, classes)
        if weighted is not None:
            weighted = weights.times_class_weight(weighted, self.class_weight, numbers, classes)
        data = self._all_rows(X, numbers, classes, weighted)
        return data, float(len(X) if weighted is None else weighted.sum())

    @staticmethod
    def _all_rows(
        X: NDArray[Any], numbers: NDArray[np.int64], classes: NDArray[Any],
        weighted: NDArray[np.float64] | None,
    ) -> Dataset:  # fmt: skip
        """Return rows with the numbers of their classes, and weights."""
        return Dataset(X, numbers, inputs.names_of(classes), scale=_SCALE, weights=weighted)

    def _keep(self, fitted: Fitted, classes: NDArray[Any]) -> Self:
        """Keep what a fit found, as scikit-learn calls it."""
        for name, value in _fitted(fitted.model, classes).items():
            setattr(self, name, value)
        self.n_iter_, self.gap_, self.history_ = fitted.n_iter, fitted.gap, fitted.history
        return self

    def _scores(self, X: ArrayLike) -> NDArray[Any]:
        """Return scores (n, K), of two classes, too."""
        check_is_fitted(self)
        rows = validate_data(self, inputs.plain("X", X), reset=False, **_VALIDATION)
        inputs.check_rows(rows, getattr(self, "feature_names_in_", None))
        with fits.compiling():
            scores: NDArray[Any] = self.model_.scores(rows)
        return scores

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Return scores (n, K); of two classes (n,), above 0 for the second one."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the labels (n,) of rows."""
        scores = self._scores(X)
        labels: NDArray[Any] = self.classes_[scores.argmax(axis=1)]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of rows, weighted or not, whose labels (n,) are predicted."""
        y, sample_weight = inputs.plain("y", y), inputs.plain("sample_weight", sample_weight)
        return float(super().score(X, y, sample_weight))


def _fitted(model: LinearModel, classes: NDArray[Any]) -> dict[str, Any]:
    """Return the attributes of an estimator that can predict, of a classifier with K rows."""
    W, b = fits.plain_weights(model)
    if len(classes) == 2:
        W, b = W[1:] - W[:1], b[1:] - b[:1]
    return {"classes_": classes, "model_": model, "coef_": W, "intercept_": b}
