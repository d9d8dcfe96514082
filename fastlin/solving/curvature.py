"""Where the objective bends, and how much: the matrix from which steps start.

The second derivatives by W are the mean over rows of A_i (x) x_i x_i^T, A_i (K, K) those of the
loss by the scores. Taken apart, they are about C (x) S with C = mean A_i and S = mean x_i x_i^T:
with C = U diag(g) U^T and S = Q diag(v) Q^T, dividing by g_j v_l + 2 l2 in these coordinates is a
Newton step of that model (Kronecker factors, as Martens & Grosse 2015 use them). It costs two
rotations of K vectors, d / n of a pass over the rows.

S is taken of as many rows as it needs: some times the number of its directions that the penalty
leaves free. Of fewer rows than features it is drawn to a multiple of the identity (Ledoit & Wolf
2004), since rows that are not among them vary in other directions. C is that of some rows, anew
after some steps.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin.errors import InputError, quoted
from fastlin.losses import SquaredHinge
from fastlin.solving.blas import add_moments, product
from fastlin.solving.derivatives import blocks_of_means
from fastlin.solving.problem import Point, Problem, Value, Vector
from fastlin.solving.sample import Sample
from fastlin.solving.scaling import Scaling

# Rows from which all is known of features that vary in few directions, where directions that the
# penalty leaves free are at most these over the next number; and at most, where they are more.
_FEW_ROWS, _ROWS_OF_DIRECTION, _MOST_SAMPLED = 512, 2, 1024

# Rows for every feature, where all directions count; the second number where eigenvectors are the
# leading ones. And where that costs no more than some passes, all rows times the last, the classes,
# and over the features. Of images of 3072 pixels, 3 rows a feature instead of 5 take two fifths off
# the time, for 19 passes instead of 18 at l2 1e-4, 36 instead of 32 at 1e-5.
_ROWS_OF_FEATURE, _ROWS_OF_MANY_FEATURES, _CHEAP_ROWS = 10, 3, 16

# Passes over the rows in the time of which the moments of so many rows may be had: where few rows
# know all directions that are free; where they are drawn to the identity by more than a share, as
# directions are alike; and where there is more to know. (10,000 rows of 3072 features of condition
# 1e4: of 1024 rows 123 passes, of all 115. As many images, l2 1e-5: 135 and 49.)
_PASSES_OF_FEW, _PASSES_OF_FLAT, _PASSES_OF_MANY, _FLAT = 4, 40, 250, 0.3

# C is taken anew at each of the first steps. Where the penalty outweighs the curvature by W, C is
# that by the biases alone: two tell enough.
_FIRST_STEPS, _FIRST_STEPS_OF_BIASES = 4, 2

# Features up to which all eigenvectors are computed, which takes the last number times d**3
# multiply-adds; beyond, the leading ones, not more than this.
_ALL_DIRECTIONS, _MOST_DIRECTIONS, _WORK_OF_VECTORS = 1024, 768, 10
_SUBSPACE_STEPS = 1  # a second one saves no passes

# Eigenvalues below this part of the largest, or of the second moments of the features that are in
# their directions, are rounding of float32; of C, unseen classes have none.
_LEAST_EIGENVALUE, _LEAST_OF_CLASSES, _LEAST_OF_ALL = 1e-7, 1e-2, 1e-30

# Eigenvectors are float32 where the largest eigenvalue is below this many times the smallest: what
# rounding takes from strong directions and adds to weak ones is a share of it.
_MOST_OF_FLOAT32 = 2e5

# Features further from their mean have squares whose sums are beyond float32.
_LARGEST = 1e16

# Directions below this part of what the penalty leaves free are as good as penalised alone. Where
# none is beyond this many times it, second derivatives by W are about those of the penalty.
_LEAST_FREE, _MOST_PENALISED = 0.01, 1.0
_POWER_STEPS = 8
_VALUES_OF_BLOCK = 2**20  # of rows, for moments


class Spectrum(NamedTuple):
    """Second moments of some rows: eigenvalues (r,) and eigenvectors (d, r), and all others' value.

    How many rows is told only of all eigenvectors.
    """

    values: Vector
    vectors: NDArray[np.floating]
    rest: float
    rows: int = 0

    @property
    def others(self) -> int:
        """How many directions have no vector here."""
        return len(self.vectors) - len(self.values)

    def directions(self, free: float) -> float:
        """Return in how many directions eigenvalues outweigh a value: 0 to 1 counts for each."""
        of_rest = self.others * self.rest / (self.rest + free) if self.rest > 0 else 0.0
        return float((self.values / (self.values + free)).sum()) + of_rest

    def share_of_rest(self) -> float:
        """Return the eigenvalue outside of the vectors over the mean of all."""
        total = float(self.values.sum()) + self.others * self.rest
        return self.rest * len(self.vectors) / total if total > 0 else 1.0


class Curvature:
    """The start matrix of a problem; `refresh` before its first use.

    Parameters
    ----------
    problem : Problem
        Of which it is.
    l2 : float
        The least penalty that it is to serve.
    like : Curvature, optional
        That of a problem of more rows, whose second moments it takes over.
    sample : Sample, optional
        Of the problem, if there is one already.

    Attributes
    ----------
    sample : Sample
        Rows of the problem.
    is_complete : bool
        Whether it serves all weaker penalties as well.
    """

    is_exact = False  # steps need what L-BFGS learns from those before
    first_dtype = np.dtype(np.float32)  # of the products of the first steps

    def __init__(
        self, problem: Problem, l2: float, like: Curvature | None = None,
        sample: Sample | None = None,
    ) -> None:  # fmt: skip
        self.problem = problem
        if like is None:
            self._spectrum, self.is_complete = _prepared_spectrum(problem, l2)
        else:
            self._spectrum, self.is_complete = like._spectrum, like.is_complete
        self.sample = Sample(problem) if sample is None else sample
        self._class_values, self._class_vectors = np.ones(0), np.ones((0, 0))
        self._scaling: Scaling | None = None
        self._taken_at: tuple[Point | None, float] = None, l2

    @property
    def knows_weights(self) -> bool:
        """Whether there is any curvature by W that the penalty does not outweigh."""
        return len(self._spectrum.values) > 0

    @property
    def first_steps(self) -> int:
        """At how many steps, from the first one, it is to be taken anew."""
        return _FIRST_STEPS if self.knows_weights else _FIRST_STEPS_OF_BIASES

    def value(self, point: Point, dtype: DTypeLike) -> Value:
        """Return the objective at a point, of products in a dtype."""
        return self.problem.value(point, dtype)

    def refresh(self, point: Point) -> None:
        """Take C and what it misses at a point, unless the last call did."""
        last_point, last_l2 = self._taken_at
        if point is last_point and self.problem.l2 == last_l2:
            return
        self._taken_at = point, self.problem.l2
        W, c = point[:, :-1], point[:, -1]
        W = W - W.mean(axis=0)
        self._scaling, self._class_vectors = None, np.ones((0, 0))  # memory for what comes
        biases = c - c.mean() if self.problem.fit_intercept else np.zeros_like(c)
        B = self.sample.means(W, biases, is_whole=self.knows_weights)
        values, U = np.linalg.eigh(blocks_of_means(B).plain)
        least = max(_LEAST_OF_CLASSES * values[-1], _LEAST_OF_ALL)
        self._class_values, self._class_vectors = np.maximum(values, least), U
        if W.any() and self.knows_weights:
            C = (U * self._class_values) @ U.T
            C -= C.mean(axis=0)
            C -= C.mean(axis=1, keepdims=True)
            with suppress(np.linalg.LinAlgError):  # rounding is all there is along some rows of W
                self._scaling = Scaling(
                    W, B, C, self._moments_along(W), self.problem.l2,
                    fit_intercept=self.problem.fit_intercept,
                )  # fmt: skip

    def divide_biases(self, gradient: Vector) -> Vector:
        """Return a gradient (K,) by c over the curvature along c alone."""
        U, g = self._class_vectors, self._class_values
        found: Vector = U @ ((U.T @ gradient) / g)
        return found

    def balanced_bound(self, value: Value) -> float:
        """Return a bound on the distance of a value to the optimum; see `Sample.balanced_bound`."""
        return self.sample.balanced_bound(value)

    def _moments_along(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return W S W^T (K, K)."""
        values, Q, rest, _ = self._spectrum
        along = _products(W, Q).astype(np.float64)
        moments: NDArray[np.float64] = (along * values) @ along.T
        return moments + rest * (W @ W.T - along @ along.T)

    def divide(self, gradients: Point, l2: float) -> Point:
        """Return gradients (..., K, d + 1) over the curvature: steps, but for their signs."""
        U, g = self._class_vectors, self._class_values[:, None]
        values, Q, rest, _ = self._spectrum
        turned: Point = U.T @ gradients
        along = _products(turned[..., :-1], Q)
        factors = 1 / (g * values + 2 * l2)
        if Q.shape[1] == len(Q):  # nothing is left
            along *= factors
            turned[..., :-1] = _products(along, Q.T)
        else:
            of_rest = 1 / (g * rest + 2 * l2)
            factors -= of_rest
            along *= factors
            turned[..., :-1] *= of_rest
            turned[..., :-1] += _products(along, Q.T)
        del along, factors  # of many classes they are as large as all else here
        turned[..., -1:] /= g
        found: Point = U @ turned
        if self._scaling is not None:
            self._scaling.correct(gradients, found)
        return found


def _products(A: NDArray[np.floating], Q: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return A @ Q for A (..., m, d), computed in the dtype of Q; all rows of A in one product."""
    rows = A.reshape(math.prod(A.shape[:-1]), A.shape[-1]).astype(Q.dtype, copy=False)
    return product(rows, Q).reshape(*A.shape[:-1], Q.shape[1])


def _prepared_spectrum(problem: Problem, l2: float) -> tuple[Spectrum, bool]:
    """Return the spectrum of the features to divide by, and whether it serves all penalties."""
    values, vectors, rest, row_count = _spectrum(problem, l2)
    least = max(_LEAST_EIGENVALUE * values.max(initial=0.0), _LEAST_OF_ALL)
    values, rest = np.maximum(values, _LEAST_OF_ALL), max(rest, least)
    smallest = rest if vectors.shape[1] < len(vectors) else values.min(initial=np.inf)
    if values.max(initial=0.0) < _MOST_OF_FLOAT32 * smallest:
        vectors = vectors.astype(np.float32)
    n, d = problem.counting_rows, problem.data.X.shape[1]
    return Spectrum(values, vectors, rest), row_count >= min(n, _ROWS_OF_FEATURE * d / 2)


def _spectrum(problem: Problem, l2: float) -> Spectrum:
    """Return that of the features, of as many rows as the penalty calls for."""
    n, d = problem.counting_rows, problem.data.X.shape[1]
    # Eigenvalues that the penalty equals at equal scores, where those of C are 1/K, and about 4.
    bend = 4.0 if isinstance(problem.loss, SquaredHinge) else 1 / len(problem.data.class_names)
    free, few = 2 * l2 / bend, min(n, _FEW_ROWS)
    if free > 0 and _largest(problem, few) < _MOST_PENALISED * free:
        return Spectrum(np.zeros(0), np.zeros((d, 0)), 0.0)
    of_feature = _ROWS_OF_FEATURE if d <= _ALL_DIRECTIONS else _ROWS_OF_MANY_FEATURES
    cheap = _CHEAP_ROWS * n * len(problem.data.class_names) // d
    count = min(n, max(of_feature * d, cheap))
    if d > _FEW_ROWS or n < d:
        found = _of_few_rows(problem, few, free)
        needed = int(_ROWS_OF_DIRECTION * found.directions(free))
        most = _PASSES_OF_FLAT if found.share_of_rest() > _FLAT else _PASSES_OF_MANY
        most = _PASSES_OF_FEW if needed <= _MOST_SAMPLED else most
        if few == n or (n < d and n <= _MOST_SAMPLED) or _passes_of(problem, count) > most:
            sampled = min(n, max(few, min(needed, _MOST_SAMPLED)))
            return found if sampled == few else _of_few_rows(problem, sampled, free)
    found = _of_moments(_second_moments(problem, count))
    return found._replace(rows=count) if len(found.values) == d else found


def _passes_of(problem: Problem, count: int) -> float:
    """Return about how many passes take the time of eigenvectors of count rows' moments."""
    n, d = problem.data.X.shape
    of_vectors = _WORK_OF_VECTORS * d if d <= _ALL_DIRECTIONS else 3 * _MOST_DIRECTIONS
    work = (count / 2 + of_vectors) * d
    return float(work / (2 * n * len(problem.data.class_names)))


def _weighted(problem: Problem, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return features times the roots of the rows' weights, whose squares float32 can sum."""
    values = problem.features(rows, np.float32)
    largest = np.abs(values).max(axis=0, initial=0.0)
    if largest.max() > _LARGEST:
        j, names = int(largest.argmax()), problem.data.feature_names
        raise InputError(
            f"feature {j if names is None else quoted(names[j])} is {largest[j]:.3g} from its "
            f"mean; for an exact fit it must be {_LARGEST:.0e} at most: multiply it by "
            f"{1 / largest[j]:.0e}, or set standardize to True"
        )
    if problem.weights is not None:
        share = problem.counting_rows / len(problem.data)
        values *= np.sqrt(share * problem.weights[rows]).astype(np.float32)[:, None]
    return values


def _largest(problem: Problem, count: int) -> float:
    """Return about the largest second moment along a direction, of count rows, by power steps."""
    X = _weighted(problem, problem.evenly_spaced(count))
    size = float(np.abs(X).max())
    if size == 0:
        return 0.0
    X /= np.float32(size)  # float32 holds sums of squares of what is left
    along = X[np.square(X).sum(axis=1).argmax()]
    for _ in range(_POWER_STEPS):
        along = along / np.linalg.norm(along)
        along = (X @ along) @ X
    return float(np.linalg.norm(along)) / count * size**2


def _of_few_rows(problem: Problem, count: int, free: float) -> Spectrum:
    """Return the spectrum of count rows, fewer than features, by the products of rows.

    Eigenvectors are products of the rows and those of the small matrix, over the roots of the
    eigenvalues: the rounding of small ones grows so much that float32 gives no right angles.
    """
    X = _weighted(problem, problem.evenly_spaced(count))
    d = X.shape[1]
    largest = float(np.square(X, dtype=np.float64).sum()) / count  # or less
    if _LEAST_FREE * free < 100 * _LEAST_EIGENVALUE * largest:
        X = X.astype(np.float64)
    products = product(X, X.T).astype(np.float64) / count
    share = _share_of_identity(products, d) if count < problem.counting_rows else 0.0
    rest = share * float(np.trace(products)) / d
    values, vectors = np.linalg.eigh(products)
    kept = values > max(_LEAST_EIGENVALUE * max(values[-1], _LEAST_OF_ALL), _LEAST_FREE * free)
    values = values[kept]
    Q = product(X.T, vectors[:, kept].astype(X.dtype)).astype(np.float64)
    return Spectrum((1 - share) * values + rest, Q / np.sqrt(values * count), rest)


def _share_of_identity(products: NDArray[np.float64], d: int) -> float:
    """Return how far to draw the second moments of few rows to a multiple of the identity.

    Ledoit & Wolf 2004, equation 14 (of rows with the mean 0), from the products (m, m) of m rows,
    over m.
    """
    m = len(products)
    lengths, squares = m * np.diag(products), float(np.square(products).sum())
    spread = squares - float(np.trace(products)) ** 2 / d
    noise = (float(np.square(lengths).mean()) - squares) / m
    return min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0


def _second_moments(problem: Problem, count: int) -> NDArray[np.float64]:
    """Return the second moments (d, d) of count rows: float32 in blocks, summed in float64."""
    d = problem.data.X.shape[1]
    S, step = np.zeros((d, d)), max(256, _VALUES_OF_BLOCK // d)
    rows = problem.evenly_spaced(count)
    for first in range(0, count, step):
        add_moments(_weighted(problem, rows[first : first + step]), S)
    S = np.tril(S) / count
    return S + np.tril(S, -1).T


def _of_moments(S: NDArray[np.float64]) -> Spectrum:
    """Return the spectrum of second moments; of many features, that of the leading directions."""
    d = len(S)
    if d > _ALL_DIRECTIONS:
        rank = min(d - 1, _MOST_DIRECTIONS)
        values, vectors = _leading(S, rank)
        return Spectrum(values, vectors, max(float(np.trace(S) - values.sum()) / (d - rank), 0.0))
    values, vectors = np.linalg.eigh(S)
    least = _LEAST_EIGENVALUE * (np.diag(S) @ np.square(vectors))
    return Spectrum(np.maximum(values, least), vectors, 0.0)


def _leading(S: NDArray[np.float64], rank: int) -> tuple[Vector, NDArray[np.float64]]:
    """Return about the `rank` largest eigenvalues, ascending, and their eigenvectors (d, rank).

    By steps of a random subspace (Halko, Martinsson & Tropp 2011), in float32.
    """
    single = S.astype(np.float32)
    start = np.random.default_rng(0).standard_normal((len(S), rank)).astype(np.float32)
    basis = product(single, start)
    for _ in range(_SUBSPACE_STEPS):
        basis = product(single, np.linalg.qr(basis)[0])
    basis = np.linalg.qr(basis)[0]
    values, vectors = np.linalg.eigh((basis.T @ product(single, basis)).astype(np.float64))
    return np.maximum(values, 0.0), product(basis, vectors.astype(np.float32)).astype(np.float64)
