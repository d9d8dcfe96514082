"""What a journal says of a search, line by line: written, and read back with care.

{"entry": 3, "epochs": [[1, 0.1, ...], ...]}     epochs of an entry; null where not evaluated
{"entry": 3, "diverged": 2}                      the epoch in which an entry diverged
{"rung": 10, "kept": [...], "stopped": [...], "alike": [[4, 1], ...]}     a decision
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastlin.history import EpochRecord
from fastlin.search.ranking import Rung


class EpochsEvent(NamedTuple):
    """Finished epochs of an entry, one after another."""

    entry: int
    records: tuple[EpochRecord, ...]


class DivergedEvent(NamedTuple):
    """An entry diverged in an epoch."""

    entry: int
    epoch: int


Event = EpochsEvent | DivergedEvent | Rung


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as plain JSON values."""
    if isinstance(event, Rung):
        lists = {name: getattr(event, name) for name in ("kept", "stopped", "alike")}
        return {"rung": event.epoch, **lists}
    if isinstance(event, DivergedEvent):
        return {"entry": event.entry, "diverged": event.epoch}
    rows = [
        [None if isinstance(value, float) and math.isnan(value) else value for value in record]
        for record in event.records
    ]
    return {"entry": event.entry, "epochs": rows}


def of_json(content: Mapping[str, Any], epochs: Sequence[int]) -> Event:
    """Return the event that `to_json` wrote.

    Parameters
    ----------
    content : Mapping[str, Any]
        A line of a journal.
    epochs : Sequence[int]
        How many there are of every entry of the search.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        If it is no event of such a search.
    """

    def entry(value: Any) -> int:
        return _whole(value, 0, len(epochs) - 1)

    if "rung" in content:
        kept, stopped = (tuple(map(entry, content[name])) for name in ("kept", "stopped"))
        alike = tuple((entry(index), entry(other)) for index, other in content["alike"])
        return Rung(_whole(content["rung"], 1, max(epochs)), kept, stopped, alike)
    index = entry(content["entry"])
    if "diverged" in content:
        return DivergedEvent(index, _whole(content["diverged"], 1, epochs[index]))
    return EpochsEvent(index, tuple(_record(row, epochs[index]) for row in content["epochs"]))


def same_epoch(record: EpochRecord, other: EpochRecord) -> bool:
    """Return whether two records say the same, as far as both were evaluated."""
    return all(a == b or math.isnan(a) or math.isnan(b) for a, b in zip(record, other, strict=True))


def _whole(value: Any, low: int, high: int) -> int:
    """Return a whole number of a range. Raises ValueError if it is none."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"no whole number from {low} to {high}")
    return value


def _finite(value: Any) -> float:
    """Return a finite number. Raises ValueError if it is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a measure is no finite number")
    return float(value)


def _record(row: Sequence[Any], epochs: int) -> EpochRecord:
    """Return an epoch of an entry. Raises ValueError if it is none."""
    epoch, lr, *on_train, val_cost, val_accuracy = row
    of_train = 2 * [math.nan]
    if on_train != [None, None]:  # training rows need not be evaluated
        train_cost, train_accuracy = on_train
        of_train = [_finite(train_cost), _finite(train_accuracy)]
    measures = [_finite(lr), *of_train, _finite(val_cost), _finite(val_accuracy)]
    return EpochRecord._make([_whole(epoch, 1, epochs), *measures])
