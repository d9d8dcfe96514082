"""Run and grid folders -> results: plain JSON values, the only source of their page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fastlin import functional, machine, matching
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import InputError, quoted
from fastlin.files import parse_number, read_csv
from fastlin.history import History
from fastlin.metrics import MAX_CONFUSION_CLASSES
from fastlin.report.results import CURVES, FORMAT, Json, finite, pack
from fastlin.report.study import statistics
from fastlin.report.study.findings import WRONG_IMAGES, as_pixels, most_wrong
from fastlin.runs import CONFIG, DataReference, Run, load_run
from fastlin.search.ranking import STATUSES
from fastlin.training.evaluation import evaluate_matched

GRID_TABLE, GRID_WINNER = "grid.csv", "winner"
MAX_DETAILED = 6  # runs that are shown with all their pictures
MAX_ENTRIES = 10_000  # of a grid

PlaceOf = Callable[[DataReference], DataReference]
Load = Callable[[DataReference], Split]
Command = Callable[[DataReference, TrainConfig], str]


def describe_runs(
    places: Sequence[Path],
    place_of: PlaceOf,
    load: Load,
    command_of: Command,
    command: str,
    threads: int | None,
) -> Json:
    """Return what there is to say of run folders and grid folders.

    Parameters
    ----------
    places : folders of runs, or of grids, of which the winner is a run.
    place_of : returns where the data of a run are to be found.
    load : returns the data that are there.
    command_of : the command that repeats a run.
    command : that makes the report.
    threads : to evaluate on, None for all.

    Raises
    ------
    InputError
        If a folder is neither a run nor a grid, or damaged, or its data cannot be loaded or do
        not fit it.
    """
    grids, runs = [], []
    for name, place in zip(_names(places), places, strict=True):
        if (place / GRID_TABLE).is_file():
            grids.append({"name": name, **_describe_grid(place / GRID_TABLE)})
            runs.append((f"{name}, winner", load_run(place / GRID_WINNER)))
        elif place.is_dir() and not (place / CONFIG).exists():
            raise InputError(f"{place} is neither a run nor a grid: it has no {CONFIG}")
        else:
            runs.append((name, load_run(place)))
    results: Json = {
        "format": FORMAT,
        "kind": "runs",
        "command": command,
        "grids": grids,
        "runs": [],
        "arrays": {},
    }
    loaded: dict[DataReference, Split] = {}
    with functional.use_threads(threads) as count:
        for number, (name, run) in enumerate(runs):
            reference = place_of(run.data)
            found = replace(reference, sha256=None)  # two runs may have met two contents there
            if found not in loaded:
                loaded.clear()  # one data set in memory
                loaded[found] = load(found)
            split = loaded[found]
            matched, notes = _match(run, reference, split)
            described = _describe_run(name, run, matched, number, results["arrays"])
            described["notes"] = notes
            described["data"] = {"name": split.name, "sha256": split.fingerprint()}
            described["command"] = command_of(run.data, run.config)
            results["runs"].append(described)
    results["ranking"] = sorted(range(len(runs)), key=lambda i: _rank(results["runs"][i]))
    kept = set(results["ranking"][:MAX_DETAILED])
    results["arrays"] = {
        name: pack(array)
        for name, array in results["arrays"].items()
        if int(name.rpartition(" ")[2]) in kept
    }
    results["detailed"] = sorted(kept)
    results["seed_groups"] = _seed_groups(results["runs"])
    results["computed"] = {**machine.describe(), "date": machine.now(), "threads": count}
    checked: Json = finite(results)
    return checked


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


def _describe_run(name: str, run: Run, split: Split, number: int, arrays: dict[str, Any]) -> Json:
    model, config = run.model, run.config
    evaluations = {
        part: evaluate_matched(model, data, config) for part, data in split.parts().items()
    }
    judged = list(evaluations)[-1]  # test rows if there are any
    rows = split.parts()[judged]
    predictions, K = evaluations[judged].predictions, len(model.class_names)
    if K <= MAX_CONFUSION_CLASSES:
        arrays[f"confusion {number}"] = functional.confusion_counts(rows.y, predictions, K)
    rows_of_class = np.bincount(rows.y, minlength=K)
    right_of_class = np.bincount(rows.y[predictions == rows.y], minlength=K)
    if model.image_shape is not None:
        arrays[f"weights {number}"] = model.W
    wrong = most_wrong(model, rows, config, WRONG_IMAGES)
    if rows.image_shape is not None and wrong:
        arrays[f"wrong {number}"] = _images(rows, wrong)
    return {
        "name": name,
        "settings": config.to_dict(),
        "epochs": len(run.history),
        "best_epoch": run.history.best_epoch,
        "class_names": list(model.class_names),
        "image_shape": model.image_shape and list(model.image_shape),
        "rows": {part: len(data) for part, data in split.parts().items()},
        "last": {
            part: {"cost": found.cost, "accuracy": found.accuracy}
            for part, found in evaluations.items()
        },
        "judged": judged,
        "per_class": (right_of_class / np.maximum(rows_of_class, 1)).tolist(),
        "wrong": wrong,
        "curves": _curves(run.history),
    }


def _images(data: Dataset, wrong: list[Json]) -> Any:
    assert data.image_shape is not None  # noqa: S101  (asked before)
    pixels = as_pixels(data.X[[row["row"] for row in wrong]])
    return pixels.reshape(-1, *data.image_shape)


def _curves(history: History) -> Json:
    """Return a history like that of an experiment with one seed."""
    return {
        "epoch": history.epoch.tolist(),
        "lr": history.lr.tolist(),
        **{name: [getattr(history, name).tolist()] for name in CURVES},
    }


def _rank(run: Json) -> float:
    """Return by what runs are ordered: validation accuracy, or that on the rows there are."""
    part = "val" if "val" in run["last"] else run["judged"]
    return -float(run["last"][part]["accuracy"])


def _seed_groups(runs: Sequence[Json]) -> list[Json]:
    """Return mean and standard deviation of runs that differ in nothing but their seed."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        settings = {**run["settings"], "seed": None}
        key = f"{run['data']['sha256']} {run['judged']} {run['epochs']} {settings}"
        groups.setdefault(key, []).append(index)
    return [
        {
            "runs": members,
            "accuracy": {
                part: statistics.summarise(
                    [runs[index]["last"][part]["accuracy"] for index in members]
                )._asdict()
                for part in runs[members[0]]["last"]
            },
        }
        for members in groups.values()
        if len(members) > 1
    ]


def _describe_grid(path: Path) -> Json:
    """Read the table of a grid, which is best first."""
    lines = read_csv(path)
    columns = next(lines)
    needed = ("status", "epochs_finished", "score", "val_accuracy")
    missing = [name for name in needed if name not in columns]
    if missing or len(set(columns)) < len(columns):
        raise InputError(
            f"{path} is not the table of a grid: it must have the columns {', '.join(needed)}, "
            "each once"
        )
    known = [name for name in TrainConfig().to_dict() if name in columns]
    entries: list[Json] = []
    for number, cells in enumerate(islice(lines, MAX_ENTRIES), start=2):
        line = dict(zip(columns, cells, strict=True))
        try:
            entries.append(
                {
                    "settings": {name: _value(line[name]) for name in known},
                    "status": _status(line["status"]),
                    "epochs": _count(line["epochs_finished"]),
                    "score": _measure(line["score"]),
                    "val_accuracy": _measure(line["val_accuracy"]),
                }
            )
        except ValueError as error:
            raise InputError(f"{path} is damaged: line {number}: {error}") from None
    if not entries:
        raise InputError(f"{path} is damaged: it has no entry")
    swept: dict[str, list[Any]] = {}
    for name in entries[0]["settings"]:
        values = list(dict.fromkeys(entry["settings"][name] for entry in entries))
        if len(values) > 1:
            swept[name] = sorted(values, key=lambda value: (isinstance(value, str), value))
    return {"swept": swept, "entries": entries}


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


def _value(text: str) -> Any:
    """Return the value that a cell of a table holds: true or false, a number, or a word."""
    if text in ("True", "False"):
        return text == "True"
    if text.isalnum() and text[0].isalpha():
        return text
    number = parse_number(text)
    return int(number) if number.is_integer() else number
