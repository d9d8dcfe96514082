"""How much each row counts: its own weight times that of its class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlin.class_weights import BALANCED, Pairs
from fastlin.config import TrainConfig
from fastlin.data.checks import check_weights, of_mean_one, relative_weights
from fastlin.data.dataset import Dataset
from fastlin.errors import InputError, quoted


def row_weights(data: Dataset, config: TrainConfig) -> NDArray[np.float64] | None:
    """Return the weights (n,) of labelled rows, of mean 1; None if all count the same.

    Parameters
    ----------
    data : Dataset
        The rows, with or without weights of their own.
    config : TrainConfig
        Of which `class_weight` counts. Balanced classes are so in whatever rows are given: n rows
        in K classes that occur give the class k, of n_k rows, the weight n / (K n_k). A class that
        is not among given weights has the weight 1.

    Raises
    ------
    InputError
        If a weight is of a class that the data do not know, or all weights of rows are 0.
    """
    chosen = config.class_weight
    if chosen is None:
        return None if data.weights is None else of_mean_one(data.weights)
    of_class = np.ones(len(data.class_names))
    if chosen == BALANCED:
        of_class = 1 / np.maximum(np.bincount(data.y, minlength=len(of_class)), 1)
    else:
        numbers = {name: number for number, name in enumerate(data.class_names)}
        pairs: Pairs = chosen  # type: ignore[assignment]  # as the setting keeps them
        for name, weight in pairs:
            if name not in numbers:
                raise InputError(
                    f"class_weight has the class {quoted(name)}, which is none of the "
                    f"{len(numbers)} classes {quoted(list(numbers))}"
                )
            of_class[numbers[name]] = weight
    weights = relative_weights("class", of_class)[data.y]
    if data.weights is not None:
        weights = weights * relative_weights("row", data.weights)
    return of_mean_one(check_weights(weights, len(data)))
