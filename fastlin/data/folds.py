"""Folds of a cross-validation as data of their own, which workers of a cluster find again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split
from fastlin.data.joining import training_and_validation
from fastlin.data.source import DataReference
from fastlin.data.splits import stratified_folds


@dataclass(frozen=True)
class FoldReference:
    """How to find a fold again.

    Attributes
    ----------
    data : DataReference
        Where the split is whose rows are divided, with its fingerprint.
    count, seed, number : int
        How many folds there are, the seed of their draw, and which one it is, from 0.
    """

    data: DataReference
    count: int
    seed: int
    number: int


@dataclass(frozen=True, eq=False)
class Fold(Split):
    """The other folds as training rows, and one fold as validation rows.

    Attributes
    ----------
    reference : FoldReference | None
        Where workers of a cluster find it; None where none need to.
    """

    reference: FoldReference | None = None


class Folds:
    """The training rows of a split, and then its validation rows, divided into folds.

    Parameters
    ----------
    split : Split
    count, seed : int
        How many folds; every class is divided evenly, drawn with the seed.
    data : DataReference, optional
        Where workers of a cluster find the split, with its fingerprint.

    Attributes
    ----------
    name : str
        Of the split.
    rows : Dataset
    of_rows : NDArray[np.int64]
        The fold (n,) of every row.

    Raises
    ------
    InputError
        If there are fewer rows than folds.
    """

    def __init__(
        self, split: Split, count: int, seed: int, data: DataReference | None = None
    ) -> None:
        self.name, self._count, self._seed, self._data = split.name, count, seed, data
        self.rows: Dataset = training_and_validation(split)
        self.of_rows: NDArray[np.int64] = stratified_folds(self.rows.y, count, seed)

    def __len__(self) -> int:
        return self._count

    def held(self, number: int) -> NDArray[np.int64]:
        """Return the numbers of the rows of a fold."""
        return np.flatnonzero(self.of_rows == number)

    def fold(self, number: int) -> Fold:
        """Return a fold, whose rows are copied unless they are in files."""
        reference = None
        if self._data is not None:
            reference = FoldReference(self._data, self._count, self._seed, number)
        others = np.flatnonzero(self.of_rows != number)
        return Fold(
            self.name, self.rows.chosen(others), self.rows.chosen(self.held(number)),
            reference=reference,
        )  # fmt: skip
