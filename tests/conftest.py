import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from cifar_files import ROWS
from hypothesis import HealthCheck, settings

from fastlin.commands.process import STOPS
from fastlin.data.formats import cifar
from fastlin.kernels import tiles
from fastlin.kernels.cache import cache_directory
from fastlin.kernels.jit import source_digest

# A test that fails is to fail again: Hypothesis draws the same examples each time, and no clock
# decides. HYPOTHESIS_PROFILE=default draws others.
settings.register_profile(
    "the same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "the same"))

# Their data have 5, 9 or 10 classes where the number does not matter: with 32 vector registers they
# have one tile, 2, 3 and 6 another, 4, 7 and 8 a third.
TESTS_OF_TILES = {
    "test_jit_cache.py", "test_kernels.py", "test_simd.py",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Without --benchmark-only tests run in several processes, in which nothing can be timed.

    A file's tests run in one process: kernels that call the same inner kernels are compiled
    together in two thirds of the time, and what a module prepares is prepared once. Files keep
    their order; the default begins with those of most tests, which are not the longest.

    Tests share kernels whose types agree, and the tile of a number of classes is a type: most tests
    have one tile for all that are few. Data have few dtypes, losses and optimizers, unless the test
    is about those.

    Commands that tests start must heed Ctrl-C even if this process was told to ignore it, as what
    a script puts in the background is.

    Compiling makes millions of objects, hardly any of them in cycles: Python's default thresholds
    have it look for cycles hundreds of times a kernel, a tenth of the time of compiling.
    """
    gc.set_threshold(50_000, 20, 100)
    if not config.getoption("benchmark_only"):
        config.option.benchmark_disable = True
    config.option.loadscopereorder = False  # an option of pytest-xdist 3.7 and later
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config):
    """Benchmarks run one by one; tests in as many processes as there are cores, up to 4."""
    return 0 if config.getoption("benchmark_only") else min(4, os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def one_folder_of_kernels():
    """Kernels are kept where they are when tests begin, and not where the first of them says."""
    cache_directory(source_digest())


@pytest.fixture(autouse=True)
def a_folder_to_come_back_to():
    """A test that leaves the process in another folder fails, and not one that comes later.

    Fixtures that every test uses are set up by their names: this one is before `monkeypatch`.
    """
    before = Path.cwd()
    yield
    after, _ = Path.cwd(), os.chdir(before)
    assert after == before


@pytest.fixture(autouse=True)
def tile_shared_by_few_classes(monkeypatch, request):
    """Classes are padded to the largest tile, but in tests of kernels; bits do not depend on it."""
    if request.path.name not in TESTS_OF_TILES:
        monkeypatch.setattr(tiles, "SMALLEST_TILE", tiles.MANY_TILE - 1)


@pytest.fixture(autouse=True)
def without_compiling_beside(monkeypatch):
    """Commands in a test's process start no other one that compiles: others test that."""
    monkeypatch.setattr("fastlin.commands.ahead.LEAST_CORES", 10**9)


@pytest.fixture(autouse=True)
def threads_for_few_rows(monkeypatch):
    """Threads share what is too little for them outside of tests, so that few rows test them."""
    monkeypatch.setattr("fastlin.threads.LEAST_WORK_OF_A_THREAD", 1)


@pytest.fixture(autouse=True)
def handlers_of_signals():
    """Put back what a command in this process leaves behind when it is stopped."""
    numbers = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def random_problem():
    """Rows, labels, weights and biases with scores of order 1, of any size and dtypes."""

    def make(n, d, K, row_dtype=np.float64, weight_dtype=np.float64, seed=0):
        rng = np.random.default_rng([seed, n, d, K])
        if row_dtype == np.uint8:
            X = rng.integers(0, 256, (n, d), dtype=np.uint8)
        else:
            X = rng.normal(size=(n, d)).astype(row_dtype)
        W = (rng.normal(size=(K, d)) / np.sqrt(d)).astype(weight_dtype)
        return X, rng.integers(0, K, n), W, rng.normal(size=K).astype(weight_dtype)

    return make


@pytest.fixture
def small_cifar(monkeypatch):
    """CIFAR-10 with batches of 200 images, and a validation set of 50."""
    monkeypatch.setattr(cifar, "BATCH_ROWS", ROWS)
    monkeypatch.setattr(cifar, "_VALIDATION_ROWS", 50)
    monkeypatch.delenv("FASTLIN_DATA", raising=False)
