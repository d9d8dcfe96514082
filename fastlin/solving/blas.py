"""Products of matrices by NumPy, on as many threads as fastlin may use.

A BLAS library has threads of its own, as many as the machine has cores, and waits for all of them:
where a core is busy with something else, or a container grants fewer, small products and
eigenvectors take twenty times as long. So the library gets one thread while a fit prepares, and
large products are divided by rows, always in the same way: the bits depend on no number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastlin.threads import count_for, run_pieces

Float = TypeVar("Float", np.float32, np.float64)

# Of 20 rows times 3072 x 768, 96 to 192 columns take as long on two threads as all on one.
_ROWS_OF_PIECE, _COLUMNS_OF_PIECE = 256, 384

_SET_BY_IMPORT = "KMP_DUPLICATE_LIB_OK"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use one thread in the body; what it used before is restored."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    """Return what knows the BLAS libraries, NumPy's among them: looking for them takes 3 ms.

    Libraries that are loaded later are not among them; fits use NumPy's.

    It takes back the variable that threadpoolctl sets for Intel's OpenMP.
    """
    before = os.environ.get(_SET_BY_IMPORT)
    module = import_module("threadpoolctl")
    if before is None:
        os.environ.pop(_SET_BY_IMPORT, None)
    return module.ThreadpoolController()


def product(A: NDArray[Float], B: NDArray[Float]) -> NDArray[Float]:
    """Return A @ B; its rows are divided among threads, and where they are few its columns."""
    result: NDArray[Float] = np.full((len(A), B.shape[1]), np.nan, A.dtype)
    is_flat = len(A) <= _ROWS_OF_PIECE

    def piece(first: int) -> None:
        of_piece = slice(first, first + (_COLUMNS_OF_PIECE if is_flat else _ROWS_OF_PIECE))
        if is_flat:
            np.matmul(A, B[:, of_piece], out=result[:, of_piece])
        else:
            np.matmul(A[of_piece], B, out=result[of_piece])

    count, step = (B.shape[1], _COLUMNS_OF_PIECE) if is_flat else (len(A), _ROWS_OF_PIECE)
    _in_parallel(piece, range(0, count, step), A.size * B.shape[1])
    return result


def add_moments(X: NDArray[np.floating], S: NDArray[np.float64]) -> None:
    """Add X^T X to S (d, d): to the lower half, with some more of the squares on the diagonal."""

    def piece(first: int) -> None:
        last = min(first + _ROWS_OF_PIECE, len(S))
        S[first:last, :last] += X[:, first:last].T @ X[:, :last]

    _in_parallel(piece, range(0, len(S), _ROWS_OF_PIECE), X.size * len(S) // 2)


def _in_parallel(piece: Callable[[int], None], firsts: range, work: int) -> None:
    """Call a function with the first row or column of every piece, the last and largest ones first.

    `work` is of how many multiply-adds all pieces are.
    """
    run_pieces(piece, firsts[::-1], min(count_for(work), len(firsts)))
