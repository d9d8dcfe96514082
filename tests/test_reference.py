import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special
from sklearn.metrics import log_loss

from fastlin import reference
from fastlin.losses import LOSSES, Loss

# The worked example of the CS231n notes on linear classification: one row, its weights, its bias.
ROW = np.array([[-15.0, 22.0, -44.0, 56.0]])
WEIGHTS = np.array([[0.01, -0.05, 0.1, 0.05], [0.7, 0.2, 0.05, 0.16], [0.0, -0.45, -0.2, 0.03]])
BIASES = np.array([0.0, 0.2, -0.3])


@pytest.fixture
def scores():
    return np.random.default_rng(1).normal(0, 3, (40, 7))


@pytest.fixture
def labels():
    return np.random.default_rng(2).integers(0, 7, 40)


def test_the_textbook_row_has_the_textbook_scores_and_losses():
    scores = reference.scores(ROW, WEIGHTS, BIASES)
    assert_allclose(scores, [[-2.85, 0.86, 0.28]], atol=1e-12)
    hinge, _ = reference.multiclass_hinge(scores, np.array([2]))
    softmax, _ = reference.softmax_cross_entropy(scores, np.array([2]))
    assert_allclose(hinge, [1.58], atol=1e-12)
    assert_allclose(softmax, [1.04], atol=0.005)


@pytest.mark.parametrize(
    ("scores", "label", "margin", "loss", "dscores"),
    [
        ([13.0, -7.0, 11.0], 0, 10.0, 8.0, [-1, 0, 1]),
        ([3.2, 5.1, -1.7], 0, 1.0, 2.9, [-1, 1, 0]),
        ([1.3, 4.9, 2.0], 1, 1.0, 0.0, [0, 0, 0]),
        ([2.2, 2.5, -3.1], 2, 1.0, 12.9, [1, 1, -2]),
        ([2.2, 2.5, -3.1], 2, 0.0, 10.9, [1, 1, -2]),
    ],
)
def test_hinge_by_hand(scores, label, margin, loss, dscores):
    losses, gradient = reference.multiclass_hinge(np.array([scores]), np.array([label]), margin)
    assert_allclose(losses, [loss], atol=1e-12)
    assert_array_equal(gradient, [dscores])


def test_softmax_agrees_with_scipy(scores):
    assert_allclose(reference.softmax(scores), special.softmax(scores, axis=1), rtol=1e-13)


def test_cross_entropy_agrees_with_scipy_and_scikit_learn(scores, labels):
    losses, dscores = reference.softmax_cross_entropy(scores, labels)
    rows = np.arange(40)
    assert_allclose(losses, -special.log_softmax(scores, axis=1)[rows, labels], rtol=1e-12)
    assert_allclose(
        losses, special.logsumexp(scores, axis=1) - scores[rows, labels], rtol=1e-11, atol=1e-13
    )
    probabilities = special.softmax(scores, axis=1)
    assert_allclose(losses.mean(), log_loss(labels, probabilities, labels=range(7)), rtol=1e-12)
    assert_allclose(dscores, probabilities - np.eye(7)[labels], atol=1e-15)


@pytest.mark.parametrize("K", [2, 3, 10])
def test_equal_scores_lose_log_K_and_every_margin(K):
    scores, labels = np.full((K, K), 2.5), np.arange(K)
    assert_allclose(reference.softmax_cross_entropy(scores, labels)[0], np.log(K), rtol=1e-14)
    assert_allclose(reference.multiclass_hinge(scores, labels)[0], K - 1, rtol=1e-14)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_the_gradient_of_a_row_sums_to_zero(loss, scores, labels):
    _, dscores = reference.row_losses(scores, labels, loss)
    assert_allclose(dscores.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_the_gradient_is_that_of_central_differences(loss, scale, random_problem):
    X, y, W, b = random_problem(12, 5, 4)
    X /= scale
    _, dW, db = reference.loss_and_gradient(X, y, W, b, 0.1, loss, scale)
    for array, gradient in ((W, dW), (b, db)):
        numeric = np.empty_like(array)
        for index in np.ndindex(array.shape):
            before, costs = array[index], []
            for step in (1e-6, -1e-6):
                array[index] = before + step
                costs.append(reference.loss_and_gradient(X, y, W, b, 0.1, loss, scale)[0])
            array[index] = before
            numeric[index] = (costs[0] - costs[1]) / 2e-6
        assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
@pytest.mark.parametrize(("batch_size", "l2"), [(8, 0.1), (7, 0.0), (30, 0.1), (99, 0.1)])
@pytest.mark.parametrize("row_dtype", [np.uint8, np.float64])
def test_an_epoch_is_gradient_steps_on_the_cost_of_each_batch(
    loss, batch_size, l2, row_dtype, random_problem
):
    X, y, W, b = random_problem(30, 6, 4, row_dtype)
    scale = 1 / 255 if row_dtype == np.uint8 else 1.0
    order = np.random.default_rng(3).permutation(30)
    expected_W, expected_b, met = W.copy(), b.copy(), []
    for start in range(0, 30, batch_size):
        rows = order[start : start + batch_size]
        weights = expected_W, expected_b
        cost, dW, db = reference.loss_and_gradient(X[rows], y[rows], *weights, l2, loss, scale)
        met += [cost - reference.penalty(expected_W, l2)] * len(rows)
        expected_W, expected_b = expected_W - 0.2 * dW, expected_b - 0.2 * db
    mean_loss = reference.sgd_epoch(X, y, order, W, b, 0.2, l2, batch_size, loss, scale)
    assert_allclose(mean_loss, np.mean(met), rtol=1e-12)
    assert_allclose(W, expected_W, rtol=1e-12, atol=1e-14)
    assert_allclose(b, expected_b, rtol=1e-12, atol=1e-14)


def test_evaluate_predicts_the_first_of_equal_scores():
    losses, predictions = reference.evaluate(
        np.ones((3, 2)), np.array([0, 1, 2]), np.zeros((4, 2)), np.array([0, 2.0, 2.0, 1.0]),
        Loss.HINGE,
    )  # fmt: skip
    assert_array_equal(predictions, 1)
    assert_allclose(losses, [3 + 3 + 2, 1, 1])


def test_the_penalty_of_float32_weights_is_summed_in_float64():
    W = np.full((2, 50_000), 1.1, np.float32)
    assert_allclose(reference.penalty(W, 0.5), 0.5 * 1e5 * float(np.float32(1.1)) ** 2, rtol=1e-12)
