"""Newton's steps of small problems: their second derivatives, and where they lead."""

import warnings

import numpy as np
import pytest
from solve_problems import (
    hessian_times,
    least_objective,
    objective_of,
    point_in,
    problem_with,
    random_rows,
)

import fastlin
from fastlin.losses import Softmax, SquaredHinge
from fastlin.solving import hessian, start_matrices
from fastlin.solving.curvature import Curvature
from fastlin.solving.hessian import Hessian
from fastlin.solving.start_matrices import start_matrix_of

LOSSES = [Softmax(), Softmax(smoothing=0.2), SquaredHinge(margin=1.5)]


def small_problem(loss=LOSSES[0], **settings):
    """Return one of 3 classes and 5 features."""
    return problem_with(loss, K=3, n=60, d=5, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fit_intercept": False},
        {"standardize": True},
        {"weights": np.random.default_rng(0).random(60) + 0.1},
    ],
    ids=["as they are", "without intercept", "standardised", "weighted"],
)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_step_is_the_one_after_which_differences_of_gradients_are_the_gradient(loss, settings):
    problem = small_problem(loss, **settings)
    point, gradient = point_in(problem), point_in(problem, 1)
    if "fit_intercept" in settings:
        point[:, -1] = gradient[:, -1] = 0
    of_all = Hessian(problem)
    of_all.refresh(point)
    step = of_all.divide(gradient, problem.l2)
    np.testing.assert_allclose(
        hessian_times(problem, point, step, 1e-6), gradient, atol=1e-5 * np.abs(gradient).max()
    )


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_without_an_intercept_biases_are_zero_to_the_last_bit(loss, seed):
    """Rounding of eigenvectors, which differs between processors, must not move them."""
    X, y = random_rows(seed, K=3, n=60, d=5 + seed)
    found = fastlin.solve(X, y, loss=loss, l2=1e-3, gap=1e-10, fit_intercept=False)
    assert found.model.b.tolist() == [0.0] * 3
    problem = small_problem(loss, fit_intercept=False)
    of_all, gradient = Hessian(problem), point_in(problem, seed)
    gradient[:, -1] = 0
    of_all.refresh(0 * gradient)
    assert of_all.divide(gradient, problem.l2)[:, -1].tolist() == [0.0] * 3


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_step_of_the_biases_is_one_of_the_biases_alone(loss):
    problem = small_problem(loss)
    point, gradient = point_in(problem), point_in(problem, 1)
    of_all = Hessian(problem)
    of_all.refresh(point)
    step = np.zeros(problem.shape)
    step[:, -1] = of_all.divide_biases(gradient[:, -1])
    found = hessian_times(problem, point, step, 1e-6)
    np.testing.assert_allclose(found[:, -1], gradient[:, -1], atol=1e-5)


def test_it_is_for_problems_in_which_it_takes_less_time_than_passes():
    assert isinstance(start_matrix_of(small_problem(), 1e-3), Hessian)
    many_parameters = problem_with(LOSSES[0], K=8, n=60, d=8)
    assert isinstance(start_matrix_of(many_parameters, 1e-3), Curvature)
    many_rows = problem_with(LOSSES[0], K=3, n=9000, d=5)
    assert isinstance(start_matrix_of(many_rows, 1e-3), Curvature)
    # Where rows are separated there is no optimum that Newton's steps come to.
    assert isinstance(start_matrix_of(small_problem(l2=0), 0.0), Curvature)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_optimum_is_that_of_scipy_and_the_bound_holds(loss, seed):
    rng = np.random.default_rng([4, seed])
    K = int(rng.integers(2, 6))
    X, y = random_rows(seed, K, int(rng.integers(20, 200)), 48 // K - 2, scaled=seed % 2 == 0)
    l2, intercept = 10 ** rng.uniform(-5, 0), seed % 3 != 0
    found = fastlin.solve(X, y, loss=loss, l2=l2, fit_intercept=intercept)
    own = objective_of(found.model, X, y, l2, loss)
    least = least_objective(X, y, K, l2, loss, fit_intercept=intercept)
    assert found.converged
    assert found.objective == pytest.approx(own, rel=1e-12)
    assert own - least <= found.gap + 1e-12 * own
    assert own - least <= 1e-6 * least


def test_it_takes_fewer_passes_than_kronecker_factors(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_iris(return_X_y=True)
    newton = fastlin.solve(X, y, C=1)
    monkeypatch.setattr(start_matrices, "_MOST_PARAMETERS", 0)
    kronecker = fastlin.solve(X, y, C=1)
    assert newton.converged
    assert newton.passes <= 10 < kronecker.passes
    assert newton.objective == pytest.approx(kronecker.objective, rel=2e-6)


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[2]], ids=str)
@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize("size", [1e6, 1e8, 1e-6])
def test_large_features_beside_a_small_penalty_leave_no_singular_matrix(loss, K, size):
    """The penalty is below the last digit of the curvature, also along equal features."""
    X, y = random_rows(2, K, 256, 6)
    X[:, 5] = X[:, 0]
    X[:, 4] *= 1e-3
    l2 = 1e-8 * min(size, 1.0) ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fastlin.solve(X.astype(np.float64) * size, y, loss=loss, l2=l2)
    least = least_objective(X, y, K, l2 / size**2, loss)
    assert found.converged
    assert found.passes <= 40
    assert found.objective == pytest.approx(least, rel=2e-6)


def test_certain_rows_leave_a_step():
    """Scores of 1e4 have probabilities of 0 and 1, and no curvature at all."""
    problem = small_problem()
    point = 1e4 * point_in(problem)
    of_all = Hessian(problem)
    of_all.refresh(point)
    assert np.isfinite(of_all.divide(problem.value(point).gradient, problem.l2)).all()
    X, y = random_rows(0, 3, 60, 5)
    far = fastlin.solve(X, y, l2=1e-6)
    found = fastlin.solve(1e3 * X, y, l2=1e-6, start=far.model)
    assert np.isfinite(found.objective)


@pytest.mark.parametrize("l2", [1e-2, 1e-3])
@pytest.mark.parametrize(("K", "shots", "d"), [(25, 1, 40), (10, 4, 64)])
def test_slow_fits_go_on_with_newton_steps(K, shots, d, l2, monkeypatch):
    """Few shots of a squared hinge: rows that are apart leave Kronecker factors far behind."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(K), shots)
    X = (rng.normal(size=(K, d))[y] + 0.7 * rng.normal(size=(len(y), d))).astype(np.float32)
    loss = SquaredHinge()
    found = fastlin.solve(X, y, loss=loss, l2=l2)
    assert found.converged
    assert found.objective - least_objective(X, y, K, l2, loss) <= found.gap
    monkeypatch.setattr(start_matrices, "_MOST_WORK_OF_SLOW", 0)
    assert fastlin.solve(X, y, loss=loss, l2=l2, max_passes=found.passes).gap > 100 * found.gap


def test_rows_that_are_nearly_separated_come_to_their_optimum():
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_breast_cancer(return_X_y=True)
    found = fastlin.solve(X, y, C=1e6, standardize=True)
    assert found.converged
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    least = least_objective(X, y, 2, found.l2)
    assert found.objective == pytest.approx(least, rel=2e-6)


def test_second_derivatives_do_not_depend_on_blocks_of_rows(monkeypatch):
    problem = small_problem()
    point = point_in(problem)
    found = []
    for size in (2**22, 1000):
        monkeypatch.setattr(hessian, "_VALUES_OF_BLOCK", size)
        of_all = Hessian(problem)
        of_all.refresh(point)
        found.append(of_all.divide(point, problem.l2))
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_what_eigenvectors_give_is_the_solution_where_there_is_one(monkeypatch):
    problem = small_problem()
    of_all, point = Hessian(problem), point_in(problem)
    of_all.refresh(point)
    solved = of_all.divide(point, problem.l2)
    monkeypatch.setattr(hessian, "_LEFT", -1.0)  # which no solution is good enough for
    np.testing.assert_allclose(of_all.divide(point, problem.l2), solved, rtol=1e-6)
