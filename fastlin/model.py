"""A trained classifier: readable without Numba or matplotlib."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlin import files, model_arrays
from fastlin.data.arrays import numeric
from fastlin.data.checks import (
    as_array,
    check_image_shape,
    check_labels,
    check_scale,
    check_unmasked,
)
from fastlin.data.feature_names import (
    check_feature_names,
    column_order,
    names_of,
    order_note,
    select_columns,
)
from fastlin.data.features import FeatureRange
from fastlin.data.labels import class_numbers
from fastlin.errors import InputError, MatchWarning, counted, one_line, quoted
from fastlin.losses import Softmax
from fastlin.settings import whole_number

_WHOLE = re.compile(r"-?[0-9]+")
_OPTIONAL = (  # fields that a file has where they are known
    "image_shape", "feature_std", "feature_offset", "feature_range", "loss", "scale",
    "feature_names", "temperature",
)  # fmt: skip


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
    W : NDArray
        (K, d) float32 or float64, one class a row.
    b : NDArray
        (K,) of the same dtype.
    class_names : tuple[str, ...]
        K names.
    image_shape : tuple[int, int, int] or None
        (channels, height, width) where a row of W can be drawn as an image, else None.
    feature_std : NDArray[np.float64] or None
        (d,), by which features were divided in training, else None. The penalty is on
        W * feature_std, the weights that were trained.
    feature_offset : NDArray[np.float64] or None
        (d,), what is subtracted from features before W is applied, as means are large; else None.
    feature_range : FeatureRange or None
        Where the features of the training rows lay; None if it is not known.
    loss : str or None
        The name of the loss that it was trained with; None if it is not known.
    scale : float or None
        What makes a stored value a feature; None for 1/255 of uint8, and 1 of others.
    feature_names : tuple[str, ...] or None
        The names of the d features, into whose order named columns are put; None if not known.
    l2 : float or None
        The factor of the penalty in training; None if not known, as of a model that was saved.
    temperature : float or None
        What scores are divided by before they become probabilities; None for 1. It is that of
        `fastlin.calibrate`, and changes no scores and no predictions.

    Raises
    ------
    InputError
        If shapes, dtypes or a value do not fit.
    """

    W: NDArray[Any]
    b: NDArray[Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    feature_std: NDArray[np.float64] | None = None
    feature_offset: NDArray[np.float64] | None = None
    feature_range: FeatureRange | None = None
    loss: str | None = None
    scale: float | None = None
    feature_names: tuple[str, ...] | None = None
    l2: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        W, b = self.W, self.b
        check_unmasked("W", W)
        check_unmasked("b", b)
        if W.ndim != 2 or W.dtype not in (np.float32, np.float64):
            raise InputError(f"W is {W.dtype} {W.shape}; it must be float32 or float64 (K, d)")
        if b.shape != W.shape[:1] or b.dtype != W.dtype or len(self.class_names) != len(W):
            raise InputError(f"b and the class names do not fit W, {W.dtype} {W.shape}")
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            raise InputError("W or b has a NaN or infinite value")
        if self.image_shape is not None:
            shape = check_image_shape(self.image_shape, W.shape[1])
            object.__setattr__(self, "image_shape", shape)
        std = self.feature_std
        if std is not None and (
            std.shape != W.shape[1:] or not (np.isfinite(std) & (std > 0)).all()
        ):
            raise InputError(
                f"feature_std does not fit {counted(W.shape[1], 'feature')}, each above 0"
            )
        offset = self.feature_offset
        if offset is not None and (offset.shape != W.shape[1:] or not np.isfinite(offset).all()):
            raise InputError(
                f"feature_offset does not fit {counted(W.shape[1], 'feature')}, all finite"
            )
        if self.feature_range is not None:
            self.feature_range.check()
        if self.scale is not None:
            check_scale(self.scale)
        if self.feature_names is not None:
            names = check_feature_names(self.feature_names, W.shape[1])
            object.__setattr__(self, "feature_names", names)
        loss = self.loss
        if loss is not None and (not isinstance(loss, str) or one_line(loss, 60) != loss):
            raise InputError(f"loss is {quoted(loss)}; it must be the name of a loss, or None")
        if self.temperature is not None:
            self.check_has_probabilities()
            if not (np.isfinite(self.temperature) and self.temperature > 0):
                raise InputError(f"temperature is {self.temperature}; it must be above 0, finite")

    def penalty(self, l2: float) -> float:
        """Return l2 times the sum of the squared weights that were trained, in float64."""
        return weight_penalty(self.W, l2, self.feature_std)

    def __repr__(self) -> str:
        K, d = self.W.shape
        loss = "" if self.loss is None else f", {self.loss}"
        return f"LinearModel({counted(K, 'class')}, {counted(d, 'feature')}, {self.W.dtype}{loss})"

    def scores(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores of rows.

        Rows on another scale than those trained on, and columns in another order, or more columns
        than features, are a `fastlin.errors.MatchWarning`, here and in every other method that
        takes rows.

        Parameters
        ----------
        X : ArrayLike
            (n, d) real numbers, which `scale` makes features; the columns of a DataFrame are
            matched by name where the model has names, and others are left out.

        Returns
        -------
        NDArray
            (n, K), of the dtype of W.

        Raises
        ------
        InputError
            If X does not fit W, lacks features by name, or has a value that is not finite.
        """
        return self._scores(X)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the class numbers (n,) of rows X, as in `scores`: places in `class_names`."""
        classes: NDArray[np.int64] = self._scores(X).argmax(axis=1)
        return classes

    def predict_names(self, X: ArrayLike) -> NDArray[np.str_]:
        """Return the class names (n,) of rows X, as in `scores`."""
        names: NDArray[np.str_] = np.array(self.class_names)[self._scores(X).argmax(axis=1)]
        return names

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the probabilities (n, K) of the classes, the softmax of the scores of rows X.

        The scores are divided by the `temperature` first.

        Raises
        ------
        InputError
            If the loss of the model is not softmax, whose scores alone are log-probabilities up to
            a constant; and as in `scores`.
        """
        self.check_has_probabilities()
        return self.probabilities_of(self._scores(X))

    def probabilities_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return what `predict_proba` does, of the scores (n, K) of a model that has them."""
        from fastlin import functional  # noqa: PLC0415  (loads Numba)

        return functional.softmax(self.tempered(scores))

    def tempered(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return scores (n, K) over the temperature, of the same dtype."""
        if self.temperature is None:
            return scores
        divided: NDArray[Any] = scores / scores.dtype.type(self.temperature)
        return divided

    @property
    def has_probabilities(self) -> bool:
        """Whether the model is known to be trained with the softmax loss."""
        return self.loss is not None and self.loss.partition("(")[0] == Softmax.name

    def check_has_probabilities(self) -> None:
        """Raise `InputError` if the loss of the model is not softmax, or is not known."""
        if not self.has_probabilities:
            raise InputError(
                "it is not known by which loss the model was trained; if it was softmax, say so: "
                "dataclasses.replace(model, loss='softmax')"
                if self.loss is None
                else f"the model was trained with the loss {self.loss}, whose scores are no "
                "probabilities; use scores, or train with the loss softmax"
            )

    def top_k(self, X: ArrayLike, k: int) -> NDArray[np.int64]:
        """Return the class numbers (n, k) of the k highest scores of each row, the best first.

        Of equal scores the class of the lower number comes first.

        Raises
        ------
        InputError
            If k is no whole number from 1 to the number of classes; and as in `scores`.
        """
        k = self.check_class_count("k", k)
        return best_classes(self._scores(X), k)

    def check_class_count(self, name: str, count: int) -> int:
        """Return a number of classes. Raises `InputError` if the model has not so many."""
        count = whole_number(name, count, 1)
        if count > len(self.b):
            raise InputError(f"{name} is {count}; the model has {counted(len(self.b), 'class')}")
        return count

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy on labelled rows: a fraction in [0, 1].

        Parameters
        ----------
        X : ArrayLike
            Rows, as in `scores`.
        y : ArrayLike
            (n,) class names; or integers: the digits that name a class where all names are whole
            numbers, otherwise class numbers.

        Raises
        ------
        InputError
            If rows or labels do not fit the model.
        """
        scores = self._scores(X)
        labels = as_array("y", y)
        if labels.dtype.kind in "iu" and all(map(_WHOLE.fullmatch, self.class_names)):
            labels = labels.astype(str)
        numbers = class_numbers("y", labels, self.class_names)
        right = scores.argmax(axis=1) == check_labels(numbers, len(scores), len(self.b))
        return float(right.mean())

    def save(self, path: str | Path) -> None:
        """Write the model as a .npz file of plain arrays, which `load` reads.

        Raises
        ------
        InputError
            If it cannot be written; what was there before remains.
        """
        files.save_npz(files.as_path(path), self.to_arrays())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` wrote, or the last model of a run folder's model.npz.

        Nothing read is executed.

        Raises
        ------
        InputError
            If the file is missing, damaged, or holds something else.
        """
        path = files.as_path(path)
        arrays = files.read_npz(path)
        try:
            return cls.from_arrays(arrays)
        except InputError as error:
            raise InputError(f"{path} is damaged: {error}") from None

    def to_sklearn(self) -> Any:
        """Return the model as a fitted estimator; see `fastlin.export.to_sklearn`."""
        from fastlin import export  # noqa: PLC0415  (it exports models)

        return export.to_sklearn(self)

    def to_torch(self) -> Any:
        """Return the model as a `torch.nn.Linear`; see `fastlin.export.to_torch`."""
        from fastlin import export  # noqa: PLC0415  (it exports models)

        return export.to_torch(self)

    def to_onnx(self, path: str | Path, input_dtype: DTypeLike | None = None) -> None:
        """Write the model as an ONNX graph; see `fastlin.export.save_onnx`."""
        from fastlin import export  # noqa: PLC0415  (it exports models)

        export.save_onnx(self, path, input_dtype)

    def to_safetensors(self, path: str | Path) -> None:
        """Write weight and bias for values as they are stored; see `fastlin.export.save`."""
        from fastlin import export  # noqa: PLC0415  (it exports models)

        export.save(self, "safetensors", path)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that the model is as plain arrays, from which `from_arrays` makes it again."""
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        known = {name: np.array(value) for name, value in optional.items() if value is not None}
        return {"W": self.W, "b": self.b, "class_names": np.array(self.class_names)} | known

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the model of arrays that `to_arrays` returned, read from a file.

        Parameters
        ----------
        arrays : Mapping[str, NDArray]
            W, b and class_names; others may be missing, and more are ignored.

        Raises
        ------
        InputError
            If an array is missing or does not fit.
        """
        for name in ("W", "b", "class_names"):
            if name not in arrays:
                raise InputError(f"it lacks the array {name}")
        loss, names = arrays.get("loss"), arrays.get("feature_names")
        shape: Any = arrays.get("image_shape")
        if loss is not None and (loss.ndim != 0 or loss.dtype.kind != "U"):
            raise InputError(f"loss is {loss.dtype} {loss.shape}; it must be one text")
        return cls(
            arrays["W"],
            arrays["b"],
            model_arrays.texts("class_names", arrays["class_names"]),
            None if shape is None else tuple(shape.ravel().tolist()),
            model_arrays.of_features(arrays, "feature_std"),
            model_arrays.of_features(arrays, "feature_offset"),
            FeatureRange.of_array(arrays.get("feature_range")),
            None if loss is None else model_arrays.texts("loss", loss.reshape(1))[0],
            model_arrays.one_number(arrays, "scale"),
            None if names is None else model_arrays.texts("feature_names", names),
            temperature=model_arrays.one_number(arrays, "temperature"),
        )

    def _scores(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores of rows; warnings name the caller of the method that calls this."""
        from fastlin import functional, matching  # noqa: PLC0415  (loads Numba)

        names, wanted = names_of(X), self.feature_names
        order = column_order(names, wanted, "the rows", "the model", can_have_more=True)
        if order is not None and wanted is not None:
            warnings.warn(order_note(names, wanted), MatchWarning, stacklevel=3)
            X = select_columns(X, wanted)
        X = numeric("X", X)
        if X.ndim == 2:
            matching.check_feature_count(self, X.shape[1])
        scores = functional.scores(X, self.W, self.b, offset=self.feature_offset, scale=self.scale)
        matching.warn_of_scale(self, X, stacklevel=3)
        return scores


def best_classes(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the class numbers (n, k) of the k highest scores of each row, as `top_k` does."""
    if k == 1:
        highest: NDArray[np.int64] = scores.argmax(axis=1)[:, None]
        return highest
    order: NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order
