"""What training leaves behind, as plain records: readable without Numba or matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import check_image_shape
from fastlin.errors import InputError


class EpochRecord(NamedTuple):
    """One row of a `History`, and of `history.csv`: the fields are its columns."""

    epoch: int
    lr: float
    train_cost: float
    train_accuracy: float
    val_cost: float
    val_accuracy: float


HISTORY_COLUMNS = EpochRecord._fields


@dataclass(frozen=True, eq=False)
class History:
    """One value per finished epoch; validation values are NaN where there is no validation set.

    Attributes
    ----------
    epoch : (E,) int64, counted from 1.
    lr : (E,) float64, the learning rate used during the epoch.
    train_cost, val_cost : (E,) float64, mean loss + l2 * sum(W**2), after the epoch.
    train_accuracy, val_accuracy : (E,) float64, fraction in [0, 1], after the epoch.
    """

    epoch: NDArray[np.int64]
    lr: NDArray[np.float64]
    train_cost: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    val_cost: NDArray[np.float64]
    val_accuracy: NDArray[np.float64]

    @classmethod
    def from_records(cls, records: list[EpochRecord]) -> Self:
        """Turn a list of epochs into columns."""
        columns = zip(*records, strict=True) if records else ((),) * len(HISTORY_COLUMNS)
        epoch, *values = columns
        return cls(np.array(epoch, np.int64), *(np.array(value, np.float64) for value in values))

    def records(self) -> list[EpochRecord]:
        """Return the epochs as rows of plain Python numbers."""
        columns = (getattr(self, name).tolist() for name in HISTORY_COLUMNS)
        return [EpochRecord(*row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def has_validation(self) -> bool:
        """Whether validation rows were evaluated."""
        return len(self) > 0 and not np.isnan(self.val_accuracy).all()

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy, the first of equals; 0 if there is none.

        Without validation rows, the epoch with the lowest training cost.
        """
        if len(self) == 0:
            return 0
        if self.has_validation:
            return int(self.epoch[np.nanargmax(self.val_accuracy)])
        return int(self.epoch[self.train_cost.argmin()])


def weight_penalty(
    W: NDArray[Any], l2: float, feature_std: NDArray[np.float64] | None = None
) -> float:
    """Return l2 * sum((W * feature_std)**2), summed in float64; see `LinearModel.feature_std`."""
    trained = W if feature_std is None else W * feature_std
    return l2 * float(np.square(trained, dtype=np.float64).sum())


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A trained classifier: the class of a row x is the largest of the scores W x + b.

    Attributes
    ----------
    W : (K, d) float32 or float64, one class a row.
    b : (K,) of the same dtype.
    class_names : K names.
    image_shape : (channels, height, width) where a row of W can be drawn as an image, else None.
    feature_std : (d,) float64, by which features were divided in training, else None. The penalty
        is on W * feature_std, the weights that were trained.
    """

    W: NDArray[Any]
    b: NDArray[Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    feature_std: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        W, b = self.W, self.b
        if W.ndim != 2 or W.dtype not in (np.float32, np.float64):
            raise InputError(f"W is {W.dtype} {W.shape}; it must be float32 or float64 (K, d)")
        if b.shape != W.shape[:1] or b.dtype != W.dtype or len(self.class_names) != len(W):
            raise InputError(f"b and the class names do not fit W, {W.dtype} {W.shape}")
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            raise InputError("W or b has a NaN or infinite value")
        if self.image_shape is not None:
            check_image_shape(self.image_shape, W.shape[1])
        std = self.feature_std
        if std is not None and (
            std.shape != W.shape[1:] or not (np.isfinite(std) & (std > 0)).all()
        ):
            raise InputError(f"feature_std does not fit {W.shape[1]} features, each above 0")

    def penalty(self, l2: float) -> float:
        """Return l2 times the sum of the squared weights that were trained, in float64."""
        return weight_penalty(self.W, l2, self.feature_std)

    def scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the scores (n, K) of rows X (n, d) uint8 (pixels), float32 or float64.

        Raises
        ------
        InputError
            If X does not fit W, or has a value that is not finite.
        """
        from fastlin import functional  # noqa: PLC0415  (loads Numba)

        return functional.scores(X, self.W, self.b)

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class numbers (n,) of rows X, as in `scores`."""
        classes: NDArray[np.int64] = self.scores(X).argmax(axis=1)
        return classes
