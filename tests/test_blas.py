"""Products on several threads: what NumPy gives, and the same bits for any number of threads."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastlin.solving.blas import add_moments, one_thread, product
from fastlin.threads import run_pieces, use_threads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(20, 700, 900), (700, 300, 20), (1, 3000, 800), (0, 4, 4)])
def test_products_are_those_of_numpy_whatever_the_threads(shape, dtype, monkeypatch):
    monkeypatch.setattr("fastlin.threads.LEAST_WORK_OF_A_THREAD", 1000)
    m, n, p = shape
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal((n, p)).astype(dtype)
    found = []
    for threads in (1, 2):
        with use_threads(threads), one_thread():
            found.append(product(A, B))
            of_columns = product(A, np.asfortranarray(B))
        assert found[-1].dtype == dtype
        assert_allclose(of_columns, found[-1], rtol=0, atol=1e-3 if dtype == np.float32 else 1e-11)
    assert_array_equal(found[0], found[1])
    exact = A.astype(np.float64) @ B.astype(np.float64)
    assert_allclose(found[0], exact, rtol=0, atol=1e-3 if dtype == np.float32 else 1e-11)


def test_moments_are_those_of_numpy_whatever_the_threads(monkeypatch):
    monkeypatch.setattr("fastlin.threads.LEAST_WORK_OF_A_THREAD", 1000)
    X = np.random.default_rng(0).standard_normal((300, 600))
    found = []
    for threads in (1, 2):
        S = np.ones((600, 600))
        with use_threads(threads), one_thread():
            add_moments(X, S)
        found.append(np.tril(S))
    assert_array_equal(found[0], found[1])
    assert_allclose(found[0], np.tril(X.T @ X + 1), atol=1e-10)


@pytest.mark.parametrize("members", [1, 2, 4])
def test_every_number_is_taken_once_and_all_have_ended(members):
    ended, lock = [], threading.Lock()

    def work(first):
        threading.Event().wait(0.001)
        with lock:
            ended.append(first)

    run_pieces(work, range(0, 400, 20), members)
    assert sorted(ended) == list(range(0, 400, 20))


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("failing", [0, 7, 19])
def test_what_a_piece_raises_reaches_the_caller(members, failing):
    def work(first):
        threading.Event().wait(0.001)
        if first == failing:
            raise ValueError(f"piece {first}")

    with pytest.raises(ValueError, match=f"piece {failing}"):
        run_pieces(work, range(20), members)
    run_pieces(lambda _: None, range(20), members)  # threads are there for the next
