"""Many runs on the same rows: one place that trains, and one that evaluates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import engine, passes
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.data.stored import StoredRows
from fastlin.engine import Array, EntryEpoch
from fastlin.passes import Measured, Reading
from fastlin.threads import current_count
from fastlin.training.order import Window, epoch_windows, halves, rows_of_window
from fastlin.training.standardization import Standardization
from fastlin.training.state import RunState
from fastlin.training.weighting import row_weights

# Settings that entries must have in common: to be parts of one array, and to read rows alike.
SHARED = ("class_weight", "dtype", "standardize")

# So many classifiers at most are evaluated in one pass over the rows, or so many bytes of weights.
# More would gain nothing, and need memory for their losses, and for copies of their weights.
_EVALUATED_TOGETHER, _BYTES_EVALUATED_TOGETHER = 256, 2**24


class _Rows(NamedTuple):
    """Rows (n, d) in memory, with labels (n,) and weights (n,) or None, to be trained on."""

    X: Array
    y: Array
    weights: NDArray[np.float64] | None


class Entries:
    """Many runs on the same rows, of which every array is a part of one over all of them.

    So a kernel takes many at once: a batch of rows that is in the caches serves all of them. They
    have the settings `SHARED` in common.

    Attributes
    ----------
    states : list[RunState]
        What is trained of every entry.

    Parameters
    ----------
    data : Dataset
        The training rows.
    configs : Sequence[TrainConfig]
        The settings of every entry.
    standardization : Standardization or None
        That of the training rows, if the settings ask for it.

    Raises
    ------
    InputError
        If images are to be mirrored and the rows are none.
    """

    def __init__(
        self,
        data: Dataset,
        configs: Sequence[TrainConfig],
        standardization: Standardization | None,
    ) -> None:
        self._data = data
        self._standardization = standardization
        self._weights = row_weights(data, configs[0])
        self.states = [RunState(data, config, standardization) for config in configs]
        self._W = np.stack([state.W for state in self.states])
        self._b = np.stack([state.b for state in self.states])
        self._scales = np.concatenate([state.scale for state in self.states])
        self._velocity: tuple[Array, Array] | None = None
        if any(state.velocity for state in self.states):
            self._velocity = np.zeros_like(self._W), np.zeros_like(self._b)
        for e, state in enumerate(self.states):
            state.W, state.b, state.scale = self._W[e], self._b[e], self._scales[e : e + 1]
            if state.velocity is not None and self._velocity is not None:
                state.velocity = self._velocity[0][e], self._velocity[1][e]

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel that the entries need."""
        by_kind: dict[tuple[Any, ...], list[EntryEpoch]] = {}
        for e, state in enumerate(self.states):
            epoch = _entry_epoch(e, state.config, np.zeros(1, np.int64), 0.0)
            by_kind.setdefault(_kind(state.config), []).append(epoch)
        data = self._data
        one_of_each = [self.states[epochs[0].entry].config for epochs in by_kind.values()]
        spare = Entries(data, one_of_each, self._standardization)
        one_row = Dataset(data.X[:1], data.y[:1], data.class_names, scale=data.scale)
        weights = None if self._weights is None else self._weights[:1]
        rows = _Rows(data.X[:1], data.y[:1], weights)
        for e, epochs in enumerate(by_kind.values()):
            for pieces in {pieces for _, pieces in self._divided(epochs)}:
                spare._run(rows, [epochs[0]._replace(entry=e)], mirrored=False, pieces=pieces)
            spare._measure({e: spare.states[e].weights()}, one_row, None)

    def train(self, epochs: Mapping[int, int]) -> dict[int, float]:
        """Train an epoch of some entries.

        Parameters
        ----------
        epochs : Mapping[int, int]
            For each of those entries which epoch, counted from 1.

        Returns
        -------
        dict[int, float]
            The sum of the losses of the rows, as the epoch met them.
        """
        by_order: dict[tuple[Any, ...], dict[int, int]] = {}
        for e, epoch in epochs.items():
            config = self.states[e].config
            is_whole = not 0 < config.window < len(self._data)
            batch_size = 0 if is_whole and config.shuffle and not config.flip else config.batch_size
            key = config.seed, config.shuffle, config.window, config.flip, epoch, batch_size
            by_order.setdefault(key, {})[e] = epoch
        loss_sums = dict.fromkeys(epochs, 0.0)
        X = self._data.X
        if isinstance(X, StoredRows):
            for alike in by_order.values():
                for rows, order in self._read_windows(X, *next(iter(alike.items()))):
                    self._train_orders(rows, [(alike, self._halves(alike, order))], loss_sums)
            return loss_sums
        orders = []
        for alike in by_order.values():
            windows = self._windows(*next(iter(alike.items())))
            parts = [
                self._halves(alike, order if rows is None else rows[order])
                for rows, order in windows
            ]
            orders.append((alike, list(chain.from_iterable(parts))))
        self._train_orders(_Rows(X, self._data.y, self._weights), orders, loss_sums)
        return loss_sums

    def _windows(self, entry: int, epoch: int) -> Iterator[Window]:
        """Return the windows of an epoch of an entry."""
        X = self._data.X
        row_bytes = X.shape[1] * X.dtype.itemsize
        return epoch_windows(self.states[entry].config, len(X), row_bytes, epoch)

    def _read_windows(
        self, X: StoredRows, entry: int, epoch: int
    ) -> Iterator[tuple[_Rows, NDArray[np.int64]]]:
        """Return the rows of every window, read from files, and the order in which to take them."""
        waiting: deque[Window] = deque()

        def numbers() -> Iterator[NDArray[np.int64]]:
            for window in self._windows(entry, epoch):
                waiting.append(window)
                yield np.arange(len(X)) if window.rows is None else window.rows

        config = self.states[entry].config
        most = rows_of_window(config, len(X), X.row_bytes) + config.batch_size
        for rows in X.windows(numbers(), min(most, len(X))):
            window = waiting.popleft()
            chosen = slice(None) if window.rows is None else window.rows
            weights = None if self._weights is None else self._weights[chosen]
            yield _Rows(rows, self._data.y[chosen], weights), window.order

    def _halves(
        self, alike: Mapping[int, int], order: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], bool]]:
        """Return the parts of an order that entries share, and whether each is mirrored."""
        entry, epoch = next(iter(alike.items()))
        return halves(self.states[entry].config, order, epoch)

    def _train_orders(
        self,
        rows: _Rows,
        orders: Iterable[tuple[Mapping[int, int], list[tuple[NDArray[np.int64], bool]]]],
        loss_sums: dict[int, float],
    ) -> None:
        """Train entries, with their epochs, on the parts of their orders; add up their losses."""
        calls: dict[tuple[Any, ...], list[EntryEpoch]] = {}
        for alike, parts in orders:
            for e, epoch in alike.items():
                config = self.states[e].config
                for number, (order, mirrored) in enumerate(parts):
                    part = _entry_epoch(e, config, order, config.lr_at(epoch))
                    calls.setdefault((number, *_kind(config), mirrored), []).append(part)
        for (*_, mirrored), together in sorted(calls.items(), key=lambda call: call[0][0]):
            for part, mean_loss in self._train_kind(rows, together, mirrored=mirrored):
                loss_sums[part.entry] += mean_loss * len(part.order)

    def _train_kind(
        self, rows: _Rows, epochs: list[EntryEpoch], *, mirrored: bool
    ) -> Iterator[tuple[EntryEpoch, float]]:
        """Train entries of one kind; give every epoch with its mean loss."""
        for together, pieces in self._divided(epochs):
            mean_losses = self._run(rows, together, mirrored=mirrored, pieces=pieces)
            yield from zip(together, mean_losses.tolist(), strict=True)

    def _divided(self, epochs: list[EntryEpoch]) -> Iterator[tuple[list[EntryEpoch], int]]:
        """Divide epochs of one kind among calls; give the epochs and the `pieces` of each.

        Fewer entries than threads are trained one after another by all threads together, if their
        steps are large enough to be shared. Of others each thread takes whole ones.
        """
        by_batches = sorted(
            epochs, key=lambda epoch: (epoch.batch_size, self.states[epoch.entry].config.seed)
        )
        pieces = [self._pieces(epoch.entry) for epoch in by_batches]
        if len(epochs) < current_count() and min(pieces) > 1:
            yield from (([epoch], shared) for epoch, shared in zip(by_batches, pieces, strict=True))
            return
        numbers = 2 if epochs[0].momentum > 0 else 1  # of every weight, with its velocity
        K, d = self._W.shape[1:]
        for first, last in engine.groups(len(epochs), K * d * numbers * self._W.itemsize):
            yield by_batches[first:last], 1

    def _pieces(self, entry: int) -> int:
        """Return how many threads can share a step of an entry."""
        batch_size = min(self.states[entry].config.batch_size, len(self._data))
        return engine.pieces_of_step(batch_size, *self._W.shape[1:])

    def _run(
        self, rows: _Rows, epochs: list[EntryEpoch], *, mirrored: bool, pieces: int = 1
    ) -> NDArray[np.float64]:
        """Train entries of one kind on rows as they are or mirrored; return their mean losses."""
        states = [self.states[epoch.entry] for epoch in epochs]
        config = states[0].config
        for state in states if mirrored else ():
            state.mirror()
        mean_losses = engine.unchecked_sgd_epochs(
            rows.X,
            rows.y,
            self._W,
            self._b,
            epochs,
            loss=config.loss,
            features=states[0].features(mirrored=mirrored),
            scales=self._scales,
            velocity=self._velocity if config.momentum > 0 else None,
            nesterov=config.nesterov,
            pieces=pieces,
            weights=rows.weights,
        )
        for state in states if mirrored else ():
            state.mirror()
        return mean_losses

    def measure(
        self, weights: Mapping[int, tuple[Array, Array]], data: Dataset
    ) -> dict[int, Measured]:
        """Return cost and accuracy of entries' classifiers on rows.

        Parameters
        ----------
        weights : Mapping[int, tuple[Array, Array]]
            For every entry what its state returned as weights.
        data : Dataset
            The rows, of which the cost is weighted as `weighting.row_weights` says.
        """
        of_rows = self._weights
        if data is not self._data:
            of_rows = row_weights(data, self.states[0].config)
        return self._measure(weights, data, of_rows)

    def _measure(
        self,
        weights: Mapping[int, tuple[Array, Array]],
        data: Dataset,
        weights_of_rows: NDArray[np.float64] | None,
    ) -> dict[int, Measured]:
        """Do `measure` with given weights (n,) of the rows."""
        by_loss: dict[Any, list[int]] = {}
        for e in weights:
            by_loss.setdefault(self.states[e].config.loss, []).append(e)
        of_bytes = max(1, _BYTES_EVALUATED_TOGETHER // self._W[0].nbytes)
        at_once = min(_EVALUATED_TOGETHER, of_bytes)
        measured: dict[int, Measured] = {}
        for loss, entries in by_loss.items():
            for first in range(0, len(entries), at_once):
                together = entries[first : first + at_once]
                results = passes.unchecked_measure(
                    data.X,
                    data.y,
                    np.stack([weights[e][0] for e in together]),
                    np.stack([weights[e][1] for e in together]),
                    loss=loss,
                    penalties=[self.states[e].penalty(weights[e][0]) for e in together],
                    reading=Reading(data.scale, self.states[together[0]].offset),
                    weights=weights_of_rows,
                )
                measured |= zip(together, results, strict=True)
        return measured


def _kind(config: TrainConfig) -> tuple[Any, bool, bool]:
    """Return what entries must have in common to be trained by one kernel."""
    return config.loss, config.momentum > 0, config.nesterov


def _entry_epoch(
    entry: int, config: TrainConfig, order: NDArray[np.int64], lr: float
) -> EntryEpoch:
    """Return an epoch of a run as `engine.unchecked_sgd_epochs` takes it."""
    return EntryEpoch(entry, order, lr, config.penalty_factor, config.batch_size, config.momentum)
