import numpy as np
import pytest

from fastlin import functional
from fastlin.config import Precision
from fastlin.data import Dataset, load_split
from fastlin.losses import Loss, losses_to_check
from fastlin.training import gradcheck
from fastlin.training.gradcheck import GradientCheck

NAMES = tuple("abcde")


@pytest.fixture(scope="module")
def images():
    return load_split().train


def check(images, **settings):
    return list(gradcheck.check_gradients(images, coordinates=8, quick=True, **settings))


def test_every_kernel_passes_on_any_seed(images):
    for seed in range(3):
        results = check(images, seed=seed)
        assert len(results) == gradcheck.check_count(quick=True)
        assert all(result.passed for result in results)
        assert {result.loss for result in results} == set(losses_to_check())
        assert {result.precision for result in results} == set(Precision)
        assert {result.problem for result in results} == {"random", "weighted", "images"}
        assert {result.kernel for result in results} == {"gradient", "step"}
        kinds = {(r.loss, r.precision, r.row_dtype, r.l2, r.problem, r.kernel) for r in results}
        assert len(kinds) == len(results)


@pytest.mark.parametrize("factor", [0.99, -1.0, 0.0, np.nan])
def test_a_wrong_gradient_fails(images, monkeypatch, factor):
    right = functional.loss_and_gradient

    def wrong(*arguments, **settings):
        cost, dW, db = right(*arguments, **settings)
        return cost, dW * factor, db

    monkeypatch.setattr(functional, "loss_and_gradient", wrong)
    for result in check(images):
        assert result.passed == (result.kernel == "step")


def test_a_wrong_step_fails(images, monkeypatch):
    right = functional.sgd_epoch

    def wrong(X, y, order, W, b, **settings):
        right(X, y, order, W, b, **{**settings, "l2": settings["l2"] / 2})

    monkeypatch.setattr(functional, "sgd_epoch", wrong)
    for result in check(images):
        assert result.passed == (result.kernel == "gradient" or result.l2 == 0)


def test_one_wrong_coordinate_of_b_fails(images, monkeypatch):
    right = functional.loss_and_gradient

    def wrong(*arguments, **settings):
        cost, dW, db = right(*arguments, **settings)
        db[-1] *= 1.01
        return cost, dW, db

    monkeypatch.setattr(functional, "loss_and_gradient", wrong)
    assert not any(r.passed for r in check(images) if r.kernel == "gradient")


def test_kinks_are_skipped_and_counted_and_too_many_of_them_fail():
    X = np.ones((4, 3))
    y = np.array([0, 1, 2, 3])
    W, b = np.zeros((5, 3)), np.zeros(5)
    W[0] = 1 / 3  # class 0 leads by exactly the margin: its terms for row 0 are kinks
    problem = gradcheck._Problem("kinks", X, y, W, b)
    chosen = np.arange(W.size)
    _, near = gradcheck._numerical_gradient(problem, chosen, Loss.HINGE, 0.0, 1e-12)
    assert near.all()  # every class meets class 0 in row 0
    _, near = gradcheck._numerical_gradient(problem, chosen, Loss.SOFTMAX, 0.0, 1e-12)
    assert not near.any()
    result = GradientCheck(
        Loss.HINGE, Precision.FLOAT64, "float64", 0.0, "kinks", "step", 0.0, 1e-6, 7, 13
    )
    assert not result.passed


def test_errors_are_relative_and_small_derivatives_have_a_least_denominator():
    numerical = np.array([1.0, 1e-9, -0.5])
    analytic = np.array([1.001, 2e-9, -0.5])
    assert np.allclose(gradcheck.relative_errors(analytic, numerical), [1e-3 / 1.001, 1e-7, 0])
    assert np.array_equal(gradcheck.relative_errors(np.zeros(2), np.zeros(2)), [0, 0])
    assert gradcheck.relative_errors(np.array([np.nan]), np.ones(1))[0] == np.inf


def test_float_images_are_refused(images):
    rows = Dataset(images.X[:9] / 255.0, images.y[:9], images.class_names)
    with pytest.raises(ValueError, match="uint8"):
        list(gradcheck.check_gradients(rows))
