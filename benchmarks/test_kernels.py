"""Each function of `fastlin.functional` beside its NumPy twin, on the same rows and weights.

NumPy gets uint8 rows converted to float32 beforehand: the fastest it can be.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.conftest import QUICK
from benchmarks.problems import make_problem
from fastlin import engine, functional, losses, reference

pytestmark = pytest.mark.benchmark(
    max_time=0.05 if QUICK else 1.0, min_rounds=3 if QUICK else 15, warmup=False
)

N, D = (500, 256) if QUICK else (10_000, 3072)
CLASSES = pytest.mark.parametrize("K", [10] if QUICK else [10, 100])
ROW_DTYPES = pytest.mark.parametrize(
    "row_dtype", [np.uint8] if QUICK else [np.uint8, np.float32], ids=lambda kind: kind.__name__
)
LOSSES = pytest.mark.parametrize(
    "loss", list(losses.LOSSES.values())[: 1 if QUICK else None], ids=str
)


def close(comp, ref):
    """Assert that two arrays, or tuples of them, agree to float32 rounding of their largest."""
    if not isinstance(ref, tuple):
        comp, ref = (comp,), (ref,)
    for one, other in zip(comp, ref, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-4 * np.abs(other).max())


def random_scores(K):
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, K), np.float32), rng.integers(0, K, N)


@CLASSES
def test_softmax(duel, K):
    scores, _ = random_scores(K)
    sides = {
        "fastlin": lambda: functional.softmax(scores),
        "numpy": lambda: reference.softmax(scores),
    }
    duel(f"softmax n={N} K={K}", sides, close)


@CLASSES
def test_cross_entropy(duel, K):
    scores, y = random_scores(K)
    sides = {
        "fastlin": lambda: functional.cross_entropy(scores, y),
        "numpy": lambda: reference.softmax_cross_entropy(scores, y),
    }
    duel(f"cross-entropy and gradient n={N} K={K}", sides, close)


@CLASSES
def test_multiclass_hinge(duel, K):
    scores, y = random_scores(K)
    sides = {
        "fastlin": lambda: functional.multiclass_hinge(scores, y),
        "numpy": lambda: reference.multiclass_hinge(scores, y),
    }
    duel(f"hinge and gradient n={N} K={K}", sides, close)


@ROW_DTYPES
def test_scores(duel, row_dtype):
    p = make_problem(N, D, 10, batch_size=100, row_dtype=row_dtype)
    sides = {
        "fastlin": lambda: functional.scores(p.X, p.W, p.b),
        "numpy": lambda: reference.scores(p.features, p.W, p.b),
    }
    duel(f"scores n={N} d={D} K=10 {p.X.dtype}", sides, close)


@ROW_DTYPES
@LOSSES
def test_loss_and_gradient(duel, row_dtype, loss):
    p = make_problem(N, D, 10, batch_size=100, row_dtype=row_dtype)
    sides = {
        "fastlin": lambda: functional.loss_and_gradient(p.X, p.y, p.W, p.b, loss=loss, l2=0.01),
        "numpy": lambda: reference.loss_and_gradient(p.features, p.y, p.W, p.b, 0.01, loss),
    }
    duel(f"loss and gradient ({loss}) n={N} d={D} K=10 {p.X.dtype}", sides, close)


@ROW_DTYPES
@LOSSES
def test_evaluate(duel, row_dtype, loss):
    p = make_problem(N, D, 10, batch_size=100, row_dtype=row_dtype)

    def fastlin():
        found = functional.evaluate(p.X, p.y, p.W, p.b, loss=loss)
        return found.losses, found.predictions

    def agree(comp, ref):
        close(comp[0], ref[0])
        assert np.mean(comp[1] == ref[1]) > 0.999  # scores equal to rounding may change places

    sides = {
        "fastlin": fastlin,
        "numpy": lambda: reference.evaluate(p.features, p.y, p.W, p.b, loss),
    }
    duel(f"evaluate ({loss}) n={N} d={D} K=10 {p.X.dtype}", sides, agree)


@ROW_DTYPES
@LOSSES
@pytest.mark.parametrize("batch_size", [100] if QUICK else [64, 128])
def test_sgd_step(duel, row_dtype, loss, batch_size):
    p = make_problem(batch_size, D, 10, batch_size=batch_size, row_dtype=row_dtype)
    order = np.tile(np.arange(batch_size), 20)
    W, b = p.W.copy(), p.b.copy()
    # Rounds go on from each other's weights: the squared loss would grow beyond all numbers.
    lr = 1e-3 * p.lr if isinstance(loss, losses.SquaredHinge) else p.lr
    settings = {"lr": lr, "batch_size": batch_size, "l2": 0.01, "loss": loss}

    def fastlin():
        engine.unchecked_sgd_epoch(p.X, p.y, order, W, b, **settings)
        return W.copy(), b.copy()

    def numpy():
        reference.sgd_epoch(p.features, p.y, order, W, b, **settings)
        return W.copy(), b.copy()

    def reset():
        W[:], b[:] = p.W, p.b

    group = f"20 steps on one batch ({loss}) B={batch_size} d={D} K=10 {p.X.dtype}"
    duel(group, {"fastlin": fastlin, "numpy": numpy}, close, reset)
