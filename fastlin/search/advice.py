"""What a user should try next, by what a finished search shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastlin.config import SETTINGS
from fastlin.data.dataset import Split
from fastlin.errors import InputError
from fastlin.metrics import binomial_error
from fastlin.search.ranking import GridEntry, GridResult, value_text
from fastlin.settings import Number, Whole
from fastlin.training.advice import Advice, advise

_LEAST_VALUES = 3  # of fewer, one is at the edge in any case
_LEAST_LEAD = 2.0  # of an accuracy, in standard errors, so that the lead is no accident
_LEAST_GAIN = 0.01  # of a cost or a metric, as a share: a smaller difference is noise


def advise_on_search(result: GridResult, split: Split) -> tuple[Advice, ...]:
    """Return what should be tried after a search.

    Parameters
    ----------
    result : GridResult
    split : Split
        What was searched on, with validation rows.

    Returns
    -------
    tuple[Advice, ...]
        What is striking of the winner's run, then of the lists.
    """
    best = result.best
    if best.record is None:
        return ()
    found = list(advise(best.config, best.history, split.train))
    if len(result.entries) > 1 and split.val is not None:
        found += _on_edges(result, len(split.val))
        found += _on_noise(result, len(split.val))
    return tuple(found)


def _on_edges(result: GridResult, val_rows: int) -> Iterator[Advice]:
    """Advise to go on where the winner has the last value of a list, and that is no accident."""
    finished = [entry for entry in result.entries if entry.status == "finished"]
    winner = result.best.config
    for name in result.swept:
        kind = SETTINGS[name].plain_kind
        if name == "seed" or not isinstance(kind, Number | Whole):
            continue
        # Values that diverged count, too: beyond them there is nothing to find.
        tried = sorted({getattr(entry.config, name) for entry in result.entries})
        value = getattr(winner, name)
        if len(tried) < _LEAST_VALUES or value not in (tried[0], tried[-1]) or value == 0:
            continue
        is_largest = value == tried[-1]
        others = [entry for entry in finished if getattr(entry.config, name) != value]
        if not others or not all(_is_clearly_better(result, e, val_rows) for e in others):
            continue
        beyond = _beyond(tried, is_largest=is_largest)
        try:
            for one in beyond:
                kind.checked(name, one)
        except InputError:  # there is nothing beyond it
            continue
        size = "largest" if is_largest else "smallest"
        yield Advice(
            f"the winner has the {size} {name} of those tried, {value_text(value)}, and leads "
            f"clearly; search {name} {', '.join(map(value_text, (value, *beyond)))}, too",
            **{name: (value, *beyond)},
        )


def _is_clearly_better(result: GridResult, other: GridEntry, val_rows: int) -> bool:
    """Return whether the winner is better than another entry by more than noise."""
    best = result.best.record
    if best is None or other.record is None:
        return False
    if result.ranked_by.select == "val_accuracy":
        noise = binomial_error(best.val_accuracy, val_rows)
        return best.val_accuracy - other.record.val_accuracy > _LEAST_LEAD * noise
    lead = result.ranked_by.sign * (result.best.score - other.score)
    return lead > _LEAST_GAIN * abs(result.best.score)


def _beyond(tried: list[float], *, is_largest: bool) -> tuple[float, float]:
    """Return the two values that continue a list at its end, in its last step."""
    end, before = (tried[-1], tried[-2]) if is_largest else (tried[0], tried[1])
    if before == 0:
        before = end / 10 if is_largest else end * 10
    factor = end / before
    rounded = [float(f"{end * factor**power:.2g}") for power in (1, 2)]
    if isinstance(end, int):
        return int(rounded[0]), int(rounded[1])
    return rounded[0], rounded[1]


def _on_noise(result: GridResult, val_rows: int) -> Iterator[Advice]:
    """Say so if the validation rows do not tell any two of the entries apart."""
    accuracies = np.array(
        [
            entry.record.val_accuracy
            for entry in result.entries
            if entry.status == "finished" and entry.record is not None
        ]
    )
    if len(accuracies) < _LEAST_VALUES:
        return
    noise = binomial_error(float(accuracies.max()), val_rows)
    spread = float(np.ptp(accuracies))
    if 0 < spread < noise:
        yield Advice(
            f"the accuracies of all {len(accuracies)} entries lie within {100 * spread:.2f} points,"
            f" less than one standard error on {val_rows:,} validation rows, "
            f"{100 * noise:.2f}: which one wins is chance; more validation rows would tell"
        )
