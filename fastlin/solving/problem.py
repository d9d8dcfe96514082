"""The objective of labelled rows: value, gradient, and a bound on the distance to the optimum.

F(W, b) = mean over rows of loss(W x + b, y) + l2 * sum(W**2), the mean weighted if rows are. The
solver moves in coordinates in which features have the mean 0: a `Point` has W and, in one more
column, c = b + W mean. There a step of W leaves the mean scores where they are, and curvature by W
and by c are apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin import passes
from fastlin.data.checks import number_dtype
from fastlin.data.dataset import Dataset
from fastlin.data.features import evenly_spaced, stored_part
from fastlin.data.stored import AnyRows, blocks_of
from fastlin.engine import Array
from fastlin.errors import InputError, quoted
from fastlin.losses import Loss, Softmax, SquaredHinge
from fastlin.model import LinearModel
from fastlin.passes import MeanLoss, Reading
from fastlin.training.standardization import Standardization

Vector = NDArray[np.float64]
Point = NDArray[np.float64]  # (K, d + 1): W, and c in the last column

# Rows are converted in blocks of about so many values, which stay in the second-level cache.
_VALUES_OF_BLOCK = 2**17

# Classes are taken in blocks, of so many pairs with all of them.
_VALUES_OF_CLASSES = 2**17

# Means beyond so many standard deviations are subtracted as rows are read, as in training.
_LARGE_MEAN = 16.0


class PassesElsewhere(Protocol):
    """Who takes passes over the rows of a problem in its place."""

    def mean_loss(self, W: Array, b: Array, reading: Reading, row_count: int) -> MeanLoss:
        """Do `passes.unchecked_mean_loss` over the rows of the problem."""


@dataclass(frozen=True, eq=False)
class Value:
    """The objective at a point.

    Attributes
    ----------
    point : NDArray[np.float64]
        (K, d + 1), where.
    cost : float
        The objective.
    gradient : NDArray[np.float64]
        (K, d + 1), by the coordinates of the point.
    bound : float
        Cost less the least cost there is, at most; infinite where nothing is known.
    weight_bound : float
        What the bound would be if the gradient by c were 0.
    """

    point: Point
    cost: float
    gradient: Point
    bound: float
    weight_bound: float = math.inf

    @property
    def length(self) -> float:
        """Of the gradient."""
        return float(np.linalg.norm(self.gradient))


class Problem:
    """The objective of labelled rows, and how many passes over them it took.

    Parameters
    ----------
    data : Dataset
        The rows.
    loss : Loss
        `Softmax` or `SquaredHinge`.
    l2 : float
        Factor of the penalty, 0 or above.
    weights : NDArray[np.float64] or None
        (n,) of mean 1; None if all rows count the same.
    standardization : Standardization or None
        Through which rows are seen; None for features as they are.
    fit_intercept : bool
        Whether there is a b; otherwise it is 0.
    workers : PassesElsewhere or None
        Who takes passes over the rows; None for this process.

    Attributes
    ----------
    l2 : float
        It may be changed: what is known of the rows holds for every penalty.
    passes : int
        Over all rows so far: each for a value and a gradient.
    length_at_zero : float
        The length of the gradient at weights of zero; infinite before it was computed.
    cost_at_zero : float
        The objective there, of every penalty.

    Raises
    ------
    InputError
        If a class has no row that counts.
    """

    def __init__(
        self, data: Dataset, loss: Loss, l2: float, weights: Vector | None = None,
        standardization: Standardization | None = None, *, fit_intercept: bool = True,
        workers: PassesElsewhere | None = None,
    ) -> None:  # fmt: skip
        self.workers = workers
        self.data, self.loss, self.l2, self.weights = data, loss, l2, weights
        self.fit_intercept, self.passes = fit_intercept, 0
        # Which rows count; None for all.
        self._counting = None if weights is None or weights.all() else np.flatnonzero(weights)
        self.standardization = standardization
        self.class_shares = self._shares_of_classes()
        of_rows = self.class_shares - self._smoothing / len(self.class_shares)
        self._own_shares = np.maximum(of_rows, 0.0) / (1 - self._smoothing)  # without smoothing
        self.reading, self.center = self._reading()
        self._target_means: NDArray[np.float64] | None = None
        self.length_at_zero = self.cost_at_zero = math.inf

    def _shares_of_classes(self) -> Vector:
        """Return the weighted share (K,) of every class, smoothed as the loss smooths labels."""
        K = len(self.data.class_names)
        shares = np.bincount(self.data.y, self.weights, minlength=K) / len(self.data)
        shares = (1 - self._smoothing) * shares + self._smoothing / K
        missing = np.flatnonzero(shares == 0).tolist()
        if missing and self.fit_intercept:
            raise InputError(
                f"the class {quoted(self.data.class_names[missing[0]])} has no training row that "
                "counts, so there is no optimum: its bias would fall for ever; leave the class out"
            )
        return shares

    def _reading(self) -> tuple[Reading, Vector]:
        """Return how rows are read, and the mean (d,) of the features that come of it."""
        data, scale = self.data, self.data.scale
        zero = np.zeros(data.X.shape[1])
        if self.standardization is not None:
            # As the classifier will read them, whose features these are to the last digit.
            standard = self.standardization
            before = zero if standard.offset is None else standard.offset
            # Without biases, features are still less their means, which no weights change.
            mean = self._center(before) if self.fit_intercept else standard.mean - before
            return Reading(scale, standard.offset, standard.std), mean / standard.std
        mean = self._center(zero)
        if data.X.dtype != np.uint8:
            rows = data.X[evenly_spaced(*data.X.shape)].astype(np.float64) * data.feature_scale
            if (np.abs(mean) > _LARGE_MEAN * rows.std(axis=0)).any():
                stored = (mean / data.feature_scale).astype(number_dtype(data.X.dtype))
                offset = data.feature_scale * stored.astype(np.float64)
                return Reading(scale, offset), self._center(offset)
        return Reading(scale), mean

    def _center(self, offset: Vector) -> Vector:
        """Return the mean of features less an offset, of which the solver subtracts the rest."""
        if not self.fit_intercept:
            return np.zeros_like(offset)
        scale = self.data.feature_scale
        return _mean(self.data.X, self.weights, offset / scale) * scale

    @property
    def shape(self) -> tuple[int, int]:
        """Of a point: (K, d + 1)."""
        return len(self.data.class_names), self.data.X.shape[1] + 1

    def value(self, point: Point, dtype: DTypeLike = np.float64) -> Value:
        """Return the objective at a point, from products in float32 or float64."""
        W, c = point[:, :-1], point[:, -1]
        mean_loss, G, db = self._mean_loss(W.astype(dtype), (c - W @ self.center).astype(dtype))
        # Derivatives of a row's loss by its scores add up to 0; what is left of that is rounding.
        G -= G.mean(axis=0)
        db -= db.mean()
        G -= np.outer(db, self.center)
        return self.value_of(point, mean_loss, G, db)

    def value_of(self, point: Point, mean_loss: float, G: Point, db: Vector) -> Value:
        """Return the objective at a point, of the mean loss and its gradients by W and c there."""
        W, c = point[:, :-1], point[:, -1]
        self.passes += 1
        fixed = 0.0  # what biases that may not change, but are not 0, add to the bound
        if not self.fit_intercept:
            fixed, db = float(db @ c), np.zeros_like(db)
        gradient = np.concatenate([G + 2 * self.l2 * W, db[:, None]], axis=1)
        if self._target_means is None and not point.any():
            self._target_means = G * (-1 / self._slope())
            self.length_at_zero, self.cost_at_zero = float(np.linalg.norm(gradient)), mean_loss
        cost = mean_loss + self.l2 * float(np.square(W).sum())
        bound = weight_bound = math.inf
        if self.l2 > 0 and self._target_means is not None:
            weight_bound = float(np.square(gradient[:, :-1]).sum()) / (4 * self.l2)
            if weight_bound < cost:  # before, no bound says more than that the least one is above 0
                bound = max(self._bound(point, mean_loss, G, db, self._target_means) + fixed, 0.0)
        return Value(point, cost, gradient, bound, weight_bound)

    def _mean_loss(self, W: Array, b: Array) -> MeanLoss:
        """Return the mean loss of a classifier and its gradients, from a pass over all rows."""
        if self.workers is not None:
            return self.workers.mean_loss(W, b, self.reading, len(self.data))
        return passes.unchecked_mean_loss(
            self.data.X, self.data.y, W, b, loss=self.loss, reading=self.reading,
            weights=self.weights,
        )  # fmt: skip

    def _bound(self, point: Point, mean_loss: float, G: Point, db: Vector, means: Point) -> float:
        """Return a bound on the cost less the least one, a duality gap.

        With u_i the gradient of the loss by the scores of row i, G = mean u_i x_i^T, the dual
        objective is -mean loss*(u_i) - ||G||**2 / (4 l2), for u_i of mean 0, as b is not penalised.
        Where the mean of u_i is db, not 0, (1 - e) u_i + e v_i has it if the mean of v_i is
        -(1 - e) / e * db. The conjugate loss* is convex, so the gap at that point is at most

        ||(1 - e) G + e V + 2 l2 W||**2 / (4 l2)
            + (1 - e) <db, c> + e (mean loss - <V, W> + mean loss*(v_i)),     V = mean v_i x_i^T.

        The square is taken of the sum: of features of 1e10 its parts cancel, and their rounding is
        larger than all else.
        """
        W, c = point[:, :-1], point[:, -1]
        if not ((db > 0).any() and (db < 0).any()):  # they add up to 0, or are rounding
            return float(np.square(G + 2 * self.l2 * W).sum()) / (4 * self.l2)
        e, V, conjugate = self._other_gradients(db, means)
        rest = (1 - e) * float(db @ c) + e * (mean_loss - float((V * W).sum()) + conjugate)
        V *= e
        V += (1 - e) * G
        V += 2 * self.l2 * W
        return float(np.square(V, out=V).sum()) / (4 * self.l2) + rest

    def _other_gradients(self, db: Vector, means: Point) -> tuple[float, Point, float]:
        """Return e, the mean of v_i x_i^T (K, d), and the mean of loss*(v_i).

        Rows of classes k whose db is above 0 give a part B_k of their target to the classes whose
        db is below 0, as q shares it out: v_i = B_k (q - e_k), with the least e for which no part
        is above the whole. A class without rows, to which smoothing gives a share, has none to
        give: then v_i = q - t_i, with t_i the target of the row, and q not below 0. Both are made
        of the means (K, d) of e_y x_i^T.
        """
        above, K, shares, own = np.maximum(db, 0.0), len(db), self.class_shares, self._own_shares
        if (above[own == 0] > 0).any():
            e = float((above / (shares + above)).max())
            q = np.maximum(shares - (1 - e) / e * db, 0.0)
            V = (self._smoothing - 1) * means
            V -= self._smoothing / K * means.sum(axis=0)
            return e, V, float(own @ self._conjugates(q))
        gives = own > 0
        whole = 1 - self._smoothing + self._smoothing / K
        e = float((above[gives] / (whole * own[gives] + above[gives])).max())
        parts, q = np.zeros(K), np.maximum(-db, 0.0)
        parts[gives] = (1 - e) / e * above[gives] / own[gives]
        q /= q.sum()
        V = np.outer(q, parts @ means)
        V -= parts[:, None] * means
        return e, V, float(own @ self._conjugates(q, parts))

    @property
    def _smoothing(self) -> float:
        return self.loss.smoothing if isinstance(self.loss, Softmax) else 0.0

    def _slope(self) -> float:
        """Return how many times G at a point of zeros is minus the mean of e_y x_i^T.

        Features are centred, so that what all classes have in common has no part in it.
        """
        if isinstance(self.loss, SquaredHinge):
            return 2 * self.loss.margin * len(self.data.class_names)
        return 1 - self._smoothing

    def _conjugates(self, q: Vector, parts: Vector | None = None) -> Vector:
        """Return loss*(v) for the v (K,) of the rows of every class, (K,).

        Those of class k are parts[k] (q - e_k); without parts q less the target of class k.
        """
        K = len(q)
        found, step = np.empty(K), max(1, _VALUES_OF_CLASSES // K)
        # Block of classes: a matrix of all of them is larger than W where they are many.
        for first in range(0, K, step):
            rows = np.arange(first, min(first + step, K))
            own = np.arange(len(rows)), rows
            targets = np.full((len(rows), K), self._smoothing / K)
            targets[own] += 1 - self._smoothing
            if parts is None:
                moved = q - targets
            else:
                moved = parts[rows, None] * q
                moved[own] -= parts[rows]
            if isinstance(self.loss, SquaredHinge):
                costs = moved * moved / 4 - self.loss.margin * moved
                costs[own] = 0.0
            else:
                targets += moved
                np.maximum(targets, 0.0, out=targets)
                costs = np.log(targets, out=np.zeros_like(targets), where=targets > 0)
                costs *= targets
            found[rows] = costs.sum(axis=1)
        return found

    @property
    def counting_rows(self) -> int:
        """How many rows have a weight above 0."""
        return len(self.data if self._counting is None else self._counting)

    def evenly_spaced(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of so many evenly spaced rows, of those that count."""
        places = np.linspace(0, self.counting_rows - 1, count).astype(np.int64)
        return places if self._counting is None else self._counting[places]

    def features(self, rows: NDArray[np.int64], dtype: DTypeLike) -> NDArray[np.floating]:
        """Return centred features of some rows, (m, d), as passes have them."""
        scale, offset, std = self.data.feature_scale, self.reading.offset, self.reading.std
        stored = self.data.X[rows].astype(number_dtype(self.data.X.dtype))
        if offset is not None and self.data.X.dtype != np.uint8:
            shift, part = stored_part(offset, scale, stored.dtype)
            stored -= shift
            offset = offset - part
        values = stored.astype(np.float64)
        values *= scale
        if offset is not None:
            values -= offset
        if std is not None:
            values /= std
        values -= self.center
        return values.astype(dtype, copy=False)

    def model(self, point: Point, dtype: DTypeLike) -> LinearModel:
        """Return the classifier that a point is, of a dtype."""
        W = point[:, :-1]
        b = point[:, -1] - W @ self.center
        data, std, offset = self.data, self.reading.std, self.reading.offset
        if std is not None:
            W = W / std
        return LinearModel(
            W.astype(dtype), b.astype(dtype), data.class_names, data.image_shape, std, offset,
            data.feature_range, str(self.loss), data.scale, data.feature_names, self.l2,
        )  # fmt: skip

    def point_of(self, model: LinearModel) -> Point:
        """Return the point that a classifier of the same features and classes is."""
        W, b = model.W.astype(np.float64), model.b.astype(np.float64)
        before = np.zeros(W.shape[1]) if model.feature_offset is None else model.feature_offset
        mean, std = self.reading.offset, self.reading.std
        b = b + W @ ((np.zeros(W.shape[1]) if mean is None else mean) - before)
        W = W if std is None else W * std
        return np.concatenate([W, (b + W @ self.center)[:, None]], axis=1)


def _mean(X: AnyRows, weights: Vector | None, offset: Vector) -> Vector:
    """Return the weighted mean (d,) of rows as stored, less an offset.

    Blocks are summed in float32, or in float64 if the rows are; their sums in float64.
    """
    n, d = X.shape
    dtype: Any = np.float64 if X.dtype == np.float64 else np.float32
    near, total = offset.astype(dtype), np.zeros(d)
    step = max(1, _VALUES_OF_BLOCK // d)
    for begin, rows in blocks_of(X, step):
        for first in range(0, len(rows), step):
            block = rows[first : first + step].astype(dtype) - near
            counts = np.ones(len(block))
            if weights is not None:
                counts = weights[begin + first : begin + first + len(block)]
            total += counts.astype(dtype) @ block
    mean: Vector = total / n + (near - offset)
    return mean


def check_start(start: LinearModel, problem: Problem) -> None:
    """Raise InputError if a classifier is not of the features and classes of a problem."""
    data = problem.data
    if not isinstance(start, LinearModel):
        raise InputError(f"start is {quoted(start)}; it must be a LinearModel")
    if start.W.shape[1] != data.X.shape[1] or start.class_names != data.class_names:
        raise InputError(
            f"start is a classifier of {start.W.shape[1]:,} features and the classes "
            f"{quoted(list(start.class_names))}; the rows have {data.X.shape[1]:,} and "
            f"{quoted(list(data.class_names))}"
        )
