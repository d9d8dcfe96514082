"""Numbers that go wrong in silence: long sums, features far from zero, rows left out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastlin import functional, reference
from fastlin.config import Loss, TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.data.rows import Rows
from fastlin.errors import InputError
from fastlin.history import EpochRecord, History
from fastlin.kernels import evaluate as evaluate_kernels
from fastlin.model import LinearModel
from fastlin.training.evaluation import evaluate, gradient
from fastlin.training.standardization import Standardization
from fastlin.training.trainer import Trainer, train

F32, F64 = np.float32, np.float64


# --- sums over many rows ------------------------------------------------------------------------


@pytest.mark.parametrize("centre", [0.0, 3.0])
def test_the_gradient_over_a_million_rows_is_that_of_float64(centre):
    rng = np.random.default_rng(0)
    n, d, K = 1_000_000, 8, 5
    X = rng.standard_normal((n, d), F32) + F32(centre)
    y = rng.integers(0, K, n)
    W, b = rng.standard_normal((K, d), F32), rng.standard_normal(K, F32)
    cost, dW, db = functional.loss_and_gradient(X, y, W, b)
    expected, exact_dW, exact_db = reference.loss_and_gradient(
        X.astype(F64), y, W.astype(F64), b.astype(F64), 0.0, Loss.SOFTMAX
    )
    assert cost == pytest.approx(expected, rel=1e-6)
    for found, exact in ((dW, exact_dW), (db, exact_db)):
        assert np.linalg.norm(found - exact) < 1e-6 * np.linalg.norm(exact)


def test_the_bias_of_one_large_batch_takes_the_step_of_float64():
    rng = np.random.default_rng(1)
    n, K = 400_000, 5
    X, y = np.zeros((n, 1), F32), rng.integers(0, K, n)
    W, b = np.zeros((K, 1), F32), rng.standard_normal(K, F32)
    _, _, db = reference.loss_and_gradient(
        X.astype(F64), y, W.astype(F64), b.astype(F64), 0.0, Loss.SOFTMAX
    )
    stepped = b.copy()
    functional.sgd_epoch(X, y, np.arange(n), W, stepped, lr=1.0, batch_size=n)
    assert_allclose(stepped, b - db, rtol=0, atol=5e-7)


# --- features far from zero, or nearly constant -------------------------------------------------


def far_rows(n=600, *, mean=1e9, dtype=F64, seed=0):
    """Rows whose first feature tells the class, around a mean far from zero."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    t = rng.normal(0, 17, n) + 20 * y
    return np.c_[t, rng.normal(size=(n, 3))].astype(dtype), y, np.array([mean, 0, 0, 0])


def split_of(X, y):
    names = tuple("abcde")  # five classes, as other tests have: their kernels do
    return Split("far", Dataset(X[:400], y[:400], names), Dataset(X[400:], y[400:], names))


@pytest.mark.parametrize("weight_dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("mean", "flip"), [(-1e6, False), (1e9, False), (1e12, False), (-1e6, True), (1e9, True)]
)
def test_a_feature_with_a_large_mean_trains_like_the_centred_one(mean, weight_dtype, flip):
    X, y, offset = far_rows(mean=mean)
    if flip:  # which puts a pixel where another one was
        offset[:] = mean
    X[:, 0] = np.round(X[:, 0], 3)  # exact beside the mean, but for 1e12
    config = TrainConfig(epochs=3, standardize=True, dtype=weight_dtype, lr=0.05, flip=flip)
    histories, models = [], []
    for rows in (X, X + offset):
        split = split_of(rows, y)
        if flip:
            parts = {
                name: Dataset(data.X, data.y, data.class_names, (1, 2, 2))
                for name, data in split.parts().items()
            }
            split = Split("far", **parts)
        result = train(split, config)
        histories.append(result.history)
        models.append(result.model)
        found = evaluate(result.model, split.val, config)
        assert found.accuracy == result.history.val_accuracy[-1]
        assert found.cost == result.history.val_cost[-1]
    near, far = histories
    tolerance = 1e-4 if weight_dtype == "float32" else 1e-6
    if mean == 1e12:  # beside which float64 holds three decimals
        tolerance = 1e-4
    assert_allclose(far.val_cost, near.val_cost, rtol=tolerance)
    assert_allclose(far.val_accuracy, near.val_accuracy, atol=0.01)
    if flip:
        return
    assert near.val_accuracy[-1] > 0.65
    assert_allclose(models[1].scores(X + offset), models[0].scores(X), atol=2e-3)
    assert (models[1].predict(X + offset) == models[0].predict(X)).mean() > 0.99


def test_the_gradient_of_a_model_with_an_offset_is_that_of_its_cost():
    X, y, offset = far_rows(mean=1e6)
    split = split_of(X + offset, y)
    config = TrainConfig(epochs=1, standardize=True, dtype="float64", l2=0.1)
    model = train(split, config).model
    assert model.feature_offset is not None
    dW = gradient(model, split.train, config)
    for k, j in [(0, 0), (1, 2)]:
        costs = []
        for step in (1e-6, -1e-6):
            W = model.W.copy()
            W[k, j] += step
            moved = type(model)(
                W, model.b, model.class_names, None, model.feature_std, model.feature_offset
            )
            costs.append(evaluate(moved, split.train, config).cost)
        assert dW[k, j] == pytest.approx((costs[0] - costs[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("row_dtype", [F32, F64, np.uint8])
def test_an_offset_means_the_same_for_rows_of_every_dtype(row_dtype, random_problem):
    X, y, W, b = random_problem(40, 7, 5, row_dtype, F64)
    offset = np.linspace(-0.3, 0.4, 7)  # of which float32 holds the nearest
    features = X / 255 if row_dtype == np.uint8 else X.astype(F64)
    atol = 1e-6 if row_dtype == F32 else 1e-12  # it is subtracted in the rows' dtype
    expected = reference.scores(features - offset, W, b)
    assert_allclose(functional.scores(X, W, b, offset=offset), expected, atol=atol)
    found = functional.evaluate(X, y, W, b, offset=offset)
    losses, predictions = reference.evaluate(features - offset, y, W, b, Loss.SOFTMAX)
    assert_allclose(found.losses, losses, atol=atol)
    assert (found.predictions == predictions).all()
    cost, dW, db = functional.loss_and_gradient(X, y, W, b, l2=0.1, offset=offset)
    exact = reference.loss_and_gradient(features - offset, y, W, b, 0.1, Loss.SOFTMAX)
    for value, expected_value in zip((cost, dW, db), exact, strict=True):
        assert_allclose(value, expected_value, atol=atol)


@pytest.mark.parametrize("offset", [np.zeros(3), np.full(7, np.nan), np.zeros((7, 1))])
def test_an_offset_that_does_not_fit_is_refused(offset, random_problem):
    X, _, W, b = random_problem(9, 7, 5)
    with pytest.raises(InputError, match="offset has shape"):
        functional.scores(X, W, b, offset=offset)


def test_float32_rows_without_digits_left_are_named():
    X, y, offset = far_rows()
    rows = (X + offset).astype(F32)
    split = split_of(rows, y)
    (note,) = Standardization(split.train.X).notes
    assert note.startswith("feature 0 has few digits")
    assert "\n" not in note
    assert Trainer(split, TrainConfig(standardize=True)).notes == (note,)
    assert Standardization(X + offset).notes == ()
    assert Trainer(split_of(rows, y), TrainConfig(standardize=False)).notes == ()


@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_nearly_dead_feature_decides_no_row_and_is_named(dtype):
    X, y, _ = far_rows()
    X[:, 2] = 0
    X[3, 2] = 2e-7  # all but dead: a standard deviation of 1e-8
    config = TrainConfig(epochs=3, standardize=True, lr=0.05)
    with pytest.warns(UserWarning, match="feature 2 is taken as constant"):
        result = train(split_of(X.astype(dtype), y), config)
    alive = X.copy()
    alive[:, 2] = 0.5  # it fires in new rows
    assert (result.model.predict(alive.astype(dtype)) == result.model.predict(X)).mean() > 0.97
    (note,) = Standardization(X.astype(dtype)).notes
    assert note.startswith("feature 2 is taken as constant")


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-155, 1e-30, 1e30, 1e155, 1e300])
def test_the_deviation_of_features_whose_squares_float64_cannot_hold(scale):
    rows = np.random.default_rng(4).normal(size=(70_000, 3))
    X = rows * scale
    mean, std = functional.feature_moments(X)
    unit = X / scale  # what is left of the rows: subnormal numbers have few digits
    assert_allclose(mean / scale, unit.mean(axis=0), rtol=1e-3, atol=1e-3)
    assert_allclose(std / scale, unit.std(axis=0), rtol=1e-3 if scale < 1e-300 else 1e-10)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float32", 1e-30), ("float32", 1e30), ("float64", 1e-200), ("float64", 1e200)],
)
def test_features_too_small_or_large_to_be_standardised_are_refused_by_number(dtype, scale):
    X, y, _ = far_rows(dtype=F64 if dtype == "float64" else F32)
    X[:, 1:] *= X.dtype.type(scale)
    split = Split("far", Dataset(X, y, tuple("01234")))
    with pytest.raises(InputError, match=r"feature 1 has the standard deviation .*multiply"):
        Trainer(split, TrainConfig(standardize=True, dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e-17), ("float32", 1e16), ("float64", 1e-150)]
)
def test_features_of_any_scale_within_the_limits_are_standardised_alike(dtype, scale):
    X, y, _ = far_rows(dtype=F64 if dtype == "float64" else F32)
    config = TrainConfig(epochs=3, standardize=True, dtype=dtype, lr=0.05)
    accuracies = [
        train(Split("far", Dataset(rows, y, tuple("01234"))), config)
        .history.records()[-1]
        .train_accuracy
        for rows in (X, (X * X.dtype.type(scale)))
    ]
    assert accuracies[0] > 0.7
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)


def test_constant_features_and_features_of_one_small_scale_are_standardised_quietly():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6)) * 1e-9
    X[:, 4] = 0.1
    found = Standardization(X)
    assert found.notes == ()
    assert_allclose(found.std[[0, 1, 2, 3, 5]], X[:, [0, 1, 2, 3, 5]].std(axis=0))
    assert found.std[4] == 1
    assert Standardization(np.full((5, 3), 7, np.uint8)).offset is None


# --- what was not computed ----------------------------------------------------------------------


def nothing(*_):
    """Stand in for a kernel whose threads end before they write anything."""


def test_rows_that_no_thread_evaluated_are_refused(monkeypatch, random_problem):
    X, y, W, b = random_problem(9, 6, 5)
    monkeypatch.setattr(evaluate_kernels, "evaluate_rows", nothing)
    monkeypatch.setattr(evaluate_kernels, "score_rows", nothing)
    with pytest.raises(RuntimeError, match="left out"):
        functional.evaluate(X, y, W, b)
    with pytest.raises(InputError, match="not a finite"):
        functional.scores(X, W, b)


def test_scores_beyond_their_dtype_are_refused():
    X, W = np.full((3, 2), 1e30, F32), np.full((5, 2), 1e30, F32)
    with pytest.raises(InputError, match="the score of row 0 for class 0"):
        functional.scores(X, W, np.zeros(5, F32))


def test_moments_beyond_float64_are_refused():
    X = np.array([[1.0, 1e308], [2.0, 1e308]])
    with pytest.raises(InputError, match="the sum of feature 1"):
        functional.feature_moments(X)


# --- the best epoch -----------------------------------------------------------------------------


def test_the_best_model_is_the_best_by_the_measure_that_is_asked_for():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(600, 10)), rng.integers(0, 2, 600)
    split = split_of(X, y)
    config = TrainConfig(epochs=12, lr=1.0, schedule="constant", batch_size=8)
    costs = train(split, config).history
    by_accuracy, by_cost = costs.best_by("val_accuracy"), costs.best_by("val_cost")
    assert by_accuracy == costs.best_epoch != by_cost
    for select, epoch in (("val_accuracy", by_accuracy), ("val_cost", by_cost)):
        trainer = Trainer(split, config, select=select)
        for _ in range(12):
            trainer.run_epoch()
        result = trainer.result()
        assert result.best_epoch == epoch
        found = evaluate(result.best_model, split.val, config)
        assert found.cost == result.history.val_cost[epoch - 1]


def test_epochs_that_were_not_evaluated_are_never_the_best():
    nan = float("nan")
    rows = [(nan, nan), (0.5, 2.0), (0.7, 3.0), (0.7, 1.0), (nan, nan)]
    history = History.from_records(
        [EpochRecord(e, 0.1, 1.0, 0.5, c, a) for e, (a, c) in enumerate(rows, start=1)]
    )
    assert history.best_epoch == 3
    assert history.best_by("val_cost") == 4


# --- masked values ------------------------------------------------------------------------------


FEW_ROWS, FEW_LABELS = np.eye(6, 3, dtype=F32) + 1, np.arange(6) % 2
MASKED_ROWS = np.ma.array(FEW_ROWS, mask=np.arange(18).reshape(6, 3) == 7)
MASKED_LABELS = np.ma.array(FEW_LABELS, mask=np.arange(6) >= 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"X": MASKED_ROWS}, "X_train has 1 masked value, the first in row 2, column 1;"),
        ({"y": MASKED_LABELS}, "y_train has 2 masked values, the first in place 4;"),
        ({"weights": MASKED_LABELS}, "weights has 2 masked values"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_masked_values_are_refused_as_their_mask_would_be_lost(given, said):
    with pytest.raises(InputError, match=said):
        Split.from_arrays(**{"X": FEW_ROWS, "y": FEW_LABELS, **given})


def test_masked_rows_are_not_predicted():
    model = train(Split.from_arrays(FEW_ROWS, FEW_LABELS), epochs=1).model
    with pytest.raises(InputError, match="X has 1 masked value"):
        model.predict(MASKED_ROWS)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Split.from_arrays(np.ma.masked, FEW_LABELS), "X_train has 1 masked value;"),
        (lambda: Rows("few", MASKED_ROWS), "few: X has 1 masked value, the first in row 2, column"),
        (lambda: LinearModel(MASKED_ROWS[2:4], np.zeros(2, F32), ("a", "b")), "W has 1 masked"),
        (lambda: functional.evaluate(
            FEW_ROWS, FEW_LABELS, np.zeros((2, 3), F32), np.zeros(2, F32), offset=MASKED_ROWS[2]
        ), "offset has 1 masked value, the first in place 1"),
    ],
    ids=["a single one", "rows without labels", "weights", "offset"],
)  # fmt: skip
def test_masked_values_are_refused_wherever_arrays_are_given(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_an_array_of_records_with_a_mask_is_refused_in_one_line():
    records = np.ma.zeros(3, dtype=[("a", F32), ("b", F32)])
    records.mask = [(True, False)] * 3
    with pytest.raises(InputError, match=r"X has shape \(3,\)|X_train"):
        Split.from_arrays(records, [0, 1, 0])


def test_an_array_that_masks_nothing_is_taken():
    X, y = np.ma.array(FEW_ROWS), np.ma.array(FEW_LABELS)
    assert np.array_equal(Split.from_arrays(X, y).train.X, FEW_ROWS)
