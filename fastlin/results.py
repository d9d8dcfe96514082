"""What training leaves behind, as plain records: readable without Numba or matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import check_image_shape
from fastlin.errors import InputError

if TYPE_CHECKING:
    from fastlin.data.features import FeatureRange
# Of more classes no table of all pairs is made: nobody could read it, and that of 20,000 has 3 GB.
MAX_CONFUSION_CLASSES = 1_000


class EpochRecord(NamedTuple):
    """One row of a `History`, and of `history.csv`: the fields are its columns."""

    epoch: int
    lr: float
    train_cost: float
    train_accuracy: float
    val_cost: float
    val_accuracy: float


HISTORY_COLUMNS = EpochRecord._fields

# By what epochs and classifiers are compared: the higher accuracy, or the lower cost, is better.
Measure = Literal["val_accuracy", "val_cost"]


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
        """The epoch with the best validation accuracy, as in `best_by`."""
        return self.best_by("val_accuracy")

    def best_by(self, select: Measure) -> int:
        """Return the epoch with the best value of a measure, the first of equals; 0 if none is.

        Without validation rows it is the epoch with the lowest training cost. Epochs that were not
        evaluated do not count, unless none was: then it is the first.
        """
        if len(self) == 0:
            return 0
        name = select if self.has_validation else "train_cost"
        values = getattr(self, name) * (-1.0 if name == "val_accuracy" else 1.0)
        return int(self.epoch[np.where(np.isnan(values), np.inf, values).argmin()])


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
    feature_offset : (d,) float64, what is subtracted from features before W is applied, else None:
        where means are large, W x and b would cancel.
    feature_range : where the features of the training rows lay; None if it is not known.
    """

    W: NDArray[Any]
    b: NDArray[Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    feature_std: NDArray[np.float64] | None = None
    feature_offset: NDArray[np.float64] | None = None
    feature_range: FeatureRange | None = None

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
        offset = self.feature_offset
        if offset is not None and (offset.shape != W.shape[1:] or not np.isfinite(offset).all()):
            raise InputError(f"feature_offset does not fit {W.shape[1]} features, all finite")
        if self.feature_range is not None:
            self.feature_range.check()

    def penalty(self, l2: float) -> float:
        """Return l2 times the sum of the squared weights that were trained, in float64."""
        return weight_penalty(self.W, l2, self.feature_std)

    def scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the scores (n, K) of rows X (n, d) uint8 (pixels), float32 or float64.

        Rows on another scale than those trained on are a `fastlin.errors.MatchWarning`.

        Raises
        ------
        InputError
            If X does not fit W, or has a value that is not finite.
        """
        from fastlin import matching  # noqa: PLC0415  (loads every source of data)

        scores = self._scores(X)
        matching.warn_of_scale(self, X)
        return scores

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class numbers (n,) of rows X, as in `scores`."""
        from fastlin import matching  # noqa: PLC0415  (loads every source of data)

        classes: NDArray[np.int64] = self._scores(X).argmax(axis=1)
        matching.warn_of_scale(self, X)
        return classes

    def _scores(self, X: NDArray[Any]) -> NDArray[Any]:
        from fastlin import functional, matching  # noqa: PLC0415  (loads Numba)

        shape = np.shape(X)
        if len(shape) == 2:
            matching.check_feature_count(self, shape[1])
        return functional.scores(X, self.W, self.b, offset=self.feature_offset)
