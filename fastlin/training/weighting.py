"""How much each row counts: its own weight times that of its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastlin.class_weights import BALANCED, Pairs
from fastlin.config import TrainConfig
from fastlin.data.checks import check_weights, of_mean_one, relative_weights
from fastlin.data.dataset import Dataset
from fastlin.errors import InputError, quoted


def row_weights(
    data: Dataset, config: TrainConfig, counting: NDArray[np.int64] | None = None
) -> NDArray[np.float64] | None:
    """Return the weights (n,) of labelled rows, of mean 1; None if all count the same.

    Parameters
    ----------
    data : Dataset
        The rows, with or without weights of their own.
    config : TrainConfig
        Of which `class_weight` counts. Balanced classes are so in whatever rows are given: n rows
        in K classes that occur give the class k, of n_k rows, the weight n / (K n_k). A class that
        is not among given weights has the weight 1.
    counting : NDArray[np.int64], optional
        The numbers of the rows that are given; others have the weight 0. By default all.

    Raises
    ------
    InputError
        If a weight is of a class that the data do not know, or all weights of rows are 0.
    """
    if counting is None:
        return _weights(data.y, data.weights, data.class_names, config)
    own = None if data.weights is None else data.weights[counting]
    found = np.zeros(len(data))
    weights = _weights(data.y[counting], own, data.class_names, config)
    found[counting] = 1.0 if weights is None else weights
    return of_mean_one(found)


def _weights(
    y: NDArray[np.int64], own: NDArray[np.float64] | None, class_names: Sequence[str],
    config: TrainConfig,
) -> NDArray[np.float64] | None:  # fmt: skip
    """Return the weights (n,) of rows of labels (n,) and own weights (n,)."""
    chosen = config.class_weight
    if chosen is None:
        return None if own is None else of_mean_one(own)
    of_class = np.ones(len(class_names))
    if chosen == BALANCED:
        of_class = 1 / np.maximum(np.bincount(y, minlength=len(of_class)), 1)
    else:
        numbers = {name: number for number, name in enumerate(class_names)}
        pairs: Pairs = chosen  # type: ignore[assignment]  # as the setting keeps them
        for name, weight in pairs:
            if name not in numbers:
                raise InputError(
                    f"class_weight has the class {quoted(name)}, which is none of the "
                    f"{len(numbers)} classes {quoted(list(numbers))}"
                )
            of_class[numbers[name]] = weight
    weights = relative_weights("class", of_class)[y]
    if own is not None:
        weights = weights * relative_weights("row", own)
    return of_mean_one(check_weights(weights, len(y)))
