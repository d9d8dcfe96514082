import copy

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import confusion_matrix

from fastlin import functional, passes
from fastlin.data.stored import StoredRows
from fastlin.errors import InputError
from fastlin.losses import LOSSES, Loss
from fastlin.threads import current_count, default_count

U8, F32, F64 = np.uint8, np.float32, np.float64
CASES = settings(max_examples=60)


@st.composite
def scored_rows(draw):
    """Scores up to ±1e4 in either dtype, with labels."""
    n, K = draw(st.integers(1, 20)), draw(st.integers(2, 12))
    dtype, width = draw(st.sampled_from([(F32, 32), (F64, 64)]))
    scores = draw(arrays(dtype, (n, K), elements=st.floats(-1e4, 1e4, width=width)))
    return scores, draw(arrays(np.int64, n, elements=st.integers(0, K - 1)))


def both_losses(scores, y):
    return functional.cross_entropy(scores, y), functional.multiclass_hinge(scores, y)


@CASES
@given(scored_rows())
def test_probabilities_are_positive_and_sum_to_one(rows):
    probabilities = functional.softmax(rows[0])
    assert probabilities.dtype == rows[0].dtype
    assert (probabilities >= 0).all()
    eps = np.finfo(probabilities.dtype).eps
    assert_allclose(probabilities.sum(axis=1), 1, rtol=2 * rows[0].shape[1] * eps)


@CASES
@given(scored_rows(), st.floats(-1e4, 1e4))
def test_probabilities_do_not_change_when_scores_are_shifted(rows, shift):
    scores = rows[0]
    shifted = functional.softmax(scores + scores.dtype.type(shift))
    rounding = 4e4 * np.finfo(scores.dtype).eps  # of scores + shift, itself up to 2e4
    assert_allclose(shifted, functional.softmax(scores), atol=rounding)


@CASES
@given(scored_rows())
def test_losses_are_finite_and_not_negative_and_gradient_rows_sum_to_zero(rows):
    scores, y = rows
    for losses, dscores in both_losses(scores, y):
        assert np.isfinite(losses).all()
        assert (losses >= 0).all()
        eps = np.finfo(scores.dtype).eps
        assert_allclose(dscores.sum(axis=1), 0, atol=2 * scores.shape[1] * eps)


@CASES
@given(scored_rows(), st.randoms(use_true_random=False))
def test_renaming_the_classes_renames_the_results(rows, random):
    scores, y = rows
    K = scores.shape[1]
    names = np.array(random.sample(range(K), K))  # the class that was names[k] is now k
    renamed = both_losses(scores[:, names], np.argsort(names)[y])
    eps = np.finfo(scores.dtype).eps
    for (losses, dscores), (new_losses, new_dscores) in zip(
        both_losses(scores, y), renamed, strict=True
    ):
        assert_allclose(new_losses, losses, rtol=2 * K * eps, atol=2 * K * eps)
        assert_allclose(new_dscores, dscores[:, names], atol=2 * K * eps)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_huge_scores_give_the_losses_that_arithmetic_gives(dtype):
    scores = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    y = np.array([1, 0, 1])
    third, half = 1 / 3, 1 / 2
    losses, dscores = functional.cross_entropy(scores, y)
    assert_allclose(losses, [2e4, np.log(3), np.log(2)], rtol=1e-6)
    expected = [[1, -1, 0], [-2 * third, third, third], [half, -half, 0]]
    assert_allclose(dscores, expected, atol=1e-7)
    losses, dscores = functional.multiclass_hinge(scores, y)
    assert_allclose(losses, [2e4 + 1 + 1e4 + 1, 2, 1], rtol=1e-7)
    assert_array_equal(dscores, [[1, -2, 1], [-2, 1, 1], [1, -1, 0]])


def test_a_term_exactly_at_zero_is_no_violation():
    losses, dscores = functional.multiclass_hinge(np.array([[2.0, 1.0, 1.0]]), np.array([0]))
    assert_array_equal(losses, [0])
    assert_array_equal(dscores, [[0, 0, 0]])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_a_row_given_twice_counts_twice_in_the_mean(loss, random_problem):
    X, y, W, b = random_problem(53, 17, 5, *((U8, F32) if loss == Loss.SOFTMAX else (F64, F64)))
    single = functional.loss_and_gradient(X, y, W, b, loss=loss, l2=0.1)
    repeated = functional.loss_and_gradient(
        np.repeat(X, 3, axis=0), np.repeat(y, 3), W, b, loss=loss, l2=0.1
    )
    eps = np.finfo(W.dtype).eps
    for once, thrice in zip(single, repeated, strict=True):
        assert_allclose(thrice, once, rtol=50 * eps, atol=50 * eps)


def test_equal_scores_predict_the_first_class(random_problem):
    X, y, W, b = random_problem(131, 17, 5, F64, F64)
    assert_array_equal(functional.evaluate(X, y, 0 * W, 0 * b).predictions, 0)
    evaluation = functional.evaluate(X, y, 0 * W, np.array([0, 1.0, 3, 3, 2]))
    assert_array_equal(evaluation.predictions, 2)
    assert evaluation.accuracy == (y == 2).mean()


def test_arguments_of_any_layout_and_integer_type_do(random_problem):
    X, y, W, b = random_problem(53, 17, 5)
    expected = functional.evaluate(X, y, W, b).losses
    wide = np.zeros((53, 40))
    wide[:, 3:37:2] = X
    for rows, labels, weights in (
        (np.asfortranarray(X), y.astype(U8), W),
        (wide[:, 3:37:2], y.astype(np.uint64), np.asfortranarray(W)),
        (X[::-1][::-1], y.tolist(), W.tolist()),
    ):
        assert_array_equal(functional.evaluate(rows, labels, weights, b).losses, expected)


def test_rows_that_cannot_be_written_can_be_trained_on(random_problem):
    X, y, W, b = random_problem(23, 3, 2, U8, F32)
    X.flags.writeable = False
    expected = W.copy(), b.copy()
    functional.sgd_epoch(X.copy(), y, np.arange(23), *expected, lr=0.1, batch_size=5)
    functional.sgd_epoch(X, y, np.arange(23), W, b, lr=0.1, batch_size=5)
    assert_array_equal(W, expected[0])


@CASES
@given(st.integers(2, 8), st.data())
def test_confusion_counts_agree_with_scikit_learn(K, data):
    labels = st.lists(st.integers(0, K - 1), min_size=30, max_size=30).map(np.array)
    y, predictions = data.draw(labels), data.draw(labels)
    expected = confusion_matrix(y, predictions, labels=range(K))
    assert_array_equal(functional.confusion_counts(y, predictions, K), expected)


# --- threads ------------------------------------------------------------------------------------

two_threads = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")


@two_threads
@pytest.mark.parametrize(("n", "d", "K"), [(1000, 17, 5), (5000, 3, 10)])
def test_the_number_of_threads_does_not_change_a_bit(n, d, K, random_problem):
    results = []
    X, y, W, b = random_problem(n, d, K, U8, F32)
    for count in (1, 2):
        with functional.use_threads(count):
            cost, dW, db = functional.loss_and_gradient(X, y, W, b, l2=0.1)
            evaluation = functional.evaluate(X, y, W, b)
            scores = functional.scores(X, W, b)
        results.append((cost, dW, db, evaluation.losses, evaluation.predictions, scores))
    for one, two in zip(*results, strict=True):
        assert_array_equal(one, two, strict=True)


@two_threads
def test_the_number_of_threads_is_given_back_even_after_an_error():
    before = current_count()
    other = 1 if before > 1 else 2
    with functional.use_threads(other) as count:
        assert count == current_count() == other
    assert current_count() == before
    with pytest.raises(KeyError), functional.use_threads(other):
        raise KeyError
    assert current_count() == before
    with functional.use_threads(1), functional.use_threads(None) as count:
        assert count == default_count()
    assert current_count() == before


@pytest.mark.parametrize("count", [0, -1, numba.config.NUMBA_NUM_THREADS + 1])
def test_a_number_of_threads_that_cannot_be_had_is_refused(count):
    before = current_count()
    with pytest.raises(InputError, match=f"threads is {count}"), functional.use_threads(count):
        pass
    assert current_count() == before


# --- input that is refused ----------------------------------------------------------------------


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


BAD_PROBLEMS = {
    "X of one dimension": ("X", lambda X: X[0], "X has shape"),
    "X without rows": ("X", lambda X: X[:0], "X has shape"),
    "X without features": ("X", lambda X: X[:, :0], "X has shape"),
    "X of integers": ("X", lambda X: X.astype(np.int64), "X has dtype int64"),
    "X of int16": ("X", lambda X: X.astype(np.int16), "X has dtype int16"),
    "X of the other byte order": ("X", lambda X: X.astype(X.dtype.newbyteorder()), "X has dtype"),
    "X with NaN": (
        "X",
        lambda X: changed(X, (2, 1), np.nan),
        "X has the value nan in row 2, column 1;",
    ),
    "X with inf": (
        "X",
        lambda X: changed(X, (2, 1), np.inf),
        "X has the value inf in row 2, column 1;",
    ),
    "X of lists of two lengths": ("X", lambda _: [[1.0], [1.0, 2.0]], "X is no array of numbers"),
    "W of one dimension": ("W", lambda W: W[0], "W has shape"),
    "W of one class": ("W", lambda W: W[:1], "W has shape"),
    "W of other features": ("W", lambda W: W[:, 1:].copy(), r"W has shape.*6 features"),
    "W of float16": ("W", lambda W: W.astype(np.float16), "W has dtype float16"),
    "W of integers": ("W", lambda W: W.astype(np.int32), "W has dtype int32"),
    "W with NaN": (
        "W",
        lambda W: changed(W, (0, 0), np.nan),
        "W has the value nan in row 0, column 0;",
    ),
    "b of another length": ("b", lambda b: b[1:], "b is float64"),
    "b of two dimensions": ("b", lambda b: b[None], "b is float64"),
    "b of another dtype": ("b", lambda b: b.astype(F32), "b is float32.*must be float64"),
    "b with inf": ("b", lambda b: changed(b, 0, -np.inf), "b has the value -inf in place 0;"),
}
BAD_LABELS = {
    "y too short": ("y", lambda y: y[1:], "y has shape"),
    "y of two dimensions": ("y", lambda y: y[:, None], "y has shape"),
    "y of floats": ("y", lambda y: y.astype(F64), "y has dtype float64"),
    "y of time spans": ("y", lambda y: y.astype("m8[D]"), r"y has dtype timedelta64\[D\]; labels"),
    "y of bools": ("y", lambda y: y > 1, "y has dtype bool"),
    "y below 0": ("y", lambda y: changed(y, 3, -1), "label -1 in row 3 is outside 0 to 3"),
    "y too large": ("y", lambda y: changed(y, 3, 4), "label 4 in row 3 is outside 0 to 3"),
    "y of 2**64 - 1": ("y", lambda y: changed(y.astype(np.uint64), 3, 2**64 - 1), "label 18446"),
}
BAD_PENALTIES = {
    f"l2 {value}": ("l2", lambda _, value=value: value, f"l2 is {value}")
    for value in (-0.1, np.nan, np.inf, None)
} | {
    "l2 of 400 digits": ("l2", lambda _: 10**400, "l2 is 10*…0*; it must be a number from 0"),
    "l2 of 5000 digits": ("l2", lambda _: 10**5000, "l2 is a value of type int; it must be"),
}
BAD_STEPS = {
    "W read-only": ("W", read_only, "W is updated in place"),
    "W by columns": ("W", np.asfortranarray, "W is updated in place"),
    "W a list": ("W", np.ndarray.tolist, "W is updated in place"),
    "b read-only": ("b", read_only, "b is updated in place"),
    "b strided": ("b", lambda b: np.repeat(b, 2)[::2], "b is updated in place"),
    "lr negative": ("lr", lambda _: -0.1, "lr is -0.1"),
    "lr NaN": ("lr", lambda _: np.nan, "lr is nan"),
    "lr inf": ("lr", lambda _: np.inf, "lr is inf"),
    "batch_size 0": ("batch_size", lambda _: 0, "batch_size is 0"),
    "batch_size negative": ("batch_size", lambda _: -1, "batch_size is -1"),
    "order empty": ("order", lambda order: order[:0], "order must be"),
    "order of two dimensions": ("order", lambda order: order[None], "order must be"),
    "order of floats": ("order", lambda order: order.astype(F64), "order must be"),
    "order below 0": ("order", lambda order: changed(order, 0, -1), "order has a row number"),
    "order too large": ("order", lambda order: changed(order, 0, 9), "outside 0 to 8"),
}


def check_refusal(function, case, arguments):
    name, change, message = case
    arguments[name] = change(arguments[name])
    before = copy.deepcopy(arguments)
    with pytest.raises(InputError, match=message) as error:
        function(**arguments)
    assert "\n" not in str(error.value)
    for key, value in arguments.items():
        if isinstance(value, np.ndarray):
            assert_array_equal(value, before[key])


def cases(*tables):
    return [pytest.param(case, id=name) for table in tables for name, case in table.items()]


@pytest.mark.parametrize("case", cases(BAD_PROBLEMS))
def test_scores_refuse(case, random_problem):
    X, _, W, b = random_problem(9, 6, 4)
    check_refusal(functional.scores, case, {"X": X, "W": W, "b": b})


@pytest.mark.parametrize("function", [functional.evaluate, functional.loss_and_gradient])
@pytest.mark.parametrize("case", cases(BAD_PROBLEMS, BAD_LABELS, BAD_PENALTIES))
def test_evaluation_and_gradient_refuse(function, case, random_problem):
    arguments = dict(zip(("X", "y", "W", "b"), random_problem(9, 6, 4), strict=True))
    check_refusal(function, case, {**arguments, "l2": 0.0})


@pytest.mark.parametrize("case", cases(BAD_PROBLEMS, BAD_LABELS, BAD_PENALTIES, BAD_STEPS))
def test_an_epoch_refuses(case, random_problem):
    arguments = dict(zip(("X", "y", "W", "b"), random_problem(9, 6, 4), strict=True))
    arguments |= {"order": np.arange(9), "lr": 0.1, "batch_size": 4, "l2": 0.0}
    check_refusal(functional.sgd_epoch, case, arguments)


BAD_SCORES = {
    "of one dimension": ("scores", lambda scores: scores[0], "scores have shape"),
    "without rows": ("scores", lambda scores: scores[:0], "scores have shape"),
    "of one class": ("scores", lambda scores: scores[:, :1], "scores have shape"),
    "of integers": ("scores", lambda scores: scores.astype(int), "scores have dtype int64"),
    "with NaN": (
        "scores",
        lambda scores: changed(scores, (1, 1), np.nan),
        "the value nan in row 1, column 1;",
    ),
}


@pytest.mark.parametrize("case", cases(BAD_SCORES))
def test_softmax_refuses_scores(case):
    check_refusal(functional.softmax, case, {"scores": np.zeros((9, 4))})


@pytest.mark.parametrize("function", [functional.cross_entropy, functional.multiclass_hinge])
@pytest.mark.parametrize("case", cases(BAD_SCORES, BAD_LABELS))
def test_losses_refuse(function, case):
    check_refusal(function, case, {"scores": np.zeros((9, 4)), "y": np.arange(9) % 4})


def test_what_float32_cannot_hold_is_refused_with_float32_weights(random_problem):
    X, y, W, b = random_problem(9, 6, 5)
    X[7, 5] = -1e39
    arguments = {"X": X, "y": y, "W": W, "b": b, "l2": 1e39}
    assert np.isfinite(functional.loss_and_gradient(**arguments)[0])
    steps = {"order": np.arange(9), "batch_size": 4}
    functional.sgd_epoch(**arguments | {"W": 0 * W, "lr": 1e-80, "l2": 0}, **steps)
    arguments |= {"W": W.astype(F32), "b": b.astype(F32)}
    value = r"X has the value -1e\+39 in row 7, column 5; float32 .*: compute with dtype float64"
    for function in (functional.evaluate, functional.loss_and_gradient):
        with pytest.raises(InputError, match=value):
            function(**arguments)
    with pytest.raises(InputError, match=value):
        functional.scores(X, arguments["W"], arguments["b"])
    arguments["X"] = np.zeros((9, 6))
    for function, more in (
        (functional.loss_and_gradient, {}),
        (functional.sgd_epoch, {**steps, "lr": 0.1}),
        (functional.sgd_epoch, {**steps, "l2": 0.1, "lr": 1e39}),
    ):
        with pytest.raises(InputError, match=r"(l2|lr) is 1e\+39; it must be .* float32 holds"):
            function(**arguments | more)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_scores_beyond_float32_have_no_finite_cost(loss):
    X, b = np.full((5, 2), 3e38, F32), np.zeros(3, F32)
    for W in ([[9, 0], [9, 0], [0, 0]], [[9, -9], [0, 0], [0, 0]], [[-9, 0]] * 3):
        cost = functional.evaluate(X, np.arange(5) % 3, np.array(W, F32), b, loss=loss).cost
        assert not np.isfinite(cost)


@pytest.mark.parametrize("margin", [-1, np.nan, np.inf])
def test_hinge_refuses_a_margin(margin):
    case = ("margin", lambda _: margin, f"margin is {margin}")
    arguments = {"scores": np.zeros((9, 4)), "y": np.arange(9) % 4, "margin": 1.0}
    check_refusal(functional.multiclass_hinge, case, arguments)


@pytest.mark.parametrize("scores", [np.array(3.0), 3.0, None, []])
def test_softmax_refuses_what_is_no_array_of_scores(scores):
    with pytest.raises(InputError, match="scores have"):
        functional.softmax(scores)


@two_threads
@pytest.mark.parametrize("K", [2, 300, 1500])
@pytest.mark.parametrize("is_stored", [False, True])
def test_every_call_of_a_pass_has_work_for_all_threads(K, is_stored, tmp_path, monkeypatch):
    calls = []
    run = passes.threads.run

    def counted(kernel, members, pieces, *arguments):
        first, last, chunk_rows = arguments[4:7]
        calls.append((members, -(-(last - first) // chunk_rows)))
        run(kernel, members, pieces, *arguments)

    monkeypatch.setattr(passes.threads, "run", counted)
    monkeypatch.setattr(passes.threads, "MOST_WORK_OF_A_CALL", 1000)
    chunk = passes.gradients.rows_of_chunk(10**6, K)
    monkeypatch.setattr(passes.gradients, "rows_of_chunk", lambda _rows, _K: chunk)
    n = 3 * chunk
    X = np.zeros((2 * n, 640), F32)
    if is_stored:
        np.save(tmp_path / "X.npy", X)
        X = StoredRows.of_mapped(np.load(tmp_path / "X.npy", mmap_mode="r"))
    with functional.use_threads(2):
        [_] = passes.shard_sums(
            X, np.zeros(2 * n, np.int64), np.zeros((1, K, 640), F32), np.zeros((1, K), F32),
            [(0, 2 * n)],
            loss=LOSSES["softmax"], reading=passes.AS_THEY_ARE, weights=None,
        )  # fmt: skip
    assert sum(chunks for _, chunks in calls) == 6
    assert all(members == 2 for members, _ in calls)
    assert all(chunks >= 2 for _, chunks in calls[:-1])
