"""Rows in half precision, and rows that cannot be written: trained as they are, without a copy."""

import tracemalloc
from dataclasses import replace

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastlin import functional, reference
from fastlin.config import TrainConfig
from fastlin.data.checks import ROW_DTYPES, check_values
from fastlin.data.dataset import Dataset, Split
from fastlin.data.features import FeatureRange
from fastlin.errors import InputError
from fastlin.kernels import jit
from fastlin.losses import Loss
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer

F32, F64 = np.float32, np.float64


@pytest.fixture(params=["float16", "bfloat16"])
def half(request):
    if request.param == "float16":
        return np.dtype(np.float16)
    return np.dtype(pytest.importorskip("ml_dtypes", reason="bfloat16 is its dtype").bfloat16)


def halves_and_floats(half, n, d, *, K=5, centre=0.0, seed=0):
    """Return rows in half precision, the same numbers in float32, and labels."""
    rng = np.random.default_rng([seed, n, d])
    y = rng.integers(0, K, n)
    X = (rng.normal(size=(n, d)) + 0.5 * np.cos(y[:, None] + np.arange(d)) + centre).astype(half)
    X[0, 0] = 0
    return X, X.astype(F32), y


def result_of_kernels(X, y, K, dtype, weights):
    """Return all that checked functions compute of rows."""
    rng = np.random.default_rng(1)
    W, b = (rng.normal(size=(K, X.shape[1])) / 9).astype(dtype), np.zeros(K, dtype)
    std, offset = 1 + rng.random(X.shape[1]), rng.random(X.shape[1])
    order = rng.permutation(len(X))
    found = [functional.scores(X, W, b), *functional.feature_moments(X)]
    evaluation = functional.evaluate(X, y, W, b, l2=0.1)
    found += [evaluation.cost, evaluation.losses, evaluation.predictions]
    found += functional.loss_and_gradient(X, y, W, b, l2=0.1, weights=weights)
    found += functional.loss_and_gradient(X, y, W, b, l2=0.1, offset=offset, std=std)
    found.append(functional.sgd_epoch(X, y, order, W, b, lr=0.1, batch_size=24, l2=0.01))
    return [*found, W, b]


@pytest.mark.parametrize(("dtype", "K", "d"), [(F32, 5, 37), (F64, 10, 3), (F64, 49, 100)])
def test_halves_have_the_bits_of_the_same_numbers_in_float32(half, dtype, K, d):
    X, floats, y = halves_and_floats(half, 77, d, K=K)
    y %= K
    of_rows = np.arange(77) % 3
    ours = result_of_kernels(X, y, K, dtype, of_rows)
    for found, expected in zip(ours, result_of_kernels(floats, y, K, dtype, of_rows), strict=True):
        assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize(("standardize", "centre"), [(False, 0.0), (True, 200.0)])
def test_runs_and_grids_of_halves_have_the_bits_of_float32(half, standardize, centre):
    X, floats, y = halves_and_floats(half, 150, 37, centre=centre)
    splits = [Split.from_arrays(rows, y, X_val=rows[:40], y_val=y[:40]) for rows in (X, floats)]
    configs = [
        TrainConfig(epochs=2, lr=lr, batch_size=size, standardize=standardize)
        for lr, size in ((0.02, 16), (0.1, 16), (0.1, 50))
    ]
    trainers = [GridTrainer(split, configs) for split in splits]
    for trainer in trainers:
        for _ in range(2):
            trainer.run_epoch(range(3))
    for e in range(3):
        ours, theirs = (trainer.model(e) for trainer in trainers)
        assert ours.W.tobytes() == theirs.W.tobytes()
        assert ours.b.tobytes() == theirs.b.tobytes()
        records = [trainer.records(e) for trainer in trainers]
        assert records[0] == records[1]
    single = Trainer(splits[0], configs[2])
    single.run_epoch()
    single.run_epoch()
    assert single.result().model.W.tobytes() == trainers[1].model(2).W.tobytes()
    assert splits[0].train.X.dtype == half


def test_a_mapped_file_is_trained_where_it_lies(tmp_path):
    X, _, y = halves_and_floats(np.dtype(np.float16), 99, 21)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    split = Split.from_arrays(mapped, y)
    assert np.shares_memory(split.train.X, mapped)
    models = []
    for data in (split, Split.from_arrays(X, y)):
        trainer = Trainer(data, TrainConfig(epochs=1, batch_size=10, standardize=True))
        trainer.run_epoch()
        models.append(trainer.result().model)
    assert models[0].W.tobytes() == models[1].W.tobytes()
    assert split.fingerprint() == Split.from_arrays(X, y).fingerprint()
    assert_array_equal(mapped, X)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_rows_that_cannot_be_written_share_compiled_kernels(dtype):
    X, y = np.arange(60).reshape(12, 5).astype(dtype), np.arange(12) % 5

    def everything():
        W, b = np.zeros((5, 5), F32), np.zeros(5, F32)
        functional.sgd_epoch(X, y, np.arange(12), W, b, lr=0.01, batch_size=4)
        functional.evaluate(X, y, W, b)
        functional.scores(X, W, b)
        functional.loss_and_gradient(X, y, W, b)
        functional.feature_moments(X)
        return W.tobytes(), [len(kernel.signatures) for kernel in jit.entry_points()]

    expected = everything()
    compiled = jit.compiled_count()
    X.flags.writeable = y.flags.writeable = False
    assert everything() == expected
    assert jit.compiled_count() == compiled


def test_the_first_value_that_is_not_finite_is_named_in_any_block(half):
    X = np.zeros((70_000, 3), half)
    X[1, 2] = -3.5
    assert check_values("X", X) == 3.5
    for value in (np.nan, np.inf, -np.inf):
        spoiled = X.copy()
        spoiled[69_998, 1] = value
        spoiled[69_999, 0] = value
        with pytest.raises(InputError, match=f"X has the value {value} in row 69998, column 1"):
            check_values("X", spoiled)
    assert check_values("y", X[:, 2]) == 3.5
    assert check_values("X", np.full((2, 2), 65504.0, np.float16)) == 65504


def test_halves_are_rows_and_are_checked_without_a_copy(half):
    assert half in ROW_DTYPES
    X = np.ones((400_000, 8), half)
    y = np.arange(len(X)) % 2
    tracemalloc.start()
    data = Dataset(X, y, ("a", "b"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.shares_memory(data.X, X)
    assert peak < X.nbytes / 4
    floats = replace(data, X=X.astype(F32))
    assert data.feature_range == floats.feature_range
    assert FeatureRange.of(X[:9], 1.0).highest == 1


def test_half_rows_without_digits_left_are_named():
    rng = np.random.default_rng(0)
    X = (100 + rng.normal(0, 0.1, (200, 3))).astype(np.float16)
    split = Split.from_arrays(X, np.arange(200) % 2)
    notes = Trainer(split, TrainConfig(standardize=True)).notes
    assert "float16 numbers are" in notes[0]


def test_a_loss_of_half_rows_equals_its_twin():
    X, floats, y = halves_and_floats(np.dtype(np.float16), 53, 17)
    W, b = np.full((5, 17), 0.02), np.linspace(0, 1, 5)
    expected = reference.loss_and_gradient(floats, y, W, b, 0.1, Loss.SOFTMAX)
    for found, twin in zip(functional.loss_and_gradient(X, y, W, b, l2=0.1), expected, strict=True):
        np.testing.assert_allclose(found, twin, rtol=1e-12, atol=1e-13)
