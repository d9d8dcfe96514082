"""What a stored value is multiplied by, where the user says so; and standardised gradients."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal

import fastlin
from fastlin import functional, matching, reference
from fastlin.commands import main
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import InputError, MatchWarning
from fastlin.losses import Loss
from fastlin.training.evaluation import evaluate
from fastlin.training.trainer import Trainer

F32, F64 = np.float32, np.float64


def pixels(n=120, d=37, K=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    X = np.clip(100 + 30 * np.cos(y[:, None] * np.arange(d)) + rng.normal(0, 40, (n, d)), 0, 255)
    return X.astype(np.uint8), y


def trained(X, y, scale=None, **settings):
    split = Split.from_arrays(
        X, y, X_val=X[:40], y_val=y[:40], scale=scale, class_names=tuple("01234")
    )  # fmt: skip
    trainer = Trainer(split, TrainConfig(epochs=2, batch_size=16, **settings))
    trainer.run_epoch()
    trainer.run_epoch()
    return split, trainer.result()


@pytest.mark.parametrize(
    ("dtypes", "scales", "standardize"),
    [
        ((np.uint8, F64), (1.0, 1.0), False),  # counts, which are no pixels
        ((np.uint8, F64), (1.0, 1.0), True),
        ((np.uint8, F32), (None, 1 / 255), False),  # pixels that were stored as floats
        ((F64, np.float16), (0.1, 0.1), False),
    ],
)
def test_rows_of_one_scale_train_alike_whatever_their_dtype(dtypes, scales, standardize):
    X, y = pixels()
    settings = {"standardize": standardize, "lr": 1e-4 if scales[0] == 1 else 0.05}
    (_, one), (_, other) = (
        trained(X.astype(dtype), y, scale, dtype="float64", **settings)
        for dtype, scale in zip(dtypes, scales, strict=True)
    )
    assert_allclose(one.model.W, other.model.W, rtol=1e-9, atol=1e-12)
    assert_allclose(one.history.val_cost, other.history.val_cost, rtol=1e-9)


def test_a_scaled_run_equals_its_twin():
    X, y = pixels()
    W, b = np.full((5, 37), 1e-4), np.zeros(5)
    found = functional.sgd_epoch(
        X, y, np.arange(120), W, b, lr=1e-3, batch_size=16, l2=0.1, scale=0.25
    )
    own_W, own_b = np.full((5, 37), 1e-4), np.zeros(5)
    expected = reference.sgd_epoch(
        X * 0.25, y, np.arange(120), own_W, own_b, 1e-3, 0.1, 16, Loss.SOFTMAX
    )
    assert found == pytest.approx(expected, rel=1e-12)
    assert_allclose(W, own_W, atol=1e-13)


def test_features_with_large_means_and_a_scale_train_like_the_centred_ones():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    centred = rng.normal(size=(200, 5)) + y[:, None]
    X = 1e6 + 8 * np.round(16 * centred)  # exact in float32
    _, result = trained(X.astype(F32), y, 1 / 128, standardize=True)
    _, expected = trained((X - 1e6) / 128, y, standardize=True)
    assert_allclose(result.history.val_cost, expected.history.val_cost, rtol=1e-4)
    accuracy = result.model.score(X.astype(F32), y.astype(str))
    assert accuracy == expected.model.score((X - 1e6) / 128, y.astype(str)) > 0.8


def test_a_model_keeps_the_scale_and_predicts_with_it(tmp_path):
    X, y = pixels()
    split, result = trained(X, y, 1, lr=1e-4)
    model = result.model
    assert model.scale == 1.0
    model.save(tmp_path / "m.npz")
    loaded = fastlin.LinearModel.load(tmp_path / "m.npz")
    assert loaded.scale == 1.0
    expected = X.astype(F64) @ model.W.T.astype(F64) + model.b
    assert_allclose(loaded.scores(X), expected, rtol=1e-4, atol=1e-4)
    assert evaluate(model, split.val, result.config).accuracy == model.score(
        split.val.X, split.val.y.astype(str)
    )
    _, plain = trained(X, y)
    assert plain.model.scale is None
    assert "scale" not in plain.model.to_arrays()


def test_other_data_take_the_scale_of_the_model_and_this_is_said():
    X, y = pixels()
    split, result = trained(X, y, 1, lr=1e-4)
    others = Dataset(X, y, split.train.class_names)
    assert others.scale is None
    assert others.feature_scale == 1 / 255
    found, notes = matching.match(result.model, others)
    assert found.feature_scale == 1
    assert notes == ["stored values are multiplied by 1, as in training"]
    with pytest.warns(MatchWarning, match="multiplied by 1"):
        assert (
            evaluate(result.model, others, result.config).cost
            == evaluate(result.model, split.train, result.config).cost
        )
    assert matching.match(result.model, split.train) == (split.train, [])


def test_the_fingerprint_has_the_scale_and_parts_share_it():
    X, y = pixels()
    plain, ones, explicit = (Split.from_arrays(X, y, scale=s) for s in (None, 1, 1 / 255))
    assert plain.fingerprint() == explicit.fingerprint() != ones.fingerprint()
    with pytest.raises(InputError, match="validation rows have scale 1"):
        Split("s", plain.train, ones.train)
    changed = plain.train.changed(scale=1)
    assert changed.feature_range.highest == 255 * plain.train.feature_range.highest
    assert changed.X is plain.train.X


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf, "255", 1e-30, True])
def test_a_scale_that_is_none_is_refused(scale):
    X, y = pixels()
    with pytest.raises(InputError, match=r"scale is .*must be a number from 1e-15"):
        Split.from_arrays(X, y, scale=scale)
    with pytest.raises(InputError, match="scale is"):
        functional.feature_moments(X, scale=scale)


@pytest.mark.parametrize("row_dtype", [np.uint8, np.float16, F32, F64])
@pytest.mark.parametrize("centre", [0, 1000])
def test_the_standardised_gradient_is_that_of_standardised_rows(row_dtype, centre):
    rng = np.random.default_rng(0)
    X, y = pixels()
    X = X if row_dtype == np.uint8 else (X.astype(F64) + centre).astype(row_dtype)
    W, b = rng.normal(size=(5, 37)) / 6, rng.normal(size=5)
    weights = rng.random(120)
    mean, std = functional.feature_moments(X)
    arguments = {"offset": mean, "std": std}
    found = functional.loss_and_gradient(X, y, W, b, l2=0.1, weights=weights, **arguments)
    scale = 1 / 255 if row_dtype == np.uint8 else 1.0
    rows = (X.astype(F64) * scale - mean) / std
    expected = reference.loss_and_gradient(
        rows, y, W, b, 0.1, Loss.SOFTMAX, weights=weights / weights.mean()
    )
    # The mean is subtracted in the dtype of the rows, float16 in float32: rows of scale 1000 and
    # spread 40 keep five digits behind the point.
    tolerance = 1e-6 if row_dtype in (np.float16, F32) else 1e-10
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    assert_allclose(
        functional.scores(X, W, b, **arguments), reference.scores(rows, W, b), atol=10 * tolerance
    )
    evaluation = functional.evaluate(X, y, W, b, l2=0.1, weights=weights, **arguments)
    assert evaluation.cost == pytest.approx(expected[0], rel=tolerance)
    assert_array_equal(evaluation.predictions, reference.scores(rows, W, b).argmax(axis=1))


def test_commands_take_the_scale_and_the_run_keeps_it(tmp_path):
    X, y = pixels()
    data, out = str(tmp_path / "d.npz"), str(tmp_path / "run")
    np.savez(data, X_train=X, y_train=y, X_val=X[:40], y_val=y[:40])
    words = ["train", "--data", data, "--scale", "1/16", "--epochs", "1", "--no-figures"]
    found = CliRunner().invoke(main, [*words, "--out", out])
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["scale"] == 1 / 16
    assert fastlin.load_split(data, scale=1 / 16).train.feature_scale == 1 / 16
    run = fastlin.load_run(out)
    assert run.model.scale == 1 / 16
    for more in ([], ["--data", data]):  # the run's own, and others of which no scale is said
        found = CliRunner().invoke(main, ["evaluate", out, *more])
        assert found.exit_code == 0, found.output
        assert f"{run.history.val_accuracy[-1]:.2%}" in found.output
        assert "changed" not in found.output
    for text in ("0", "-1", "nan", "1/0", "pixels"):
        found = CliRunner().invoke(main, [*words[:4], text])
        assert found.exit_code == 2, found.output
        assert "scale" in found.output
