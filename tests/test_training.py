import numpy as np
import pytest

from fastlin import reference
from fastlin.config import Loss, TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import InputError
from fastlin.functional import use_threads
from fastlin.training import (
    DivergedError,
    Trainer,
    epoch_order,
    evaluate,
    initial_weights,
    train,
)


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
        lr = config.lr * config.lr_decay ** (epoch - 1)
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


@pytest.mark.parametrize("loss", Loss)
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


@pytest.mark.parametrize("loss", Loss)
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


@pytest.mark.parametrize("loss", Loss)
def test_divergence_stops_at_once_and_keeps_the_last_finite_weights(loss):
    # Rows near the limit of float32 overflow the scores while the first weights are finite.
    split = problem(row_dtype=np.float32)
    config = TrainConfig(loss=loss, lr=1e30, lr_decay=1.0, l2=1.0, epochs=50)
    trainer = Trainer(split, config)
    with pytest.raises(
        DivergedError, match=r"cost of epoch \d+ is not finite; try a smaller --lr"
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

    def interrupted(self, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_evaluate", interrupted)
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
        import numba

        assert numba.get_num_threads() == 1
