"""Whole epochs and whole runs beside the same loop over the NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest

import fastlin
from benchmarks.conftest import QUICK
from benchmarks.peers import Fastlin, NumpyTwin
from benchmarks.problems import make_problem
from benchmarks.test_kernels import ROW_DTYPES, close
from fastlin import reference
from fastlin.config import TrainConfig
from fastlin.data import Dataset, Split
from fastlin.training.order import epoch_order
from fastlin.training.state import initial_weights

pytestmark = pytest.mark.benchmark(
    max_time=0.1 if QUICK else 2.0, min_rounds=1 if QUICK else 7, warmup=False
)

N, D = (1_000, 256) if QUICK else (10_000, 3072)
SHAPES = pytest.mark.parametrize(
    ("d", "K", "batch_size"),
    [(D, 10, 100)] if QUICK else [(D, 10, 100), (768, 100, 256)],
)


@SHAPES
@ROW_DTYPES
def test_epoch(duel, row_dtype, d, K, batch_size):
    p = make_problem(N, d, K, batch_size=batch_size, row_dtype=row_dtype)
    orders = p.orders(1)
    ours, theirs = Fastlin(p), NumpyTwin(p)

    def epoch(peer):
        peer.train(orders)
        return peer.weights()

    sides = {"fastlin": lambda: epoch(ours), "numpy": lambda: epoch(theirs)}
    duel(f"epoch n={N} d={d} K={K} B={batch_size} {p.X.dtype}", sides, close)


def test_training_run(duel, thread_count):
    p = make_problem(N, D, 10, batch_size=100, row_dtype=np.uint8)
    names = tuple(map(str, range(10)))
    held_out = N // 5
    parts = slice(held_out, N), slice(0, held_out)
    split = Split("benchmark", *(Dataset(p.X[part], p.y[part], names) for part in parts))
    config = TrainConfig(lr=0.001, l2=0.01, batch_size=100, epochs=1 if QUICK else 3)

    def fastlin_run():
        result = fastlin.train(split, config, threads=thread_count)
        return result.history.train_cost, result.history.val_cost, result.model.W

    def numpy_run():
        W, b = initial_weights(config, 10, D)
        data = [(p.features[part], p.y[part]) for part in parts]
        costs = ([], [])
        for epoch in range(1, config.epochs + 1):
            order = epoch_order(config, N - held_out, epoch)
            lr = config.lr * config.lr_decay ** (epoch - 1)
            reference.sgd_epoch(*data[0], order, W, b, lr, config.l2, 100, config.loss)
            for part, rows in zip(costs, data, strict=True):
                losses, _ = reference.evaluate(*rows, W, b, config.loss)
                part.append(losses.mean(dtype=np.float64) + reference.penalty(W, config.l2))
        return np.array(costs[0]), np.array(costs[1]), W

    group = f"train, {config.epochs} epochs with evaluation, n={N - held_out} d={D} K=10 uint8"
    duel(group, {"fastlin": fastlin_run, "numpy": numpy_run}, close)
