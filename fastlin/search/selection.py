"""Ranking by a metric of the trained classifiers, which histories do not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fastlin import functional
from fastlin.data.dataset import Split
from fastlin.search.ranking import GridEntry, Rule
from fastlin.training.measuring import measure_matched


def scored(
    entries: Sequence[GridEntry],
    rule: Rule,
    split: Split,
    threads: int,
    with_models: Callable[[GridEntry], GridEntry],
) -> tuple[GridEntry, ...]:
    """Return entries with the metric of a rule as their score, on the validation rows.

    Parameters
    ----------
    entries : Sequence[GridEntry]
        What came of every entry.
    rule : Rule
        Of a metric.
    split : Split
        With validation rows.
    threads : int
        To measure on.
    with_models : Callable[[GridEntry], GridEntry]
        Returns an entry with its classifier after the last epoch.
    """
    assert rule.metric is not None  # noqa: S101  (the caller has looked)
    assert split.val is not None  # noqa: S101  (a search has validation rows)
    found = []
    with functional.use_threads(threads):
        for entry in entries:
            model = with_models(entry).last_model
            if model is None:
                found.append(entry)
                continue
            values = measure_matched(model, split.val).values()
            found.append(replace(entry, score=values[rule.metric.name]))
    return tuple(found)
