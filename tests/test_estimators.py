"""Estimators against scikit-learn's checks, and against its own linear classifiers."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastlin.estimators.classifiers import HingeClassifier, SoftmaxClassifier


# Weighted and repeated rows must agree to 1e-7, which takes a tolerance of that squared.
@parametrize_with_checks([SoftmaxClassifier(tol=1e-13), HingeClassifier(tol=1e-13)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


def rows_of(K, n=300, dtype=np.float64):
    X, y = make_classification(
        n, 8, n_informative=6, n_redundant=0, n_classes=K, random_state=K, class_sep=0.8
    )
    return X.astype(dtype), y


def lengths(a, b):
    """Return how far apart two arrays are, over the length of the second."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("K", [2, 5])
def test_C_is_that_of_logistic_regression(K, weighted):
    X, y = rows_of(K)
    weights = np.random.default_rng(0).integers(0, 4, len(y)) if weighted else None
    class_weight = "balanced" if weighted else None
    for C in (0.05, 2.0):
        ours = SoftmaxClassifier(C=C, tol=1e-10, class_weight=class_weight).fit(X, y, weights)
        theirs = LogisticRegression(
            C=C, tol=1e-12, max_iter=10_000, class_weight=class_weight
        ).fit(X, y, weights)  # fmt: skip
        assert ours.coef_.shape == theirs.coef_.shape
        assert ours.intercept_.shape == theirs.intercept_.shape
        assert lengths(ours.coef_, theirs.coef_) < 1e-4
        assert ours.gap_ <= 1e-10
        assert abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-4
        assert ours.decision_function(X).shape == theirs.decision_function(X).shape


def test_the_squared_hinge_of_two_classes_is_that_of_linear_svc():
    X, y = rows_of(2)
    ours = HingeClassifier(C=0.1, tol=1e-10, fit_intercept=False).fit(X, y)
    theirs = LinearSVC(C=0.1, tol=1e-12, fit_intercept=False, max_iter=100_000).fit(X, y)
    assert lengths(ours.coef_, theirs.coef_) < 1e-4
    assert ours.intercept_.tolist() == [0.0]
