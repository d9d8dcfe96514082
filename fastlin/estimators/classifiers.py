"""The classifiers by their losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.errors import InputError, quoted
from fastlin.estimators.base import LinearClassifier
from fastlin.estimators.parameters import DEFAULT_C, SolverName
from fastlin.losses import Hinge, Loss, SquaredHinge


class SoftmaxClassifier(LinearClassifier):
    """Softmax regression (multinomial logistic regression); see `LinearClassifier`."""

    def _loss(self) -> Loss:
        return Loss.SOFTMAX

    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the probabilities (n, K) of the classes, in the order of `classes_`."""
        scores = self._scores(X)
        return self.model_.probabilities_of(scores)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return logarithms of the probabilities (n, K), finite where these are 0."""
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        logs: NDArray[np.floating] = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return logs


class HingeClassifier(LinearClassifier):
    """A multiclass support vector machine; parameters but the first two as in `LinearClassifier`.

    Parameters
    ----------
    loss : {"squared_hinge", "hinge"}
        The sum over other classes of max(0, margin less the lead over that class), squared or not
        (Weston and Watkins). The exact solver takes the squared one, which has no corners.
    margin : float
        By how much the class of a row must lead, >= 0.
    """

    def __init__(
        self,
        *,
        loss: str = "squared_hinge",
        margin: float = 1.0,
        solver: str = "exact",
        C: float = DEFAULT_C,
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
        super().__init__(
            solver=solver, C=C, l2=l2, class_weight=class_weight, fit_intercept=fit_intercept,
            standardize=standardize, tol=tol, max_iter=max_iter,
            learning_rate_init=learning_rate_init, batch_size=batch_size, momentum=momentum,
            schedule=schedule, early_stopping=early_stopping,
            validation_fraction=validation_fraction, n_iter_no_change=n_iter_no_change,
            warm_start=warm_start, random_state=random_state, verbose=verbose, n_threads=n_threads,
        )  # fmt: skip
        self.loss = loss
        self.margin = margin

    def _loss(self) -> Loss:
        if self.loss == "squared_hinge":
            return SquaredHinge(self.margin)
        if self.loss != "hinge":
            raise InputError(f"loss is {quoted(self.loss)}; it must be squared_hinge or hinge")
        if self.solver == SolverName.EXACT:
            raise InputError(
                "loss hinge has corners, which solver exact cannot take; use loss squared_hinge, "
                "or solver sgd"
            )
        return Hinge(self.margin)
