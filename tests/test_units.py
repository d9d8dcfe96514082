"""The rows of docs/units.md, each against the library that it names."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from solve_problems import random_rows

import fastlin

PAGE = Path(__file__).parent.parent / "docs" / "units.md"
SETTINGS = ("`C` of `solve`", "`C` of `LogisticRegression`", "`alpha`", "`C` of `LinearSVC`")


def fitted(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tolerance that it does not reach
        return model.fit(X.astype(np.float64), y)


def penalty_in_the_table(setting, K, **values):
    """Return what the table says for a setting, computed from its text."""
    line = next(line for line in PAGE.read_text().splitlines() if f"| {setting}" in line)
    formula = line.split("|")[3 if K > 2 else 4]
    return eval(formula, {"__builtins__": {}}, values)  # noqa: S307  (a formula of our own page)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_table_has_the_setting(setting):
    assert f"| {setting}" in PAGE.read_text()


@pytest.mark.parametrize("K", [2, 3])
def test_c_of_solve(K):
    X, y = random_rows(0, K, 200, 5)
    expected = penalty_in_the_table(SETTINGS[0], K, n=200, C=0.3)
    assert fastlin.solve(X, y, C=0.3).l2 == pytest.approx(expected)


@pytest.mark.parametrize("K", [2, 3])
def test_c_of_logistic_regression(K):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = random_rows(0, K, 200, 5)
    other = fitted(linear_model.LogisticRegression(C=0.05, tol=1e-10, max_iter=2000), X, y)
    l2 = penalty_in_the_table(SETTINGS[1], K, n=200, C=0.05)
    solution = fastlin.solve(X, y, C=0.05, gap=1e-10)
    assert solution.l2 == pytest.approx(l2)
    W = solution.model.W
    np.testing.assert_allclose(W[1:] - W[0] if K == 2 else W, other.coef_, atol=1e-4)


def test_alpha_of_sgd_of_two_classes():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = random_rows(0, 2, 200, 5)
    other = linear_model.SGDClassifier(
        loss="log_loss", alpha=0.1, max_iter=2000, tol=None, average=True, random_state=0
    )
    l2 = penalty_in_the_table(SETTINGS[2], 2, alpha=0.1)
    W = fastlin.solve(X, y, l2=l2, gap=1e-10).model.W
    coef = fitted(other, X, y).coef_[0]
    assert np.linalg.norm(W[1] - W[0] - coef) < 0.03 * np.linalg.norm(coef)


def test_linear_svc_is_another_classifier():
    svm = pytest.importorskip("sklearn.svm")
    X, y = random_rows(0, 5, 200, 5)
    other = fitted(svm.LinearSVC(C=0.05, tol=1e-10, max_iter=10_000), X, y)
    l2 = penalty_in_the_table(SETTINGS[3], 5, n=200, C=0.05)
    split = fastlin.Split.from_arrays(X, y, weights=np.ones(200))
    W = fastlin.solve(split, l2=l2, loss="squared-hinge").model.W
    coef = other.coef_ - other.coef_.mean(axis=0)
    assert np.linalg.norm(W - coef) > 0.1 * np.linalg.norm(coef)
