"""What the steps of exact fits know of the curvature, against finite differences of the loss."""

import numpy as np
import pytest
from solve_problems import hessian_times, point_in, problem_with, random_rows

import fastlin
from fastlin import passes, reference
from fastlin.kernels import gradients
from fastlin.losses import Softmax, SquaredHinge
from fastlin.solving import curvature, sample, scaling
from fastlin.solving.config import FitConfig
from fastlin.solving.curvature import Curvature
from fastlin.solving.derivatives import second_derivatives
from fastlin.solving.solver import problem_of
from fastlin.threads import available

LOSSES = [Softmax(), Softmax(smoothing=0.2), SquaredHinge(margin=1.5)]
K = 5


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_second_derivatives_of_scores_are_differences_of_the_first(loss):
    rng = np.random.default_rng(1)
    scores, y, weights = rng.normal(size=(40, K)), rng.integers(0, K, 40), rng.random(40)
    a, left, right = second_derivatives(loss, scores, y, weights)
    eye = np.eye(K)
    for k in range(K):

        def slopes(step, k=k):
            W, b = eye, np.zeros(K)  # scores are features of their own
            found = [
                reference.loss_and_gradient(row[None], label[None], W, b, 0.0, loss)[2]
                for row, label in zip(scores + step * eye[k], y, strict=True)
            ]
            return np.array(found)

        numeric = (slopes(1e-6) - slopes(-1e-6)) / 2e-6 * weights[:, None]
        crossed = (left * right[:, k : k + 1] + right * left[:, k : k + 1]) / 2
        np.testing.assert_allclose(a * eye[k] - crossed, numeric, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_means_of_second_derivatives_take_factors_of_both_sides(loss):
    rng = np.random.default_rng(2)
    scores, y, weights = rng.normal(size=(30, K)), rng.integers(0, K, 30), rng.random(30)
    derivatives = second_derivatives(loss, scores, y, weights)
    a, left, right = derivatives
    f, g = rng.normal(size=(2, 30, K))
    expected = sum(
        (np.diag(a[i]) - (np.outer(left[i], right[i]) + np.outer(right[i], left[i])) / 2)
        * np.outer(f[i], g[i])
        for i in range(30)
    )
    np.testing.assert_allclose(derivatives.mean(f, g), expected, atol=1e-12)
    np.testing.assert_allclose(derivatives.mean().sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[2]], ids=str)
def test_along_rows_of_the_weights_and_biases_the_curvature_is_that_of_the_objective(
    loss, fit_intercept
):
    """V^T H0 V is V^T H V, of all rows, and a little of V^T P V, P without the correction."""
    problem = problem_with(loss, fit_intercept=fit_intercept)
    point = point_in(problem)
    directions = [np.zeros(problem.shape) for _ in range(2 * K)]
    for k in range(K):
        directions[k][k, :-1] = point[k, :-1]
        directions[K + k][k, -1] = 1
    if not fit_intercept:
        point[:, -1] = 0
        directions = directions[:K]
    directions = [v - v.mean(axis=0) for v in directions]
    matrix = Curvature(problem, problem.l2)
    matrix.refresh(point)
    corrected = along(matrix, problem, directions)
    matrix._scaling = None
    plain = along(matrix, problem, directions)
    of_objective = np.array(
        [[(v * hessian_times(problem, point, w)).sum() for w in directions] for v in directions]
    )
    expected = of_objective + scaling._LEAST_SHARE * plain
    np.testing.assert_allclose(corrected, expected, atol=1e-3 * np.abs(expected).max())
    assert np.abs(plain - expected).max() > 0.1 * np.abs(expected).max()


def along(matrix, problem, directions):
    """Return V^T H0 V of a start matrix, of which `divide` applies the inverse."""
    size = problem.shape[0] * problem.shape[1]
    columns = []
    for place in range(size):
        basis = np.zeros(size)
        basis[place] = 1
        gradient = basis.reshape(problem.shape)
        gradient = gradient - gradient.mean(axis=0)
        if not problem.fit_intercept:
            gradient[:, -1] = 0
        step = matrix.divide(gradient, problem.l2)
        columns.append((step - step.mean(axis=0)).ravel())
    V = np.array([v.ravel() for v in directions])
    return V @ np.linalg.pinv(np.array(columns), rcond=1e-9) @ V.T


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_start_matrix_is_symmetric_and_positive(loss):
    problem = problem_with(loss)
    matrix = Curvature(problem, problem.l2)
    for seed, scale in enumerate([0.0, 1e-3, 1.0, 50.0]):
        matrix.refresh(scale * point_in(problem, seed))
        one, other = point_in(problem, 10 + seed), point_in(problem, 20 + seed)
        forth = float((one * matrix.divide(other, problem.l2)).sum())
        back = float((other * matrix.divide(one, problem.l2)).sum())
        assert forth == pytest.approx(back, rel=1e-5), "to the rounding of float32 eigenvectors"
        assert float((one * matrix.divide(one, problem.l2)).sum()) > 0


def test_it_saves_passes_where_classes_are_told_apart_well(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 30)) * np.geomspace(10, 0.1, 30)
    scores = X @ rng.normal(size=(30, K))
    y = (7 * scores / scores.std() + rng.gumbel(size=scores.shape)).argmax(axis=1)
    X = X.astype(np.float32)
    passes_with = fastlin.solve(X, y, l2=1e-4).passes

    class Nothing:
        def __init__(self, *_, **__):
            pass

        def correct(self, gradient, step):
            pass

    monkeypatch.setattr(curvature, "Scaling", Nothing)
    assert passes_with < 0.75 * fastlin.solve(X, y, l2=1e-4).passes


def test_a_class_without_rows_that_smoothing_gives_a_share_has_a_bound():
    X, y = random_rows(5, K - 1, 200, 6)
    split = fastlin.Split.from_arrays(X, y, class_names=[*"abcde"])
    loss = Softmax(smoothing=0.1)
    found = fastlin.solve(split, l2=1e-2, loss=loss)
    assert found.converged
    least = fastlin.solve(split, l2=1e-2, loss=loss, gap=1e-12)
    problem = problem_of(split.train, FitConfig(loss=loss, l2=1e-2))
    problem.value(np.zeros(problem.shape))
    for seed in range(20):
        point = problem.point_of(least.model) + 10.0 ** -(seed % 7) * point_in(problem, seed)
        value = problem.value(point)
        assert value.cost - (least.objective - least.gap) <= value.bound * (1 + 1e-9) + 1e-12
        assert np.isfinite(value.bound) or value.weight_bound > value.cost
    assert np.isfinite(value.bound)


def test_full_passes_do_not_depend_on_threads_or_on_how_chunks_wait(monkeypatch):
    X, y = random_rows(9, K, 9000, 12)
    W, b = np.random.default_rng(0).normal(size=(K, 12)).astype(np.float32), np.zeros(K, np.float32)

    def found(threads):
        with fastlin.functional.use_threads(threads):
            return passes.unchecked_mean_loss(X, y, W, b, loss=Softmax())

    expected = found(1)
    for chunks, threads in [(1, 1), (1, 2), (7, 2)]:
        monkeypatch.setattr(gradients, "_CHUNKS_OF_MEMBER", chunks)
        for one, other in zip(found(min(threads, available())), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_derivatives_by_biases_that_are_rounding_do_not_raise_the_bound():
    problem = problem_with(LOSSES[0])
    first = problem.value(np.zeros(problem.shape)).gradient[:, :-1]
    point = point_in(problem)
    slopes = first + 2 * problem.l2 * point[:, :-1]
    plain = float(np.square(slopes).sum()) / (4 * problem.l2)
    for db in (np.full(K, 4e-25), np.full(K, -4e-25), np.zeros(K)):
        assert problem._bound(point, 1.0, first, db, first) == plain
    moved = problem._bound(point, 1.0, first, np.array([1.0, -1, 0, 0, 0]) * 1e-6, first)
    assert np.isfinite(moved)
    assert moved != plain


def test_rows_whose_penalty_outweighs_all_curvature_need_no_second_moments(monkeypatch):
    """Their start matrix has no directions; the fit takes no more passes than with them."""
    X, y = random_rows(1, K, 60, 90)
    C = 1 / (2 * 60 * 20 * np.linalg.norm(X - X.mean(axis=0), 2) ** 2 / 60 / K)
    split = fastlin.Split.from_arrays(X, y)
    flat = Curvature(problem_of(split.train, FitConfig(C=C)), 1 / (2 * 60 * C))
    assert flat._spectrum.vectors.shape == (90, 0)
    quick = fastlin.solve(X, y, C=C, gap=1e-9)
    monkeypatch.setattr(curvature, "_MOST_PENALISED", 0.0)
    whole = Curvature(problem_of(split.train, FitConfig(C=C)), 1 / (2 * 60 * C))
    assert whole._spectrum.vectors.shape[1] > 0
    slow = fastlin.solve(X, y, C=C, gap=1e-9)
    assert quick.converged
    assert quick.passes <= slow.passes + 2
    assert quick.objective == pytest.approx(slow.objective, rel=1e-9)


def test_means_of_second_derivatives_do_not_depend_on_blocks_of_rows(monkeypatch):
    problem = problem_with(LOSSES[0])
    matrix, point = Curvature(problem, problem.l2), point_in(problem)
    W, c = point[:, :-1], point[:, -1]
    whole = matrix.sample.means(W, c)
    monkeypatch.setattr(sample, "_SCORES_OF_BLOCK", 70 * K)
    for one, other in zip(matrix.sample.means(W, c), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [K, 2 * K])
def test_a_matrix_is_inverted_by_its_blocks(size):
    root = np.random.default_rng(0).normal(size=(size, size))
    matrix = root @ root.T + np.eye(size)
    inverse = matrix.copy()
    scaling._invert(inverse, K)
    np.testing.assert_allclose(inverse @ matrix, np.eye(size), atol=1e-11)
    np.testing.assert_array_equal(inverse, inverse.T)


def test_a_correction_that_has_no_inverse_is_left_out(monkeypatch):
    nothing = np.zeros((K, K))
    with pytest.raises(np.linalg.LinAlgError):
        scaling._difference_of_inverses(np.zeros((2 * K, 2 * K)), [nothing, nothing])

    def singular(*_, **__):
        raise np.linalg.LinAlgError

    problem = problem_with(LOSSES[0])
    monkeypatch.setattr(curvature, "Scaling", singular)
    start = Curvature(problem, problem.l2)
    start.refresh(point_in(problem))
    assert np.isfinite(start.divide(point_in(problem, 1), problem.l2)).all()


@pytest.mark.parametrize(("m", "d"), [(40, 100), (100, 400), (512, 600)])
def test_moments_of_few_rows_are_drawn_to_the_identity_as_ledoit_and_wolf_have_it(m, d):
    X, y = random_rows(0, K, 2 * m, d)
    X = (X * np.geomspace(1, 0.1, d)).astype(np.float32)
    problem = problem_of(fastlin.Split.from_arrays(X, y).train, FitConfig(l2=1e-6))
    found = curvature._of_few_rows(problem, m, 1e-8)
    rows = problem.features(problem.evenly_spaced(m), np.float64)
    covariance = pytest.importorskip("sklearn.covariance")
    expected, share = covariance.ledoit_wolf(rows, assume_centered=True)
    assert 0.01 < share < 1
    values, Q = found.values, found.vectors
    S = (Q * (values - found.rest)) @ Q.T + found.rest * np.eye(d)
    np.testing.assert_allclose(S, expected, atol=1e-5 * np.abs(expected).max())
    of_directions = np.linalg.eigvalsh(expected)
    assert found.directions(0.1) == pytest.approx(
        (of_directions / (of_directions + 0.1)).sum(), 1e-4
    )
    of_all = curvature._of_few_rows(problem, 2 * m, 1e-8)  # nothing is left to guess
    assert of_all.rest == 0
