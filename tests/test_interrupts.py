"""After an exception anywhere in an epoch, what was finished stays and what follows is the same."""

import os
import sys

import numpy as np
import pytest

import fastlin
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer

HOME = os.path.dirname(os.path.abspath(fastlin.__file__))  # noqa: PTH100, PTH120
IS_GENERATOR = 0x20
SETTINGS = {"flip": True, "momentum": 0.9, "standardize": True, "average_epochs": 2, "l2": 0.01}
EPOCHS = 3


class StopNowError(Exception):
    """What a test raises in place of a signal."""


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    shape = (1, 4, 5)

    def part(n):
        y = rng.integers(0, 5, n)
        X = np.clip(40 * y[:, None] + rng.normal(0, 60, (n, 20)), 0, 255).astype(np.uint8)
        return Dataset(X, y, tuple("abcde"), shape)

    return Split("images", part(60), part(30))


class Interrupted:
    """Raises in the body, at the call of fastlin's functions with a number; counts them all."""

    def __init__(self, at, error):
        self.at, self.error, self.count = at, error, 0

    def __enter__(self):
        sys.setprofile(self._watch)
        return self

    def __exit__(self, kind, *_):
        sys.setprofile(None)
        return kind is self.error

    def _watch(self, frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HOME):
            if code.co_flags & IS_GENERATOR:
                return
            self.count += 1
            if self.count == self.at:
                raise self.error


def trained_alone(split, at, error):
    trainer = Trainer(split, TrainConfig(epochs=EPOCHS, lr=0.05, batch_size=8, **SETTINGS))
    trainer.run_epoch()
    with Interrupted(at, error) as interrupt:
        trainer.run_epoch()
    finished = trainer.epochs_done
    assert len(trainer.result().history) == finished
    while trainer.epochs_done < EPOCHS:
        trainer.run_epoch()
    result = trainer.result()
    arrays = [result.model.W, result.model.b, result.best_model.W]
    return interrupt.count, finished, [a.tobytes() for a in arrays], result.history.records()


def trained_in_a_grid(split, at, error):
    configs = [
        TrainConfig(epochs=EPOCHS, lr=lr, batch_size=size, **{**SETTINGS, "momentum": momentum})
        for lr, size, momentum in [(0.05, 8, 0.9), (0.02, 8, 0.9), (0.01, 16, 0.0)]
    ]
    grid = GridTrainer(split, configs)
    everyone = range(len(configs))
    grid.run_epoch(everyone)
    with Interrupted(at, error) as interrupt:
        grid.run_epoch(everyone)
    finished = {grid.epochs_done(e) for e in everyone}
    assert len(finished) == 1  # all entries, or none
    while grid.epochs_done(0) < EPOCHS:
        grid.run_epoch(everyone)
    models = [model for e in everyone for model in (grid.model(e), grid.best_model(e))]
    records = [grid.history(e).records() for e in everyone]
    return interrupt.count, finished, [m.W.tobytes() + m.b.tobytes() for m in models], records


@pytest.mark.parametrize(
    ("error", "first", "step"),
    [(KeyboardInterrupt, 1, 1), (StopNowError, 1, 2), (MemoryError, 2, 2)],  # two share the calls
)
@pytest.mark.parametrize("trained", [trained_alone, trained_in_a_grid])
def test_an_exception_at_any_call_changes_no_bit(split, trained, error, first, step):
    calls, _, *undisturbed = trained(split, 0, error)
    assert calls > 30
    for at in range(first, calls + 1, step):
        _, _, *found = trained(split, at, error)
        assert found == undisturbed, at


def test_two_exceptions_in_a_row_change_no_bit(split):
    config = TrainConfig(epochs=EPOCHS, lr=0.05, batch_size=8, **SETTINGS)
    whole, trainer = Trainer(split, config), Trainer(split, config)
    for _ in range(EPOCHS):
        whole.run_epoch()
    trainer.run_epoch()
    at = 1
    while trainer.epochs_done == 1:  # the second exception often comes while the state is put back
        with Interrupted(at, StopNowError):
            trainer.run_epoch()
        with Interrupted(at // 4 + 1, StopNowError):
            trainer.run_epoch()
        at += 1
    assert at > 30
    while trainer.epochs_done < EPOCHS:
        trainer.run_epoch()
    assert trainer.result().model.W.tobytes() == whole.result().model.W.tobytes()
