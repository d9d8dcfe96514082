"""Weights of rows and of classes, in scikit-learn's meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from fastlin.errors import InputError
from fastlin.estimators import inputs

Weights = NDArray[np.float64]


def of_rows(given: Any, X: NDArray[Any]) -> Weights:
    """Return the weights (n,) of rows X, of 1 where none are given.

    Raises
    ------
    ValueError
        If their shape is another, or one is not finite or below 0.
    """
    weights: Weights = _check_sample_weight(
        inputs.plain("sample_weight", given), X, dtype=np.float64
    )
    if (weights < 0).any():
        raise InputError("sample_weight has a weight below 0; it must be 0 or above")
    return weights


def times_class_weight(
    weights: Weights, class_weight: Any, numbers: NDArray[np.int64], classes: NDArray[Any]
) -> Weights:
    """Return the weights (n,) of rows times those of their classes.

    Parameters
    ----------
    weights : NDArray[np.float64]
        (n,), above 0.
    class_weight : dict, "balanced" or None
        Balanced classes have the same sum of weights.
    numbers : NDArray[np.int64]
        (n,) of the rows' classes.
    classes : NDArray
        (K,) labels.

    Raises
    ------
    ValueError
        If `class_weight` does not fit the classes, or weights have no finite sum.
    """
    _check_sum(weights, len(classes))
    if class_weight is None:
        return weights
    if isinstance(class_weight, str) and class_weight == "balanced":
        of_classes: Weights = weights.sum() / (len(classes) * np.bincount(numbers, weights))
    else:
        of_classes = compute_class_weight(class_weight, classes=classes, y=classes[numbers])
    with np.errstate(over="ignore", invalid="ignore"):
        found: Weights = weights * of_classes[numbers]
    _check_sum(found, len(classes))
    return found


def _check_sum(weights: Weights, class_count: int) -> None:
    """Raise InputError if weights (n,) are so large that float64 has no multiple of their sum."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(class_count * weights.sum())
    if not is_finite:
        raise InputError(
            f"the weights of rows, the largest {float(weights.max())!r}, have no finite sum; "
            "divide sample_weight, or class_weight, by their largest"
        )
