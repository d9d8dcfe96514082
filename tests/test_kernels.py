import os
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastlin import functional, reference
from fastlin.kernels import jit, losses, products, tiles
from fastlin.losses import LOSSES, Loss

U8, F32, F64 = np.uint8, np.float32, np.float64
PAIRS = [(U8, F32), (U8, F64), (F32, F32), (F32, F64), (F64, F32), (F64, F64)]
FEATURES = [1, 3, 15, 16, 17, 64, 100]
CLASSES = [2, 3, 7, 10, 11, 49]
ROOT = Path(__file__).parent.parent


def as_float64(X, *arrays):
    """What the kernels' arguments stand for: features, and the rest, in float64."""
    return (X / 255 if X.dtype == U8 else X.astype(F64), *(array.astype(F64) for array in arrays))


def assert_close(actual, expected, terms):
    """Agreement to rounding: 1e-12, or an ulp of float32 for each term of the longest sum.

    Relative to the largest value: where terms cancel, small results carry the error of large ones.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    tolerance = 1e-12 if actual.dtype == F64 else np.finfo(F32).eps * (terms + 8)
    error = np.abs(actual - expected).max() / max(np.abs(expected).max(), 1)
    assert error <= tolerance


def check_scores(X, W, b):
    expected = reference.scores(*as_float64(X, W, b))
    scores = functional.scores(X, W, b)
    assert scores.dtype == W.dtype
    assert_close(scores, expected, X.shape[1])


def check_epochs(X, y, W, b, *, loss=Loss.SOFTMAX, batch_size=8, l2=0.01, lr=0.1, orders=None):
    if orders is None:
        rng = np.random.default_rng(5)
        orders = [rng.permutation(len(X)) for _ in range(3)]
    features, expected_W, expected_b = as_float64(X, W, b)
    for order in orders:
        mean_loss = functional.sgd_epoch(
            X, y, order, W, b, lr=lr, batch_size=batch_size, l2=l2, loss=loss
        )
        expected = reference.sgd_epoch(
            features, y, order, expected_W, expected_b, lr, l2, batch_size, loss
        )
        terms = X.shape[1] + sum(map(len, orders))
        assert_close(W.dtype.type(mean_loss), expected, terms)
        assert_close(W, expected_W, terms)
        assert_close(b, expected_b, terms)


@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.parametrize(("row_dtype", "weight_dtype"), PAIRS)
def test_scores_equal_their_twin(row_dtype, weight_dtype, d, random_problem):
    X, _, W, b = random_problem(23, d, 5, row_dtype, weight_dtype)
    check_scores(X, W, b)


@pytest.mark.parametrize("K", CLASSES)
@pytest.mark.parametrize("n", [1, 2, 5, 129])
def test_scores_of_any_number_of_rows_and_classes_equal_their_twin(K, n, random_problem):
    X, _, W, b = random_problem(n, 17, K, U8, F32)
    check_scores(X, W, b)


@pytest.mark.parametrize("d", FEATURES)
@pytest.mark.parametrize(("row_dtype", "weight_dtype"), PAIRS)
def test_epochs_equal_their_twin(row_dtype, weight_dtype, d, random_problem):
    check_epochs(*random_problem(53, d, 5, row_dtype, weight_dtype))


@pytest.mark.parametrize("K", CLASSES)
@pytest.mark.parametrize("d", [3, 16, 33])
def test_epochs_of_any_number_of_classes_equal_their_twin(K, d, random_problem):
    check_epochs(*random_problem(53, d, K, U8, F32))


@pytest.mark.parametrize("weight_dtype", [F32, F64])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 53, 1000])
def test_hinge_epochs_equal_their_twin(weight_dtype, batch_size, l2, random_problem):
    problem = random_problem(53, 17, 5, weight_dtype, weight_dtype)
    check_epochs(*problem, loss=Loss.HINGE, batch_size=batch_size, l2=l2, lr=0.02)


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 52, 53, 54, 1000])
def test_any_batch_size_equals_its_twin(batch_size, l2, random_problem):
    check_epochs(*random_problem(53, 17, 5), batch_size=batch_size, l2=l2)


@pytest.mark.parametrize("order", [[3], [0, 0, 0, 0, 0], [7, 7, 2, 7, 11, 2, 0], [22, 21, 20] * 9])
def test_orders_that_repeat_and_leave_out_rows_equal_their_twin(order, random_problem):
    check_epochs(*random_problem(23, 17, 5), batch_size=4, orders=[np.array(order)])


def test_batches_larger_than_a_cache_block_equal_their_twin(random_problem):
    check_epochs(*random_problem(1500, 100, 5), batch_size=1000, lr=0.1)


@pytest.mark.parametrize("batch_size", [128, 129, 300, 384])
def test_batches_of_several_blocks_of_many_classes_equal_their_twin(batch_size, random_problem):
    check_epochs(*random_problem(700, 33, 49, U8, F32), batch_size=batch_size)


def test_a_last_short_batch_is_divided_by_its_own_length(random_problem):
    X, y, W, b = random_problem(11, 3, 5)
    one_by_one = W.copy(), b.copy()
    functional.sgd_epoch(X, y, np.arange(11), W, b, lr=0.5, batch_size=10)
    for rows in (np.arange(10), np.array([10])):
        functional.sgd_epoch(X, y, rows, *one_by_one, lr=0.5, batch_size=10)
    assert_array_equal(W, one_by_one[0])
    assert_array_equal(b, one_by_one[1])


def test_an_epoch_of_pixels_is_an_epoch_of_pixels_over_255(random_problem):
    X, y, W, b = random_problem(53, 17, 5, U8, F64)
    W_of_features, b_of_features = W.copy(), b.copy()
    settings = {"lr": 0.1, "batch_size": 8, "l2": 0.01}
    order = np.random.default_rng(5).permutation(53)
    of_pixels = functional.sgd_epoch(X, y, order, W, b, **settings)
    of_features = functional.sgd_epoch(X / 255, y, order, W_of_features, b_of_features, **settings)
    assert of_pixels == pytest.approx(of_features, rel=1e-13)
    assert_close(W, W_of_features, 0)
    assert_close(b, b_of_features, 0)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(4, 5), st.integers(1, 45))
def test_an_epoch_of_any_shape_equals_its_twin(random_problem, n, d, K, batch_size):
    check_epochs(*random_problem(n, d, K, U8, F32), batch_size=batch_size)


@pytest.mark.parametrize(("row_dtype", "weight_dtype"), [(U8, F32), (F64, F64)])
@pytest.mark.parametrize("d", FEATURES)
def test_evaluation_equals_its_twin(row_dtype, weight_dtype, d, random_problem):
    X, y, W, b = random_problem(131, d, 5, row_dtype, weight_dtype)
    evaluation = functional.evaluate(X, y, W, b, l2=0.1)
    features, W64, b64 = as_float64(X, W, b)
    row_losses, predictions = reference.evaluate(features, y, W64, b64, Loss.SOFTMAX)
    assert evaluation.losses.dtype == weight_dtype
    assert_close(evaluation.losses, row_losses, d)
    assert_array_equal(evaluation.predictions, predictions)
    cost = row_losses.mean() + reference.penalty(W64, 0.1)
    assert evaluation.cost == pytest.approx(cost, rel=1e-6 if weight_dtype == F32 else 1e-12)
    assert evaluation.accuracy == (predictions == y).mean()


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "loss"),
    [(U8, F32, Loss.SOFTMAX), (F64, F64, Loss.HINGE)],
)
@pytest.mark.parametrize(
    ("n", "d", "K"),
    [
        (1, 1, 5),
        (53, 17, 2),
        (53, 17, 7),
        (53, 17, 5),
        (131, 100, 10),
        (131, 70, 49),
        (4099, 3, 49),
    ],
)
def test_the_full_gradient_equals_its_twin(row_dtype, weight_dtype, loss, n, d, K, random_problem):
    X, y, W, b = random_problem(n, d, K, row_dtype, weight_dtype)
    cost, dW, db = functional.loss_and_gradient(X, y, W, b, loss=loss, l2=0.1)
    features, W64, b64 = as_float64(X, W, b)
    expected = reference.loss_and_gradient(features, y, W64, b64, 0.1, loss)
    terms = d + min(n, 200)  # rounding errors of a mean over many rows average out
    assert_close(weight_dtype(cost), expected[0], terms)
    assert_close(dW, expected[1], terms)
    assert_close(db, expected[2], terms)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("K", [2, 5, 49])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 40])
def test_losses_of_scores_equal_their_twins(dtype, K, n):
    rng = np.random.default_rng([n, K])
    scores, y = rng.normal(0, 3, (n, K)).astype(dtype), rng.integers(0, K, n)
    before = scores.copy()
    pairs = []
    for smoothing in (0, 0.1, 0.75):
        twin = partial(reference.softmax_cross_entropy, smoothing=smoothing)
        pairs.append((functional.cross_entropy(scores, y, smoothing), twin))
    for margin in (0, 1, 2.5):
        twin = partial(reference.multiclass_hinge, margin=margin)
        pairs.append((functional.multiclass_hinge(scores, y, margin), twin))
        twin = partial(reference.squared_hinge, margin=margin)
        pairs.append((functional.squared_hinge(scores, y, margin), twin))
    for (row_losses, dscores), twin in pairs:
        expected_losses, expected_dscores = twin(scores.astype(F64), y)
        assert row_losses.dtype == dscores.dtype == dtype
        assert_close(row_losses, expected_losses, K)
        assert_close(dscores, expected_dscores, K)
    assert_close(functional.softmax(scores), reference.softmax(scores.astype(F64)), K)
    assert_array_equal(scores, before)


def test_a_score_has_the_same_bits_in_any_tile(random_problem):
    X, _, W, b = random_problem(37, 100, 10, U8, F32)
    together = functional.scores(X, W, b)
    for classes in ([0, 1], [9, 4, 7], [8, 6, 2, 5], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]):
        assert_array_equal(functional.scores(X, W[classes], b[classes]), together[:, classes])
    for rows in ([36], [35, 3], np.arange(31)[::-1]):
        assert_array_equal(functional.scores(X[rows], W, b), together[rows])


def test_a_score_of_many_classes_has_the_same_bits_in_any_tile(random_problem):
    X, _, W, b = random_problem(37, 300, 60, U8, F32)  # more features than a panel has
    together = functional.scores(X, W, b)
    for classes in (np.arange(60)[::-1], np.arange(3, 52)):
        assert_array_equal(functional.scores(X, W[classes], b[classes]), together[:, classes])
    for rows in ([36], [35, 3], np.arange(31)[::-1]):
        assert_array_equal(functional.scores(X[rows], W, b), together[rows])


@pytest.mark.parametrize("K", [10, 49])
def test_scores_of_rows_that_are_not_asked_for_are_left(K, random_problem):
    """They are another thread's: from the vector on that follows the last row."""

    @numba.njit(**jit.FLAGS)
    def scores_of(X, order, stop, packed, b, tile, sums, scores):
        products.batch_scores(X, (), order, 0, stop, packed, b, b.dtype.type(1), tile, sums, scores)

    X, _, W, b = random_problem(64, 70, K, F32, F32)
    tile = tiles.class_tile(K)
    for stop in (1, 23, 40):
        scores = np.full((K, 64), 7, F32)
        sums = products.new_scratch(1, tile, b.dtype).sums[0]
        scores_of(X, np.arange(64), stop, tiles.pack(W, tile), b, tile, sums, scores)
        written = losses.padded_length(stop, scores.dtype)
        assert_close(scores[:, :stop].T, reference.scores(X[:stop], W, b), 70)
        assert_array_equal(scores[:, written:], 7)


@pytest.mark.parametrize(("d", "K"), [(1, 5), (3, 5), (16, 5), (17, 5), (31, 5), (31, 49)])
@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "loss"), [(U8, F32, Loss.SOFTMAX), (F64, F64, Loss.HINGE)]
)
def test_nothing_around_the_arrays_is_read_or_written(
    row_dtype, weight_dtype, loss, d, K, random_problem
):
    original = X, y, W, b = random_problem(23, d, K, row_dtype, weight_dtype)
    order = np.random.default_rng(5).permutation(23)
    arguments = {"lr": 0.1, "batch_size": 4, "l2": 0.01, "loss": loss}
    guard = 64
    buffers, views = [], []
    for array in (X, y, order, W, b):
        sentinel = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        buffer = np.full(array.size + 2 * guard, sentinel, array.dtype)
        buffer[guard:-guard] = array.ravel()
        buffers.append(buffer)
        views.append(buffer[guard:-guard].reshape(array.shape))
    X_view, y_view, _, W_view, b_view = views
    assert_array_equal(
        functional.scores(X_view, W_view, b_view), functional.scores(X, W, b), strict=True
    )
    loss_of_view = functional.sgd_epoch(*views, **arguments)
    assert loss_of_view == functional.sgd_epoch(X, y, order, W, b, **arguments)
    in_views = functional.loss_and_gradient(X_view, y_view, W_view, b_view, loss=loss)
    on_their_own = functional.loss_and_gradient(*original, loss=loss)
    for in_view, alone in zip(in_views, on_their_own, strict=True):
        assert_array_equal(in_view, alone)
    for buffer, array in zip(buffers, (X, y, order, W, b), strict=True):
        assert_array_equal(buffer[guard:-guard], array.ravel())
        around = np.concatenate((buffer[:guard], buffer[-guard:]))
        assert_array_equal(around, np.full_like(around, buffer[0]))


GUARD_PAGE = """
import ctypes, mmap
import numpy as np
from fastlin import functional

libc = ctypes.CDLL(None, use_errno=True)
page, kept = mmap.PAGESIZE, []

def before_a_forbidden_page(array):
    size = -(-array.nbytes // page) * page
    area = mmap.mmap(-1, size + page)
    kept.append(area)
    whole = np.frombuffer(area, np.uint8)
    address = ctypes.c_void_p(whole.ctypes.data + size)
    assert libc.mprotect(address, ctypes.c_size_t(page), 0) == 0
    placed = whole[size - array.nbytes : size].view(array.dtype).reshape(array.shape)
    placed[:] = array
    return placed

rng = np.random.default_rng(0)
for d in (1, 3, 16, 17, 31):
    for n in (1, 7, 23):
        X, y, order, W, b = (before_a_forbidden_page(array) for array in (
            rng.integers(0, 256, (n, d), dtype=np.uint8), rng.integers(0, 5, n), np.arange(n),
            rng.normal(size=(5, d)).astype(np.float32), np.zeros(5, np.float32)))
        functional.sgd_epoch(X, y, order, W, b, lr=0.1, batch_size=4, l2=0.1)
        functional.scores(X, W, b)
        functional.loss_and_gradient(X, y, W, b)
print("fine", flush=True)
import os
os._exit(0)
"""


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called by its Linux name")
def test_memory_right_after_the_arrays_may_be_forbidden():
    result = run_python("-c", GUARD_PAGE)
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.parametrize("loss", [losses.Softmax(), losses.Hinge()])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_shows_in_the_loss_of_its_row_alone(loss, dtype, bad):
    for k in range(3):
        for label in range(3):
            scores, labels = np.zeros((3, 64), dtype), np.full((1, 64), label, dtype)
            scores[k, 5] = bad
            row_losses = np.zeros((1, 64), dtype)
            losses.batch_loss(loss, scores, labels, row_losses)
            shown = ~np.isfinite(row_losses[0])
            # An infinite score of the true class leads by every margin.
            certain = isinstance(loss, losses.Hinge) and bad == np.inf and k == label
            assert shown[5] != certain
            assert shown.sum() == shown[5]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=str)
def test_a_diverged_epoch_returns_a_loss_that_is_not_finite(loss, random_problem):
    X, y, W, b = random_problem(53, 17, 5, F32, F32)
    mean_loss = functional.sgd_epoch(
        X, y, np.arange(53), W, b, lr=1e30, batch_size=4, l2=0.1, loss=loss
    )
    assert not np.isfinite(mean_loss)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="only compiled code counts references")
@pytest.mark.parametrize("K", [10, 100])
def test_tiles_count_no_references(random_problem, K):
    """Where a tile counted them it spilled all registers: right, but slow as two tiles."""

    def both(X, order, packed, b, tile, sums, scores, factors, panel):
        products.batch_scores(X, (), order, 0, order.size, packed, b, b[0], tile, sums, scores)
        vectors = tiles.vector_count(X.shape[1], packed)
        products.batch_update(
            X, (), order, 0, order.size, 0, factors, tile, panel, packed, 0, vectors
        )

    X, y, W, b = random_problem(8, 100, K, U8, F32)
    flat = b.copy()
    arguments = X, y, flat, b, tiles.class_tile(K), flat, W, flat, flat
    compiled = numba.njit(**jit.FLAGS)(both)
    compiled.compile(tuple(map(numba.typeof, arguments)))
    (code,) = compiled.inspect_llvm().values()
    counts = code.count("call void @NRT_incref")
    assert counts <= 8  # one for each array, at the start


# Enough to run every line; Python takes milliseconds for what the compiler does in nanoseconds.
EVERY_OPERATION = (
    "test_scores_equal or test_hinge_epochs or losses_of_scores or 17-float64 or 53-17-5 "
    "or 131-70-49-uint8"
)
WITHOUT_COMPILER = (
    f"{EVERY_OPERATION} or 131-70-49 or (1 and (number_of_pieces or delays_no_other))"
)


def test_kernels_without_the_compiler_equal_their_twins_too(tmp_path):
    data = f"--data-file={tmp_path / 'coverage'}"
    result = run_python(
        *("-m", "coverage", "run", data, "--source=fastlin.kernels"),
        *("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", WITHOUT_COMPILER),
        "tests/test_kernels.py",
        "tests/test_team.py",
        NUMBA_DISABLE_JIT="1",
    )
    assert result.returncode == 0, result.stdout[-3000:]
    files = ",".join(
        f"fastlin/kernels/{name}.py"
        for name in (
            "tiles",
            "panels",
            "products",
            "losses",
            "sgd",
            "team",
            "grid",
            "evaluate",
            "gradients",
        )
    )
    report = run_python("-m", "coverage", "report", data, f"--include={files}", "--fail-under=90")
    assert report.returncode == 0, report.stdout


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="an x86 processor's name")
@pytest.mark.parametrize("cpu", ["skylake-avx512", "haswell", "nehalem"])
def test_vectors_of_any_width_equal_their_twins_without_the_compiler(cpu):
    """No machine has them all; what the vectors mean in NumPy does not need one."""
    result = run_python(
        *("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", EVERY_OPERATION),
        "tests/test_kernels.py",
        NUMBA_DISABLE_JIT="1",
        NUMBA_CPU_NAME=cpu,
    )
    assert result.returncode == 0, result.stdout[-3000:]


OTHER_CPU = """
import numpy as np
from fastlin import functional, reference
from fastlin.config import Loss
from fastlin.kernels import registers

rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (53, 45), dtype=np.uint8), rng.integers(0, 7, 53)
W, b = rng.normal(size=(7, 45)).astype(np.float32), np.zeros(7, np.float32)
expected_W, expected_b = W.astype(float), b.astype(float)
loss = functional.sgd_epoch(X, y, np.arange(53), W, b, lr=0.1, batch_size=8, l2=0.01)
expected = reference.sgd_epoch(
    X / 255, y, np.arange(53), expected_W, expected_b, 0.1, 0.01, 8, Loss.SOFTMAX
)
np.testing.assert_allclose(loss, expected, rtol=1e-5)
np.testing.assert_allclose(W, expected_W, atol=1e-5)
scores = functional.scores(X, W, b)
np.testing.assert_allclose(scores, reference.scores(X / 255, W.astype(float), b), atol=1e-4)
print(registers.VECTOR_BYTES, registers.VECTOR_REGISTERS)
"""


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="an x86 processor's name")
def test_tiles_of_a_machine_with_half_the_registers_equal_their_twin_too(tmp_path):
    cpu = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CACHE_DIR": str(tmp_path)}
    result = run_python("-c", OTHER_CPU, **cpu)
    assert result.stdout == "32 16\n", result.stderr
