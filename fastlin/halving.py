"""Successive halving: which entries of a grid go on, decided from their first epochs.

Early ranks mislead where a large learning rate shakes the weights: what looks worst after a tenth
of the epochs is often best when the learning rate has decayed. So an entry is judged twice: by
its best score so far, and by the loss that it promises for its last epoch, where the part that
rises and falls with the learning rate is gone. The two rankings are taken in turns. And of
entries that do the same so far, as those do that differ in a setting without effect, one is sent
ahead of the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastlin.config import TrainConfig
from fastlin.grids import Rule, Rung
from fastlin.results import History

# A weighted fit sees little of an epoch as long ago as the first ones are at a decision.
_WEIGHT_PER_EPOCH = 0.64

# Entries whose validation accuracies differ by less than this on average are taken as the same.
_SAME_ACCURACY = 0.005


@dataclass(frozen=True)
class Plan:
    """When entries are compared, and how many go on.

    The default lets a winner that is late, as one with large and noisy steps is, among the first
    fifth until the learning rate has fallen far, and spends 31 % of the epochs of a grid of 27.

    Attributes
    ----------
    decisions : for each, when it is taken, as a fraction of all epochs, and the fraction of all
        entries that go on.
    """

    decisions: tuple[tuple[float, float], ...] = ((0.15, 0.36), (0.325, 0.2), (0.6, 0.07))

    def rungs(self, count: int, epochs: int) -> dict[int, int]:
        """Return {epoch: how many go on} for a grid of `count` entries."""
        rungs = {}
        for when, share in self.decisions:
            epoch, keep = max(1, round(when * epochs)), math.ceil(count * share)
            if epoch < epochs and keep < count:
                rungs[epoch] = keep
        return rungs


def decide(
    histories: Mapping[int, History],
    configs: Mapping[int, TrainConfig],
    penalties: Mapping[int, float],
    rule: Rule,
    keep: int,
) -> Rung:
    """Return which entries go on and which stop, from equally long histories.

    Parameters
    ----------
    histories, configs : of the entries that are compared, by index.
    penalties : l2 * sum(W**2) of each now.
    rule : by which the winner will be chosen.
    keep : how many go on, at least 1.
    """
    promised = {
        index: promised_cost(history, configs[index].lr_at(configs[index].epochs))
        - (penalties[index] if rule.select == "val_accuracy" else 0.0)
        for index, history in histories.items()
    }
    so_far = Rule(rule.select, "best")
    by_score = sorted(histories, key=lambda i: (-rule.sign * so_far.score(histories[i]), i))
    by_promise = [
        sorted((i for i in histories if configs[i].loss == loss), key=lambda i: (promised[i], i))
        for loss in dict.fromkeys(configs[i].loss for i in by_score)
    ]
    order = _twins_last(_take_turns([*by_promise, by_score]), histories)
    epoch = len(histories[order[0]])
    return Rung(epoch, tuple(order[:keep]), tuple(order[keep:]))


def promised_cost(history: History, last_lr: float) -> float:
    """Return the validation cost that a history promises for the learning rate `last_lr`.

    That of a line fitted to cost against learning rate, the last epochs weighing most and the
    first, in which everything improves, left out. A line that falls (or none, as the learning
    rate is constant) promises only the weighted mean.
    """
    left_out = 1 if len(history) >= 3 else 0
    lr, cost = history.lr[left_out:], history.val_cost[left_out:]
    weights = _WEIGHT_PER_EPOCH ** np.arange(len(lr))[::-1]
    weights /= weights.sum()
    mean_lr, mean_cost = float(weights @ lr), float(weights @ cost)
    spread = float(weights @ (lr - mean_lr) ** 2)
    slope = float(weights @ ((lr - mean_lr) * (cost - mean_cost))) / spread if spread > 0 else 0.0
    return mean_cost + max(slope, 0.0) * (last_lr - mean_lr)


def _take_turns(rankings: Iterable[Sequence[int]]) -> list[int]:
    """Return all indices: the first of each ranking, then the second of each, and so on."""
    turns = itertools.zip_longest(*rankings)
    return [i for i in dict.fromkeys(itertools.chain.from_iterable(turns)) if i is not None]


def _twins_last(order: Sequence[int], histories: Mapping[int, History]) -> list[int]:
    """Return the order with entries that do the same as an earlier one moved to its end."""
    different: list[int] = []
    twins: list[int] = []
    for index in order:
        accuracy = histories[index].val_accuracy
        is_twin = any(
            np.abs(accuracy - histories[other].val_accuracy).mean() < _SAME_ACCURACY
            for other in different
        )
        (twins if is_twin else different).append(index)
    return [*different, *twins]
