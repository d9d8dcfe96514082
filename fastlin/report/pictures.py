"""Results -> the pictures of a report, as PNG files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import figures
from fastlin.errors import reason_of
from fastlin.history import EpochRecord, History
from fastlin.report.results import Json, unpack
from fastlin.report.study.wording import SETTING_NAMES


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Attributes
    ----------
    name : its file name without .png.
    title, note : for its caption; plain text.
    png : the file.
    """

    name: str
    title: str
    note: str
    png: bytes


# Draws a picture, or returns None if there is nothing to draw; and what it draws, for messages.
Drawing = tuple[str, Callable[[], Picture | None]]
OnFailure = Callable[[str], None]

MAX_BYTES = 3_500_000  # of all pictures of a page, which are a third larger in it
PARTS = {"train": "training", "val": "validation", "test": "test"}

# The published figures: number(s), and what is drawn of which experiments.
PUBLISHED_FIGURES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("1", "cost", ("S0",)),
    ("2", "cost", ("S1",)),
    ("3 and 4", "gradient", ("X0", "X1")),
    ("5", "cost", ("D1",)),
    ("6", "weights", ("D1",)),
    ("7", "cost", ("G1w",)),
    ("8", "weights", ("G1w",)),
    ("9", "cost", ("V1",)),
    ("10", "weights", ("V1",)),
)


def study_pictures(results: Json, on_failure: OnFailure | None = None) -> dict[str, Picture]:
    """Draw every picture of a study, by name; see `draw_each`."""
    names, best = results["data"]["class_names"], results["best"]
    drawings: list[Drawing] = [
        (f"figure {figure[0]}", partial(_published, results, *figure))
        for figure in PUBLISHED_FIGURES
    ]
    drawings += [(f"grid {key}", partial(_heat_map, results, key)) for key in results["grids"]]
    drawings += [
        (f"confusion of {key}", partial(_confusion, results, key)) for key in results["errors"]
    ]
    if not any(what == "weights" and best in ids for _, what, ids in PUBLISHED_FIGURES):
        title = f"Weights of {best}"
        drawings.append((title, partial(_weights, results, best, "best-templates", title)))
    drawings.append(("wrong", partial(wrong_picture, results, "wrong", results["wrong"], names)))
    return {picture.name: picture for picture in draw_each(drawings, on_failure)}


def draw_each(
    drawings: Iterable[Drawing], on_failure: OnFailure | None = None
) -> Iterator[Picture]:
    """Draw pictures one by one.

    Parameters
    ----------
    drawings : Iterable[tuple[str, Callable[[], Picture | None]]]
        What is drawn, and how.
    on_failure : Callable[[str], None] | None
        Called with one line for every picture that cannot be drawn, whatever the reason; the
        others are drawn all the same. None to raise what happened instead.
    """
    for name, draw in drawings:
        try:
            picture = draw()
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(f"{name} is not drawn: {reason_of(error)}")
        else:
            if picture is not None:
                yield picture


def _confusion(results: Json, key: str) -> Picture:
    counts = np.array(results["errors"][key]["confusion"])
    figure = figures.confusion_matrix(counts, results["data"]["class_names"])
    note = f"{results['experiments'][key]['title']}; all seeds together."
    return Picture(f"confusion-{key}", f"Confusion matrix of {key}", note, figures.png(figure))


def history_of(curves: Json, place: int) -> History:
    """Return the history of one seed out of an experiment's curves."""
    columns = [curves["epoch"], curves["lr"]]
    columns += [curves[name][place] for name in EpochRecord._fields[2:]]
    rows = zip(*columns, strict=True)
    return History.from_records(
        [EpochRecord(e, *(np.nan if v is None else v for v in values)) for e, *values in rows]
    )


def wrong_picture(
    results: Json, array: str, rows: Sequence[Json], names: Sequence[str]
) -> Picture | None:
    """Draw the images that were misclassified with most confidence, None without images."""
    if array not in results["arrays"]:
        return None
    captions = []
    for row in rows:
        is_sure = row["lead"] if row["probability"] is None else row["probability"]
        captions.append(f"{names[row['predicted']]} {is_sure:.2f}\nis {names[row['true']]}")
    figure = figures.image_grid(unpack(results["arrays"][array]), captions)
    note = "Above each image: the predicted class and its probability, and the true class."
    if rows[0]["probability"] is None:
        note = "Above each image: the predicted class, its lead over the true one, and that."
    return Picture(array, "The test images that are most confidently wrong", note,
                   figures.png(figure))  # fmt: skip


def _published(results: Json, number: str, what: str, ids: tuple[str, ...]) -> Picture | None:
    found = [results["experiments"][key] for key in ids]
    titles = " and ".join(f"{one['id']}, {one['title']}" for one in found)
    plural = "s" if " and " in number else ""
    name = f"figure-{number.replace(' and ', '-')}"
    title = f"Figure{plural} {number}"
    if what == "weights":
        return _weights(results, ids[0], name, title)
    if what == "gradient":
        gradients = {
            f"{one['id']}, {one['title']}": unpack(results["arrays"][f"gradient {one['id']}"])
            for one in found
        }
        note = (
            f"{titles}: the values of the gradient of W after training, on the whole training "
            f"set, seed {results['seeds'][0]}; both on one scale."
        )
        return Picture(name, title, note, figures.png(figures.gradient_histograms(gradients)))
    curves = found[0]["curves"]
    histories = [history_of(curves, place) for place in range(len(results["seeds"]))]
    note = f"{titles}: cost after every epoch."
    return Picture(name, title, note, figures.png(figures.cost_band(histories)))


def _weights(results: Json, key: str, name: str, title: str) -> Picture | None:
    shape = results["data"]["image_shape"]
    if shape is None:
        return None
    W = unpack(results["arrays"][f"weights {key}"])
    figure = figures.weight_templates(W, tuple(shape), results["data"]["class_names"])
    found = results["experiments"][key]
    note = f"{key}, {found['title']}: the rows of W as images, seed {results['seeds'][0]}."
    return Picture(name, title, note, figures.png(figure))


def _heat_map(results: Json, key: str) -> Picture | None:
    """Draw mean validation accuracy, the first setting down, all the others across."""
    grid = results["grids"][key]
    if not grid["swept"]:
        return None
    (row_name, row_values), *across = grid["swept"].items()
    columns = list(itertools.product(*(sorted(values) for _, values in across)))
    means = {
        tuple(entry["settings"][name] for name in grid["swept"]): entry["val_accuracy"]["mean"]
        for entry in grid["entries"]
    }
    rows = sorted(row_values)
    values = np.array([[means[row, *column] for column in columns] for row in rows])
    names = " · ".join(SETTING_NAMES.get(name, name) for name, _ in across)
    seeds = grid["seeds"]
    title = f"validation accuracy, {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}"
    figure = figures.heat_map(
        values, [f"{row:g}" for row in rows],
        [" · ".join(f"{value:g}" for value in column) for column in columns],
        SETTING_NAMES.get(row_name, row_name), names, title,
    )  # fmt: skip
    note = f"{results['experiments'][key]['title']}: {title} after the last epoch."
    return Picture(f"grid-{key}", f"The grid of {key}", note, figures.png(figure))


def runs_pictures(results: Json, on_failure: OnFailure | None = None) -> dict[str, Picture]:
    """Draw every picture of a report on runs, by name, the best runs first, up to `MAX_BYTES`.

    See `draw_each` for `on_failure`.
    """
    pictures = {picture.name: picture for picture in draw_each(_of_all_runs(results), on_failure)}
    room = MAX_BYTES - sum(len(picture.png) for picture in pictures.values())
    for number in results["ranking"]:
        if number not in results["detailed"]:
            continue
        of_run = list(draw_each(_of_run(results, number), on_failure))
        room -= sum(len(picture.png) for picture in of_run)
        if room < 0:
            break
        pictures |= {picture.name: picture for picture in of_run}
    return pictures


def _of_all_runs(results: Json) -> Iterator[Drawing]:
    runs, ranking = results["runs"], results["ranking"]
    with_epochs = [number for number in ranking if runs[number]["epochs"]]
    judged = [number for number in with_epochs if "val" in runs[number]["last"]]
    if len(judged) > 1:
        yield "all runs", partial(_all_curves, results, judged)
    for place, group in enumerate(results["seed_groups"]):
        members = group["runs"]
        if runs[members[0]]["epochs"]:
            name = f"seeds-{place + 1}"
            yield name, partial(_seeds, results, members, name)
    for place, grid in enumerate(results["grids"]):
        yield f"the grid of {grid['name']}", partial(_grid, grid, f"grid-{place + 1}")


def _all_curves(results: Json, judged: Sequence[int]) -> Picture:
    runs = results["runs"]
    curves = [
        (runs[number]["name"], *_curve(runs[number]["curves"], "val_accuracy")) for number in judged
    ]
    figure = figures.curve_overlay(curves, 0, "validation accuracy (%)")
    note = "Validation accuracy after every epoch; the best run stands out."
    return Picture("all-runs", "All runs", note, figures.png(figure))


def _seeds(results: Json, members: Sequence[int], name: str) -> Picture:
    runs = [results["runs"][number] for number in members]
    histories = [history_of(run["curves"], 0) for run in runs]
    note = f"Cost of {', '.join(run['name'] for run in runs)}."
    png = figures.png(figures.cost_band(histories))
    return Picture(name, f"{len(members)} seeds", note, png)


def _grid(grid: Json, name: str) -> Picture | None:
    columns = {
        setting: [entry["settings"][setting] for entry in grid["entries"]]
        for setting in grid["swept"]
    }
    score = np.array([100 * (e["val_accuracy"] or np.nan) for e in grid["entries"]], float)
    title = f"The grid of {grid['name']}"
    if len(columns) > 2:
        figure = figures.parallel_coordinates(columns, score, "validation accuracy (%)")
        note = "One line per entry, coloured by validation accuracy; the best is marked."
        return Picture(name, title, note, figures.png(figure))
    if len(columns) == 2:
        return Picture(name, title, "Validation accuracy.", _plain_heat_map(grid, score / 100))
    return None


def _of_run(results: Json, number: int) -> Iterator[Drawing]:
    run = results["runs"][number]
    name = run["name"]
    if run["epochs"]:
        yield f"cost of {name}", partial(_epochs, run, number, "cost", figures.cost_curves)
        yield (
            f"accuracy of {name}",
            partial(_epochs, run, number, "accuracy", figures.accuracy_curves),
        )
    yield f"confusion of {name}", partial(_confusion_of_run, results, number)
    if run["image_shape"] is not None:
        yield f"templates of {name}", partial(_templates_of_run, results, number)
    yield f"wrong images of {name}", partial(_wrong_of_run, results, number)


def _epochs(run: Json, number: int, what: str, draw: Callable[[History], Any]) -> Picture:
    title = f"{what.capitalize()} of {run['name']}"
    png = figures.png(draw(history_of(run["curves"], 0)))
    return Picture(f"run-{number + 1}-{what}", title, "After every epoch.", png)


def _confusion_of_run(results: Json, number: int) -> Picture:
    run = results["runs"][number]
    figures.check_matrix(len(run["class_names"]))
    counts = unpack(results["arrays"][f"confusion {number}"])
    note = f"On the {PARTS[run['judged']]} rows."
    png = figures.png(figures.confusion_matrix(counts, run["class_names"]))
    title = f"Confusion matrix of {run['name']}"
    return Picture(f"run-{number + 1}-confusion", title, note, png)


def _templates_of_run(results: Json, number: int) -> Picture:
    run = results["runs"][number]
    W = unpack(results["arrays"][f"weights {number}"])
    png = figures.png(figures.weight_templates(W, tuple(run["image_shape"]), run["class_names"]))
    title = f"Weights of {run['name']}"
    return Picture(f"run-{number + 1}-templates", title, "The rows of W as images.", png)


def _wrong_of_run(results: Json, number: int) -> Picture | None:
    run = results["runs"][number]
    wrong = wrong_picture(results, f"wrong {number}", run["wrong"], run["class_names"])
    if wrong is None:
        return None
    title = f"Most confidently wrong, {run['name']}"
    return replace(wrong, name=f"run-{number + 1}-wrong", title=title)


def _curve(curves: Json, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    values = [np.nan if value is None else 100 * value for value in curves[name][0]]
    return np.array(curves["epoch"]), np.array(values)


def _plain_heat_map(grid: Json, values: NDArray[Any]) -> bytes:
    """Draw a grid of two settings; where entries share a cell, the best of them counts."""
    (row_name, rows), (column_name, columns) = grid["swept"].items()
    cells = np.full((len(rows), len(columns)), np.nan)
    for entry, value in zip(grid["entries"], values, strict=True):
        cell = (
            rows.index(entry["settings"][row_name]),
            columns.index(entry["settings"][column_name]),
        )
        cells[cell] = np.fmax(cells[cell], value)
    row_labels, column_labels = ([str(value) for value in axis] for axis in (rows, columns))
    title = "validation accuracy"
    return figures.png(
        figures.heat_map(cells, row_labels, column_labels, row_name, column_name, title)
    )
