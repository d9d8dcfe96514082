"""A penalty however small shrinks weights as arithmetic says, over any number of steps."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlin import engine, functional, reference
from fastlin.config import Loss, TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.engine import EntryEpoch
from fastlin.kernels.optimizers import Momentum, Nesterov, Plain, rates
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer

F32, F64 = np.float32, np.float64
STEPS = 1_000 if numba.config.DISABLE_JIT else 100_000
OPTIMIZERS = {"plain": (0.0, False), "momentum": (0.9, False), "nesterov": (0.9, True)}
DECAYS = [1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]  # 2 lr l2
LR = 0.01


def exact_decay(lr, l2, momentum, nesterov, steps):
    """What is left of a weight of 1 whose gradient is that of the penalty alone, in float64."""
    W = np.longdouble(1)
    v = np.longdouble(0)
    for _ in range(steps):
        gradient = 2 * np.longdouble(l2) * W
        v = momentum * v + gradient
        W -= lr * (gradient + momentum * v if nesterov else v)
    return float(W)


def check_decay(before, after, expected):
    """The weights shrank by `expected`, within a hundredth of what was lost or is left."""
    left = float((after.astype(F64) * before).sum() / np.square(before, dtype=F64).sum())
    assert left - 1 == pytest.approx(expected - 1, rel=0.01)
    if expected > 1e-30:
        assert left == pytest.approx(expected, rel=0.01)
    else:
        assert abs(left) < 1e-30


def problem(dtype):
    rng = np.random.default_rng(0)
    X, y = np.zeros((20, 16), dtype), np.arange(20) % 5
    return X, y, rng.normal(size=(5, 16)).astype(dtype), np.zeros(5, dtype)


@pytest.mark.parametrize(
    ("optimizer", "dtype"), [*((optimizer, F32) for optimizer in OPTIMIZERS), ("plain", F64)]
)
def test_weights_shrink_as_arithmetic_says(optimizer, dtype):
    momentum, nesterov = OPTIMIZERS[optimizer]
    for decay in DECAYS:
        X, y, W, b = problem(dtype)
        before, l2 = W.copy(), decay / (2 * LR)
        velocity = (np.zeros_like(W), np.zeros_like(b)) if momentum else None
        functional.sgd_epoch(
            X, y, np.arange(STEPS) % 20, W, b, lr=LR, batch_size=1, l2=l2, momentum=momentum,
            nesterov=nesterov, velocity=velocity,
        )  # fmt: skip
        check_decay(before, W, exact_decay(LR, l2, momentum, nesterov, STEPS))


@pytest.mark.parametrize("optimizer", ["plain", "momentum"])
def test_weights_shrink_in_a_grid_as_they_do_alone(optimizer):
    momentum, nesterov = OPTIMIZERS[optimizer]
    X, y, W, b = problem(F32)
    M = len(DECAYS)
    all_W, all_b = np.repeat(W[None], M, axis=0), np.repeat(b[None], M, axis=0)
    velocity = (np.zeros_like(all_W), np.zeros_like(all_b)) if momentum else None
    order = np.arange(STEPS) % 20
    engine.unchecked_sgd_epochs(
        X, y, all_W, all_b,
        [EntryEpoch(e, order, LR, decay / (2 * LR), 1, momentum) for e, decay in enumerate(DECAYS)],
        loss=Loss.SOFTMAX, velocity=velocity, nesterov=nesterov,
    )  # fmt: skip
    for e, decay in enumerate(DECAYS):
        expected = exact_decay(LR, decay / (2 * LR), momentum, nesterov, STEPS)
        check_decay(W, all_W[e], expected)


@pytest.mark.parametrize("optimizer", ["plain", "momentum"])
def test_epochs_too_short_for_float32_to_see_the_penalty_add_up(optimizer):
    momentum, _ = OPTIMIZERS[optimizer]
    names = tuple("abcde")
    X, y, *_ = problem(F32)
    split = Split("zero", Dataset(X, y, names), Dataset(X, y, names))
    config = TrainConfig(
        lr=LR, schedule="constant", l2=1e-7 / (2 * LR), sigma=1.0, batch_size=20, epochs=400,
        momentum=momentum,
    )  # fmt: skip
    trainer, grid = Trainer(split, config), GridTrainer(split, [config, TrainConfig(**{
        **config.to_dict(), "l2": 0.0})])  # fmt: skip
    before = trainer.result().model.W
    for _ in range(config.epochs):  # one step each, of which float32 sees nothing
        trainer.run_epoch()
        grid.run_epoch([0, 1])
    expected = exact_decay(LR, config.l2, momentum, False, config.epochs)
    check_decay(before, trainer.result().model.W, expected)
    np.testing.assert_array_equal(grid.model(0).W, trainer.result().model.W)
    np.testing.assert_array_equal(grid.model(1).W, before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_twin_shrinks_as_arithmetic_says_too(optimizer):
    momentum, nesterov = OPTIMIZERS[optimizer]
    X, y, W, b = problem(F32)
    before, steps, l2 = W.copy(), 4_000, 1e-8 / (2 * LR)
    order = np.arange(steps) % 20
    if momentum:
        velocity = np.zeros_like(W), np.zeros_like(b)
        reference.momentum_epoch(
            X, y, order, W, b, velocity, LR, l2, 1, Loss.SOFTMAX, momentum, nesterov=nesterov
        )
    else:
        reference.sgd_epoch(X, y, order, W, b, LR, l2, 1, Loss.SOFTMAX)
    check_decay(before, W, exact_decay(LR, l2, momentum, nesterov, steps))


@settings(max_examples=200)
@given(
    kind=st.sampled_from([Plain, Momentum, Nesterov]),
    lr=st.floats(1e-4, 10),
    decay=st.floats(0, 0.5) | st.sampled_from([1e-12, 1e-9, 1e-6]),
    momentum=st.floats(0, 0.999),
    gradients=st.lists(st.floats(-1, 1), min_size=1, max_size=30),
)
def test_steps_by_rates_are_the_steps_of_the_definition(kind, lr, decay, momentum, gradients):
    l2 = decay / (2 * lr)
    step = rates(kind, lr, l2, momentum)
    W, v = 1.0, 0.0
    own_W, u = 1.0, -step.pull
    for g in gradients:
        total = g + 2 * l2 * W
        v = (0.0 if kind is Plain else momentum) * v + total
        W -= lr * (total + momentum * v if kind is Nesterov else v)
        if kind is Plain:
            own_W = step.decay * own_W + step.gain * g
        else:
            before, old_W = u, own_W
            u = step.keep * u + step.gain * g + step.penalty * old_W
            own_W = step.decay * old_W + step.back * before - step.rate * u
    size = 1 + lr * len(gradients) / (1 - momentum)
    assert own_W == pytest.approx(W, rel=1e-9, abs=1e-9 * size)
    if kind is not Plain:
        assert u + step.pull * own_W == pytest.approx(v, rel=1e-9, abs=1e-9 * (1 + size * l2))


@pytest.mark.parametrize("decay", [0.5, 0.999999, 1.0, 1.5, 2.5])
def test_a_penalty_that_turns_or_swings_the_weights_equals_its_twin(decay, random_problem):
    X, y, W, b = random_problem(40, 7, 5)
    twin = W.copy(), b.copy()
    order = np.arange(40)
    functional.sgd_epoch(X, y, order, W, b, lr=0.1, batch_size=4, l2=decay / 0.2)
    reference.sgd_epoch(X, y, order, *twin, 0.1, decay / 0.2, 4, Loss.SOFTMAX)
    np.testing.assert_allclose(W, twin[0], rtol=1e-10, atol=1e-12)
