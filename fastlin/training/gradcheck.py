"""Analytic gradients of the kernels against central differences of the cost, in float64.

The cost is that of the NumPy twin, so a kernel is held against code that shares nothing with it.
The relative error of a coordinate is that of the CS231n notes (Stanford, "Gradient checks"),
|a - n| / max(|a|, |n|), with one hundredth of the largest numerical derivative as the least
denominator: a derivative that nearly cancels has no relative accuracy to speak of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional, reference
from fastlin.config import Precision
from fastlin.data.checks import ROW_DTYPES, default_scale
from fastlin.data.dataset import Dataset
from fastlin.engine import Array
from fastlin.losses import Loss, losses_to_check

# Central differences err by about STEP**2 times the third derivative, and by rounding of the cost,
# 1e-16 / STEP: together about 1e-10 of a gradient of order one.
STEP = 1e-5

# What is left of a gradient's accuracy: for float64 the differences' own error, about 1e-9, with
# room for small derivatives; for float32 the rounding of sums over the batch, about 1e-5.
# A wrong formula errs by 1e-2 or more.
THRESHOLDS = {Precision.FLOAT64: 1e-6, Precision.FLOAT32: 1e-3}
_PAIRS = tuple(product(Precision, ROW_DTYPES))
_OWN_PAIRS = tuple((precision, np.dtype(precision)) for precision in Precision)
_QUICK_PAIRS = ((Precision.FLOAT32, np.dtype(np.uint8)), *_OWN_PAIRS)
# Weights multiply what any loss gives, in code that no loss is a part of: one is enough.
_WEIGHTED = Precision.FLOAT64, Loss.SOFTMAX
_L2 = 0.05
_LEAST_SHARE_CHECKED = 0.5


@dataclass(frozen=True)
class GradientCheck:
    """One kernel on one problem.

    Attributes
    ----------
    loss : Loss
        That the kernel computes.
    precision : Precision
        The dtype of W.
    row_dtype : str
        The dtype of X.
    l2 : float
        Factor of the penalty.
    problem : str
        ``random``, ``weighted`` (the same with weights of rows) or ``images``.
    kernel : str
        ``gradient`` (loss and gradient over all rows), or ``step`` (what an SGD step did to W,
        over -lr).
    error : float
        Largest relative error of a coordinate of W or b.
    threshold : float
        The error must stay below it.
    checked, skipped : int
        How many coordinates were compared, and how many were too near a kink.
    """

    loss: Loss
    precision: Precision
    row_dtype: str
    l2: float
    problem: str
    kernel: str
    error: float
    threshold: float
    checked: int
    skipped: int

    @property
    def passed(self) -> bool:
        """Whether the error is small, and enough coordinates were left to say so."""
        enough = self.checked >= _LEAST_SHARE_CHECKED * (self.checked + self.skipped)
        return enough and self.checked > 0 and self.error < self.threshold


@dataclass(frozen=True, eq=False)
class _Problem:
    name: str
    X: Array
    y: NDArray[np.int64]
    W: Array
    b: Array
    weights: NDArray[np.float64] | None = None


def check_gradients(
    images: Dataset, *, coordinates: int = 60, quick: bool = False, seed: int = 0
) -> Iterator[GradientCheck]:
    """Check both gradient kernels for every loss, dtype and penalty, one result at a time.

    Parameters
    ----------
    images : Dataset
        Real rows, of which the first 50 are taken.
    coordinates : int
        How many coordinates of W are compared, drawn at random; b is compared whole.
    quick : bool
        Look at three of the pairs of dtypes only.
    seed : int
        Of the random problem and of the choice of coordinates.

    Yields
    ------
    GradientCheck
    """
    for precision, row_dtype in _QUICK_PAIRS if quick else _PAIRS:
        for loss, l2 in product(losses_to_check(), (0.0, _L2)):
            rng = np.random.default_rng(seed)
            problems = [
                _random_problem(rng, row_dtype, precision),
                _image_problem(rng, images, row_dtype, precision),
            ]
            if (precision, loss) == _WEIGHTED and (precision, row_dtype) in _OWN_PAIRS:
                problems.append(_weighted_problem(problems[0]))
            for problem in problems:
                yield from _check_problem(rng, problem, loss, precision, l2, coordinates)


def check_count(*, quick: bool = False) -> int:
    """Return how many results `check_gradients` gives."""
    problems = 2 * len(_QUICK_PAIRS if quick else _PAIRS) * len(losses_to_check()) + 1
    return problems * 2 * 2  # with and without penalty, of two kernels


def _check_problem(
    rng: np.random.Generator,
    problem: _Problem,
    loss: Loss,
    precision: Precision,
    l2: float,
    coordinates: int,
) -> Iterator[GradientCheck]:
    X, y, W, b, weights = problem.X, problem.y, problem.W, problem.b, problem.weights
    chosen = np.sort(rng.choice(W.size, min(coordinates, W.size), replace=False))
    rounding = 1000 * float(np.finfo(W.dtype).eps)
    numerical, near_kink = _numerical_gradient(problem, chosen, loss, l2, rounding)
    for kernel, (dW, db) in (
        (
            "gradient",
            functional.loss_and_gradient(X, y, W, b, loss=loss, l2=l2, weights=weights)[1:],
        ),
        ("step", _implied_gradient(problem, loss, l2)),
    ):
        analytic = np.concatenate([dW.ravel()[chosen], db]).astype(np.float64)
        errors = relative_errors(analytic, numerical)[~near_kink]
        yield GradientCheck(
            loss, precision, str(X.dtype), l2, problem.name, kernel,
            float(errors.max(initial=0.0)), THRESHOLDS[precision],
            len(errors), int(near_kink.sum()),
        )  # fmt: skip


def relative_errors(analytic: Array, numerical: Array) -> Array:
    """Return |a - n| / max(|a|, |n|, largest |n| / 100), (m,) from (m,); NaN counts as infinite."""
    least = np.abs(numerical).max() / 100
    size = np.maximum(np.maximum(np.abs(analytic), np.abs(numerical)), least)
    difference = np.abs(analytic - numerical)
    errors = np.divide(difference, size, out=np.zeros_like(difference), where=size > 0)
    return np.where(np.isfinite(analytic), errors, np.inf)


def _implied_gradient(problem: _Problem, loss: Loss, l2: float) -> tuple[Array, Array]:
    """Return (W before - W after) / lr, and the same of b, for one step over all rows."""
    lr = 1.0
    stepped_W, stepped_b = problem.W.copy(), problem.b.copy()
    count = len(problem.X)
    functional.sgd_epoch(
        problem.X, problem.y, np.arange(count), stepped_W, stepped_b, lr=lr, batch_size=count,
        l2=l2, loss=loss, weights=problem.weights,
    )  # fmt: skip
    return (problem.W - stepped_W) / lr, (problem.b - stepped_b) / lr


def _numerical_gradient(
    problem: _Problem, chosen: NDArray[np.int64], loss: Loss, l2: float, rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return central differences by the chosen coordinates of W and all of b, and which to skip.

    A hinge term within reach of zero has no derivative there, or, squared, no second one: within
    what the coordinate moves it, or within `rounding`, where a kernel may see the other side.
    """
    X = problem.X.astype(np.float64) * default_scale(problem.X.dtype)
    W, b = problem.W.astype(np.float64), problem.b.astype(np.float64)
    y = problem.y
    scores = reference.scores(X, W, b)
    margin = loss.parameters().get("margin", np.inf)  # only losses with a margin have a kink
    terms = np.abs(scores - scores[np.arange(len(y)), y][:, None] + margin)
    terms[np.arange(len(y)), y] = np.inf

    weights = None if problem.weights is None else problem.weights / problem.weights.mean()

    def cost() -> float:
        return reference.loss_and_gradient(X, y, W, b, l2, loss, weights=weights)[0]

    derivatives, near_kink = [], []
    for parameters, index in [(W.reshape(-1), c) for c in chosen] + [(b, k) for k in range(len(b))]:
        value = parameters[index]
        parameters[index] = value + STEP
        above = cost()
        parameters[index] = value - STEP
        below = cost()
        parameters[index] = value
        derivatives.append((above - below) / (2 * STEP))
        k, feature = divmod(int(index), X.shape[1]) if parameters is not b else (int(index), None)
        moved = STEP * (np.abs(X[:, feature]) if feature is not None else np.ones(len(y)))
        nearest = np.where(y == k, terms.min(axis=1), terms[:, k])
        near_kink.append(bool((nearest <= moved + rounding).any()))
    return np.array(derivatives), np.array(near_kink)


def _random_problem(
    rng: np.random.Generator, row_dtype: np.dtype[Any], precision: Precision
) -> _Problem:
    """37 rows of 33 features in 5 classes: no multiple of any vector or tile."""
    n, d, K = 37, 33, 5
    if row_dtype == np.uint8:
        X = rng.integers(0, 256, (n, d), np.uint8)
    else:
        X = rng.standard_normal((n, d)).astype(row_dtype)
    y = rng.integers(0, K, n)
    W, b = rng.standard_normal((K, d)) * 0.3, rng.standard_normal(K) * 0.3
    return _Problem("random", X, y, W.astype(precision), b.astype(precision))


def _weighted_problem(problem: _Problem) -> _Problem:
    """Return a problem in which rows count differently, the first not at all."""
    return replace(problem, name="weighted", weights=np.arange(len(problem.y)) / 7)


def _image_problem(
    rng: np.random.Generator,
    images: Dataset,
    row_dtype: np.dtype[Any],
    precision: Precision,
) -> _Problem:
    X, y = images.X[:50], images.y[:50]
    if row_dtype != X.dtype:
        if row_dtype == np.uint8:
            raise ValueError("real rows must be uint8, to be checked in every dtype")
        X = (X * images.feature_scale).astype(row_dtype)
    K, d = len(images.class_names), X.shape[1]
    W = (rng.standard_normal((K, d)) / np.sqrt(d)).astype(precision)
    return _Problem("images", X, y, W, np.zeros(K, precision))
