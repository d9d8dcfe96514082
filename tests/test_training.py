from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin import reference
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import DivergedError, InputError
from fastlin.functional import use_threads
from fastlin.history import EpochRecord, History
from fastlin.losses import LOSSES
from fastlin.threads import current_count
from fastlin.training.evaluation import evaluate, gradient
from fastlin.training.order import epoch_order
from fastlin.training.state import initial_weights
from fastlin.training.trainer import Trainer, train


def problem(n=97, d=37, K=5, *, row_dtype=np.uint8, val=True, seed=0):
    rng = np.random.default_rng(seed)
    names = tuple(f"class {k}" for k in range(K))
    centres = rng.uniform(60, 190, (K, d))

    def part(rows):
        y = rng.integers(0, K, rows)
        X = np.clip(centres[y] + rng.normal(0, 40, (rows, d)), 0, 255)
        return Dataset((X if row_dtype == np.uint8 else X / 255).astype(row_dtype), y, names)

    return Split("blobs", part(n), part(31) if val else None, part(29))


def reference_run(split, config):
    """The same run in NumPy and float64: the weights after every epoch, and both costs."""
    data, scale = split.train, split.train.feature_scale
    W, b = (array.astype(np.float64) for array in initial_weights(config, 5, data.X.shape[1]))
    epochs = []
    for epoch in range(1, config.epochs + 1):
        lr = config.lr_at(epoch)
        order = epoch_order(config, len(data), epoch)
        reference.sgd_epoch(
            data.X, data.y, order, W, b, lr, config.l2, config.batch_size, config.loss, scale
        )
        figures = [lr]
        for part in (split.train, split.val):
            losses, predictions = reference.evaluate(part.X, part.y, W, b, config.loss, scale)
            figures += [
                losses.mean() + reference.penalty(W, config.l2),
                (predictions == part.y).mean(),
            ]
        epochs.append((W.copy(), b.copy(), figures))
    return epochs


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_every_epoch_equals_a_numpy_run(loss):
    split = problem()
    config = TrainConfig(
        loss=loss, lr=0.05, lr_decay=0.8, l2=0.01, batch_size=16, epochs=5, dtype="float64"
    )
    trainer = Trainer(split, config)
    for epoch, (W, b, figures) in enumerate(reference_run(split, config), start=1):
        record = trainer.run_epoch()
        model = trainer.result().model
        assert record.epoch == epoch
        np.testing.assert_allclose(record[1:], figures, rtol=1e-11)
        np.testing.assert_allclose(model.W, W, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.b, b, rtol=1e-9, atol=1e-12)


def test_float32_follows_the_float64_run_to_its_precision():
    split = problem()
    config = TrainConfig(lr=0.05, l2=0.01, batch_size=16, epochs=5)
    result = train(split, config)
    W, b, figures = reference_run(split, config)[-1]
    assert result.model.W.dtype == np.float32
    np.testing.assert_allclose(result.model.W, W, atol=2e-5)
    np.testing.assert_allclose(result.model.b, b, atol=2e-5)
    assert result.history.train_cost[-1] == pytest.approx(figures[1], rel=1e-5)


def same_bits(a, b):
    return (
        a.model.W.tobytes() == b.model.W.tobytes()
        and a.model.b.tobytes() == b.model.b.tobytes()
        and a.best_model.W.tobytes() == b.best_model.W.tobytes()
        and repr(a.history.records()) == repr(b.history.records())
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_same_seed_same_bits_for_any_number_of_threads(loss):
    split = problem(n=700)
    config = TrainConfig(loss=loss, lr=0.1, l2=0.001, batch_size=64, epochs=4)
    runs = [train(split, config, threads=1), train(split, config), train(split, config, threads=1)]
    assert same_bits(runs[0], runs[1])
    assert same_bits(runs[0], runs[2])
    other_seed = train(split, TrainConfig(**{**config.to_dict(), "seed": 1}))
    assert not same_bits(runs[0], other_seed)


def test_orders_depend_on_seed_size_and_epoch_alone():
    config = TrainConfig(seed=3)
    order = epoch_order(config, 50, 2)
    assert sorted(order) == list(range(50))
    assert (
        order == epoch_order(TrainConfig(seed=3, lr=1, batch_size=7, loss="hinge"), 50, 2)
    ).all()
    assert (order != epoch_order(config, 50, 3)).any()
    assert (order != epoch_order(TrainConfig(seed=4), 50, 2)).any()
    assert (epoch_order(TrainConfig(shuffle=False), 50, 2) == np.arange(50)).all()


def test_first_weights_have_the_asked_distribution():
    W, b = initial_weights(TrainConfig(sigma=0.02), 10, 4000)
    assert W.dtype == b.dtype == np.float32
    assert (b == 0).all()
    assert abs(W.mean()) < 5 * 0.02 / 200
    assert W.std() == pytest.approx(0.02, rel=0.02)
    xavier, _ = initial_weights(TrainConfig(init="xavier"), 10, 4000)
    np.testing.assert_allclose(xavier * np.sqrt(4000), W / 0.02, rtol=1e-5)


def test_the_best_model_is_the_one_of_the_best_epoch():
    split = problem()
    config = TrainConfig(lr=2.0, batch_size=8, epochs=12, lr_decay=1.0)
    result = train(split, config)
    best = result.history.best_epoch
    assert result.history.val_accuracy[best - 1] == result.history.val_accuracy.max()
    accuracies = result.history.val_accuracy
    assert (accuracies[: best - 1] < accuracies[best - 1]).all()
    found = evaluate(result.best_model, split.val, config)
    assert found.accuracy == accuracies[best - 1]
    assert found.cost == result.history.val_cost[best - 1]


def test_without_validation_rows_the_best_epoch_has_the_lowest_training_cost():
    result = train(problem(val=False), TrainConfig(epochs=3))
    assert np.isnan(result.history.val_cost).all()
    assert not result.history.has_validation
    assert result.history.best_epoch == int(result.history.train_cost.argmin()) + 1


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_divergence_stops_at_once_and_keeps_the_last_finite_weights(loss):
    # Rows near the limit of float32 overflow the scores while the first weights are finite.
    split = problem(row_dtype=np.float32)
    config = TrainConfig(loss=loss, lr=1e30, lr_decay=1.0, l2=1.0, epochs=50)
    trainer = Trainer(split, config)
    with pytest.raises(
        DivergedError, match=r"cost of epoch \d+ is not finite; try a smaller lr"
    ) as caught:
        for _ in range(50):
            trainer.run_epoch()
    result = trainer.result()
    assert len(result.history) == caught.value.epoch - 1 < 50
    assert np.isfinite(result.model.W).all()
    assert np.isfinite(result.history.train_cost).all()


def test_an_interrupt_anywhere_leaves_whole_epochs(monkeypatch):
    split = problem()
    config = TrainConfig(epochs=5)
    whole = train(split, TrainConfig(epochs=2))
    trainer = Trainer(split, config)
    trainer.run_epoch()
    trainer.run_epoch()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastlin.training.entries.Entries.measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run_epoch()
    assert same_bits(trainer.result(), whole)


def test_on_epoch_sees_every_record():
    records = []
    result = train(problem(), TrainConfig(epochs=3), on_epoch=records.append)
    assert records == result.history.records()


def test_training_looks_at_no_test_row():
    split = problem()
    with_test = train(split, TrainConfig(epochs=2))
    without = train(Split("blobs", split.train, split.val), TrainConfig(epochs=2))
    assert same_bits(with_test, without)


def test_refuses_impossible_thread_counts_and_restores_the_count():
    with use_threads(1):
        for threads in (0, 10_000):
            with pytest.raises(InputError, match=f"threads is {threads}"):
                Trainer(problem(), TrainConfig(), threads=threads)
        train(problem(), TrainConfig(epochs=1), threads=None)
        assert current_count() == 1


def images(n=61, shape=(3, 4, 5), K=5, row_dtype=np.uint8):
    plain = problem(n, int(np.prod(shape)), K, row_dtype=row_dtype)
    parts = {
        name: Dataset(data.X, data.y, data.class_names, shape)
        for name, data in plain.parts().items()
    }
    return Split("images", **parts)


def mirrored(X, shape):
    return X.reshape(-1, *shape)[..., ::-1].reshape(X.shape)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_equals_a_numpy_run(nesterov):
    split = problem()
    config = TrainConfig(
        lr=0.02, momentum=0.8, nesterov=nesterov, l2=0.03, batch_size=16, epochs=4, dtype="float64"
    )
    trainer, data = Trainer(split, config), split.train
    W, b = initial_weights(config, 5, data.X.shape[1])
    velocity = np.zeros_like(W), np.zeros_like(b)
    for epoch in range(1, 5):
        trainer.run_epoch()
        reference.momentum_epoch(
            data.X, data.y, epoch_order(config, len(data), epoch), W, b, velocity,
            config.lr_at(epoch), config.l2, 16, config.loss, 0.8, nesterov=nesterov,
            scale=data.feature_scale,
        )  # fmt: skip
        model = trainer.result().model
        np.testing.assert_allclose(model.W, W, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.b, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("row_dtype", "momentum"), [(np.uint8, 0.0), (np.uint8, 0.7), (np.float64, 0.0)]
)
def test_standardising_equals_a_numpy_run_on_standardised_rows(row_dtype, momentum):
    split = problem(row_dtype=row_dtype)
    split.train.X[:, 3] = 77 if row_dtype == np.uint8 else 0.3  # a constant feature
    config = TrainConfig(
        lr=0.02, momentum=momentum, l2=0.02, batch_size=16, epochs=4, standardize=True,
        dtype="float64",
    )  # fmt: skip
    data = split.train
    features = data.X * data.feature_scale
    std = np.where(features.std(axis=0) > 1e-12, features.std(axis=0), 1)
    X = (features - features.mean(axis=0)) / std
    V, b = initial_weights(config, 5, X.shape[1])
    velocity = np.zeros_like(V), np.zeros_like(b)
    trainer = Trainer(split, config)
    for epoch in range(1, 5):
        record = trainer.run_epoch()
        reference.momentum_epoch(
            X, data.y, epoch_order(config, len(data), epoch), V, b, velocity,
            config.lr_at(epoch), config.l2, 16, config.loss, momentum,
        )  # fmt: skip
        result = trainer.result()
        np.testing.assert_allclose(result.model.W * std, V, rtol=1e-8, atol=1e-11)
        losses, predictions = reference.evaluate(X, data.y, V, b, config.loss)
        cost = losses.mean() + reference.penalty(V, config.l2)
        assert record.train_cost == pytest.approx(cost, rel=1e-9)
        assert record.train_accuracy == (predictions == data.y).mean()
        assert evaluate(result.model, data, config).cost == pytest.approx(cost, rel=1e-9)


def test_the_gradient_of_a_standardised_model_is_that_of_its_own_cost():
    split = problem(row_dtype=np.float64)
    config = TrainConfig(epochs=2, standardize=True, l2=0.3, dtype="float64")
    model = train(split, config).model
    dW = gradient(model, split.train, config)
    for k, j in [(0, 0), (2, 5), (4, 36)]:
        costs = []
        for step in (1e-5, -1e-5):
            W = model.W.copy()
            W[k, j] += step
            costs.append(evaluate(replace(model, W=W), split.train, config).cost)
        assert dW[k, j] == pytest.approx((costs[0] - costs[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_mirroring_equals_training_on_mirrored_rows(standardize):
    split = images()
    data, shape = split.train, split.train.image_shape
    config = TrainConfig(
        lr=0.05,
        l2=0.01,
        batch_size=8,
        epochs=4,
        flip=True,
        standardize=standardize,
        dtype="float64",
    )
    X = data.X / 255
    mean, std = (X.mean(axis=0), X.std(axis=0)) if standardize else (0.0, 1.0)
    W, b = initial_weights(config, 5, X.shape[1])
    trainer = Trainer(split, config)
    for epoch in range(1, 5):
        trainer.run_epoch()
        order = epoch_order(config, len(X), epoch)
        rows = X.copy()
        half = order[:32] if epoch % 2 else order[32:]  # 8 batches of 8, the last one short
        rows[half] = mirrored(X[half], shape)
        reference.sgd_epoch(
            (rows - mean) / std, data.y, order, W, b, config.lr_at(epoch), 0.01, 8, config.loss
        )
        np.testing.assert_allclose(trainer.result().model.W * std, W, rtol=1e-8, atol=1e-11)


def test_only_images_can_be_mirrored():
    with pytest.raises(InputError, match="flip mirrors images"):
        Trainer(problem(), TrainConfig(flip=True))


def test_averaging_takes_the_mean_of_the_last_epochs_and_leaves_training_alone():
    split = problem()
    config = TrainConfig(epochs=5, dtype="float64")
    plain = Trainer(split, config)
    averaged = Trainer(split, replace(config, average_epochs=3))
    seen = []
    for epoch in range(1, 6):
        plain.run_epoch()
        record = averaged.run_epoch()
        seen.append(plain.result().model)
        model = averaged.result().model
        np.testing.assert_allclose(model.W, np.mean([m.W for m in seen[-3:]], axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.b, np.mean([m.b for m in seen[-3:]], axis=0), rtol=1e-12)
        assert record.train_cost == evaluate(model, split.train, config).cost
        assert epoch > 1 or model.W.tobytes() == seen[0].W.tobytes()


ALL_AT_ONCE = {"momentum": 0.5, "standardize": True, "flip": True, "average_epochs": 3}


def test_a_run_goes_on_from_its_saved_arrays_with_the_same_bits():
    split, config = images(), TrainConfig(epochs=6, **ALL_AT_ONCE)
    whole, first, second = (Trainer(split, config) for _ in range(3))
    for _ in range(6):
        whole.run_epoch()
    for _ in range(4):
        first.run_epoch()
    records = first.result().history.records()
    arrays = {name: array.copy() for name, array in first.state().items()}
    second.restore(records, arrays)
    for _ in range(2):
        second.run_epoch()
    assert same_bits(whole.result(), second.result())
    arrays.pop("training_velocity_W")
    with pytest.raises(InputError, match="training_velocity_W"):
        second.restore(records, arrays)
    assert same_bits(whole.result(), second.result())


@pytest.mark.parametrize("settings", [{}, ALL_AT_ONCE, {"momentum": 0.9, "nesterov": True}])
def test_threads_that_share_steps_change_no_bit(settings, monkeypatch):
    monkeypatch.setattr("fastlin.engine.LEAST_WORK_OF_A_PIECE", 1)
    split, config = images(n=300), TrainConfig(epochs=3, **settings)
    assert same_bits(train(split, config, threads=1), train(split, config))


@pytest.mark.parametrize("every", [0, 1, 3, 100])
def test_training_rows_are_evaluated_as_often_as_asked_and_nothing_else_changes(every):
    split, config = images(), TrainConfig(epochs=7, **ALL_AT_ONCE)
    usual, ours = train(split, config), train(split, config, eval_train_every=every)
    due = np.arange(1, 8) % every == 0 if every else np.zeros(7, bool)
    for name in ("train_cost", "train_accuracy"):
        expected = np.where(due, getattr(usual.history, name), np.nan)
        np.testing.assert_array_equal(getattr(ours.history, name), expected)
    for name in ("lr", "val_cost", "val_accuracy"):
        np.testing.assert_array_equal(getattr(ours.history, name), getattr(usual.history, name))
    assert ours.best_epoch == usual.best_epoch
    assert ours.model.W.tobytes() == usual.model.W.tobytes()
    assert ours.best_model.W.tobytes() == usual.best_model.W.tobytes()


@pytest.mark.parametrize(("every", "best"), [(0, 7), (3, 6), (100, 7)])
def test_without_validation_rows_the_best_epoch_is_an_evaluated_one_or_the_last(every, best):
    config = TrainConfig(epochs=7, lr=0.001)  # the cost falls all the time
    result = train(problem(val=False), config, eval_train_every=every)
    assert result.best_epoch == best
    of_best = train(problem(val=False), replace(config, epochs=best))
    assert result.best_model.W.tobytes() == of_best.model.W.tobytes()


@pytest.mark.parametrize("every", [-1, 0.5, True, "2", None])
def test_an_impossible_rhythm_of_evaluation_is_refused(every):
    with pytest.raises(InputError, match=r"eval_train_every is .*; it must be a whole number, 0"):
        train(problem(), TrainConfig(), eval_train_every=every)


@pytest.mark.parametrize("val", [False, True])
def test_divergence_is_found_without_evaluating_training_rows(val):
    split = problem(row_dtype=np.float32, val=val)
    config = TrainConfig(lr=1e30, lr_decay=1.0, l2=1.0, epochs=50)
    trainer = Trainer(split, config, eval_train_every=0)
    with pytest.raises(DivergedError, match="the cost of epoch"):
        for _ in range(50):
            trainer.run_epoch()
    assert np.isfinite(trainer.result().model.W).all()


def test_weights_that_overflow_in_the_last_step_of_an_epoch_are_found_without_evaluation():
    rows = np.full((4, 2), 1e30, np.float32)
    split = Split("large", Dataset(rows, np.arange(4) % 2, ("a", "b")))
    config = TrainConfig(lr=1e12, batch_size=4, l2=0.0, sigma=0.0, shuffle=False)
    trainer = Trainer(split, config, eval_train_every=0)
    with pytest.raises(DivergedError, match="the cost of epoch 1"):
        trainer.run_epoch()
    assert (trainer.result().model.W == 0).all()


records = st.builds(
    EpochRecord,
    epoch=st.just(0),
    lr=st.just(0.1),
    **{
        name: st.sampled_from([0.25, 0.5, 0.75, float("nan")])
        for name in ("train_cost", "train_accuracy", "val_cost", "val_accuracy")
    },
)


@given(st.lists(records, min_size=1, max_size=8), st.sampled_from(["val_accuracy", "val_cost"]))
def test_the_best_epoch_is_that_of_the_definition(found, select):
    history = History.from_records([r._replace(epoch=e) for e, r in enumerate(found, start=1)])
    sign = -1 if select == "val_accuracy" else 1
    for values in (sign * getattr(history, select), history.train_cost):
        if not np.isnan(values).all():
            assert history.best_by(select) == int(np.nanargmin(values)) + 1
            return
    assert history.best_by(select) == len(found)
