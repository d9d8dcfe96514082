"""A trained classifier: readable without Numba or matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import check_image_shape
from fastlin.errors import InputError

if TYPE_CHECKING:
    from fastlin.data.features import FeatureRange


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


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well W and b do on a data set.

    Attributes
    ----------
    cost : mean loss + l2 * sum(W**2).
    accuracy : fraction of rows whose largest score is at their label, in [0, 1].
    losses : (n,) of W's dtype, without the penalty.
    predictions : (n,) int64, the class of the largest score, the first of equals.
    """

    cost: float
    accuracy: float
    losses: NDArray[Any]
    predictions: NDArray[np.int64]
