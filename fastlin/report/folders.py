"""Run folders and grid folders -> what a report says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from fastlin import matching
from fastlin.class_weights import NONE, ClassWeights
from fastlin.config import SETTINGS, TrainConfig, as_json
from fastlin.data.dataset import Split
from fastlin.errors import InputError, quoted
from fastlin.files import parse_number, read_csv
from fastlin.fitting import Fitting
from fastlin.report.mistakes import find_mistakes
from fastlin.report.runs import GridOutcome, GridRow, RunOutcome
from fastlin.runs import CONFIG, DataReference, Run, load_run
from fastlin.search.ranking import STATUSES
from fastlin.search.request import TABLE, WINNER
from fastlin.settings import Number, Switch, Whole
from fastlin.training.evaluation import evaluate_matched
from fastlin.training.measuring import measure_matched

MAX_ENTRIES = 10_000  # of a grid


def describe_runs(
    places: Sequence[Path],
    place_of: Callable[[DataReference], DataReference],
    load: Callable[[DataReference], Split],
    command_of: Callable[[DataReference, TrainConfig, Fitting], str],
) -> tuple[list[RunOutcome], list[GridOutcome]]:
    """Return what there is to say of folders of runs, or of grids, of which the winner is a run.

    Parameters
    ----------
    places : Sequence[Path]
        The folders.
    place_of : Callable[[DataReference], DataReference]
        Returns where the data of a run are to be found.
    load : Callable[[DataReference], Split]
        Returns the data that are there.
    command_of : Callable[[DataReference, TrainConfig, Fitting], str]
        Returns the command that repeats a run.

    Raises
    ------
    InputError
        If a folder is neither a run nor a grid, or damaged, or its data cannot be loaded or do
        not fit it.
    """
    grids: list[GridOutcome] = []
    runs: list[tuple[str, Run]] = []
    for name, place in zip(_names(places), places, strict=True):
        if (place / TABLE).is_file():
            grids.append(describe_grid(name, place / TABLE))
            runs.append((grids[-1].winner, load_run(place / WINNER)))
        elif place.is_dir() and not (place / CONFIG).exists():
            raise InputError(f"{place} is neither a run nor a grid: it has no {CONFIG}")
        else:
            runs.append((name, load_run(place)))
    outcomes: list[RunOutcome] = []
    loaded: dict[DataReference, Split] = {}
    for name, run in runs:
        reference = place_of(run.data)
        found = replace(reference, sha256=None)  # two runs may have met two contents there
        if found not in loaded:
            loaded.clear()  # one data set in memory
            loaded[found] = load(found)
        matched, notes = _match(run, reference, loaded[found])
        command = command_of(run.data, run.config, run.fitting)
        sha256 = loaded[found].fingerprint()
        outcomes.append(_describe_run(name, run, command, matched, sha256, notes))
    return outcomes, grids


def _names(places: Sequence[Path]) -> list[str]:
    """Return as much of the end of every path as tells it from the others."""
    parts = [place.resolve().parts for place in places]
    if len(set(parts)) < len(parts):
        raise InputError("a folder is named twice")
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _match(run: Run, reference: DataReference, split: Split) -> tuple[Split, list[str]]:
    """Return data in terms of a run's classes, and what may be wrong with them."""
    try:
        matched, notes = matching.match_split(run.model, split)
    except InputError as error:
        raise InputError(f"{run.folder} does not fit {split.name}: {error}") from None
    change = matching.change_note(reference, split)
    return matched, notes if change is None else [change, *notes]


def _describe_run(
    name: str, run: Run, command: str, split: Split, sha256: str, notes: list[str]
) -> RunOutcome:
    parts = split.parts()
    found = {part: evaluate_matched(run.model, rows, run.config) for part, rows in parts.items()}
    judged = list(parts)[-1]
    return RunOutcome(
        name, run, command, split.name, sha256,
        rows={part: len(rows) for part, rows in parts.items()},
        costs={part: evaluation.cost for part, evaluation in found.items()},
        accuracies={part: evaluation.accuracy for part, evaluation in found.items()},
        mistakes=find_mistakes(parts[judged], found[judged].predictions, run.model, run.config),
        notes=notes,
        tallies={
            part: measure_matched(run.model, rows)
            for part, rows in parts.items()
            if part != "train" or part == judged
        },
    )  # fmt: skip


def describe_grid(name: str, path: Path) -> GridOutcome:
    """Read the table of a grid, which is best first."""
    lines = read_csv(path)
    columns = next(lines)
    needed = ("status", "epochs_finished", "score", "val_accuracy")
    missing = [column for column in needed if column not in columns]
    if missing or len(set(columns)) < len(columns):
        raise InputError(
            f"{path} is not the table of a grid: it must have the columns {', '.join(needed)}, "
            "each once"
        )
    known = [setting for setting in TrainConfig().to_dict() if setting in columns]
    entries: list[GridRow] = []
    for number, cells in enumerate(islice(lines, MAX_ENTRIES), start=2):
        line = dict(zip(columns, cells, strict=True))
        try:
            entries.append(
                GridRow(
                    {setting: _value(setting, line[setting]) for setting in known},
                    _status(line["status"]),
                    _count(line["epochs_finished"]),
                    _measure(line["score"]),
                    _measure(line["val_accuracy"]),
                )
            )
        except ValueError as error:
            raise InputError(f"{path} is damaged: line {number}: {error}") from None
    if not entries:
        raise InputError(f"{path} is damaged: it has no entry")
    swept: dict[str, list[Any]] = {}
    for setting in known:
        values = list(dict.fromkeys(entry.settings[setting] for entry in entries))
        if len(values) > 1:
            swept[setting] = sorted(values, key=lambda value: (isinstance(value, str), value))
    return GridOutcome(name, f"{name}, winner", swept, entries)


def _status(text: str) -> str:
    if text not in STATUSES:
        raise ValueError(f"the status is {quoted(text)}; it must be one of {', '.join(STATUSES)}")
    return text


def _count(text: str) -> int:
    """Return the whole number, 0 or above, of a cell."""
    number = parse_number(text)
    if number < 0 or not number.is_integer():
        raise ValueError(f"{quoted(text)} is no number of epochs")
    return int(number)


def _measure(text: str) -> float:
    """Return the number of a cell, NaN if it is empty."""
    return parse_number(text) if text else math.nan


def _value(name: str, text: str) -> Any:
    """Return the value of a setting that a cell of a table holds."""
    kind = SETTINGS[name].plain_kind
    if isinstance(kind, ClassWeights):
        return text or NONE
    value: Any = text
    if isinstance(kind, Switch):
        value = {"True": True, "False": False}.get(text, text)
    elif isinstance(kind, Number | Whole):
        value = parse_number(text)
        value = int(value) if value.is_integer() else value
    value = as_json(kind.checked(name, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
