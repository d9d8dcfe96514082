"""The problems that everybody solves: rows, labels, first weights and settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.data import load_split
from fastlin.data.catalog import locate_cifar10
from fastlin.data.checks import default_scale

Array = NDArray[Any]
CIFAR10_SHAPE = (10_000, 3072, 10)
_BLOCK = 50_000  # rows that are drawn at once


@dataclass(frozen=True, eq=False)
class Problem:
    """Softmax regression by mini-batch SGD, without penalty.

    Attributes
    ----------
    X : (n, d) uint8, float16 or float32, the rows that fastlin trains on.
    features : (n, d) float32, what they stand for: the rows that all others train on.
    y : (n,) int64 labels.
    W, b : (K, d) and (K,) float32, where training starts.
    lr : learning rate.
    batch_size : rows per step.
    source : where the rows come from: ``CIFAR-10`` or ``synthetic``.
    """

    X: Array
    features: Array
    y: Array
    W: Array
    b: Array
    lr: float
    batch_size: int
    source: str

    @property
    def flop(self) -> float:
        """Work of one epoch in FLOP: a multiplication and an addition per weight, twice a row."""
        return 4.0 * self.X.size * len(self.W)

    @property
    def bytes(self) -> float:
        """What an epoch must move at least: each row once, and W in and out at each step."""
        steps = -(-len(self.X) // self.batch_size)
        return float(self.X.nbytes + 2 * self.W.nbytes * steps)

    def orders(self, epochs: int) -> list[Array]:
        """Return a shuffled order (n,) of the rows for each epoch."""
        rng = np.random.default_rng(1)
        return [rng.permutation(len(self.X)) for _ in range(epochs)]

    def head(self, n: int) -> Self:
        """Return the problem with its first n rows alone."""
        return replace(self, X=self.X[:n], features=self.features[:n], y=self.y[:n])

    def save(self, path: Path) -> None:
        """Write it for `load_problem`."""
        np.savez(
            path, X=self.X, y=self.y, W=self.W, b=self.b, lr=self.lr, batch_size=self.batch_size,
            source=self.source,
        )  # fmt: skip


def load_problem(path: Path) -> Problem:
    """Read what `Problem.save` wrote, into memory of this process."""
    with np.load(path) as file:
        X = file["X"]
        return Problem(
            X, _features(X), *(file[name] for name in ("y", "W", "b")),
            float(file["lr"]), int(file["batch_size"]), str(file["source"]),
        )  # fmt: skip


def _features(X: Array) -> Array:
    if X.dtype == np.uint8:
        return X * np.float32(default_scale(X.dtype))
    return X.astype(np.float32, copy=False)


def make_problem(
    n: int, d: int, K: int, *, batch_size: int, row_dtype: type = np.float32
) -> Problem:
    """Return a problem of that shape: CIFAR-10's images where they fit and are found.

    Synthetic rows are uniform pixels or standard normal features; labels are uniform. The
    learning rate, K / (4 mean |x|^2), is as large as training surely bears: all stay together to
    rounding, and weights change by much more than that.
    """
    rng = np.random.default_rng([n, d, K])
    source = "synthetic"
    if _fits_cifar10(n, d, K) and locate_cifar10() is not None:
        train = load_split("cifar10").train
        pixels, y = train.X[:n], train.y[:n]
        source = "CIFAR-10"
    else:
        y = rng.integers(0, K, n)
        pixels = rng.integers(0, 256, (n, d), np.uint8) if row_dtype == np.uint8 else None
    features = rng.standard_normal((n, d), np.float32) if pixels is None else _features(pixels)
    X = pixels if row_dtype == np.uint8 else features.astype(row_dtype, copy=False)
    features = features if row_dtype == np.uint8 else _features(X)
    lr = K / (4 * np.square(features[:100]).sum(axis=1).mean())
    W = 0.01 * rng.standard_normal((K, d), np.float32)
    return Problem(X, features, y, W, np.zeros(K, np.float32), float(lr), batch_size, source)


def _fits_cifar10(n: int, d: int, K: int) -> bool:
    return n <= CIFAR10_SHAPE[0] and (d, K) == CIFAR10_SHAPE[1:]


def write_embeddings(folder: Path, rows: int, d: int, K: int, distance: float) -> None:
    """Write rows like embeddings and their labels, block after block, as X.npy and y.npy.

    Parameters
    ----------
    folder : Path
    rows, d, K : int
        How many rows, features and classes. X is float16, with second moments from 1 to 0.001.
    distance : float
        Of the classes, in standard deviations of every feature.
    """
    rng = np.random.default_rng(0)
    spread = np.sqrt(np.geomspace(1, 1e-3, d)).astype(np.float32)
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    centres = distance * rng.standard_normal((K, d), np.float32)
    y = rng.integers(0, K, rows).astype(np.int32)
    X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float16, shape=(rows, d))
    for first in range(0, rows, _BLOCK):
        own = y[first : first + _BLOCK]
        noise = rng.standard_normal((len(own), d), np.float32)
        X[first : first + len(own)] = ((centres[own] + noise) * spread) @ mixing
    X.flush()
    np.save(folder / "y.npy", y)
