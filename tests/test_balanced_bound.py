"""The bound for which some rows balance the biases, against the dual objective in NumPy."""

import numpy as np
import pytest
from solve_problems import point_in, problem_with

import fastlin
from fastlin.data.stored import StoredRows
from fastlin.losses import Softmax, SquaredHinge
from fastlin.solving import curvature, sample
from fastlin.solving.problem import Value
from fastlin.solving.sample import Sample

K = 5
SETTINGS = {
    "as they are": {},
    "smoothed": {"loss": Softmax(smoothing=0.2)},
    "weighted": {"weights": np.random.default_rng(0).random(300) + 0.1},
}


def problem_of(loss=None, **settings):
    return problem_with(loss or Softmax(), K=K, **settings)


def near_optimum(problem, seed, of_weights=1e-6, of_biases=1e-3):
    """Return the value at a point near the optimum, with derivatives by the biases."""
    point = problem.point_of(
        fastlin.solve(
            problem.data, loss=problem.loss, l2=problem.l2, gap=1e-12, max_passes=500
        ).model
    )
    moved = point_in(problem, seed)
    moved[:, :-1] *= of_weights
    moved[:, -1] *= of_biases
    problem.value(np.zeros(problem.shape))
    return problem.value(point + moved)


def dual_objective(problem, probabilities):
    """Return the dual objective of rows' probabilities; -inf where they do not balance biases."""
    X, y = problem.features(np.arange(len(problem.data)), np.float64), problem.data.y
    smoothing, weights = problem.loss.smoothing, problem.weights
    weights = np.ones(len(y)) if weights is None else weights
    u = probabilities - (1 - smoothing) * np.eye(K)[y] - smoothing / K
    if np.abs((weights / len(y)) @ u).max() > 1e-15 or probabilities.min() < 0:
        return -np.inf
    entropies = (probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1)
    G = (u * (weights / len(y))[:, None]).T @ X
    return -(weights @ entropies) / len(y) - float(np.square(G).sum()) / (4 * problem.l2)


def balanced_probabilities(problem, value, rows):
    """Return those of a point, of which some rows take off what the biases want."""
    X = problem.features(np.arange(len(problem.data)), np.float64)
    scores = X @ value.point[:, :-1].T + value.point[:, -1]
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    n = len(p)
    weights = (np.ones(n) if problem.weights is None else problem.weights) / n
    A = np.einsum("ij,jk->ijk", p, np.eye(K)) - np.einsum("ij,ik->ijk", p, p)
    C = np.einsum("i,ijk->jk", weights[rows], A[rows])
    db = (weights @ p) - problem.class_shares
    v = np.linalg.lstsq(C, db, rcond=1e-12)[0]
    p[rows] -= A[rows] @ v
    return p


@pytest.mark.parametrize(("kept", "rows"), [(40, 40), (300, 300), (40, 100)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_not_below_the_gap_to_the_dual_objective_of_its_rows(
    monkeypatch, name, seed, kept, rows
):
    monkeypatch.setattr(sample, "_ROWS", kept)
    monkeypatch.setattr(sample, "_ROWS_OF_CLASS", 1)
    monkeypatch.setattr(sample, "_BALANCING_PART", rows / 300)
    monkeypatch.setattr(sample, "_PART_OF_PASS", 100)
    settings = {key: value for key, value in SETTINGS[name].items() if key == "loss"}
    problem = problem_of(**settings)
    problem.weights = SETTINGS[name].get("weights")
    if problem.weights is not None:
        problem.weights = problem.weights / problem.weights.mean()
        problem.class_shares = np.bincount(problem.data.y, problem.weights) / len(problem.data)
    value = near_optimum(problem, seed)
    found = Sample(problem).balanced_bound(value)
    chosen = np.linspace(0, 299, rows).astype(int)
    dual = dual_objective(problem, balanced_probabilities(problem, value, chosen))
    gap = value.cost - dual
    assert 0 < gap <= found * (1 + 1e-6)
    assert found < 3 * gap, "it is loose by the second term alone, of the second order"


@pytest.mark.parametrize("size", [1e-2, 1e-3])
def test_it_falls_with_the_square_of_what_biases_are_off(size):
    problem = problem_of()
    bounds = []
    for factor in (1.0, 0.1):
        value = near_optimum(problem, 1, of_weights=0, of_biases=size * factor)
        bounds.append((Sample(problem).balanced_bound(value), value.bound))
    (found, plain), (found_of_less, plain_of_less) = bounds
    assert found_of_less == pytest.approx(found / 100, rel=0.2)
    assert plain_of_less > plain / 30, "that of the problem is of the first order"
    assert found < 0.1 * plain


def test_where_rows_cannot_balance_there_is_none():
    problem = problem_of()
    value = near_optimum(problem, 0)
    assert np.isfinite(Sample(problem).balanced_bound(value))
    far = near_optimum(problem, 0, of_biases=10.0)
    assert Sample(problem).balanced_bound(far) == np.inf
    certain = Value(1e3 * value.point, value.cost, value.gradient, np.inf)
    assert Sample(problem).balanced_bound(certain) == np.inf
    for other in (
        problem_of(SquaredHinge()),
        problem_of(fit_intercept=False),
    ):
        of_other = other.value(point_in(other))
        assert Sample(other).balanced_bound(of_other) == np.inf


def test_a_part_of_many_rows_balances_what_those_that_are_kept_cannot(monkeypatch):
    problem = problem_of()
    value = near_optimum(problem, 0, of_weights=0, of_biases=1e-2)
    monkeypatch.setattr(sample, "_ROWS", 8)
    monkeypatch.setattr(sample, "_ROWS_OF_CLASS", 1)
    monkeypatch.setattr(sample, "_BALANCING_PART", 0.5)
    monkeypatch.setattr(sample, "_PART_OF_PASS", 100)
    found = Sample(problem).balanced_bound(value)
    monkeypatch.setattr(sample, "_BALANCING_PART", 0.0)
    assert Sample(problem).balanced_bound(value) > 10 * found
    assert found < value.bound


def test_fits_are_proved_in_fewer_passes(monkeypatch):
    """Without it they wait until the biases have no derivatives but rounding."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 30)) * np.geomspace(10, 0.1, 30)
    y = (X @ rng.normal(size=(30, K)) + 5 * rng.gumbel(size=(3000, K))).argmax(axis=1)
    X = X.astype(np.float32)
    found = fastlin.solve(X, y, l2=1e-4, gap=1e-8)
    monkeypatch.setattr(curvature.Curvature, "balanced_bound", lambda *_: np.inf)
    without = fastlin.solve(X, y, l2=1e-4, gap=1e-8)
    assert found.converged
    assert found.passes < without.passes
    assert found.objective == pytest.approx(without.objective, rel=2e-8)
    assert found.gap >= found.objective - without.objective


@pytest.mark.parametrize("loss", [Softmax(), SquaredHinge()], ids=str)
def test_several_gradients_are_divided_as_each_of_them(loss):
    problem = problem_of(loss)
    matrix = curvature.Curvature(problem, problem.l2)
    matrix.refresh(point_in(problem))
    both = np.stack([point_in(problem, 1), point_in(problem, 2)])
    found = matrix.divide(both, problem.l2)
    for gradient, step in zip(both, found, strict=True):
        expected = matrix.divide(gradient, problem.l2)
        np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("is_in_file", [False, True])
def test_rows_that_are_read_anew_tell_what_those_that_are_kept_do(
    monkeypatch, tmp_path, is_in_file
):
    problem = problem_of()
    value = near_optimum(problem, 0)
    W, c = value.point[:, :-1], value.point[:, -1]
    kept = Sample(problem)
    monkeypatch.setattr(sample, "_LEAST_ROWS", 1)
    monkeypatch.setattr(sample, "_VALUES_KEPT", 0)
    if is_in_file:
        np.save(tmp_path / "X.npy", problem.data.X)
        rows = StoredRows.of_mapped(np.load(tmp_path / "X.npy", mmap_mode="r"))
        object.__setattr__(problem.data, "X", rows)
    anew = Sample(problem)
    for of_block in (2**18, 70 * K):
        monkeypatch.setattr(sample, "_SCORES_OF_BLOCK", of_block)
        assert np.array_equal(kept.means(W, c), anew.means(W, c))
        assert kept.balanced_bound(value) == anew.balanced_bound(value)


def test_blocks_of_rows_are_small_where_classes_are_few(monkeypatch):
    """In one block, 80,000 rows of 768 features would take a gigabyte."""
    problem = problem_of()
    value, d = near_optimum(problem, 0), problem.shape[1] - 1
    for name, number in {
        "_LEAST_ROWS": 1, "_VALUES_KEPT": 0, "_VALUES_OF_BLOCK": 100 * d, "_ROWS_OF_CLASS": 60,
    }.items():  # fmt: skip
        monkeypatch.setattr(sample, name, number)
    found, counts = Sample(problem), []
    features = problem.features
    monkeypatch.setattr(
        problem, "features", lambda rows, dtype: counts.append(len(rows)) or features(rows, dtype)
    )
    found.means(value.point[:, :-1], value.point[:, -1])
    found.balanced_bound(value)
    assert max(counts) == 100
    assert sum(counts) == 3 * 300


def test_few_classes_are_balanced_by_the_rows_that_are_kept():
    problem = problem_of()
    found = Sample(problem)
    assert found._balancing_rows is found._rows


def test_many_classes_have_rows_for_each_and_take_fewer_passes(monkeypatch):
    rng = np.random.default_rng(0)
    many = 60
    centers = rng.normal(size=(many, 40))
    y = rng.integers(0, many, 6000)
    X = (centers[y] + rng.normal(size=(6000, 40))).astype(np.float32)
    monkeypatch.setattr(sample, "_ROWS", 4 * many)
    found = fastlin.solve(X, y, l2=1e-6, gap=1e-4)
    monkeypatch.setattr(sample, "_ROWS_OF_CLASS", 4)
    of_few = fastlin.solve(X, y, l2=1e-6, gap=1e-4)
    assert found.converged
    assert found.passes < 0.8 * of_few.passes
