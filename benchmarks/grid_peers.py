"""Everybody who trains a grid of settings on the same rows; training only.

Configurations with the same batch size see the same batches, so each rival stacks their weights:
G of them make one (G K, d) matrix, and one product gives the scores of all. This is several times
faster than a loop over configurations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np

from benchmarks import libraries
from benchmarks.libraries import Library
from benchmarks.problems import Array, Problem
from fastlin import reference
from fastlin.config import Loss

# Of the 27 runs: every l2 with every learning rate, for each batch size.
GRID_L2, GRID_LR = (0.0, 0.001, 0.0001), (0.01, 0.02, 0.03)
GRID_BATCH_SIZES = (64, 100, 128)
GRID_LR_DECAY = 0.9


@dataclass(frozen=True, eq=False)
class Stack:
    """Configurations that share batches.

    Attributes
    ----------
    problem : rows, labels and first weights; its learning rate and batch size do not count.
    batch_size : rows per step.
    lr, l2 : (G,) float32, the settings of each configuration.
    """

    problem: Problem
    batch_size: int
    lr: Array
    l2: Array


def grid_stacks(problem: Problem) -> list[Stack]:
    """Return the 27 configurations as a stack per batch size, l2 outermost within each."""
    l2, lr = np.array(list(product(GRID_L2, GRID_LR)), np.float32).T
    return [Stack(problem, size, lr, l2) for size in GRID_BATCH_SIZES]


class GridPeer(ABC):
    """One contestant with its own copy of a stack's weights.

    Attributes
    ----------
    name : for tables and plots.
    backend : the library that it uses.
    """

    name: ClassVar[str]
    backend: ClassVar[Library] = libraries.NUMPY

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.reset()

    def reset(self) -> None:
        """Give every configuration the problem's first weights."""
        p, G = self.stack.problem, len(self.stack.lr)
        self.W, self.b = np.stack(G * [p.W]), np.stack(G * [p.b])

    @abstractmethod
    def train(self, orders: Sequence[Array]) -> None:
        """Train one epoch per order of rows; the learning rates decay between them."""

    def weights(self) -> tuple[Array, Array]:
        """Return W (G, K, d) and b (G, K) as NumPy arrays."""
        return self.W, self.b


class AllStacks:
    """A rival on all stacks, one after the other."""

    def __init__(self, kind: type[GridPeer], stacks: Sequence[Stack]) -> None:
        self.peers = [kind(stack) for stack in stacks]

    def reset(self) -> None:
        """Give every configuration the problem's first weights."""
        for peer in self.peers:
            peer.reset()

    def train(self, orders: Sequence[Array]) -> None:
        """Train one epoch per order of rows."""
        for peer in self.peers:
            peer.train(orders)

    def weights(self) -> list[tuple[Array, Array]]:
        """Return W (K, d) and b (K,) of every configuration."""
        return [pair for peer in self.peers for pair in zip(*peer.weights(), strict=True)]


class Together:
    """fastlin: all configurations in one call an epoch, as `fastlin grid` trains them."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks
        self.reset()

    def reset(self) -> None:
        """Give every configuration the problem's first weights."""
        p, count = self.stacks[0].problem, sum(len(stack.lr) for stack in self.stacks)
        self.W, self.b = np.stack(count * [p.W]), np.stack(count * [p.b])

    def train(self, orders: Sequence[Array]) -> None:
        """Train one epoch per order of rows; the learning rates decay between them."""
        from fastlin.engine import EntryEpoch, unchecked_sgd_epochs  # noqa: PLC0415

        p = self.stacks[0].problem
        settings = [
            (float(lr), float(l2), stack.batch_size)
            for stack in self.stacks
            for lr, l2 in zip(stack.lr, stack.l2, strict=True)
        ]
        for number, order in enumerate(orders):
            epochs = [
                EntryEpoch(e, order, lr * GRID_LR_DECAY**number, l2, size, 0.0)
                for e, (lr, l2, size) in enumerate(settings)
            ]
            unchecked_sgd_epochs(p.X, p.y, self.W, self.b, epochs, loss=Loss.SOFTMAX)

    def weights(self) -> list[tuple[Array, Array]]:
        """Return W (K, d) and b (K,) of every configuration."""
        return list(zip(self.W, self.b, strict=True))


class LoopedFastlin(GridPeer):
    """fastlin, one configuration after the other."""

    name = "fastlin, one by one"
    backend = libraries.FASTLIN

    def train(self, orders: Sequence[Array]) -> None:
        from fastlin.engine import unchecked_sgd_epoch  # noqa: PLC0415  (loads Numba)

        s, p = self.stack, self.stack.problem
        for W, b, lr, l2 in zip(self.W, self.b, s.lr.tolist(), s.l2.tolist(), strict=True):
            for epoch, order in enumerate(orders):
                unchecked_sgd_epoch(
                    p.X, p.y, order, W, b, lr=lr * GRID_LR_DECAY**epoch,
                    batch_size=s.batch_size, l2=l2, loss=Loss.SOFTMAX,
                )  # fmt: skip


class LoopedTwin(GridPeer):
    """`fastlin.reference`, one configuration after the other: what all others must agree with."""

    name = "NumPy twin, one by one"

    def train(self, orders: Sequence[Array]) -> None:
        s, p = self.stack, self.stack.problem
        for W, b, lr, l2 in zip(self.W, self.b, s.lr.tolist(), s.l2.tolist(), strict=True):
            for epoch, order in enumerate(orders):
                reference.sgd_epoch(
                    p.features, p.y, order, W, b, lr=lr * GRID_LR_DECAY**epoch,
                    l2=l2, batch_size=s.batch_size, loss=Loss.SOFTMAX,
                )  # fmt: skip


class StackedNumpy(GridPeer):
    """NumPy into preallocated arrays."""

    name = "NumPy, stacked"

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        (G, K, d), B = self.W.shape, stack.batch_size
        self.X_batch = np.empty((B, d), np.float32)
        self.scores = np.empty((B, G * K), np.float32)
        self.dW = np.empty((G * K, d), np.float32)

    def train(self, orders: Sequence[Array]) -> None:
        s, p = self.stack, self.stack.problem
        for epoch, order in enumerate(orders):
            lr = s.lr * np.float32(GRID_LR_DECAY**epoch)
            for start in range(0, len(order), s.batch_size):
                rows = order[start : start + s.batch_size]
                X = self.X_batch[: len(rows)]
                np.take(p.features, rows, axis=0, out=X, mode="clip")
                self._step(X, p.y[rows], lr)

    def _step(self, X: Array, y: Array, lr: Array) -> None:
        (G, K, d), B = self.W.shape, len(X)
        flat = self.scores[:B]
        np.matmul(X, self.W.reshape(G * K, d).T, out=flat)
        scores = flat.reshape(B, G, K)
        scores += self.b
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        scores[np.arange(B), :, y] -= 1
        scores *= (lr / B)[:, None]
        self.b -= scores.sum(axis=0)
        np.matmul(flat.T, X, out=self.dW)
        self.W *= (1 - 2 * lr * self.stack.l2)[:, None, None]
        self.W -= self.dW.reshape(G, K, d)


class StackedTorch(GridPeer):
    """PyTorch without autograd, into preallocated tensors."""

    name = "PyTorch, stacked"
    backend = libraries.TORCH

    def __init__(self, stack: Stack) -> None:
        import torch  # noqa: PLC0415

        self.torch = torch
        super().__init__(stack)
        p, (G, K, d), B = stack.problem, self.W.shape, stack.batch_size
        self.X, self.y = torch.from_numpy(p.features), torch.from_numpy(p.y)
        self.X_batch, self.scores = torch.empty(B, d), torch.empty(B, G * K)
        self.probs = torch.empty(B, G, K)
        self.minus_one = torch.full((B, G, 1), -1.0)

    def reset(self) -> None:
        super().reset()
        self.W, self.b = self.torch.from_numpy(self.W), self.torch.from_numpy(self.b)

    def train(self, orders: Sequence[Array]) -> None:
        size = self.stack.batch_size
        lrs = self.torch.from_numpy(self.stack.lr)
        l2 = self.torch.from_numpy(self.stack.l2)
        with self.torch.no_grad():
            for epoch, order in enumerate(orders):
                lr = lrs * GRID_LR_DECAY**epoch
                decay = (1 - 2 * lr * l2)[:, None, None]
                order = self.torch.from_numpy(order)
                batches = zip(order.split(size), self.y[order].split(size), strict=True)
                for rows, y in batches:
                    X = self.X_batch[: len(rows)]
                    self.torch.index_select(self.X, 0, rows, out=X)
                    self._step(X, y, (lr / len(rows))[:, None], decay)

    def _step(self, X: Any, y: Any, rate: Any, decay: Any) -> None:
        (G, K, d), B = self.W.shape, len(X)
        scores, probs = self.scores[:B], self.probs[:B]
        W = self.W.view(G * K, d)
        self.torch.addmm(self.b.view(-1), X, W.t(), out=scores)
        self.torch.softmax(scores.view(B, G, K), 2, out=probs)
        probs.scatter_add_(2, y.view(B, 1, 1).expand(B, G, 1), self.minus_one[:B])
        probs.mul_(rate)
        self.W.mul_(decay)
        W.addmm_(probs.view(B, G * K).t(), X, alpha=-1)
        self.b.sub_(probs.sum(0))

    def weights(self) -> tuple[Array, Array]:
        return self.W.numpy(), self.b.numpy()


class StackedJax(GridPeer):
    """JAX with the whole epoch compiled as one scan, donating the weights."""

    name = "JAX, stacked"
    backend = libraries.JAX

    def __init__(self, stack: Stack) -> None:
        import jax  # noqa: PLC0415

        self.jax = jax
        super().__init__(stack)
        self.X = jax.numpy.asarray(stack.problem.features)
        self.y = jax.numpy.asarray(stack.problem.y.astype(np.int32))
        self._epoch = jax.jit(self._epoch_of, donate_argnums=(0, 1))

    def reset(self) -> None:
        super().reset()
        self.W, self.b = self.jax.numpy.array(self.W), self.jax.numpy.array(self.b)

    def train(self, orders: Sequence[Array]) -> None:
        for epoch, order in enumerate(orders):
            lr = self.stack.lr * np.float32(GRID_LR_DECAY**epoch)
            order = order.astype(np.int32)
            self.W, self.b = self._epoch(self.W, self.b, self.X, self.y, order, lr)
        self.W.block_until_ready()

    def _epoch_of(self, W: Any, b: Any, X: Any, y: Any, order: Any, lr: Any) -> Any:
        size = self.stack.batch_size
        whole = len(order) - len(order) % size

        def step(weights: Any, rows: Any) -> Any:
            return self._step(*weights, X[rows], y[rows], lr), None

        weights, _ = self.jax.lax.scan(step, (W, b), order[:whole].reshape(-1, size))
        if whole < len(order):
            weights, _ = step(weights, order[whole:])
        return weights

    def _step(self, W: Any, b: Any, X: Any, y: Any, lr: Any) -> Any:
        (G, K, d), B = W.shape, len(X)
        scores = (X @ W.reshape(G * K, d).T).reshape(B, G, K) + b
        probs = self.jax.nn.softmax(scores)
        dscores = (probs - self.jax.nn.one_hot(y, K)[:, None]) * (lr / B)[:, None]
        dW = (dscores.reshape(B, G * K).T @ X).reshape(G, K, d)
        return (1 - 2 * lr * self.stack.l2)[:, None, None] * W - dW, b - dscores.sum(0)

    def weights(self) -> tuple[Array, Array]:
        return np.asarray(self.W), np.asarray(self.b)


class VmappedJax(StackedJax):
    """JAX with one configuration's step under `vmap`: the compiler does the stacking."""

    name = "JAX, vmap"

    def _step(self, W: Any, b: Any, X: Any, y: Any, lr: Any) -> Any:
        def one(W: Any, b: Any, lr: Any, l2: Any) -> Any:
            probs = self.jax.nn.softmax(X @ W.T + b)
            dscores = (probs - self.jax.nn.one_hot(y, len(b))) * (lr / len(X))
            return (1 - 2 * lr * l2) * W - dscores.T @ X, b - dscores.sum(0)

        return self.jax.vmap(one)(W, b, lr, self.stack.l2)


GRID_RIVALS: tuple[type[GridPeer], ...] = (StackedNumpy, StackedTorch, StackedJax, VmappedJax)
