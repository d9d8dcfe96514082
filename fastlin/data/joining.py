"""Training and validation rows as one data set."""

from __future__ import annotations

import warnings

import numpy as np

from fastlin.data.dataset import Dataset, Split
from fastlin.data.stored import AnyRows, StoredRows
from fastlin.errors import DataWarning, InputError


def training_and_validation(split: Split) -> Dataset:
    """Return all rows that may be learned from: training rows, then validation rows, in order.

    Where there are both it is a copy, as large as they are. If one part has weights, the rows of
    the other, which has none, count 1 each, which is a `fastlin.errors.DataWarning`.

    Parameters
    ----------
    split : Split
        Of which the test rows are left out.

    Returns
    -------
    Dataset
    """
    train, val = split.train, split.val
    if val is None:
        return train
    weights = None
    if (train.weights is None) != (val.weights is None):
        which = "training" if train.weights is None else "validation"
        warnings.warn(
            f"the {which} rows have no weights; beside the others each counts 1", DataWarning,
            stacklevel=2,
        )  # fmt: skip
    if train.weights is not None or val.weights is not None:
        weights = np.concatenate(
            [np.ones(len(part)) if part.weights is None else part.weights for part in (train, val)]
        )
    return Dataset(
        _joined(train.X, val.X),
        np.concatenate([train.y, val.y]),
        train.class_names,
        train.image_shape,
        train.scale,
        weights,
        train.feature_names,
    )


def _joined(first: AnyRows, second: AnyRows) -> AnyRows:
    """Return rows one after the other. Raises InputError if some are in files, and others not."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    in_files = [
        StoredRows.of_mapped(rows) if isinstance(rows, np.ndarray) else rows
        for rows in (first, second)
    ]
    if in_files[0] is None or in_files[1] is None:
        raise InputError(
            "the training and the validation rows cannot be fitted together, as some are read "
            "from files and others are in memory; leave refit out, or give a larger memory"
        )
    return in_files[0].joined(in_files[1])


def check_can_refit(split: Split) -> None:
    """Raise InputError if a split has no validation rows, which a refit would add."""
    if split.val is None:
        raise InputError(
            f"{split.name} has no validation rows, so there is nothing more to fit on than the "
            "training rows: leave refit out, or hold rows out first (val_fraction)"
        )
