"""How far a search is: what its callers are told after every epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class GridProgress(NamedTuple):
    """How far a search is after an epoch of all its active entries.

    Attributes
    ----------
    epoch, epochs : int
        The epoch that just ended, and how many there are. It begins anew when entries that were
        stopped are trained on.
    entries : int
        How many there are.
    active : int
        How many of them were trained in this epoch.
    finished, stopped, diverged : int
        How many of them are.
    best : int or None
        Index of the best entry so far, None if there is none.
    score : float
        Its score, NaN if there is none.
    seconds : float
        Since the search began, or was resumed.
    seconds_left : float
        Until its end, estimated. Entries may yet diverge or be stopped; those that were stopped
        and must be trained on are not foreseen.
    """

    epoch: int
    epochs: int
    entries: int
    active: int
    finished: int
    stopped: int
    diverged: int
    best: int | None
    score: float
    seconds: float
    seconds_left: float


def entry_epochs_left(epoch: int, ends: Sequence[int], rungs: Mapping[int, int]) -> int:
    """Return how many epochs of single entries are left.

    Parameters
    ----------
    epoch : int
        The epoch that just ended.
    ends : Sequence[int]
        The last epoch of every entry that goes on.
    rungs : Mapping[int, int]
        How many go on at most, after some epochs.
    """
    left, most = 0, len(ends)
    alive, ending = len(ends), Counter(ends)
    for later in range(epoch + 1, max(ends, default=epoch) + 1):
        alive -= ending[later - 1]
        left += min(alive, most)
        most = min(most, rungs.get(later, most))
    return left
