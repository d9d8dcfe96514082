"""Rows for exact fits, and their objective in NumPy's float64, apart from the library's kernels."""

import warnings

import numpy as np
import pytest

import fastlin
from fastlin import reference
from fastlin.losses import Softmax
from fastlin.solving.config import FitConfig
from fastlin.solving.solver import problem_of

SOFTMAX = Softmax()


def random_rows(seed, K, n, d, scaled=True, imbalanced=False):
    """Return overlapping rows (n, d) float32 and labels (n,), every class among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    share = 0.5 ** np.arange(K) if imbalanced else np.ones(K)
    scores = X @ rng.normal(size=(d, K)) + 2 * np.log(share) + 2 * rng.gumbel(size=(n, K))
    y = scores.argmax(axis=1)
    y[:K] = np.arange(K)
    if not scaled:
        X = X * np.exp(rng.normal(size=d)) + 5 * rng.normal(size=d)
    return X.astype(np.float32), y


def problem_with(loss, seed=3, K=5, n=300, d=8, l2=1e-3, weights=None, **settings):
    """Return the objective of random rows, as the solver has it."""
    X, y = random_rows(seed, K, n, d)
    split = fastlin.Split.from_arrays(X, y, weights=weights)
    return problem_of(split.train, FitConfig(loss=loss, l2=l2, **settings))


def point_in(problem, seed=0):
    """Return a point whose rows and biases add up to 0, as those of the solver do."""
    point = np.random.default_rng(seed).normal(size=problem.shape)
    return point - point.mean(axis=0)


def hessian_times(problem, point, direction, step=1e-5):
    """Return second derivatives times a direction, by the differences of gradients."""
    ends = [problem.value(point + sign * step * direction).gradient for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)


def objective(X, y, W, b, l2, loss=SOFTMAX, weights=None):
    """Return the objective of a classifier of features, in float64."""
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    return reference.loss_and_gradient(X.astype(np.float64), y, W, b, l2, loss, weights=weights)[0]


def objective_of(model, X, y, l2, loss=SOFTMAX, weights=None, scale=1.0):
    """Return that of a classifier that the library returned, as its attributes say it is meant."""
    if model.feature_offset is not None:  # rows are read less their means, in their own dtype
        X = X - (model.feature_offset / scale).astype(X.dtype)
    features = X.astype(np.float64) * scale
    W = model.W.astype(np.float64)
    std = np.ones(X.shape[1]) if model.feature_std is None else model.feature_std
    return objective(features / std, y, W * std, model.b, l2, loss, weights)


def least_objective(X, y, K, l2, loss=SOFTMAX, weights=None, fit_intercept=True):
    """Return the least objective that SciPy's L-BFGS finds on features in float64."""
    minimize = pytest.importorskip("scipy.optimize").minimize
    X = X.astype(np.float64)
    d = X.shape[1]

    def function(point):
        W, b = point[: K * d].reshape(K, d), point[K * d :]
        cost, dW, db = reference.loss_and_gradient(X, y, W, b, l2, loss, weights=weights)
        return cost, np.r_[dW.ravel(), db if fit_intercept else np.zeros(K)]

    options = {"maxiter": 20_000, "maxfun": 50_000, "maxcor": 50, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(function, np.zeros(K * (d + 1)), jac=True, method="L-BFGS-B", options=options)
    return float(found.fun)


def sklearn_optimum(X, y, l2, weights=None, fit_intercept=True):
    """Return W and b of scikit-learn's logistic regression in float64, one row a class."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    K = len(np.unique(y))
    C = 1 / (2 * l2 * len(y)) * (2 if K == 2 else 1)  # of two classes it fits W[1] - W[0]
    model = linear_model.LogisticRegression(
        C=C, tol=1e-12, max_iter=20_000, fit_intercept=fit_intercept, solver="newton-cholesky"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot reach its own tolerance everywhere
        model.fit(X.astype(np.float64), y, sample_weight=weights)
    W, b = model.coef_, np.broadcast_to(model.intercept_, len(model.coef_))
    return (np.r_[-W / 2, W / 2], np.r_[-b / 2, b / 2]) if K == 2 else (W, b)
