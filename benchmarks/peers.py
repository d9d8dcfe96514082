"""Everybody who takes the same SGD steps, each written as leanly as its own experts would.

All hold W as (K, d), the faster layout for each of them. NumPy, PyTorch and JAX get float32 rows,
converted outside of the timing, and do not compute the loss, which fastlin and the NumPy twin do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from benchmarks import libraries
from benchmarks.contestants import AGREEMENT
from benchmarks.libraries import Library
from benchmarks.problems import Array, Problem
from fastlin import reference
from fastlin.config import Loss


class Peer(ABC):
    """One contestant with its own copy of a problem's weights.

    Attributes
    ----------
    name : for tables and plots.
    backend : the library that it uses.
    most_threads : that it can or should use; 0 for any number.
    agreement : by which part of what training changed its weights may differ from those of
        others; None where it takes other steps.
    """

    name: ClassVar[str]
    backend: ClassVar[Library] = libraries.NUMPY
    most_threads: ClassVar[int] = 0
    agreement: ClassVar[float | None] = AGREEMENT

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.reset()

    def reset(self) -> None:
        """Go back to the problem's first weights."""
        self.W, self.b = self.problem.W.copy(), self.problem.b.copy()

    @abstractmethod
    def train(self, orders: Sequence[Array]) -> None:
        """Train one epoch per order of rows, and return when the weights are there."""

    @abstractmethod
    def repeat_batch(self, steps: int) -> None:
        """Take `steps` steps on the problem's rows, all of them one batch, as they lie."""

    def weights(self) -> tuple[Array, Array]:
        """Return W (K, d) and b (K,) as NumPy arrays."""
        return self.W, self.b


class Fastlin(Peer):
    """fastlin, on the rows as they are stored."""

    name = "fastlin"
    backend = libraries.FASTLIN

    def __init__(self, problem: Problem) -> None:
        from fastlin.engine import unchecked_sgd_epoch  # noqa: PLC0415  (loads Numba)

        self._epoch = unchecked_sgd_epoch
        super().__init__(problem)

    def train(self, orders: Sequence[Array]) -> None:
        p = self.problem
        for order in orders:
            self._epoch(
                p.X, p.y, order, self.W, self.b,
                lr=p.lr, batch_size=p.batch_size, l2=0.0, loss=Loss.SOFTMAX,
            )  # fmt: skip

    def repeat_batch(self, steps: int) -> None:
        self.train([np.tile(np.arange(len(self.problem.X)), steps)])


class OneThread(Fastlin):
    """fastlin on one thread, for a race against itself."""

    name = "fastlin, 1 thread"
    most_threads = 1


class SingleRows(Fastlin):
    """fastlin on the same numbers in float32, for a race of rows in half precision."""

    name = "fastlin, float32 rows"

    def __init__(self, problem: Problem) -> None:
        super().__init__(replace(problem, X=problem.features))


class NumpyTwin(Peer):
    """`fastlin.reference`: vectorised NumPy as one writes it."""

    name = "NumPy twin"

    def train(self, orders: Sequence[Array]) -> None:
        p = self.problem
        for order in orders:
            reference.sgd_epoch(
                p.features, p.y, order, self.W, self.b,
                lr=p.lr, l2=0.0, batch_size=p.batch_size, loss=Loss.SOFTMAX,
            )  # fmt: skip

    def repeat_batch(self, steps: int) -> None:
        self.train([np.tile(np.arange(len(self.problem.X)), steps)])


class Numpy(Peer):
    """NumPy with every array allocated once and written in place."""

    name = "NumPy"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        B, (K, d) = min(problem.batch_size, len(problem.X)), problem.W.shape
        self.X_batch = np.empty((B, d), np.float32)
        self.scores = np.empty((B, K), np.float32)
        self.dW = np.empty((K, d), np.float32)

    def train(self, orders: Sequence[Array]) -> None:
        p = self.problem
        for order in orders:
            for start in range(0, len(order), p.batch_size):
                rows = order[start : start + p.batch_size]
                X_batch = self.X_batch[: len(rows)]
                np.take(p.features, rows, axis=0, out=X_batch, mode="clip")
                self._step(X_batch, p.y[rows])

    def repeat_batch(self, steps: int) -> None:
        for _ in range(steps):
            self._step(self.problem.features, self.problem.y)

    def _step(self, X: Array, y: Array) -> None:
        scores = self.scores[: len(X)]
        np.matmul(X, self.W.T, out=scores)
        scores += self.b
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores *= (self.problem.lr / len(X)) / scores.sum(axis=1, keepdims=True)
        scores[np.arange(len(X)), y] -= np.float32(self.problem.lr / len(X))
        self.b -= scores.sum(axis=0)
        np.matmul(scores.T, X, out=self.dW)
        self.W -= self.dW


class Torch(Peer):
    """PyTorch without autograd, into preallocated tensors; shares the rows with NumPy."""

    name = "PyTorch"
    backend = libraries.TORCH

    def __init__(self, problem: Problem) -> None:
        import torch  # noqa: PLC0415

        self.torch = torch
        super().__init__(problem)
        B, (K, d) = min(problem.batch_size, len(problem.X)), problem.W.shape
        self.X, self.y = torch.from_numpy(problem.features), torch.from_numpy(problem.y)[:, None]
        self.X_batch, self.scores, self.probs = (torch.empty(B, m) for m in (d, K, K))
        self.minus_one = torch.full((B, 1), -1.0)

    def reset(self) -> None:
        super().reset()
        self.W, self.b = self.torch.from_numpy(self.W), self.torch.from_numpy(self.b)

    def train(self, orders: Sequence[Array]) -> None:
        size = self.problem.batch_size
        with self.torch.no_grad():
            for order in orders:
                order = self.torch.from_numpy(order)
                batches = zip(order.split(size), self.y[order].split(size), strict=True)
                for rows, y in batches:
                    X_batch = self.X_batch[: len(rows)]
                    self.torch.index_select(self.X, 0, rows, out=X_batch)
                    self._step(X_batch, y)

    def repeat_batch(self, steps: int) -> None:
        with self.torch.no_grad():
            for _ in range(steps):
                self._step(self.X, self.y)

    def _step(self, X: Any, y: Any) -> None:
        B, rate = len(X), self.problem.lr / len(X)
        scores, probs = self.scores[:B], self.probs[:B]
        self.torch.addmm(self.b, X, self.W.t(), out=scores)
        self.torch.softmax(scores, 1, out=probs)
        probs.scatter_add_(1, y, self.minus_one[:B])
        self.W.addmm_(probs.t(), X, alpha=-rate)
        self.b.sub_(probs.sum(0), alpha=rate)

    def weights(self) -> tuple[Array, Array]:
        return self.W.numpy(), self.b.numpy()


class TorchHalf(Torch):
    """PyTorch with rows and weights in bfloat16 for its products, which are summed in float32.

    Steps add up in weights of float32: in bfloat16 small ones would be lost. It is another
    precision than fastlin's, so it is raced in cases of its own.
    """

    name = "PyTorch, bfloat16"
    agreement = 0.1

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        half = self.torch.bfloat16
        self.X, self.X_batch = self.X.to(half), self.X_batch.to(half)
        self.half_scores, self.half_probs = self.scores.to(half), self.probs.to(half)
        self.half_W = self.torch.empty(self.problem.W.shape, dtype=half)
        self.dW = self.torch.empty(self.problem.W.shape, dtype=half)

    def _step(self, X: Any, y: Any) -> None:
        B, rate = len(X), self.problem.lr / len(X)
        scores, probs, half_probs = self.scores[:B], self.probs[:B], self.half_probs[:B]
        self.half_W.copy_(self.W)
        self.torch.mm(X, self.half_W.t(), out=self.half_scores[:B])
        self.torch.add(self.half_scores[:B], self.b, out=scores)
        self.torch.softmax(scores, 1, out=probs)
        probs.scatter_add_(1, y, self.minus_one[:B])
        half_probs.copy_(probs)
        self.torch.mm(half_probs.t(), X, out=self.dW)
        self.W.sub_(self.dW, alpha=rate)
        self.b.sub_(probs.sum(0), alpha=rate)


class Jax(Peer):
    """JAX with the whole epoch compiled as one scan, donating the weights."""

    name = "JAX"
    backend = libraries.JAX

    def __init__(self, problem: Problem) -> None:
        import jax  # noqa: PLC0415

        self.jax = jax
        super().__init__(problem)
        self.X = jax.numpy.asarray(problem.features)
        self.y = jax.numpy.asarray(problem.y.astype(np.int32))
        self._epoch = jax.jit(self._epoch_of, donate_argnums=(0, 1))
        self._repeat = jax.jit(self._repeat_of, donate_argnums=(0, 1), static_argnums=4)

    def reset(self) -> None:
        super().reset()
        self.W, self.b = self.jax.numpy.array(self.W), self.jax.numpy.array(self.b)

    def train(self, orders: Sequence[Array]) -> None:
        for order in orders:
            order = order.astype(np.int32)
            self.W, self.b = self._epoch(self.W, self.b, self.X, self.y, order)
        self.W.block_until_ready()

    def repeat_batch(self, steps: int) -> None:
        self.W, self.b = self._repeat(self.W, self.b, self.X, self.y, steps)
        self.W.block_until_ready()

    def _epoch_of(self, W: Any, b: Any, X: Any, y: Any, order: Any) -> Any:
        size = self.problem.batch_size
        whole = len(order) - len(order) % size

        def step(weights: Any, rows: Any) -> Any:
            return self._step(*weights, X[rows], y[rows]), None

        weights, _ = self.jax.lax.scan(step, (W, b), order[:whole].reshape(-1, size))
        if whole < len(order):
            weights, _ = step(weights, order[whole:])
        return weights

    def _repeat_of(self, W: Any, b: Any, X: Any, y: Any, steps: int) -> Any:
        return self.jax.lax.fori_loop(0, steps, lambda _, both: self._step(*both, X, y), (W, b))

    def _step(self, W: Any, b: Any, X: Any, y: Any) -> Any:
        probs = self.jax.nn.softmax(X @ W.T + b)
        dscores = (probs - self.jax.nn.one_hot(y, len(b))) * (self.problem.lr / len(X))
        return W - dscores.T @ X, b - dscores.sum(0)

    def weights(self) -> tuple[Array, Array]:
        return np.asarray(self.W), np.asarray(self.b)


class ScikitLearn(Peer):
    """`SGDClassifier`: one sample a step and one binary problem per class, on one thread."""

    name = "scikit-learn"
    backend = libraries.SCIKIT_LEARN
    most_threads = 1
    agreement = None

    def reset(self) -> None:
        from sklearn.linear_model import SGDClassifier  # noqa: PLC0415

        self.model = SGDClassifier(
            loss="log_loss", alpha=1e-4, learning_rate="constant", eta0=self.problem.lr
        )

    def train(self, orders: Sequence[Array]) -> None:
        classes = np.arange(len(self.problem.W))
        for _ in orders:  # it shuffles by itself
            self.model.partial_fit(self.problem.features, self.problem.y, classes)

    def repeat_batch(self, steps: int) -> None:
        self.train([self.problem.y] * steps)

    def weights(self) -> tuple[Array, Array]:
        return self.model.coef_, self.model.intercept_


RIVALS: tuple[type[Peer], ...] = (NumpyTwin, Numpy, Torch, Jax)


def difference_of_weights(
    ours: tuple[Array, Array], theirs: tuple[Array, Array], first: tuple[Array, Array]
) -> float:
    """Return the largest difference of W and b, as a fraction of their largest change."""
    differences = (np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
    changes = (np.abs(b - start).max() for b, start in zip(theirs, first, strict=True))
    return float(max(differences) / max(changes))
