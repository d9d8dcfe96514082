"""What is known of runs and grids, and the page that says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastlin.metrics import Tally, measure_text
from fastlin.report.label_errors import LABEL_PAGE
from fastlin.report.mistakes import Mistakes, weights_picture
from fastlin.report.page import (
    Column,
    Page,
    Picture,
    Row,
    Section,
    Table,
    class_table,
    facts_section,
)
from fastlin.report.paths import gap_pictures, path_of
from fastlin.report.results import Json
from fastlin.report.run_metrics import metrics_pictures, metrics_table
from fastlin.report.statistics import Sample
from fastlin.report.wording import PARTS, footer, noise_note, percent, settings_text
from fastlin.runs import Run
from fastlin.search.ranking import value_text, within_noise
from fastlin.solving.path_file import TABLE, load_path

MAX_DETAILED = 6  # runs that are shown with all their pictures
MAX_LISTED = 20  # entries of a grid
MAX_CLASSES = 100  # in a table


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """A run, evaluated anew.

    `data` and `sha256` name what is evaluated, `rows` counts it. `costs` and `accuracies` are of
    the model after the last epoch, by part, as `rows` is; `mistakes` of the last part; `tallies` of
    the parts that were not trained on, or of the training rows if there are no others.
    """

    name: str
    run: Run
    command: str
    data: str
    sha256: str
    rows: dict[str, int]
    costs: dict[str, float]
    accuracies: dict[str, float]
    mistakes: Mistakes
    notes: list[str]
    tallies: dict[str, Tally]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run that have an effect."""
        return self.run.fitting.counting(self.run.config.to_dict())

    @property
    def judged(self) -> str:
        """The part that says how good the run is: test rows if there are any."""
        return list(self.rows)[-1]

    @cached_property
    def fold_accuracy(self) -> float | None:
        """The accuracy of folds that a path held out in turn, for its penalty; None of other runs.

        Raises InputError if the table of the path is damaged.
        """
        table = self.run.folder / TABLE
        if self.run.fitting.folds_of_path is None or not table.is_file():
            return None
        found = load_path(table)
        return found.accuracy[found.best]

    @property
    def headline(self) -> tuple[float, str]:
        """The accuracy that says how good the run is, and on what: on no rows it was fitted on.

        Of a run without any such rows it is that of its last part.
        """
        if self.judged != "test" and self.fold_accuracy is not None:
            return self.fold_accuracy, f"{self.run.fitting.folds_of_path} folds' accuracy"
        return self.accuracies[self.judged], f"{PARTS[self.judged]} accuracy"

    @property
    def rank_accuracy(self) -> float:
        """By what runs are ordered: that of validation rows or folds, or on the rows there are."""
        if self.fold_accuracy is not None:
            return self.fold_accuracy
        return self.accuracies.get("val", self.accuracies[self.judged])

    def foot(
        self, *parts: str, seeds: Sequence[int] | None = None, swept: Iterable[str] = ()
    ) -> str:
        """Return the line at the foot of a figure of parts that there are."""
        remark = "" if self.run.fitting.gap is None else self.run.fitting.remark
        return footer(
            self.data, [part for part in parts if part in self.rows], self.settings, seeds, swept,
            remark=remark,
        )  # fmt: skip


@dataclass(frozen=True)
class GridRow:
    """An entry of a grid; NaN is what is not known."""

    settings: dict[str, Any]
    status: str
    epochs: int
    score: float
    val_accuracy: float


@dataclass(frozen=True)
class GridOutcome:
    """A grid, best entry first; `swept` is what was searched, `winner` the run of the best."""

    name: str
    winner: str
    swept: dict[str, list[Any]]
    entries: list[GridRow]


def csv_rows(runs: Sequence[RunOutcome]) -> list[Json]:
    """Return the rows of results.csv, one per run."""
    return [
        {
            "run": found.name, "data": found.data, **found.settings,
            "epochs_finished": len(found.run.history),
            **{f"{part}_cost": cost for part, cost in found.costs.items()},
            **{f"{part}_accuracy": accuracy for part, accuracy in found.accuracies.items()},
        }
        for found in runs
    ]  # fmt: skip


def seed_groups(runs: Sequence[RunOutcome]) -> list[list[RunOutcome]]:
    """Return runs that differ in nothing but their seed."""
    groups: dict[str, list[RunOutcome]] = {}
    for found in runs:
        if "seed" not in found.settings:
            continue
        settings = {**found.settings, "seed": None}
        key = f"{found.sha256} {found.judged} {len(found.run.history)} {settings}"
        groups.setdefault(key, []).append(found)
    return [members for members in groups.values() if len(members) > 1]


def label_page_of(found: RunOutcome) -> Path:
    """Return where the page of likely wrong labels of a run is, if it has one."""
    return found.run.folder / LABEL_PAGE


def pages_beside(runs: Sequence[RunOutcome]) -> dict[str, Path]:
    """Return the files that the page of runs links to, by their names beside it."""
    return {
        f"run-{place}-{LABEL_PAGE}": label_page_of(found)
        for place, found in enumerate(runs, start=1)
    }


def runs_page(
    runs: Sequence[RunOutcome], grids: Sequence[GridOutcome], command: str, threads: int
) -> Page:
    """Return the page of runs and grids, made by a command on so many threads."""
    ranked = sorted(runs, key=lambda found: -found.rank_accuracy)
    best, groups = ranked[0], seed_groups(runs)
    title = best.name if len(runs) == 1 else f"{len(runs)} runs compared"
    which = "of the run" if len(runs) == 1 else f"of {best.name}, the best run"
    accuracy, of_what = best.headline
    tiles = [
        [percent(accuracy), f"{of_what} {which}"],
        [percent(best.accuracies["train"]), "its training accuracy"],
        _how_far(best.run),
    ]
    shown = _all_curves(ranked)
    shown += [_seeds(members, f"seeds-{place}") for place, members in enumerate(groups, start=1)]
    places = {found.name: place for place, found in enumerate(runs, start=1)}
    data = dict.fromkeys(f"{found.data}, SHA-256 {found.sha256}" for found in runs)
    sections = [
        Section(
            "runs", "Result" if len(runs) == 1 else "Comparison",
            [f"{found.name}: {note}" for found in ranked for note in found.notes],
            [_comparison(ranked), *([_seed_table(groups)] if groups else [])], shown,
        ),
        *(_grid(grid, runs, f"grid-{place}") for place, grid in enumerate(grids, start=1)),
        *(_details(found, f"run-{places[found.name]}") for found in ranked[:MAX_DETAILED]),
        facts_section({"data": "; ".join(data)}, command, threads),
    ]  # fmt: skip
    names = ", ".join(dict.fromkeys(found.data for found in runs))
    lead = f"Linear classifiers on {names}, trained by fastlin."
    return Page(title, lead, tiles, sections)


def _how_far(run: Run) -> list[str]:
    """Return how far a run went: a number, and what it counts."""
    if run.fitting.gap is not None:
        return [f"{run.fitting.gap:.0e}", "asked of an exact fit: the relative gap to the optimum"]
    return [str(len(run.history)), f"epochs; the best is {_best_epoch(run)}"]


def _best_epoch(run: Run) -> str:
    """Return the best epoch, and by what it is the best if validation rows decided that."""
    by = f" by {measure_text(run.select)}" if run.history.has_validation else ""
    return f"{run.best_epoch}{by}"


def _comparison(ranked: Sequence[RunOutcome]) -> Table:
    rows = []
    for found in ranked:
        costs, accuracies = found.costs, found.accuracies
        if found.fold_accuracy is not None:  # validation rows were fitted, if there are any
            costs = {part: cost for part, cost in costs.items() if part != "val"}
            accuracies = accuracies | {"val": found.fold_accuracy}
        measured = [value for part in PARTS for value in (costs.get(part), accuracies.get(part))]
        is_exact = found.run.fitting.gap is not None
        end = found.run.fitting.remark if is_exact else f"seed {found.settings['seed']}"
        remark = f"{settings_text(found.settings)}, {end}"
        epochs = None if is_exact else len(found.run.history)
        rows.append(Row([found.name, *measured, epochs], remark, found.command))
    columns = [
        Column(f"{word} {what}", kind)
        for word in PARTS.values()
        for what, kind in (("cost", "cost"), ("accuracy", "percent"))
    ]
    caption = (
        "After the last epoch; ordered by validation accuracy where there are validation rows. "
        "Cost is mean loss + penalty, of each run's own loss."
    )
    if any(found.fold_accuracy is not None for found in ranked):
        caption += " Of a path in folds the validation accuracy is that of the folds."
    return Table([Column("run"), *columns, Column("epochs", "count")], rows, caption)


def _seed_table(groups: Sequence[Sequence[RunOutcome]]) -> Table:
    rows = []
    for members in groups:
        cells = [
            Sample.of([found.accuracies[part] for found in members]).cell
            if part in members[0].rows
            else None
            for part in PARTS
        ]
        rows.append(Row([", ".join(found.name for found in members), *cells]))
    columns = [Column(f"{word} accuracy", "spread") for word in PARTS.values()]
    return Table([Column("runs that differ in their seed only"), *columns], rows,
                 "Mean ± standard deviation.")  # fmt: skip


def _grid(grid: GridOutcome, runs: Sequence[RunOutcome], key: str) -> Section:
    """Return the table of a grid, and its figure if settings were searched."""
    winner = next(found for found in runs if found.name == grid.winner)
    best, val_rows = grid.entries[0], winner.rows.get("val", 0)
    listed = grid.entries[:MAX_LISTED]
    accuracies = np.array([entry.val_accuracy for entry in listed])
    by_accuracy = best.score == best.val_accuracy  # of other scores no noise is known
    is_close = within_noise(accuracies, best.val_accuracy, val_rows if by_accuracy else None)
    rows = []
    for rank, entry in enumerate(listed, start=1):
        said = "winner" if rank == 1 else "within noise" if is_close[rank - 1] else ""
        values = [value_text(entry.settings[name]) for name in grid.swept]
        rows.append(Row([str(rank), *values, entry.score, entry.val_accuracy, entry.status, said]))
    heads = [Column("rank"), *(Column(name, "number") for name in grid.swept)]
    heads += [Column("score", "cost"), Column("validation accuracy", "percent"),
                Column("status"), Column("against the winner")]  # fmt: skip
    caption = f"The best {len(rows)} of {len(grid.entries):,} entries."
    if is_close.any():
        caption += f" {noise_note(best.val_accuracy, val_rows)}"
    title, pictures = f"The grid of {grid.name}", []
    if grid.swept:
        columns = {name: [entry.settings[name] for entry in grid.entries] for name in grid.swept}
        score = np.array([entry.val_accuracy for entry in grid.entries])
        note = "Validation accuracy of every entry; the best is marked."
        foot = winner.foot("val", swept=grid.swept)
        pictures = [
            Picture(key, title, note, foot, len(grid.swept) > 1,
                    lambda figures: figures.grid_figure(columns, score, val_rows))
        ]  # fmt: skip
    return Section(key, title, [], [Table(heads, rows, caption)], pictures)


def _all_curves(ranked: Sequence[RunOutcome]) -> list[Picture]:
    curves = [
        (found.name, found.run.history.epoch, 100 * found.run.history.val_accuracy)
        for found in ranked
        if found.run.history.has_validation and found.run.fitting.gap is None
    ]
    if len(curves) < 2:
        return []
    note = "Validation accuracy after every epoch; the best run stands out."
    foot = f"{ranked[0].foot('val')} (the best run)"
    return [
        Picture("all-runs", "All runs", note, foot, draw=lambda figures: figures.curve_overlay(
            curves, 0, "validation accuracy (%)"))
    ]  # fmt: skip


def _seeds(members: Sequence[RunOutcome], name: str) -> Picture:
    histories = [found.run.history for found in members]
    note = f"Cost of {', '.join(found.name for found in members)}."
    foot = members[0].foot("train", "val", seeds=[found.settings["seed"] for found in members])
    return Picture(name, f"{len(members)} seeds", note, foot,
                   draw=lambda figures: figures.cost_band(histories))  # fmt: skip


def _details(found: RunOutcome, key: str) -> Section:
    """Return the section of a run that is shown with its pictures."""
    name, model, history = found.name, found.run.model, found.run.history
    select = found.run.select
    pictures, note = [], "After every epoch."
    if len(history) and found.run.fitting.gap is None:
        foot = found.foot("train", "val")
        pictures = [
            Picture(f"{key}-cost", f"Cost of {name}", note, foot,
                    draw=lambda figures: figures.cost_curves(history, select)),
            Picture(f"{key}-accuracy", f"Accuracy of {name}", note, foot,
                    draw=lambda figures: figures.accuracy_curves(history, select)),
        ]  # fmt: skip
    if model.image_shape is not None:
        pictures.append(weights_picture(f"{key}-templates", f"Weights of {name}", model,
                                        found.foot("train")))  # fmt: skip
    foot = found.foot(found.judged)
    pictures += found.mistakes.pictures(f"{key}-", name, foot)
    tally = found.tallies[found.judged]
    pictures += metrics_pictures(tally, model.class_names, key, name, foot)
    cv = found.run.fitting.folds_of_path
    judging = ("val",) if cv is None else ("train", "val")
    rows = sum(found.rows.get(part, 0) for part in judging) or None
    of_path = path_of(
        found.run.folder,
        key,
        name,
        found.foot(*judging),
        rows,
        found.run.fitting.select_of_path,
        cv,
    )
    target = found.run.fitting.gap
    pictures = (
        of_path[1] + gap_pictures(found.run.folder, key, name, found.foot("train"), target)
        + pictures
    )  # fmt: skip
    tables = [metrics_table(found.tallies), *of_path[0]]
    if label_page_of(found).is_file():
        columns = [Column("page", "link"), Column("what it shows")]
        tables.append(Table(columns, [Row([f"{key}-{LABEL_PAGE}", "likely wrong labels"])]))
    if len(model.class_names) <= MAX_CLASSES:
        summary = f"Accuracy per class, on {PARTS[found.judged]} rows"
        accuracies = {"accuracy": found.mistakes.confusions.per_class}
        tables += [class_table(list(model.class_names), accuracies, summary)]
    return Section(key, name, [], tables, pictures)
