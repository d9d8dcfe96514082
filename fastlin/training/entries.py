"""Many runs on the same rows: one place that trains, and one that evaluates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import engine, passes
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.engine import Array, EntryEpoch
from fastlin.passes import Measured, Reading
from fastlin.threads import current_count
from fastlin.training.order import epoch_parts
from fastlin.training.standardization import Standardization
from fastlin.training.state import RunState
from fastlin.training.weighting import row_weights

# Settings that entries must have in common: to be parts of one array, and to read rows alike.
SHARED = ("class_weight", "dtype", "standardize")

# So many classifiers at most are evaluated in one pass over the rows. More of them would gain
# nothing, and need memory for their losses.
_EVALUATED_TOGETHER = 256


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
        configs = [state.config for state in self.states]
        counts = Counter(map(_kind, configs))
        one_of_each = {_kind(config): config for config in configs}
        data = self._data
        spare = Entries(data, list(one_of_each.values()), self._standardization)
        one_row = Dataset(data.X[:1], data.y[:1], data.class_names, scale=data.scale)
        for e, (kind, config) in enumerate(one_of_each.items()):
            epoch = _entry_epoch(e, config, np.zeros(1, np.int64), 0.0)
            if counts[kind] > 1:
                spare._run([epoch, epoch], mirrored=False)
            if counts[kind] == 1 or counts[kind] % current_count():
                spare._run([epoch], mirrored=False, pieces=spare._pieces(e))
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
        orders: dict[tuple[int, bool, int, int], list[tuple[NDArray[np.int64], bool]]] = {}
        calls: dict[tuple[Any, ...], list[EntryEpoch]] = {}
        for e, epoch in epochs.items():
            config = self.states[e].config
            batch_size = config.batch_size if config.flip else 0
            key = config.seed, config.shuffle, epoch, batch_size
            if key not in orders:
                orders[key] = epoch_parts(config, len(self._data), epoch)
            for number, (order, mirrored) in enumerate(orders[key]):
                part = _entry_epoch(e, config, order, config.lr_at(epoch))
                calls.setdefault((number, *_kind(config), mirrored), []).append(part)
        loss_sums = dict.fromkeys(epochs, 0.0)
        for (*_, mirrored), parts in sorted(calls.items(), key=lambda call: call[0][0]):
            for part, mean_loss in self._train_kind(parts, mirrored=mirrored):
                loss_sums[part.entry] += mean_loss * len(part.order)
        return loss_sums

    def _train_kind(
        self, epochs: list[EntryEpoch], *, mirrored: bool
    ) -> Iterator[tuple[EntryEpoch, float]]:
        """Train entries of one kind; give every epoch with its mean loss.

        Each thread takes as many whole entries as the others. Those left over are trained one
        after another by all threads together, if their steps are large enough to be shared.
        """
        by_batches = sorted(
            epochs, key=lambda epoch: (epoch.batch_size, self.states[epoch.entry].config.seed)
        )
        left_over = by_batches[len(epochs) // current_count() * current_count() :]
        if not all(self._pieces(epoch.entry) > 1 for epoch in left_over):
            left_over = []
        for epoch in left_over:
            pieces = self._pieces(epoch.entry)
            yield epoch, float(self._run([epoch], mirrored=mirrored, pieces=pieces)[0])
        together = by_batches[: len(epochs) - len(left_over)]
        if together:
            mean_losses = self._run(together, mirrored=mirrored)
            yield from zip(together, mean_losses.tolist(), strict=True)

    def _pieces(self, entry: int) -> int:
        """Return how many threads can share a step of an entry."""
        batch_size = min(self.states[entry].config.batch_size, len(self._data))
        return engine.pieces_of_step(batch_size, *self._W.shape[1:])

    def _run(
        self, epochs: list[EntryEpoch], *, mirrored: bool, pieces: int = 1
    ) -> NDArray[np.float64]:
        """Train entries of one kind on rows as they are or mirrored; return their mean losses."""
        states = [self.states[epoch.entry] for epoch in epochs]
        config = states[0].config
        for state in states if mirrored else ():
            state.mirror()
        mean_losses = engine.unchecked_sgd_epochs(
            self._data.X,
            self._data.y,
            self._W,
            self._b,
            epochs,
            loss=config.loss,
            features=states[0].features(mirrored=mirrored),
            scales=self._scales,
            velocity=self._velocity if config.momentum > 0 else None,
            nesterov=config.nesterov,
            pieces=pieces,
            weights=self._weights,
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
        measured: dict[int, Measured] = {}
        for loss, entries in by_loss.items():
            for first in range(0, len(entries), _EVALUATED_TOGETHER):
                together = entries[first : first + _EVALUATED_TOGETHER]
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
